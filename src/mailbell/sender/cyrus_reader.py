"""Takes the datagrams of Cyrus IMAP so fast that Cyrus never waits, in a process of its own.

The kernel keeps ten datagrams for a socket. If nobody takes them, Cyrus waits with its
deliveries. So this process does nothing else, and never waits for the sender.
"""

import socket
from typing import Final

from mailbell._sys.credentials import Identity
from mailbell.sender._companion import Companion

__all__ = ["PROGRAM", "start"]

PROGRAM: Final = "mailbell-cyrus"


def start(sock: socket.socket, identity: Identity | None) -> Companion:
    """Start the reader. Call it before the event loop and before the lock.

    Args:
        sock: the bound datagram socket that Cyrus sends to. It is closed in this process, so
            that Cyrus gets an error at once, and does not wait, when the reader has ended.
        identity: the user of the sender; None: this process has no privilege to change its user.

    Returns:
        The companion. Its pair delivers the datagrams that matter, one a message. If it reads
        the end of the stream, the reader has ended: then the sender must end too, because
        nothing else starts the reader again.

    Raises:
        MailbellError: it could not start.
    """
    raise NotImplementedError(sock, identity)

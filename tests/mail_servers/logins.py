"""How a person looks for mail: IMAP and POP3 from a host of the test."""

import imaplib
import poplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from harness.netns import Namespace
from harness.sender import PATIENCE

__all__ = ["IMAP", "POP3", "PROTOCOLS", "imap", "log_in"]

IMAP: Final = "IMAP"
POP3: Final = "POP3"
PROTOCOLS: Final = (IMAP, POP3)


def _connected(origin: Namespace, address: str, port: int) -> socket.socket:
    sock = origin.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(2 * PATIENCE)
    sock.connect((address, port))
    return sock


class _Imap(imaplib.IMAP4):
    """IMAP from a host of the test."""

    def __init__(self, origin: Namespace, address: str) -> None:
        self._origin = origin
        super().__init__(address)

    def _create_socket(self, timeout: float | None) -> socket.socket:  # noqa: ARG002 (the library passes it)
        return _connected(self._origin, self.host, self.port)


class _Pop3(poplib.POP3):
    """POP3 from a host of the test."""

    def __init__(self, origin: Namespace, address: str) -> None:
        self._origin = origin
        super().__init__(address)

    def _create_socket(self, timeout: float) -> socket.socket:  # noqa: ARG002 (the library passes it)
        return _connected(self._origin, self.host, self.port)


def log_in(origin: Namespace, address: str, protocol: str, user: str, password: str) -> bool:
    """Log in, look at the inbox and log out.

    Args:
        origin: the host of the person.
        address: of the mail server, of either family.
        protocol: `IMAP` or `POP3`.
        user: the name to log in with.
        password: right or wrong.

    Returns:
        Whether the server accepted the login. Then all that followed went well.
    """
    return (_imap if protocol == IMAP else _pop3)(origin, address, user, password)


@contextmanager
def imap(origin: Namespace, address: str, user: str, password: str) -> Iterator[imaplib.IMAP4]:
    """Log in with IMAP, and log out at the end of the block.

    Args:
        origin: the host of the person.
        address: of the mail server, of either family.
        user: the name to log in with.
        password: the right one, else imaplib.IMAP4.error is raised.
    """
    client = _Imap(origin, address)
    try:
        client.login(user, password)
        yield client
        client.logout()
    finally:
        with suppress(imaplib.IMAP4.error, OSError):
            client.shutdown()


def _imap(origin: Namespace, address: str, user: str, password: str) -> bool:
    try:
        with imap(origin, address, user, password) as client:
            assert client.select()[0] == "OK"
    except imaplib.IMAP4.error:
        return False
    return True


def _pop3(origin: Namespace, address: str, user: str, password: str) -> bool:
    client = _Pop3(origin, address)
    try:
        client.user(user)
        client.pass_(password)
    except poplib.error_proto:
        client.close()
        return False
    client.stat()
    client.quit()
    return True

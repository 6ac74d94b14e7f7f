"""Where the client looks for the control socket of mailbell-sender."""

import os

from mailbell.sender_client._sender import SENDER_DAEMON

__all__ = ["default_path"]


def default_path() -> str:
    """Return the path of the control socket.

    Returns:
        $MAILBELL_SENDER_SOCKET, if it is set, else /run/mailbell-sender/control.
    """
    return os.environ.get(SENDER_DAEMON.socket_variable) or SENDER_DAEMON.system_path

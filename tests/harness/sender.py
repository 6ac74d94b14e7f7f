"""What a good or bad mail server does: it connects, sends, and expects no answer.

The daemon may hang up at any time, also before everything is sent. That is an
end like any other here, never an error; only silence is one.
"""

import socket
from contextlib import suppress

__all__ = ["LINE", "PATIENCE", "ring", "sent", "unread"]

LINE = b"nm_notifyuser\r\n"
# Seconds until a test gives up: a bound for a machine that hangs, never a
# duration that a test relies on.
PATIENCE = 30.0


def ring(endpoint: tuple[str, int], data: bytes = LINE, source: str | None = None) -> bytes:
    """Notify as a mail server does; return what the daemon sent before the close: it must be b"".

    Args:
        endpoint: host and port of the daemon.
        data: what to send instead of the line.
        source: the address to come from.
    """
    with sent(endpoint, data, source) as sock:
        with suppress(OSError):  # ENOTCONN: the daemon has hung up
            sock.shutdown(socket.SHUT_WR)
        return unread(sock)


def sent(endpoint: tuple[str, int], data: bytes, source: str | None = None) -> socket.socket:
    """Return an open connection on which the data was sent, as far as the daemon took it.

    Whoever gets it closes it.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET)
    sock.settimeout(PATIENCE)
    if source:
        sock.bind((source, 0))
    sock.connect(endpoint)
    with suppress(ConnectionError):
        sock.sendall(data)
    return sock


def unread(sock: socket.socket) -> bytes:
    """Return what arrives until the other end closes; a test fails if it does not close."""
    sock.settimeout(PATIENCE)
    heard = b""
    with suppress(ConnectionError):  # the daemon closed without reading all bytes, which is a reset
        while chunk := sock.recv(4096):
            heard += chunk
    return heard

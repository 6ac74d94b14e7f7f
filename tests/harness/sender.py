"""What a mail server does to the daemon, or a bad one: connect, send, and listen for nothing.

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
    """Ring as a mail server does; return what came back before the close, b"" as it must be.

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
    """A connection on which this was sent, as far as it was taken, and nothing closed.

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
    """What comes until the other end closes; a test fails when it does not."""
    sock.settimeout(PATIENCE)
    heard = b""
    with suppress(ConnectionError):  # a close with our bytes unread is a reset
        while chunk := sock.recv(4096):
            heard += chunk
    return heard

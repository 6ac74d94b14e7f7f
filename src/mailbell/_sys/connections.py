"""Takes a connection and reads what has come on it, in as few system calls as there can be.

Nearly every connection is over at once: accept4, preadv2, close. A socket object for it would
cost a further call (CPython asks the kernel for the address of whatever descriptor it adopts)
and, with all that stands around it, a tenth of a notification. So until a connection has to
wait for anything it is a descriptor and nothing else. Who takes one owns it: closes it, or
lets a socket adopt it, exactly once.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final

__all__ = ["READERS", "Reader", "acceptor", "adopt", "reader", "taker"]

Reader = Callable[[int, int], bytes]
"""Reads from a connection's descriptor so many bytes at most, and never waits.

Returns them; b"": the peer has closed its side. `BlockingIOError`: nothing is there yet;
another `OSError`: the connection is broken."""

# preadv2(2): not at an offset, since a connection has none.
_NEXT: Final = -1


def acceptor(listening: socket.socket) -> Callable[[], tuple[int, Any]]:
    """Return what accepts a connection: its descriptor (close-on-exec) and the peer's address.

    `socket.accept` is made of this very method, for which the library has no public name.
    Where it is missing this raises, and the daemon does not start.

    Args:
        listening: the socket to accept on, non-blocking.
    """
    # typeshed and ruff know it as private, see above.
    accept: Callable[[], tuple[int, Any]] = listening._accept  # type: ignore[attr-defined] # noqa: SLF001
    return accept


def adopt(descriptor: int, listening: socket.socket) -> socket.socket:
    """Make a socket of a descriptor, which it owns from then on; if that fails, it is closed.

    Args:
        descriptor: of a connection.
        listening: the socket it was accepted on.
    """
    try:
        return socket.socket(listening.family, listening.type, listening.proto, descriptor)
    except Exception:  # whatever it was: the caller has given the descriptor away
        os.close(descriptor)
        raise


def taker(listening: socket.socket) -> Callable[[], socket.socket]:
    """Return what accepts a connection as a socket, and loses no descriptor when it fails.

    `socket.accept` forgets the descriptor when there is no memory for the socket.

    Args:
        listening: the socket to accept on, non-blocking.
    """
    accept = acceptor(listening)

    def take() -> socket.socket:
        descriptor, _ = accept()
        return adopt(descriptor, listening)

    return take


def reader(listening: socket.socket) -> Reader:
    """Return the best way to read a connection on this kernel, found by trying.

    Args:
        listening: the socket it will be accepted on.
    """
    try:
        _read_what_is_there(listening.fileno(), 1)
    except (AttributeError, NotImplementedError):  # a C library without it
        return _receive
    except OSError as error:
        # It is no connection, says who knows the call; else EOPNOTSUPP, before Linux 6.5.
        return _read_what_is_there if error.errno == errno.ENOTCONN else _receive
    raise AssertionError("nothing can be read from a listening socket")


def _read_what_is_there(descriptor: int, room: int) -> bytes:
    buffer = bytearray(room)
    got = os.preadv(descriptor, [buffer], _NEXT, os.RWF_NOWAIT)
    return bytes(buffer[:got])


def _receive(descriptor: int, room: int) -> bytes:
    # The plain type, without what socket.socket adds to it, and only for a moment.
    sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
    try:
        return sock.recv(room, socket.MSG_DONTWAIT)
    finally:
        sock.detach()


READERS: Final[tuple[Reader, ...]] = (_read_what_is_there, _receive)

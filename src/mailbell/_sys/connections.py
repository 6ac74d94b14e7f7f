"""Accepts a connection and reads from it with as few system calls as possible.

Nearly every connection needs three calls: accept4, preadv2, close. A socket object costs
one call more (CPython asks the kernel for the address of each descriptor that it adopts).
Together with the object itself this is a tenth of the time of a notification. So a
connection is only a descriptor until it must wait. The code that accepts a descriptor
owns it, and must either close it or give it to `adopt`, exactly once.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from mailbell.core.outcome import End
from mailbell.core.rfc4146 import LINE, MAX_INPUT

__all__ = [
    "READERS",
    "Reader",
    "adopt",
    "choose_reader",
    "close",
    "hang_up",
    "make_acceptor",
    "make_socket_acceptor",
]

Reader = Callable[[int, int], bytes | End | None]
"""Reads from a connection and never waits.

Takes the descriptor and the largest number of bytes to read. Returns the bytes; or how the input
has ended (`EOF`, `RESET`); or None if nothing has arrived yet."""

# preadv2(2): -1 stands for "no offset", because a connection has none.
_NEXT: Final = -1


def make_acceptor(listening: socket.socket) -> Callable[[], tuple[int, Any]]:
    """Return a function that accepts one connection.

    The standard library builds `socket.accept` on the method used here, which has no
    public name. If it is missing this raises, and the daemon does not start.

    Args:
        listening: the socket to accept on, non-blocking.

    Returns:
        A function that returns the connection's descriptor (close-on-exec) and the
        sender's address.
    """
    # typeshed and ruff call this method private.
    accept: Callable[[], tuple[int, Any]] = listening._accept  # type: ignore[attr-defined] # noqa: SLF001
    return accept


def adopt(descriptor: int, listening: socket.socket) -> socket.socket:
    """Make a socket object that owns a descriptor. If that fails the descriptor is closed.

    Args:
        descriptor: the descriptor of a connection. The caller must not use it after this.
        listening: the socket that accepted it.
    """
    try:
        return socket.socket(listening.family, listening.type, listening.proto, descriptor)
    except Exception:  # the caller has given the descriptor away, so it must be closed here
        hang_up(descriptor)
        raise


def make_socket_acceptor(listening: socket.socket) -> Callable[[], socket.socket]:
    """Return a function that accepts a connection as a socket object, and leaks no descriptor.

    `socket.accept` leaks the descriptor if there is no memory for the socket object.

    Args:
        listening: the socket to accept on, non-blocking.
    """
    accept = make_acceptor(listening)

    def take() -> socket.socket:
        descriptor, _ = accept()
        return adopt(descriptor, listening)

    return take


def hang_up(descriptor: int) -> None:
    """Close the descriptor of a connection.

    An error changes nothing: close(2) gives the descriptor back in spite of it. What was read
    from the connection still counts, and no other connection must pay for the error.

    Args:
        descriptor: the caller must not use it after this.
    """
    try:
        os.close(descriptor)
    except OSError:
        return


def close(connection: socket.socket | socket.SocketType) -> None:
    """Close a connection; see `hang_up`.

    Args:
        connection: the caller must not use it after this.
    """
    try:
        connection.close()
    except OSError:
        return


def choose_reader(listening: socket.socket) -> Reader:
    """Return the fastest function that reads a connection on this kernel, found by trying.

    Args:
        listening: the socket that will accept the connections.
    """
    try:
        os.preadv(listening.fileno(), [bytearray(1)], _NEXT, os.RWF_NOWAIT)
    except (AttributeError, NotImplementedError):  # a C library without it
        return _receive
    except OSError as error:
        # A listening socket is no connection. A kernel that knows the call answers ENOTCONN;
        # before Linux 6.5 the kernel answers EOPNOTSUPP.
        return _read_what_is_there if error.errno == errno.ENOTCONN else _receive
    raise AssertionError("nothing can be read from a listening socket")


# Each read is complete before the next one, so all share the memory that the kernel writes to.
_BUFFER: Final = bytearray(MAX_INPUT)
_WHOLE_BUFFER: Final[list[bytearray | memoryview]] = [_BUFFER]


def _read_what_is_there(descriptor: int, room: int) -> bytes | End | None:
    into = _WHOLE_BUFFER if room == MAX_INPUT else [memoryview(_BUFFER)[:room]]
    try:
        got = os.preadv(descriptor, into, _NEXT, os.RWF_NOWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return End.RESET
    if got == len(LINE) and _BUFFER.startswith(LINE):
        return LINE  # nearly always; to copy it would cost more than to compare it
    return bytes(_BUFFER[:got]) or End.EOF


def _receive(descriptor: int, room: int) -> bytes | End | None:
    # The C type, which costs less than its Python subclass socket.socket. It gives the
    # descriptor back at once.
    sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
    try:
        return sock.recv(room, socket.MSG_DONTWAIT) or End.EOF
    except BlockingIOError:
        return None
    except OSError:
        return End.RESET
    finally:
        sock.detach()


READERS: Final[tuple[Reader, ...]] = (_read_what_is_there, _receive)

"""Hands classic BPF programs to the kernel, for good.

`SO_LOCK_FILTER` cannot be undone: from then on neither this process nor
whoever takes it over can detach the program or put another in its place
(socket(7)). A program is never read back: `SO_GET_FILTER` counts in
instructions where `getsockopt` of Python counts in bytes, and overruns it.

A TCP socket takes a program only from a process with CAP_NET_ADMIN over the
socket's network namespace since Linux commit 5d39580f68e6 (measured on 6.18;
before that, and for UDP still, nobody needs a privilege). So programs are
attached before privileges are dropped.
"""

import ctypes
import errno
import socket
from typing import Final

from mailbell._sys._libc import ANOTHER_SANDBOX
from mailbell._sys.bpf_program import MAX_INSTRUCTIONS, Program
from mailbell.core.errors import MailbellError, OperatingSystemError, PrivilegeError

__all__ = ["attach", "detach", "lock"]

# asm-generic/socket.h; the socket module does not name them.
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_SO_LOCK_FILTER: Final = 44


class _SockFilter(ctypes.Structure):
    """`struct sock_filter` (linux/filter.h)."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _SockFprog(ctypes.Structure):
    """`struct sock_fprog` (linux/filter.h)."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_SockFilter)))


def attach(sock: socket.socket, program: Program) -> None:
    """Let the kernel drop what the program does not accept.

    What came before stays: a datagram already queued, a connection already
    established. So the daemon looks at sources and lines as if there were no filter.

    Args:
        sock: a TCP socket that listens or will, or a UDP socket. Sockets accepted
            from it inherit the program.
        program: 1 to 4096 instructions.

    Raises:
        PrivilegeError: the kernel wants CAP_NET_ADMIN for it.
        OperatingSystemError: the kernel refuses the program, or an earlier one is locked.
    """
    # ctypes would cut the number of instructions to 16 bits without a word.
    if len(program) > MAX_INSTRUCTIONS:
        raise OperatingSystemError(
            f"the packet filter has {len(program)} instructions, the kernel takes at most 4096",
            "list fewer or wider networks in sources.allow",
        )
    instructions = (_SockFilter * len(program))(*(_SockFilter(*each) for each in program))
    fprog = _SockFprog(len(program), instructions)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(fprog))
    except OSError as error:
        raise _refused(error, sock, len(program)) from error


def detach(sock: socket.socket) -> None:
    """Take a filter off that an earlier run left on a socket the service manager keeps.

    Args:
        sock: any socket; it is no error if it has no filter.

    Raises:
        OperatingSystemError: the filter is locked.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise _refused(error, sock, 0) from error


def lock(sock: socket.socket) -> None:
    """Forbid for good that the socket's filter is detached or replaced.

    The lock is the socket's and not the process's: a socket that a service
    manager keeps and passes again stays locked, with the program of the first run.

    Args:
        sock: any socket; without a filter, none can be attached any more.

    Raises:
        OperatingSystemError: the kernel refuses.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
    except OSError as error:
        raise OperatingSystemError(
            f"the packet filter cannot be locked: {error.strerror}", ANOTHER_SANDBOX
        ) from error


def _refused(error: OSError, sock: socket.socket, length: int) -> MailbellError:
    """Say why a program could not be attached."""
    if error.errno == errno.ENOMEM:
        return OperatingSystemError(
            f"a packet filter of {length} instructions exceeds net.core.optmem_max",
            "raise it (sysctl net.core.optmem_max=131072),"
            " or list fewer or wider networks in sources.allow",
        )
    if error.errno != errno.EPERM:
        return OperatingSystemError(
            f"the kernel refuses the packet filter: {error.strerror}", ANOTHER_SANDBOX
        )
    if sock.getsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER):
        return OperatingSystemError(
            "the socket has a packet filter already, locked by an earlier run",
            "make it anew: restart the socket unit",
        )
    return PrivilegeError(
        "this kernel lets only a process with CAP_NET_ADMIN filter a TCP socket",
        "start as root, or with AmbientCapabilities=CAP_NET_ADMIN (given up before serving)",
    )

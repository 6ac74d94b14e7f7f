"""Attaches classic BPF programs to sockets, and locks them there.

`SO_LOCK_FILTER` cannot be undone: after it neither this process nor an intruder in
it can detach the program or replace it (socket(7)). No code here reads a program back:
`SO_GET_FILTER` counts in instructions and Python's `getsockopt` counts in bytes, so the
kernel would write beyond the end of Python's buffer.

Since Linux commit 5d39580f68e6 a process needs CAP_NET_ADMIN in the socket's network
namespace to attach a program to a TCP socket (measured on 6.18). Earlier kernels demand
no privilege, and for UDP no kernel does. So programs are attached before the privileges
are dropped.
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
    """Make the kernel drop every packet that the program does not accept.

    The kernel keeps what arrived earlier: a datagram in the queue, an established
    connection. So the daemon checks every source and line itself as well.

    Args:
        sock: a TCP socket that listens now or later, or a UDP socket. Sockets accepted
            from it inherit the program.
        program: 1 to 4096 instructions.

    Raises:
        PrivilegeError: the kernel demands CAP_NET_ADMIN for it.
        OperatingSystemError: the kernel refuses the program, or the socket has a locked one.
    """
    # ctypes would cut the number of instructions to 16 bits without an error.
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
    """Remove the filter of an earlier run from a socket that the service manager kept.

    Args:
        sock: any socket. A socket without a filter is no error.

    Raises:
        OperatingSystemError: the filter is locked.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise _refused(error, sock, 0) from error


def lock(sock: socket.socket) -> None:
    """Forbid for ever to detach or replace the socket's filter.

    The lock belongs to the socket and not to the process. A service manager can keep a
    socket and pass it again: it stays locked, with the program of the first run.

    Args:
        sock: any socket. A socket without a filter can never get one after this.

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
            "restart the socket unit: it makes a new socket",
        )
    return PrivilegeError(
        "this kernel lets only a process with CAP_NET_ADMIN filter a TCP socket",
        "start as root, or with AmbientCapabilities=CAP_NET_ADMIN (given up before serving)",
    )

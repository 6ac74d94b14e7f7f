"""A stand-in for a service manager: it passes real descriptors, and can add an outer filter.

It becomes the program by execve(2), as a service manager's child does. So LISTEN_PID is
the id of the program's process.
"""

import socket
import sys
from collections.abc import Collection, Mapping
from typing import Final

__all__ = ["listening", "passing"]

# Arguments: descriptors, their names, the system calls that are permitted (none: all)
# and those that are refused, and the program. Descriptors go to 3 and on, by way of
# numbers that none of them has.
_MANAGER: Final = """
import os, sys
given, names, permitted, refused, *program = sys.argv[1:]
given = [int(number) for number in given.split(",")]
for place, number in enumerate([os.dup(number) for number in given]):
    os.dup2(number, 100 + place)
for place in range(len(given)):
    os.dup2(100 + place, 3 + place, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)), LISTEN_FDNAMES=names)
if permitted:
    import errno
    from mailbell._sys.seccomp import _library
    libseccomp = _library()
    around = libseccomp.SyscallFilter(libseccomp.KILL_PROCESS)
    for answer, names in (libseccomp.ALLOW, permitted), (libseccomp.ERRNO(errno.EPERM), refused):
        for name in names.split(","):
            number = libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, name)
            if number >= 0:  # a negative number: only other architectures have the call
                around.add_rule(answer, number)
    around.load()
os.execv(program[0], program)
"""


def listening(family: int, kind: int, address: object) -> socket.socket:
    """Make a socket as a service manager does."""
    sock = socket.socket(family, kind)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)  # type: ignore[arg-type]  # of any family
    if kind == socket.SOCK_STREAM:
        sock.listen(64)
    return sock


def passing(
    sockets: Mapping[str, Collection[socket.socket]],
    permitted: Collection[str] = (),
    refused: Collection[str] = (),
) -> tuple[list[str], list[int]]:
    """Pass sockets to a program.

    Args:
        sockets: by their names (`FileDescriptorName=`).
        permitted: the names of system calls; any other kills the program. None: all.
        refused: those that do not kill it, but get EPERM.

    Returns:
        The beginning of its command line, and the descriptors that it must inherit.
    """
    pairs = [(name, sock.fileno()) for name, group in sockets.items() for sock in group]
    descriptors = [number for _, number in pairs]
    names = ":".join(name for name, _ in pairs)
    words = [",".join(map(str, descriptors)), names, ",".join(permitted), ",".join(refused)]
    return [sys.executable, "-c", _MANAGER, *words], descriptors

"""Gives up the file system, TCP and the neighbours with Landlock.

Every right of the pinned interface is handled. The only rules that may be added
are TCP ports to connect to; every other right is gone. What Landlock does not
know (`Landlock.uncovered`) is left to the seccomp filter.

Source: landlock(7), Linux `include/uapi/linux/landlock.h`.
"""

import ctypes
import errno
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from mailbell._sys._libc import ANOTHER_SANDBOX, syscall
from mailbell.core.errors import InternalError, OperatingSystemError

__all__ = ["PINNED", "Landlock", "abi", "restrict"]

# The numbers are the same on all architectures (syscalls(2)).
CREATE_RULESET: Final = 444
ADD_RULE: Final = 445
RESTRICT_SELF: Final = 446
CREATE_RULESET_VERSION: Final = 1
RULE_NET_PORT: Final = 2
ACCESS_NET_CONNECT_TCP: Final = 1 << 1

# A newer kernel may handle more and so deny more than was tested with this
# release: rights it adds after this version are not asked for. Version 7 only
# added ways to log.
PINNED: Final = 7

# Version: rights it brought, as the highest bit it knows plus one.
FS_BITS: Final = {1: 13, 2: 14, 3: 15, 5: 16}  # refer, truncate, ioctl_dev
NET_BITS: Final = {4: 2}  # bind_tcp, connect_tcp
SCOPE_BITS: Final = {6: 2}  # abstract_unix_socket, signal

# A file this process can open, else it would not have come this far.
WITNESS: Final = "/proc/self/status"

# What each version was the first to cover. Moving files between directories
# is not here: version 1 always denies it.
SINCE: Final = {
    3: "truncating files",
    4: "binding and connecting TCP",
    5: "ioctl on devices",
    6: "connecting to abstract Unix sockets and signalling other processes",
}
NEVER: Final = (
    "stat, chmod and other reading or changing of metadata",
    "connecting to Unix sockets by path",
    "UDP and other protocols than TCP",
)


@dataclass(frozen=True, slots=True)
class Landlock:
    """What is in force.

    Attributes:
        abi: the version this kernel offers.
        used: the version in force, `PINNED` at most.
        handled_fs: bits of `LANDLOCK_ACCESS_FS_*` that were given up.
        handled_net: bits of `LANDLOCK_ACCESS_NET_*` that were given up.
        scoped: bits of `LANDLOCK_SCOPE_*` in force.
        uncovered: in words, what this does not stop.
    """

    abi: int
    used: int
    handled_fs: int
    handled_net: int
    scoped: int
    uncovered: tuple[str, ...]


class _Attributes(ctypes.Structure):
    """`struct landlock_ruleset_attr`: it grew at its end, twice."""

    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _NetPort(ctypes.Structure):
    """`struct landlock_net_port_attr`."""

    _fields_ = [("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64)]


def abi() -> int:
    """Ask which version of Landlock this kernel offers.

    Returns:
        The version, 1 or greater.

    Raises:
        OperatingSystemError: none at all.
    """
    try:
        version = _create_ruleset(None, CREATE_RULESET_VERSION)
    except OSError as error:
        remedies = {
            errno.ENOSYS: "it needs Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK",
            errno.EOPNOTSUPP: "boot with landlock in the lsm= parameter",
        }
        raise OperatingSystemError(
            f"the kernel offers no Landlock: {error.strerror}",
            remedies.get(error.errno or 0, ANOTHER_SANDBOX),
        ) from error
    if version < 1:
        raise OperatingSystemError(
            f"the kernel offers version {version} of Landlock", ANOTHER_SANDBOX
        )
    return version


def plan(version: int) -> Landlock:
    """Work out what `restrict` will do.

    Args:
        version: of Landlock, as the kernel offers it.

    Returns:
        What it puts in force there, and what stays uncovered.
    """
    usable = min(version, PINNED)
    missing = tuple(what for since, what in SINCE.items() if since > usable)
    return Landlock(
        abi=version,
        used=usable,
        handled_fs=_mask(FS_BITS, usable),
        handled_net=_mask(NET_BITS, usable),
        scoped=_mask(SCOPE_BITS, usable),
        uncovered=(*missing, *NEVER),
    )


def restrict(*, connect_to: Collection[int] = ()) -> Landlock:
    """Give up every right of the pinned interface that this kernel knows.

    Call it with a single thread and `no_new_privs` set: before version 8
    Landlock binds the calling thread and what it starts later, no other.

    Args:
        connect_to: TCP ports that may still be connected to. A kernel whose Landlock
            does not know TCP cannot keep the process from any other port; then
            `Landlock.uncovered` says so.

    Returns:
        What is now in force.

    Raises:
        OSError: no file can be opened, so that nothing could be proven.
        OperatingSystemError: there is no Landlock, or it refused.
        InternalError: a file can be opened all the same.
    """
    _open_witness()
    planned = plan(abi())
    attributes = _Attributes(planned.handled_fs, planned.handled_net, planned.scoped)
    try:
        ruleset = _create_ruleset(attributes, 0)
        try:
            if planned.handled_net & ACCESS_NET_CONNECT_TCP:
                for port in connect_to:
                    _permit_connecting(ruleset, port)
            syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
        finally:
            os.close(ruleset)
    except OSError as error:
        raise OperatingSystemError(
            f"Landlock refused: {error.strerror}", "no_new_privs must be set before"
        ) from error
    _require_in_force()
    return planned


def _permit_connecting(ruleset: int, port: int) -> None:
    rule = _NetPort(ACCESS_NET_CONNECT_TCP, port)
    number, kind = ctypes.c_int(ruleset), ctypes.c_int(RULE_NET_PORT)
    syscall(ADD_RULE, number, kind, ctypes.byref(rule), ctypes.c_uint32(0))


def _open_witness() -> None:
    os.close(os.open(WITNESS, os.O_RDONLY))


def _require_in_force() -> None:
    """Prove it here: once the system call filter is loaded, that would refuse already."""
    try:
        _open_witness()
    except PermissionError:
        return
    raise InternalError("Landlock was entered, and yet a file can be opened")


def _mask(bits: dict[int, int], version: int) -> int:
    known = max((count for since, count in bits.items() if since <= version), default=0)
    return (1 << known) - 1


def _create_ruleset(attributes: _Attributes | None, flags: int) -> int:
    pointer = None if attributes is None else ctypes.byref(attributes)
    # A kernel that knows a shorter structure takes a longer one as long as
    # the surplus is zero, which it is: its rights are masked out.
    size = 0 if attributes is None else ctypes.sizeof(attributes)
    return syscall(CREATE_RULESET, pointer, ctypes.c_size_t(size), ctypes.c_uint32(flags))

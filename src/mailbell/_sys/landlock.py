"""Gives up files, TCP, abstract Unix sockets and signals to other processes with Landlock.

The ruleset handles every right of the pinned version. The only rules that may be added
are TCP ports to connect to; every other right is gone. The seccomp filter must forbid
what Landlock does not cover (`Landlock.uncovered`).

A program that still has to open a file which another user can change enters a first layer before
that: `confine_files` leaves it one folder.

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

__all__ = ["PINNED", "Landlock", "abi", "confine_files", "restrict"]

# The numbers are the same on all architectures (syscalls(2)).
CREATE_RULESET: Final = 444
ADD_RULE: Final = 445
RESTRICT_SELF: Final = 446
CREATE_RULESET_VERSION: Final = 1
RULE_PATH_BENEATH: Final = 1
RULE_NET_PORT: Final = 2
ACCESS_FS_WRITE_FILE: Final = 1 << 1
ACCESS_FS_READ_FILE: Final = 1 << 2
ACCESS_FS_READ_DIR: Final = 1 << 3
ACCESS_FS_REMOVE_FILE: Final = 1 << 5
ACCESS_FS_MAKE_REG: Final = 1 << 8
ACCESS_FS_TRUNCATE: Final = 1 << 14
ACCESS_NET_CONNECT_TCP: Final = 1 << 1

# The newest version that this release was tested with. A newer kernel could deny more
# than was tested, so the rights of later versions are not requested. Version 7 only
# added ways to log.
PINNED: Final = 7

# For each version that added rights: how many rights it knows. Their bits count from 0.
FS_BITS: Final = {1: 13, 2: 14, 3: 15, 5: 16}  # refer, truncate, ioctl_dev
NET_BITS: Final = {4: 2}  # bind_tcp, connect_tcp
SCOPE_BITS: Final = {6: 2}  # abstract_unix_socket, signal

# What a program may do in a folder of its own: all that regular files need. It may not execute.
ACCESS_FOLDER: Final = (
    ACCESS_FS_WRITE_FILE
    | ACCESS_FS_READ_FILE
    | ACCESS_FS_READ_DIR
    | ACCESS_FS_REMOVE_FILE
    | ACCESS_FS_MAKE_REG
    | ACCESS_FS_TRUNCATE
)

# A file that this process can open before Landlock is in force: the program has opened it.
WITNESS: Final = "/proc/self/status"

# What each version was the first to cover. Moving files between directories
# is not listed: version 1 always denies it.
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
    """What Landlock forbids this process.

    Attributes:
        abi: the version that this kernel offers.
        used: the version in force, `PINNED` at most.
        handled_fs: the rights given up, bits of `LANDLOCK_ACCESS_FS_*`.
        handled_net: the rights given up, bits of `LANDLOCK_ACCESS_NET_*`.
        scoped: the scopes in force, bits of `LANDLOCK_SCOPE_*`.
        uncovered: what Landlock does not forbid, in words.
    """

    abi: int
    used: int
    handled_fs: int
    handled_net: int
    scoped: int
    uncovered: tuple[str, ...]


class _Attributes(ctypes.Structure):
    """`struct landlock_ruleset_attr`. Later versions added fields at its end, twice."""

    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _NetPort(ctypes.Structure):
    """`struct landlock_net_port_attr`."""

    _fields_ = [("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def abi() -> int:
    """Ask which version of Landlock this kernel offers.

    Returns:
        The version, 1 or greater.

    Raises:
        OperatingSystemError: the kernel offers no Landlock.
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
    """Work out what `restrict` puts in force on a kernel.

    Args:
        version: the version of Landlock that the kernel offers.

    Returns:
        What will be in force, and what will stay uncovered.
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


def confine_files(folder: str, readable: Collection[str] = ()) -> None:
    """Give up all files but those in one folder, for good. `restrict` then takes these too.

    Call it as `restrict`. The network is not touched.

    Args:
        folder: where regular files may be read, written, made and removed; nothing may be
            executed.
        readable: further files that may be read.

    Raises:
        OSError: a path cannot be opened.
        OperatingSystemError: the kernel offers no Landlock, or it refused.
        InternalError: Landlock is in force, but another file can still be opened.
    """
    _open_witness(WITNESS)
    handled = plan(abi()).handled_fs
    permitted = [(folder, ACCESS_FOLDER), *((path, ACCESS_FS_READ_FILE) for path in readable)]
    opened = [(os.open(path, os.O_PATH | os.O_CLOEXEC), access) for path, access in permitted]
    try:
        ruleset = _create_ruleset(_Attributes(handled, 0, 0), 0)
        try:
            for descriptor, access in opened:
                rule = _PathBeneath(access & handled, descriptor)
                _add_rule(ruleset, RULE_PATH_BENEATH, rule)
            syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
        finally:
            os.close(ruleset)
    except OSError as error:
        raise OperatingSystemError(
            f"Landlock refused: {error.strerror}", "no_new_privs must be set first"
        ) from error
    finally:
        for descriptor, _ in opened:
            os.close(descriptor)
    _require_in_force(WITNESS)


def restrict(*, connect_to: Collection[int] = (), witness: str = WITNESS) -> Landlock:
    """Give up every right of the pinned version that this kernel knows.

    Call it with a single thread and `no_new_privs` set. Before version 8 Landlock
    restricts only the calling thread and the threads that it starts later.

    Args:
        connect_to: TCP ports that the process may still connect to. If the kernel's
            Landlock does not know TCP it forbids no port at all, and
            `Landlock.uncovered` says so.
        witness: a file or folder that this process can open now. That it cannot afterwards
            is the proof.

    Returns:
        What is now in force.

    Raises:
        OSError: no file could be opened before, so nothing could be proven.
        OperatingSystemError: the kernel offers no Landlock, or it refused.
        InternalError: Landlock is in force, but a file can still be opened.
    """
    _open_witness(witness)
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
            f"Landlock refused: {error.strerror}", "no_new_privs must be set first"
        ) from error
    _require_in_force(witness)
    return planned


def _permit_connecting(ruleset: int, port: int) -> None:
    _add_rule(ruleset, RULE_NET_PORT, _NetPort(ACCESS_NET_CONNECT_TCP, port))


def _add_rule(ruleset: int, kind: int, rule: ctypes.Structure) -> None:
    number = ctypes.c_int(ruleset)
    syscall(ADD_RULE, number, ctypes.c_int(kind), ctypes.byref(rule), ctypes.c_uint32(0))


def _open_witness(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def _require_in_force(path: str) -> None:
    """Prove that Landlock refuses. Later the filter would refuse first, and prove nothing."""
    try:
        _open_witness(path)
    except PermissionError:
        return
    raise InternalError("Landlock is in force, but a file can still be opened")


def _mask(bits: dict[int, int], version: int) -> int:
    known = max((count for since, count in bits.items() if since <= version), default=0)
    return (1 << known) - 1


def _create_ruleset(attributes: _Attributes | None, flags: int) -> int:
    pointer = None if attributes is None else ctypes.byref(attributes)
    # A kernel that knows a shorter structure accepts a longer one if the surplus
    # bytes are zero. They are: `plan` leaves out the rights that the kernel does not know.
    size = 0 if attributes is None else ctypes.sizeof(attributes)
    return syscall(CREATE_RULESET, pointer, ctypes.c_size_t(size), ctypes.c_uint32(flags))

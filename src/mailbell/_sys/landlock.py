"""Gives up files, TCP, UDP, Unix sockets and signals to other processes with Landlock.

The ruleset handles every right of the pinned version. The only rules that may be added
are ports to call by TCP and by UDP, and folders with Unix sockets to connect to; every other right
is gone. The seccomp filter must forbid what Landlock does not cover (`Landlock.uncovered`).

A program that still has to open a file which another user can change enters a first layer before
that: `confine_files` leaves it one folder.

Source: landlock(7), Linux `include/uapi/linux/landlock.h`.
"""

import ctypes
import errno
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
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
RESTRICT_SELF_TSYNC: Final = 1 << 3
ACCESS_FS_WRITE_FILE: Final = 1 << 1
ACCESS_FS_READ_FILE: Final = 1 << 2
ACCESS_FS_READ_DIR: Final = 1 << 3
ACCESS_FS_REMOVE_FILE: Final = 1 << 5
ACCESS_FS_MAKE_REG: Final = 1 << 8
ACCESS_FS_TRUNCATE: Final = 1 << 14
ACCESS_FS_RESOLVE_UNIX: Final = 1 << 16
ACCESS_NET_CONNECT_TCP: Final = 1 << 1
ACCESS_NET_BIND_UDP: Final = 1 << 2
ACCESS_NET_CONNECT_SEND_UDP: Final = 1 << 3

# The newest version that this release was tested with. A newer kernel could deny more
# than was tested, so the rights of later versions are not requested. Version 7 only
# added ways to log, and version 10 ways to keep refusals out of the log. Neither is used:
# the operator should see what was refused.
PINNED: Final = 10
EVERY_THREAD: Final = 8  # the first version that can restrict all threads of the process

# For each version that added rights: how many rights it knows. Their bits count from 0.
FS_BITS: Final = {1: 13, 2: 14, 3: 15, 5: 16, 9: 17}  # refer, truncate, ioctl_dev, resolve_unix
NET_BITS: Final = {4: 2, 10: 4}  # bind_tcp, connect_tcp; bind_udp, connect_send_udp
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
    9: "connecting to Unix sockets by path",
    10: "binding, connecting and sending UDP",
}
NEVER: Final = (
    "stat, chmod and other reading or changing of metadata",
    "other protocols than TCP and UDP",
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
        flags: of landlock_restrict_self(2): whether it binds every thread of the process.
        uncovered: what Landlock does not forbid, in words.
    """

    abi: int
    used: int
    handled_fs: int
    handled_net: int
    scoped: int
    flags: int
    uncovered: tuple[str, ...]


class _Attributes(ctypes.Structure):
    """`struct landlock_ruleset_attr` as of version 6.

    Each version that adds fields puts them at the end, and the kernel takes fields that are
    missing for zero. Those of version 10 keep refusals out of the log, so they stay zero.
    """

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
    _layout_ = "ms"  # what _pack_ means; Python 3.14 and later want it said
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
        flags=RESTRICT_SELF_TSYNC if usable >= EVERY_THREAD else 0,
        uncovered=(*missing, *NEVER),
    )


def confine_files(folder: str, readable: Collection[str] = (), *, alone: bool = False) -> None:
    """Give up all files but those in one folder, for good. `restrict` then takes these too.

    Call it as `restrict`.

    Args:
        folder: where regular files may be read, written, made and removed; nothing may be
            executed.
        readable: further files that may be read.
        alone: whether the network, abstract sockets and signals to other processes are given up
            too. No later layer can then permit a port.

    Raises:
        OSError: a path cannot be opened.
        OperatingSystemError: the kernel offers no Landlock, or it refused.
        InternalError: Landlock is in force, but another file can still be opened.
    """
    _open_witness(WITNESS)
    planned = plan(abi())
    handled = planned.handled_fs
    others = (planned.handled_net, planned.scoped) if alone else (0, 0)
    permitted = [(folder, ACCESS_FOLDER), *((path, ACCESS_FS_READ_FILE) for path in readable)]
    opened = [(os.open(path, os.O_PATH | os.O_CLOEXEC), access) for path, access in permitted]
    rules = [
        (RULE_PATH_BENEATH, _PathBeneath(access & handled, descriptor))
        for descriptor, access in opened
    ]
    try:
        _put_in_force(_Attributes(handled, *others), rules, planned.flags)
    finally:
        for descriptor, _ in opened:
            os.close(descriptor)
    _require_in_force(WITNESS)


def restrict(
    *,
    connect_to: Collection[int] = (),
    send_to: Collection[int] = (),
    connect_within: Collection[str] = (),
    witness: str = WITNESS,
) -> Landlock:
    """Give up every right of the pinned version that this kernel knows.

    Call it with a single thread and `no_new_privs` set. Before version 8 Landlock
    restricts only the calling thread and the threads that it starts later.

    Args:
        connect_to: TCP ports that the process may still connect to. If the kernel's
            Landlock does not know TCP it forbids no port at all, and
            `Landlock.uncovered` says so.
        send_to: UDP ports that the process may still connect and send to, from ports that
            the kernel chooses. The same holds for a Landlock that does not know UDP.
        connect_within: folders in which the process may still connect to Unix sockets. The same
            holds for a Landlock that does not know these.
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
    wanted = [(ACCESS_NET_CONNECT_TCP, port) for port in connect_to]
    wanted += [(ACCESS_NET_CONNECT_SEND_UDP, port) for port in send_to]
    if send_to:
        # A socket that is not bound gets a local port when it is connected. Port 0 is
        # this choice of the kernel's.
        wanted.append((ACCESS_NET_BIND_UDP, 0))
    rules: list[tuple[int, ctypes.Structure]] = [
        (RULE_NET_PORT, _NetPort(right, port))
        for right, port in wanted
        if right & planned.handled_net
    ]
    sockets = connect_within if ACCESS_FS_RESOLVE_UNIX & planned.handled_fs else ()
    with _folders(sockets) as folders:
        rules += [
            (RULE_PATH_BENEATH, _PathBeneath(ACCESS_FS_RESOLVE_UNIX, folder)) for folder in folders
        ]
        _put_in_force(attributes, rules, planned.flags)
    _require_in_force(witness)
    return planned


@contextmanager
def _folders(paths: Collection[str]) -> Iterator[list[int]]:
    """Open folders for rules, and close them at the end."""
    with ExitStack() as stack:
        opened = []
        for path in paths:
            descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            opened.append(descriptor)
        yield opened


def _put_in_force(
    attributes: _Attributes, rules: Collection[tuple[int, ctypes.Structure]], flags: int
) -> None:
    try:
        ruleset = _create_ruleset(attributes, 0)
        try:
            for kind, rule in rules:
                _add_rule(ruleset, kind, rule)
            syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(flags))
        finally:
            os.close(ruleset)
    except OSError as error:
        raise OperatingSystemError(
            f"Landlock refused: {error.strerror}", "no_new_privs must be set first"
        ) from error


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

"""Changes user and group for ever, and proves the change.

The ids are changed with Python's `os`, which calls the C library. The C library changes
every thread; a raw system call would change one thread only.

Source: credentials(7), capabilities(7), setresuid(2), capset(2).
"""

import ctypes
import errno
import grp
import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from mailbell._sys._libc import ANOTHER_SANDBOX, check, libc, prctl
from mailbell._sys.undumpable import make_undumpable
from mailbell.core.errors import (
    ConfigurationError,
    InternalError,
    OperatingSystemError,
    PrivilegeError,
)

__all__ = [
    "Capabilities",
    "Identity",
    "become",
    "clear_capabilities",
    "current_identity",
    "empty_bounding_set",
    "find_group_to_give",
    "read_capabilities",
    "require_identity",
    "resolve_group",
    "resolve_user",
]

# linux/prctl.h
PR_SET_KEEPCAPS: Final = 8
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

# linux/capability.h: version 3 takes two structures of 32 bits each.
CAPABILITY_VERSION_3: Final = 0x20080522
CAPABILITY_BITS: Final = 64
CAP_SETPCAP: Final = 8


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and its primary group. The process runs as this user, or becomes it.

    Attributes:
        name: the user's name.
        uid: the user's number. A daemon never becomes user 0.
        gid: the number of its primary group. A daemon never gets group 0.
    """

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capability sets of this thread, as bits."""

    effective: int
    permitted: int
    inheritable: int


NO_CAPABILITIES: Final = Capabilities(0, 0, 0)


def current_identity() -> Identity:
    """Return the user that this process runs as now."""
    return Identity("the user it was started as", os.getuid(), os.getgid())


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def resolve_user(name: str) -> Identity:
    """Look up the user that the daemon must become.

    Args:
        name: the user's name, from `listen.user`.

    Returns:
        The user and its primary group.

    Raises:
        ConfigurationError: there is no such user, or it has root's uid or root's group.
    """
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError) as error:
        raise ConfigurationError(
            f"listen.user: there is no user {name!r}",
            "create it: useradd --system --user-group --no-create-home "
            f"--shell /usr/sbin/nologin {name}",
        ) from error
    if entry.pw_uid == 0 or entry.pw_gid == 0:
        raise ConfigurationError(
            f"listen.user: {name!r} has uid {entry.pw_uid} and gid {entry.pw_gid}",
            "choose a user that has neither root's uid nor root's group",
        )
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


def resolve_group(name: str, key: str = "socket.group") -> int:
    """Look up the number of a group.

    Args:
        name: the group's name.
        key: the key of the configuration that it comes from.

    Returns:
        The group's number.

    Raises:
        ConfigurationError: there is no such group.
    """
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError) as error:
        raise ConfigurationError(
            f"{key}: there is no group {name!r}", f"create it: groupadd --system {name}"
        ) from error


def find_group_to_give(name: str, key: str = "socket.group") -> int | None:
    """Look up the group of the local socket, if this process can give a file to it.

    Only root or a member of the group can do that (chown(2)). An ordinary user must be
    able to try the daemon without being in the group.

    Args:
        name: the group's name.
        key: the key of the configuration that it comes from.

    Returns:
        The group's number. None: this process runs as an ordinary user, and the user is
        not in the group or the group does not exist.

    Raises:
        ConfigurationError: there is no such group, and this process runs as root.
    """
    root = os.geteuid() == 0
    try:
        group = resolve_group(name, key)
    except ConfigurationError:
        if root:
            raise
        return None
    return group if root or group in os.getgroups() else None


def empty_bounding_set() -> None:
    """Remove every capability from the bounding set, so that no execve(2) can grant one.

    Raises:
        OSError: the kernel does not say which capabilities are in the set.
        PrivilegeError: this process lacks CAP_SETPCAP.
        InternalError: a capability is left.
    """
    for capability in range(CAPABILITY_BITS):
        try:
            held = prctl(PR_CAPBSET_READ, capability)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            break  # the kernel knows no capability with this number or a higher one
        if held:
            _drop_from_bounding_set(capability)
            if prctl(PR_CAPBSET_READ, capability):
                raise InternalError(f"capability {capability} is still in the bounding set")


def _drop_from_bounding_set(capability: int) -> None:
    try:
        prctl(PR_CAPBSET_DROP, capability)
    except OSError as error:
        raise PrivilegeError(
            f"cannot empty the capability bounding set: {error.strerror}",
            "start as root, or let the service manager empty it",
        ) from error


def become(identity: Identity) -> None:
    """Become another user for ever, and prove that there is no way back.

    The groups change first, then the group, then the user: a process that has changed its
    user may change nothing else.

    A change of user may make the process dumpable (fs.suid_dumpable). Another process of that
    user could then attach. So the capabilities are kept until the process is undumpable again:
    the kernel refuses all who have fewer, ptrace(2). If the starting program forbids to keep
    them, only the time of one call is left. Then they are cleared.

    Args:
        identity: the user to become.

    Raises:
        OperatingSystemError: the kernel refused to make the process undumpable.
        PrivilegeError: this process may not change its ids.
        InternalError: the process could become another user again.
    """
    uid, gid = identity.uid, identity.gid
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        with suppress(OSError):
            prctl(PR_SET_KEEPCAPS, 1)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise PrivilegeError(
            f"cannot become {identity.name}: {error.strerror}",
            "start as root, or as that user with the sockets from the service manager",
        ) from error
    make_undumpable()
    clear_capabilities()
    require_identity(identity)


def require_identity(identity: Identity) -> None:
    """Prove that this process runs as a user and cannot become another one.

    Args:
        identity: the user that the process must run as.

    Raises:
        InternalError: an id differs, a group is left, or an id can be changed.
    """
    uid, gid = identity.uid, identity.gid
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or os.getgroups():
        raise InternalError(
            f"not {identity.name} alone: uids {os.getresuid()}, gids {os.getresgid()}, "
            f"groups {os.getgroups()}"
        )
    _must_fail("setresuid", lambda: os.setresuid(0, 0, 0))
    _must_fail("setuid", lambda: os.setuid(0))
    _must_fail("setresgid", lambda: os.setresgid(0, 0, 0))
    _must_fail("setgid", lambda: os.setgid(0))
    _must_fail("setgroups", lambda: os.setgroups([0]))


def _must_fail(name: str, undo: Callable[[], None]) -> None:
    try:
        undo()
    except OSError as error:
        # EINVAL: root does not exist in this user namespace.
        if error.errno in {errno.EPERM, errno.EINVAL}:
            return
        raise InternalError(f"{name} failed, but not as expected: {error.strerror}") from error
    raise InternalError(f"{name} succeeded after every privilege was dropped")


def read_capabilities() -> Capabilities:
    """Ask the kernel which capabilities this thread has.

    Returns:
        The sets, as bits.

    Raises:
        OperatingSystemError: the kernel refuses to answer.
    """
    sets = (_Sets * 2)()
    try:
        check(libc.capget(ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), sets))
    except OSError as error:
        raise OperatingSystemError(f"capabilities: {error.strerror}", ANOTHER_SANDBOX) from error
    low, high = sets
    return Capabilities(
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )


def clear_capabilities() -> None:
    """Give up every capability of this thread for ever, ambient ones included.

    Call it with a single thread: capset(2) changes the calling thread only.

    Raises:
        OperatingSystemError: the kernel refused.
        InternalError: a capability is left, or can be raised again.
    """
    try:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        if read_capabilities() != NO_CAPABILITIES:
            # A process that has no capabilities skips the call, because its service
            # manager may forbid capset(2).
            _capset(NO_CAPABILITIES)
    except OSError as error:
        raise OperatingSystemError(f"capabilities: {error.strerror}", ANOTHER_SANDBOX) from error
    if read_capabilities() != NO_CAPABILITIES:
        raise InternalError(f"capabilities are left: {read_capabilities()}")
    wanted = 1 << CAP_SETPCAP
    _must_fail("capset", lambda: _capset(Capabilities(wanted, wanted, 0)))


def _capset(wanted: Capabilities) -> None:
    low, high = (
        _Sets(
            wanted.effective >> shift & 0xFFFFFFFF,
            wanted.permitted >> shift & 0xFFFFFFFF,
            wanted.inheritable >> shift & 0xFFFFFFFF,
        )
        for shift in (0, 32)
    )
    header = _Header(CAPABILITY_VERSION_3, 0)
    check(libc.capset(ctypes.byref(header), (_Sets * 2)(low, high)))

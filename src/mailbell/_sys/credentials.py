"""Changes user and group for good, and proves it.

Ids are changed with Python's `os`, that is the C library's functions, which
reach every thread; the raw calls change one thread only.

Source: credentials(7), capabilities(7), setresuid(2), capset(2).
"""

import ctypes
import errno
import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mailbell._sys._libc import ANOTHER_SANDBOX, check, libc, prctl
from mailbell.core.errors import (
    ConfigurationError,
    InternalError,
    OperatingSystemError,
    PrivilegeError,
)

__all__ = [
    "Capabilities",
    "Identity",
    "clear_capabilities",
    "current_identity",
    "drop_to",
    "empty_bounding_set",
    "group_to_give",
    "held_capabilities",
    "require_identity",
    "resolve_group",
    "resolve_user",
]

# linux/prctl.h
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
    """A user, with the primary group: whom a daemon becomes, or who it is.

    Attributes:
        name: of the user.
        uid: its number. A daemon never becomes 0.
        gid: its primary group. A daemon never becomes 0.
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
    """Look up whom to become.

    Args:
        name: of the user, as in `listen.user`.

    Returns:
        The user and its primary group.

    Raises:
        ConfigurationError: there is no such user, or it is root in disguise.
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
            "name a user that has neither root's uid nor root's group",
        )
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


def resolve_group(name: str) -> int:
    """Look up the number of a group.

    Args:
        name: of the group, as in `socket.group`.

    Returns:
        Its number.

    Raises:
        ConfigurationError: there is no such group.
    """
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError) as error:
        raise ConfigurationError(
            f"socket.group: there is no group {name!r}", f"create it: groupadd --system {name}"
        ) from error


def group_to_give(name: str) -> int | None:
    """Look up a group for the local socket, if this process can give a file to it.

    Only root, or a member, can (chown(2)). An ordinary user who tries the daemon
    out shall not need it.

    Args:
        name: of the group.

    Returns:
        Its number; None: an ordinary user is not in it, or it does not exist.

    Raises:
        ConfigurationError: there is no such group, and root asks.
    """
    root = os.geteuid() == 0
    try:
        group = resolve_group(name)
    except ConfigurationError:
        if root:
            raise
        return None
    return group if root or group in os.getgroups() else None


def empty_bounding_set() -> None:
    """Make sure no capability can ever be gained again, whatever is executed.

    Raises:
        OSError: the kernel does not tell what is in it.
        PrivilegeError: this process lacks CAP_SETPCAP.
        InternalError: something is left.
    """
    for capability in range(CAPABILITY_BITS):
        try:
            held = prctl(PR_CAPBSET_READ, capability)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            break  # the kernel knows no more
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


def drop_to(identity: Identity) -> None:
    """Become somebody else for good: groups, group, user, capabilities; then prove it.

    The order matters: after the user is changed the rest is no longer
    permitted. Capabilities are cleared although the kernel does so by itself,
    because it does not when SECBIT_NO_SETUID_FIXUP or SECBIT_KEEP_CAPS was set
    by whoever started us.

    Args:
        identity: whom to become.

    Raises:
        PrivilegeError: this process may not change its ids.
        InternalError: there is a way back.
    """
    uid, gid = identity.uid, identity.gid
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise PrivilegeError(
            f"cannot become {identity.name}: {error.strerror}",
            "start as root, or as that user with the sockets from the service manager",
        ) from error
    clear_capabilities()
    require_identity(identity)


def require_identity(identity: Identity) -> None:
    """Prove that this process is somebody and cannot become anybody else.

    Args:
        identity: who it must be.

    Raises:
        InternalError: an id differs, a group is left, or there is a way back.
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
        # EINVAL: in a user namespace root may not even exist.
        if error.errno in {errno.EPERM, errno.EINVAL}:
            return
        raise InternalError(f"{name} failed, but not as expected: {error.strerror}") from error
    raise InternalError(f"{name} succeeded after every privilege was dropped")


def held_capabilities() -> Capabilities:
    """Ask which capabilities this thread has.

    Returns:
        Its sets, as bits.

    Raises:
        OperatingSystemError: the kernel does not tell.
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
    """Give up every capability of this thread, ambient ones included, for good.

    Call it with a single thread: capset(2) reaches the calling one only.

    Raises:
        OperatingSystemError: the kernel refused.
        InternalError: something is left, or can be raised again.
    """
    try:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        if held_capabilities() != NO_CAPABILITIES:
            # Only then: a service manager that has given none need not permit the call.
            _capset(NO_CAPABILITIES)
    except OSError as error:
        raise OperatingSystemError(f"capabilities: {error.strerror}", ANOTHER_SANDBOX) from error
    if held_capabilities() != NO_CAPABILITIES:
        raise InternalError(f"capabilities are left: {held_capabilities()}")
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

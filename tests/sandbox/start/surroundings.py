"""Surroundings that a start-up may find, made in the process that becomes the daemon.

Each function here returns a function that is given a folder for its files. Only that process
sees the mounts, and they end with it.
"""

import ctypes
import functools
import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from harness import child

__all__ = [
    "Surrounding",
    "as_an_ordinary_user",
    "capabilities_that_stay",
    "dying_with_its_parent",
    "file_says",
    "groups",
    "inheriting_a_capability",
    "no_file",
    "no_folder",
    "no_openable_file",
    "process_limit",
    "require_granted",
]

Surrounding = Callable[[Path], None]

# linux/sched.h, sys/mount.h
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000

# linux/prctl.h, linux/securebits.h, linux/capability.h
PR_SET_PDEATHSIG: Final = 1
PR_SET_SECUREBITS: Final = 28
SECBIT_NO_SETUID_FIXUP: Final = 1 << 2
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_RAISE: Final = 2
CAPABILITY_VERSION_3: Final = 0x20080522
CAP_NET_RAW: Final = 13

# A user that is not root and owns nothing.
SOMEBODY: Final = 65534

libc: Final = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def as_an_ordinary_user() -> Surrounding:
    """Become an ordinary user, with every capability until the daemon runs.

    A user namespace gives root another number inside. Outside it is still root, so it can read
    everything that the tests can.
    """
    return lambda _: _enter_user_namespace(os.getuid() or SOMEBODY, os.getgid() or SOMEBODY)


def _enter_user_namespace(uid: int, gid: int) -> None:
    outside = os.geteuid(), os.getegid()
    _checked(libc.unshare(CLONE_NEWUSER))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outside[0]} 1"),
        ("gid_map", f"{gid} {outside[1]} 1"),
    ):
        Path("/proc/self", name).write_text(text)


@functools.cache
def _is_granted() -> bool:
    return child.run(lambda: as_an_ordinary_user()(Path())).error is None


def require_granted() -> None:
    """Skip where an ordinary user may not make namespaces."""
    if not _is_granted():
        pytest.skip("needs a user namespace, which this system does not grant")


@functools.cache
def _own_mounts() -> None:
    """Act once in the process that becomes the daemon."""
    if os.geteuid() != 0:
        _enter_user_namespace(os.getuid(), os.getgid())
    _checked(libc.unshare(CLONE_NEWNS))
    _checked(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))


def _bind(source: Path, target: str) -> None:
    _own_mounts()
    _checked(libc.mount(os.fsencode(source), target.encode(), None, MS_BIND, None))


def no_file(target: str) -> Surrounding:
    """The file is empty."""
    return lambda _: _bind(Path(os.devnull), target)


def no_openable_file(target: str) -> Surrounding:
    """No process can open the file, not even as root."""

    def surround(directory: Path) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(directory / "unopenable"))
        _bind(directory / "unopenable", target)

    return surround


def no_folder(target: str, *, mode: int = 0o755) -> Surrounding:
    """The folder is empty."""

    def surround(directory: Path) -> None:
        (directory / "nothing").mkdir(mode=mode)
        _bind(directory / "nothing", target)

    return surround


def file_says(target: str, text: bytes, *, mode: int = 0o644) -> Surrounding:
    """The file has this text."""

    def surround(directory: Path) -> None:
        (directory / "text").write_bytes(text)
        (directory / "text").chmod(mode)
        _bind(directory / "text", target)

    return surround


def process_limit(kind: int, limit: int) -> Surrounding:
    """A limit is low already, and cannot be raised."""
    return lambda _: resource.setrlimit(kind, (limit, limit))


def groups(*numbers: int) -> Surrounding:
    """It is in these groups."""
    return lambda _: os.setgroups(numbers)


def capabilities_that_stay() -> Surrounding:
    """Root's capabilities do not follow its ids, because the starting program has set it so."""
    return lambda _: _checked(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))


def inheriting_a_capability() -> Surrounding:
    """An ordinary user was given a capability, as a unit's AmbientCapabilities= does."""

    def surround(directory: Path) -> None:
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, and again above 31
        _checked(libc.capget(header, held))
        held[2] = held[1] & (1 << CAP_NET_RAW)
        _checked(libc.capset(header, held))
        _checked(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0))

    return surround


def dying_with_its_parent() -> Surrounding:
    """The starting program wanted a signal for it at the end of its parent."""
    return lambda _: _checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGUSR2, 0, 0, 0))

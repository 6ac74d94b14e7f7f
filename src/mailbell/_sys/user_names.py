"""Reads which users this machine has, because a locked process cannot ask any more.

A look-up of a user opens files, and connects to a name service (nsswitch.conf(5)). So all that
will be needed is read before the lock.
"""

import ctypes
import pwd
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from mailbell._sys._libc import libc

__all__ = ["MOST_USERS", "read_user_names"]

MOST_USERS: Final = 65_536
"""How many users are read at most that nobody asked for. Each takes about 150 bytes."""


class _Entry(ctypes.Structure):
    """The beginning of `struct passwd` (getpwent(3)); only this is read."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("uid", ctypes.c_uint32),
    )


def read_user_names(wanted: Iterable[str] = (), most: int = MOST_USERS) -> dict[int, str]:
    """Read the users of this machine. Call it before the lock, in a process with one thread.

    A name service may know more users than it lists. So the names that matter are asked for too.

    Args:
        wanted: names that matter, if such users exist. They have room in any case.
        most: how many other users are read at most.

    Returns:
        The name of each user by number. If users share a number, the first name.
    """
    names: dict[int, str] = {}
    for uid, name in _list(most):
        names.setdefault(uid, name)
    known = set(names.values())
    for name in wanted:
        if name not in known:
            # A name with a NUL or a surrogate raises a ValueError.
            with suppress(KeyError, ValueError):
                entry = pwd.getpwnam(name)
                names.setdefault(entry.pw_uid, entry.pw_name)
    return names


def _list(most: int) -> Iterator[tuple[int, str]]:
    """Yield users as the name services list them, each read only when it is asked for.

    `pwd.getpwall` would hold all at once. A directory may list a million.
    """
    getpwent = libc.getpwent
    getpwent.restype = ctypes.POINTER(_Entry)
    libc.setpwent()
    try:
        for _ in range(most):
            found = getpwent()
            if not found:
                return
            entry = found.contents
            # A name that is not UTF-8 belongs to no account.
            with suppress(UnicodeDecodeError):
                yield entry.uid, (entry.name or b"").decode()
    finally:
        libc.endpwent()

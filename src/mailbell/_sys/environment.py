"""Overwrites the environment that this process was started with.

execve(2) copies the environment into the memory of the new program, and the C library and
Python copy it again. It stays there when a variable is removed. It may hold passwords that
are none of this program's business, and code inside could read them.

Only the copies that these three make are known here. What other code has copied earlier is
not: a library of LD_PRELOAD, or a sitecustomize of Python.
"""

import ctypes
import os
import posix
from collections.abc import Iterator
from typing import Final

from mailbell._sys._libc import libc
from mailbell._sys._stat import own_stat
from mailbell.core.errors import OperatingSystemError

__all__ = ["forget_environment"]

# Places in proc_pid_stat(5).
_ENV_START: Final = 50
_ENV_END: Final = 51
# The bytes of a `bytes` object lie behind its header and before a NUL.
_HEADER: Final = bytes.__basicsize__ - 1
# CPython has one object for each shorter value and uses it everywhere.
_SHORTEST: Final = 2

libc.strchr.restype = ctypes.c_void_p
libc.strchr.argtypes = (ctypes.c_void_p, ctypes.c_int)
libc.strlen.restype = ctypes.c_size_t
libc.strlen.argtypes = (ctypes.c_void_p,)


def forget_environment() -> None:
    """Overwrite every variable in each of its places with zeros, and leave no variable.

    Call it when everything that the program needs of its environment was read, and with one
    thread.

    Raises:
        OperatingSystemError: the kernel does not tell where the environment is.
    """
    start, end = _block()
    known = [*posix.environ.items(), *os.environb.items()]
    for value in _values_of_the_c_library():
        ctypes.memset(value, 0, libc.strlen(value))
    for name in list(os.environb):  # `clear` would make a string of each value, a new copy
        del os.environb[name]
    posix.environ.clear()
    libc.clearenv()  # what Python did not know: an entry without "=", and a second one of a name
    ctypes.memset(start, 0, end - start)
    for pair in known:
        for part in pair:
            if len(part) >= _SHORTEST:
                ctypes.memset(id(part) + _HEADER, 0, len(part))


def _block() -> tuple[int, int]:
    """Return where execve(2) has put the environment: its first address, and that behind it."""
    try:
        stat = own_stat()
        start, end = stat[_ENV_START], stat[_ENV_END]
    except (OSError, ValueError, KeyError) as error:
        raise OperatingSystemError(
            f"cannot find the environment in /proc/self/stat: {error}", "mount /proc"
        ) from error
    if not 0 < start <= end:
        raise OperatingSystemError(
            "the kernel does not tell where the environment of this process is",
            "see which other sandbox is around this process",
        )
    return start, end


def _values_of_the_c_library() -> Iterator[int]:
    """Yield the address of each value in `environ`, which need not be in the kernel's block.

    The names stay, because the C library looks for them when a variable is removed. No value
    is copied here: a copy would be left in the memory that it took.
    """
    entries = ctypes.POINTER(ctypes.c_void_p).in_dll(libc, "environ")
    place = 0
    while entries and (entry := entries[place]):
        if equals := libc.strchr(entry, ord("=")):
            yield equals + 1
        place += 1

"""The C library, for what Python's `os` does not offer."""

import ctypes
import os
from typing import Any, Final

__all__ = ["ANOTHER_SANDBOX", "check", "libc", "prctl", "syscall"]

# The remedy when the kernel refuses something that it grants to every process.
ANOTHER_SANDBOX: Final = "is another sandbox around this process?"

# None means the libraries that this process has loaded: no search and no new file.
libc: Final = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def check(result: int) -> int:
    """Turn the C convention of -1 and `errno` into an exception.

    Args:
        result: what a function of `libc` returned.

    Returns:
        The same number when it is not -1.

    Raises:
        OSError: with the error of the last call.
    """
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, *arguments: int) -> int:
    """Change or read an attribute of this process.

    The kernel demands zeros for the arguments that an option does not use, and they
    are added here.

    Source: the manual page prctl(2).

    Raises:
        OSError: the kernel refused.
    """
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    return check(libc.prctl(ctypes.c_int(option), *padded))


def syscall(number: int, *arguments: Any) -> int:
    """Make a system call that the C library has no function for.

    Args:
        number: the number of the call.
        arguments: ctypes values, so that each has its full width.

    Raises:
        OSError: the kernel refused.
    """
    return check(int(libc.syscall(ctypes.c_long(number), *arguments)))

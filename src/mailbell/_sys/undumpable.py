"""Keeps other processes of the same user out of this one.

A process that is not dumpable cannot be traced, and its memory and descriptors cannot be
read, by a process that has no privilege over it. Until then every process of the same user can
attach. So a program that locks itself takes this step before it reads its options,
and this module imports as little as possible. Only what ctypes needs comes before it: modules,
of which some are replaced by smaller ones (mailbell/_sys/unneeded.py).

Source: PR_SET_DUMPABLE(2const), ptrace(2).
"""

from typing import Final

from mailbell._sys._libc import ANOTHER_SANDBOX, prctl
from mailbell.core.errors import InternalError, OperatingSystemError

__all__ = ["make_undumpable"]

# linux/prctl.h
PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4


def make_undumpable() -> None:
    """Forbid core dumps, and that other processes trace this one or read its memory.

    execve(2) and every change of ids reset the attribute. So a program that changes its
    user calls this again afterwards. A process that has attached before stays attached.

    Raises:
        OperatingSystemError: the kernel refused.
        InternalError: the kernel holds another value.
    """
    try:
        prctl(PR_SET_DUMPABLE, 0)
        found = prctl(PR_GET_DUMPABLE)
    except OSError as error:
        raise OperatingSystemError(f"dumpable: {error.strerror}", ANOTHER_SANDBOX) from error
    if found:
        raise InternalError(f"dumpable is {found} where 0 was set")

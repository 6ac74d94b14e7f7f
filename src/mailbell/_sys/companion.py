"""What a process that was forked for one task must do first.

It has copies of all descriptors of its parent. It would live on when its parent dies.

Source: fork(2), PR_SET_PDEATHSIG(2const), proc_pid_fd(5).
"""

import os
import signal
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from mailbell._sys._libc import ANOTHER_SANDBOX, prctl
from mailbell.core.errors import OperatingSystemError

__all__ = ["end_with_parent", "keep_descriptors"]

# linux/prctl.h
PR_SET_PDEATHSIG: Final = 1


def keep_descriptors(kept: Collection[int]) -> None:
    """Close every descriptor except the standard streams and some others.

    Args:
        kept: the numbers of the others.

    Raises:
        OSError: /proc is not mounted.
    """
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:  # 2: standard error
            with suppress(OSError):  # listdir's own descriptor is in the list, closed by now
                os.close(int(name))


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends.

    A change of the user resets this, so call it afterwards. A parent that has ended before
    is not noticed here, nor the end of one that Landlock keeps from sending signals out of its
    domain: the kernel sends the signal in the parent's name.

    Raises:
        OperatingSystemError: the kernel refused.
    """
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except OSError as error:
        raise OperatingSystemError(f"PDEATHSIG: {error.strerror}", ANOTHER_SANDBOX) from error

"""What a process inherits from whoever started it, and must not keep.

A descriptor that happens to be open would be one more thing to reach for an
intruder; a missing standard stream would be worse, since the next socket takes
its number and the log would go to a stranger. Blocked signals would make the
daemon deaf to SIGTERM, and an alarm that was set before would kill it.

Source: execve(2), "Effect on process attributes"; sd_listen_fds(3).
"""

import os
import signal
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["close_inherited"]

_FIRST_PASSED = 3  # SD_LISTEN_FDS_START


def close_inherited(environ: Mapping[str, str], pid: int) -> None:
    """Keep standard error and the service manager's sockets, and nothing else.

    Standard input and output become /dev/null: the daemon uses neither. Call it
    before anything is opened.

    Args:
        environ: the environment, for what a service manager passes.
        pid: of this process; descriptors meant for another are closed.

    Raises:
        OSError: there is no /dev/null, or no /proc.
    """
    _fill_standard_streams()
    _close_from(_FIRST_PASSED + _passed(environ, pid))
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _fill_standard_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:  # the number of a stream that was missing; it stays
        null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def _close_from(first: int) -> None:
    # Not up to the limit of today: what was opened before it was lowered stays open.
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= first:
            with suppress(OSError):  # the listing's own is closed already
                os.close(int(name))


def _passed(environ: Mapping[str, str], pid: int) -> int:
    """Return how many descriptors a service manager passes.

    What is not a number is complained of where the sockets are taken.
    """
    count = environ.get("LISTEN_FDS", "")
    meant_for_us = environ.get("LISTEN_PID") == str(pid)
    return int(count) if meant_for_us and count.isascii() and count.isdecimal() else 0

"""Removes what a process inherits from the program that started it and must not keep.

An intruder could use any descriptor that is open by chance. If a standard stream is
missing, the next socket gets its number, and the log would go to a stranger. Signals
are inherited too: see `mailbell._sys.signals`.

Source: execve(2), "Effect on process attributes"; sd_listen_fds(3).
"""

import os
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["close_inherited", "fill_standard_streams"]

_LAST_STREAM = 2
_FIRST_PASSED = 3  # SD_LISTEN_FDS_START
_DIGITS = 9  # a process has fewer than 10**9 descriptors


def close_inherited(environ: Mapping[str, str], pid: int) -> None:
    """Close every descriptor but standard error and the service manager's sockets.

    Standard input and output become /dev/null: the daemon uses neither. Call this
    before the program opens anything.

    Args:
        environ: the environment, which says what a service manager passes.
        pid: the id of this process. Descriptors for another process are closed.

    Raises:
        OSError: /dev/null is missing, or /proc is not mounted.
    """
    fill_standard_streams()
    _lead_nowhere(0, 1)
    _close_from(_FIRST_PASSED + _passed(environ, pid))


def fill_standard_streams() -> None:
    """Open /dev/null in the place of each standard stream that is missing.

    Raises:
        OSError: /dev/null is missing.
    """
    while (null := os.open(os.devnull, os.O_RDWR)) <= _LAST_STREAM:
        pass
    os.close(null)


def _lead_nowhere(*streams: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(null, stream)
    os.close(null)


def _close_from(first: int) -> None:
    # A loop up to today's RLIMIT_NOFILE would miss descriptors that were opened before
    # the limit was lowered. So the kernel's list is used.
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= first:
            with suppress(OSError):  # listdir's own descriptor is in the list, closed by now
                os.close(int(name))


def _passed(environ: Mapping[str, str], pid: int) -> int:
    """Return how many descriptors a service manager passes.

    A value that is no number counts as none; `systemd.activated_sockets` reports it.
    """
    count = environ.get("LISTEN_FDS", "")
    meant_for_us = environ.get("LISTEN_PID") == str(pid)
    is_number = count.isascii() and count.isdecimal() and len(count) <= _DIGITS
    return int(count) if meant_for_us and is_number else 0

"""What a process inherits from whoever started it, and must not keep.

A descriptor that happens to be open would be one more thing to reach for an
intruder; a missing standard stream would be worse, since the next socket takes
its number and the log would go to a stranger. Signals are inherited too: see
`mailbell._sys.signals`.

Source: execve(2), "Effect on process attributes"; sd_listen_fds(3).
"""

import os
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["close_inherited", "fill_standard_streams"]

_LAST_STREAM = 2
_FIRST_PASSED = 3  # SD_LISTEN_FDS_START
_DIGITS = 9  # there are fewer descriptors than that


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
    fill_standard_streams()
    _lead_nowhere(0, 1)
    _close_from(_FIRST_PASSED + _passed(environ, pid))


def fill_standard_streams() -> None:
    """Open /dev/null in the place of each standard stream that is missing.

    Raises:
        OSError: there is no /dev/null.
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
    is_number = count.isascii() and count.isdecimal() and len(count) <= _DIGITS
    return int(count) if meant_for_us and is_number else 0

"""Removes what a process inherits from the program that started it and must not keep.

An intruder could use any descriptor that is open by chance. If a standard stream is
missing, the next socket gets its number, and the log would go to a stranger. Some
attributes act later, for example a signal at the death of the parent. Timers and signals
are inherited too: see `mailbell._sys.signals`, and for limits `mailbell._sys.process`.
docs/sandbox.md has the list of all that execve(2) keeps.

Source: execve(2), "Effect on process attributes"; sd_listen_fds(3); fcntl(2); sched(7).
"""

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from mailbell._sys._libc import ANOTHER_SANDBOX, check, libc, prctl
from mailbell._sys._stat import own_stat
from mailbell._sys.standard_streams import fill_standard_streams
from mailbell.core.errors import InternalError, OperatingSystemError

__all__ = ["close_inherited", "reset_attributes"]

# linux/prctl.h
PR_SET_PDEATHSIG: Final = 1
PR_GET_PDEATHSIG: Final = 2
PR_SET_TIMERSLACK: Final = 29
# asm-generic/fcntl.h
F_SETOWN: Final = 8

_POLICY = 41  # of the scheduler, in proc_pid_stat(5)
# sched(7): classes that other processes must wait for. Python has no name for the last one.
_REAL_TIME: Final = {os.SCHED_FIFO, os.SCHED_RR, 6}
# Nanoseconds by which the kernel may be late. The shortest deadlines are fractions of a
# second. The default is 50 microseconds.
_MOST_SLACK: Final = 50_000_000

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


def reset_attributes() -> None:
    """Reset the attributes of this process that could act later, or could harm others.

    - A signal at the death of the parent ends the program at a moment that nobody chose. The
      kernel forgets this attribute too when a process changes its user.
    - An owner of a descriptor gets a signal, of any kind, whenever the descriptor can be read
      or written. The owner may be a process group. This process may be in it, or be put into it
      later, so no descriptor keeps an owner, whoever it is.
    - In a real-time class an intruder could keep all other programs from running.
    - A timer slack of seconds makes all deadlines late.

    What an operator sets on purpose stays: niceness, processors, priority of disk access, and
    which process is killed first if memory runs out.

    Call it after `close_inherited`, so that few descriptors are open.

    Raises:
        OperatingSystemError: the kernel refused.
        InternalError: the kernel holds another value.
    """
    _live_on_without_a_parent()
    for descriptor in list(_opened()):
        if os.path.exists(f"/proc/self/fd/{descriptor}"):
            check(libc.fcntl(descriptor, F_SETOWN, 0))
    if own_stat()[_POLICY] in _REAL_TIME:
        _leave_real_time()
    if _slack() > _MOST_SLACK:
        prctl(PR_SET_TIMERSLACK, _MOST_SLACK)


def _live_on_without_a_parent() -> None:
    try:
        prctl(PR_SET_PDEATHSIG, 0)
    except OSError as error:
        raise OperatingSystemError(f"PDEATHSIG: {error.strerror}", ANOTHER_SANDBOX) from error
    found = ctypes.c_int(0)
    prctl(PR_GET_PDEATHSIG, ctypes.addressof(found))
    if found.value:
        raise InternalError(f"PDEATHSIG is {found.value} where 0 was set")


def _leave_real_time() -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError as error:
        raise OperatingSystemError(
            f"cannot leave the real-time class of the scheduler: {error.strerror}",
            "remove CPUSchedulingPolicy= from the unit, or start it without chrt",
        ) from error
    if own_stat()[_POLICY] in _REAL_TIME:
        raise InternalError("the process is still in a real-time class of the scheduler")


def _slack() -> int:
    # The C library's prctl returns 32 bits, and a slack of more than four seconds has more.
    with open("/proc/self/timerslack_ns", "rb") as file:
        return int(file.read())


def _opened() -> Iterator[int]:
    """Yield the descriptors that are open. The one that reads the list may be among them."""
    return map(int, os.listdir("/proc/self/fd"))

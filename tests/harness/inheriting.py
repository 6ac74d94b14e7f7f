"""Become another program, which inherits something: `inheriting.py NAME,... PROGRAM [WORD]...`.

`SET` has what execve(2) keeps, by its name.
"""

import ctypes
import fcntl
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Final

__all__ = ["CHILD", "SET", "inheriting"]

CHILD: Final = "inherited"  # the name of the process that is "a child"

# linux/prctl.h, linux/securebits.h, linux/personality.h
PR_SET_PDEATHSIG, PR_SET_TIMERSLACK, PR_MCE_KILL, PR_SET_SECUREBITS = 1, 29, 33, 28
PR_SET_CHILD_SUBREAPER, PR_SET_THP_DISABLE = 36, 41
PR_SET_NO_NEW_PRIVS, PR_SET_SPECULATION_CONTROL, PR_SET_IO_FLUSHER = 38, 53, 57
NO_AMBIENT_RAISE = 1 << 6
UNAME26, NO_RANDOM_ADDRESSES = 0x0020000, 0x0040000
SECONDS: Final = 10**9
SLOW: Final = 60 * SECONDS
# asm/unistd_64.h: the C library has no functions for these.
SET_MEMPOLICY, IOPRIO_SET, KEYCTL = 238, 251, 250

_libc: Final = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _prctl(option: int, *values: int) -> Callable[[], None]:
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return lambda: _checked(_libc.prctl(option, *padded))


def _syscall(number: int, *values: int) -> Callable[[], None]:
    return lambda: _checked(_libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, values)))


def _limit(name: str, soft: int, hard: int = resource.RLIM_INFINITY) -> Callable[[], None]:
    return lambda: resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (soft, hard))


def _write(file: str, text: str) -> Callable[[], None]:
    def write() -> None:
        with open(f"/proc/self/{file}", "w") as opened:
            opened.write(text)

    return write


def _timers() -> None:
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 1000)


def _signals_blocked_and_pending() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in (signal.SIGUSR1, signal.SIGPROF, signal.SIGRTMIN):
        os.kill(os.getpid(), number)


def _signals_ignored() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)


def _owner_of_standard_error() -> None:
    fcntl.fcntl(2, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(2, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(2, fcntl.F_SETFL, fcntl.fcntl(2, fcntl.F_GETFL) | os.O_ASYNC)


def _child() -> None:
    """A process that the daemon did not start. It ends with the daemon at the latest."""
    if os.fork() == 0:
        with open("/proc/self/comm", "w") as name:
            name.write(CHILD)
        os.closerange(0, 100)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)()
        signal.pause()


def _real_time() -> None:
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


SET: Final[dict[str, Callable[[], object]]] = {
    "timers": _timers,
    "signals blocked and pending": _signals_blocked_and_pending,
    "signals ignored": _signals_ignored,
    "a child": _child,
    "adopter of orphans": _prctl(PR_SET_CHILD_SUBREAPER, 1),
    "signal at the death of the parent": _prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    "owner of standard error": _owner_of_standard_error,
    "slack of timers": _prctl(PR_SET_TIMERSLACK, SLOW),
    "a little slack of timers": _prctl(PR_SET_TIMERSLACK, SECONDS // 1000),
    "real-time class": _real_time,
    "idle class": lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)),
    "niceness": lambda: os.nice(7),
    "processors": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    "priority of disk access": _syscall(IOPRIO_SET, 1, 0, 3 << 13),
    "order of being killed without memory": _write("oom_score_adj", "321"),
    "soft limit of processor time": _limit("CPU", 100),
    "limit of processor time": _limit("CPU", 1000, 1000),
    "soft limit of file size": _limit("FSIZE", 1 << 30),
    "soft limit of addresses": _limit("AS", 1 << 33),
    "soft limit of the stack": _limit("STACK", 1 << 18),
    "limit of pending signals": _limit("SIGPENDING", 0, 0),
    "mask of file modes": lambda: os.umask(0),
    "folder": lambda: os.chdir("/tmp"),
    "session": os.setsid,
    "process group": os.setpgrp,
    "what is dumped": _write("coredump_filter", "0x7f"),
    "personality": lambda: _checked(_libc.personality(ctypes.c_ulong(UNAME26))),
    "known addresses": lambda: _checked(_libc.personality(ctypes.c_ulong(NO_RANDOM_ADDRESSES))),
    "policy of memory": _syscall(SET_MEMPOLICY, 4, 0, 0),
    "no huge pages": _prctl(PR_SET_THP_DISABLE, 1),
    "death by broken memory": _prctl(PR_MCE_KILL, 1, 1),
    "speculation": _prctl(PR_SET_SPECULATION_CONTROL, 0, 4),
    "no new privileges": _prctl(PR_SET_NO_NEW_PRIVS, 1),
    "keys of the session": _syscall(KEYCTL, 1, 0),
    "flusher of disks": _prctl(PR_SET_IO_FLUSHER, 1),
    "secure bits": _prctl(PR_SET_SECUREBITS, NO_AMBIENT_RAISE),
}


def inheriting(*names: str) -> list[str]:
    """Return the beginning of a command line whose program inherits something.

    Args:
        names: some of `SET`.
    """
    assert set(names) <= SET.keys()
    return [sys.executable, "-P", __file__, ",".join(names)]


if __name__ == "__main__":
    for name in sys.argv[1].split(","):
        SET[name]()
    os.execvp(sys.argv[2], sys.argv[2:])

"""Runs something in a fork that may loop, crash, eat memory, or leave processes behind."""

import contextlib
import ctypes
import math
import os
import resource
import select
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic, process_time
from typing import Final, NamedTuple, NoReturn

from torture.mutants.job import Outcome

__all__ = ["KILLED", "SURVIVED", "Time", "adopt_orphans", "attempted"]

SURVIVED: Final = 0
KILLED: Final = 1
MEMORY: Final = 4 << 30
PR_SET_CHILD_SUBREAPER: Final = 36

# A change may loop for ever, but what loops needs the processor: its time is counted, so a busy
# machine makes no timeout. What waits for ever needs the clock, with much more patience.
LEAST_PROCESSOR: Final = 2.0
LEAST_PATIENCE: Final = 20.0
PROCESSOR_FACTOR: Final = 4.0
PATIENCE_FACTOR: Final = 10.0


class Time(NamedTuple):
    """How long something takes when nothing is changed.

    Attributes:
        seconds: by the clock, on a machine that may be busy.
        processor: seconds of the processor that one process of it uses.
    """

    seconds: float
    processor: float


def adopt_orphans() -> None:
    """Become the parent of what children leave behind, so that it can be ended."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def attempted(work: Callable[[], int], time: Time) -> tuple[Outcome, float]:
    """Run something in a fork, and end all that it leaves.

    Args:
        work: returns the exit status, `SURVIVED` or `KILLED`, or exits with it.
        time: how long it takes when nothing is changed.

    Returns:
        what became of it, and how long it took.
    """
    began = monotonic()
    pid = os.fork()
    if pid == 0:
        _child(work, time.processor)
    outcome = _awaited(pid, LEAST_PATIENCE + PATIENCE_FACTOR * time.seconds)
    _end_children()
    return outcome, monotonic() - began


def _child(work: Callable[[], int], processor: float) -> NoReturn:
    status = KILLED
    try:
        os.setsid()
        most = math.ceil(process_time() + LEAST_PROCESSOR + PROCESSOR_FACTOR * processor)
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        status = work()
    finally:
        # An exception that comes here is one that a test would have had.
        os._exit(status)


def _awaited(pid: int, patience: float) -> Outcome:
    descriptor = os.pidfd_open(pid)
    try:
        ended = select.select([descriptor], [], [], patience)[0]
    finally:
        os.close(descriptor)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not ended or status == -signal.SIGXCPU:
        return Outcome.TIMEOUT
    return Outcome.SURVIVED if status == SURVIVED else Outcome.KILLED


def _end_children() -> None:
    """End the orphans, and theirs: each that ends may bring new ones."""
    own = Path(f"/proc/self/task/{os.getpid()}/children")
    while orphans := own.read_text().split():
        for orphan in orphans:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(int(orphan), signal.SIGKILL)
                os.waitpid(int(orphan), 0)

"""One fault in a daemon that serves: how it is made, and what the daemon does about it."""

import os
import select
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from torture.faults.errors import ALL_MEMORY, CONTRADICTIONS, OWN_BUGS, calls_of, error_name
from torture.faults.house import House
from torture.faults.life import LOOK, wait_for
from torture.faults.unotify import Fault

__all__ = ["Behaviour", "Outcome", "Trial", "When", "attempt", "judge_end", "restarted"]

ROUNDS: Final = 12
"""How often all is done until a call counts as not made."""
MEMORY_ROUNDS: Final = 3  # of work that takes long
HURRY: Final = 0.4  # seconds of work while every call fails
GRACE: Final = 0.3  # seconds until a call that was not made then was not made at all
QUIET: Final = 0.6  # seconds without work, while every call still fails
SHARE: Final = 0.2
"""The part of a processor that a daemon without work may take while a call fails. A loop without a
pause takes as much as the supervisor lets it, which is a third at least."""
FREQUENT: Final = 3000.0
"""Failed calls a second that a daemon without work may make."""
TURNS: Final = 300.0
"""Turns of its event loop a second that it may make. These two tell a loop without a pause on a
machine that gives it little of a processor."""
_WAITS: Final = ("epoll_wait", "epoll_pwait", "poll", "ppoll")
_TRACEBACKS: Final = ("Traceback ", "+ Exception Group Traceback ")
_MEMORY: Final = frozenset({"mmap", "munmap", "brk", ALL_MEMORY})


class When(StrEnum):
    """Which of the calls fail."""

    NEXT = "next"
    LATER = "later"
    ALWAYS = "always"
    AT_END = "at its end"


class Behaviour(StrEnum):
    """What a daemon does about a fault. The last five are failures."""

    NOT_MADE = "not made"
    SERVED_ON = "served on"
    ENDED = "ended"
    WITHOUT = "went on without it"
    UNSERVED = "did not serve"
    LOST = "lost"
    BUSY = "busy loop"
    UNEXPLAINED = "unexplained end"
    HUNG = "hung"

    @property
    def is_right(self) -> bool:
        """Whether it may do this."""
        return self in _RIGHT


_RIGHT: Final = frozenset(
    {Behaviour.NOT_MADE, Behaviour.SERVED_ON, Behaviour.ENDED, Behaviour.WITHOUT}
)


@dataclass(frozen=True, slots=True)
class Trial:
    """A fault to make.

    Attributes:
        name: of the call, a key of `torture.faults.errors.ERRORS`.
        code: the error.
        when: which of the calls fail.
        first: the first one that fails, from 1.
    """

    name: str
    code: int
    when: When
    first: int = 1

    def __str__(self) -> str:
        which = f"{self.when} ({self.first})" if self.when is When.LATER else str(self.when)
        return f"{self.name} {error_name(self.code)} {which}"

    def fault(self, pid: int) -> Fault:
        """Return the fault, for a process.

        Args:
            pid: the process.
        """
        is_always = self.when in {When.ALWAYS, When.AT_END}
        step = 3 if is_always and self.code in CONTRADICTIONS else 1
        times = 0 if is_always else 1
        return Fault(calls_of(self.name), self.code, self.first, times, step, pid)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial.

    Attributes:
        trial: what was tried.
        behaviour: what the daemon did.
        injected: how many calls failed.
        detail: how it ended, or what was wrong.
        said: what it wrote before it ended.
    """

    trial: Trial
    behaviour: Behaviour
    injected: int
    detail: str = ""
    said: tuple[str, ...] = field(default=(), repr=False)


def attempt(house: House, trial: Trial) -> Outcome:
    """Make a fault in a daemon that serves, end it, and see what the daemon does.

    After an end the daemon is started again, as a service manager does.

    Args:
        house: the daemon, started.
        trial: the fault.
    """
    if why := _suited(house, trial) or house.owe():
        return Outcome(trial, Behaviour.UNSERVED, 0, f"before the fault: {why}")
    if trial.when is When.AT_END:
        return _attempt_at_end(house, trial)
    life = house.life
    written = len(life.lines())
    life.supervisor.set(trial.fault(house.pid))
    busy = _provoke(house, trial)
    injected = life.supervisor.injected
    life.supervisor.set(None)
    lacking = "" if house.has_ended() else house.lacks()
    if house.has_ended():
        return _ended(house, trial, injected, life.lines()[written:])
    found, detail = Behaviour.SERVED_ON if injected else Behaviour.NOT_MADE, ""
    if busy:
        found, detail = Behaviour.BUSY, busy
    if lacking or (lost := house.lost()):
        found, detail = (Behaviour.UNSERVED, lacking) if lacking else (Behaviour.LOST, lost)
    return Outcome(trial, found, injected, detail)


def _suited(house: House, trial: Trial) -> str:
    """Start the daemon anew if the trial needs that; return what does not work.

    Once a daemon has more memory, or fewer descriptors, that stays so. Then the next trial needs a
    new one.
    """
    is_lean, was_lean = trial.name in _MEMORY, house.is_lean
    house.is_lean = is_lean
    if is_lean or was_lean or trial.name == "close":
        return restarted(house)
    return ""


def _attempt_at_end(house: House, trial: Trial) -> Outcome:
    """Have a daemon end in order while its calls fail."""
    life = house.life
    written = len(life.lines())
    life.supervisor.set(trial.fault(house.pid))
    os.kill(life.pid, signal.SIGTERM)
    wait_for(life.has_ended)
    injected = life.supervisor.injected
    if life.code != 0:  # None: it goes on
        return _ended(house, trial, injected, life.lines()[written:])
    lacking = restarted(house)
    found, detail = Behaviour.SERVED_ON if injected else Behaviour.NOT_MADE, ""
    if lacking or (lost := house.lost()):
        found, detail = (Behaviour.UNSERVED, lacking) if lacking else (Behaviour.LOST, lost)
    return Outcome(trial, found, injected, detail)


def _provoke(house: House, trial: Trial) -> str:
    """Have the daemon make the call that fails; return how it was busy, or nothing."""
    if trial.when is When.ALWAYS:
        return _provoke_for_a_while(house, trial)
    for number in range(MEMORY_ROUNDS if trial.name in _MEMORY else ROUNDS):
        _work(house, trial, number)
        if house.life.supervisor.injected or house.has_ended():
            return ""
    # On a busy machine the daemon may not have had its turn yet.
    end = time.monotonic() + GRACE
    while time.monotonic() < end and not house.life.supervisor.injected:
        select.select([], [], [], LOOK)
    return ""


def _work(house: House, trial: Trial, number: int) -> None:
    house.exercise(number)
    if trial.name in _MEMORY:
        house.grow()


def _provoke_for_a_while(house: House, trial: Trial) -> str:
    end = time.monotonic() + HURRY
    number = 0
    while number < 2 or (number < ROUNDS and time.monotonic() < end and not house.has_ended()):
        _work(house, trial, number)
        number += 1
    if house.has_ended() or not house.life.supervisor.injected:
        return ""
    before = _work_done(house)
    # A daemon that nobody speaks to must sleep meanwhile: this is what is measured.
    select.select([], [], [], QUIET)
    spans = [late - early for early, late in zip(before, _work_done(house), strict=True)]
    share, often, turns = (span / spans[0] for span in spans[1:])
    if share > SHARE or often > FREQUENT or turns > TURNS:
        return f"{share:.0%} of a processor, {often:.0f} calls and {turns:.0f} turns a second"
    return ""


def _work_done(house: House) -> tuple[float, float, int, int]:
    """Return the time, and of the daemon: its processor time, its failed calls, its turns."""
    supervisor, pid = house.life.supervisor, house.pid
    turns = sum(supervisor.made[pid, name] for name in _WAITS)
    return time.monotonic(), _processor_time(pid), supervisor.injected, turns


def _processor_time(pid: int) -> float:
    """Return how long a process has run, in seconds; 0: it has ended."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _ended(house: House, trial: Trial, injected: int, said: Sequence[str]) -> Outcome:
    if without := house.goes_on_without():
        found, detail = Behaviour.WITHOUT, without
    else:
        found, detail = judge_end(house.door().program, house.life.code, said, trial)
    if why := restarted(house):
        found, detail = Behaviour.UNSERVED, f"{detail}; after the restart: {why}"
    elif lost := house.lost():
        found, detail = Behaviour.LOST, f"{detail}; after the restart: {lost}"
    return Outcome(trial, found, injected, detail, tuple(said))


def restarted(house: House) -> str:
    """Start the daemon, without faults; return what does not work, or nothing.

    Args:
        house: the daemon.
    """
    life = house.begin()
    if not life.until_ready_or_ended() or life.has_ended():
        return f"it does not start: {life.lines()[-3:]}"
    return house.lacks()


def judge_end(
    program: str, code: int | None, said: Sequence[str], trial: Trial
) -> tuple[Behaviour, str]:
    """Judge the end of a daemon, by its exit code and its last words.

    Args:
        program: its name.
        code: its exit code; None: it was killed because it hung.
        said: what it has written since the fault.
        trial: the fault.

    Returns:
        The judgement, and the exit code with the message.
    """
    # While it ends, Trio loses the reason why it could not wake itself.
    is_trios = bool(said) and "TrioInternalError" in said[-1] and "event=stopping" in " ".join(said)
    messages = [line for line in said if line.startswith(f"{program}: ")]
    last = messages[-1] if messages else (said[-1] if said else "nothing")
    detail = f"exit code {code}: {last}"
    has_traceback = any(line.startswith(_TRACEBACKS) for line in map(str.lstrip, said))
    if code is None:
        return Behaviour.HUNG, detail
    error = trial.code
    if code == -signal.SIGABRT and error in OWN_BUGS and said:
        return Behaviour.ENDED, detail  # a library of the system found what cannot be
    if trial.name in _MEMORY and _is_without_memory(code, said):
        return Behaviour.ENDED, detail
    if (
        code <= 0
        or len(messages) != 1
        or (has_traceback and error not in OWN_BUGS and not is_trios)
    ):
        return Behaviour.UNEXPLAINED, detail
    return Behaviour.ENDED, detail


def _is_without_memory(code: int, said: Sequence[str]) -> bool:
    """Tell whether the interpreter had no memory even for the end of the daemon, and said so."""
    if code == 1:
        return said[-1].startswith("MemoryError")
    return code == -signal.SIGABRT and any(line.startswith("Fatal Python error: ") for line in said)

"""When a job runs: soon after a notification, never twice at once, never in a storm.

A notification says that there is mail, not how much, and one run fetches all of
it. So a job needs no queue, only to know that it is wanted:

- it waits until the notifications of one delivery have settled;
- it leaves a gap between the start of one run and the start of the next;
- whatever comes during a run means exactly one more run;
- after a failure it tries again by itself, later and later, until the machine wakes
  from sleep or gets an address: then the failures are forgotten;
- when nothing came for long it runs all the same: a mail server may forget us.

Pure: the time is an argument, of a clock that never runs backwards.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

__all__ = ["Pace", "Pending", "Step", "Timing", "Trigger"]

# Doubled so often, even a millisecond is longer than any maximum that makes sense.
_MAX_DOUBLINGS: Final = 40


class Trigger(StrEnum):
    """Why a job is wanted. Of several, the first in this order is told to the command."""

    NETWORK = "network"  # a mail server rang
    MANUAL = "manual"  # somebody rang by hand
    RESYNC = "resync"  # something may have been missed
    RESUME = "resume"  # the machine slept
    ADDRESS = "address"  # the machine got an address
    START = "start"  # the agent started
    RETRY = "retry"  # the last run failed
    POLL = "poll"  # nothing came for long


class Step(Enum):
    """What is to be done now."""

    START = "start"
    TERMINATE = "terminate"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Timing:
    """How a job is paced. All in seconds.

    Attributes:
        settle: how long it must have been quiet before a run.
        settle_max: how long a run waits for quiet at most.
        min_gap: from the start of one run to the start of the next, at least.
        timeout: how long a run may take.
        kill_after: how long it then has to end by itself.
        backoff: from the end of a run that failed to the next, doubled each time.
        backoff_max: the longest of these.
        poll: a run after so long without any; 0: never.
    """

    settle: float = 1.0
    settle_max: float = 10.0
    min_gap: float = 30.0
    timeout: float = 300.0
    kill_after: float = 10.0
    backoff: float = 30.0
    backoff_max: float = 600.0
    poll: float = 3600.0


@dataclass(frozen=True, slots=True)
class Pending:
    """What a run is for.

    Attributes:
        trigger: why; of several the first in the order of `Trigger`.
        count: how many notifications it answers.
    """

    trigger: Trigger
    count: int


_ORDER: Final = tuple(Trigger)
# What failed before says nothing any more: the machine is elsewhere, perhaps.
_NEWS: Final = {Trigger.RESUME, Trigger.ADDRESS}


class Pace:
    """The state of one job between its runs and during one.

    Call `step` when `due` has come and after every other call; it says what is
    to be done. Answer START with `started`, and report each end with `ended`.
    """

    def __init__(self, timing: Timing, now: float) -> None:
        """Begin with nothing wanted.

        Args:
            timing: how it is paced.
            now: seconds.
        """
        self._timing = timing
        self._wanted: Pending | None = None
        self._first: float | None = None  # of what rang since the last start
        self._last = now
        self._gap_until = self._retry_at = now
        self._idle_since = now
        self._failures = 0
        self._running_since: float | None = None
        self._told: Step | None = None  # what the present run was told, if anything

    @property
    def due(self) -> float | None:
        """When `step` will have something to say, in seconds; None: not by itself."""
        if self._running_since is None:
            return self._start_at()
        if self._told is None:
            return self._running_since + self._timing.timeout
        if self._told is Step.TERMINATE:
            return self._running_since + self._timing.timeout + self._timing.kill_after
        return None

    @property
    def failures(self) -> int:
        """How many runs have failed in a row."""
        return self._failures

    def ring(self, now: float, trigger: Trigger, count: int = 1) -> None:
        """Want a run.

        Args:
            now: seconds.
            trigger: why.
            count: how many notifications this stands for.
        """
        if self._first is None:
            self._first = now
        self._last = now
        if trigger in _NEWS and self._running_since is None:
            self._failures = 0
        self._want(trigger, count)

    def step(self, now: float) -> Step | None:
        """Say what is to be done now; it is said once.

        Args:
            now: seconds.
        """
        due = self.due
        if due is None or now < due:
            return None
        if self._running_since is None:
            return Step.START
        self._told = Step.TERMINATE if self._told is None else Step.KILL
        return self._told

    def started(self, now: float) -> Pending:
        """Begin a run; what comes from now on is for the next one.

        Args:
            now: seconds.

        Returns:
            What this run is for.
        """
        pending = self._wanted or Pending(Trigger.POLL, 0)
        self._wanted = self._first = None
        self._running_since = now
        self._told = None
        self._gap_until = now + self._timing.min_gap
        return pending

    def ended(self, now: float, *, ok: bool) -> None:
        """Report the end of the run.

        Args:
            now: seconds.
            ok: whether it did what it was for. If not, it is wanted again.
        """
        self._running_since = None
        self._idle_since = now
        if ok:
            self._failures = 0
            return
        self._want(Trigger.RETRY, 0)
        doublings = min(self._failures, _MAX_DOUBLINGS)
        delay = min(self._timing.backoff * 2**doublings, self._timing.backoff_max)
        self._retry_at = now + delay
        self._failures += 1

    def _want(self, trigger: Trigger, count: int) -> None:
        before = self._wanted or Pending(trigger, 0)
        first = min(before.trigger, trigger, key=_ORDER.index)
        self._wanted = Pending(first, before.count + count)

    def _start_at(self) -> float | None:
        timing = self._timing
        if self._failures:  # to settle is no question any more
            return max(self._retry_at, self._gap_until)
        if self._first is not None:
            settled = min(self._last + timing.settle, self._first + timing.settle_max)
            return max(settled, self._gap_until)
        if timing.poll:
            return max(self._idle_since + timing.poll, self._gap_until)
        return None

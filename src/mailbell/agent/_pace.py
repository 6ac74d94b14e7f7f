"""Decides when a job runs: soon after a notification, and never twice at once.

A notification says that there is mail, and not how much. One run fetches all of the mail.
So a job needs no queue. It only needs to know whether it is wanted:

- it waits until no more notifications of one delivery come;
- it leaves a gap between the start of one run and the start of the next;
- if the mail server refuses logins that come too soon, it also leaves that time after the end
  of a run. The run may have logged in at any moment until then;
- all notifications during a run cause exactly one more run;
- after a failure it tries again, each time after a longer wait. When the machine wakes
  from sleep or gets an address, the failures are forgotten. If a run is going on then, its
  failure counts as the first;
- if the mail server was busy, it tries again after the first of these waits. That is no failure;
- when no notification came for a long time, it runs too: a mail server may forget to ring.

Pure: the time is an argument, of a clock that never goes back.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

__all__ = ["Pace", "Pending", "Step", "Timing", "Trigger"]

# After so many doublings, even a millisecond is longer than any useful maximum.
_MAX_DOUBLINGS: Final = 40


class Trigger(StrEnum):
    """Why a job is wanted. Of several, the command is told the first in this order."""

    NETWORK = "network"  # a mail server rang
    MANUAL = "manual"  # a person rang by hand
    RESYNC = "resync"  # notifications may have been missed
    RESUME = "resume"  # the machine slept
    ADDRESS = "address"  # the machine got an address
    START = "start"  # the agent started
    RETRY = "retry"  # the last run failed, or the mail server was busy
    POLL = "poll"  # nothing came for a long time


class Step(Enum):
    """What the caller must do now."""

    START = "start"
    TERMINATE = "terminate"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of a job, all in seconds.

    Attributes:
        settle: a run starts when no notification came for this time.
        settle_max: a run starts this time after the first notification, at the latest.
        min_gap: the least time from the start of one run to the start of the next.
        timeout: how long a run may take.
        kill_after: how long a run has, after SIGTERM, before it is killed.
        backoff: the time from the end of a failed run to the next; it doubles each time.
        backoff_max: the longest time after a failed run.
        poll: a run starts when no run was for this time; 0: never.
        login_delay: the least time from the end of one run to the start of the next. POP3
            servers may refuse a login that comes sooner after another (RFC 2449, 6.5).
    """

    settle: float = 1.0
    settle_max: float = 10.0
    min_gap: float = 30.0
    timeout: float = 300.0
    kill_after: float = 10.0
    backoff: float = 30.0
    backoff_max: float = 600.0
    poll: float = 3600.0
    login_delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Pending:
    """The reason for a run.

    Attributes:
        trigger: the cause; of several, the first in the order of `Trigger`.
        count: the number of notifications that the run answers.
    """

    trigger: Trigger
    count: int


_ORDER: Final = tuple(Trigger)
# After these, earlier failures mean nothing: the machine may be in another network.
_NEWS: Final = {Trigger.RESUME, Trigger.ADDRESS}


class Pace:
    """The state of one job, between its runs and during a run.

    Call `step` when `due` has come and after every other call. It returns what to do.
    Answer START with `started`, and report the end of each run with `ended`.
    """

    def __init__(self, timing: Timing, now: float) -> None:
        """Begin without a wanted run.

        Args:
            timing: the times of the job.
            now: seconds.
        """
        self._timing = timing
        self._wanted: Pending | None = None
        self._first: float | None = None  # when the first notification since the last start came
        self._last = now
        self._gap_until = self._retry_at = now
        self._idle_since = now
        self._failures = 0
        self._busy = False  # whether the last run found the mail server busy
        self._running_since: float | None = None
        self._told: Step | None = None  # the last step of the present run, if any

    @property
    def due(self) -> float | None:
        """When `step` will return a step, in seconds; None: only after another call."""
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
        """Note that a run is wanted.

        Args:
            now: seconds.
            trigger: the cause.
            count: the number of notifications.
        """
        if self._first is None:
            self._first = now
        self._last = now
        if trigger in _NEWS:
            self._failures = 0
            self._busy = False
        self._want(trigger, count)

    def step(self, now: float) -> Step | None:
        """Return what to do now, each step once; None: nothing.

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
        """Begin a run. Notifications that come from now on are for the next run.

        Args:
            now: seconds.

        Returns:
            The reason for this run.
        """
        pending = self._wanted or Pending(Trigger.POLL, 0)
        self._wanted = self._first = None
        self._running_since = now
        self._told = None
        self._gap_until = now + self._timing.min_gap
        return pending

    def ended(self, now: float, *, ok: bool, busy: bool = False) -> None:
        """Report the end of the run.

        Args:
            now: seconds.
            ok: whether the run succeeded. If not, another run is wanted.
            busy: the mail server could not be asked yet. That is neither a success nor a failure.
        """
        self._running_since = None
        self._idle_since = now
        self._gap_until = max(self._gap_until, now + self._timing.login_delay)
        self._busy = busy
        if busy:
            self._want(Trigger.RETRY, 0)
            self._retry_at = now + self._timing.backoff
            return
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
        if self._failures or self._busy:  # notifications do not change the time of a retry
            return max(self._retry_at, self._gap_until)
        if self._first is not None:
            settled = min(self._last + timing.settle, self._first + timing.settle_max)
            return max(settled, self._gap_until)
        if timing.poll:
            return max(self._idle_since + timing.poll, self._gap_until)
        return None

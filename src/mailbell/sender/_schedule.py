"""Decides when each target is rung: at once, and then at most once in an interval.

Pure: the caller brings the time, and makes the connections.
"""

from collections.abc import Callable, Iterator
from math import inf
from typing import NamedTuple

from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender._ring import Ring

__all__ = ["Call", "Outlook", "Schedule"]


class Call:
    """One target with a state. `Schedule.take` returns those that must be called now.

    Attributes:
        target: what is called.
        memo: free for the caller of the schedule; it lives as long as the state.
    """

    target: Target
    memo: object


class Outlook(NamedTuple):
    """What a notification would do at a target now.

    Attributes:
        is_in_flight: an attempt is on its way; another one would follow.
        backs_off: the last attempt failed, and the next one comes after `wait`.
        wait: seconds until the target is called; 0: at once.
        last: how the last attempt ended; None: not known.
    """

    is_in_flight: bool
    backs_off: bool
    wait: float
    last: RingOutcome | None


class Schedule:
    """Coalescing, back-off, places and the total rate, for all targets.

    Args:
        interval: seconds between two rings of one target at least.
        backoff: seconds without an attempt after the first failure, and after many.
        rate: attempts per second, all targets together.
        connections: attempts at the same time.
        deadline: seconds that an attempt may take.
        horizon: seconds after the last notification when a target that cannot be reached
            is given up.
        on_ring: is told how each notification and each attempt ended.
        on_due: called when `next_due` has become earlier.
    """

    def __init__(
        self,
        *,
        interval: float,
        backoff: tuple[float, float],
        rate: float,
        connections: int,
        deadline: float,
        horizon: float,
        on_ring: Callable[[Ring], None],
        on_due: Callable[[], None] = lambda: None,
    ) -> None:
        raise NotImplementedError

    def ring(self, target: Target, account: str, now: float, until: float = inf) -> None:
        """Note a notification for a target.

        Args:
            target: what is rung.
            account: who has new mail.
            now: monotonic time in seconds.
            until: the target belongs to the account until then; no attempt is made later.
        """
        raise NotImplementedError

    def logged_in(self, target: Target, now: float) -> None:
        """End the back-off of a target, because a login has just come from there."""
        raise NotImplementedError

    @property
    def next_due(self) -> float | None:
        """When the caller must call `overdue` and `take` next; None: only after a ring."""
        raise NotImplementedError

    def overdue(self, now: float) -> list[Call]:
        """Return attempts that must be ended now. They are done: `done` must not be called."""
        raise NotImplementedError

    def take(self, now: float, most: int) -> list[Call]:
        """Return calls that must be made now. Each must end in `done`, `postpone` or `overdue`."""
        raise NotImplementedError

    def done(self, call: Call, outcome: RingOutcome, now: float) -> None:
        """Note how an attempt ended."""
        raise NotImplementedError

    def postpone(self, call: Call, now: float) -> None:
        """Take an attempt back that this machine could not begin: it lacks a resource."""
        raise NotImplementedError

    def outlook(self, target: Target, now: float) -> Outlook:
        """Tell what a notification would do at a target now."""
        raise NotImplementedError

    def waiting(self) -> Iterator[str]:
        """Return accounts whose notifications are not sent yet: ring them after a restart."""
        raise NotImplementedError

    @property
    def known(self) -> int:
        """How many targets have a state."""
        raise NotImplementedError

    @property
    def pending(self) -> int:
        """How many targets have a notification that is not sent yet."""
        raise NotImplementedError

    @property
    def backing_off(self) -> int:
        """How many targets could not be reached and are tried later."""
        raise NotImplementedError

    @property
    def in_flight(self) -> int:
        """How many attempts are on their way."""
        raise NotImplementedError

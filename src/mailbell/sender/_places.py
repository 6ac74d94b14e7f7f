"""Who is called next, and for how long: half of all targets must not delay the other half.

A target that does not answer holds its place until the deadline. So a few thousand of them
could keep all others waiting. There are three ranks, and each of them always gets on:

- Proven: the last attempt reached it. An eighth of the places is for these alone.
- New: nothing is known of it.
- Failing: the last attempt failed. Half of the places at most is for these, and an eighth while
  others lack a place.

An attempt of the first two ranks may be displaced: if others of these ranks lack a place, it
gives its own up after a fraction of a second, and goes on as a failing one. Nearly all hosts
answer sooner. If the total rate is what lacks, the ranks take turns.
"""

from collections import OrderedDict
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar

__all__ = ["PATIENCE", "Pace", "Places", "Rank"]

PATIENCE: Final = 0.3
"""Seconds that a proven or new target may take if others of these ranks lack a place. Hosts
on the other side of the earth answer within this time."""

# Seconds of the total rate that may come at once.
_BURST: Final = 0.1


class Rank(IntEnum):
    """What is known of a target."""

    PROVEN = 0
    NEW = 1
    FAILING = 2


# If all ranks wait, each of them gets a turn, and those that are probably reachable get more.
_TURNS: Final = (
    (Rank.PROVEN, Rank.NEW, Rank.FAILING),
    (Rank.NEW, Rank.PROVEN, Rank.FAILING),
    (Rank.PROVEN, Rank.NEW, Rank.FAILING),
    (Rank.FAILING, Rank.NEW, Rank.PROVEN),
)


class Pace:
    """The total rate: a token bucket that tells when the next token comes (GCRA).

    Args:
        rate: tokens per second, above 0. A tenth of a second's tokens may come at once.

    Attributes:
        next: when there is a token, in seconds.
    """

    __slots__ = ("_ahead", "_increment", "next")

    def __init__(self, rate: float) -> None:
        self._increment = 1 / rate
        self._ahead = max(rate * _BURST - 1, 0) * self._increment
        self.next = float("-inf")

    def take(self, now: float) -> None:
        """Take a token. There must be one: `next` is not later than now."""
        self.next = max(self.next, now - self._ahead) + self._increment


class Ranked(Protocol):
    """What waits for a place or has one."""

    rank: Rank
    began: float


C = TypeVar("C", bound=Ranked)


class Places(Generic[C]):
    """Those that wait for a place, and those that have one.

    Args:
        connections: how many places there are, 1 at least.
        deadline: seconds for which a place may be held.
    """

    __slots__ = (
        "_all", "_deadline", "_failing", "_failing_beside_others", "_flights", "_others",
        "_patience", "_queues", "_turn",
    )  # fmt: skip

    def __init__(self, connections: int, deadline: float) -> None:
        self._all = connections
        self._others = connections - connections // 8
        self._failing = max(connections // 2, 1)
        self._failing_beside_others = max(connections // 8, 1)
        self._deadline = deadline
        self._patience = min(PATIENCE, deadline)
        self._turn = 0
        self._queues: tuple[OrderedDict[C, None], ...] = tuple(OrderedDict() for _ in Rank)
        # Those that have a place, in the order in which they began.
        self._flights: tuple[OrderedDict[C, None], ...] = tuple(OrderedDict() for _ in Rank)

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(map(len, self._queues))

    @property
    def in_flight(self) -> int:
        """How many have a place."""
        return sum(map(len, self._flights))

    def queue(self, call: C) -> None:
        """Let a call wait in the queue of its rank, as the last one."""
        self._queues[call.rank][call] = None

    def leave_queue(self, call: C) -> None:
        """Take a call out of the queue of its rank."""
        del self._queues[call.rank][call]

    @property
    def next_rank(self) -> Rank | None:
        """The rank whose first call may have a place now; None: no call may."""
        flights = self._flights
        failing = len(flights[2])
        others = failing + len(flights[1])
        if others + len(flights[0]) >= self._all:
            return None
        proven, new, _ = self._queues
        most = self._failing_beside_others if proven or new else self._failing
        for rank in _TURNS[self._turn]:
            if self._queues[rank] and (
                rank is Rank.PROVEN
                or (others < self._others and (rank is Rank.NEW or failing < most))
            ):
                return rank
        return None

    def begin(self, rank: Rank, now: float) -> C:
        """Give the first call of a rank a place.

        Args:
            rank: that `next_rank` told.
            now: monotonic time in seconds.

        Returns:
            The call.
        """
        call, _ = self._queues[rank].popitem(last=False)
        call.began = now
        self._flights[rank][call] = None
        self._turn = (self._turn + 1) % len(_TURNS)
        return call

    def end(self, call: C) -> None:
        """Take back the place of a call."""
        del self._flights[call.rank][call]

    def is_late(self, now: float) -> bool:
        """Tell whether there is a call whose deadline is over.

        Args:
            now: monotonic time in seconds.
        """
        for flights in self._flights:
            for call in flights:
                if call.began + self._deadline <= now:
                    return True
                break
        return False

    def pop_late(self, now: float) -> C | None:
        """Take the place of a call whose deadline is over.

        Args:
            now: monotonic time in seconds.

        Returns:
            The call; None: there is none.
        """
        for flights in self._flights:
            for call in flights:
                if call.began + self._deadline <= now:
                    del flights[call]
                    return call
                break
        return None

    def displace(self, now: float) -> list[C]:
        """Take the places that others need, which are probably reachable.

        Args:
            now: monotonic time in seconds.

        Returns:
            Those that lost their place, now of rank `FAILING`. There are not more of them than
            wait for a place.
        """
        displaced: list[C] = []
        wanted = len(self._queues[0]) + len(self._queues[1])
        while len(displaced) < wanted and (call := self._displaceable(displaced)) is not None:
            if call.began + self._patience > now:
                break
            self.end(call)
            call.rank = Rank.FAILING
            displaced.append(call)
        return displaced

    @property
    def next_due(self) -> float | None:
        """When `pop_late` or `pop_displaced` returns a call, in seconds; None: never."""
        firsts = [next(iter(flights)).began for flights in self._flights if flights]
        if not firsts:
            return None
        due = min(firsts) + self._deadline
        call = self._displaceable(())
        return due if call is None else min(due, call.began + self._patience)

    def _displaceable(self, displaced: Sequence[C]) -> C | None:
        """Return the call that began first, of those whose place would serve others.

        Args:
            displaced: those that have just lost their places, which are not given away yet.
        """
        proven, new, failing = self._flights
        if not displaced and (
            not (self._queues[0] or self._queues[1]) or self.next_rank is not None
        ):
            return None
        # A new call cannot have one of the places that are for proven ones alone.
        scarce = len(new) + len(failing) + len(displaced) >= self._others
        candidates = (new,) if scarce and not self._queues[0] else (proven, new)
        firsts = [next(iter(flights)) for flights in candidates if flights]
        return min(firsts, key=lambda call: call.began, default=None)

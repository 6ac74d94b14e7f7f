"""How long a target that cannot be reached is left alone: twice as long after each failure.

There are few different delays, and each has a queue of its own. So a target enters and leaves
at the same cost, however many wait.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from mailbell.sender._delay_queue import DelayQueue

__all__ = ["Backoff", "delays"]

T = TypeVar("T", bound=Hashable)

# The longest time that the configuration permits is 86,400 times the shortest: 18 steps.
_MOST: Final = 64


def delays(first: float, longest: float) -> tuple[float, ...]:
    """Return the times after the first failure, the second, and so on.

    Args:
        first: seconds after the first failure, above 0.
        longest: the most seconds; not less than `first`.

    Returns:
        At least one time. The last one counts for all further failures too.

    Raises:
        ValueError: the times are not in this order.
    """
    if not 0 < first <= longest:
        raise ValueError(f"back-off from {first} to {longest} s")
    found = [first]
    while found[-1] < longest and len(found) < _MOST:
        found.append(min(2 * found[-1], longest))
    return tuple(found)


class Backoff(Generic[T]):
    """All that wait after a failure.

    Args:
        first: seconds after the first failure.
        longest: the most seconds.
    """

    __slots__ = ("_queues",)

    def __init__(self, first: float, longest: float) -> None:
        self._queues = tuple(DelayQueue[T](delay) for delay in delays(first, longest))

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def add(self, item: T, failures: int, now: float) -> None:
        """Let something wait after a failure.

        Args:
            item: what waits; it must not wait yet.
            failures: how often in a row it has failed, 1 at least.
            now: monotonic time in seconds; never earlier than at the last call.
        """
        self._queues[min(failures, len(self._queues)) - 1].add(item, now)

    def discard(self, item: T, failures: int) -> None:
        """Let something wait no longer.

        Args:
            item: what waits.
            failures: the number that `add` got.
        """
        self._queues[min(failures, len(self._queues)) - 1].discard(item)

    def due(self, item: T, failures: int) -> float | None:
        """Return when something is due, in seconds; None: it does not wait."""
        return self._queues[min(failures, len(self._queues)) - 1].due(item)

    @property
    def next_due(self) -> float | None:
        """When the first one is due, in seconds; None: nothing waits."""
        return min(
            (due for each in self._queues if (due := each.next_due) is not None), default=None
        )

    def pop_due(self, now: float) -> T | None:
        """Remove and return one that is due; None: nothing is due."""
        for queue in self._queues:
            if (item := queue.pop_due(now)) is not None:
                return item
        return None

    def pop_hopeless(self) -> T | None:
        """Remove and return the one that has failed most and waits longest; None: nothing waits."""
        for queue in reversed(self._queues):
            if len(queue):
                return queue.pop()
        return None

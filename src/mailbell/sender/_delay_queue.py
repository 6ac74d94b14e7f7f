"""Things that wait, each for the same time: the first one in is the first one that is due.

It needs no heap, and each operation takes the same time, however many wait.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["DelayQueue"]

T = TypeVar("T", bound=Hashable)


class DelayQueue(Generic[T]):
    """Waits for all of them.

    Args:
        delay: seconds that each waits.
    """

    __slots__ = ("_delay", "_due")

    def __init__(self, delay: float) -> None:
        self._delay = delay
        # An OrderedDict and not a dict: to find the first key of a dict, Python passes over
        # every key that was removed before it.
        self._due: OrderedDict[T, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, item: T) -> bool:
        return item in self._due

    def add(self, item: T, now: float) -> None:
        """Let something wait. It must not wait yet.

        Args:
            item: what waits.
            now: monotonic time in seconds; never earlier than at the last call.
        """
        self._due[item] = now + self._delay

    def discard(self, item: T) -> None:
        """Let something wait no longer; it is no error if it does not wait."""
        self._due.pop(item, None)

    def due(self, item: T) -> float | None:
        """Return when something is due, in seconds; None: it does not wait."""
        return self._due.get(item)

    @property
    def next_due(self) -> float | None:
        """When the first one is due, in seconds; None: nothing waits."""
        return next(iter(self._due.values()), None)

    def pop(self) -> T:
        """Remove and return the first one, due or not.

        Raises:
            KeyError: nothing waits.
        """
        return self._due.popitem(last=False)[0]

    def pop_due(self, now: float) -> T | None:
        """Remove and return the first one if it is due.

        Args:
            now: monotonic time in seconds.

        Returns:
            None: nothing is due.
        """
        for item, due in self._due.items():
            if due <= now:
                del self._due[item]
                return item
            break
        return None

"""What is said twice, and what must not be done twice. Pure.

An engine that ends may lose what it had confirmed a moment before, and nobody can tell what. So
a node says its latest rings again, and the one that takes them knows which it has taken already.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ["MOST_SAID", "MOST_TAKEN", "Said", "Taken"]

MOST_SAID: Final = 16_384
"""Messages that are kept, at most."""
MOST_TAKEN: Final = 65_536
"""Rings that are known to be taken, at most."""

_Message = TypeVar("_Message")


class Said(Generic[_Message]):
    """The latest message about each thing, for a while.

    Args:
        keep: seconds for which a message is kept.
        most: messages at most. If there are more, those that are oldest are not kept.
    """

    __slots__ = ("_is_held", "_keep", "_messages", "_most", "_overflowed")

    def __init__(self, keep: float, most: int = MOST_SAID) -> None:
        self._is_held = False
        self._keep = keep
        self._most = most
        self._messages: OrderedDict[Hashable, tuple[float, _Message]] = OrderedDict()
        self._overflowed = float("-inf")

    def __len__(self) -> int:
        return len(self._messages)

    def note(self, about: Hashable, message: _Message, now: float) -> None:
        """Note that the engine has confirmed a message.

        Args:
            about: what it is about. An earlier message about the same is not kept.
            message: the message.
            now: monotonic time in seconds.
        """
        self._messages.pop(about, None)
        self._messages[about] = (now, message)
        self._forget(now)
        if len(self._messages) > self._most:
            self._messages.popitem(last=False)
            self._overflowed = now

    def get(self, about: Hashable) -> _Message | None:
        """Return the message about something; None: none is kept.

        Args:
            about: as for `note`.
        """
        kept = self._messages.get(about)
        return None if kept is None else kept[1]

    def hold(self, now: float) -> None:
        """Keep what was noted in the last `keep` seconds until `release`: the engine is away.

        Args:
            now: monotonic time in seconds.
        """
        self._forget(now)
        self._is_held = True

    def release(self, now: float) -> None:
        """Let messages go when they are old enough, as before `hold`.

        Args:
            now: monotonic time in seconds. What was held was said again then.
        """
        if self._is_held:
            self._is_held = False
            for about, (_, message) in self._messages.items():
                self._messages[about] = (now, message)

    def is_complete(self, now: float) -> bool:
        """Tell whether every message is kept that was noted in the last `keep` seconds.

        Args:
            now: monotonic time in seconds.
        """
        return now - self._overflowed > self._keep

    def again(self, now: float) -> tuple[_Message, ...]:
        """Return what is kept, the oldest first.

        Args:
            now: monotonic time in seconds.
        """
        self._forget(now)
        return tuple(message for _, message in self._messages.values())

    def _forget(self, now: float) -> None:
        while self._messages and not self._is_held:
            about, (when, _) = next(iter(self._messages.items()))
            if now - when <= self._keep:
                return
            del self._messages[about]


class Taken:
    """Which rings were taken, the latest of them.

    Args:
        most: how many are known.
    """

    __slots__ = ("_most", "_seen")

    def __init__(self, most: int = MOST_TAKEN) -> None:
        self._most = most
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def is_new(self, ring: Hashable) -> bool:
        """Tell whether a ring is not known to be taken; it is from now on.

        Args:
            ring: what names it.
        """
        if ring in self._seen:
            self._seen.move_to_end(ring)
            return False
        self._seen[ring] = None
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return True

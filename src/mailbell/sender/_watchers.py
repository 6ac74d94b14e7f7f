"""Tells each caller of `Watch` of every ring. A caller that reads slowly misses some, and knows.

The sender never waits for a watcher. A watcher keeps a few rings that it has not been told of
yet. When more come, it forgets the oldest of them and counts how many it forgot. Pure: it gets
rings, and gives replies.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from mailbell.interfaces.sender import RingResult, WatchReply
from mailbell.sender._ring import Ring

__all__ = ["HELD", "Watcher", "Watchers"]

HELD: Final = 256
"""How many rings a watcher keeps until they are read."""


class Watcher:
    """The rings that one caller of `Watch` has not been told of yet.

    Args:
        account: keep rings of this account only; None: of all accounts.
        wake: called when there is something to tell.
    """

    __slots__ = ("_account", "_held", "_missed", "_wake")

    def __init__(self, account: str | None, wake: Callable[[], None]) -> None:
        self._account = account
        self._wake = wake
        self._held: deque[Ring] = deque()
        self._missed = 0

    @property
    def waiting(self) -> bool:
        """Whether `take` has a ring."""
        return bool(self._held)

    def tell(self, ring: Ring) -> None:
        """Keep a ring, unless it is one of another account.

        Args:
            ring: what happened.
        """
        if self._account is not None and self._account != ring.account:
            return
        if len(self._held) >= HELD:
            self._held.popleft()
            self._missed += 1
        self._held.append(ring)
        self._wake()

    def take(self) -> WatchReply:
        """Return the oldest ring, and how many were forgotten before it.

        Returns:
            The next reply. Without a ring, if there is none.
        """
        missed, self._missed = self._missed, 0
        if not self._held:
            return WatchReply(None, missed)
        ring = self._held.popleft()
        return WatchReply(
            RingResult(
                account=ring.account,
                target=None if ring.target is None else str(ring.target),
                outcome=ring.outcome,
                milliseconds=ring.milliseconds,
            ),
            missed,
        )


class Watchers:
    """All callers of `Watch`.

    Args:
        limit: how many there may be at once.

    Attributes:
        limit: as given.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._watchers: dict[Watcher, None] = {}

    def __len__(self) -> int:
        return len(self._watchers)

    @property
    def is_full(self) -> bool:
        """Whether there is no place for another watcher."""
        return len(self) >= self.limit

    def add(self, watcher: Watcher) -> None:
        """Tell a watcher of every ring from now on.

        Args:
            watcher: the watcher. The caller has asked `is_full`.
        """
        self._watchers[watcher] = None

    def remove(self, watcher: Watcher) -> None:
        """Tell a watcher of nothing more.

        Args:
            watcher: one that was added.
        """
        del self._watchers[watcher]

    def tell(self, ring: Ring) -> None:
        """Tell every watcher of a ring. This costs nothing while there is none.

        Args:
            ring: what happened.
        """
        for watcher in self._watchers:
            watcher.tell(ring)

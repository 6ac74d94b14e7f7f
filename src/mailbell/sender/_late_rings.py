"""The accounts that ring although a limit refused their notification.

The refused notification may be the last of a burst, so it must not be lost. To ring costs more
than to refuse, so a flood must not have each of its lines rung. An account rings at once for its
first refused notification. Those that follow within `LATE` seconds become one, which rings at
the end of that time. Pure: the caller brings the time, and asks again when one is due.
"""

from collections.abc import Callable, Iterator
from math import inf
from typing import Final

from mailbell.sender._accounts import Account

__all__ = ["LATE", "MOST", "LateRings"]

LATE: Final = 1.0
"""Seconds in which an account rings at most once for notifications over the limit."""

MOST: Final = 4096
"""Accounts that are remembered at most. One more rings at once, and each time."""


class LateRings:
    """Remembers which accounts have rung over the limit, and which ring once more.

    Attributes:
        wake: called when an account is to ring later and none was before.
    """

    __slots__ = ("_held", "_owed", "wake")

    def __init__(self) -> None:
        # When each account may ring again; the earliest comes first.
        self._held: dict[str, float] = {}
        self._owed: dict[str, Account] = {}
        self.wake: Callable[[], None] = _nobody_waits

    @property
    def next_due(self) -> float:
        """When to call `due` again, in seconds of the clock; infinite: no account is to ring."""
        return min((self._held[name] for name in self._owed), default=inf)

    def rings_now(self, account: Account, now: float) -> bool:
        """Tell whether an account rings at once. If not, it rings later.

        Args:
            account: whose notification was refused.
            now: monotonic clock, in seconds.
        """
        name = account.name
        if name in self._owed:
            return False
        self._forget(now)
        if name in self._held:
            self._owed[name] = account
            if len(self._owed) == 1:
                self.wake()
            return False
        if len(self._held) < MOST:
            self._held[name] = now + LATE
        return True

    def due(self, now: float) -> Iterator[Account]:
        """Yield the accounts that ring now.

        Args:
            now: monotonic clock, in seconds; infinite: all ring that are to ring.
        """
        for name in [name for name in self._owed if self._held[name] <= now]:
            del self._held[name]
            self._held[name] = now + LATE
            yield self._owed.pop(name)

    def _forget(self, now: float) -> None:
        """Forget the accounts that may ring again, up to the first that may not."""
        while self._held:
            name, end = next(iter(self._held.items()))
            if end > now or name in self._owed:
                return
            del self._held[name]


def _nobody_waits() -> None:
    """Stand for the caller until it waits."""

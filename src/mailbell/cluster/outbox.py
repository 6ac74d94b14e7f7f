"""The accounts whose rings could not be shared while the engine was away. Pure."""

from collections.abc import Iterator
from typing import Final

__all__ = ["MOST", "Outbox"]

MOST: Final = 65_536
"""Accounts at most."""


class Outbox:
    """Each account once, with the time of its latest ring, in the order in which it came first.

    Args:
        most: accounts at most. One more is not taken, and is counted.

    Attributes:
        dropped: how many were not taken.
    """

    __slots__ = ("_accounts", "_most", "dropped")

    def __init__(self, most: int = MOST) -> None:
        self._accounts: dict[str, float] = {}
        self._most = most
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._accounts)

    def put(self, account: str, when: float) -> bool:
        """Keep an account; return whether there was a place.

        Args:
            account: who has new mail.
            when: it was rung.
        """
        if account not in self._accounts and len(self._accounts) >= self._most:
            self.dropped += 1
            return False
        self._accounts[account] = when
        return True

    def take(self, most: int) -> Iterator[tuple[str, float]]:
        """Yield those that came first, each with its time, and keep them no longer.

        Args:
            most: how many at most.
        """
        for _ in range(min(most, len(self._accounts))):
            account = next(iter(self._accounts))
            yield account, self._accounts.pop(account)

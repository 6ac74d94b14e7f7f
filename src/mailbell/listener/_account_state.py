"""The state of each account, and of the accounts that notifications ring together.

One line may be for 10,000 accounts. If a notification of a group changed every account at
once, no other sender would be served meanwhile, and a stranger could repeat it. So a group
only counts its notifications, and each account fetches its part later: in the round through
the group, or before that, when the account has a wake-up for another reason. Pure.
"""

from array import array
from collections.abc import Sequence
from typing import Final

import msgspec

from mailbell.core.coalesce import Coalescer
from mailbell.core.networks import Family, format_address
from mailbell.core.notification import Cause, Transport

__all__ = ["MANUAL", "AccountState", "Group", "Origin"]


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The origin of a notification. As text it is the source's address.

    Attributes:
        cause: network or manual.
        transport: how it arrived; None: a local program sent it by `Notify`.
        family: the family of the source; None: a local program sent it by `Notify`.
        source: the address of the source, as a number.
    """

    cause: Cause
    transport: Transport | None
    family: Family | None
    source: int

    def __str__(self) -> str:
        return "" if self.family is None else format_address(self.family, self.source)


MANUAL = Origin(Cause.MANUAL, None, None, 0)

# Where a group counts its notifications. The bits below are for calls that were not read: for one
# notification they count no more than there are accounts. The rest lasts for 10**14 notifications.
_NOTIFICATIONS: Final = 16


class AccountState:
    """The state of one account. Its size is bounded, whatever arrives.

    Attributes:
        name: the account's name.
        number: its place among all accounts.
        count: how many notifications all its wake-ups stood for.
        groups: the groups that it is in, with its place in each.
        time: the stamp of the last notification; None: there was none.
    """

    __slots__ = (
        "coalescer",
        "count",
        "groups",
        "name",
        "number",
        "origin",
        "time",
    )

    def __init__(self, name: str, number: int, interval: float) -> None:
        self.name = name
        self.number = number
        self.coalescer = Coalescer(interval)
        self.count = 0
        self.time: int | None = None
        self.origin = MANUAL
        self.groups: tuple[tuple[Group, int], ...] = ()

    def note(self, origin: Origin, time: int) -> None:
        """Note where a notification came from, unless a later one is known.

        Args:
            origin: its origin.
            time: its stamp.
        """
        if self.time is None or self.time <= time:
            self.origin, self.time = origin, time

    def merge(self, origin: Origin, now: float, time: int) -> bool:
        """Add a notification to those that wait for the next wake-up already.

        Under load nearly every notification ends here.

        Args:
            origin: its origin.
            now: monotonic clock, in seconds.
            time: its stamp.

        Returns:
            Whether it was added; False: none waits, or the wake-up is due.
        """
        if not self.coalescer.merge(now):
            return False
        if self.time is None or self.time <= time:  # as `note`, without a call
            self.origin, self.time = origin, time
        return True

    def fetch(self) -> int:
        """Return how many notifications of its groups it has not fetched yet; now it has."""
        fetched = 0
        for group, place in self.groups:
            if count := group.fetch(place):
                fetched += count
                self.note(group.origin, group.time)
        return fetched


class Group:
    """Accounts that notifications ring together, and what they have not fetched yet.

    Args:
        number: its place among all groups.
        names: the names of the accounts. Kept, because the hub finds the group by this object.
        members: the accounts.
        interval: seconds; a round through the accounts begins at most once in this time.

    Attributes:
        coalescer: decides when a round begins.
        left: how many accounts the present round has still to visit.
        names: as given.
        number: as given.
        origin: the origin of the last notification.
        time: its stamp.
    """

    __slots__ = (
        "_fetched", "_is_fetched", "_members", "_place", "_rung", "coalescer", "left", "names",
        "number", "origin", "time",
    )  # fmt: skip

    def __init__(
        self, number: int, names: tuple[str, ...], members: Sequence[AccountState], interval: float
    ) -> None:
        self.number = number
        self.names = names
        self.coalescer = Coalescer(interval)
        self.left = 0
        self.origin = MANUAL
        self.time = 0
        self._members = members
        self._place = 0
        self._rung = 0
        self._is_fetched = False  # whether an account has fetched something since the last note
        self._fetched: array[int] = array("q", [0]) * len(members)
        for place, member in enumerate(members):
            member.groups += ((self, place),)

    def note(self, origin: Origin, time: int) -> None:
        """Count a notification for all accounts.

        Args:
            origin: its origin.
            time: its stamp.
        """
        self.origin, self.time = origin, time
        self._rung = (self._rung >> _NOTIFICATIONS) + 1 << _NOTIFICATIONS
        self._is_fetched = False

    def note_unread(self, origin: Origin, time: int) -> None:
        """Note a connection that was not read, while a notification waits for a round.

        An account that has fetched that notification already gets one more in the round. For
        every other account the one that waits stands for the connection too.

        Args:
            origin: its origin.
            time: its stamp.
        """
        if self._is_fetched:
            self.origin, self.time = origin, time
            self._rung += 1
            self._is_fetched = False

    def begin_round(self) -> None:
        """Visit every account, from the place on where the last round is."""
        self.left = len(self._members)

    def visit(self) -> tuple[AccountState, int]:
        """Return the next account of the round, and how many notifications it fetches."""
        place = self._place
        self._place = (place + 1) % len(self._members)
        self.left -= 1
        member, is_new = self._members[place], self._rung != self._fetched[place]
        count = self.fetch(place)
        # Connections that were not read count as one, if nothing else makes a wake-up due.
        if is_new and not count and not member.coalescer.held_back:
            count = 1
        return member, count

    def fetch(self, place: int) -> int:
        """Return how many notifications an account has not fetched yet; now it has.

        Args:
            place: the account's place in the group.
        """
        rung, fetched = self._rung, self._fetched[place]
        if rung == fetched:
            return 0
        self._fetched[place] = rung
        self._is_fetched = True
        return (rung >> _NOTIFICATIONS) - (fetched >> _NOTIFICATIONS)

"""The sources that have sent a good notification, in bounded memory.

A source counts by its narrow network (IPv4 /32, IPv6 /64), because a host has more than
one address. Each wide network (/24, /48) has few places. So one network cannot make
the daemon forget the senders of other networks, however many addresses it has. What the
configuration names needs no memory.
"""

from typing import Final

__all__ = ["FRESH", "ProvenSources"]

NETWORKS: Final = 1024  # wide networks that are remembered at least
PER_NETWORK: Final = 8  # narrow networks remembered of each
# Seconds. A source that is heard again so soon keeps its place in the order, because to give it
# another one at each notification would cost more than all its other limits.
FRESH: Final = 1.0


class ProvenSources:
    """Remembers sources of one family.

    There are two generations of wide networks. When the younger one is full, it becomes the older
    one, and the networks that were not heard since that one began are forgotten. So the last
    networks that were heard are remembered, and twice as many at most, and none is sorted.

    Args:
        narrow: how many low bits of a source are ignored.
        wide: how many low bits the addresses of one wide network differ in.

    Attributes:
        forgotten: how often a source or a generation was forgotten.
    """

    __slots__ = ("_narrow", "_older", "_wide", "_younger", "forgotten")

    def __init__(self, narrow: int, wide: int) -> None:
        self._narrow = narrow
        self._wide = wide
        self.forgotten = 0
        # The sources of each network. The one that has proven itself most recently is last. Each
        # has the time until which it need not be put last again.
        self._younger: dict[int, dict[int, float]] = {}
        self._older: dict[int, dict[int, float]] = {}

    def __contains__(self, source: int) -> bool:
        wide = source >> self._wide
        members = self._younger.get(wide) or self._older.get(wide)
        return members is not None and source >> self._narrow in members

    def add(self, source: int, now: float) -> float:
        """Remember a source that has sent a good notification.

        If its wide network has no free place, the network's oldest source is forgotten. What is
        heard twice within a second counts as heard at the first time.

        Args:
            source: an address.
            now: monotonic time in seconds.

        Returns:
            Until when the source need not be told again, in seconds, unless one is forgotten.
        """
        wide, narrow = source >> self._wide, source >> self._narrow
        members = self._younger.get(wide)
        if members is None:
            members = self._begin(wide)
        else:
            fresh = members.get(narrow, now)
            if now < fresh <= now + FRESH:
                return fresh  # nearly always
        if members.pop(narrow, None) is None and len(members) == PER_NETWORK:
            del members[next(iter(members))]
            self.forgotten += 1
        fresh = members[narrow] = now + FRESH
        return fresh

    def _begin(self, wide: int) -> dict[int, float]:
        """Take a network into the younger generation, with what the older one has of it."""
        members = self._older.pop(wide, {})  # before what the older one has is forgotten
        if len(self._younger) == NETWORKS:
            self._older, self._younger = self._younger, {}
            self.forgotten += 1
        self._younger[wide] = members
        return members

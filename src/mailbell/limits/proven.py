"""The sources that have sent a good notification, in bounded memory.

A source counts by its narrow network (IPv4 /32, IPv6 /64), because a host has more than
one address. Each wide network (/24, /48) has few places. So one network cannot make
the daemon forget the senders of other networks, however many addresses it has. What the
configuration names needs no memory.
"""

from collections import OrderedDict
from typing import Final

__all__ = ["ProvenSources"]

NETWORKS: Final = 1024  # wide networks that are remembered
PER_NETWORK: Final = 8  # narrow networks remembered of each


class ProvenSources:
    """Remembers sources of one family.

    Args:
        narrow: how many low bits of a source are ignored.
        wide: how many low bits the addresses of one wide network differ in.
    """

    __slots__ = ("_last", "_narrow", "_networks", "_wide")

    def __init__(self, narrow: int, wide: int) -> None:
        self._narrow = narrow
        self._wide = wide
        # The network that has proven itself most recently is last, and so is its source.
        self._networks: OrderedDict[int, dict[int, None]] = OrderedDict()
        self._last: int | None = None

    def __contains__(self, source: int) -> bool:
        members = self._networks.get(source >> self._wide)
        return members is not None and source >> self._narrow in members

    def add(self, source: int) -> None:
        """Remember a source that has sent a good notification.

        If its wide network has no free place, the network's oldest source is forgotten. If
        no network has a free place, the network is forgotten that was last heard first.

        Args:
            source: an address.
        """
        narrow = source >> self._narrow
        if narrow == self._last:  # nearly always: it is remembered already
            return
        self._last = narrow
        wide = source >> self._wide
        members = self._networks.setdefault(wide, {})
        self._networks.move_to_end(wide)
        members.pop(narrow, None)
        members[narrow] = None
        if len(members) > PER_NETWORK:
            del members[next(iter(members))]
        if len(self._networks) > NETWORKS:
            self._networks.popitem(last=False)

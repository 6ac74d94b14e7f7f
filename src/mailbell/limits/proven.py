"""The sources that have sent a good notification, in bounded memory.

A source counts by its narrow network (IPv4 /32, IPv6 /64), because a host has more than
one address. Each wide network (/24, /48) has few places. So one network cannot make
the daemon forget the senders of other networks, however many addresses it has. What the
configuration names has a memory of its own, which strangers cannot use.
"""

from collections import OrderedDict
from typing import Final, Protocol

__all__ = ["Proven", "ProvenNetwork", "ProvenSources"]

NETWORKS: Final = 1024  # wide networks that are remembered
PER_NETWORK: Final = 8  # narrow networks remembered of each
# Of each network that the configuration names: all of an IPv4 /24 or an IPv6 /56.
PER_LISTED: Final = 256


class Proven(Protocol):
    """A memory of proven sources."""

    def __contains__(self, source: int) -> bool:
        """Tell whether a source has sent a good notification."""

    def add(self, source: int) -> None:
        """Remember a source that has sent a good notification."""


class ProvenNetwork:
    """Remembers whether a good notification came from one address or network as a whole."""

    __slots__ = ("_proven",)

    def __init__(self) -> None:
        self._proven = False

    def __contains__(self, source: int) -> bool:
        return self._proven

    def add(self, source: int) -> None:
        """Remember it.

        Args:
            source: the address, or one of the network.
        """
        del source
        self._proven = True


class ProvenSources:
    """Remembers sources of one family.

    Args:
        narrow: how many low bits of a source are ignored.
        wide: how many low bits the addresses of one wide network differ in.
        per_network: how many narrow networks are remembered of each wide one.
    """

    __slots__ = ("_last", "_narrow", "_networks", "_per_network", "_wide")

    def __init__(self, narrow: int, wide: int, per_network: int = PER_NETWORK) -> None:
        self._per_network = per_network
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
        if len(members) > self._per_network:
            del members[next(iter(members))]
        if len(self._networks) > NETWORKS:
            self._networks.popitem(last=False)

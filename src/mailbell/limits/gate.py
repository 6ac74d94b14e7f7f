"""The limits that one source meets: its buckets, the total, the leak and the places.

Which limits these are depends on the source:

- A source that the configuration names has buckets that strangers cannot use up, and a
  part of the total is for such sources alone.
- All other sources are strangers. They share tables of buckets. A stranger that has sent
  a good notification by TCP is proven, and may use more of the total than the others.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from mailbell.core.networks import Family, NetworkMap
from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.core.translation import Translation
from mailbell.limits import gcra
from mailbell.limits.proven import ProvenSources

__all__ = ["Gate", "Lane", "Leak", "Places", "SourcePlaces", "Total", "Visitor"]

# What invalid input costs, beyond the token for its admission. With the default burst of 10, a
# source that sends only invalid input is admitted twice, then once in five seconds.
PENALTY: Final = 4.0
# This share of the datagrams over their source's limit is admitted, within limits. A source
# address is easily forged, and a forger must not be able to silence a mail server by using its
# address. The precedent is the "leak" of chrony's rate limiting.
LEAKED_SHARE: Final = 0.25
# The share of the total that leaked datagrams may have in addition.
LEAKED_TOTAL: Final = 0.25

# All of 127.0.0.0/8 belongs to this machine: a local program has sixteen million addresses.
_LOOPBACK: Final = 127
_LOOPBACK_SOURCE: Final = 0x7F000001


class Total:
    """What all sources of a transport may send together, with a reserve.

    The bucket holds twice what one second brings. The first half is for every source, a
    quarter for proven sources and named ones, and the last quarter for named sources alone.

    Args:
        rate: requests a second.
        least: how many requests may come at once at least.

    Attributes:
        refused: requests that only the total refused.
        strangers: tokens that strangers must leave.
        proven: tokens that proven sources must leave.
    """

    __slots__ = ("proven", "refused", "strangers", "take")

    def __init__(self, rate: float, least: int) -> None:
        second = max(least, math.ceil(rate))
        self.take = gcra.Bucket(rate, 2 * second).take
        self.strangers = float(second)
        self.proven = second / 2
        self.refused = 0


class Leak:
    """Admits some of the datagrams that are over their source's limit.

    Args:
        table: how many of each source.
        total: how many of all sources.
        random: returns numbers evenly spread over [0, 1).

    Attributes:
        admitted: how many it has admitted.
    """

    __slots__ = ("_random", "_table", "_total", "admitted")

    def __init__(
        self, table: gcra.BucketTable, total: gcra.Bucket, random: Callable[[], float]
    ) -> None:
        self._table, self._total, self._random = table, total, random
        self.admitted = 0

    def admit(self, source: int, now: float) -> bool:
        """Decide by chance, and within what is left for the source and for all sources.

        Args:
            source: an address.
            now: monotonic time in seconds.
        """
        if self._random() >= LEAKED_SHARE or not self._table.test(source, now):
            return False
        if not self._total.take(now):
            return False
        self._table.commit(now)
        self.admitted += 1
        return True


class Places:
    """The connections that are open at once, of all sources together.

    Args:
        limit: how many there may be.
        per_source: how many one source may have.

    Attributes:
        limit: as given.
        per_source: as given.
        taken: how many there are.
    """

    __slots__ = ("limit", "per_source", "taken")

    def __init__(self, limit: int, per_source: int) -> None:
        if min(limit, per_source) < 1:
            raise ValueError("connections and connections_per_source: 1 at least")
        self.limit, self.per_source = limit, per_source
        self.taken = 0


class SourcePlaces:
    """The open connections of each source, or of each network of one length.

    Args:
        shift: how many low bits of a source are ignored.
        factor: how many times the places of one source each may have.

    Attributes:
        shift: as given.
        factor: as given.
        held: places by source; never more keys than connections.
    """

    __slots__ = ("factor", "held", "shift")

    def __init__(self, shift: int, factor: int) -> None:
        self.shift, self.factor = shift, factor
        self.held: dict[int, int] = {}

    def take(self, source: int) -> None:
        """Count one place more.

        Args:
            source: an address.
        """
        key = source >> self.shift
        self.held[key] = self.held.get(key, 0) + 1

    def give_back(self, source: int) -> None:
        """Count one place less.

        Args:
            source: an address.

        Raises:
            KeyError: the source holds no place; a bug of the caller.
        """
        key = source >> self.shift
        held = self.held.pop(key)
        if held > 1:
            self.held[key] = held - 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lane:
    """The limits that certain sources of a transport and family meet.

    Attributes:
        levels: the buckets that each request pays from, the narrowest first.
        total: what all sources of the transport may send together.
        by_tcp: whether the transport is TCP. The source of a datagram proves nothing.
        reserve: how many tokens of the total these sources must leave.
        leak: admits datagrams over the limit; None: nothing does.
        named: whether the configuration names these sources one by one, or in a network no
            larger than a wide one.
        places: the open connections of each source, and of the network around it.
        proven: those of these sources that have proven themselves.
    """

    levels: tuple[gcra.BucketTable | gcra.OwnBucket, ...]
    total: Total
    by_tcp: bool
    reserve: float
    leak: Leak | None
    named: bool
    places: tuple[SourcePlaces, ...]
    proven: ProvenSources


class Visitor(msgspec.Struct, eq=False, gc=False):
    """One source at a gate: looked up once, and asked about each of its requests.

    `Gate.visitor` makes it. Everything here is what the configuration says of the source, or
    where the limits count it. So it stays right as long as the gate exists.

    Attributes:
        lane: the limits that it meets.
        source: the address that it counts as.
        buckets: those that it pays from, the narrowest first.
        fresh: until when it is proven, unless one is forgotten meanwhile; in seconds.
        forgotten: how many were forgotten before it was proven.
    """

    lane: Lane
    source: int
    buckets: list[gcra.Entry]
    fresh: float = -math.inf
    forgotten: int = 0

    def admit(self, now: float) -> bool:
        """Take one token for a connection or a datagram, before any of its bytes is read.

        Args:
            now: monotonic time in seconds.

        Returns:
            Whether it is admitted. If so, each bucket of the source and the transport's total
            pay one token. A refused request takes no token from any of them.
        """
        lane, buckets = self.lane, self.buckets
        total = lane.total
        if not gcra.test(buckets, now):
            return lane.leak is not None and lane.leak.admit(self.source, now)
        if not total.take(now, 1.0, lane.reserve) and not self._admit_proven(now):
            total.refused += 1
            return False
        gcra.commit(buckets, now)
        return True

    def penalize(self, now: float) -> None:
        """Make an admitted source pay more, because its input was invalid.

        Only the narrowest of its buckets pays. The wider networks have neighbours, which
        must not be silenced by it; they have paid the token for the admission.

        The source is never silenced for longer than two full bursts need to come back, however
        much invalid input it sent. Its machine may be repaired, or its address may be
        given to another machine.

        Args:
            now: monotonic time in seconds.
        """
        self.buckets[0].penalize(now, PENALTY)

    def prove(self, now: float) -> None:
        """Remember that the source has sent a good notification for an account.

        Args:
            now: monotonic time in seconds.
        """
        lane = self.lane
        if lane.named or (now < self.fresh and self.forgotten == lane.proven.forgotten):
            return  # nearly always
        self.fresh = lane.proven.add(self.source, now)
        self.forgotten = lane.proven.forgotten

    @property
    def known(self) -> bool:
        """Whether what this source sends may be a notification even if it is not read.

        That is so if it has sent a good notification before, or the configuration names it.
        Another host or user may share a named address and use up its limit before the
        sender is first heard. Nobody gains anything: a good line would do the same.
        """
        return self.lane.named or self.source in self.lane.proven

    def _admit_proven(self, now: float) -> bool:
        """Take from the part of the total that is not for every stranger."""
        lane = self.lane
        return (
            lane.by_tcp
            and self.source in lane.proven
            and lane.total.take(now, 1.0, lane.total.proven)
        )


class Gate:
    """The limits of one transport and family. `Limiter` makes it.

    A source is always an address as an integer, and `now` is monotonic time in seconds.

    Args:
        transport: how the requests come.
        family: of the addresses that they come from.
        strangers: the limits of all sources that the configuration does not name.
        named: the limits of the other sources; None: there are none.
        places: the connections of all sources.
        translation: finds IPv4 senders behind a translator.
        ipv4: the gate of IPv4, whose limits these senders meet; None: this gate is that gate.

    Attributes:
        transport: as given.
        family: as given.
        barred: stands for every source that is never asked about, because it may not call.
    """

    __slots__ = (
        "_ipv4", "_named", "_places", "_strangers", "_translation", "barred", "family",
        "transport",
    )  # fmt: skip

    def __init__(
        self,
        transport: Transport,
        family: Family,
        *,
        strangers: Lane,
        named: NetworkMap[Lane] | None,
        places: Places,
        translation: Translation,
        ipv4: "Gate | None",
    ) -> None:
        self.transport = transport
        self.family = family
        self._strangers = strangers
        self._named = named
        self._places = places
        self._translation = translation
        self._ipv4 = ipv4
        self.barred = Visitor(strangers, 0, [])

    def choose(self, source: int) -> tuple[Lane, int]:
        """Return the limits of a source, and the address that it counts as.

        Args:
            source: the address it comes from.
        """
        if self._ipv4 is not None:
            # First: a listed network of IPv6 may contain the prefix of the translator.
            embedded = self._translation.find_ipv4(source)
            if embedded is not None:
                return self._ipv4.choose(embedded)
        if self._named is not None:
            lane = self._named.lookup(self.family, source)
            if lane is not None:
                return lane, source
        if self._ipv4 is None and source >> 24 == _LOOPBACK:
            source = _LOOPBACK_SOURCE
        return self._strangers, source

    def visitor(self, source: int) -> Visitor:
        """Return what the limits have for a source. It can be kept as long as the gate exists.

        Args:
            source: the address it comes from.
        """
        lane, source = self.choose(source)
        return Visitor(lane, source, [level.entry(source) for level in lane.levels])

    def names(self, source: int) -> bool:
        """Tell whether the configuration names this source.

        Args:
            source: the address it comes from.
        """
        return self.party(source) is not None

    def party(self, source: int) -> Lane | None:
        """Return what is the same for all sources of one named address or network.

        Args:
            source: the address it comes from.

        Returns:
            Their limits; None: the configuration does not name the source.
        """
        lane, _ = self.choose(source)
        return lane if lane.named else None

    def connect(self, source: int) -> Outcome | None:
        """Take a place for a connection. `disconnect` gives it back.

        Args:
            source: the address it comes from.

        Returns:
            None if there was a place. Otherwise the limit that is reached; no place was taken.
        """
        lane, source = self.choose(source)
        places = self._places
        # First its own limit: a source over it must not learn that all places are taken.
        for each in lane.places:
            if each.held.get(source >> each.shift, 0) >= each.factor * places.per_source:
                return Outcome.TOO_MANY_FROM_SOURCE
        if places.taken >= places.limit:
            return Outcome.TOO_MANY_CONNECTIONS
        for each in lane.places:
            each.take(source)
        places.taken += 1
        return None

    def disconnect(self, source: int) -> None:
        """Give a connection's place back.

        Args:
            source: the address that was given to `connect`.

        Raises:
            KeyError: the source holds no place; a bug of the caller.
        """
        lane, source = self.choose(source)
        for each in lane.places:
            each.give_back(source)
        self._places.taken -= 1

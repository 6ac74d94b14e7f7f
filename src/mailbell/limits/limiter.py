"""The limits of each source, in memory that is bounded from the start.

RFC 4146, section 5: anyone can send notifications, so a listener must protect itself. A
source is an address and also the networks around it, because a sender with one address
usually has more. The networks are IPv4 /24, IPv6 /64 and /48, with larger allowances.
Each family and each transport has its own tables. So a flood of forged datagrams cannot make
the daemon forget or refuse the senders that connect by TCP.

Each prefix has a token bucket. `mailbell.limits.gcra` also says why the table is
set-associative, takes 17 bytes an entry and forgets the smallest TAT.
A full table admits a new source. This is safe, because coalescing bounds the effect of
notifications. To refuse the source instead would silence real mail servers.

`mailbell.limits.gate` says what is different for sources that the configuration names.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mailbell.core.networks import Family, Network, NetworkMap
from mailbell.core.notification import Transport
from mailbell.core.translation import Translation
from mailbell.limits.gate import LEAKED_TOTAL, Gate, Lane, Leak, Places, SourcePlaces, Total
from mailbell.limits.gcra import Bucket, BucketTable, OwnBucket
from mailbell.limits.proven import ProvenSources

__all__ = ["Bucket", "Gate", "Limited", "Limiter", "LimiterStatistics", "Senders", "Table"]

# The prefix lengths of the buckets that a source pays from, and how many times the allowance
# of one source each may use. A wider prefix may hold many honest senders.
PREFIXES: Final = {
    Family.IPV4: ((32, 1), (24, 16)),
    Family.IPV6: ((128, 1), (64, 4), (48, 16)),
}
# The prefix lengths for which connections are counted, and how many times the places of one
# source each may have.
PLACES: Final = {Family.IPV4: ((32, 1),), Family.IPV6: ((128, 1), (64, 4))}
# The networks that count as one source once it has proven itself.
PROVEN: Final = {Family.IPV4: 32, Family.IPV6: 64}
# A network of the configuration that is larger names nobody: it is nearly everybody.
LARGEST_LISTED: Final = {Family.IPV4: 8, Family.IPV6: 16}

# How many of the refused sources are named.
_NAMED: Final = 8
# How many refusals of the sources with buckets of their own are remembered.
_REMEMBERED: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The state of one table of sources.

    Attributes:
        name: transport, family and prefix, as in `tcp/ipv4/24`. With `listed` before the
            prefix: of the sources that the configuration lists. `tcp/ipv4/listed` are the
            listed addresses and networks that have a bucket of their own.
        entries: sources it holds now.
        capacity: sources it can hold.
        evicted: sources it forgot while they were still limited.
    """

    name: str
    entries: int
    capacity: int
    evicted: int


@dataclass(frozen=True, slots=True)
class LimiterStatistics:
    """The state of all limits.

    Attributes:
        tables: one record for each table.
        connections: connections open now.
        connections_limit: how many may be open at once.
        total_refused: requests within their source's limits that the total rate refused.
        leaked: datagrams over their source's limits that were admitted at random.
    """

    tables: tuple[Table, ...]
    connections: int
    connections_limit: int
    total_refused: int
    leaked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """A source that is over its limit now.

    Attributes:
        table: name of the table that refuses it.
        source: its address or network, as in `192.0.2.25` or `2001:db8::/64`.
        refused: how many of the table's last 64 refusals were its own.
        wait: microseconds until it is admitted again.
    """

    table: str
    source: str
    refused: int
    wait: int


@dataclass(frozen=True, slots=True)
class Senders:
    """What the configuration says of the senders.

    Attributes:
        listed: the networks from which notifications are expected.
        translation: the translators through which IPv4 senders may come.
    """

    listed: tuple[Network, ...] = ()
    translation: Translation = field(default_factory=Translation)

    def by_family(self) -> dict[Family, list[Network]]:
        """Sort the networks by family, in the form in which the limits see them."""
        named: dict[Family, list[Network]] = {family: [] for family in Family}
        for network in dict.fromkeys(map(self.translation.original, self.listed)):
            if network.length >= LARGEST_LISTED[network.family]:
                named[network.family].append(network)
        return named


class _PrefixTable(NamedTuple):
    """A table of the limiter, with its place in the statistics."""

    name: str
    family: Family
    length: int
    table: BucketTable

    def describe(self) -> Table:
        table = self.table
        return Table(
            name=self.name,
            entries=table.entries,
            capacity=table.capacity,
            evicted=table.evictions,
        )

    def limited(self, now: float) -> Iterator[Limited]:
        for refused in self.table.refused(now):
            yield Limited(
                table=self.name,
                source=str(Network(self.family, refused.source, self.length)),
                refused=refused.times,
                wait=_microseconds(refused.wait),
            )


class _OwnTable:
    """The buckets of their own that listed addresses and networks have."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._refusals: deque[OwnBucket] = deque(maxlen=_REMEMBERED)
        self._names: dict[OwnBucket, Network] = {}

    def make(self, network: Network, rate: float, burst: int) -> OwnBucket:
        bucket = OwnBucket(rate, burst, self._refusals)
        self._names[bucket] = network
        return bucket

    def describe(self) -> Table:
        size = len(self._names)
        return Table(name=self.name, entries=size, capacity=size, evicted=0)

    def limited(self, now: float) -> Iterator[Limited]:
        for bucket, times in Counter(self._refusals).items():
            wait = bucket.wait(now)
            if wait > 0:
                network = self._names[bucket]
                yield Limited(
                    table=self.name,
                    source=str(network),
                    refused=times,
                    wait=_microseconds(wait),
                )


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


class Limiter:
    """All limits of the daemon.

    Args:
        rate: requests a second for each source (its narrow prefix).
        burst: how many requests may come at once.
        total_rate: requests a second of all sources together. Each transport has its own, so
            that forged datagrams use up nothing that connections need. The requests of one
            second may come at once.
        connections: how many may be open at once.
        connections_per_source: how many one source may have open.
        sources: entries in each table; rounded up to a power of two, at least 8.
        udp: whether UDP is served; without it the tables for UDP are not made.
        seed: 64 random bits, secret; they decide which sources share a set.
        random: returns numbers evenly spread over [0, 1). It decides which datagrams are admitted
            over their source's limit.
        senders: what the configuration says of the senders.

    Raises:
        ValueError: a rate is not a positive, finite number, or a count is below 1.
    """

    def __init__(
        self,
        *,
        rate: float,
        burst: int,
        total_rate: float,
        connections: int,
        connections_per_source: int,
        sources: int,
        udp: bool,
        seed: int,
        random: Callable[[], float],
        senders: Senders | None = None,
    ) -> None:
        self._rate, self._burst = rate, burst
        self._total_rate = total_rate
        self._sources, self._seed = sources, seed
        self._random = random
        self._places = Places(connections, connections_per_source)
        senders = senders or Senders()
        self._translation = senders.translation
        self._tables: list[_PrefixTable | _OwnTable] = []
        self._totals: list[Total] = []
        self._leaks: list[Leak] = []
        self._gates: dict[tuple[Transport, Family], Gate] = {}
        named = senders.by_family()
        for transport in Transport if udp else (Transport.TCP,):
            self._add_gates(transport, named)

    def gate(self, transport: Transport, family: Family) -> Gate:
        """Return the limits of a transport and family. It is always the same object.

        Args:
            transport: how the requests come.
            family: of the addresses they come from.

        Raises:
            KeyError: UDP was asked for, but the limiter has none; a bug of the caller.
        """
        return self._gates[transport, family]

    def statistics(self) -> LimiterStatistics:
        """Return the present numbers, as a record that does not change later."""
        return LimiterStatistics(
            tables=tuple(table.describe() for table in self._tables),
            connections=self._places.taken,
            connections_limit=self._places.limit,
            total_refused=sum(total.refused for total in self._totals),
            leaked=sum(leak.admitted for leak in self._leaks),
        )

    def limited(self, now: float) -> tuple[Limited, ...]:
        """Name the sources that are refused most.

        Args:
            now: monotonic time in seconds.

        Returns:
            At most eight sources that have no token, the most often refused first. Among equals,
            the one with the longest wait comes first.
        """
        found = [source for table in self._tables for source in table.limited(now)]
        found.sort(key=lambda source: (source.refused, source.wait), reverse=True)
        return tuple(found[:_NAMED])

    def _add_gates(self, transport: Transport, named: dict[Family, list[Network]]) -> None:
        total = Total(self._total_rate, self._burst)
        self._totals.append(total)
        ipv4: Gate | None = None
        for family in Family:
            gate = Gate(
                transport,
                family,
                strangers=self._lane(transport, family, total, total.strangers),
                named=self._lanes(transport, family, named[family], total),
                places=self._places,
                translation=self._translation,
                ipv4=ipv4,
            )
            ipv4 = self._gates[transport, family] = gate

    def _lane(
        self, transport: Transport, family: Family, total: Total, reserve: float, group: str = ""
    ) -> Lane:
        """Make the limits of sources that share tables."""
        return Lane(
            levels=tuple(
                self._table(transport, family, length, factor, group)
                for length, factor in PREFIXES[family]
            ),
            total=total,
            by_tcp=transport is Transport.TCP,
            reserve=reserve,
            leak=self._leak(family) if transport is Transport.UDP else None,
            named=False,
            places=tuple(
                SourcePlaces(family.bits - length, factor) for length, factor in PLACES[family]
            ),
            proven=ProvenSources(
                family.bits - PROVEN[family], family.bits - PREFIXES[family][-1][0]
            ),
        )

    def _lanes(
        self, transport: Transport, family: Family, networks: list[Network], total: Total
    ) -> NetworkMap[Lane] | None:
        """Make the limits of the sources that the configuration lists; None: it lists none."""
        if not networks:
            return None
        own = _OwnTable(f"{transport}/ipv{family}/listed")
        self._tables.append(own)
        shared = self._lane(transport, family, total, total.proven, "listed/")
        return NetworkMap((network, self._own_lane(network, own, shared)) for network in networks)

    def _own_lane(self, network: Network, own: _OwnTable, shared: Lane) -> Lane:
        """Make the limits of one listed network, or choose the shared ones if it is large."""
        (narrow, _), *_, (widest, factor) = PREFIXES[network.family]
        if network.length < widest:
            return shared
        is_address = network.length == narrow
        bucket = own.make(
            network, *((self._rate, self._burst) if is_address else self._times(factor))
        )
        return Lane(
            levels=(bucket,) if is_address else (shared.levels[0], bucket),
            total=shared.total,
            by_tcp=shared.by_tcp,
            reserve=0.0,
            leak=shared.leak,
            named=True,
            # Of a network too: its neighbours are not strangers, and have places of their own.
            places=(SourcePlaces(0, 1),) if is_address else shared.places[:1],
            proven=shared.proven,
        )

    def _times(self, factor: int) -> tuple[float, int]:
        return self._rate * factor, self._burst * factor

    def _table(
        self, transport: Transport, family: Family, length: int, factor: int, group: str
    ) -> BucketTable:
        made = BucketTable(family.bits - length, self._sources, self._seed, *self._times(factor))
        name = f"{transport}/ipv{family}/{group}{length}"
        self._tables.append(_PrefixTable(name, family, length, made))
        return made

    def _leak(self, family: Family) -> Leak:
        length, _ = PREFIXES[family][0]
        sources = max(1, self._sources // 4)  # only those over their limit
        table = BucketTable(family.bits - length, sources, self._seed, self._rate, self._burst)
        rate = self._total_rate * LEAKED_TOTAL
        leak = Leak(table, Bucket(rate, max(1, round(rate))), self._random)
        self._leaks.append(leak)
        return leak

"""The limits of each source, in memory that is bounded from the start.

RFC 4146, section 5: anyone can send notifications, so a listener must protect itself. A
source is a network, not a single address, because a sender with one address usually has more.
The networks are IPv4 /32 and /24, IPv6 /64 and /48. The wider network has a larger allowance.
Each family and each transport has its own tables. So a flood of forged datagrams cannot make
the daemon forget or refuse the senders that connect by TCP.

Each prefix has a token bucket. `mailbell.limits.gcra` also says why the table is
set-associative, takes 17 bytes an entry and forgets the smallest TAT.
A full table admits a new source. This is safe, because coalescing bounds the effect of
notifications. To refuse the source instead would silence real mail servers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from mailbell.core.networks import Family, Network
from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.limits.gcra import Bucket, BucketTable, Refused

__all__ = ["Bucket", "Gate", "Limited", "Limiter", "LimiterStatistics", "Table"]

# What invalid input costs, beyond the token for its admission. With the default burst of 10, a
# source that sends only invalid input is admitted twice, then once in five seconds.
PENALTY: Final = 4.0
# The wider prefix may hold many honest senders, so its rate and burst are this many times larger.
WIDE_FACTOR: Final = 16
# This share of the datagrams over their source's limit is admitted. A source address is easily
# forged, and a forger must not be able to silence a mail server by using its address. The
# precedent is the "leak" of chrony's rate limiting.
LEAKED_SHARE: Final = 0.25

# How many of the refused sources are named.
_NAMED: Final = 8
# The lengths of the narrow and the wide prefix. Both fit in 64 bits.
_PREFIXES: Final = {Family.IPV4: (32, 24), Family.IPV6: (64, 48)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The state of one table of sources.

    Attributes:
        name: transport, family and prefix, as in `tcp/ipv4/24`.
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


class _PrefixTable(NamedTuple):
    family: Family
    length: int
    table: BucketTable

    def limited(self, name: str, refused: Refused) -> Limited:
        return Limited(
            table=name,
            source=str(Network(self.family, refused.source, self.length)),
            refused=refused.times,
            wait=round(refused.wait * 1_000_000),
        )


class Gate:
    """The limits of one transport and family. `Limiter` makes it.

    A source is always an address as an integer, and `now` is monotonic time in seconds.
    """

    __slots__ = ("_leak", "_limiter", "_narrow", "_per_source", "_total", "_wide")

    def __init__(
        self,
        limiter: "Limiter",
        tables: tuple[BucketTable, BucketTable],
        total: Bucket,
        *,
        leak: bool,
    ) -> None:
        self._limiter = limiter
        self._narrow, self._wide = tables
        self._total = total
        self._leak = leak
        self._per_source: dict[int, int] = {}  # never more keys than connections

    def admit(self, source: int, now: float) -> bool:
        """Take one token for a connection or a datagram, before any of its bytes is read.

        Args:
            source: the address it comes from.
            now: monotonic time in seconds.

        Returns:
            Whether it is admitted. If so, its narrow prefix, its wide prefix and the transport's
            total each pay one token. A refused request takes no token from any of them.
        """
        narrow, wide = self._narrow, self._wide
        if not (narrow.test(source, now) and wide.test(source, now)):
            return self._leak and self._admit_leaked(now)
        if not self._total.take(now):
            self._limiter.total_refused += 1
            return False
        narrow.commit(now)
        wide.commit(now)
        return True

    def penalize(self, source: int, now: float) -> None:
        """Make an admitted source pay more, because its input was invalid.

        The source is never silenced for longer than two full bursts need to come back, however
        much invalid input it sent. Its machine may be repaired, or its address may be
        given to another machine.

        Args:
            source: the address it came from.
            now: monotonic time in seconds.
        """
        self._narrow.penalize(source, now, PENALTY)
        self._wide.penalize(source, now, PENALTY)

    def connect(self, source: int) -> Outcome | None:
        """Take a place for a connection. `disconnect` gives it back.

        Args:
            source: the address it comes from; places are counted by its narrow prefix.

        Returns:
            None if there was a place. Otherwise the limit that is reached; no place was taken.
        """
        limiter, key = self._limiter, self._narrow.key(source)
        # First its own limit: a source over it must not learn that all places are taken.
        held = self._per_source.get(key, 0)
        if held >= limiter.connections_per_source:
            return Outcome.TOO_MANY_FROM_SOURCE
        if limiter.connections >= limiter.connections_limit:
            return Outcome.TOO_MANY_CONNECTIONS
        self._per_source[key] = held + 1
        limiter.connections += 1
        return None

    def disconnect(self, source: int) -> None:
        """Give a connection's place back.

        Args:
            source: the address that was given to `connect`.

        Raises:
            KeyError: the source holds no place; a bug of the caller.
        """
        key = self._narrow.key(source)
        held = self._per_source.pop(key)
        if held > 1:
            self._per_source[key] = held - 1
        self._limiter.connections -= 1

    def _admit_leaked(self, now: float) -> bool:
        if self._limiter.random() >= LEAKED_SHARE or not self._total.take(now):
            return False
        self._limiter.leaked += 1
        return True


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

    Attributes:
        connections: connections open now.
        connections_limit: as given.
        connections_per_source: as given.
        random: as given.
        total_refused: see `LimiterStatistics`.
        leaked: see `LimiterStatistics`.

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
    ) -> None:
        if min(connections, connections_per_source) < 1:
            raise ValueError("connections and connections_per_source: 1 at least")
        self.connections = 0
        self.connections_limit = connections
        self.connections_per_source = connections_per_source
        self.random = random
        self.total_refused = 0
        self.leaked = 0
        self._tables: dict[str, _PrefixTable] = {}
        self._gates: dict[tuple[Transport, Family], Gate] = {}

        def table(transport: Transport, family: Family, length: int, factor: int) -> BucketTable:
            made = BucketTable(family.bits - length, sources, seed, rate * factor, burst * factor)
            self._tables[f"{transport}/ipv{family}/{length}"] = _PrefixTable(family, length, made)
            return made

        for transport in Transport if udp else (Transport.TCP,):
            total = Bucket(total_rate, max(burst, math.ceil(total_rate)))
            for family, (narrow, wide) in _PREFIXES.items():
                self._gates[transport, family] = Gate(
                    self,
                    (
                        table(transport, family, narrow, 1),
                        table(transport, family, wide, WIDE_FACTOR),
                    ),
                    total,
                    leak=transport is Transport.UDP,
                )

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
            tables=tuple(
                Table(
                    name=name,
                    entries=table.entries,
                    capacity=table.capacity,
                    evicted=table.evictions,
                )
                for name, (_, _, table) in self._tables.items()
            ),
            connections=self.connections,
            connections_limit=self.connections_limit,
            total_refused=self.total_refused,
            leaked=self.leaked,
        )

    def limited(self, now: float) -> tuple[Limited, ...]:
        """Name the sources that are refused most.

        Args:
            now: monotonic time in seconds.

        Returns:
            At most eight sources that have no token, the most often refused first. Among equals,
            the one with the longest wait comes first.
        """
        found = [
            kept.limited(name, refused)
            for name, kept in self._tables.items()
            for refused in kept.table.refused(now)
        ]
        found.sort(key=lambda source: (source.refused, source.wait), reverse=True)
        return tuple(found[:_NAMED])

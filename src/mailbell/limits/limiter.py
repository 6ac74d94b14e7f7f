"""Limits for each source, in memory that is bounded from the first moment.

RFC 4146, section 5: anyone can send notifications, so a listener has to protect itself. A
source is a network, not an address, for whoever holds one address usually holds
more: IPv4 /32 and /24, IPv6 /64 and /48, the wider one with a multiplied allowance.
Families and transports have tables of their own, so that a flood of forged datagrams cannot
make us forget, or refuse, those who connect by TCP.

Each prefix has a token bucket (`mailbell.limits.gcra`, which also says why a set-associative table,
17 bytes an entry, in which the smallest TAT gives way, and not an ordered dictionary).
A table that is full lets a new source pass. The effect of a notification is bounded elsewhere
(coalescing), so failing open is safe, and failing closed would silence real servers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from mailbell.core.networks import Family
from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.limits.gcra import Bucket, Refused, Table

__all__ = ["Bucket", "Gate", "LimitedSource", "Limiter", "LimiterStatistics", "TableStatistics"]

# What invalid input costs beyond the token it paid when it was let in: with the default burst of
# 10, a source that only sends garbage is heard twice, then once in five seconds.
PENALTY: Final = 4.0
# The wider prefix may hold many honest senders, so its allowance is this many times larger.
WIDER: Final = 16
# Of the datagrams over their source's limit, this share passes: a source address is easily
# forged, and nobody must be able to silence a server by using its address. The precedent
# is the "leak" of chrony's rate limiting.
LEAK: Final = 0.25

# Of the sources that are refused, so many are named.
_NAMED: Final = 8
# Lengths of the narrow and the wide prefix: both fit in 64 bits exactly.
_PREFIXES: Final = {Family.IPV4: (32, 24), Family.IPV6: (64, 48)}


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """The state of one table.

    Attributes:
        name: transport, family and prefix length, as in `tcp/ipv4/24`.
        entries: slots in use.
        capacity: slots there are.
        evictions: entries that gave way while they still meant something.
    """

    name: str
    entries: int
    capacity: int
    evictions: int


@dataclass(frozen=True, slots=True)
class LimiterStatistics:
    """The state of all limits.

    Attributes:
        tables: one record a table.
        connections: connections open now.
        connections_limit: how many may be open at once.
        total_refused: requests within their source's limits that the total rate refused.
        leaked: datagrams over their source's limits that passed by chance.
    """

    tables: tuple[TableStatistics, ...]
    connections: int
    connections_limit: int
    total_refused: int
    leaked: int


@dataclass(frozen=True, slots=True)
class LimitedSource:
    """A prefix that has no token, and was refused of late.

    Attributes:
        table: its table's name.
        family: of its addresses.
        prefix: its lowest address.
        length: of the prefix, in bits.
        refused: how many of its table's last 64 refusals were its own.
        wait: seconds until it has a token again.
    """

    table: str
    family: Family
    prefix: int
    length: int
    refused: int
    wait: float


class _Kept(NamedTuple):
    family: Family
    length: int
    table: Table

    def named(self, name: str, refused: Refused) -> LimitedSource:
        return LimitedSource(
            name, self.family, refused.source, self.length, refused.times, refused.wait
        )


class Gate:
    """The limits of one transport and family; made by `Limiter`.

    Everywhere a source is an address as an integer, and `now` monotonic time in seconds.
    """

    __slots__ = ("_leak", "_limiter", "_narrow", "_per_source", "_total", "_wide")

    def __init__(
        self, limiter: "Limiter", tables: tuple[Table, Table], total: Bucket, *, leak: bool
    ) -> None:
        self._limiter = limiter
        self._narrow, self._wide = tables
        self._total = total
        self._leak = leak
        self._per_source: dict[int, int] = {}  # never more keys than connections

    def admit(self, source: int, now: float) -> bool:
        """Take one token for a connection or a datagram, before any byte is looked at.

        Args:
            source: the address it comes from.
            now: monotonic time in seconds.

        Returns:
            Whether it may go on. Its narrow prefix, its wide prefix and the transport's total
            pay, or none of them: a refused request takes no tokens anywhere.
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
        """Make an admitted source pay more, since its input was invalid.

        However much garbage it sent, it is not silenced for longer than two full bursts take to
        come back: the machine may be repaired, or its address be given to another.

        Args:
            source: the address it came from.
            now: monotonic time in seconds.
        """
        self._narrow.penalize(source, now, PENALTY)
        self._wide.penalize(source, now, PENALTY)

    def connect(self, source: int) -> Outcome | None:
        """Take a slot for a connection, to be given back with `disconnect`.

        Args:
            source: the address it comes from; slots are counted by its narrow prefix.

        Returns:
            None when there was a slot, else the limit that is reached and nothing to give back.
        """
        limiter, key = self._limiter, self._narrow.key(source)
        # A source over its own limit must not even learn, or cause, that all are taken.
        held = self._per_source.get(key, 0)
        if held >= limiter.connections_per_source:
            return Outcome.TOO_MANY_FROM_SOURCE
        if limiter.connections >= limiter.connections_limit:
            return Outcome.TOO_MANY_CONNECTIONS
        self._per_source[key] = held + 1
        limiter.connections += 1
        return None

    def disconnect(self, source: int) -> None:
        """Give a connection's slot back.

        Args:
            source: the address that was given to `connect`.

        Raises:
            KeyError: the source holds no slot; a bug of the caller.
        """
        key = self._narrow.key(source)
        held = self._per_source.pop(key)
        if held > 1:
            self._per_source[key] = held - 1
        self._limiter.connections -= 1

    def _admit_leaked(self, now: float) -> bool:
        if self._limiter.random() >= LEAK or not self._total.take(now):
            return False
        self._limiter.leaked += 1
        return True


class Limiter:
    """All limits of the daemon.

    Args:
        rate: requests a second for each source (its narrow prefix).
        burst: how many of them may come at once.
        total_rate: requests a second of all sources together, for each transport by itself:
            forged datagrams use up nothing that connections need. One second's worth may
            come at once.
        connections: how many may be open at once.
        connections_per_source: how many of them by one source.
        sources: entries in each table; rounded up to a power of two, 8 at least.
        udp: whether there are datagrams; without them their tables do not exist.
        seed: 64 random bits, secret; they decide which sources share a set.
        random: returns numbers evenly spread over [0, 1); decides which datagrams leak.

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
        self._tables: dict[str, _Kept] = {}
        self._gates: dict[tuple[Transport, Family], Gate] = {}

        def table(transport: Transport, family: Family, length: int, factor: int) -> Table:
            made = Table(family.bits - length, sources, seed, rate * factor, burst * factor)
            self._tables[f"{transport}/ipv{family}/{length}"] = _Kept(family, length, made)
            return made

        for transport in Transport if udp else (Transport.TCP,):
            total = Bucket(total_rate, max(burst, math.ceil(total_rate)))
            for family, (narrow, wide) in _PREFIXES.items():
                self._gates[transport, family] = Gate(
                    self,
                    (table(transport, family, narrow, 1), table(transport, family, wide, WIDER)),
                    total,
                    leak=transport is Transport.UDP,
                )

    def gate(self, transport: Transport, family: Family) -> Gate:
        """Return the limits of a transport and family: always the same object.

        Args:
            transport: how the requests come.
            family: of the addresses they come from.

        Raises:
            KeyError: UDP was asked for but the limiter made without it; a bug of the caller.
        """
        return self._gates[transport, family]

    def statistics(self) -> LimiterStatistics:
        """Return what is known now, as a record that later requests do not change."""
        return LimiterStatistics(
            tables=tuple(
                TableStatistics(name, table.entries, table.capacity, table.evictions)
                for name, (_, _, table) in self._tables.items()
            ),
            connections=self.connections,
            connections_limit=self.connections_limit,
            total_refused=self.total_refused,
            leaked=self.leaked,
        )

    def limited(self, now: float) -> tuple[LimitedSource, ...]:
        """Name those who are refused most.

        Args:
            now: monotonic time in seconds.

        Returns:
            At most eight that have no token, most often refused first, then by how
            long they will have none.
        """
        found = [
            kept.named(name, refused)
            for name, kept in self._tables.items()
            for refused in kept.table.refused(now)
        ]
        found.sort(key=lambda source: (source.refused, source.wait), reverse=True)
        return tuple(found[:_NAMED])

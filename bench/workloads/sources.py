"""CPU time of a notification with 200 live sources, and with 100,000.

A live source still lacks tokens when it sends again, so its entry means something. The daemon
as shipped keeps 8192 entries a table. So most of 100,000 sources have lost their entry, and
each replaces another. A second daemon has tables for all of them. It finds each one, in more
memory than a processor caches. The limiter alone is measured the same way, because the rest of
the daemon would hide its cost.

The sources use UDP, because a sender can send most often by UDP. The datagrams are paced: the
daemon does no work for those that a full receive buffer loses.
receive buffer loses are none that the daemon has worked for.
"""

import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import random
from time import thread_time_ns
from typing import Final, Literal, NamedTuple

from bench.flood import Flood, source
from bench.kernel import Cpu
from bench.namespace import IPV6_HOST, namespace
from bench.processes import Daemon, Failed, build, configuration, cores, started
from bench.section import Plan, Row, Section, Spread, Target
from mailbell.client import Client
from mailbell.core.networks import Family, Network
from mailbell.core.notification import Transport
from mailbell.limits.limiter import Gate, Limiter, Senders

__all__ = ["measure"]

_FEW: Final = 200
_MANY: Final = 100_000
_DATAGRAMS: Final = 25_000
_ADMISSIONS: Final = 100_000
# Datagrams a second: less than half of what the daemon takes, so it keeps up on a busy machine.
_PACE: Final = 50_000
# So slow that a source lacks a token until the end once it was admitted. The burst admits all.
_RATE: Final = "1/h"
_BURST: Final = 1_000_000
_SHIPPED: Final = 8192
# A source goes into one of many small sets. With room for twice as many, almost no set is full.
_LARGE: Final = 262_144
# A pass that meets at most this share of sources without an entry is the last.
_UNKNOWN: Final = 0.02
_PASSES: Final = 5
_BOUND: Final = 1.3
_SECONDS: Final = 1e-5  # from one admission to the next


class _Way(NamedTuple):
    """How the sources send."""

    name: str
    version: Literal[4, 6]
    host: str


_WAYS: Final = (_Way("IPv4", 4, "127.0.0.1"), _Way("IPv6", 6, IPV6_HOST))

# One round, by its number. It returns the nanoseconds of CPU for one notification.
_Round = Callable[[int], float]


class _Compared(NamedTuple):
    """The same way with few sources, with many, and with many and room for all of them."""

    name: str
    few: _Round
    many: _Round
    roomy: _Round


def measure(plan: Plan) -> Section:
    """Measure all ways, in turn.

    Args:
        plan: how much to measure.

    Raises:
        Failed: a datagram was refused, or cannot be accounted for.
    """
    build()
    many = plan.of(_MANY, least=2 * _FEW)
    with ExitStack() as stack:
        through = stack.enter_context(namespace())
        ways = _WAYS if through is not None else _WAYS[:1]
        daemons = [
            stack.enter_context(_daemon(ways, sources, through or ()))
            for sources in (_SHIPPED, _LARGE)
        ]
        for way in ways:
            _fill(daemons[1], way, many)
        whole = [_over_udp(plan, way, daemons, many) for way in ways]
        part = [_limiter_alone(plan, way, many) for way in _WAYS]
        values = [_interleaved(each, plan.rounds) for each in (*whole, *part)]
        notes = [*map(_Heard.note, daemons)]
    if through is None:
        notes.append("no UDP over IPv6: its sources take a network namespace, made as root")
    return Section(
        name="sources",
        title=f"CPU time of a notification with {_FEW} and with {many:,} live sources",
        unit="ns",
        against=f"{_FEW} sources",
        rows=tuple(
            row
            for each, v in zip((*whole, *part), values, strict=True)
            for row in _rows(each, v, many)
        ),
        # The target is for the cost of a notification. The limiter is a part of that.
        targets=tuple(_target(each, v, many) for each, v in zip(whole, values, strict=False)),
        notes=tuple(notes),
    )


def _interleaved(compared: _Compared, rounds: int) -> list[list[float]]:
    """Return the cost of each of the three, by round. Each is first in some rounds."""
    three = (compared.few, compared.many, compared.roomy)
    found: list[list[float]] = [[], [], []]
    for each in three:
        each(0)  # not counted: what is done for the first time costs more
    for number in range(1, rounds + 1):
        for place in (0, 1, 2) if number % 2 else (2, 1, 0):
            found[place].append(three[place](number))
    return found


def _rows(compared: _Compared, values: list[list[float]], many: int) -> Iterator[Row]:
    few = values[0]
    yield Row(f"{compared.name}, {_FEW} sources", Spread.of(few))
    tables = ("tables as shipped", "tables for all")
    for took, table in zip(values[1:], tables, strict=True):
        name = f"{compared.name}, {many:,} sources, {table}"
        yield Row(name, Spread.of(took), _ratio(took, few))


def _target(compared: _Compared, values: list[list[float]], many: int) -> Target:
    worse = max(_ratio(took, values[0]).median for took in values[1:])
    what = f"{compared.name}, {many:,} sources / {_FEW}, the worse of both tables"
    return Target(what=what, value=worse, bound=_BOUND)


def _ratio(values: list[float], base: list[float]) -> Spread:
    return Spread.of(value / few for value, few in zip(values, base, strict=True))


# Over UDP


@dataclass
class _Heard:
    """A daemon, and what was sent to it."""

    daemon: Daemon
    through: Sequence[str]
    sources: int
    core: int | None
    lost: int = 0
    accepted: int = 0

    def hear(self, way: _Way, flood: Flood) -> float:
        """Send datagrams. Return the CPU time of one that arrived, in nanoseconds."""
        before = self.daemon.status()
        port = self.daemon.port("udp", f"[{way.host}]" if way.version == 6 else way.host)
        used = Cpu.settled(self.daemon.pid)
        sent = flood.run(way.host, port, self.core, self.through)
        used = Cpu.settled(self.daemon.pid) - used
        after = self.daemon.status()
        counted = {name: n - before.outcomes.udp[name] for name, n in after.outcomes.udp.items()}
        accepted = counted.pop("accepted")
        lost = (after.kernel_dropped or 0) - (before.kernel_dropped or 0)
        if any(counted.values()) or not accepted or accepted + lost != sent.sent:
            raise Failed(f"{sent} datagrams: {accepted} accepted, {lost} lost, else {counted}")
        self.accepted += accepted
        self.lost += lost
        return used.total / accepted

    def note(self) -> str:
        """Describe the outcomes of all datagrams."""
        tables = [t for t in self.daemon.status().tables if t.name.startswith("udp")]
        state = "; ".join(
            f"{t.name}: {t.entries:,} of {t.capacity:,} entries in use, {t.evicted:,} gave way"
            for t in tables if t.entries and "/listed/" in t.name
        )  # fmt: skip
        total = f"{self.accepted + self.lost:,} datagrams: {self.accepted:,} accepted"
        return f"limits.sources = {self.sources}, {total}, {self.lost:,} lost before; {state}"


@contextmanager
def _daemon(ways: Sequence[_Way], sources: int, through: Sequence[str]) -> Iterator[_Heard]:
    server_core, load_core = cores()
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        endpoints = [f"[{w.host}]:0" if w.version == 6 else f"{w.host}:0" for w in ways]
        toml = configuration(directory, udp=endpoints, rate=_RATE, sources=sources)
        with (
            started(directory, toml, server_core, through=through) as daemon,
            Client(daemon.path) as client,
            client.subscribe(),
        ):
            yield _Heard(daemon, through, sources, load_core)


def _fill(heard: _Heard, way: _Way, many: int) -> None:
    """Make all sources known to the daemon that has room for them.

    With some seeds a few sets get more sources than they hold. The note says how many
    entries there are at the end.
    """
    # The configuration of the daemons lists the networks of all sources.
    narrow = f"udp/ipv{way.version}/listed/{32 if way.version == 4 else 128}"
    known = 0
    for _ in range(_PASSES):
        before = known
        heard.hear(way, Flood("udp", "line", many, sources=many, per_second=_PACE))
        known = next(t.entries for t in heard.daemon.status().tables if t.name == narrow)
        if known - before < _UNKNOWN * many:
            break
    if known < many / 2:
        raise Failed(f"of {many} sources the daemon knows {known}")


def _over_udp(plan: Plan, way: _Way, daemons: Sequence[_Heard], many: int) -> _Compared:
    amount = plan.of(_DATAGRAMS, least=_FEW)
    shipped, large = daemons

    def flood(number: int, sources: int) -> Flood:
        # As many sources as there are datagrams. The next call takes the others.
        window = min(amount, sources)
        first = number % (sources // window) * window
        return Flood("udp", "line", amount, first, window, _PACE)

    return _Compared(
        f"UDP over {way.name}",
        few=lambda number: shipped.hear(way, flood(number, _FEW)),
        many=lambda number: shipped.hear(way, flood(number, many)),
        roomy=lambda number: large.hear(way, flood(number, many)),
    )


# The limiter alone


def _limiter_alone(plan: Plan, way: _Way, many: int) -> _Compared:
    shipped, large = _Alone(_SHIPPED), _Alone(_LARGE)
    amount = plan.of(_ADMISSIONS, least=many)
    few_sources = _addresses(way, _FEW, amount)
    many_sources = _addresses(way, many, amount)
    return _Compared(
        f"limiter alone, {way.name}",
        few=lambda _: shipped.admit(way, few_sources),
        many=lambda _: shipped.admit(way, many_sources),
        roomy=lambda _: large.admit(way, many_sources),
    )


def _addresses(way: _Way, sources: int, amount: int) -> list[int]:
    """List the sources in turn. Each address is a new object, as after parsing."""
    return [source(way.version, number % sources) for number in range(amount)]


class _Alone:
    """A limiter in this process, as the daemon makes it."""

    def __init__(self, sources: int) -> None:
        self._limiter = Limiter(
            rate=1 / 3600,
            burst=_BURST,
            total_rate=1_000_000,
            connections=256,
            connections_per_source=8,
            sources=sources,
            udp=True,
            seed=secrets.randbits(64),
            random=random,
            # As in the configuration of the daemons: 127.0.0.0/8 is one source if it is not listed.
            senders=Senders((Network.parse("127.0.0.0/8"), Network.parse("2001:db8::/32"))),
        )
        self._now = 0.0

    def admit(self, way: _Way, addresses: list[int]) -> float:
        """Ask it for each source. Return the CPU time of one answer, in nanoseconds."""
        gate: Gate = self._limiter.gate(Transport.UDP, Family(way.version))
        times = [self._now + _SECONDS * number for number in range(len(addresses))]
        self._now = times[-1]
        began = thread_time_ns()
        admitted = sum(gate.visitor(a).admit(now) for a, now in zip(addresses, times, strict=True))
        took = thread_time_ns() - began
        if admitted != len(addresses):
            raise Failed(f"of {len(addresses)} requests the limiter admitted {admitted}")
        return took / admitted

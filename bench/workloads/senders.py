"""Forty configured senders while everybody else floods, all kinds of floods at once.

Each sender rings five times, once a minute or more often in a quicker plan, and once more
without floods. A sample is the time from its `connect()` until the daemon has closed. A
notification is delivered if a subscriber is told of it. A sender that a limit refuses can be
told of all the same; such refusals have a target of their own. A refused neighbour in the /64 of
a sender can be told of too.

Around the senders there are, until the end:

- a local user: good lines from all of 127.0.0.0/8, 2000 a second, and then 34,000 a second;
- a stranger with forged datagrams: good lines with one listed source, and garbage;
- neighbours of the senders, in the same /64, /24 and /48: 1 to 16 lines of garbage a second each;
- eight addresses of one /64 that ring an account which other senders share;
- strangers behind the same translator (NAT64) as some of the senders;
- members of the local socket's group who reconnect 500 times a second, or never read.

The daemon has its default limits and one core. Everything else has the other core, the senders
before the floods. So a flood may be slower than it is meant to be; the notes say how fast it was.
The senders are configured by address, one account each, and then by network, one account for each
network. The floods come first, so a sender's first notification meets them all.

It needs a network namespace, so it needs root.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bench.callers import GARBAGE, Called, Caller, Calls
from bench.kernel import Cpu
from bench.namespace import IPV6_HOST, namespace
from bench.processes import BUILD, HERE, PATIENCE, Daemon, Failed, build, cores, end, started
from bench.section import FULL, QUICK, Plan, Row, Section, Spread, Target
from mailbell.client import Client
from mailbell.core.errors import TemporaryError

__all__ = ["measure"]

_PORT: Final = 7979
_HOST: Final = "127.0.0.1"
_IPV4: Final = [f"198.51.100.{k}" for k in range(1, 17)]
_IPV6: Final = [f"2001:db8:a:{k:x}::25" for k in range(1, 17)]
_TRANSLATED: Final = [f"203.0.113.{k}" for k in range(1, 9)]
_NETWORKS: Final = {
    "ipv4": ["198.51.100.0/24"],
    "ipv6": ["2001:db8:a::/48"],
    # Both ways to write the same: without knowledge of translators only the second one matches.
    "nat64": ["203.0.113.0/24", "64:ff9b::/96"],
}
_PREFIX: Final = "64:ff9b::"
_CONFIGURED: Final = ("by address", "by network")
# Listed, and only ever forged: source 0x4d1 of bench/c/address.h.
_FORGED: Final = ("2001:db8:4d2::1", 0x4D1)
_EIGHT: Final = [f"2001:db8:b:1::{k}" for k in range(1, 9)]
_OTHERS: Final = (
    f'[[account]]\nname = "forged"\nsources = ["{_FORGED[0]}"]\n'
    '[[account]]\nname = "shared"\nsources = ["2001:db8:b::/48"]\n'
)
_UDP: Final = 20_000
_UDP_GARBAGE: Final = 5000
_MANY: Final = 65_000 * 250
_FASTEST: Final = 16
# Seconds between two notifications of a sender.
_EVERY: Final = {FULL: 60.0, QUICK: 2.0}
_LEAST: Final = 0.25
# The same while nobody floods.
_QUIET: Final = 1.0
# Hostile members connect so often in a second.
_MEMBERS: Final = 500
# Command prefixes. The senders get the core before all floods (SCHED_FIFO, sched(7)).
_FIRST: Final = ("chrt", "--fifo", "1")
_YIELDING: Final = ("nice", "--adjustment=10")
# Seconds for the floods to fill what they can, and for the last notification to be told.
_HEAD_START: Final = 0.5
_SETTLE: Final = 3.0


class _Scene(NamedTuple):
    """A part of the time.

    Attributes:
        name: its name in the table.
        rings: how often each sender rings.
        local: connections a second of the local user; 0: nobody floods.
    """

    name: str
    rings: int
    local: int


_SCENES: Final = (
    _Scene("all floods, 2000 local a second", 3, 2000),
    _Scene("all floods, 34,000 local a second", 2, 34_000),
    _Scene("no flood", 1, 0),
)


class _Flood(NamedTuple):
    """What one of the floods did.

    Attributes:
        name: of the flood.
        rate: messages or connections a second.
    """

    name: str
    rate: float


class _Result(NamedTuple):
    """What happened in a scene.

    Attributes:
        milliseconds: of the connections that the daemon read to their end.
        sent: notifications.
        delivered: those of which the subscriber was told.
        more: how many it was told of beyond them, for neighbours of senders.
        wakeups: how often it was told.
        refused: connections of senders that were reset, and others that failed.
        floods: what the floods did.
        busy: the share of the time that the daemon was on its core.
        outcomes: what the daemon counted, TCP and UDP.
    """

    milliseconds: list[float]
    sent: int
    delivered: int
    more: int
    wakeups: int
    refused: tuple[int, int]
    floods: list[_Flood]
    busy: float
    outcomes: dict[str, int]


def measure(plan: Plan) -> Section:
    """Measure both configurations; with one round only the first.

    Args:
        plan: how much to measure.

    Raises:
        Failed: there is no namespace, or a flood does not begin.
    """
    build()
    results: dict[tuple[str, str], _Result] = {}
    for named in _CONFIGURED[: plan.rounds]:
        for scene, result in _configured(named, _EVERY.get(plan, _LEAST)):
            results[named, scene.name] = result
    return _section(results)


def _configured(named: str, every: float) -> Iterator[tuple[_Scene, _Result]]:
    with ExitStack() as stack:
        through = stack.enter_context(namespace())
        if through is None:
            raise Failed("it needs root, who makes a network namespace")
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        toml = _configuration(directory, named)
        daemon = stack.enter_context(started(directory, toml, cores()[0], through=through))
        for scene in _SCENES:
            yield scene, _run(scene, every if scene.local else _QUIET, daemon, through)


def _configuration(directory: Path, named: str) -> str:
    endpoints = [f"{_HOST}:{_PORT}", f"[{IPV6_HOST}]:{_PORT}"]
    accounts = _by_address() if named == _CONFIGURED[0] else _NETWORKS
    return f"""\
[listen]
tcp = {endpoints}
udp = {endpoints}
user = "nobody"
[socket]
path = "{directory}/mailbell.sock"
group = ""
""" + "".join(
        [
            *(
                f'[[account]]\nname = "{name}"\nsources = {list(sources)}\n'
                for name, sources in accounts.items()
            ),
            _OTHERS,
        ]
    )


def _by_address() -> dict[str, list[str]]:
    written = [
        *([address] for address in (*_IPV4, *_IPV6)),
        *([address, _PREFIX + address] for address in _TRANSLATED),
    ]
    return {f"good{k}": sources for k, sources in enumerate(written)}


def _run(scene: _Scene, every: float, daemon: Daemon, through: Sequence[str]) -> _Result:
    """Let the senders ring while the floods run."""
    sources = [*_IPV4, *_IPV6, *(_PREFIX + address for address in _TRANSLATED)]
    rung = tuple(
        Caller(source, every=every, first=every * k / len(sources), count=scene.rings)
        for k, source in enumerate(sources)
    )
    before, ran, began = daemon.status(), Cpu.of(daemon.pid), time.monotonic()
    with _subscriber(daemon) as told:
        with _floods(scene, daemon, through) as floods:
            called = _Calling(rung, through, _FIRST).wait()
        seconds = time.monotonic() - began
        busy = (Cpu.of(daemon.pid) - ran).total / 1e9 / seconds
        sent = len(sources) * scene.rings
        last = time.monotonic() + _SETTLE
        while told.count < sent and time.monotonic() < last:
            time.sleep(0.01)
    return _Result(
        milliseconds=[each for one in called for each in one.milliseconds],
        sent=sent,
        delivered=min(told.count, sent),
        more=max(0, told.count - sent),
        wakeups=told.wakeups,
        refused=(sum(one.reset for one in called), sum(one.failed for one in called)),
        floods=floods,
        busy=busy,
        outcomes=_difference(before.outcomes, daemon.status().outcomes),
    )


def _difference(before: msgspec.Struct, after: msgspec.Struct) -> dict[str, int]:
    found: Counter[str] = Counter()
    for sign, outcomes in ((1, after), (-1, before)):
        for transport in ("tcp", "udp"):
            for name, number in getattr(outcomes, transport).items():
                found[f"{transport} {name}"] += sign * number
    return {name: number for name, number in found.items() if number}


class _Subscriber(threading.Thread):
    """Reads what a subscriber is told of the senders' accounts.

    Attributes:
        count: notifications, as the daemon counts them.
        wakeups: how often it was told.
    """

    def __init__(self, path: str, accounts: Sequence[str]) -> None:
        super().__init__()
        self.count, self.wakeups = 0, 0
        self.stopped = threading.Event()
        self._client = Client(path)
        self._subscription = self._client.subscribe(accounts, reconnect=False)

    def run(self) -> None:
        with self._client, self._subscription:
            while not self.stopped.is_set():
                try:
                    notification = self._subscription.next(0.2)
                except TemporaryError:
                    continue
                self.count += notification.count
                self.wakeups += 1


@contextmanager
def _subscriber(daemon: Daemon) -> Iterator[_Subscriber]:
    names = [account.name for account in daemon.status().accounts]
    good = [name for name in names if name not in {"forged", "shared"}]
    subscriber = _Subscriber(daemon.path, good)
    subscriber.start()
    try:
        yield subscriber
    finally:
        subscriber.stopped.set()
        subscriber.join()


class _Calling:
    """A process of bench/callers.py."""

    def __init__(
        self, callers: tuple[Caller, ...], through: Sequence[str], priority: Sequence[str]
    ) -> None:
        command = [*through, *_elsewhere(), *priority, sys.executable, str(HERE / "callers.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdin is None or self.process.stdout is None:
            raise Failed("bench/callers.py has no input or output")
        self.process.stdin.write(msgspec.json.encode(Calls(_PORT, callers)))
        self.process.stdin.close()
        if self.process.stdout.readline() != b"begins\n":
            raise Failed("bench/callers.py does not begin")

    def wait(self) -> list[Called]:
        """Wait until all have called, and return what became of it."""
        if self.process.stdout is None:
            raise Failed("bench/callers.py has no output")
        with self.process.stdout as output:
            found = msgspec.json.decode(output.read(), type=list[Called])
        self.process.wait(PATIENCE)
        return found


def _elsewhere() -> list[str]:
    """Return the command prefix that leaves the daemon's core alone."""
    other = cores()[1]
    return [] if other is None else ["taskset", "-c", str(other)]


@contextmanager
def _floods(scene: _Scene, daemon: Daemon, through: Sequence[str]) -> Iterator[list[_Flood]]:
    """Run all floods until the end of the block. The list is filled then."""
    found: list[_Flood] = []
    if not scene.local:
        yield found
        return
    with ExitStack() as stack:
        for name, words in _programs(scene.local, daemon.path).items():
            stack.enter_context(_program(name, words, through, found))
        stack.enter_context(_calling(_strangers(), through, found))
        time.sleep(_HEAD_START)
        yield found


def _programs(local: int, path: str) -> dict[str, list[object]]:
    flood, hour = BUILD / "flood", 3600
    forged = _FORGED[1], 1, 0, hour
    return {
        "local user, 127.0.0.0/8": [
            flood, "tcp", _HOST, _PORT, 0, _MANY, 0, hour, "line", local,
        ],
        "datagrams, one listed source forged": [
            flood, "udp", IPV6_HOST, _PORT, *forged, "line", _UDP,
        ],
        "datagrams, garbage": [
            flood, "udp", IPV6_HOST, _PORT, 0, _MANY, 0, hour, "garbage", _UDP_GARBAGE,
        ],
        "members of the group": [sys.executable, HERE / "members.py", path, _MEMBERS],
    }  # fmt: skip


def _strangers() -> dict[str, list[Caller]]:
    def garbage(sources: Sequence[str]) -> list[Caller]:
        """1 to 16 lines a second."""
        return [
            Caller(source, GARBAGE, every=1 / (k % _FASTEST + 1))
            for k, source in enumerate(sources)
        ]

    return {
        "neighbours in the /24": garbage([f"198.51.100.{k}" for k in range(101, 117)]),
        "neighbours in the /48": garbage([f"2001:db8:a:{k:x}::66" for k in range(101, 117)]),
        "neighbours in the /64": garbage([f"2001:db8:a:1::{k:x}" for k in range(101, 117)]),
        "eight addresses of one /64": [Caller(source) for source in _EIGHT],
        "strangers behind the translator": garbage([f"{_PREFIX}192.0.2.{k}" for k in range(1, 17)]),
    }


@contextmanager
def _program(
    name: str, words: Sequence[object], through: Sequence[str], found: list[_Flood]
) -> Iterator[None]:
    command = [*through, *_elsewhere(), *_YIELDING, *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        raise Failed(f"{name}: no output")
    with process.stdout as output:
        try:
            if output.readline() != "begins\n":
                raise Failed(f"{name}: it does not begin")
            began = time.monotonic()
            yield
        finally:
            end(process)
        seconds = time.monotonic() - began
        found.append(_Flood(name, int(output.read().split()[0]) / seconds))


@contextmanager
def _calling(
    groups: dict[str, list[Caller]], through: Sequence[str], found: list[_Flood]
) -> Iterator[None]:
    callers = tuple(caller for group in groups.values() for caller in group)
    calling = _Calling(callers, through, _YIELDING)
    began = time.monotonic()
    try:
        yield
    finally:
        calling.process.terminate()
        called = calling.wait()
    seconds = time.monotonic() - began
    for name, group in groups.items():
        connections = sum(called.pop(0).connections for _ in group)
        found.append(_Flood(name, connections / seconds))


def _section(results: dict[tuple[str, str], _Result]) -> Section:
    return Section(
        name="senders",
        title="40 senders among all floods: from connect() until the daemon closes",
        unit="ms",
        rows=tuple(_rows(results)),
        targets=tuple(_targets(results)),
        notes=tuple(_notes(results)),
    )


def _rows(results: dict[tuple[str, str], _Result]) -> Iterator[Row]:
    for (named, scene), result in results.items():
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            value = _percentile(result.milliseconds, share)
            yield Row(f"{named}, {scene}: {name}", Spread.of([value]))


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")


def _targets(results: dict[tuple[str, str], _Result]) -> Iterator[Target]:
    for named in dict.fromkeys(named for named, _ in results):
        lost = sum(
            result.sent - result.delivered for (of, _), result in results.items() if of == named
        )
        yield Target(f"notifications lost, senders configured {named}", lost, 0)
        refused = sum(sum(result.refused) for (of, _), result in results.items() if of == named)
        yield Target(f"connections of senders refused, configured {named}", refused, 0)


def _notes(results: dict[tuple[str, str], _Result]) -> Iterator[str]:
    for (named, scene), result in results.items():
        reset, failed = result.refused
        yield (
            f"{named}, {scene}: {result.delivered} of {result.sent} delivered in "
            f"{result.wakeups} wake-ups, and {result.more} more; "
            f"{reset} connections reset, {failed} failed; "
            f"the daemon was busy {result.busy:.0%} of the time"
        )
        if result.floods:
            rates = "; ".join(f"{flood.name} {flood.rate:,.0f}" for flood in result.floods)
            yield f"floods, a second: {rates}"
            counted = sorted(result.outcomes.items())
            yield "counted: " + ", ".join(f"{name} {number:,}" for name, number in counted)

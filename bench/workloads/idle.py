"""An idle daemon: how often it wakes up, and what thousands of idle connections cost the others.

Wake-ups: two daemons get no connection, one with a watchdog to feed and one without. The kernel
counts how often each went to sleep, which is also how often it woke up.

Idle connections: each sends a part of the line and no more, and comes from its own network.
When all places for such connections are taken, a new one displaces the one that has waited
longest. Good notifications come in between, in turn with the same ones to a daemon without
idle connections.
"""

import re
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from bench.kernel import Cpu, Resident
from bench.processes import PATIENCE, Daemon, Failed, Load, build, configuration, cores, started
from bench.section import Plan, Row, Section, Spread, Target
from mailbell.client import Client

__all__ = ["measure"]

_HOST: Final = "127.0.0.1"
# Seconds to watch, in the full plan and at least.
_SPAN: Final = 60
_LEAST_SPAN: Final = 1
# The service manager waits for a second, so the daemon feeds the watchdog twice in that time.
_WATCHDOG: Final = ("env", "WATCHDOG_USEC=1000000")
_BETWEEN: Final = 0.5

_IDLE: Final = 10_000
_PLACES: Final = 256
_GOOD: Final = 2000
# Connections opened at once. Twice as many fit in the queue of the kernel.
_GULP: Final = 500
# Descriptors that this process needs in addition.
_SPARE: Final = 200
# Longer than all rounds take, so the idle connections stay until the end.
_DEADLINE: Final = '[protocol]\ndeadline = "1m"\n'
_ACCOUNT: Final = '[[account]]\nname = "work"\nsources = ["127.0.0.0/8"]\n'


def measure(plan: Plan) -> Section:
    """Measure both.

    Args:
        plan: how much to measure.

    Raises:
        Failed: a good notification was not accepted, or the idle ones did not end as documented.
    """
    build()
    quiet = _watch(plan.of(_SPAN, _LEAST_SPAN))
    with _descriptors(plan.of(_IDLE, 2 * _PLACES)) as idle:
        displaced = _crowd(idle, _PLACES, plan)
        held = _crowd(idle, idle + _PLACES, plan)
    crowds = {
        f"{idle} idle, {_PLACES} places": displaced,
        f"{idle} idle, a place each": held,
    }
    return Section(
        name="idle",
        title="Idle: wake-ups a minute; good notifications between idle connections",
        unit="",
        against="nobody idle",
        rows=(*_quiet_rows(quiet), *_crowd_rows(crowds)),
        targets=_targets(quiet),
        notes=tuple(_notes(quiet, crowds, plan)),
    )


class _Quiet(NamedTuple):
    """What daemons without work did.

    Attributes:
        seconds: how long they were watched.
        without: wake-ups of the daemon without a watchdog.
        fed: wake-ups of the daemon with one.
    """

    seconds: float
    without: int
    fed: int

    @property
    def meals(self) -> int:
        """The most times that a watchdog may be fed in this time."""
        return int(self.seconds / _BETWEEN) + 1


def _watch(seconds: int) -> _Quiet:
    with _daemon(_configured()) as without, _daemon(_configured(), _WATCHDOG) as fed:
        # Before that, each daemon has work: one wake-up at once, and one that was held back.
        for daemon in (without, fed):
            Load(3, sources=3).run(_HOST, daemon.port("tcp", _HOST))
            _until(partial(_has_told, daemon, 3), "the notifications are told")
        _until_quiet(without)
        began, before = time.monotonic(), (_sleeps(without), _sleeps(fed))
        time.sleep(seconds)
        after, ended = (_sleeps(without), _sleeps(fed)), time.monotonic()
    quiet = _Quiet(ended - began, after[0] - before[0], after[1] - before[1])
    if quiet.fed < quiet.meals // 2:
        raise Failed(f"the watchdog was fed {quiet.fed} times in {quiet.seconds:.1f} s")
    return quiet


def _has_told(daemon: Daemon, number: int) -> bool:
    return sum(account.count for account in daemon.status().accounts) == number


def _until_quiet(daemon: Daemon) -> None:
    """Wait until the daemon has sent its last answer: it does nothing for a tenth of a second."""
    seen = [_sleeps(daemon)]

    def is_quiet() -> bool:
        time.sleep(0.1)
        seen.append(_sleeps(daemon))
        return seen[-1] == seen[-2]

    _until(is_quiet, "the daemon is quiet")


def _sleeps(daemon: Daemon) -> int:
    """Read how often the process went to sleep. Source: proc(5), /proc/PID/status."""
    text = Path(f"/proc/{daemon.pid}/status").read_text()
    found = re.search(r"^voluntary_ctxt_switches:\t(\d+)$", text, re.MULTILINE)
    if found is None:
        raise Failed("the kernel does not count how often a process sleeps")
    return int(found[1])


class _Crowded(NamedTuple):
    """What a daemon with idle connections did.

    Attributes:
        alone: microseconds of a good notification without idle connections, by round.
        among: the same with idle connections.
        before: memory in MiB when the daemon was ready.
        resident: memory in MiB with the idle connections.
        places: idle connections that were held.
        displaced: idle connections that were closed for others.
    """

    alone: list[float]
    among: list[float]
    before: float
    resident: float
    places: int
    displaced: int


def _crowd(idle: int, places: int, plan: Plan) -> _Crowded:
    good = Load(plan.of(_GOOD, 50))
    held = min(idle, places)
    ended = {"too_many_connections": idle - held} if idle > held else {}
    accepted = {"accepted": good.count * plan.rounds}
    with _daemon(_configured(places)) as among, _daemon(_configured()) as alone:
        before = Resident.of(among.pid).now
        with _idle_connections(among, idle):
            _require(among, ended, held)
            rounds = [(_cost(alone, good), _cost(among, good)) for _ in range(plan.rounds)]
            _require(alone, accepted, 0)
            _require(among, ended | accepted, held)
            resident = Resident.of(among.pid).now
    ours, theirs = zip(*rounds, strict=True)
    return _Crowded(list(ours), list(theirs), before, resident, held, idle - held)


@contextmanager
def _idle_connections(daemon: Daemon, number: int) -> Iterator[None]:
    """Open idle connections until the end of the block. Each sends a part of the line."""
    endpoint = _HOST, daemon.port("tcp", _HOST)
    with ExitStack() as stack:
        for k in range(number):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(PATIENCE)
            sock.bind((f"127.{16 + k // 256}.{k % 256}.1", 0))
            sock.connect(endpoint)
            sock.send(b"nm_")
            if k % _GULP == _GULP - 1 or k == number - 1:
                _until(partial(_has_met, daemon, k + 1), "idle connections are taken")
        yield


def _has_met(daemon: Daemon, number: int) -> bool:
    status = daemon.status()
    return sum(status.outcomes.tcp.values()) + status.connections == number


def _require(daemon: Daemon, outcomes: dict[str, int], connections: int) -> None:
    status = daemon.status()
    counted = {name: n for name, n in status.outcomes.tcp.items() if n}
    if (counted, status.connections) != (outcomes, connections):
        raise Failed(
            f"expected {outcomes} and {connections} connections, "
            f"and the daemon counted {counted} and {status.connections}"
        )


def _cost(daemon: Daemon, load: Load) -> float:
    """Return how many microseconds the daemon needs for one notification of this load."""
    port = daemon.port("tcp", _HOST)
    before = Cpu.settled(daemon.pid)
    load.run(_HOST, port, cores()[1])
    return (Cpu.settled(daemon.pid) - before).total / load.count / 1000


@contextmanager
def _daemon(toml: Callable[[Path], str], through: Sequence[str] = ()) -> Iterator[Daemon]:
    """Run a daemon with one subscriber until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        with (
            started(directory, toml(directory), cores()[0], through=through) as daemon,
            Client(daemon.path) as client,
            client.subscribe(),
        ):
            yield daemon


def _configured(places: int = _PLACES) -> Callable[[Path], str]:
    limits = f"burst = 1000000\nconnections = {places}"
    return lambda directory: configuration(
        directory, interval="10ms", accounts=_DEADLINE + _ACCOUNT, limits=limits
    )


@contextmanager
def _descriptors(wanted: int) -> Iterator[int]:
    """Raise this process's limit of connections as far as permitted. Yield the limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = before[1]
    # The daemon inherits the limit and needs as many.
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    unlimited = hard == resource.RLIM_INFINITY
    try:
        yield wanted if unlimited else min(wanted, hard - _PLACES - _SPARE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _until(done: Callable[[], bool], what: str) -> None:
    last = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > last:
            raise Failed(f"not within {PATIENCE} s: {what}")
        time.sleep(0.01)


def _quiet_rows(quiet: _Quiet) -> Iterator[Row]:
    minutes = quiet.seconds / 60
    for name, sleeps in (("no watchdog", quiet.without), ("one each 0.5 s", quiet.fed)):
        yield Row(f"wake-ups a minute, {name}", Spread.of([sleeps / minutes]))


def _crowd_rows(crowds: dict[str, _Crowded]) -> Iterator[Row]:
    alone = [cost for crowd in crowds.values() for cost in crowd.alone]
    yield Row("CPU us, nobody idle", Spread.of(alone))
    for name, crowd in crowds.items():
        ratios = [ours / theirs for ours, theirs in zip(crowd.among, crowd.alone, strict=True)]
        yield Row(f"CPU us, {name}", Spread.of(crowd.among), Spread.of(ratios))
    yield Row("RSS MiB, nobody idle", Spread.of(crowd.before for crowd in crowds.values()))
    for name, crowd in crowds.items():
        yield Row(f"RSS MiB, {name}", Spread.of([crowd.resident]))


def _targets(quiet: _Quiet) -> tuple[Target, ...]:
    others = max(0, quiet.fed - quiet.meals)
    return (
        Target("wake-ups without a watchdog", quiet.without, 0),
        Target("wake-ups with one, beside the watchdog's", others, 0),
    )


def _notes(quiet: _Quiet, crowds: dict[str, _Crowded], plan: Plan) -> Iterator[str]:
    yield (
        f"watched for {quiet.seconds:.1f} s, with one subscriber each: {quiet.without} wake-ups, "
        f"and {quiet.fed} where the watchdog was fed each {_BETWEEN} s"
    )
    for name, crowd in crowds.items():
        yield (
            f"{name}: {crowd.places} held, {crowd.displaced} displaced, "
            f"{plan.of(_GOOD, 50) * plan.rounds} good ones between them all accepted"
        )
    if any(crowd.places + crowd.displaced < plan.of(_IDLE) for crowd in crowds.values()):
        yield "fewer idle connections than planned: RLIMIT_NOFILE permits no more"

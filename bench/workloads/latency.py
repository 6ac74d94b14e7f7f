"""The time from the sender's `connect()` until a subscriber has read the notification.

`latency.c` is both sender and subscriber. It takes one sample after the other, idle and while
the daemon is flooded. The same way through `forward.c`, which has no limits, is compared.

- The daemon has one core, and everything else has the other. The flood runs there under
  SCHED_IDLE: it gets all the time that `latency.c` does not want, and yields at once.
- Each account may have one wake-up an interval. There are as many accounts as good sources, one
  for each. `latency.c` pauses after each sample, so more than the shortest interval passes before
  a source sends again. So no notification is held back, and no source comes near its rate.
- The flood also has an account, which has no subscriber.
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.kernel import Cpu
from bench.processes import (
    BUILD,
    PATIENCE,
    Daemon,
    Failed,
    build,
    configuration,
    cores,
    end,
    pin,
    started,
)
from bench.section import Plan, Row, Section, Spread, Target
from mailbell.interfaces.listener import Status

__all__ = ["measure"]

_HOST: Final = "127.0.0.1"
_DAEMON: Final = "mailbelld"
_FORWARD: Final = "C forwarder"
# 32 sources * 330 us > 10 ms, the shortest interval. So each sends at most 100 a second.
_SOURCES: Final = 32
_PAUSE: Final = 330
_INTERVAL: Final = "10ms"
_RATE: Final = "200/s"
_SAMPLES: Final = 1000
# Seconds to wait for a notification. A round has fewer samples if all of them take long.
_SECONDS: Final = 2
# Microseconds. A longer handshake is one whose first packet was dropped.
_DROPPED: Final = 900_000
# Seconds for which the flood fills what it can, before the first sample.
_HEAD_START: Final = 0.1
# The flood's sources begin at 127.16.0.1.
_FIRST: Final = 15 * 256
_FLOODED: Final = ["127.16.0.0/12", "127.32.0.0/11", "127.64.0.0/10", "127.128.0.0/9"]
_MANY: Final = 60_000
_SHARES: Final = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
_BOUND: Final = 5.0


class _Scene(NamedTuple):
    """What else happens during the samples.

    Attributes:
        name: its name in the table.
        transport: transport of the flood; empty: there is no flood.
        sources: number of sources of the flood.
        what: the bytes that the flood sends.
    """

    name: str
    transport: str = ""
    sources: int = 0
    what: str = ""


_IDLE: Final = _Scene("idle")
_ONE_SOURCE: Final = _Scene("TCP flood, one source", "tcp", 1, "line")
_SCENES: Final = (
    _IDLE,
    _ONE_SOURCE,
    _Scene("UDP garbage, one source", "udp", 1, "garbage"),
    _Scene(f"UDP flood, {_MANY} sources", "udp", _MANY, "line"),
    _Scene(f"TCP flood, {_MANY} sources", "tcp", _MANY, "line"),
    _Scene("silent connections", "tcp", _MANY, "silent"),
)


class _Path(NamedTuple):
    """One way from a sender to a subscriber.

    Attributes:
        name: name of the program.
        pid: its process.
        ports: ports by transport.
        socket: the socket to subscribe to.
        call: the bytes that subscribe.
    """

    name: str
    pid: int
    ports: dict[str, int]
    socket: str
    call: str


class _Flooded(NamedTuple):
    """The result of a flood: messages, and how many a second."""

    sent: int
    rate: float


class _Round(NamedTuple):
    """The results of a round, in microseconds.

    Attributes:
        handshakes: how long `connect` took.
        latencies: the time after that; for a lost one, until it was given up.
        lost: how many did not arrive.
        kept: the share of the time in which the program could run and others had its core.
        flood: the flood during the round.
    """

    handshakes: list[float]
    latencies: list[float]
    lost: int
    kept: float
    flood: _Flooded


# The rounds by program and scene.
_Rounds = dict[tuple[str, str], list[_Round]]


def measure(plan: Plan) -> Section:
    """Measure every scene. The daemon and the C program take turns, round by round.

    Args:
        plan: how much to measure.

    Raises:
        Failed: the flood did not arrive, or the daemon's counters do not confirm the samples.
    """
    build()
    samples = plan.of(_SAMPLES, 20)
    rounds: _Rounds = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        core, other = cores()
        toml = _configuration(directory)
        daemon = stack.enter_context(started(directory, toml, core))
        ours = _path_through(daemon)
        theirs = stack.enter_context(_forward(directory / "forward", core))
        for _ in range(plan.rounds):
            for scene in _SCENES:
                found = _checked(daemon, ours, scene, samples, other)
                rounds.setdefault((_DAEMON, scene.name), []).append(found)
                if scene.transport != "udp":
                    found = _round(theirs, scene, samples, other)
                    rounds.setdefault((_FORWARD, scene.name), []).append(found)
    return _section(rounds)


def _configuration(directory: Path) -> str:
    good = "".join(
        f'[[account]]\nname = "good{k}"\nsources = ["127.1.{k}.1"]\n' for k in range(_SOURCES)
    )
    flood = f'[[account]]\nname = "flood"\nsources = {_FLOODED}\n'
    endpoint = f"{_HOST}:0"
    return configuration(
        directory, tcp=[endpoint], udp=[endpoint], rate=_RATE, interval=_INTERVAL,
        accounts=good + flood, limits="burst = 10",
    )  # fmt: skip


def _path_through(daemon: Daemon) -> _Path:
    accounts = ",".join(f'"good{k}"' for k in range(_SOURCES))
    call = (
        '{"method":"org.mailbell.Listener.Subscribe","more":true,'
        f'"parameters":{{"accounts":[{accounts}]}}}}'
    )
    ports = {transport: daemon.port(transport, _HOST) for transport in ("tcp", "udp")}
    return _Path(_DAEMON, daemon.pid, ports, daemon.path, call)


@contextmanager
def _forward(path: Path, core: int | None) -> Iterator[_Path]:
    process = _run("forward", [path], core)
    if process.stdout is None:
        raise Failed("bench/build/forward has no output")
    try:
        port = int(process.stdout.readline())
        yield _Path(_FORWARD, process.pid, {"tcp": port}, str(path), "")
    finally:
        end(process)
        process.communicate()


def _run(name: str, words: Sequence[object], core: int | None) -> "subprocess.Popen[str]":
    command = [str(BUILD / name), *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    pin(process.pid, core)
    return process


def _checked(daemon: Daemon, path: _Path, scene: _Scene, samples: int, core: int | None) -> _Round:
    """Measure a round of the daemon, and compare it with the daemon's counters."""
    before = daemon.status()
    found = _round(path, scene, samples, core)
    Cpu.settled(daemon.pid)
    after = daemon.status()
    _require_flood(scene, before, after, found.flood)
    sent = len(found.handshakes)
    missing = sent - (_good(after) - _good(before))
    if missing < 0:
        raise Failed(f"{scene.name}: {sent} good notifications, {-missing} more were counted")
    return found._replace(lost=max(found.lost, missing))


def _good(status: Status) -> int:
    return sum(account.count for account in status.accounts if account.name != "flood")


def _require_flood(scene: _Scene, before: Status, after: Status, flood: _Flooded) -> None:
    """Check that the flood reached the daemon, or its filter in the kernel."""
    match scene.what:
        case "line":
            outcome = "accepted" if scene.sources > 1 else "rate_limited"
            then, now = (
                getattr(status.outcomes, scene.transport)[outcome] for status in (before, after)
            )
        case "garbage":
            then, now = before.kernel_dropped or 0, after.kernel_dropped or 0
        case _:  # it cannot be counted: the kernel holds back silent connections
            then, now = 0, flood.sent
    if scene.what and now - then < 1:
        raise Failed(f"{scene.name}: {flood.sent} were sent, and none arrived")


def _round(path: _Path, scene: _Scene, samples: int, core: int | None) -> _Round:
    flood = _Flood(path, scene, core) if scene.transport else None
    try:
        began, before = time.monotonic_ns(), _waited(path.pid)
        words = _HOST, path.ports["tcp"], path.socket, path.call
        process = _run("latency", (*words, samples, 0, _SOURCES, _PAUSE, _SECONDS), core)
        output, _ = process.communicate()
        kept = (_waited(path.pid) - before) / (time.monotonic_ns() - began)
    finally:
        flooded = flood.stop() if flood else _Flooded(0, 0.0)
    if process.returncode:
        raise Failed(f"bench/build/latency ended with exit code {process.returncode}")
    rows = [tuple(map(int, line.split())) for line in output.splitlines()]
    return _Round(
        handshakes=[handshake / 1000 for handshake, _, _ in rows],
        latencies=[latency / 1000 for _, latency, _ in rows],
        lost=sum(not came for _, _, came in rows),
        kept=kept,
        flood=flooded,
    )


def _waited(pid: int) -> int:
    """Read for how many nanoseconds it could run but did not. Source: as in `bench.kernel`."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])


class _Flood:
    """A flood, until it is stopped. It begins some time before the first sample."""

    def __init__(self, path: _Path, scene: _Scene, core: int | None) -> None:
        where = scene.transport, _HOST, path.ports[scene.transport]
        words = *where, _FIRST, scene.sources, 0, PATIENCE, scene.what
        self._process = _run("flood", words, core)
        os.sched_setscheduler(self._process.pid, os.SCHED_IDLE, os.sched_param(0))
        # Under that policy it can take a while until the flood gets the core.
        if self._process.stdout is None or self._process.stdout.readline() != "begins\n":
            raise Failed("bench/build/flood does not begin")
        time.sleep(_HEAD_START)

    def stop(self) -> _Flooded:
        """Stop the flood, and return its result."""
        end(self._process)
        output, _ = self._process.communicate()
        sent, _, nanoseconds = map(int, output.split())
        return _Flooded(sent, sent / nanoseconds * 1e9)


def _section(rounds: _Rounds) -> Section:
    return Section(
        name="latency",
        title="From connect() to the notification in a subscriber's hands",
        unit="us",
        against=_FORWARD,
        rows=tuple(_rows(rounds)),
        targets=_targets(rounds),
        notes=tuple(_notes(rounds)),
    )


def _rows(rounds: _Rounds) -> Iterator[Row]:
    """Compare the programs in each scene."""
    for (program, scene), found in rounds.items():
        theirs = rounds.get((_FORWARD, scene)) if program == _DAEMON else None
        for name in _SHARES:
            values = _percentiles(found, name)
            ratio = Spread.of(_divide(values, _percentiles(theirs, name))) if theirs else None
            of = "" if program == _DAEMON else f"{program}: "
            yield Row(f"{of}{scene}, {name}", Spread.of(values), ratio)


def _percentiles(rounds: Sequence[_Round], name: str) -> list[float]:
    """Return the percentile in each round."""
    return [_percentile(found.latencies, _SHARES[name]) for found in rounds]


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _divide(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [our / their for our, their in zip(ours, theirs, strict=True)]


def _targets(rounds: _Rounds) -> tuple[Target, ...]:
    flooded, idle = rounds[_DAEMON, _ONE_SOURCE.name], rounds[_DAEMON, _IDLE.name]
    ratios = _divide(_percentiles(flooded, "p99"), _percentiles(idle, "p99"))
    ours = [
        found for (program, _), all_of in rounds.items() if program == _DAEMON for found in all_of
    ]
    dropped = sum(_dropped(found) for found in flooded)
    lost = sum(found.lost for found in ours)
    return (
        Target("p99, TCP flood of one source / idle", statistics.median(ratios), _BOUND),
        Target("connections it made others try again", dropped, 0),
        Target("good notifications lost, in all", lost, 0),
    )


def _dropped(found: _Round) -> int:
    return sum(handshake > _DROPPED for handshake in found.handshakes)


def _notes(rounds: _Rounds) -> Iterator[str]:
    yield (
        f"{_SOURCES} good sources in turn, each with an account, {_PAUSE} us after each sample: "
        f"no account again within its interval of {_INTERVAL}"
    )
    yield (
        "other programs on this machine affect p99 most: below is how much of the core they had; "
        "chrt -f 1 before the command keeps them out"
    )
    yield "the flood runs on the sender's core under SCHED_IDLE: it gets what the sender leaves"
    for (program, scene), found in rounds.items():
        yield f"{program}, {scene}: {_account_of(found)}"


def _account_of(rounds: Sequence[_Round]) -> str:
    handshakes = [each for found in rounds for each in found.handshakes]
    kept = Spread.of(found.kept for found in rounds).median
    flood = f"flood {Spread.of(found.flood.rate for found in rounds).median:.0f} a second, "
    return (
        f"{flood if any(found.flood.sent for found in rounds) else ''}"
        f"{len(handshakes)} samples, {sum(found.lost for found in rounds)} lost; "
        f"connect() p99 {_percentile(handshakes, 0.99):.0f} us, most {max(handshakes):.0f} us, "
        f"{sum(map(_dropped, rounds))} tried again; "
        f"others had its core for {kept:.1%} of the time"
    )

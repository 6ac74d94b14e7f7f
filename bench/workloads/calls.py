"""System calls of a notification over TCP, by name.

strace counts them at the running daemon, which needs root. A traced process is slow, so more
connections wait for it at each turn and share the calls of the turn: the count is too low.
So perf counts all calls once more in the kernel, if it is installed and permitted. That slows
nothing down, and its count is the one that matters.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from bench.processes import (
    BUILD,
    PATIENCE,
    Daemon,
    Failed,
    Load,
    build,
    configuration,
    cores,
    pin,
    started,
)
from bench.section import Plan, Row, Section, Spread, Target
from mailbell.client import Client

__all__ = ["measure"]

_HOST: Final = "127.0.0.1"
# How many are in flight, and the notifications in a round of the full plan.
_AMOUNTS: Final = {64: 2000, 8: 1000, 1: 300}
_UNDER_LOAD: Final = 64
_SOURCES: Final = 200
_BOUND: Final = 4.0
_EVENT: Final = "raw_syscalls:sys_enter"
# strace -c: share, seconds, microseconds each, calls, errors if there were any, name.
_COUNTED: Final = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", re.MULTILINE)


def measure(plan: Plan) -> Section:
    """Count with 64, 8 and 1 in flight.

    Args:
        plan: how much.

    Raises:
        Failed: the daemon did not accept all notifications, or the tools do not work.
    """
    missing = _missing()
    if missing:
        return _section((), (), (missing,))
    build()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        daemon_core, load_core = cores()
        daemon = stack.enter_context(started(directory, configuration(directory), daemon_core))
        client = stack.enter_context(Client(daemon.path))
        stack.enter_context(client.subscribe())
        tools = _Tools(daemon, directory / "calls", load_core)
        loads = [
            Load(plan.of(amount, 100), parallel, _SOURCES) for parallel, amount in _AMOUNTS.items()
        ]
        counts = [tools.count(load, plan.rounds) for load in loads]
        if daemon.outcomes() != {"accepted": tools.sent}:
            raise Failed(f"{tools.sent} were sent, and counted: {daemon.outcomes()}")
    return _summary(counts)


def _missing() -> str:
    if shutil.which("strace") is None:
        return "not counted: strace is not installed"
    if os.geteuid() != 0:
        return "not counted: only root may trace the daemon"
    return ""


class _Count(NamedTuple):
    """The counts under one load, one for each round.

    Attributes:
        load: the load of each round.
        traced: calls by name, counted by strace.
        watched: all calls, counted by perf; empty if perf cannot be used.
    """

    load: Load
    traced: list[Counter[str]]
    watched: list[int]

    @property
    def totals(self) -> list[int]:
        """All calls, counted by strace."""
        return [found.total() for found in self.traced]

    def spread(self, calls: list[int]) -> Spread:
        """Add up the calls of one notification."""
        return Spread.of(each / self.load.count for each in calls)


class _Tools:
    """Counts the calls of a daemon while it gets a load.

    Args:
        daemon: the running daemon.
        file: the file for the tools' output.
        core: the core for the load and the tools.

    Attributes:
        sent: notifications sent so far.
    """

    def __init__(self, daemon: Daemon, file: Path, core: int | None) -> None:
        self._daemon = daemon
        self._port = daemon.port("tcp", _HOST)
        self._file = file
        self._core = core
        self.sent = 0

    def count(self, load: Load, rounds: int) -> _Count:
        """Count with both tools, round by round."""
        traced = [self._traced(load) for _ in range(rounds)]
        if shutil.which("perf") is None:
            return _Count(load, traced, [])
        watched = [self._watched(load) for _ in range(rounds)]
        return _Count(load, traced, [calls for calls in watched if calls is not None])

    def _traced(self, load: Load) -> Counter[str]:
        command = ["strace", "-qq", "-c", "-o", str(self._file), "-p", str(self._daemon.pid)]
        strace = subprocess.Popen(command)
        try:
            pin(strace.pid, self._core)
            self._await_tracer(strace)
            load.run(_HOST, self._port, self._core)
        finally:
            strace.send_signal(signal.SIGINT)  # it detaches, and writes what it has
            strace.wait(PATIENCE)
        self.sent += load.count
        found = _COUNTED.findall(self._file.read_text())
        return Counter({name: int(calls) for calls, name in found if name != "total"})

    def _await_tracer(self, strace: "subprocess.Popen[bytes]") -> None:
        status = Path(f"/proc/{self._daemon.pid}/status")
        last = time.monotonic() + PATIENCE
        while f"TracerPid:\t{strace.pid}\n" not in status.read_text():
            if strace.poll() is not None or time.monotonic() > last:
                raise Failed("strace does not attach to the daemon")
            time.sleep(0.01)

    def _watched(self, load: Load) -> int | None:
        """Count while the load runs as a child of perf. None: perf is not permitted."""
        words = _HOST, self._port, load.count, load.parallel, load.sources, PATIENCE
        perf = ["perf", "stat", "-x,", "-o", str(self._file), "-e", _EVENT]
        command = [*perf, "-p", str(self._daemon.pid), str(BUILD / "load"), *map(str, words)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            pin(process.pid, self._core)
            output, _ = process.communicate(timeout=2 * PATIENCE)
        if not output.startswith(f"{load.count} 0 "):
            return None  # perf has not even begun: it may not
        self.sent += load.count
        found = re.search(rf"^(\d+),[^,]*,{_EVENT}\b", self._file.read_text(), re.MULTILINE)
        return int(found[1]) if found else None


def _summary(counts: list[_Count]) -> Section:
    under_load = next(each for each in counts if each.load.parallel == _UNDER_LOAD)
    target = Target(
        f"calls of a notification, {_UNDER_LOAD} in flight",
        under_load.spread(under_load.watched or under_load.totals).median,
        _BOUND,
    )
    rows = *(row for each in counts for row in _totals(each)), *_names(under_load)
    return _section(rows, (target,), tuple(_notes(counts)))


def _totals(count: _Count) -> Iterator[Row]:
    in_flight = f"{count.load.parallel} in flight"
    if count.watched:
        yield Row(in_flight, count.spread(count.watched))
    yield Row(f"{in_flight}, slowed down by strace", count.spread(count.totals))


def _names(count: _Count) -> Iterator[Row]:
    in_flight = f"{count.load.parallel} in flight"
    for name, _ in sum(count.traced, Counter[str]()).most_common():
        yield Row(f"{in_flight}: {name}", count.spread([found[name] for found in count.traced]))


def _notes(counts: list[_Count]) -> Iterator[str]:
    loads = [f"{each.load.count} with {each.load.parallel} in flight" for each in counts]
    rounds = len(counts[0].traced)
    yield f"notifications in each of {rounds} rounds: {', '.join(loads)}; all accepted"
    if not all(each.watched for each in counts):
        yield "counted by strace alone, which counts too few: perf is not there, or may not"


def _section(rows: tuple[Row, ...], targets: tuple[Target, ...], notes: tuple[str, ...]) -> Section:
    return Section(
        name="calls",
        title="System calls of a notification over TCP",
        unit="",
        rows=rows,
        targets=targets,
        notes=notes,
    )

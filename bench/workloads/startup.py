"""The time from start to ready, and memory: idle, and with everything filled.

Filled means: 64 subscribers, and every table of the limiter with as many sources as it holds,
for TCP and UDP, IPv4 and IPv6, narrow and wide prefix. The tables have their full size from
the start, so the difference is small.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, NamedTuple

from bench.flood import Flood
from bench.kernel import Resident
from bench.namespace import IPV6_HOST, namespace
from bench.processes import Daemon, Load, build, configuration, started
from bench.section import Plan, Row, Section, Spread, Target
from mailbell.client import Client
from mailbell.interfaces.listener import Status
from mailbell.limits.limiter import Table

__all__ = ["measure"]

_SUBSCRIBERS: Final = 64
# More than twice what a table holds. A source goes into one of many small sets, and the last
# set is full long after the average one.
_SOURCES: Final = 20_000
# So slow that no bucket becomes full again. A full bucket would give way before a free slot.
_RATE: Final = "1/h"
# Datagrams a second, fewer than the daemon can take: UDP does not report losses.
_PACE: Final = 40_000
_PASSES: Final = 5
_READY: Final = 0.3
_RESIDENT: Final = 25.0


class _Start(NamedTuple):
    """The result of one start: seconds, and the memory then."""

    ready: float
    idle: Resident


class _Full(NamedTuple):
    """The daemon with everything filled."""

    memory: Resident
    status: Status


def measure(plan: Plan) -> Section:
    """Start the daemon several times, and fill it once.

    Args:
        plan: how much to measure.

    Raises:
        Failed: the daemon does not start.
    """
    build()
    starts = [_start() for _ in range(plan.rounds)]
    # Even the quick plan fills the tables, because half-filled tables are not what is measured.
    full = _fill(min(_SOURCES, plan.of(10 * _SOURCES, least=300)))
    modules = _modules()
    ready = Spread.of(start.ready for start in starts)
    return Section(
        name="startup",
        title="From the start to ready, and resident memory",
        unit="",
        rows=(
            Row("ready, in s", ready),
            Row("idle, in MiB", Spread.of(start.idle.now for start in starts)),
            Row("full, in MiB", Spread.of([full.memory.now])),
            Row("most since the start, in MiB", Spread.of([full.memory.peak])),
            Row("modules imported", Spread.of([len(modules)])),
        ),
        targets=(
            Target("ready", ready.median, _READY, unit="s"),
            Target("full", full.memory.now, _RESIDENT, unit="MiB"),
        ),
        notes=(*_fullness(full.status), _by_package(modules)),
    )


def _start() -> _Start:
    with _directory() as directory, started(directory, configuration(directory)) as daemon:
        return _Start(daemon.ready_after, Resident.of(daemon.pid))


def _fill(sources: int) -> _Full:
    with ExitStack() as stack:
        through = stack.enter_context(namespace())
        hosts = ["127.0.0.1"] if through is None else ["127.0.0.1", IPV6_HOST]
        endpoints = [f"{_in_brackets(host)}:0" for host in hosts]
        directory = stack.enter_context(_directory())
        toml = configuration(directory, tcp=endpoints, udp=endpoints, rate=_RATE)
        daemon = stack.enter_context(started(directory, toml, through=through or ()))
        for _ in range(_SUBSCRIBERS):
            client = stack.enter_context(Client(daemon.path))
            stack.enter_context(client.subscribe())
        for host in hosts:
            _notify(daemon, host, sources, through or ())
        return _Full(Resident.of(daemon.pid), daemon.status())


def _notify(daemon: Daemon, host: str, sources: int, through: Sequence[str]) -> None:
    """Notify from each source, over TCP and over UDP."""
    in_brackets = _in_brackets(host)
    load = Load(sources, parallel=256, sources=sources)
    load.run(host, daemon.port("tcp", in_brackets), through=through)
    flood = Flood("udp", "line", sources, sources=sources, per_second=_PACE)
    # On a busy machine some may be lost, so that one pass is not enough.
    for _ in range(_PASSES):
        flood.run(host, daemon.port("udp", in_brackets), through=through)
        if _is_full(daemon, "ipv6" if ":" in host else "ipv4"):
            return


def _is_full(daemon: Daemon, family: Literal["ipv4", "ipv6"]) -> bool:
    tables = [table for table in _listed(daemon.status()) if family in table.name]
    return all(table.entries == table.capacity for table in tables)


def _listed(status: Status) -> list[Table]:
    """Return the tables that fill up: the configuration lists the networks of all sources."""
    return [table for table in status.tables if "/listed/" in table.name]


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        yield directory


def _modules() -> list[str]:
    """Let the interpreter report what the daemon imports, from its start to its end."""
    with _directory() as directory:
        toml = configuration(directory)
        with started(directory, toml, python=("-X", "importtime")) as daemon:
            daemon.status()
        log = (directory / "log").read_text()
    # It also reports modules it did not find, for other systems and older Pythons.
    return sorted(
        filter(_exists, set(re.findall(r"^import time:.* \| +(\S+)$", log, re.MULTILINE)))
    )


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor does the package that it would be in
        return False


def _by_package(modules: Sequence[str]) -> str:
    counts = Counter(module.partition(".")[0] for module in modules)
    names = (name if count == 1 else f"{name} ({count})" for name, count in counts.items())
    return f"modules, by package: {', '.join(names)}"


def _fullness(status: Status) -> Iterator[str]:
    tables = _listed(status)
    entries = sum(table.entries for table in tables)
    capacity = sum(table.capacity for table in tables)
    yield (
        f"full: {status.subscribers} subscribers, {entries} of {capacity} sources "
        f"in {len(tables)} of {len(status.tables)} tables"
    )
    empty = [table.name for table in tables if not table.entries]
    if empty:
        yield f"empty, for want of a network namespace: {', '.join(empty)}"

"""What the benchmarks found, as a record and as a table."""

import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from bench.cpu import Comparison
from bench.memory import Memory

__all__ = ["Machine", "Results", "Spread", "Work", "table"]

# The targets.
RATIO: Final = 2.0  # times the CPU time of the C loop
READY: Final = 0.5  # seconds
PEAK: Final = 32.0  # MiB


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures depend on.

    Attributes:
        cores: CPUs this process may use.
        kernel: version.
        architecture: as uname(2) names it.
        python: implementation and version.
        load: the load average of the last minute, before the first measurement.
    """

    cores: int
    kernel: str
    architecture: str
    python: str
    load: float

    @classmethod
    def here(cls) -> Self:
        """Describe this machine."""
        return cls(
            cores=len(os.sched_getaffinity(0)),
            kernel=platform.release().partition("-")[0],
            architecture=platform.machine(),
            python=f"{platform.python_implementation()} {platform.python_version()}",
            load=os.getloadavg()[0],
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Sum them up."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))

    def __str__(self) -> str:
        return f"median {self.median:.2f}, min {self.least:.2f}, max {self.most:.2f}"


@dataclass(frozen=True, slots=True)
class Work:
    """CPU time of the daemon and of the C loop under one load, in microseconds a notification.

    Attributes:
        parallel: notifications in flight.
        rounds: of this load.
        count: notifications in each.
        accepted: notifications the daemon counted as accepted; every one of them.
        per_second: notifications it took in a second (median).
        loop: total (median), user and system time of the C loop.
        daemon: of the daemon.
        ratio: the daemon's total divided by the loop's, round by round.
    """

    parallel: int
    rounds: int
    count: int
    accepted: int
    per_second: float
    loop: tuple[float, float, float]
    daemon: tuple[float, float, float]
    ratio: Spread

    @classmethod
    def of(cls, found: Comparison) -> Self:
        """Sum up a comparison."""
        return cls(
            parallel=found.load.parallel,
            rounds=len(found.loop),
            count=found.load.count,
            accepted=found.accepted,
            per_second=statistics.median(found.per_second),
            loop=found.microseconds(found.loop),
            daemon=found.microseconds(found.daemon),
            ratio=Spread.of(found.ratios),
        )


@dataclass(frozen=True, slots=True)
class Results:
    """Everything.

    Attributes:
        machine: where it was measured.
        work: one a load; the target is for the first, full speed.
        ready: seconds from the start of the process to READY=1.
        memory: empty and full.
    """

    machine: Machine
    work: tuple[Work, ...]
    ready: Spread
    memory: Memory


def table(results: Results) -> str:
    """Write the results for people.

    Args:
        results: of one run.
    """
    machine, memory, ready = results.machine, results.memory, results.ready
    where = f"{machine.cores} cores, Linux {machine.kernel} ({machine.architecture})"
    size = f"idle {memory.idle.now:.1f}, full {memory.full.now:.1f}, peak {memory.full.peak:.1f}"
    lines = [
        f"{where}, {machine.python}, load average {machine.load:.1f}",
        "",
        f"{'CPU time of a notification, in microseconds':<48}   total    user  system",
    ]
    for number, work in enumerate(results.work):
        lines += _work(work, judged=number == 0)
    lines += [
        "",
        f"ready, in seconds    {ready}; target {READY}: {_met(ready.median, READY)}",
        f"memory, in MiB       {size}; target {PEAK:.0f}: {_met(memory.full.peak, PEAK)}",
        f"                     {_fullness(memory)}",
    ]
    return "\n".join(lines)


def _work(work: Work, *, judged: bool) -> list[str]:
    verdict = f"target {RATIO}: {_met(work.ratio.median, RATIO)}" if judged else "no target"
    load = f"{work.parallel} in flight, {work.rounds} rounds of {work.count}"
    return [
        f"  {load}: {work.per_second:.0f} a second, all {work.accepted} accepted",
        f"    {'bare C loop':<44}" + "".join(f"{part:8.1f}" for part in work.loop),
        f"    {'mailbelld, locked in, every check on':<44}"
        + "".join(f"{part:8.1f}" for part in work.daemon),
        f"    ratio: {work.ratio}; {verdict}",
    ]


def _met(value: float, target: float) -> str:
    return "met" if value <= target else "missed"


def _fullness(memory: Memory) -> str:
    entries = sum(count for count, _ in memory.tables.values())
    capacity = sum(capacity for _, capacity in memory.tables.values())
    empty = [name for name, (count, _) in memory.tables.items() if not count]
    note = f"; empty, for want of a network namespace: {', '.join(empty)}" if empty else ""
    filled = f"{entries} of {capacity} sources in {len(memory.tables)} tables"
    return f"full: {memory.subscribers} subscribers, {filled}{note}"

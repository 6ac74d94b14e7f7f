"""The results of the benchmarks, as a record and as a table."""

import os
import platform
import textwrap
from collections.abc import Iterator
from typing import Final, Self

import msgspec

from bench.section import Row, Section, Spread, Target

__all__ = ["Machine", "Results", "number", "table"]

_WIDTH: Final = 96


class Machine(msgspec.Struct, frozen=True):
    """What the figures depend on.

    Attributes:
        cores: number of CPUs this process may use.
        kernel: its version.
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


class Results(msgspec.Struct, frozen=True):
    """All results of a run.

    Attributes:
        machine: where it was measured.
        sections: one for each workload, in the order of measurement.
    """

    machine: Machine
    sections: tuple[Section, ...]


def table(results: Results) -> str:
    """Return the results as text for people.

    Args:
        results: the results of one run.
    """
    machine = results.machine
    where = f"{machine.cores} cores, Linux {machine.kernel} ({machine.architecture})"
    lines = [f"{where}, {machine.python}, load average {machine.load:.1f}"]
    for section in results.sections:
        lines += ["", *_section(section)]
    targets = [target for section in results.sections for target in section.targets]
    if targets:
        met = sum(target.met for target in targets)
        lines += ["", f"targets: {met} of {len(targets)} met"]
    return "\n".join(lines)


def _section(section: Section) -> Iterator[str]:
    title = f"{section.title}, in {section.unit}" if section.unit else section.title
    yield f"{section.name}: {title}"
    width = max((len(row.name) for row in section.rows), default=0)
    heading = "".join(f"{word:>9}" for word in ("median", "min", "max"))
    against = f"   ratio to {section.against}" if section.against else ""
    yield f"  {'':<{width}}{heading}{against}"
    for row in section.rows:
        yield f"  {row.name:<{width}}{_figures_of(row)}"
    for target in section.targets:
        yield from _indented("target", _target(target))
    for note in section.notes:
        yield from _indented("note", note)


def _indented(kind: str, text: str) -> list[str]:
    first = f"  {kind:<8}"
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))


def _figures_of(row: Row) -> str:
    figures = "".join(f"{number(figure):>9}" for figure in _figures(row.value))
    if row.ratio is None:
        return figures
    median, least, most = map(number, _figures(row.ratio))
    return f"{figures}   {median} ({least} to {most})"


def _figures(spread: Spread) -> tuple[float, float, float]:
    return spread.median, spread.least, spread.most


def _target(target: Target) -> str:
    unit = f" {target.unit}" if target.unit else ""
    bound = f"{'at least' if target.at_least else 'at most'} {number(target.bound)}{unit}"
    verdict = "met" if target.met else "MISSED"
    return f"{target.what}: {number(target.value)}{unit}, {bound}: {verdict}"


def number(value: float) -> str:
    """Return a figure with its significant digits only.

    Args:
        value: in any unit.
    """
    if value == int(value) or abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"

"""The results of the benchmarks, as a record and as a table."""

import os
import platform
import re
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import msgspec

from bench.section import Row, Section, Spread, Target

__all__ = ["Machine", "Results", "is_optimised", "number", "table"]

# The option of CPython's `configure` for a build that a profile has optimised.
PROFILED: Final = "--enable-optimizations"

_WIDTH: Final = 96


class Machine(msgspec.Struct, frozen=True):
    """What the figures depend on.

    Attributes:
        cores: number of CPUs this process may use.
        kernel: its version.
        architecture: as uname(2) names it.
        processor: its name.
        python: implementation and version.
        build: how the interpreter was compiled, as far as its speed depends on it.
        load: the load average of the last minute, before the first measurement.
    """

    cores: int
    kernel: str
    architecture: str
    python: str
    load: float
    # Records of earlier versions do not have these.
    processor: str = ""
    build: str = ""

    @classmethod
    def here(cls) -> Self:
        """Describe this machine."""
        return cls(
            cores=len(os.sched_getaffinity(0)),
            kernel=platform.release().partition("-")[0],
            architecture=platform.machine(),
            processor=_processor(),
            python=f"{platform.python_implementation()} {platform.python_version()}",
            build=_build(),
            load=os.getloadavg()[0],
        )


def _processor() -> str:
    """Return what the kernel calls the processor."""
    found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "an unknown processor"


def _build() -> str:
    """Tell who has compiled the interpreter, or whether a profile has optimised it, and its JIT."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS"))
    if _is_of_the_system():
        origin = f"as {platform.freedesktop_os_release()['PRETTY_NAME']} has it"
    else:
        profile = "with" if PROFILED in options else "without"
        origin = f"{profile} profile-guided optimisation"
    return f"{origin}, {_jit(options)}"


def is_optimised() -> bool:
    """Tell whether this interpreter is optimised by a profile, as those of distributions are."""
    return _is_of_the_system() or PROFILED in str(sysconfig.get_config_var("CONFIG_ARGS"))


def _is_of_the_system() -> bool:
    # A virtual environment links to it.
    return Path(sys.executable).resolve().parent == Path("/usr/bin")


def _jit(options: str) -> str:
    """Tell about the compiler of CPython 3.13 and later. Source: its `configure --help`."""
    jit = getattr(sys, "_jit", None)  # CPython 3.14
    if jit is not None and jit.is_available():
        return f"JIT {'on' if jit.is_enabled() else 'off'}"
    if jit is None and "--enable-experimental-jit" in options:
        return "JIT compiled in"
    return "no JIT"


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
    where = f"{machine.cores} cores, {machine.processor}, Linux {machine.kernel}"
    lines = [
        f"{where} ({machine.architecture})",
        f"{machine.python}, {machine.build}; load average {machine.load:.1f}",
    ]
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
    if any(row.more for row in section.rows):
        against += f", and {section.unit} more"
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
    ratio = f"{figures}   {median} ({least} to {most})"
    return ratio if row.more is None else f"{ratio}, {number(row.more.median)}"


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

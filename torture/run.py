"""Torture: `python -m torture.run [--minutes N] [--seed N] [PART...]`, and a table at the end.

Each part has its share of the time. The parts take turns: what one of them measures would say
little with another beside it. Exit code 0: all was run, and every figure is what it must be; 1:
something is not; 69: a part cannot be run here.
"""

import argparse
import importlib
import multiprocessing
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from torture.figures import Figure, Report

__all__ = ["SHARES", "main", "table", "torture"]

HERE: Final = Path(__file__).resolve().parent.parent

SHARES: Final = {"faults": 0.3, "kills": 0.25, "floods": 0.2, "inputs": 0.15, "targets": 0.1}
"""The parts in their order, and which share of the time each of them has."""

WRONG, UNAVAILABLE = 1, 69

END: Final = 10.0
"""Seconds that a part may take to end once it has told its report."""

LEAST_PATIENCE: Final = 240.0
"""Seconds that a part may take in addition to twice its share. It starts and ends daemons, too."""


def torture(
    parts: Iterable[str], seconds: float, seed: int, say: Callable[[str], None]
) -> list[Report]:
    """Run some parts, one after the other.

    Args:
        parts: their names.
        seconds: how long all of them may take together.
        seed: makes the run repeatable, as far as processes are.
        say: is told each line of progress.
    """
    chosen = list(parts)
    whole = sum(SHARES[part] for part in chosen)
    reports = []
    for part in chosen:
        share = seconds * SHARES[part] / whole
        say(f"{part}: {share:.0f} s, seed {seed}")
        reports.append(_supervised(part, share, seed, say))
    return reports


def _supervised(part: str, share: float, seed: int, say: Callable[[str], None]) -> Report:
    """Run a part in a process of its own, with all that it starts; one that hangs is a failure."""
    fork = multiprocessing.get_context("fork")
    near, far = fork.Pipe(duplex=False)
    process = fork.Process(target=_be_part, args=(part, share, seed, say, far))
    process.start()
    far.close()
    patience = LEAST_PATIENCE + 2 * share
    try:
        report: Report = near.recv() if near.poll(patience) else _hung(part, patience)
    except EOFError:
        report = Report(part, failures=("it ended without a report; its traceback is above",))
    process.join(END)
    process.kill()
    if process.pid:
        _end_group(process.pid)
    process.join()
    return report


def _hung(part: str, patience: float) -> Report:
    return Report(part, failures=(f"it did not end within {patience:.0f} s",))


def _end_group(number: int) -> None:
    """End what a part has left, if there is anything."""
    try:
        os.killpg(number, signal.SIGKILL)
    except ProcessLookupError:
        return


def _be_part(
    part: str, share: float, seed: int, say: Callable[[str], None], told: Connection
) -> None:
    os.setsid()
    told.send(_part(part).run(share, seed, say))


def _part(name: str) -> ModuleType:
    return importlib.import_module(f"torture.{name}.run")


def table(reports: Iterable[Report]) -> Table:
    """Return what the parts found, for people."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("part", "", "", "must be"):
        shown.add_column(title, justify="left" if title == "part" or not title else "right")
    shown.columns[2].justify = "right"
    for report in reports:
        if report.skipped:
            shown.add_row(report.part, "not run", report.skipped, "")
        for number, figure in enumerate(report.figures):
            shown.add_row("" if number else report.part, figure.name, *_cells(figure))
        shown.add_section()
    return shown


def _cells(figure: Figure) -> tuple[str, str]:
    must_be = "" if figure.must_be is None else f"{figure.must_be:,g}"
    value = f"{_number(figure.value)} {figure.unit}".rstrip()
    return value, must_be if figure.is_right else f"{must_be}  WRONG"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line says; return the exit code.

    Args:
        arguments: of the command; None: those of this process.
    """
    parser = argparse.ArgumentParser(prog="torture", description=str(__doc__).splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="for all parts together")
    parser.add_argument("--seed", type=int, help="repeats a run; it is printed")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: {' '.join(SHARES)}")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.parts) - set(SHARES)):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(SHARES)}")
    seed = secrets.randbits(32) if options.seed is None else options.seed
    reports = torture(options.parts or SHARES, options.minutes * 60, seed, _say)
    # What is wider than a terminal must not be cut off in a log.
    Console(width=None if sys.stdout.isatty() else 120).print(table(reports))
    return _conclude(reports, seed)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _conclude(reports: list[Report], seed: int) -> int:
    for report in reports:
        for failure in report.failures:
            print(f"{report.part}: {failure}")
    if not all(report.is_right for report in reports):
        print(f"something is wrong; it was the seed {seed}")
        return WRONG
    if any(report.skipped for report in reports):
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE / "tests")]
    sys.exit(main())

"""Runs the benchmarks: `python bench/run.py [--quick] [WORKLOAD]...`. See bench/README.md.

It prints a table. A full run of everything also writes bench/results.json and
bench/results.png. Any other run writes them to bench/build/. A missed target is shown and is
no error: on a busy machine it says little about the code.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

if not __package__:  # started by its path, which puts bench/ itself on the search path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.plot import draw
from bench.processes import BUILD, HERE, Failed, build
from bench.report import Machine, Results, table
from bench.section import FULL, QUICK, Plan, Section
from bench.workloads import (
    calls,
    configured,
    fanout,
    filtered,
    hook,
    idle,
    latency,
    newcomers,
    outcomes,
    sender,
    senders,
    sources,
    startup,
    steady,
)

__all__ = ["WORKLOADS", "main", "run", "write"]

WORKLOADS: Final[Mapping[str, Callable[[Plan], Section]]] = {
    "steady": steady.measure,
    "calls": calls.measure,
    "sources": sources.measure,
    "newcomers": newcomers.measure,
    "outcomes": outcomes.measure,
    "configured": configured.measure,
    "filtered": filtered.measure,
    "fanout": fanout.measure,
    "latency": latency.measure,
    "senders": senders.measure,
    "idle": idle.measure,
    "startup": startup.measure,
    "hook": hook.measure,
    "sender": sender.measure,
}


def run(plan: Plan, names: Iterable[str]) -> Results:
    """Measure, and report the progress on stderr.

    Args:
        plan: how much to measure.
        names: the workloads.

    Raises:
        Failed: nothing can be measured here. A single workload that fails is left out.
    """
    machine = Machine.here()
    build()
    sections = (_section(name, plan) for name in names)
    return Results(machine, tuple(section for section in sections if section is not None))


def _section(name: str, plan: Plan) -> Section | None:
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        section = WORKLOADS[name](plan)
    except Failed as failure:
        print(f"could not be measured: {failure}", file=sys.stderr)
        return None
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return section


def main(words: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 all was measured, 70 something could not be measured.

    Args:
        words: the words of the command line; None: those of this process.
    """
    parser = argparse.ArgumentParser(description="Measures what mailbelld costs.")
    parser.add_argument("--quick", action="store_true", help="less of everything, in two minutes")
    parser.add_argument("workload", nargs="*", help=f"default: all of {', '.join(WORKLOADS)}")
    options = parser.parse_args(words)
    names = list(dict.fromkeys(options.workload)) or list(WORKLOADS)
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}")
    try:
        results = run(QUICK if options.quick else FULL, names)
    except Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 70
    is_whole = len(results.sections) == len(WORKLOADS)
    write(results, HERE if is_whole and not options.quick else BUILD)
    print(table(results))
    return 0 if len(results.sections) == len(names) else 70


def write(results: Results, directory: Path) -> None:
    """Write the record and the picture.

    Args:
        results: the results of one run.
        directory: the folder for both.
    """
    record = msgspec.json.format(msgspec.json.encode(results))
    (directory / "results.json").write_bytes(record + b"\n")
    draw(results, directory / "results.png")


if __name__ == "__main__":
    sys.exit(main())

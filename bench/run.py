"""Runs the benchmarks: `python bench/run.py [--quick]`. See bench/README.md.

Prints a table and writes the same as bench/build/results.json. A missed target
is shown and is no error: on a busy machine it says little about the code.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

if not __package__:  # started by its path, which puts bench/ itself on the search path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.cpu import compare
from bench.memory import SOURCES, measure
from bench.processes import BUILD, Failed, Load, build, configuration, started
from bench.report import Machine, Results, Spread, Work, table

__all__ = ["FULL", "QUICK", "Plan", "main", "run"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        loads: what the daemon and the C loop are driven with, full speed first.
        rounds: of each load.
        starts: of the daemon.
        sources: that fill its tables.
    """

    loads: tuple[Load, ...]
    rounds: int
    starts: int
    sources: int


# 64 in flight is full speed: the next is there before the last is done. With one in
# flight each notification wakes its listener up, which is the dearest way to come.
FULL = Plan((Load(20_000, 64), Load(3_000, 1)), rounds=5, starts=9, sources=SOURCES)
QUICK = Plan((Load(4_000, 64), Load(1_000, 1)), rounds=3, starts=3, sources=SOURCES // 2)


def run(plan: Plan) -> Results:
    """Measure everything.

    Args:
        plan: how much of it.

    Raises:
        Failed: something could not be measured.
    """
    build()
    return Results(
        machine=Machine.here(),
        work=tuple(map(Work.of, compare(plan.loads, plan.rounds))),
        ready=Spread.of(_start() for _ in range(plan.starts)),
        memory=measure(plan.sources),
    )


def _start() -> float:
    """Start the daemon; return the seconds until it said that it is ready."""
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        with started(directory, configuration(directory)) as daemon:
            return daemon.ready_after


def main() -> int:
    """Return the exit code: 0 measured, 70 could not be measured."""
    parser = argparse.ArgumentParser(description="Measures mailbelld beside a bare C loop.")
    parser.add_argument("--quick", action="store_true", help="less of everything, below 20 s")
    try:
        results = run(QUICK if parser.parse_args().quick else FULL)
    except Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 70
    (BUILD / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Simulates a cluster of mailbell-senders: `python bench/cluster/run.py [--costs FILE]`.

A run writes results and a picture beside this file, and the tables of docs/scale.md. With
`--costs` it takes other inputs, and writes results into bench/build/cluster/ only. Exit code 0:
all was simulated; 70: an input is not measured, and nothing is written.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[2]
if not __package__:  # started by its path, which puts its own folder on the search path
    sys.path[0] = str(ROOT)

from bench.cluster import page  # noqa: E402  it is found only now
from bench.cluster.assumptions import Day, Limits, Machines  # noqa: E402  it is found only now
from bench.cluster.capacity import Setting  # noqa: E402  it is found only now
from bench.cluster.costs import COSTS, Inputs, UnmeasuredError, costs_of, read  # noqa: E402  found only now
from bench.cluster.idle import read_waiting  # noqa: E402  it is found only now
from bench.cluster.picture import draw  # noqa: E402  it is found only now
from bench.cluster.record import Run  # noqa: E402  it is found only now
from bench.cluster.scenarios import ACCOUNTS, carries, simulate_all  # noqa: E402  found only now
from bench.cluster.tables import report  # noqa: E402  it is found only now

__all__ = ["main", "simulate_run"]

HERE: Final = Path(__file__).resolve().parent
_BUILD: Final = ROOT / "bench" / "build" / "cluster"


def simulate_run(inputs: Inputs, numbers: Sequence[int] = ACCOUNTS) -> Run:
    """Simulate everything.

    Args:
        inputs: the measured costs.
        numbers: of accounts.

    Raises:
        UnmeasuredError: one of them has no value.
    """
    setting = Setting(costs_of(inputs), Day(), Limits(), Machines())
    of_node, of_engine = carries(setting)
    clusters = simulate_all(setting, read_waiting(), numbers)
    _, day, limits, machines = setting
    return Run(inputs, day, limits, machines, of_node, of_engine, clusters)


def main(words: Sequence[str] | None = None) -> int:
    """Return the exit code.

    Args:
        words: the words of the command line; None: those of this process.
    """
    parser = argparse.ArgumentParser(description="Simulates a cluster of mailbell-senders.")
    parser.add_argument("--costs", type=Path, help="other inputs; no document is written then")
    options = parser.parse_args(words)
    try:
        run = simulate_run(read(options.costs or COSTS))
    except UnmeasuredError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 70
    folder = _BUILD if options.costs else HERE
    folder.mkdir(parents=True, exist_ok=True)
    record = msgspec.json.format(msgspec.json.encode(run))
    (folder / "results.json").write_bytes(record + b"\n")
    draw(run, folder / "results.png")
    print(report(run, page.read_throughput()))
    return 0 if options.costs else page.main(["--write"])


if __name__ == "__main__":
    sys.exit(main())

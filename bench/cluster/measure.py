"""Measures what bench/cluster/run.py needs: `python bench/cluster/measure.py [--quick] [NAME]...`.

A NAME is an input of costs.json, or `throughput`. What is measured together is measured whole. The
values are written into costs.json, and the throughput into throughput.json beside it; then
`make bench-cluster` simulates anew. `--quick` measures a hundredth and writes nothing.

Exit code 0: all was measured; 70: something could not be measured, and keeps its old value.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[2]
if not __package__:  # started by its path, which puts its own folder on the search path
    sys.path[0] = str(ROOT)

from bench.cluster.costs import COSTS, Costs, read  # noqa: E402  it is found only now
from bench.cluster.engine_costs import (  # noqa: E402  it is found only now
    engine_version,
    measure_books,
    measure_exchanges,
    measure_inbox,
    measure_operations,
)
from bench.cluster.idle_costs import measure_idle  # noqa: E402  it is found only now
from bench.cluster.node_costs import measure_nodes, measure_weight  # noqa: E402  found only now
from bench.cluster.page import THROUGHPUT as FILE  # noqa: E402  it is found only now
from bench.cluster.record import Shared, Throughput  # noqa: E402  it is found only now
from bench.cluster.tables import throughput_lines  # noqa: E402  it is found only now
from bench.cluster.throughput import measure_throughput  # noqa: E402  it is found only now
from bench.processes import Failed  # noqa: E402  it is found only now
from bench.report import Machine  # noqa: E402  it is found only now
from bench.section import Plan  # noqa: E402  it is found only now
from mailbell.core.errors import MailbellError  # noqa: E402  it is found only now

__all__ = ["GROUPS", "THROUGHPUT", "keep", "main", "named", "rounded", "text_of"]

THROUGHPUT: Final = "throughput"
# Whatever fails, the values that were measured before are kept.
_FAILURES: Final = (Failed, MailbellError, ImportError, OSError, subprocess.SubprocessError)

GROUPS: Final[Mapping[Callable[[Plan], Iterator[tuple[str, float]]], tuple[str, ...]]] = {
    measure_weight: ("companion_weight",),
    measure_exchanges: ("engine_small", "round_trip", "engine_exchange"),
    measure_operations: ("engine_operations",),
    measure_books: (
        "book_1", "book_2", "engine_zrange", "engine_zadd", "engine_zremrangebyrank",
        "engine_pexpire", "book_3", "book_4", "engine_scan",
    ),
    measure_inbox: ("engine_xadd", "inbox_entry", "engine_xread", "engine_xdel"),
    measure_nodes: (
        "sender_notification", "companion_notification", "sender_login", "sender_welcome",
        "companion_login", "sender_call", "companion_entry", "companion_put", "node_memory",
    ),
    measure_idle: ("idle_sign", "idle_sign_hibernated"),
}  # fmt: skip
"""What is measured together, in the order of measurement."""


def named(names: Iterable[str]) -> list[str]:
    """Return all inputs that are measured for these, and `throughput`, in their order.

    Args:
        names: of inputs, or `throughput`; none: everything.
    """
    wanted = set(names) or {*Costs.__struct_fields__, THROUGHPUT}
    found = [name for group in GROUPS.values() if wanted & set(group) for name in group]
    return found + [THROUGHPUT] * (THROUGHPUT in wanted)


def text_of(machine: Machine, engine: str) -> str:
    """Return a machine in one line, as bench/run.py names it, with the engine.

    Args:
        machine: without what changes from run to run.
        engine: its name and version.
    """
    parts = (
        f"{machine.cores} cores", machine.processor,
        f"Linux {machine.kernel} ({machine.architecture})", machine.python, machine.build, engine,
    )  # fmt: skip
    return ", ".join(part for part in parts if part)


def rounded(value: float) -> float:
    """Return a value with four digits that count; more of them are chance.

    Args:
        value: as measured.
    """
    return float(f"{value:.4g}")


def keep(found: Mapping[str, float], machine: str, day: str, file: Path = COSTS) -> None:
    """Write values into the file of inputs.

    Args:
        found: values by name.
        machine: where they were measured.
        day: of the measurement.
        file: JSON.

    Raises:
        Failed: the others were measured on another machine.
    """
    inputs = read(file)
    others = [name for name, each in inputs.inputs.items() if each.value is not None]
    if inputs.machine not in {None, machine} and set(others) - set(found):
        raise Failed(f"the other inputs are of another machine, so all are to be: {inputs.machine}")
    changed = {
        name: msgspec.structs.replace(each, value=rounded(found[name]), when=day)
        for name, each in inputs.inputs.items()
        if name in found
    }
    inputs = msgspec.structs.replace(inputs, machine=machine, inputs={**inputs.inputs, **changed})
    file.write_bytes(msgspec.json.format(msgspec.json.encode(inputs)) + b"\n")


def main(
    words: Sequence[str] | None = None, *, costs: Path = COSTS, throughput: Path = FILE
) -> int:
    """Return the exit code.

    Args:
        words: the words of the command line; None: those of this process.
        costs: the file of inputs.
        throughput: the file of the throughput.
    """
    parser = argparse.ArgumentParser(description="Measures what a node and an engine cost.")
    parser.add_argument("--quick", action="store_true", help="a hundredth; nothing is written")
    parser.add_argument(
        "--divide", type=int, default=1, metavar="N", help="the N-th part; nothing is written"
    )
    parser.add_argument("name", nargs="*", help="an input, or throughput; default: everything")
    options = parser.parse_args(words)
    if unknown := set(options.name) - {*Costs.__struct_fields__, THROUGHPUT}:
        parser.error(f"no such input: {', '.join(sorted(unknown))}")
    divisor = 100 if options.quick else max(options.divide, 1)
    names = named(options.name)
    plan = Plan(rounds=1, scale=1 / divisor)
    here = Machine.here()
    machine, day = text_of(here, engine_version()), f"{datetime.now(UTC):%Y-%m-%d}"
    print(f"{machine}; load average {here.load:.1f}", flush=True)
    found = dict(_values(plan, names))
    is_whole = divisor == 1
    is_complete = set(found) == set(names) - {THROUGHPUT}
    if is_whole and found:
        try:
            keep(found, machine, day, costs)
        except Failed as failure:
            print(f"bench: nothing is written: {failure}", file=sys.stderr)
            is_complete = False
    if THROUGHPUT in names:
        shared = _throughput(plan, machine, day, here.cores)
        is_complete = is_complete and shared is not None
        if shared is not None and is_whole:
            throughput.write_bytes(msgspec.json.format(msgspec.json.encode(shared)) + b"\n")
    return 0 if is_complete else 70


def _values(plan: Plan, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Measure, and print a line for each value."""
    units = {name: each.unit for name, each in read().inputs.items()}
    for measure, group in GROUPS.items():
        if not set(group) & set(names):
            continue
        missing = list(group)
        try:
            for name, value in measure(plan):
                print(f"{name:<24} {rounded(value):>12,g} {units[name]}", flush=True)
                yield name, value
                missing.remove(name)
        except _FAILURES as failure:
            print(f"bench: not measured: {', '.join(missing)}: {failure!r}", file=sys.stderr)


def _throughput(plan: Plan, machine: str, day: str, cores: int) -> Throughput | None:
    """Measure the throughput, and print its tables; None: it could not be measured."""
    rates: dict[str, float] = {}
    shared: list[Shared] = []
    try:
        for each in measure_throughput(plan):
            if isinstance(each, Shared):
                shared.append(each)
                print(f"nodes: {each.nodes}: {each.rate:,.0f} notifications a second", flush=True)
            else:
                rates = each
    except _FAILURES as failure:
        print(f"bench: not measured: {THROUGHPUT}: {failure!r}", file=sys.stderr)
        return None
    found = Throughput(machine, day, cores, rates, tuple(shared))
    print("\n".join(throughput_lines(found)))
    return found


if __name__ == "__main__":
    sys.exit(main())

"""A soak as a document: how long, under which load, on which machine, and what drifted."""

from collections.abc import Iterable, Sequence
from typing import Final

from torture.soak.alarms import LEAK, SECONDS, alarms
from torture.soak.drift import BLOCKS
from torture.soak.plan import HOUR, Record
from torture.soak.verdict import ALPHA, TOLERANCES, Row, Verdict, judged

__all__ = ["SEEDS", "page", "table"]

SEEDS: Final = range(500)
"""Series of each kind for which the page counts false alarms."""


_BEGIN: Final = """\
`make soak HOURS=1` writes this page. All programs run, locked in, in one network namespace under a
mixed load, and each of them is restarted in turn.
"""
_READING: Final = f"""\
The first and the last block of what was measured after each warm-up, and the slope of one line
through all lives. A slope whose error reaches zero is no drift. What follows ± is how far the slope
may be off if all series together are to raise a false alarm in {ALPHA:.0%} of all soaks. "Next
life" is how much higher the last life stands than the first, at the same age. What could be off by
so much that a growth that must be found might hide in it is called too uncertain to tell.

A life is warm when its bounded tables have turned over, which the programs tell: mailbelld has
accepted more new sources than all its tables and all generations of its memory can hold, and
mailbell-sender knows as many targets as it remembers at most. Its companions are warm when it is.
The agent keeps the deadline of each command until it is over, and is warm after twice that time.
"""


def page(record: Record, picture: str, seeds: Sequence[int] = SEEDS) -> str:
    """Return the document: Markdown.

    Args:
        record: what was measured.
        picture: the name of the picture, beside the document.
        seeds: of the series with which false alarms are counted.
    """
    rows = judged(record)
    parts = (
        "# A soak: does anything grow?\n",
        _BEGIN,
        _circumstances(record),
        _result(record, rows),
        f"![Memory, descriptors, tables and CPU time by time]({picture})\n",
        "## What was measured\n",
        _READING,
        table(rows),
        "## What growth is tolerated\n",
        _tolerances(),
        "## How sure this is\n",
        _sureness(rows, seeds),
        "## The load\n",
        _load(record),
        "## How the programs counted it\n",
        _outcomes(record),
    )
    return "\n".join(parts)


def _circumstances(record: Record) -> str:
    plan, machine = record.plan, record.machine
    lines = (
        ("began", f"{record.began} UTC"),
        ("load", f"{record.lasted / 60:.0f} minutes, seed {plan.seed}"),
        ("restarts", f"each of the three programs once in {plan.restart_every / 60:.0f} minutes"),
        ("samples", f"{len(record.samples):,}, all processes each {plan.every:g} s"),
        ("CPU time", _cpu(record)),
        ("mailbell", record.version),
        ("machine", f"{machine.processor}, {machine.cores} cores"),
        ("system", f"{machine.system}; Python {machine.python}"),
        ("others", f"{machine.others:.0%} of the machine's CPU time had other programs meanwhile"),
    )  # fmt: skip
    return _markdown(("", ""), lines)


def _cpu(record: Record) -> str:
    total = sum(record.cpu.values())
    each = ", ".join(f"{name} {share / record.lasted:.1%}" for name, share in record.cpu.items())
    return f"{total / record.lasted:.1%} of one core: {each}"


def _result(record: Record, rows: Sequence[Row]) -> str:
    drifting = [row for row in rows if row.drifts]
    short = sum(row.verdict == Verdict.NOTHING for row in rows)
    unsure = sum(row.verdict == Verdict.UNSURE for row in rows)
    told = f"{len(drifting)} drift, {short} are too short and {unsure} too uncertain to tell"
    lines = [f"**{len(rows)} series: {told}.** {len(record.faults)} faults.\n"]
    lines += [f"- {row.process}: {row.name}: {row.verdict}\n" for row in drifting]
    lines += [f"- {fault}\n" for fault in record.faults]
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> str:
    """Return what was measured, as a table in Markdown.

    Args:
        rows: all series.
    """
    head = ("process", "what", "first", "last", "growth an hour", "next life", "verdict")
    return _markdown(head, map(_line, rows))


def _line(row: Row) -> tuple[str, ...]:
    growth = "-"
    if row.line:
        growth = f"{_number(row.line.slope * HOUR, sign=True)} ± {_number(row.width * HOUR)}"
    ends = ("-" if end is None else _number(end) for end in (row.first, row.last))
    step = "-" if row.step is None else _number(row.step, sign=True)
    return (row.process, row.name, *ends, growth, step, row.verdict)


def _number(value: float, *, sign: bool = False) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    return "0" if float(text.replace(",", "")) == 0 else text


def _tolerances() -> str:
    lines = (
        (
            ", ".join(each.names) if each.names != ("",) else "all else",
            each.why,
            f"{each.found:.0%}" if each.relative else f"{each.found:g}",
        )
        for each in TOLERANCES
    )
    return _markdown(("series", "growth that is no drift", "must be found, an hour"), lines)


def _sureness(rows: Sequence[Row], seeds: Sequence[int]) -> str:
    changing = sum(row.verdict != Verdict.FLAT for row in rows)
    shared = ALPHA / max(changing, 1)
    lines = [
        (
            f"{level:.2%}",
            "none" if each.memory == 0 else f"{each.memory:.0f} s",
            f"{each.flat:.1%}",
            f"{each.leaking:.1%}",
        )
        for level in (ALPHA, shared)
        for each in alarms(level, seeds)
    ]
    head = (
        "level of a series", "memory of the noise", "flat series that are called a drift",
        f"{LEAK:g} KiB a minute is found",
    )  # fmt: skip
    return (
        "Samples that follow each other are alike, so the line goes through the means of about\n"
        f"{BLOCKS} blocks, and what is still alike in neighbours makes the error larger. The\n"
        f"{changing} series that change at all share the level of {ALPHA:.0%}. With {len(seeds)}\n"
        f"made-up series of each kind, {SECONDS / 60:.0f} minutes long in two lives:\n\n"
    ) + _markdown(head, lines)


def _load(record: Record) -> str:
    lines = (
        (kind, f"{done:,}", f"{done / record.lasted:.1f}", f"{failed:,}")
        for kind, (done, failed) in record.load.items()
    )
    note = (
        "A connection fails while its program is restarted, and when the daemon has closed it\n"
        "before it was read: so most garbage fails.\n\n"
    )
    return note + _markdown(("kind", "times", "a second", "failed"), lines)


def _outcomes(record: Record) -> str:
    lines = (
        (name, ", ".join(f"{outcome} {count:,}" for outcome, count in counted.items()))
        for name, counted in record.outcomes.items()
    )
    return _markdown(("program", "outcomes"), lines)


def _markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)

"""A soak as a part of the torture: its figures, and what went wrong."""

from collections.abc import Sequence

from torture.figures import Figure, Report
from torture.soak.plan import HOUR, Record
from torture.soak.verdict import Row, Verdict, judged

__all__ = ["report"]


def report(record: Record) -> Report:
    """Judge a soak.

    Args:
        record: what was measured.
    """
    rows = judged(record)
    plan = record.plan
    again = f"python -m torture.soak --seconds {plan.seconds:g} --seed {plan.seed}"
    failures = [f"{line}; repeat: {again}" for line in (*record.faults, *_drifting(rows))]
    return Report(part="soak", figures=tuple(_figures(record, rows)), failures=tuple(failures))


def _drifting(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.process}: {row.name} from {row.first:g} to {row.last:g}: {row.verdict}"
        for row in rows
        if row.drifts
    ]


def _figures(record: Record, rows: Sequence[Row]) -> list[Figure]:
    done = sum(done for done, _ in record.load.values())
    memory = [row for row in rows if row.name.startswith("RSS") and row.line]
    return [
        Figure("load", record.lasted / 60, "minutes"),
        Figure("pieces of load", done),
        Figure("CPU time of all", sum(record.cpu.values()) / record.lasted * 100, "% of a core"),
        Figure("samples", len(record.samples)),
        Figure("series", len(rows)),
        Figure("series too short to tell", sum(row.verdict == Verdict.NOTHING for row in rows)),
        Figure("series too uncertain to tell", sum(row.verdict == Verdict.UNSURE for row in rows)),
        *(
            Figure(f"growth of {row.process}", row.line.slope * HOUR, "KiB/h")
            for row in memory
            if row.line
        ),
        Figure("series that drift", sum(row.drifts for row in rows), must_be=0),
        Figure("faults", len(record.faults), must_be=0),
    ]

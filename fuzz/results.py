"""What a run of the targets has found, in numbers and as a table. Pure."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

__all__ = ["Result", "Stats", "read_stats", "table", "totals"]

_STAT: Final = re.compile(r"^stat::(\w+): +([0-9]+)$", re.MULTILINE)
_HEADS: Final = ("target", "inputs", "per second", "corpus", "reached", "findings")


@dataclass(frozen=True, slots=True)
class Stats:
    """What libFuzzer counts.

    Attributes:
        inputs: inputs that were executed.
        per_second: so many of them in a second.
        corpus: inputs that reached something new.
    """

    inputs: int = 0
    per_second: int = 0
    corpus: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one target.

    Attributes:
        target: its name.
        stats: what libFuzzer counted.
        findings: inputs that broke its invariant, took too long or too much memory.
        reached: lines and branches of its modules that its corpus reaches.
        all: lines and branches of its modules; 0: not measured.
    """

    target: str
    stats: Stats
    findings: int = 0
    reached: int = 0
    all: int = 0

    @property
    def share(self) -> str:
        """How much of its modules the target reaches."""
        return f"{100 * self.reached / self.all:.1f} %" if self.all else "-"


def read_stats(output: str) -> Stats:
    """Reads the final statistics of libFuzzer.

    Args:
        output: what it printed. After a finding there may be none.
    """
    found = {name: int(number) for name, number in _STAT.findall(output)}
    return Stats(
        found.get("number_of_executed_units", 0),
        found.get("average_exec_per_sec", 0),
        found.get("new_units_added", 0),
    )


def totals(results: Sequence[Result]) -> dict[str, Any]:
    """Returns everything for a program to read.

    Args:
        results: of the targets.
    """
    return {
        "inputs": sum(each.stats.inputs for each in results),
        "findings": sum(each.findings for each in results),
        "targets": [asdict(each) for each in results],
    }


def table(results: Sequence[Result]) -> str:
    """Returns the table for people.

    Args:
        results: of the targets.
    """
    rows = [_HEADS, *(_row(each) for each in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _row(result: Result) -> tuple[str, ...]:
    stats = result.stats
    return (
        result.target,
        f"{stats.inputs:,}",
        f"{stats.per_second:,}",
        f"{stats.corpus:,}",
        result.share,
        str(result.findings),
    )

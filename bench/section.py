"""What a workload measures, as records: the table, `results.json` and the plot read these."""

import statistics
from collections.abc import Iterable
from typing import Self

import msgspec

__all__ = ["FULL", "QUICK", "SMOKE", "Plan", "Row", "Section", "Spread", "Target"]


class Plan(msgspec.Struct, frozen=True):
    """How much is measured.

    Attributes:
        rounds: how often each thing is measured, in turn with the others.
        scale: share of the full amount of work in each round.
    """

    rounds: int
    scale: float

    def of(self, amount: int, least: int = 1) -> int:
        """Scale an amount of work.

        Args:
            amount: in the full plan.
            least: below which the measurement would mean nothing.
        """
        return max(least, round(amount * self.scale))


FULL = Plan(rounds=7, scale=1.0)
QUICK = Plan(rounds=3, scale=0.1)
# Says only that it runs: what the tests use.
SMOKE = Plan(rounds=1, scale=0.002)


class Spread(msgspec.Struct, frozen=True):
    """Several measurements of one thing."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Sum them up."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))


class Row(msgspec.Struct, frozen=True):
    """One thing that was measured.

    Attributes:
        name: what.
        value: in the unit of its section, over the rounds.
        ratio: to what the section compares with, formed round by round.
    """

    name: str
    value: Spread
    ratio: Spread | None = None


class Target(msgspec.Struct, frozen=True):
    """A figure that was promised.

    Attributes:
        what: was promised, as in `mailbelld / C loop`.
        value: what was measured (a median).
        bound: what it may be at most, or at least.
        at_least: whether the bound is a lower one.
        unit: of both; empty for ratios and counts.
    """

    what: str
    value: float
    bound: float
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the promise holds."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


class Section(msgspec.Struct, frozen=True):
    """What one workload came to.

    Attributes:
        name: one word, for programs.
        title: one line, for people.
        unit: of the rows' values.
        against: what the ratios are formed with; empty: there are none.
        rows: what was measured.
        targets: what was promised of it.
        notes: whatever else a reader has to know; counts that prove that the load
            arrived, and what could not be measured here and why.
    """

    name: str
    title: str
    unit: str
    rows: tuple[Row, ...]
    against: str = ""
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()

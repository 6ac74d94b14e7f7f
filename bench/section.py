"""The results of a workload as records. The table, `results.json` and the plot read these."""

import statistics
from collections.abc import Iterable
from typing import Self

import msgspec

__all__ = ["FULL", "QUICK", "SMOKE", "Plan", "Row", "Section", "Spread", "Target"]


class Plan(msgspec.Struct, frozen=True):
    """How much is measured.

    Attributes:
        rounds: how often each thing is measured; the things take turns.
        scale: the share of the full amount of work in each round.
    """

    rounds: int
    scale: float

    def of(self, amount: int, least: int = 1) -> int:
        """Scale an amount of work.

        Args:
            amount: the amount in the full plan.
            least: the least amount for which a measurement makes sense.
        """
        return max(least, round(amount * self.scale))


FULL = Plan(rounds=7, scale=1.0)
QUICK = Plan(rounds=3, scale=0.1)
# It only shows that a workload runs. The tests use it.
SMOKE = Plan(rounds=1, scale=0.002)


class Spread(msgspec.Struct, frozen=True):
    """Several measurements of one thing."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Summarise the measurements."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))


class Row(msgspec.Struct, frozen=True):
    """One thing that was measured.

    Attributes:
        name: what was measured.
        value: the measurements of all rounds, in the unit of the section.
        ratio: to what the section compares with, computed for each round.
        more: how much more than that it is, computed for each round, in the unit of the section.
    """

    name: str
    value: Spread
    ratio: Spread | None = None
    more: Spread | None = None


class Target(msgspec.Struct, frozen=True):
    """A figure that was promised.

    Attributes:
        what: the figure, as in `mailbelld / C loop`.
        value: what was measured (a median).
        bound: the greatest accepted value, or the least.
        at_least: whether the bound is the least accepted value.
        unit: the unit of both; empty for ratios and counts.
    """

    what: str
    value: float
    bound: float
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


class Section(msgspec.Struct, frozen=True):
    """The results of one workload.

    Attributes:
        name: one word, for programs.
        title: one line, for people.
        unit: the unit of the rows' values.
        against: what the ratios compare with; empty: there are no ratios.
        rows: what was measured.
        targets: what was promised.
        notes: what else a reader must know: counts that prove that the load arrived, and
            what could not be measured here and why.
    """

    name: str
    title: str
    unit: str
    rows: tuple[Row, ...]
    against: str = ""
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()

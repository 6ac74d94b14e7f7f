"""What each part of a torture reports: figures, some of which must be zero."""

from dataclasses import dataclass

__all__ = ["Figure", "Report", "lines"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a report.

    Attributes:
        name: what was counted or measured, as the table has it.
        value: the number.
        unit: of the number; empty for a count.
        must_be: the only value that is no failure; None: any.
    """

    name: str
    value: float
    unit: str = ""
    must_be: float | None = None

    @property
    def is_right(self) -> bool:
        """Whether the number is what it must be."""
        return self.must_be is None or self.value == self.must_be


@dataclass(frozen=True, slots=True)
class Report:
    """What one part found.

    Attributes:
        part: its name: that of its folder.
        figures: its numbers, in the order of the table.
        failures: a line for each thing that went wrong, with what repeats it.
        skipped: why the part was not run here; empty: it was.
    """

    part: str
    figures: tuple[Figure, ...] = ()
    failures: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def is_right(self) -> bool:
        """Whether nothing went wrong."""
        return not self.failures and all(figure.is_right for figure in self.figures)


def lines(report: Report) -> list[str]:
    """Return what a part found as lines for a terminal.

    Args:
        report: of the part.
    """
    if report.skipped:
        return [f"{report.part} was not run: {report.skipped}"]
    shown = []
    for figure in report.figures:
        wrong = "" if figure.is_right else f"  WRONG: must be {figure.must_be:g}"
        shown.append(f"{figure.value:>14,.10g} {figure.unit:4} {figure.name}{wrong}")
    return [*shown, *(f"FAILED: {failure}" for failure in report.failures)]

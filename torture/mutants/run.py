"""The part of a torture that changes the code."""

from collections.abc import Callable
from typing import Final

from torture.figures import Figure, Report
from torture.mutants.files import files
from torture.mutants.job import Outcome
from torture.mutants.page import FILE, page
from torture.mutants.results import Results
from torture.mutants.runner import Runner

__all__ = ["run"]

PART: Final = "mutants"


def run(seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Try the mutants that were not tried yet, the most important first, and write the document.

    Args:
        seconds: how long it may take, about.
        seed: chooses the mutants where there is no time for all.
        say: is told each file.

    Returns:
        what is known then. A mutant that no test notices is no failure, but work to do.
    """
    results = Results.read()
    runner = Runner(results, seconds, seed, say)
    runner.run(files())
    FILE.write_text(page(results))
    return report(results, runner.failures)


def report(results: Results, failures: list[str]) -> Report:
    """Return the figures of all that is known.

    Args:
        results: of all files.
        failures: what could not be tried, and why.
    """
    known = list(results.files.values())
    figures = (
        Figure("mutants", sum(len(result.outcomes) for result in known)),
        Figure("tried", sum(result.tried for result in known)),
        Figure("noticed by a test", sum(result.found for result in known)),
        Figure("noticed by no test", sum(result.count(Outcome.SURVIVED) for result in known)),
    )
    return Report(PART, figures, tuple(failures))

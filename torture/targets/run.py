"""Fuzz as many targets as there is time for, for some seconds each. `make fuzz` runs all."""

import importlib.util
import random
from collections.abc import Callable
from typing import Final

from fuzz.run import TARGETS, fuzz_all
from torture.figures import Figure, Report

__all__ = ["run"]

EACH: Final = 3
"""Seconds for a target: with less it would only read its seeds."""

BESIDE: Final = 3
"""Seconds that the start of a target takes in addition."""


def run(seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Fuzz a random part of the targets.

    Args:
        seconds: about how long.
        seed: chooses the targets.
        say: is told each line of progress.
    """
    if importlib.util.find_spec("atheris") is None:
        return Report("targets", skipped="atheris is not installed; run `make fuzz` once")
    count = min(len(TARGETS), max(1, int(seconds // (EACH + BESIDE))))
    chosen = sorted(random.Random(seed).sample(TARGETS, count))  # noqa: S311 - no secret
    results = fuzz_all(chosen, EACH * count, say, measured=False)
    return Report(
        "targets",
        (
            Figure("fuzz targets", count),
            Figure("inputs", sum(result.stats.inputs for result in results)),
            Figure("findings", sum(result.findings for result in results), must_be=0),
        ),
        tuple(f"{result.target}: see fuzz/found/" for result in results if result.findings),
    )

"""A claim about a machine: a sentence, and the test that shows it there.

Each test that needs a machine has a claim. `results.py` prints and notes what became of it, and
`scripts/machine_table.py` makes the table of docs/machines.md from that.
"""

from typing import Final

import pytest

__all__ = ["MARK", "claim", "counts"]

MARK: Final = "claim"

# Files of claims that count only for machines that name them.
ONLY_NAMED: Final = frozenset({"refused"})


def counts(file: str, wanted: tuple[str, ...]) -> bool:
    """Return whether a file of claims counts for a machine.

    Args:
        file: its name, without "test_" and ".py".
        wanted: the files that the machine names; none: all that are for every machine.
    """
    return file in wanted if wanted else file not in ONLY_NAMED


def claim(sentence: str, *, smoke: bool = False) -> pytest.MarkDecorator:
    """Mark a test with what it shows.

    Args:
        sentence: what is so on each machine, for the table. Several tests may share it.
        smoke: whether `.ci/run` shows it in each run.
    """
    return pytest.mark.claim(sentence, smoke=smoke)

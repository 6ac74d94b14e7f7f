"""A claim about a machine: a sentence, and the test that shows it there.

Each test of this folder has a claim. For each one a line is printed and, if the environment names
a file in MAILBELL_MACHINES_RESULTS, a line of JSON is added to it. `scripts/machine_table.py`
makes the table of docs/machines.md from that.
"""

from typing import Final

import pytest

__all__ = ["MARK", "claim"]

MARK: Final = "claim"


def claim(sentence: str, *, smoke: bool = False) -> pytest.MarkDecorator:
    """Mark a test with what it shows.

    Args:
        sentence: what is so on each machine, for the table. Several tests may share it.
        smoke: whether `.ci/run` shows it in each run.
    """
    return pytest.mark.claim(sentence, smoke=smoke)

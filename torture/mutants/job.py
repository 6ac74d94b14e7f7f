"""What the process that tries the mutants of one file is told, and what it answers."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

__all__ = ["Found", "Job", "Outcome", "Try"]


class Outcome(StrEnum):
    """What became of one mutant."""

    KILLED = "killed"  # a test failed, as it should
    SURVIVED = "survived"  # no test noticed
    TIMEOUT = "timeout"  # the tests did not end, which a person at the tests would notice


class Try(msgspec.Struct, frozen=True):
    """A mutant that is to be tried.

    Attributes:
        name: of the mutant.
        scope: the function that it is in; empty: none.
        in_body: whether only the code of that function changes.
        source: of the whole file, changed.
    """

    name: str
    scope: str
    in_body: bool
    source: str


class Job(msgspec.Struct, frozen=True):
    """All that is to be tried in one file.

    Attributes:
        module: dotted name of the file.
        source: of the file as it is.
        tests: files of tests, the most telling first.
        tries: the mutants.
        scratch: a folder for the tests.
        processes: whether the tests start programs that read the changed file from the disk.
        longest: a test that takes longer is left out, in seconds: it is made for another question
            than one function.
    """

    module: str
    source: str
    tests: tuple[str, ...]
    tries: tuple[Try, ...]
    scratch: str
    processes: bool = False
    longest: float = 20.0


class Found(msgspec.Struct, frozen=True):
    """One line of the answer.

    Attributes:
        name: of the mutant; empty: this line is about the tests alone.
        outcome: what became of it.
        seconds: how long that took.
        detail: for the tests alone: what is wrong, or how many were taken.
    """

    name: str
    outcome: Outcome | None = None
    seconds: float = 0.0
    detail: Mapping[str, int] | str = ""

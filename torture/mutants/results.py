"""What is known of the mutants of each file: results.json beside this file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from torture.mutants.job import Outcome
from torture.mutants.mutant import Mutant, digest

__all__ = ["FILE", "Result", "Results", "Survivor", "interval", "state_of"]

FILE: Final = Path(__file__).parent / "results.json"
LETTERS: Final = {Outcome.KILLED: "k", Outcome.SURVIVED: "s", Outcome.TIMEOUT: "t"}
NOT_YET: Final = "-"


class Survivor(msgspec.Struct, frozen=True):
    """A mutant that no test has noticed.

    Attributes:
        name: of the mutant.
        line: where it is in the file.
        before: the line.
        after: the line, changed.
    """

    name: str
    line: int
    before: str
    after: str


class Result(msgspec.Struct):
    """What is known of one file.

    Attributes:
        state: hash of the file and of its mutants; what is known of another state is void.
        outcomes: a letter for each mutant, in the order of the file.
        survivors: the mutants that no test has noticed.
    """

    state: str
    outcomes: str
    survivors: list[Survivor] = []

    def count(self, outcome: Outcome) -> int:
        """Return how many mutants ended so.

        Args:
            outcome: what became of them.
        """
        return self.outcomes.count(LETTERS[outcome])

    @property
    def tried(self) -> int:
        """How many mutants were tried."""
        return len(self.outcomes) - self.outcomes.count(NOT_YET)

    @property
    def found(self) -> int:
        """How many of them a test has noticed."""
        return self.count(Outcome.KILLED) + self.count(Outcome.TIMEOUT)

    def left(self) -> list[int]:
        """Return the numbers of the mutants that were not tried yet."""
        return [number for number, letter in enumerate(self.outcomes) if letter == NOT_YET]

    def again(self) -> list[int]:
        """Return the numbers of the mutants that no test has noticed, or only by its length."""
        letters = LETTERS[Outcome.SURVIVED] + LETTERS[Outcome.TIMEOUT]
        return [number for number, letter in enumerate(self.outcomes) if letter in letters]

    def note(self, number: int, mutant: Mutant, outcome: Outcome) -> None:
        """Note what became of a mutant.

        Args:
            number: of the mutant in the file.
            mutant: itself.
            outcome: what became of it.
        """
        self.outcomes = self.outcomes[:number] + LETTERS[outcome] + self.outcomes[number + 1 :]
        self.survivors = [each for each in self.survivors if each.name != mutant.name]
        if outcome is Outcome.SURVIVED:
            survivor = Survivor(mutant.name, mutant.line, mutant.before, mutant.after)
            self.survivors = sorted([*self.survivors, survivor], key=lambda s: (s.line, s.name))


class Results(msgspec.Struct):
    """What is known of all files.

    Attributes:
        files: by the name of each.
    """

    files: dict[str, Result] = {}

    @classmethod
    def read(cls, path: Path = FILE) -> "Results":
        """Read what earlier runs have found.

        Args:
            path: of the file.
        """
        return msgspec.json.decode(path.read_bytes(), type=cls) if path.exists() else cls()

    def write(self, path: Path = FILE) -> None:
        """Write it for later runs.

        Args:
            path: of the file.
        """
        self.files = dict(sorted(self.files.items()))
        text = msgspec.json.format(msgspec.json.encode(self), indent=1)
        new = path.with_suffix(".new")
        new.write_bytes(text + b"\n")
        new.replace(path)

    def of(self, name: str, source: str, mutants: Sequence[Mutant]) -> Result:
        """Return what is known of a file as it is, to be added to.

        Args:
            name: of the file.
            source: of it.
            mutants: all of it.
        """
        state = state_of(source, mutants)
        known = self.files.get(name)
        if known is None or known.state != state:
            known = self.files[name] = Result(state, NOT_YET * len(mutants))
        return known


def state_of(source: str, mutants: Sequence[Mutant]) -> str:
    """Return the hash of a file and of its mutants.

    Args:
        source: of the file.
        mutants: all of it.
    """
    return digest("\0".join([source, *(mutant.name for mutant in mutants)]))


def interval(found: int, tried: int) -> tuple[float, float]:
    """Return the bounds of a share that a sample gives, with 95 % confidence (Wilson).

    Args:
        found: how many of the sample have the property.
        tried: the size of the sample.
    """
    if not tried:
        return 0.0, 1.0
    z = 1.96
    share = found / tried
    middle = share + z * z / (2 * tried)
    half = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    whole = 1 + z * z / tried
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)

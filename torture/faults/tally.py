"""What came of all faults of a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from torture.faults.trial import Behaviour, Outcome
from torture.figures import Figure, Report

__all__ = ["CALLS", "Result", "Tally"]

CALLS: Final = "calls that failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one fault.

    Attributes:
        program: the daemon.
        stage: of its life: "serving", "loading" or "starting".
        outcome: what came of it.
    """

    program: str
    stage: str
    outcome: Outcome


@dataclass
class Tally:
    """All results of a run.

    Attributes:
        results: in their order.
    """

    results: list[Result] = field(default_factory=list)

    def add(self, program: str, stage: str, outcome: Outcome) -> None:
        """Note what came of a fault.

        Args:
            program: the daemon.
            stage: of its life.
            outcome: what came of it.
        """
        self.results.append(Result(program, stage, outcome))

    def write(self, file: Path) -> None:
        """Write all results down.

        Args:
            file: for another process.
        """
        file.write_bytes(msgspec.json.encode(self.results))

    def read(self, file: Path) -> None:
        """Add what another process has written down.

        Args:
            file: of that process.
        """
        self.results += msgspec.json.decode(file.read_bytes(), type=list[Result])

    def of(self, *behaviours: Behaviour) -> int:
        """Return how many faults had one of these consequences.

        Args:
            behaviours: what the daemon did.
        """
        return sum(result.outcome.behaviour in behaviours for result in self.results)

    def report(self, seed: int) -> Report:
        """Return the report of the run.

        Args:
            seed: repeats it.
        """
        made = [result for result in self.results if result.outcome.injected]
        figures = (
            Figure("faults injected", len(made)),
            Figure(CALLS, sum(result.outcome.injected for result in made)),
            Figure("survived: served on", self.of(Behaviour.SERVED_ON)),
            Figure("ended with a message and restarted", self.of(Behaviour.ENDED)),
            Figure("went on without a companion", self.of(Behaviour.WITHOUT)),
            Figure("busy loops", self.of(Behaviour.BUSY), must_be=0),
            Figure("notifications lost", self.of(Behaviour.LOST), must_be=0),
            Figure("did not serve again", self.of(Behaviour.UNSERVED, Behaviour.HUNG), must_be=0),
            Figure("unexplained ends", self.of(Behaviour.UNEXPLAINED), must_be=0),
        )
        return Report("faults", figures, tuple(_failures(self.results, seed)))


def _failures(results: Sequence[Result], seed: int) -> Iterable[str]:
    for result in results:
        outcome = result.outcome
        if not outcome.behaviour.is_right:
            yield (
                f"{result.program}, {result.stage}: {outcome.trial}: {outcome.behaviour}:"
                f" {outcome.detail} (python -m torture.faults --seed {seed})"
            )

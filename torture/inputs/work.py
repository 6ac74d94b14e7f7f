"""The work in pieces: each has daemons of its own, and rounds that its number decides.

Everything about a piece follows from the seed and its number, and everything about a round from
these and the number of the round. So each round can be repeated alone.
"""

import select
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Protocol

from harness.daemon import Running

from mailbell.core.errors import MailbellError
from torture.inputs import limited, listener, sender
from torture.inputs.channel import Channel, Round
from torture.inputs.speaking import CannotSpeakError

__all__ = ["Program", "Start", "Tally", "Work", "start_both"]

# A run that finds so many disagreements has found what it can.
_MOST_FAILURES: Final = 10
_MOMENT: Final = 2.0  # seconds
# A piece ends when each channel had so many turns, because some daemons permit few inputs.
_TURNS: Final = 5
_LIMITED: Final = 0.15  # of the pieces have limits in force


class Program(Protocol):
    """A daemon that runs."""

    @property
    def daemon(self) -> Running:
        """The process."""

    def channels(self) -> list[Channel]:
        """Return the ways to speak to it."""


_Numbered = tuple[int, Round]

Start = Callable[[Random, Path], AbstractContextManager[list[Program]]]
"""Starts the daemons of a piece in a folder, as a generator of random numbers decides."""


@contextmanager
def start_both(rng: Random, directory: Path) -> Iterator[list[Program]]:
    """Start a mailbelld and a mailbell-sender.

    Args:
        rng: decides how they are configured.
        directory: for their files.
    """
    is_limited = rng.random() < _LIMITED
    with ExitStack() as running:
        if is_limited:
            plan = limited.Plan.draw(rng)
            first: Program = running.enter_context(limited.limiting(directory, plan))
        else:
            first = running.enter_context(listener.listening(directory, listener.Plan.draw(rng)))
        second = running.enter_context(sender.sending(directory, sender.Plan.draw(rng)))
        yield [first, second]


@dataclass(slots=True)
class Tally:
    """What was done so far.

    Attributes:
        inputs: how many inputs were said, by channel.
        unsure: of how many of them the timing decided between two outcomes.
        disagreements: rounds whose counters differ from the models.
        ended: daemons that have ended, or that did not answer any more.
        faults: log lines of a daemon that tell of a fault of its own.
        failures: a line for each of these.
        pieces: the numbers of the pieces that are done.
    """

    inputs: dict[str, int] = field(default_factory=dict)
    unsure: int = 0
    disagreements: int = 0
    ended: int = 0
    faults: int = 0
    failures: list[str] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many inputs were said in all."""
        return sum(self.inputs.values())

    @property
    def is_promising(self) -> bool:
        """Whether few things went wrong, so that more may be found."""
        return len(self.failures) < _MOST_FAILURES

    def add(self, other: "Tally") -> None:
        """Add what was done elsewhere.

        Args:
            other: the tally of it.
        """
        for name, number in other.inputs.items():
            self.inputs[name] = self.inputs.get(name, 0) + number
        self.unsure += other.unsure
        self.disagreements += other.disagreements
        self.ended += other.ended
        self.faults += other.faults
        self.failures += other.failures
        self.pieces += other.pieces

    def note(self, done: Round) -> None:
        """Count a round.

        Args:
            done: it has run.
        """
        if done.expected is not None:
            name = done.channel.name
            self.inputs[name] = self.inputs.get(name, 0) + done.expected.inputs
            self.unsure += done.expected.unsure


def _repeatable(*numbers: int) -> Random:
    return Random("/".join(map(str, numbers)))  # noqa: S311 - repeatable, and no secret


class Work:
    """All pieces.

    Args:
        seed: decides everything.
        size: how many inputs a piece has.
        tally: what was done so far; it grows.
        start: starts the daemons of a piece.
        is_over: asked before each round.
    """

    def __init__(
        self,
        seed: int,
        *,
        size: int,
        tally: Tally,
        start: Start = start_both,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._seed = seed
        self._size = size
        self._tally = tally
        self._start = start
        self._is_over = is_over

    def run(self, piece: int, only: int | None = None) -> None:
        """Run one piece, and note what it finds.

        Args:
            piece: its number.
            only: the number of the only round to run; None: as many as the piece has.
        """
        end = self._tally.total + self._size
        rng = _repeatable(self._seed, piece)
        with (
            tempfile.TemporaryDirectory(prefix="mailbell-") as name,
            ExitStack() as running,
        ):
            directory = Path(name)
            directory.chmod(0o755)
            programs = running.enter_context(self._start(rng, directory))
            rounds = self._rounds(piece, programs, only)
            following = next(rounds, None)
            while following and self._tally.total < end and not self._has_seen_enough:
                number, this = following
                following = self._run_round(f"{piece}/{number}", this, programs, rounds)
            self._note_logged(piece, programs)
        self._tally.pieces.append(piece)

    @property
    def _has_seen_enough(self) -> bool:
        return self._is_over() or not self._tally.is_promising

    def _rounds(self, piece: int, programs: list[Program], only: int | None) -> Iterator[_Numbered]:
        """Make the rounds of a piece, one after the other on each channel."""
        channels = [channel for program in programs for channel in program.channels()]
        for number in range(_TURNS * len(channels)) if only is None else (only,):
            channel = channels[number % len(channels)]
            rng = _repeatable(self._seed, piece, number)
            yield number, Round(channel, channel.inputs(rng))

    def _run_round(
        self,
        where: str,
        this: Round,
        programs: list[Program],
        rounds: Iterator[_Numbered],
    ) -> _Numbered | None:
        """Run one round; return the next one, which is made meanwhile. None: a daemon has ended."""
        for program in programs:
            program.daemon.lines()  # a daemon waits for a log that nobody reads
        try:
            before = this.channel.watch().counted
            speech = this.say()
            following = next(rounds, None)
            this.finish(before, speech)
            self._tally.note(this)
            if this.wrong:
                self._note_wrong(where, this)
        except (OSError, CannotSpeakError, MailbellError, AssertionError) as error:
            _await_an_end(programs)
            if not self._note_ended(where, this, programs):
                self._note_silent(where, this, programs, error)
            return None
        return None if self._note_ended(where, this, programs) else following

    def _note_wrong(self, where: str, this: Round) -> None:
        self._tally.disagreements += 1
        shrunk = this.shrink()
        guilty = f"enough is {shrunk[0]}" if len(shrunk) == 1 else f"{len(shrunk)} are needed"
        self._note(where, this, f"{'; '.join(this.wrong[:3])}; of {len(this.inputs)} {guilty}")

    def _note_ended(self, where: str, this: Round, programs: list[Program]) -> bool:
        """Note the daemons that have ended, which they must not; return whether there are any."""
        ended = [each.daemon for each in programs if each.daemon.process.poll() is not None]
        for daemon in ended:
            self._tally.ended += 1
            last = daemon.lines()[-1:]
            self._note(where, this, f"ended with {daemon.process.returncode}: {last}")
        return bool(ended)

    def _note_silent(
        self, where: str, this: Round, programs: list[Program], error: Exception
    ) -> None:
        """Note a daemon that does not answer, and end all of the piece."""
        self._tally.ended += 1
        self._note(where, this, f"does not answer: {error!r}")
        for program in programs:
            program.daemon.process.kill()
            program.daemon.process.wait()

    def _note_logged(self, piece: int, programs: list[Program]) -> None:
        """Note what daemons say of faults of their own."""
        for program in programs:
            found = [line for line in program.daemon.lines() if "event=failed " in line]
            self._tally.faults += len(found)
            self._tally.failures += [
                f"seed {self._seed}, piece {piece}: {line}" for line in found[:1]
            ]

    def _note(self, where: str, this: Round, what: str) -> None:
        self._tally.failures.append(
            f"{this.channel.name}: {what}; again: --seed {self._seed} --only {where}"
        )


def _await_an_end(programs: Sequence[Program]) -> None:
    """Give a daemon that does not answer a moment: its sockets end before its process does."""
    end = time.monotonic() + _MOMENT
    while time.monotonic() < end:
        if any(each.daemon.process.poll() is not None for each in programs):
            return
        select.select([], [], [], 0.01)

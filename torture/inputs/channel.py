"""One way to say inputs to a daemon, and the rounds on it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple, Protocol

from torture.inputs.counting import Expected
from torture.inputs.speaking import Input, Said

__all__ = ["Channel", "Judge", "Round", "Sayer", "Speaks", "Verdict", "Watched"]

# Seconds that a daemon may take from one input to the next one.
PATIENCE: Final = 30.0
# The same if it has counted as many as there were.
QUIET: Final = 0.2
# Seconds between two looks: a daemon permits 100 connections and calls a second, a look needs two.
PAUSE: Final = 0.02

Verdict = tuple[str, ...]
"""The outcomes that one input may have; see `torture.inputs.counting`."""

Judge = Callable[[Input], Sequence[Verdict]]
"""A model: says what becomes of all that one connection or datagram carries."""


class Speaks(Protocol):
    """Inputs that are being said."""

    def wait(self) -> Said:
        """Wait until all is said."""


class Sayer(Protocol):
    """Says inputs to one place."""

    def say(self, inputs: Iterable[Input], /) -> Speaks:
        """Begin to say inputs."""


class Watched(NamedTuple):
    """What is read of a daemon before and after a round.

    Attributes:
        counted: its counters.
        busy: connections that it has not ended.
    """

    counted: Mapping[str, int]
    busy: int = 0


Total = Callable[[Sequence[Input], Sequence[Sequence[Verdict]], Said], Expected]
"""Says what the counters must be, from inputs, the verdicts on them, and their times."""


def _sum(inputs: Sequence[Input], verdicts: Sequence[Sequence[Verdict]], said: Said) -> Expected:
    del inputs, said
    expected = Expected()
    for judged in verdicts:
        for verdict in judged:
            expected.add(verdict)
    return expected


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to say inputs to one daemon.

    Attributes:
        name: for figures and failures, as in `mailbelld tcp ipv4`.
        size: how many inputs a round has.
        target: where they go.
        make: makes one input.
        judges: models that must agree on each input.
        watch: reads the daemon.
        total: what the counters must be.
        closing: said after all others. If it is counted, all others are.
    """

    name: str
    size: int
    target: Sayer
    make: Callable[[Random], Input]
    judges: Sequence[Judge]
    watch: Callable[[], Watched]
    total: Total = _sum
    closing: tuple[Input, ...] = ()

    def inputs(self, rng: Random) -> list[Input]:
        """Make the inputs of a round.

        Args:
            rng: decides.
        """
        return [self.make(rng) for _ in range(self.size)]


@dataclass(slots=True)
class Round:
    """Inputs that are said at once, and compared with the counters at their end.

    Attributes:
        channel: where.
        inputs: what is said.
        wrong: a line for each thing that differs.
        expected: what the counters had to say; None: not known yet.
        guilty: an input that the models see differently.
    """

    channel: Channel
    inputs: Sequence[Input]
    wrong: list[str] = field(default_factory=list)
    expected: Expected | None = None
    guilty: Input | None = None

    def run(self) -> "Round":
        """Say the inputs, and compare. What differs is noted in `wrong`.

        Returns:
            This round.
        """
        before = self.channel.watch().counted
        self.finish(before, self.say())
        return self

    def say(self) -> Speaks:
        """Begin to say the inputs."""
        return self.channel.target.say((*self.inputs, *self.channel.closing))

    def finish(self, before: Mapping[str, int], speech: Speaks) -> None:
        """Judge the inputs while they are said; wait until they are counted, and compare.

        Args:
            before: the counters before them.
            speech: what says them.
        """
        inputs = (*self.inputs, *self.channel.closing)
        verdicts = [self._judge(said) for said in inputs]
        said = speech.wait()
        self.wrong += said.faults[:3]
        if said.dropped and "udp" not in self.channel.name:
            self.wrong.append(f"the kernel has dropped {said.dropped} datagrams")
        self.expected = self.channel.total(inputs, verdicts, said)
        watched, grown = self._settle(before, self.expected)
        self.wrong += self.expected.differences(grown)
        if watched.busy:
            self.wrong.append(f"{watched.busy} connections are still open")

    def _judge(self, said: Input) -> Sequence[Verdict]:
        first, *others = [judge(said) for judge in self.channel.judges]
        for other in others:
            if other != first and self.guilty is None:
                self.guilty = said
                self.wrong.append(f"the models differ: {first} and {other}")
        return first

    def _settle(
        self, before: Mapping[str, int], expected: Expected
    ) -> tuple[Watched, dict[str, int]]:
        """Wait until all inputs are counted, and no connection is open."""
        seen: dict[str, int] = {}
        changed = time.monotonic()
        while True:
            watched = self.channel.watch()
            grown = {name: n - before.get(name, 0) for name, n in watched.counted.items()}
            if not watched.busy and not expected.lacks(grown):
                return watched, grown
            now = time.monotonic()
            if grown != seen:
                seen, changed = grown, now
            # If the sum is right, and only the names are wrong, there is nothing to wait for.
            is_whole = not watched.busy and sum(grown.values()) >= expected.least
            if now - changed > (QUIET if is_whole else PATIENCE):
                return watched, grown
            time.sleep(PAUSE)  # the daemon counts a reset connection whenever it is its turn

    def shrink(self) -> Sequence[Input]:
        """Find few inputs that are enough for a difference.

        Returns:
            As few as halves show; all, if no half alone differs.
        """
        if self.guilty is not None:
            return (self.guilty,)
        inputs = self.inputs
        while len(inputs) > 1:
            found = next((half for half in _halves(inputs) if self._differs(half)), None)
            if found is None:
                return inputs
            inputs = found
        return inputs

    def _differs(self, inputs: Sequence[Input]) -> bool:
        return bool(Round(self.channel, inputs).run().wrong)


def _halves(inputs: Sequence[Input]) -> Iterator[Sequence[Input]]:
    middle = len(inputs) // 2
    yield inputs[:middle]
    yield inputs[middle:]

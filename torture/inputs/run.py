"""Runs the pieces: for a time, up to a number of inputs, or one round again."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from math import inf
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

import msgspec

from torture.figures import Figure, Report
from torture.inputs.speaking import CannotSpeakError, build
from torture.inputs.work import Start, Tally, Work, start_both

__all__ = ["again", "report", "run", "run_inputs"]

PART: Final = "inputs"
PIECE: Final = 200_000
"""Inputs of a piece."""


def report(tally: Tally) -> Report:
    """Return the report of what was done.

    Args:
        tally: what was done.
    """
    by_channel = tuple(
        Figure(f"inputs to {name}", number) for name, number in sorted(tally.inputs.items())
    )
    return Report(
        PART,
        (
            Figure("inputs", tally.total),
            *by_channel,
            Figure("inputs of which the timing decides between two outcomes", tally.unsure),
            Figure("disagreements", tally.disagreements, must_be=0),
            Figure("daemons that ended", tally.ended, must_be=0),
            Figure("faults that a daemon logged", tally.faults, must_be=0),
        ),
        tuple(tally.failures),
    )


def run(seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Speak for a time.

    Args:
        seconds: for about so long.
        seed: decides all inputs.
        say: gets a line about the progress after each piece.
    """
    return _run(Tally(), seed, say, _Bounds(until=time.monotonic() + seconds))


def run_inputs(
    inputs: int,
    seed: int,
    say: Callable[[str], None],
    *,
    size: int = PIECE,
    workers: int = 0,
    state: Path | None = None,
) -> Report:
    """Speak until so many inputs were said.

    Args:
        inputs: how many.
        seed: decides all inputs.
        say: gets a line about the progress after each piece.
        size: how many inputs a piece has.
        workers: how many pieces are worked on at once; 0: one for each processor.
        state: a file that keeps what is done after each piece. If it is there, the run that wrote
            it goes on. None: nothing is kept.

    Raises:
        ValueError: the file is of a run with another seed.
    """
    tally = _resume(state, seed) if state is not None else Tally()
    bounds = _Bounds(inputs=inputs, size=size, workers=workers)
    return _run(tally, seed, say, bounds, state)


def again(piece: int, number: int, seed: int, start: Start = start_both) -> Report:
    """Run one round again.

    Args:
        piece: the number of its piece.
        number: its own number.
        seed: of the run that it was in.
        start: starts the daemons.
    """
    build()
    tally = Tally()
    Work(seed, size=PIECE, tally=tally, start=start).run(piece, only=number)
    return report(tally)


class _State(msgspec.Struct):
    """What the file of a run holds."""

    seed: int
    tally: Tally


def _resume(state: Path, seed: int) -> Tally:
    if not state.exists():
        return Tally()
    kept = msgspec.json.decode(state.read_bytes(), type=_State)
    if kept.seed != seed:
        raise ValueError(f"{state} is of a run with --seed {kept.seed}")
    return kept.tally


def _keep(state: Path | None, seed: int, tally: Tally) -> None:
    if state is not None:
        fresh = state.with_name(f"{state.name}.new")
        fresh.write_bytes(msgspec.json.encode(_State(seed, tally)))
        fresh.replace(state)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How much is done.

    Attributes:
        inputs: when so many are said, no further piece begins.
        until: when all ends, on the monotonic clock.
        size: how many inputs a piece has.
        workers: how many pieces are worked on at once; 0: one for each processor.
    """

    inputs: float = inf
    until: float = inf
    size: int = PIECE
    workers: int = 0

    def wants_more(self, tally: Tally, begun: int) -> bool:
        """Tell whether one more piece is to begin.

        Args:
            tally: what was done.
            begun: how many pieces are worked on now.
        """
        expected = tally.total + begun * self.size
        is_early = expected < self.inputs and time.monotonic() < self.until
        return is_early and tally.is_promising


def _run(
    tally: Tally, seed: int, say: Callable[[str], None], bounds: _Bounds, state: Path | None = None
) -> Report:
    try:
        build()
    except CannotSpeakError as error:
        return Report(PART, skipped=str(error))
    began, before = time.monotonic(), tally.total
    for done in _pieces(tally, seed, bounds):
        tally.add(done)
        _keep(state, seed, tally)
        pace = (tally.total - before) / (time.monotonic() - began)
        wrong = tally.disagreements
        say(f"{tally.total} inputs, {pace:.0f} a second, {wrong} disagreements")
    return report(tally)


def _pieces(tally: Tally, seed: int, bounds: _Bounds) -> Iterator[Tally]:
    """Work on pieces in processes of their own, and yield what each has done."""
    workers = bounds.workers or os.cpu_count() or 1
    following = (piece for piece in count() if piece not in tally.pieces)
    # A new interpreter each, because a copy of this process may hold locks of its threads.
    context = get_context("spawn")
    stopped = context.Event()
    with (
        ProcessPoolExecutor(workers, context, _adopt, (stopped,)) as pool,
        closing(_Stop(stopped)),
    ):
        begun: set[Future[Tally]] = set()
        while True:
            while len(begun) < workers and bounds.wants_more(tally, len(begun)):
                begun.add(pool.submit(_piece, seed, next(following), bounds.size, bounds.until))
            if not begun:
                return
            ended, begun = wait(begun, return_when=FIRST_COMPLETED)
            for each in ended:
                yield each.result()


class _Stop:
    """Ends the pieces that are worked on after their present rounds.

    Args:
        event: what they ask.
    """

    def __init__(self, event: Event) -> None:
        self.close = event.set


# Of a process that works on pieces: whether the run is to end.
_stopped: Event | None = None


def _adopt(stopped: Event) -> None:
    """Begin to be a process that works on pieces."""
    global _stopped  # noqa: PLW0603 - a pool has no other way to give something to its processes
    _stopped = stopped


def _piece(seed: int, piece: int, size: int, until: float) -> Tally:
    """Work on one piece."""
    tally = Tally()

    def is_over() -> bool:
        return time.monotonic() > until or (_stopped is not None and _stopped.is_set())

    Work(seed, size=size, tally=tally, is_over=is_over).run(piece)
    return tally

"""CPU time of a notification over TCP, for the daemon and for simpler programs.

All get the same load. First 200 sources with 64 connections in flight, so that the next
notification has come before the last one is done. Then one in flight, so that each wakes its
listener. A program that takes a hundred times as long gets fewer. The rounds take turns.

All of it is measured twice, with programs that are started again. If the two runs do not agree, it
is measured once more, a few times at most, and the last two are compared. The figures are those of
the last two runs together.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from bench.kernel import Cpu
from bench.listeners import (
    Listener,
    accept_loop,
    handler,
    mailbelld,
    program,
    python_loop,
    socat,
    xinetd,
)
from bench.processes import Load, build, cores
from bench.report import is_optimised
from bench.section import Plan, Row, Section, Spread, Target

__all__ = ["measure"]


class _Candidate(NamedTuple):
    """A listener that is compared.

    Attributes:
        name: its name in the table.
        start: runs it on a core until the end of a block.
        full: notifications in a round at full speed, in the full plan.
        alone: the same with one in flight.
        program: a program that must be installed.
    """

    name: str
    start: Callable[[int | None], AbstractContextManager[Listener]]
    full: int
    alone: int
    program: str = ""

    @property
    def is_there(self) -> bool:
        return not self.program or program(self.program) is not None


_LOOP: Final = "bare C loop"
_DAEMON: Final = "mailbelld"
_CANDIDATES: Final = (
    _Candidate(_LOOP, accept_loop, 20_000, 2_000),
    _Candidate(_DAEMON, mailbelld, 20_000, 2_000),
    _Candidate("the same calls in Python", partial(python_loop, "epoll"), 20_000, 2_000),
    _Candidate("the same in a Trio task", partial(python_loop, "trio"), 20_000, 2_000),
    _Candidate("asyncio.start_server", partial(handler, "asyncio"), 4_000, 1_000),
    _Candidate("trio.serve_tcp", partial(handler, "trio"), 4_000, 1_000),
    _Candidate("xinetd", xinetd, 400, 250, "xinetd"),
    _Candidate("socat fork", socat, 400, 250, "socat"),
)
_SOURCES: Final = 200
# The daemon costs at most so many times what the C loop costs. An interpreter that no profile has
# optimised is slower.
_AT_MOST: Final = {True: 1.4, False: 1.5}
_AT_MOST_ALONE: Final = 2.0
# Two runs agree if their ratios differ by less than this share.
_AGREE: Final = 0.05
_MOST_RUNS: Final = 5
# The share of a round that is sent first and not counted, because other programs had the caches.
_WARM_UP: Final = 5


class _Entrant(NamedTuple):
    """A running candidate, and its load in each round."""

    name: str
    listener: Listener
    load: Load

    def drive(self, core: int | None) -> Cpu:
        before = max(1, self.load.count // _WARM_UP)
        self.listener.drive(replace(self.load, count=before), core)
        return self.listener.drive(self.load, core)

    def microseconds(self, cost: Cpu) -> float:
        return cost.total / self.load.count / 1000


# The cost of each round, and the microseconds of a notification for each round, by name.
_Costs = dict[str, list[Cpu]]
_Times = dict[str, list[float]]


class _Run(NamedTuple):
    """What one run has found, with programs of its own."""

    entrants: tuple[Sequence[_Entrant], Sequence[_Entrant]]
    full: _Costs
    alone: _Costs
    notes: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """The cost of the daemon, compared with the loop's, at full speed."""
        times = _times(self.entrants[0], self.full)
        return statistics.median(_ratios(times, _DAEMON, _LOOP))


def measure(plan: Plan) -> Section:
    """Measure all candidates.

    Args:
        plan: how much to measure.

    Raises:
        Failed: a candidate does not run, or did not take what it was sent.
    """
    build()
    runs = [_run(plan), _run(plan)]
    while _distance(*runs[-2:]) > _AGREE and len(runs) < _MOST_RUNS:
        runs.append(_run(plan))
    one, other = runs[-2:]
    full, alone = one.entrants
    of_full, of_alone = _joined(one.full, other.full), _joined(one.alone, other.alone)
    times, times_alone = _times(full, of_full), _times(alone, of_alone)
    return Section(
        name="steady",
        title="CPU time of a notification over TCP, 200 sources, 64 in flight",
        unit="us",
        against=_LOOP,
        rows=(*_rows(times, ""), *_rows(times_alone, ", 1 in flight")),
        targets=_targets(times, times_alone),
        notes=(
            _agreement(runs),
            *_notes(full, alone, of_full, 2 * plan.rounds),
            *one.notes,
        ),
    )


def _run(plan: Plan) -> _Run:
    candidates = [candidate for candidate in _CANDIDATES if candidate.is_there]
    server_core, load_core = cores()
    with ExitStack() as stack:
        listeners = [stack.enter_context(candidate.start(server_core)) for candidate in candidates]
        pairs = list(zip(candidates, listeners, strict=True))
        full = [
            _Entrant(each.name, listener, Load(plan.of(each.full, least=40), 64, _SOURCES))
            for each, listener in pairs
        ]
        alone = [
            _Entrant(each.name, listener, Load(plan.of(each.alone, least=20), 1, _SOURCES))
            for each, listener in pairs
        ]
        of_full = _compare(full, plan.rounds, load_core)
        of_alone = _compare(alone, plan.rounds, load_core)
        return _Run((full, alone), of_full, of_alone, tuple(_merged(full)))


def _distance(one: _Run, other: _Run) -> float:
    """Return the share by which the ratios of two runs differ."""
    return abs(one.ratio - other.ratio) / min(one.ratio, other.ratio)


def _agreement(runs: Sequence[_Run]) -> str:
    found = ", ".join(f"{run.ratio:.3f}" for run in runs)
    how_far = f"the last two differ by {_distance(*runs[-2:]):.1%}"
    return f"{_DAEMON} / {_LOOP} in {len(runs)} runs: {found}; {how_far}"


def _joined(one: _Costs, other: _Costs) -> _Costs:
    return {name: [*costs, *other[name]] for name, costs in one.items()}


def _compare(entrants: Sequence[_Entrant], rounds: int, core: int | None) -> _Costs:
    """Drive each in turn, round by round."""
    costs: _Costs = {entrant.name: [] for entrant in entrants}
    for number in range(rounds):
        # They take turns at being first, so that a slow change of the machine affects all.
        first = number % len(entrants)
        for entrant in (*entrants[first:], *entrants[:first]):
            costs[entrant.name].append(entrant.drive(core))
    return costs


def _times(entrants: Sequence[_Entrant], costs: _Costs) -> _Times:
    return {each.name: [each.microseconds(cost) for cost in costs[each.name]] for each in entrants}


def _rows(times: _Times, suffix: str) -> tuple[Row, ...]:
    return tuple(
        Row(
            name + suffix,
            Spread.of(found),
            Spread.of(_ratios(times, name, _LOOP)),
            Spread.of(_differences(times, name, _LOOP)),
        )
        for name, found in times.items()
    )


def _ratios(times: _Times, one: str, other: str) -> list[float]:
    return [ours / theirs for ours, theirs in zip(times[one], times[other], strict=True)]


def _differences(times: _Times, one: str, other: str) -> list[float]:
    return [ours - theirs for ours, theirs in zip(times[one], times[other], strict=True)]


def _targets(times: _Times, alone: _Times) -> tuple[Target, ...]:
    return tuple(
        Target(
            f"{_DAEMON} / {_LOOP}{suffix}",
            statistics.median(_ratios(found, _DAEMON, _LOOP)),
            bound,
        )
        for suffix, found, bound in (
            ("", times, _AT_MOST[is_optimised()]),
            (", 1 in flight", alone, _AT_MOST_ALONE),
        )
    )


def _notes(
    full: Sequence[_Entrant], alone: Sequence[_Entrant], costs: _Costs, rounds: int
) -> tuple[str, ...]:
    counts = ", ".join(
        f"{each.name} {each.load.count} and {other.load.count}"
        for each, other in zip(full, alone, strict=True)
    )
    shares = ", ".join(f"{name} {_in_user_mode(found):.0%}" for name, found in costs.items())
    missing = [each for each in _CANDIDATES if not each.is_there]
    return (
        f"notifications in each of {rounds} rounds, 64 and 1 in flight: {counts}",
        "each listener took all that it was sent, by its own count",
        f"in user mode, about: {shares}",
        *(f"not installed, so left out: {each.program}" for each in missing),
    )


def _merged(entrants: Sequence[_Entrant]) -> Iterator[str]:
    """Say how many notifications woke a subscriber. Coalescing merged the others."""
    for name, listener, _ in entrants:
        if listener.wakeups:
            yield (
                f"{name} woke its subscriber {listener.wakeups()} times for {listener.sent} of"
                " them: one a second and account; what each costs that is told by itself is in"
                " the workload fanout"
            )


def _in_user_mode(costs: Sequence[Cpu]) -> float:
    return sum(cost.user for cost in costs) / max(1, sum(cost.total for cost in costs))

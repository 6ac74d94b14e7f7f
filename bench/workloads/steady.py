"""CPU time of a notification over TCP, for the daemon and for simpler programs.

All get the same load. First 200 sources with 64 connections in flight, so that the next
notification has come before the last one is done. Then one in flight, so that each wakes its
listener. A program that takes a hundred times as long gets fewer. The rounds take turns.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from bench.kernel import Cpu
from bench.listeners import Listener, accept_loop, handler, mailbelld, program, socat, xinetd
from bench.processes import Load, build, cores
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
_TRIO: Final = "trio.serve_tcp"
_XINETD: Final = "xinetd"
_CANDIDATES: Final = (
    _Candidate(_LOOP, accept_loop, 20_000, 2_000),
    _Candidate(_DAEMON, mailbelld, 20_000, 2_000),
    _Candidate("asyncio.start_server", partial(handler, "asyncio"), 4_000, 1_000),
    _Candidate(_TRIO, partial(handler, "trio"), 4_000, 1_000),
    _Candidate(_XINETD, xinetd, 400, 250, "xinetd"),
    _Candidate("socat fork", socat, 400, 250, "socat"),
)
_SOURCES: Final = 200
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


def measure(plan: Plan) -> Section:
    """Measure all candidates.

    Args:
        plan: how much to measure.

    Raises:
        Failed: a candidate does not run, or did not take what it was sent.
    """
    build()
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
        merged = tuple(_merged(full))
    times = _times(full, of_full)
    return Section(
        name="steady",
        title="CPU time of a notification over TCP, 200 sources, 64 in flight",
        unit="us",
        against=_LOOP,
        rows=(*_rows(times, ""), *_rows(_times(alone, of_alone), ", 1 in flight")),
        targets=_targets(times),
        notes=(*_notes(full, alone, of_full, plan.rounds), *merged),
    )


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
        Row(name + suffix, Spread.of(found), Spread.of(_ratios(times, name, _LOOP)))
        for name, found in times.items()
    )


def _ratios(times: _Times, one: str, other: str) -> list[float]:
    return [ours / theirs for ours, theirs in zip(times[one], times[other], strict=True)]


def _targets(times: _Times) -> tuple[Target, ...]:
    return tuple(
        Target(f"{one} / {other}", statistics.median(_ratios(times, one, other)), bound, at_least)
        for one, other, bound, at_least in (
            (_DAEMON, _LOOP, 1.5, False),
            (_TRIO, _DAEMON, 4.0, True),
            (_XINETD, _DAEMON, 50.0, True),
        )
        if one in times
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

"""System calls of the real, locked daemons fail, drawn by lot, until the time is over."""

import os
import random
import shutil
import time
from collections.abc import Callable
from itertools import cycle
from typing import Final

from torture.faults.house import House
from torture.faults.plan import HOUSES, Maker, draw, opened
from torture.faults.start import attempt_start, record, starts
from torture.faults.tally import Tally
from torture.faults.trial import Outcome, attempt, restarted
from torture.figures import Report

__all__ = ["renew", "run"]

TURN: Final = 15.0  # seconds that one daemon serves, before another one has its turn
STARTS: Final = 3  # starts in one turn


def run(seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Make faults that are drawn by lot, until the time is over.

    Args:
        seconds: how long, about.
        seed: of the lot.
        say: is told what happens.

    Returns:
        What the daemons did about them.
    """
    if os.geteuid() != 0:
        return Report("faults", skipped="only root may look at a locked daemon")
    lot, tally = random.Random(seed), Tally()  # noqa: S311 - nothing is secret
    end = time.monotonic() + seconds
    makers = [each for each in HOUSES.items() if _can_stand(*each, say)]
    lot.shuffle(makers)
    for program, make in cycle(makers):
        turn = time.monotonic() + min(TURN, seconds / len(makers))
        _serve_some(program, make, lot, tally, min(turn, end))
        _start_some(program, make, lot, tally, end)
        say(f"{program}: {len(tally.results)} faults so far")
        if time.monotonic() > end:
            break
    return tally.report(seed)


def _can_stand(program: str, house: type[House], say: Callable[[str], None]) -> bool:
    missing = [name for name in house.needs if shutil.which(name) is None]
    if missing:
        say(f"{program}: not tried, since {', '.join(missing)} is not installed")
    return not missing


def _serve_some(program: str, make: Maker, lot: random.Random, tally: Tally, end: float) -> None:
    with opened(make, holds=True) as house:
        if why := restarted(house):
            raise RuntimeError(f"{program} does not serve without any fault: {why}")
        while time.monotonic() < end:
            outcome = attempt(house, draw(house, lot))
            tally.add(program, "serving", outcome)
            renew(house, outcome)


def renew(house: House, outcome: Outcome) -> None:
    """Start a daemon anew that did something wrong: the next fault must not be blamed for it.

    Args:
        house: the daemon.
        outcome: what it did.

    Raises:
        RuntimeError: it does not serve any more.
    """
    if not outcome.behaviour.is_right and (why := restarted(house)):
        raise RuntimeError(f"{house.program} does not serve any more: {why}")


def _start_some(program: str, make: Maker, lot: random.Random, tally: Tally, end: float) -> None:
    if time.monotonic() > end:
        return
    with opened(make, holds=False) as house:
        loading, own = record(house)
        possible = starts(own, is_loading=False, is_companion=house.is_companion)
        if not house.is_companion:
            possible += starts(loading, is_loading=True, is_companion=False)
        for start in lot.sample(possible, STARTS):
            if time.monotonic() < end:
                stage = "loading" if start.is_loading else "starting"
                tally.add(program, stage, attempt_start(house, start))

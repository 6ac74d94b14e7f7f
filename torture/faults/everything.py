"""The full form: every fault of every daemon, a process for each daemon."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from torture.faults.house import House
from torture.faults.plan import HOUSES, Maker, everything, opened
from torture.faults.run import renew
from torture.faults.start import attempt_start, record, starts
from torture.faults.tally import Tally
from torture.faults.trial import Outcome, When, attempt, restarted

__all__ = ["run_all", "run_one"]

Say = Callable[[str], None]

LOADING: Final = 60
"""Of the calls by which Python and the modules are loaded. There are thousands, all alike: each
opens a file, looks at it or reads it, in code that is not the daemon's."""
COMPANION: Final = 60
"""Of the calls of a companion's start: most of them load its modules too."""
UNMADE: Final = 3
"""Attempts at a call that the daemon did not make, after which its other errors are left out."""


def run_all(seed: int, folder: Path, say: Say) -> Tally:
    """Make every fault of every daemon, all daemons at the same time.

    Args:
        seed: draws which call is a later one, and the calls of the loading.
        folder: for the results. A daemon that has results there is not tried again.
        say: is told when a daemon is through.

    Returns:
        What the daemons did about them.

    Raises:
        RuntimeError: a daemon does not serve without a fault.
    """
    tally = Tally()
    files = {program: folder / program for program in HOUSES}
    running = {
        program: _started(program, seed, file)
        for program, file in files.items()
        if not file.exists()
    }
    for program, process in running.items():
        process.wait()
        say(f"{program}: exit code {process.returncode}")
    for program, file in files.items():
        if not file.exists():
            raise RuntimeError(f"{program} was not tried to the end")
        tally.read(file)
    return tally


def _started(program: str, seed: int, file: Path) -> "subprocess.Popen[bytes]":
    words = ("--seed", str(seed), "--only", program, "--results", str(file))
    return subprocess.Popen([sys.executable, "-m", "torture.faults", *words])


def run_one(program: str, seed: int, say: Say) -> Tally:
    """Make every fault of one daemon.

    Args:
        program: the daemon, a key of `HOUSES`.
        seed: as for `run_all`.
        say: is told each outcome.

    Returns:
        What the daemon did about them.

    Raises:
        RuntimeError: it does not serve without a fault.
    """
    lot, tally = random.Random(seed), Tally()  # noqa: S311 - nothing is secret
    make = HOUSES[program]

    def tell(stage: str, outcome: Outcome) -> None:
        tally.add(program, stage, outcome)
        mark = "" if outcome.behaviour.is_right else "FAILURE "
        what = f"{program} {stage}: {outcome.trial}: {outcome.behaviour} {outcome.detail}"
        say(f"{mark}{what}".rstrip())

    _serve_all(make, lot, tell)
    _start_all(make, lot, tell)
    return tally


Tell = Callable[[str, Outcome], None]


def _serve_all(make: Maker, lot: random.Random, tell: Tell) -> None:
    with opened(make, holds=True) as house:
        _require_works(house)
        made: Counter[tuple[str, bool]] = Counter()
        tried: Counter[tuple[str, bool]] = Counter()
        for trial in everything(house, lot):
            kind = trial.name, trial.when is When.AT_END
            if made[kind] or tried[kind] < UNMADE:
                outcome = attempt(house, trial)
                tell("serving", outcome)
                made[kind] += outcome.injected
                tried[kind] += 1
                renew(house, outcome)


def _start_all(make: Maker, lot: random.Random, tell: Tell) -> None:
    with opened(make, holds=False) as house:
        loading, own = record(house)
        early = starts(loading, is_loading=True, is_companion=False)
        every = starts(own, is_loading=False, is_companion=house.is_companion)
        if house.is_companion:
            every = lot.sample(every, min(COMPANION, len(every)))
        else:
            every += lot.sample(early, min(LOADING, len(early)))
        for start in every:
            tell("loading" if start.is_loading else "starting", attempt_start(house, start))
        _require_works(house)


def _require_works(house: House) -> None:
    if why := restarted(house):
        raise RuntimeError(f"{house.program} does not serve without any fault: {why}")

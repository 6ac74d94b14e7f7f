"""What a run reports: a look that is lost makes it wrong, and its line says how to repeat it."""

import functools
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self, cast

import pytest

from torture.figures import Report
from torture.kills import run as module
from torture.kills.ledger import Debt
from torture.kills.plan import SUBSETS, Program, Round
from torture.kills.run import Plays
from torture.kills.world import Played


class Imagined:
    """A world in which nothing runs. In round 3 a look is lost."""

    lost: tuple[Debt, ...] = (
        Debt("user3", 1, "line", "agent"),
        Debt("user3", 1, "line", "subscriber"),
    )
    odd_ends: tuple[str, ...] = ()

    def __init__(self, directory: Path, *, is_held: bool) -> None:
        assert directory.is_dir()
        self.is_held = is_held
        self.kills = Counter({Program.AGENT: 5})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self) -> tuple[Debt, ...]:
        return ()

    def play(self, plan: Round) -> Played:
        lost = self.lost if plan.number == 3 else ()
        return Played(
            accounts=20,
            notifications=50,
            lost=lost,
            seconds=plan.number / 10,
            hooks=2,
            late_hooks=1,
        )


class Odd(Imagined):
    """A world in which a program ends by itself."""

    lost = ()
    odd_ends = ("the listener ended with 78, 2 times",)


def played(make: Any = Imagined, **more: Any) -> Report:
    said: list[str] = []
    report = Plays(7, said.append, make=make, **more).play()
    assert "seed 7" in said[0]
    return report


def value(report: Report, name: str) -> float:
    (found,) = [figure.value for figure in report.figures if figure.name == name]
    return found


def test_rounds_are_counted_over_all_worlds() -> None:
    report = played(rounds=62, worlds=2, first=31)
    assert report.is_right
    assert value(report, "rounds") == 62
    assert value(report, "ways to kill some of the five") == len(SUBSETS)
    assert value(report, "accounts owed") == 62 * 20
    assert value(report, "notifications") == 62 * 50
    assert value(report, "kills of the agent") == 2 * 5
    assert value(report, "kills of the hook") == 62 * 2
    assert value(report, "killed hooks that had written their line") == 62
    assert value(report, "kills") == 2 * 5 + 62 * 2
    assert value(report, "longest until all was looked at") == 9.2


def test_a_lost_look_makes_it_wrong_and_says_what_repeats_it() -> None:
    report = played(rounds=5, worlds=1)
    assert not report.is_right
    assert value(report, "lost") == 1  # one account, though neither of the two has looked
    assert len(report.failures) == 2
    for line, who in zip(report.failures, ("agent", "subscriber"), strict=True):
        assert line.startswith("seed 7, round 3 (killed: ")
        assert line.endswith(f"held: the {who} has not looked at user3 since line")


def test_a_program_that_ends_by_itself_makes_it_wrong() -> None:
    report = played(Odd, rounds=1, worlds=1)
    assert not report.is_right
    assert report.failures == ("seed 7: the listener ended with 78, 2 times",)


class Broken(Imagined):
    """A world that cannot begin, while another one has no end in sight."""

    def begin(self) -> tuple[Debt, ...]:
        if self.is_held:
            raise TimeoutError("a program was not started")
        return ()


def test_a_world_that_fails_ends_the_others() -> None:
    with pytest.raises(TimeoutError, match="was not started"):
        played(Broken, worlds=2)


def test_no_round_begins_after_its_time() -> None:
    assert value(played(until=time.monotonic()), "rounds") == 0


def test_a_run_has_the_time_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Plays", functools.partial(Plays, make=cast("Any", Imagined)))
    report = module.run(0, 7, print)
    assert (report.part, report.is_right, value(report, "rounds")) == ("kills", True, 0)


def test_the_command_says_what_it_takes() -> None:
    words = [sys.executable, "-m", "torture.kills", "--help"]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=root())
    for option in ("--rounds", "--seconds", "--seed", "--first", "--worlds"):
        assert option in done.stdout


def root() -> Path:
    return Path(__file__).resolve().parents[2]

"""The workload `idle`: nothing wakes the daemon, and idle connections disturb no other."""

import pytest

from bench.processes import Failed
from bench.section import SMOKE, Plan, Section
from bench.workloads import idle

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def section() -> Section:
    return idle.measure(SMOKE)


def test_nothing_but_the_watchdog_wakes_it(section: Section) -> None:
    without, fed = section.rows[:2]
    assert without.value.most == 0
    assert fed.value.most > 0
    assert [(target.value, target.bound) for target in section.targets] == [(0, 0), (0, 0)]


def test_good_ones_cost_something_and_are_compared(section: Section) -> None:
    alone, *among = section.rows[2:5]
    assert alone.name == f"CPU us, {section.against}"
    assert alone.value.least > 0
    assert all(row.ratio is not None and row.ratio.least > 0 for row in among)


def test_who_waits_takes_memory(section: Section) -> None:
    alone, _, held = section.rows[5:]
    assert [row.name.partition(",")[0] for row in section.rows[5:]] == ["RSS MiB"] * 3
    assert 0 < alone.value.least < held.value.least


def test_the_idle_are_held_or_displaced(section: Section) -> None:
    assert section.notes[1].startswith("512 idle, 256 places: 256 held, 256 displaced, 50 good")
    assert section.notes[2].startswith("512 idle, a place each: 512 held, 0 displaced, 50 good")


def test_idle_ones_that_leave_too_early_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "_DEADLINE", '[protocol]\ndeadline = "100ms"\n')
    with pytest.raises(Failed, match="deadline"):
        idle._crowd(20, 300, Plan(rounds=5, scale=SMOKE.scale))  # takes longer than that


def test_a_watchdog_that_nobody_feeds_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "_WATCHDOG", ())
    with pytest.raises(Failed, match="fed 0 times"):
        idle._watch(1)


def test_any_other_wakeup_misses_the_target() -> None:
    few, many = idle._Quiet(60.0, 0, 121), idle._Quiet(60.0, 1, 122)
    assert [target.met for target in idle._targets(few)] == [True, True]
    assert [target.met for target in idle._targets(many)] == [False, False]

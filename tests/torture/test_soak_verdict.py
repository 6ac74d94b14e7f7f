"""What a soak says of made-up measurements: what grows is named, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from torture.soak import report as reporting
from torture.soak.chance import chance_of
from torture.soak.page import page
from torture.soak.picture import draw
from torture.soak.plan import Machine, Plan, Record, Sample, read, write
from torture.soak.sample import COUNTED, CPU
from torture.soak.verdict import COST, TOLERANCES, Row, Verdict, judged, tolerance_of

MEMORY = "RSS, KiB"
Value = Callable[[float], float]


def nothing(age: float) -> float:
    return 0.0


def record(
    *,
    memory: Value = nothing,
    step: float = 0.0,
    cost: float = 0.0,
    lives: int = 2,
    cold: float = 300.0,
    seconds: float = 1800.0,
) -> Record:
    """Make the record of one process.

    Args:
        memory: how much more than usual it has, by the age of its life.
        step: how much more memory each life has than the one before it.
        cost: by how much a notification is dearer at the end than at the beginning, as a share.
        lives: how many there are.
        cold: seconds of warm-up of each.
        seconds: how long each lasts.
    """
    chance = chance_of("verdict")
    samples = []
    for life in range(1, lives + 1):
        cpu = 0.0
        for number in range(int(seconds / 10)):
            age = number * 10.0
            at = (life - 1) * seconds + age
            cpu += 0.1 * (1 + cost * at / (lives * seconds)) * chance.uniform(0.9, 1.1)
            values = {
                MEMORY: 25_000 + 4 * round((memory(age) + chance.gauss(0, 20)) / 4) + step * life,
                "descriptors": 20 + chance.randrange(5),
                CPU: cpu,
                COUNTED: 400.0 * number,
            }
            samples.append(
                Sample(
                    at=at,
                    process="mailbelld",
                    life=life,
                    age=age,
                    is_warm=age >= cold,
                    values=values,
                )
            )
    return Record(
        plan=Plan(seconds=lives * seconds, seed=7),
        machine=Machine(
            system="Linux 6", processor="a processor", cores=2, python="3.11", others=0.5
        ),
        version="1",
        began="2026-01-01 00:00",
        lasted=lives * seconds,
        cpu={"mailbelld": 18.0},
        load={"a kind": (1000, 3)},
        outcomes={"mailbelld": {"accepted by TCP": 900}},
        samples=samples,
        faults=[],
    )


def row(found: Record, name: str = MEMORY) -> Row:
    return next(each for each in judged(found) if each.name == name)


def test_what_only_changes_does_not_drift() -> None:
    found = judged(record())
    assert [each.name for each in found] == [MEMORY, "descriptors", COST]
    assert not any(each.drifts for each in found), found
    cost = row(record(), COST)
    assert cost.first == pytest.approx(250, rel=0.05)  # 0.1 s for 400 notifications


def test_10_kib_a_minute_are_a_drift() -> None:
    leaking = record(memory=lambda age: age / 6)
    assert row(leaking).verdict == Verdict.DRIFT
    assert row(leaking).line is not None
    found = reporting.report(leaking)
    assert not found.is_right
    assert len(found.failures) == 1
    assert "mailbelld: RSS, KiB from" in found.failures[0]
    assert "repeat: python -m torture.soak --seconds 3600 --seed 7" in found.failures[0]


def test_growth_during_the_warm_up_is_none() -> None:
    def warming(age: float) -> float:
        return min(age, 900)

    assert row(record(memory=warming, cold=900)).verdict == Verdict.NONE
    # It is no straight line, but it is not called flat.
    assert row(record(memory=warming, cold=0)).verdict == Verdict.UNSURE


def test_a_long_but_tiny_growth_is_tolerated() -> None:
    # 20 KiB an hour, without noise: it is certain, and too little.
    found = record(lives=1, seconds=40_000)
    quiet = [
        msgspec.structs.replace(
            each, values={**each.values, MEMORY: 25_000 + 4 * round(each.age / 3600 * 20 / 4)}
        )
        for each in found.samples
    ]
    assert row(msgspec.structs.replace(found, samples=quiet)).verdict == Verdict.SMALL


def test_less_and_less_is_no_leak() -> None:
    assert row(record(memory=lambda age: -age / 6)).verdict == Verdict.FALLS


def test_a_life_that_begins_higher_than_the_one_before_is_a_drift() -> None:
    found = row(record(step=5000))
    assert found.verdict == Verdict.STEP
    assert found.step == pytest.approx(5000, abs=20)
    assert row(record(step=500)).verdict == Verdict.NONE


def test_a_notification_that_costs_more_and_more_is_a_drift() -> None:
    assert row(record(cost=0.5), COST).verdict == Verdict.DRIFT
    # The same lives, one after the other without a line through both: each alone costs more too.
    assert row(record(cost=0.5, lives=1), COST).verdict == Verdict.DRIFT


def test_what_never_got_warm_is_not_judged() -> None:
    found = record(cold=1e9)
    assert {each.verdict for each in judged(found)} == {Verdict.NOTHING}
    figures = {figure.name: figure.value for figure in reporting.report(found).figures}
    assert figures["series too short to tell"] == figures["series"] == 3


def test_a_fault_fails_the_soak() -> None:
    found = msgspec.structs.replace(record(), faults=["12 s: mailbelld does not run"])
    assert not reporting.report(found).is_right


def test_every_series_has_a_tolerance_with_a_reason() -> None:
    assert tolerance_of("anything at all") is TOLERANCES[-1]
    assert tolerance_of(COST).relative
    assert all(each.why for each in TOLERANCES)


def test_the_page_and_the_picture_come_from_the_record(tmp_path: Path) -> None:
    kept = tmp_path / "soak.json"
    write(record(memory=lambda age: age / 6), kept)
    found = read(kept)
    text = page(found, "soak.png", range(20))
    assert "- mailbelld: RSS, KiB: DRIFT\n" in text
    assert "**3 series: 1 drift, 0 are too short and 0 too uncertain to tell.** 0 faults." in text
    assert "| mailbelld | descriptors | 2" in text
    assert "60 minutes, seed 7" in text
    assert all(line.count("|") >= 3 for line in text.splitlines() if line.startswith("|"))
    draw(found, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")

"""The workload `steady`: all candidates, the same load, and the targets."""

import re

import pytest

from bench.listeners import program
from bench.section import SMOKE, Section
from bench.workloads import steady

SYSTEM = [name for name in ("xinetd", "socat") if program(name)]

MERGED = re.compile(r"mailbelld woke its subscriber (?P<woke>\d+) times for (?P<sent>\d+) of them")


@pytest.fixture(scope="module")
def section() -> Section:
    return steady.measure(SMOKE)


def test_every_candidate_is_there_at_full_speed_and_alone(section: Section) -> None:
    names = [row.name for row in section.rows]
    first = names[: len(names) // 2]
    assert names[len(names) // 2 :] == [f"{name}, 1 in flight" for name in first]
    assert first[:4] == ["bare C loop", "mailbelld", "asyncio.start_server", "trio.serve_tcp"]
    assert [name.split()[0] for name in first[4:]] == SYSTEM


def test_each_costs_something(section: Section) -> None:
    for row in section.rows:
        assert 0 < row.value.least <= row.value.median <= row.value.most


def test_ratios_are_to_the_loop_under_the_same_load(section: Section) -> None:
    rows = {row.name: row for row in section.rows}
    for name, row in rows.items():
        alone = ", 1 in flight" if name.endswith(", 1 in flight") else ""
        loop = rows[section.against + alone]
        assert row.ratio is not None
        assert row.ratio.median == pytest.approx(row.value.median / loop.value.median)


def test_targets_compare_as_promised(section: Section) -> None:
    value = {row.name: row.value.median for row in section.rows}
    for target in section.targets:
        one, other = target.what.split(" / ")
        assert target.value == pytest.approx(value[one] / value[other])
    promised = [(target.bound, target.at_least) for target in section.targets]
    assert promised == [(1.5, False), (4.0, True), (50.0, True)][: 2 + ("xinetd" in SYSTEM)]


def test_it_says_how_many_of_them_woke_the_subscriber(section: Section) -> None:
    (found,) = filter(None, (MERGED.match(note) for note in section.notes))
    assert 1 <= int(found["woke"]) < int(found["sent"])


def test_what_is_not_installed_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.workloads.steady.program", lambda _: None)
    found = steady.measure(SMOKE)
    assert not {"xinetd", "socat fork"} & {row.name for row in found.rows}
    assert {"not installed, so left out: xinetd", "not installed, so left out: socat"} <= set(
        found.notes
    )
    assert len(found.targets) == 2

"""The workload `sender`: both ways of a line, silent targets, and the targets of the figures."""

import pytest

from bench.section import SMOKE, Section
from bench.workloads import sender


@pytest.fixture(scope="module")
def section() -> Section:
    return sender.measure(SMOKE)


def test_both_ways_of_a_line_are_compared_with_the_bare_program(section: Section) -> None:
    names = [row.name for row in section.rows]
    assert names == [
        "bare C program, one connection",
        "mailbell-sender, one connection",
        "bare C program, a connection each",
        "mailbell-sender, a connection each",
        "hook to wire, half never answers: p50",
        "hook to wire, half never answers: p99",
        "hook to wire, half never answers: max",
    ]
    assert [row.name for row in section.rows if row.ratio] == [names[1], names[3]]


def test_each_costs_something(section: Section) -> None:
    for row in section.rows:
        assert 0 < row.value.least <= row.value.median <= row.value.most


def test_every_promise_has_its_figure(section: Section) -> None:
    assert [(target.what, target.bound, target.unit) for target in section.targets] == [
        ("mailbell-sender / bare C, one connection", 3.0, ""),
        ("mailbell-sender / bare C, a connection each", 3.0, ""),
        ("p99 from hook to wire, half never answers", 1.0, "s"),
        ("memory with a full book, after all notifications", 40.0, "MiB"),
        ("memory gained after each target was rung once", 1.0, "MiB"),
    ]


def test_silent_targets_were_tried_and_the_others_were_rung(section: Section) -> None:
    assert "50 of these" in section.notes[1]
    assert "sent 50" in section.notes[1]

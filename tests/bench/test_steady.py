"""The workload `steady`: all candidates, the same load, and the targets."""

import re
from collections.abc import Sequence

import pytest

from bench.kernel import Cpu
from bench.listeners import Listener, program
from bench.processes import Load
from bench.section import SMOKE, Plan, Section, Spread, Target
from bench.workloads import steady

pytestmark = pytest.mark.long

SYSTEM = [name for name in ("xinetd", "socat") if program(name)]

MERGED = re.compile(r"mailbelld woke its subscriber (?P<woke>\d+) times for (?P<sent>\d+) of them")


@pytest.fixture(scope="module")
def section() -> Section:
    return steady.measure(SMOKE)


def test_every_candidate_is_there_at_full_speed_and_alone(section: Section) -> None:
    names = [row.name for row in section.rows]
    first = names[: len(names) // 2]
    assert names[len(names) // 2 :] == [f"{name}, 1 in flight" for name in first]
    assert first[:6] == [
        "bare C loop",
        "mailbelld",
        "the same calls in Python",
        "the same in a Trio task",
        "asyncio.start_server",
        "trio.serve_tcp",
    ]
    assert [name.split()[0] for name in first[6:]] == SYSTEM


def test_each_costs_something(section: Section) -> None:
    for row in section.rows:
        assert 0 < row.value.least <= row.value.median <= row.value.most


def test_ratios_are_to_the_loop_under_the_same_load(section: Section) -> None:
    rows = {row.name: row for row in section.rows}
    for name, row in rows.items():
        alone = ", 1 in flight" if name.endswith(", 1 in flight") else ""
        loop = rows[section.against + alone]
        assert row.ratio is not None
        assert row.more is not None
        of_loop = loop.value
        least, most = row.value.least / of_loop.most, row.value.most / of_loop.least
        assert least <= row.ratio.least <= row.ratio.median <= row.ratio.most <= most
        least, most = row.value.least - of_loop.most, row.value.most - of_loop.least
        assert least <= row.more.least <= row.more.median <= row.more.most <= most


@pytest.mark.parametrize(("optimised", "bound"), [(True, 1.4), (False, 1.5)])
def test_targets_compare_as_promised(
    monkeypatch: pytest.MonkeyPatch, optimised: bool, bound: float
) -> None:
    monkeypatch.setattr(steady, "is_optimised", lambda: optimised)
    times = {"bare C loop": [10.0, 20.0, 30.0], "mailbelld": [15.0, 20.0, 60.0]}
    alone = {"bare C loop": [10.0], "mailbelld": [25.0]}
    assert steady._targets(times, alone) == (
        Target("mailbelld / bare C loop", 1.5, bound),
        Target("mailbelld / bare C loop, 1 in flight", 2.5, 2.0),
    )


class Runs:
    """Stands for the runs, of which each finds another ratio."""

    def __init__(self, ratios: Sequence[float]) -> None:
        self.ratios = list(ratios)
        self.left = list(ratios)

    def __call__(self, _: Plan) -> steady._Run:
        ratio = self.left.pop(0)
        load = Load(1000, 1, 1)
        entrants = [
            steady._Entrant(name, Listener((), 0), load) for name in ("bare C loop", "mailbelld")
        ]
        costs = {"bare C loop": [Cpu(10**9, 0)], "mailbelld": [Cpu(round(ratio * 10**9), 0)]}
        return steady._Run((entrants, entrants), costs, costs, ())


@pytest.mark.parametrize(
    ("ratios", "needed", "said"),
    [
        ([1.50, 1.52], 2, "1.500, 1.520; the last two differ by 1.3%"),
        ([1.50, 1.60, 1.616], 3, "1.500, 1.600, 1.616; the last two differ by 1.0%"),
        ([1, 2, 1, 2, 1], 5, "1.000, 2.000, 1.000, 2.000, 1.000; the last two differ by 100.0%"),
    ],
)
def test_it_runs_until_two_runs_agree_and_says_how_far(
    monkeypatch: pytest.MonkeyPatch, ratios: Sequence[float], needed: int, said: str
) -> None:
    runs = Runs([*ratios, *[9.0] * 9])
    monkeypatch.setattr(steady, "_run", runs)
    found = steady.measure(SMOKE)
    assert len(runs.ratios) - len(runs.left) == needed
    assert found.notes[0] == f"mailbelld / bare C loop in {needed} runs: {said}"
    last = list(ratios[-2:])
    assert found.rows[1].ratio == Spread.of(last)


def test_it_says_how_many_of_them_woke_the_subscriber(section: Section) -> None:
    found = next(filter(None, (MERGED.match(note) for note in section.notes)))
    assert 1 <= int(found["woke"]) < int(found["sent"])


def test_what_is_not_installed_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.workloads.steady.program", lambda _: None)
    found = steady.measure(SMOKE)
    assert not {"xinetd", "socat fork"} & {row.name for row in found.rows}
    assert {"not installed, so left out: xinetd", "not installed, so left out: socat"} <= set(
        found.notes
    )

"""The workload `newcomers`: who calls, how often, and what it costs."""

import pytest

from bench.processes import Failed, Load
from bench.section import SMOKE, Section
from bench.workloads import newcomers


@pytest.fixture(scope="module")
def section() -> Section:
    return newcomers.measure(SMOKE)


def test_each_kind_of_caller_is_there_and_compared_with_known_ones(section: Section) -> None:
    assert [row.name for row in section.rows] == [
        "known sources",
        "new sources",
        "new sources, each twice in a row",
        "new sources, each three times in a row",
        "known sources over their limit",
    ]
    assert section.against == section.rows[0].name
    assert [row.ratio is None for row in section.rows] == [True, False, False, False, False]


def test_targets(section: Section) -> None:
    ratios = {row.name: row.ratio for row in section.rows}
    for target in section.targets:
        name, _, base = target.what.partition(" / ")
        found = ratios[name]
        assert base == section.against
        assert found is not None
        assert target.value == found.median
    assert [target.bound for target in section.targets] == [1.3, 1.0]


def test_another_outcome_than_the_expected_one_is_a_failure() -> None:
    kind = newcomers._Kind("known", Load(3, sources=1), "rate_limited")
    with newcomers._daemon("burst = 10") as daemon, pytest.raises(Failed, match="3 sent, counted"):
        newcomers._drive(daemon, kind)

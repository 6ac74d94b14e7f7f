"""The workload `fanout`: every subscriber is told of every notification, and it is counted."""

import pytest

from bench.processes import Failed
from bench.section import SMOKE, Section
from bench.workloads import fanout


@pytest.fixture(scope="module")
def section() -> Section:
    return fanout.measure(SMOKE)


def test_each_number_of_subscribers_costs_something(section: Section) -> None:
    names = [row.name for row in section.rows]
    assert names == ["1 subscriber", "8 subscribers", "64 subscribers", "each further subscriber"]
    assert min(row.value.least for row in section.rows[:3]) > 0


def test_ratios_are_to_one_subscriber(section: Section) -> None:
    one = section.rows[0]
    assert one.name == section.against
    for row in section.rows:
        assert row.ratio is not None
        assert row.ratio.median == pytest.approx(row.value.median / one.value.median)


def test_a_further_subscriber_costs_a_share_of_the_difference(section: Section) -> None:
    one, _, most, further = (row.value.median for row in section.rows)
    assert further == pytest.approx((most - one) / 63)


def test_notifications_that_are_merged_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "_INTERVAL", "1h")
    monkeypatch.setattr(fanout, "_ACCOUNTS", 10)
    monkeypatch.setattr(fanout, "PATIENCE", 1)
    with pytest.raises(Failed, match="20 notifications: 10 wake-ups, told 10 times to 1"):
        fanout.measure(SMOKE)

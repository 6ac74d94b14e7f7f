"""The workload `configured`: the load matches the networks, and wakes the right accounts."""

from pathlib import Path

import pytest

from bench.flood import source
from bench.processes import Failed
from bench.section import SMOKE, Section
from bench.workloads import configured
from mailbell.core.networks import Family, Network
from mailbell.listener._accounts import AccountMap
from mailbell.listener._packet_filter import merge
from mailbell.listener.configuration import Configuration, parse

pytestmark = pytest.mark.long

CASES = {case.name: case for case in configured._cases(10_000)}
BASE = "one network"
PROMISED = ("10,000 networks of one length", "10,000 networks of 24 lengths")


@pytest.fixture(scope="module")
def section() -> Section:
    return configured.measure(SMOKE)


def parsed(case: configured._Case, directory: Path = Path("/tmp")) -> Configuration:
    return parse(case.configuration(directory).encode())


def networks(case: configured._Case) -> list[Network]:
    return [network for account in parsed(case).account for network in account.sources]


def test_ratios_are_to_one_network(section: Section) -> None:
    base, *others = section.rows
    assert (base.name, base.ratio) == (BASE, None)
    expected = [case.name for case in configured._cases(1_000)]
    assert [row.name for row in section.rows] == expected
    for row in others:
        assert row.ratio is not None
        assert row.ratio.median == pytest.approx(row.value.median / base.value.median)


def test_many_networks_are_held_to_the_promise(section: Section) -> None:
    ratios = {row.name: row.ratio.median for row in section.rows if row.ratio}
    assert [(target.what, target.value, target.bound) for target in section.targets] == [
        (f"{name} / {BASE}", ratios[name], 1.2)
        for name in ("1,000 networks of one length", "1,000 networks of 24 lengths")
    ]


def test_everything_was_accepted_and_every_wake_up_told(section: Section) -> None:
    assert section.notes == (
        "one network: 400 accepted, accounts rung: 1 of 1",
        "1,000 networks of one length: 400 accepted, accounts rung: 1 of 4",
        "1,000 networks of 24 lengths: 400 accepted, accounts rung: 2 of 4",
        "one network, 256 in sources.allow and in deny: 400 accepted, accounts rung: 1 of 1",
        "100 accounts of one network: 400 accepted, accounts rung: 2 of 100",
        "1,000 accounts of one network: 400 accepted, accounts rung: 200 of 1,000",
        "the same, each notification a wake-up: 400 accepted, wake-ups: 400",
    )


@pytest.mark.parametrize("name", PROMISED)
def test_the_networks_are_ten_thousand_different_ones(name: str) -> None:
    assert len(set(networks(CASES[name]))) == 10_000


def test_of_one_length_means_it_and_24_lengths_are_all_that_there_are() -> None:
    one, all_of_them = ({network.length for network in networks(CASES[n])} for n in PROMISED)
    assert one == {24}
    assert all_of_them == set(range(9, 33))


def test_each_source_of_the_load_is_in_an_account_and_the_load_is_spread() -> None:
    accounts = {}
    for name, case in CASES.items():
        lookup = AccountMap(parsed(case).account, unmatched_all=False).lookup
        found = [lookup(Family.IPV4, source(4, n), None) for n in range(configured._COUNT)]
        assert all(len(names) == 1 for names in found), name
        accounts[name] = len(set(found))
    assert accounts == {
        "one network": 1,
        "10,000 networks of one length": 24,
        "10,000 networks of 24 lengths": 16,
        "one network, 256 in sources.allow and in deny": 1,
        "100 accounts of one network": 47,
        "10,000 accounts of one network": 6_000,
        "the same, each notification a wake-up": 6_000,
    }


def test_the_lists_are_as_long_as_they_can_be_and_nothing_of_them_is_merged() -> None:
    (listed,) = (parsed(case).sources for case in CASES.values() if case.listed)
    assert len(merge(listed.allow)) == len(listed.allow) == 256
    assert len(merge(listed.deny)) == len(listed.deny) == 256


def test_a_wake_up_that_should_not_be_is_a_failure() -> None:
    case = configured._Case("one", CASES[BASE].accounts)
    with configured._driven(case) as driven:
        driven.warm_up(1)
        driven.wakeups += 1
        driven.reader.told += 1
        with pytest.raises(Failed, match=r"2 sent, \{'accepted': 2\}, 1 wake-ups"):
            driven.ring(1)


def test_what_the_subscriber_is_not_told_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "PATIENCE", 0)
    with (
        configured._driven(CASES[BASE]) as driven,
        pytest.raises(Failed, match="of 7 wake-ups the subscriber was told"),
    ):
        driven.reader.await_told(7)

"""The state of one account, and of accounts that ring together."""

import gc

import pytest

from mailbell.core.networks import Family
from mailbell.core.notification import Cause, Transport
from mailbell.listener import _account_state
from mailbell.listener._account_state import MANUAL, AccountState, Group, Origin

ONE = Origin(Cause.NETWORK, Transport.TCP, Family.IPV4, 0xC0000219)
TWO = Origin(Cause.NETWORK, Transport.UDP, Family.IPV6, 0x20010DB8 << 96 | 0x25)


def test_an_origin_as_text_is_its_address_and_cannot_be_changed() -> None:
    assert list(map(str, (ONE, TWO, MANUAL))) == ["192.0.2.25", "2001:db8::25", ""]
    assert Origin(Cause.MANUAL, None, None, 0) == MANUAL
    with pytest.raises(AttributeError):
        ONE.source = 1  # type: ignore[misc]  # that is what is tried
    assert not gc.is_tracked(ONE), "it leads to nothing, so the collector need not look"


def test_a_new_account_has_heard_nothing() -> None:
    state = AccountState("work", 3, 1.0)
    assert (state.name, state.number, state.count, state.time) == ("work", 3, 0, None)
    assert (state.origin, state.groups, state.coalescer.due) == (MANUAL, (), None)


@pytest.mark.parametrize(
    ("times", "origin", "time"),
    [((5,), ONE, 5), ((5, 6), TWO, 6), ((5, 5), TWO, 5), ((5, 4), ONE, 5), ((0, 0), TWO, 0)],
)
def test_the_last_notification_is_the_one_with_the_latest_stamp(
    times: tuple[int, ...], origin: Origin, time: int
) -> None:
    noted, merged = AccountState("work", 0, 1.0), AccountState("work", 0, 1.0)
    assert merged.coalescer.ring(10.0) == 1
    assert merged.coalescer.ring(10.0) == 0
    for each, stamp in zip((ONE, TWO), times, strict=False):
        noted.note(each, stamp)
        assert merged.merge(each, 10.5, stamp)
    assert (noted.origin, noted.time) == (merged.origin, merged.time) == (origin, time)
    assert merged.coalescer.tick(11.0) == 1 + len(times)


def test_where_none_waits_nothing_is_merged() -> None:
    state = AccountState("work", 0, 1.0)
    assert not state.merge(ONE, 10.0, 5)
    assert (state.origin, state.time) == (MANUAL, None)


def members(*names: str) -> list[AccountState]:
    return [AccountState(name, number, 1.0) for number, name in enumerate(names)]


def test_a_new_group_has_nobody_to_visit() -> None:
    names = ("work", "home")
    accounts = members(*names)
    group = Group(7, names, accounts, 1.0)
    assert (group.number, group.left, group.origin, group.time) == (7, 0, MANUAL, 0)
    assert group.names is names
    assert [account.groups for account in accounts] == [((group, 0),), ((group, 1),)]
    assert [account.fetch() for account in accounts] == [0, 0]


def test_an_account_fetches_what_all_of_its_groups_have_for_it_once() -> None:
    (account,) = members("work")
    groups = [Group(number, ("work",), [account], 1.0) for number in range(2)]
    groups[0].note(ONE, 5)
    groups[1].note(TWO, 3)
    groups[1].note(TWO, 4)
    assert account.fetch() == 3
    assert (account.origin, account.time) == (ONE, 5)
    assert account.fetch() == 0


def test_a_round_visits_each_account_and_goes_on_where_it_was() -> None:
    accounts = members("a", "b", "c")
    group = Group(0, ("a", "b", "c"), accounts, 1.0)
    group.note(ONE, 5)
    group.begin_round()
    assert group.left == 3
    assert [group.visit() for _ in range(2)] == [(accounts[0], 1), (accounts[1], 1)]
    assert group.left == 1
    group.note(TWO, 6)
    group.begin_round()
    assert [group.visit() for _ in range(3)] == [
        (accounts[2], 2), (accounts[0], 1), (accounts[1], 1),
    ]  # fmt: skip
    assert (group.left, group.origin, group.time) == (0, TWO, 6)


def test_a_group_counts_for_longer_than_any_daemon_runs() -> None:
    """Ten thousand notifications a second for 300 years, with calls that were not read."""
    group = Group(0, ("work", "home"), members("work", "home"), 1.0)
    for rung in (10**14, 3):
        group._rung += rung << _account_state._NOTIFICATIONS
        assert group.fetch(0) == rung
        group.note_unread(TWO, 5)
        group.note(ONE, 6)
        assert group.fetch(0) == 1
    assert group.fetch(1) == 10**14 + 3 + 2


def test_a_group_that_nobody_rang_has_nothing_in_its_round() -> None:
    accounts = members("a", "b")
    group = Group(0, ("a", "b"), accounts, 1.0)
    group.note_unread(ONE, 5)
    group.begin_round()
    assert [group.visit() for _ in accounts] == [(account, 0) for account in accounts]
    assert (group.origin, group.time) == (MANUAL, 0)


def test_a_call_that_was_not_read_counts_where_the_notification_before_it_was_fetched() -> None:
    group = Group(0, ("a", "b"), members("a", "b"), 1.0)
    told = []
    group.note(ONE, 5)
    group.note_unread(TWO, 6)
    told.append((group.origin, group.time))
    assert group.fetch(0) == 1
    group.note_unread(TWO, 7)
    group.note_unread(ONE, 8)
    told.append((group.origin, group.time))
    assert group.fetch(1) == 1
    group.note(ONE, 9)
    group.note_unread(TWO, 10)
    told.append((group.origin, group.time))
    assert told == [(ONE, 5), (TWO, 7), (ONE, 9)]


def test_calls_that_were_not_read_do_not_become_a_notification() -> None:
    """As many as there could be accounts."""
    group = Group(0, ("work",), members("work"), 1.0)
    group.note(ONE, 5)
    fetched = 0
    for _ in range(65_536):
        fetched += group.fetch(0)
        group.note_unread(ONE, 5)
    assert fetched == 1

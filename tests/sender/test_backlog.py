"""What the other nodes of a cluster have yet to learn."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address
from mailbell.sender._backlog import MOST, UNSURE, Backlog, Late

HOME, OFFICE = Address.parse("192.0.2.7"), Address.parse("2001:db8::7")
ANNA, BOB = Late("anna", HOME, 1.0), Late("bob", OFFICE, 2.0)


def nothing() -> Iterator[Late]:
    return iter(())


def test_logins_come_before_everything_and_accounts_last() -> None:
    backlog = Backlog(lambda: iter([BOB]))
    backlog.outbox.put("carl", 3.0)
    backlog.say_everything(0.0)
    backlog.keep(ANNA)
    assert backlog.logins == 1
    assert list(backlog.take(2)) == [ANNA, BOB]
    assert list(backlog.take(2)) == [("carl", 3.0)]
    assert list(backlog.take(2)) == []


def test_the_newest_of_two_logins_is_kept_and_one_too_many_is_counted() -> None:
    backlog = Backlog(nothing, 1)
    backlog.keep(ANNA)
    backlog.keep(ANNA._replace(seen=9.0))
    backlog.keep(BOB)
    assert (backlog.logins, backlog.dropped) == (1, 1)
    assert list(backlog.take(9)) == [ANNA._replace(seen=9.0)]


def test_what_was_said_lately_is_said_again() -> None:
    backlog = Backlog(nothing)
    backlog.note_said(ANNA, 0.0)
    backlog.note_said(BOB, UNSURE)
    backlog.say_again(UNSURE + 1)
    assert list(backlog.take(9)) == [BOB]


def test_what_is_said_again_does_not_replace_a_newer_login() -> None:
    """She logged in while the engine was there, and once more while it was away."""
    backlog = Backlog(nothing)
    backlog.note_said(ANNA, 1.0)
    backlog.hold(5.0)
    backlog.keep(ANNA._replace(seen=9.0))
    backlog.say_again(10.0)
    assert list(backlog.take(9)) == [ANNA._replace(seen=9.0)]


def test_what_is_said_late_does_not_replace_a_newer_login_either() -> None:
    """The older one was still to be said when she logged in again, and the engine was there."""
    backlog = Backlog(nothing)
    backlog.keep(ANNA)
    backlog.note_said(ANNA._replace(seen=9.0), 9.0)
    for login in backlog.take(9):
        assert isinstance(login, Late)
        backlog.note_said(login, 9.5)
    backlog.say_again(10.0)
    assert list(backlog.take(9)) == [ANNA._replace(seen=9.0)]


def test_an_engine_that_is_away_makes_nothing_older() -> None:
    backlog = Backlog(nothing)
    backlog.note_said(ANNA, 0.0)
    backlog.hold(1.0)
    backlog.say_again(10 * UNSURE)
    assert list(backlog.take(9)) == [ANNA]
    backlog.release(10 * UNSURE)
    backlog.hold(10 * UNSURE + 1)
    backlog.say_again(20 * UNSURE)
    assert list(backlog.take(9)) == [ANNA], "the engine may have ended before anybody took it"
    backlog.release(20 * UNSURE)
    backlog.say_again(30 * UNSURE)
    assert list(backlog.take(9)) == []


def test_if_too_much_was_said_everything_is_said_again() -> None:
    backlog = Backlog(lambda: iter([ANNA, BOB]))
    assert list(backlog.take(9)) == [ANNA, BOB]
    for number in range(20_000):
        backlog.note_said(Late(f"user{number}", HOME, 0.0), 0.0)
    backlog.say_again(1.0)
    found = list(backlog.take(100_000))
    assert found[-2:] == [ANNA, BOB]
    assert len(found) > 16_000


@given(st.lists(st.sampled_from("abcdef")))
def test_each_account_is_handed_over_once(names: list[str]) -> None:
    backlog = Backlog(nothing)
    for name in names:
        backlog.keep(Late(name, HOME, 0.0))
    assert [each.account for each in backlog.take(99) if isinstance(each, Late)] == list(
        dict.fromkeys(names)
    )


def test_a_new_engine_learns_what_is_known_of_the_last_run() -> None:
    backlog = Backlog(lambda: iter([ANNA, BOB]))
    assert not backlog.has_caught_up(0.0)
    assert list(backlog.take(9)) == [ANNA, BOB]
    assert backlog.has_caught_up(0.0)
    assert not backlog.has_caught_up(0.0)


def test_after_a_kill_logins_are_late_until_it_has_caught_up() -> None:
    backlog = Backlog(lambda: iter([ANNA]), is_late=True)
    assert backlog.is_late(0.0)
    list(backlog.take(9))
    assert backlog.has_caught_up(0.0)
    assert backlog.is_late(0.0) is False  # it is written into a message, where nothing is no bool
    backlog.say_everything(0.0)
    assert not backlog.is_late(0.0)


def test_logins_are_late_if_the_engine_was_away_for_long() -> None:
    backlog = Backlog(nothing, began=5.0)
    assert not backlog.is_late(UNSURE + 5)
    assert backlog.is_late(UNSURE + 6)
    assert backlog.has_caught_up(UNSURE + 6)
    assert not backlog.is_late(UNSURE + 6)
    backlog.hold(100.0)
    backlog.say_again(110.0)
    assert not backlog.is_late(100.0 + UNSURE)
    assert backlog.is_late(101.0 + UNSURE)
    backlog.release(110.0)
    backlog.hold(120.0)
    assert backlog.is_late(101.0 + UNSURE), "it has not caught up between the two"


def test_an_engine_that_forgets_at_once_was_not_away() -> None:
    backlog = Backlog(lambda: iter([ANNA]))
    list(backlog.take(9))
    assert backlog.has_caught_up(0.0)
    backlog.say_everything(10 * UNSURE)
    assert not backlog.is_late(11 * UNSURE)
    assert backlog.is_late(11 * UNSURE + 1)
    backlog.hold(20 * UNSURE)
    list(backlog.take(9))
    assert backlog.has_caught_up(20 * UNSURE)
    backlog.hold(30 * UNSURE)
    backlog.say_everything(32 * UNSURE)
    assert backlog.is_late(32 * UNSURE), "it was away, and then had forgotten"


def test_a_late_login_that_is_lost_stays_late() -> None:
    backlog = Backlog(nothing)
    assert backlog.has_caught_up(0.0)
    backlog.keep_late(ANNA)
    assert backlog.is_late(0.0)
    assert list(backlog.take(9)) == [ANNA]


def test_what_takes_long_is_told_of_in_parts() -> None:
    backlog = Backlog(lambda: iter([ANNA, BOB]))
    assert not backlog.has_caught_up(UNSURE / 3 - 1)
    assert backlog.has_caught_up(UNSURE / 3)
    assert not backlog.has_caught_up(UNSURE / 3 + 1)
    assert list(backlog.take(9)) == [ANNA, BOB], "nothing is left out by looking"
    assert backlog.has_caught_up(UNSURE / 3 + 2)


def test_a_login_without_a_place_is_learnt_with_all() -> None:
    backlog = Backlog(lambda: iter([ANNA, BOB]), 1)
    list(backlog.take(9))
    backlog.keep(ANNA)
    backlog.keep(BOB)
    assert list(backlog.take(9)) == [ANNA, ANNA, BOB]


def test_if_all_that_was_said_lately_is_known_nothing_else_is_said_again() -> None:
    known: list[Late] = []
    backlog = Backlog(lambda: iter(tuple(known)))
    known.append(BOB)
    backlog.note_said(ANNA, 0.0)
    backlog.say_again(1.0)
    assert list(backlog.take(9)) == [ANNA]


def test_each_login_too_many_is_counted() -> None:
    backlog = Backlog(nothing, 0)
    backlog.keep(ANNA)
    backlog.keep(BOB)
    assert (backlog.logins, backlog.dropped) == (0, 2)


def test_after_a_release_the_engine_is_away_from_the_next_moment_on() -> None:
    backlog = Backlog(nothing)
    assert backlog.has_caught_up(0.0)
    backlog.hold(1.0)
    backlog.release(2.0)
    backlog.say_everything(1000.0)
    assert not backlog.is_late(1000.0 + UNSURE)
    assert backlog.is_late(1000.5 + UNSURE)


def test_other_nodes_know_for_a_minute_which_rings_may_have_missed_a_login() -> None:
    assert UNSURE == 60.0


def test_without_another_number_so_many_logins_wait() -> None:
    backlog = Backlog(nothing)
    for number in range(MOST + 1):
        backlog.keep(Late(f"user{number}", HOME, 0.0))
    assert (backlog.logins, backlog.dropped) == (65_536, 1)

"""The bell of a cluster: what it shares, what it does alone, and whom it obeys."""

from collections.abc import Iterator

import pytest
from sender.test_bell import HOME, NOW, OFFICE, House

from mailbell.cluster.messages import Call, Login, Place, Ring, Welcome, write_target
from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender._accounts import Accounts
from mailbell.sender._backlog import Backlog, Late
from mailbell.sender._ring import Ring as RingEvent
from mailbell.sender._shared_bell import HANDED_OVER, MOST_RUNG, SharedBell
from mailbell.sender.configuration import parse

CONFIGURATION = """
[[account]]
name = "anna"
targets = ["last-used", "192.0.2.1", "laptop.example.net"]
[[account]]
name = "off"
targets = ["192.0.2.1"]
enabled = false
[[account]]
name = "named"
targets = ["192.0.2.1"]
[[account]]
name = "moving"
targets = ["last-used"]
[default]
targets = ["last-used"]
"""
FIXED = Target(Address.parse("192.0.2.1"), 79, Transport.TCP)
LAPTOP = Target("laptop.example.net", 79, Transport.TCP)
PLACES = (Place(79, Transport.TCP),)
AT_HOME = Target(HOME, 79, Transport.TCP)


class Shared(House):
    """A shared bell, and what it says to its companion."""

    def __init__(self, *deny: str) -> None:
        super().__init__(*deny)
        self.said: list[Ring | Login] = []
        self.room = 1000
        self.is_away = False
        self.number = 0
        self.accounts = Accounts(parse(CONFIGURATION.encode()))
        self.shared = SharedBell(
            bell=self.bell,
            book=self.book,
            accounts=self.accounts,
            schedule=self.schedule,
            rules=self.rules,
            sharer=self,
            backlog=Backlog(lambda: iter(()), began=NOW),
            steady=self.steady,
            on_ring=self.rings.append,
        )

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def share(self, message: Ring | Login) -> bool:
        if not self.is_away:
            self.said.append(message)
        return not self.is_away

    def ring(self, name: str) -> None:
        account = self.accounts.find(name)
        assert account is not None
        self.shared.ring(account, self.now)

    def seen(self, name: str, address: Address) -> bool:
        account = self.accounts.find(name)
        assert account is not None
        return self.shared.seen(account, address, self.now)


@pytest.fixture
def house() -> Shared:
    return Shared()


def test_a_ring_is_shared_and_not_rung_here(house: Shared) -> None:
    house.ring("anna")
    assert house.said == [Ring(1, "anna", (write_target(FIXED), write_target(LAPTOP)), PLACES)]
    assert house.calls() == {}


def test_an_account_that_is_off_is_not_rung(house: Shared) -> None:
    house.ring("off")
    assert house.said == []


def test_without_the_engine_it_rings_alone_and_hands_over(house: Shared) -> None:
    house.seen("anna", HOME)
    house.said.clear()
    house.is_away = True
    house.ring("anna")
    calls = house.calls()
    assert set(calls) == {AT_HOME, FIXED, LAPTOP}
    assert {call.asked for call in calls.values()} == {NOW}
    house.is_away = False
    house.now += 1
    house.seen("anna", OFFICE)
    house.said.clear()
    house.shared.hand_over(house.now)
    assert house.said == [Ring(4, "anna", (), PLACES, (str(HOME),))]
    house.shared.hand_over(house.now)
    assert len(house.said) == 1


def test_a_login_is_noted_here_and_shared(house: Shared) -> None:
    assert house.seen("anna", HOME)
    assert house.said == [Login(1, "anna", str(HOME), 0.0, False, (), PLACES)]
    assert [address for address, _ in house.book.logins("anna", house.steady())] == [HOME]


def test_a_login_at_a_configured_target_ends_its_back_off_elsewhere(house: Shared) -> None:
    assert house.seen("named", FIXED.host)  # type: ignore[arg-type]
    assert house.said == [Login(1, "named", "192.0.2.1", 0.0, False, (write_target(FIXED),), ())]


def test_a_login_that_concerns_no_target_is_not_shared(house: Shared) -> None:
    assert house.seen("named", HOME)
    assert house.said == []


def test_an_address_that_is_refused_is_not_shared() -> None:
    house = Shared("192.0.2.0/24")
    assert not house.seen("anna", HOME)
    assert house.said == []


def test_a_login_without_the_engine_is_said_late(house: Shared) -> None:
    house.is_away = True
    house.seen("anna", HOME)
    house.now += 60
    house.is_away = False
    house.shared.hand_over(house.now)
    assert house.said == [Login(2, "anna", str(HOME), 60.0, False, (), PLACES)]


def test_what_cannot_be_handed_over_is_kept(house: Shared) -> None:
    house.is_away = True
    house.seen("anna", HOME)
    house.ring("anna")
    house.shared.hand_over(house.now)
    house.is_away = False
    house.room = 1
    house.shared.hand_over(house.now)
    assert [type(each) for each in house.said] == [Login]
    house.shared.hand_over(house.now)
    assert [type(each) for each in house.said] == [Login, Ring]


def test_who_is_no_account_any_more_is_not_handed_over(house: Shared) -> None:
    house.shared.backlog.outbox.put("", 0.0)
    house.shared.backlog.keep(Late("off", HOME, 0.0))
    house.shared.backlog.outbox.put("carl", 0.0)
    house.shared.hand_over(house.now)
    assert [each.account for each in house.said] == ["carl"]


def test_what_was_rung_alone_is_not_rung_again_when_it_cannot_be_handed_over(
    house: Shared,
) -> None:
    house.seen("anna", HOME)
    house.is_away = True
    house.ring("anna")
    assert len(house.calls()) == 3
    house.is_away = False
    house.now += 5
    for _ in range(3):
        house.said.clear()
        house.shared.hand_over(house.now)
        (rest,) = house.said
        assert isinstance(rest, Ring)
        house.now += 60
        before = house.schedule.waiting()
        house.shared.lost(rest, house.now)
        assert list(house.schedule.waiting()) == list(before)
        assert (rest.targets, rest.rung) == ((), (str(HOME),))


def test_how_many_are_known_to_be_rung_alone_has_a_bound(house: Shared) -> None:
    for number in range(MOST_RUNG + 2):
        house.shared.backlog.outbox.put(f"user{number}", 0.0)
        house.shared.hand_over(house.now)
    assert list(house.shared._rung) == list(range(3, MOST_RUNG + 3))
    assert MOST_RUNG == 4096


@pytest.mark.parametrize("is_late", [True, False])
def test_a_login_that_is_lost_is_said_again_as_late_as_it_was(house: Shared, is_late: bool) -> None:
    house.shared.lost(Login(1, "anna", str(HOME), 5.0, is_late, (), PLACES), house.now)
    house.shared.hand_over(house.now)
    assert house.said == [Login(1, "anna", str(HOME), 5.0, is_late, (), PLACES)]


def test_a_login_that_was_said_lately_can_be_said_again(house: Shared) -> None:
    house.seen("anna", HOME)
    house.said.clear()
    house.shared.backlog.say_again(house.now)
    house.shared.hand_over(house.now)
    assert house.said == [Login(2, "anna", str(HOME), 0.0, False, (), PLACES)]


def test_not_everything_is_handed_over_at_once(house: Shared) -> None:
    for number in range(HANDED_OVER + 1):
        house.shared.backlog.outbox.put(f"user{number}", 0.0)
    house.shared.hand_over(house.now)
    assert len(house.said) == HANDED_OVER == 64
    house.shared.hand_over(house.now)
    assert len(house.said) == HANDED_OVER + 1


def test_what_the_engine_has_learnt_late_may_be_lost_again(house: Shared) -> None:
    house.is_away = True
    house.seen("anna", HOME)
    house.is_away = False
    house.shared.hand_over(house.now)
    house.shared.backlog.say_again(house.now + 1)
    house.said.clear()
    house.shared.hand_over(house.now + 1)
    assert [type(each) for each in house.said] == [Login]


def test_a_login_that_counts_no_more_is_not_handed_over(house: Shared) -> None:
    house.is_away = True
    house.seen("anna", HOME)
    house.now += 1
    house.seen("bob", OFFICE)
    house.now += house.book.ttl - 1
    house.is_away = False
    house.shared.hand_over(house.now)
    assert [each.account for each in house.said] == ["bob"]


def test_a_login_after_a_long_time_without_the_engine_is_late(house: Shared) -> None:
    house.is_away = True
    house.seen("anna", HOME)
    house.is_away = False
    house.now += 61
    house.shared.hand_over(house.now)
    assert house.said == [Login(2, "anna", str(HOME), 61.0, True, (), PLACES)]


def test_what_the_engine_may_not_have_is_done_alone(house: Shared) -> None:
    house.seen("anna", HOME)
    house.ring("anna")
    login, ring = house.said
    house.shared.lost(login, house.now)
    house.shared.lost(ring, house.now)
    house.shared.lost(Ring(9, "", (), ()), house.now)
    calls = house.calls()
    assert set(calls) == {AT_HOME, FIXED, LAPTOP}
    assert {call.asked for call in calls.values()} == {NOW}
    assert len(house.shared.backlog.outbox) == house.shared.backlog.logins == 1


def test_it_knows_logins_of_its_own(house: Shared) -> None:
    anna = house.accounts.find("anna")
    assert anna is not None
    assert house.shared.would_learn(anna, HOME)
    house.seen("anna", HOME)
    assert not house.shared.would_learn(anna, HOME)


def test_a_call_of_another_node(house: Shared) -> None:
    house.shared.call(Call("anna", write_target(FIXED), None), house.now)
    house.shared.call(Call("bob", write_target(AT_HOME), 60.0), house.now)
    calls = house.calls()
    assert {target: call.is_configured for target, call in calls.items()} == {
        FIXED: True,
        AT_HOME: False,
    }
    assert calls[AT_HOME].until == house.steady() + 60
    assert [call.account for call in calls.values()] == ["anna", "bob"]
    assert [call.asked for call in calls.values()] == [NOW, NOW]


def test_a_login_at_a_configured_target_is_not_called_twice(house: Shared) -> None:
    house.shared.call(Call("anna", write_target(FIXED), 60.0), house.now)
    assert house.calls() == {}
    assert house.shared.refused == 0


@pytest.mark.parametrize(
    "message",
    [
        Call("anna", "anything", None),
        Call("\n", write_target(FIXED), None),
        Call("off", write_target(FIXED), None),
        Call("anna", write_target(AT_HOME), None),
        Call("named", write_target(AT_HOME), 60.0),
        Call("anna", write_target(AT_HOME._replace(port=22)), 60.0),
        Call("anna", write_target(AT_HOME._replace(transport=Transport.UDP)), 60.0),
        Call("bob", write_target(LAPTOP), 60.0),
    ],
    ids=str,
)
def test_what_no_node_may_ask_for(house: Shared, message: Call) -> None:
    for refused in (1, 2):
        house.shared.call(message, house.now)
        assert house.calls() == {}
        assert house.shared.refused == refused


def test_the_rules_of_this_node_hold_for_the_logins_of_all() -> None:
    house = Shared("192.0.2.0/24")
    house.shared.call(Call("bob", write_target(AT_HOME), 60.0), house.now)
    assert house.calls() == {}
    assert house.rings == [RingEvent("bob", AT_HOME, RingOutcome.NOT_ALLOWED)]


def backing_off(house: Shared) -> list[bool]:
    return [
        house.schedule.outlook(target, house.now, is_configured=target is FIXED).backs_off
        for target in (FIXED, AT_HOME)
    ]


def test_a_login_elsewhere_ends_a_back_off_here(house: Shared) -> None:
    for message in (
        Call("anna", write_target(FIXED), None),
        Call("bob", write_target(AT_HOME), 60.0),
    ):
        house.shared.call(message, house.now)
    for call in house.schedule.take(house.now, 64):
        house.schedule.done(call, RingOutcome.UNREACHABLE, house.now)
    assert backing_off(house) == [True, True]
    house.shared.welcome(Welcome(write_target(FIXED)))
    assert backing_off(house) == [False, True]
    house.shared.welcome(Welcome(write_target(AT_HOME)))
    assert backing_off(house) == [False, False]
    for refused in (1, 2):
        house.shared.welcome(Welcome("anything"))
        assert house.shared.refused == refused


def test_an_account_without_a_target_anywhere(house: Shared) -> None:
    house.shared.nobody("bob")
    assert [(ring.account, ring.outcome) for ring in house.rings] == [
        ("bob", RingOutcome.NO_TARGET)
    ]
    for refused in (1, 2):
        house.shared.nobody("\n")
        assert (len(house.rings), house.shared.refused) == (1, refused)


def test_everybody_is_rung_in_two_parts(house: Shared) -> None:
    for name in ("anna", "named", "bob", "\n"):
        house.shared.ring_logins(name, house.now)
    assert [(each.account, each.targets) for each in house.said if isinstance(each, Ring)] == [
        ("anna", ()),
        ("bob", ()),
    ]
    house.said.clear()
    for account in house.shared.configured():
        house.shared.ring(account, house.now)
    assert [(each.account, each.places) for each in house.said] == [("anna", ()), ("named", ())]


def test_only_logins_are_rung_alone_without_the_engine(house: Shared) -> None:
    house.seen("anna", HOME)
    house.is_away = True
    house.shared.ring_logins("anna", house.now)
    assert {target: call.asked for target, call in house.calls().items()} == {AT_HOME: NOW}


def rest(house: Shared, *waiting: str) -> list[str]:
    def names() -> Iterator[str]:
        yield from waiting

    return [each.account for each in house.shared.rest(names())]


def test_at_the_end_everything_is_kept_for_others(house: Shared) -> None:
    house.shared.backlog.outbox.put("carl", 0.0)
    house.shared.collect()
    house.ring("anna")
    house.shared.call(Call("bob", write_target(AT_HOME), 60.0), house.now)
    house.shared.lost(Ring(1, "dora", (), PLACES), house.now)
    assert house.said == []
    assert house.calls() == {}
    assert rest(house, "eva", "anna", "off", "") == ["eva", "anna", "bob", "dora", "carl"]


def test_who_ends_without_collecting_hands_over_what_waits(house: Shared) -> None:
    assert rest(house, "anna") == ["anna"]


def test_an_account_with_no_target_at_all() -> None:
    house = Shared()
    anna = house.accounts.find("anna")
    assert anna is not None
    house.shared.ring(anna._replace(targets=()), house.now)
    assert [ring.outcome for ring in house.rings] == [RingOutcome.NO_TARGET]
    assert house.said == []

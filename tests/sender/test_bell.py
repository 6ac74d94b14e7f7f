"""The bell with a real book and real rules: which targets an account has, now and later."""

from math import inf

import pytest

from mailbell.core.networks import Address, Network
from mailbell.core.notification import Transport
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.interfaces.sender import Origin, Step, Verdict
from mailbell.sender._accounts import Account, LastUsed
from mailbell.sender._address_book import AddressBook
from mailbell.sender._address_rules import AddressRules
from mailbell.sender._bell import Bell
from mailbell.sender._call import SECRET
from mailbell.sender._ring import Ring
from mailbell.sender._schedule import Call, Schedule

NOW = 1000.0
TTL = 1800.0
LAST_USED = LastUsed(79, Transport.TCP)
HOME, OFFICE = Address.parse("192.0.2.7"), Address.parse("2001:db8::7")
CONFIGURED = Target(OFFICE, 79, Transport.TCP)
NAMED = Target("laptop.example.net", 79, Transport.UDP)


class House:
    """A bell and what it stands on. The book's clock is an hour ahead of the schedule's."""

    def __init__(self, *deny: str) -> None:
        self.now = NOW
        self.rings: list[Ring] = []
        self.noted: list[tuple[str, Address]] = []
        self.book = AddressBook(TTL, 4, 100, secret="secret")
        self.schedule = Schedule(
            interval=2.0,
            backoff=(30.0, 600.0),
            rate=1000.0,
            connections=16,
            deadline=2.0,
            horizon=TTL,
            on_ring=self.rings.append,
            on_due=lambda: None,
            steady=self.steady,
            secret=bytes(SECRET),
        )
        self.rules = AddressRules((), (Network.parse(text) for text in deny), ())
        self.bell = self.with_rules(self.rules)

    def with_rules(self, rules: AddressRules) -> Bell:
        return Bell(
            book=self.book,
            rules=rules,
            schedule=self.schedule,
            steady=self.steady,
            note=lambda account, address: self.noted.append((account, address)),
            on_ring=self.rings.append,
        )

    def steady(self) -> float:
        return self.now + 3600

    def calls(self) -> dict[Target, Call]:
        return {call.target: call for call in self.schedule.take(self.now, 64)}


@pytest.fixture
def house() -> House:
    return House()


def test_a_configured_target_is_rung_whatever_the_rules_say(house: House) -> None:
    bell = house.with_rules(AddressRules((), (Network.parse("::/0"),), ()))
    bell.ring(Account("anna", (CONFIGURED, NAMED)), NOW)
    calls = house.calls()
    assert set(calls) == {CONFIGURED, NAMED}
    assert all(call.is_configured for call in calls.values())
    assert house.rings == []


def test_which_logins_would_make_one_more_target() -> None:
    house = House("198.51.100.0/24")
    anna = Account("anna", (CONFIGURED, LAST_USED))
    assert house.bell.would_learn(anna, HOME)
    assert house.bell.seen(anna, HOME, NOW)
    assert not house.bell.would_learn(anna, HOME)
    assert house.bell.would_learn(Account("bob", (LAST_USED,)), HOME)
    assert house.bell.would_learn(anna, Address.parse("192.0.2.8"))
    assert not house.bell.would_learn(anna, Address.parse("198.51.100.1")), "the rules refuse it"
    assert not house.bell.would_learn(Account("carol", (CONFIGURED,)), HOME), "it is not noted"
    house.now += TTL + 1
    assert house.bell.would_learn(anna, HOME), "it was forgotten"


def test_the_last_used_addresses_are_rung_until_they_are_too_old(house: House) -> None:
    anna = Account("anna", (LAST_USED,))
    assert house.bell.seen(anna, HOME, NOW)
    house.now += 10
    assert house.bell.seen(anna, OFFICE, house.now)
    assert house.noted == [("anna", HOME), ("anna", OFFICE)]
    house.bell.ring(anna, house.now)
    calls = house.calls()
    assert [target.host for target in calls] == [OFFICE, HOME]
    assert [call.until - 3600 for call in calls.values()] == [NOW + 10 + TTL, NOW + TTL]
    for call in calls.values():
        house.schedule.done(call, RingOutcome.SENT, house.now)
    house.rings.clear()
    house.now = NOW + TTL + 5
    house.bell.ring(anna, house.now)
    assert [target.host for target in house.calls()] == [OFFICE]
    house.now += TTL
    house.bell.ring(anna, house.now)
    assert house.rings[-1] == Ring("anna", None, RingOutcome.NO_TARGET)


def test_a_target_of_both_kinds_is_rung_once_and_never_too_old(house: House) -> None:
    anna = Account("anna", (LAST_USED, CONFIGURED))
    house.bell.seen(anna, OFFICE, NOW)
    house.bell.ring(anna, NOW)
    assert [(target, call.until) for target, call in house.calls().items()] == [(CONFIGURED, inf)]
    assert house.rings == []


def test_a_login_at_a_configured_target_hides_no_older_one(house: House) -> None:
    anna = Account("anna", (LAST_USED, CONFIGURED))
    house.bell.seen(anna, HOME, NOW)
    house.now += 1
    house.bell.seen(anna, OFFICE, house.now)
    house.bell.ring(anna, house.now)
    assert [target.host for target in house.calls()] == [OFFICE, HOME]


def test_nobody_is_rung_for_an_account_that_is_switched_off(house: House) -> None:
    house.bell.ring(Account("anna", (CONFIGURED,), enabled=False), NOW)
    assert (house.calls(), house.rings) == ({}, [])


def test_an_address_that_is_never_called_is_not_even_noted(house: House) -> None:
    anna = Account("anna", (LAST_USED,))
    for text in ("127.0.0.1", "224.0.0.1", "::", "255.255.255.255", "169.254.1.1"):
        assert not house.bell.seen(anna, Address.parse(text), NOW)
    assert (house.noted, len(house.book)) == ([], 0)


def test_the_rules_count_again_when_it_rings() -> None:
    # The store of an earlier run may hold what the configuration no longer permits.
    house = House("192.0.2.0/24")
    anna = Account("anna", (LAST_USED,))
    house.book.see("anna", HOME, NOW + 3600)
    house.bell.ring(anna, NOW)
    target = Target(HOME, 79, Transport.TCP)
    assert (house.calls(), house.rings) == ({}, [Ring("anna", target, RingOutcome.NOT_ALLOWED)])
    (step,) = house.bell.explain(anna, NOW)
    assert (step.verdict, step.reason) == (Verdict.NOT_ALLOWED, "denied")


@pytest.mark.parametrize("place", [LAST_USED, Target(HOME, 79, Transport.TCP)])
def test_a_login_ends_the_back_off_of_its_address(house: House, place: Target | LastUsed) -> None:
    anna = Account("anna", (place, CONFIGURED))
    house.bell.seen(anna, HOME, NOW)
    house.bell.ring(anna, NOW)
    for call in house.calls().values():
        house.schedule.done(call, RingOutcome.REFUSED, NOW)
    house.now += 5
    assert house.calls() == {}
    house.bell.seen(anna, HOME, house.now)
    assert [target.host for target in house.calls()] == [HOME]


def test_where_no_last_used_address_is_rung_none_is_kept(house: House) -> None:
    assert house.bell.seen(Account("anna", (CONFIGURED,)), HOME, NOW)
    assert (house.noted, len(house.book)) == ([], 0)


def test_it_explains_target_by_target(house: House) -> None:
    anna = Account("anna", (CONFIGURED, NAMED, LAST_USED))
    ring = Step(origin=Origin.CONFIGURED, target="[2001:db8::7]:79", verdict=Verdict.RING)
    named = Step(origin=Origin.CONFIGURED, target="laptop.example.net:79/udp", verdict=Verdict.RING)
    assert house.bell.explain(anna, NOW) == (
        ring,
        named,
        Step(origin=Origin.LAST_USED, verdict=Verdict.NO_ADDRESS),
    )
    house.bell.seen(anna, HOME, NOW)
    house.bell.ring(anna, NOW)
    calls = house.calls()
    house.schedule.done(calls[CONFIGURED], RingOutcome.SENT, NOW)
    house.schedule.done(calls[NAMED], RingOutcome.NAME_UNKNOWN, NOW)
    house.now += 0.5
    assert [
        (step.verdict, step.wait, step.last, step.seen)
        for step in house.bell.explain(anna, house.now)
    ] == [
        (Verdict.HELD_BACK, 1_500_000, RingOutcome.SENT, None),
        (Verdict.BACKING_OFF, 29_500_000, RingOutcome.NAME_UNKNOWN, None),
        (Verdict.IN_FLIGHT, None, None, 500_000),
    ]


def test_it_explains_the_wait_of_an_address_too(house: House) -> None:
    anna = Account("anna", (LAST_USED,))
    house.bell.seen(anna, HOME, NOW)
    house.bell.ring(anna, NOW)
    for call in house.calls().values():
        house.schedule.done(call, RingOutcome.SENT, NOW)
    house.now += 0.5
    (step,) = house.bell.explain(anna, house.now)
    assert (step.verdict, step.wait, step.seen) == (Verdict.HELD_BACK, 1_500_000, 500_000)


def test_it_explains_that_an_account_is_switched_off() -> None:
    house = House("192.0.2.0/24")
    off = Account("anna", (CONFIGURED, LAST_USED), enabled=False)
    house.book.see("anna", OFFICE, NOW + 3600)
    house.book.see("anna", HOME, NOW + 3600)
    steps = house.bell.explain(off, NOW)
    assert [(step.verdict, step.reason) for step in steps] == [(Verdict.DISABLED, None)] * 3
    nowhere = Account("bob", (LAST_USED,), enabled=False)
    assert [step.verdict for step in house.bell.explain(nowhere, NOW)] == [Verdict.DISABLED]


def test_it_explains_an_address_that_is_configured_too(house: House) -> None:
    anna = Account("anna", (LAST_USED, CONFIGURED))
    house.bell.seen(anna, OFFICE, NOW)
    bell = house.with_rules(AddressRules((), (Network.parse("::/0"),), ()))
    last_used, configured = bell.explain(anna, NOW)
    assert (last_used.verdict, configured.verdict) == (Verdict.RING, Verdict.RING)
    assert (last_used.reason, configured.reason) == (None, None)


def test_an_address_that_newer_ones_push_out_waits_no_longer(house: House) -> None:
    anna = Account("anna", (LAST_USED, LastUsed(790, Transport.UDP)))
    house.bell.seen(anna, HOME, NOW)
    house.bell.ring(anna, NOW)
    for call in house.calls().values():
        house.schedule.done(call, RingOutcome.REFUSED, NOW)
    house.rings.clear()
    for number in range(3):
        house.bell.seen(anna, Address.parse(f"198.51.100.{number}"), NOW)
    assert (house.rings, house.schedule.pending) == ([], 2)
    house.bell.seen(anna, Address.parse("198.51.100.3"), NOW)
    assert {ring.target for ring in house.rings} == {
        Target(HOME, 79, Transport.TCP),
        Target(HOME, 790, Transport.UDP),
    }
    assert {ring.outcome for ring in house.rings} == {RingOutcome.EXPIRED}
    assert house.schedule.pending == 0


def test_an_account_holds_no_more_states_than_it_has_addresses(house: House) -> None:
    anna = Account("anna", (LAST_USED,))
    for number in range(200):
        house.bell.seen(anna, Address.parse(f"198.51.100.{number}"), house.now)
        house.bell.ring(anna, house.now)
        for call in house.calls().values():
            house.schedule.done(call, RingOutcome.REFUSED, house.now)
        house.now += 0.1
    assert house.schedule.pending <= 4
    assert house.schedule.backing_off <= 4


def test_another_account_that_waits_there_is_not_given_up(house: House) -> None:
    anna, liar = Account("anna", (LAST_USED,)), Account("liar", (LAST_USED,))
    for account in (anna, liar):
        house.bell.seen(account, HOME, NOW)
        house.bell.ring(account, NOW)
    for call in house.calls().values():
        house.schedule.done(call, RingOutcome.REFUSED, NOW)
    for number in range(4):
        house.bell.seen(liar, Address.parse(f"198.51.100.{number}"), NOW)
    assert list(house.schedule.waiting()) == ["anna"]
    assert house.schedule.backing_off == 1


def test_a_login_that_another_account_forged_delays_no_configured_target(house: House) -> None:
    liar, anna = Account("liar", (LAST_USED,)), Account("anna", (CONFIGURED,))
    house.bell.seen(liar, OFFICE, NOW)
    house.bell.ring(liar, NOW)
    for call in house.calls().values():
        house.schedule.done(call, RingOutcome.REFUSED, NOW)
    (step,) = house.bell.explain(anna, NOW)
    assert step.verdict is Verdict.RING
    house.bell.ring(anna, NOW)
    assert [(call.target, call.account) for call in house.calls().values()] == [
        (CONFIGURED, "anna")
    ]


def test_an_address_that_grew_too_old_in_a_sleep_is_not_called(house: House) -> None:
    anna = Account("anna", (LAST_USED,))
    house.bell.seen(anna, HOME, NOW)
    house.bell.ring(anna, NOW)
    for call in house.calls().values():
        house.schedule.done(call, RingOutcome.REFUSED, NOW)
    house.now += 36_000
    assert house.schedule.take(NOW + 31, 1) == []  # the other clock stood still
    assert house.rings[-1].outcome is RingOutcome.EXPIRED

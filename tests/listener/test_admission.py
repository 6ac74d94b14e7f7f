from itertools import count

import pytest
from harness.house import house

from mailbell.core.networks import Family, parse_address
from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.listener._accounts import AccountMap
from mailbell.listener._admission import ACCOUNT_OUTCOMES

ACCOUNTS = """
[[account]]
name = "work"
sources = ["192.0.2.25"]
[[account]]
name = "home"
addresses = ["198.51.100.7"]
"""


def test_anyone_may_ring_by_default_until_the_rate_is_used_up() -> None:
    it = house("[limits]\nburst = 3")
    assert [it.refusal("203.0.113.1") for _ in range(4)] == [None] * 3 + [Outcome.RATE_LIMITED]
    assert it.refusal("2001:db8::1") is None


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("192.0.2.1", None),
        ("192.0.2.66", Outcome.DENIED_SOURCE),
        ("198.51.100.1", Outcome.UNLISTED_SOURCE),
        ("2001:db8::1", Outcome.UNLISTED_SOURCE),
    ],
)
def test_lists(source: str, outcome: Outcome | None) -> None:
    it = house('[sources]\nallow = ["192.0.2.0/24"]\ndeny = ["192.0.2.66"]')
    assert it.refusal(source) is outcome


def test_who_is_not_on_the_list_takes_no_tokens() -> None:
    it = house('[sources]\nallow = ["192.0.2.0/24"]\n[limits]\nburst = 1')
    for _ in range(5):
        it.refusal("198.51.100.1")
    assert not any(
        table.entries
        for table in it.limiter.statistics().tables
        if not table.name.endswith("/listed")
    )


def test_an_accepted_notification_rings_and_is_counted_once() -> None:
    it = house()
    assert it.conclude(Outcome.ACCEPTED, "192.0.2.25") is Outcome.ACCEPTED
    assert [(n.account, n.source, n.time) for n in it.woken] == [("default", "192.0.2.25", 1234)]
    assert sum(it.counters.outcomes[Transport.TCP].values()) == 1
    assert it.lines == []


def test_source_and_called_address_choose_the_account() -> None:
    it = house(ACCOUNTS)
    assert it.admission.needs_local_address
    it.conclude(Outcome.ACCEPTED, "192.0.2.25", "203.0.113.9")
    it.conclude(Outcome.ACCEPTED, "203.0.113.50", "198.51.100.7")
    assert [n.account for n in it.woken] == ["work", "home"]


def test_a_notification_for_nobody_is_counted_as_such_and_rings_nobody() -> None:
    it = house(ACCOUNTS)
    assert it.conclude(Outcome.ACCEPTED, "203.0.113.1") is Outcome.UNKNOWN_ACCOUNT
    assert it.woken == []
    assert it.counters.outcomes[Transport.TCP][Outcome.UNKNOWN_ACCOUNT] == 1
    assert it.counters.outcomes[Transport.TCP][Outcome.ACCEPTED] == 0


def test_a_refusal_is_counted_and_logged_with_its_bytes_escaped() -> None:
    it = house()
    assert it.conclude(Outcome.FINGER_QUERY, "192.0.2.25") is Outcome.FINGER_QUERY
    assert it.counters.outcomes[Transport.TCP][Outcome.FINGER_QUERY] == 1
    assert it.lines == [
        r'event=refused outcome=finger_query transport=tcp source=192.0.2.25 data="x\r\n"'
    ]
    assert it.woken == []


def test_the_last_of_many_counts_although_a_limit_forbade_to_read_it() -> None:
    it = house()
    it.conclude(Outcome.RATE_LIMITED, "192.0.2.25")
    assert it.woken == [], "a stranger who never rang wakes nobody by flooding"
    it.conclude(Outcome.ACCEPTED, "192.0.2.25")
    it.conclude(Outcome.RATE_LIMITED, "192.0.2.25")
    it.hub.tick(1.0)
    assert [n.count for n in it.woken] == [1, 1]
    assert it.counted() == {Outcome.RATE_LIMITED: 2, Outcome.ACCEPTED: 1}


@pytest.mark.parametrize(
    "limit",
    [Outcome.RATE_LIMITED, Outcome.TOO_MANY_CONNECTIONS, Outcome.TOO_MANY_FROM_SOURCE],
)
def test_each_limit_leaves_the_last_notification_of_a_known_sender(limit: Outcome) -> None:
    it = house()
    it.conclude(limit, "192.0.2.25")
    assert it.woken == []
    it.conclude(Outcome.ACCEPTED, "192.0.2.25")
    it.conclude(limit, "192.0.2.25")
    it.hub.tick(1.0)
    assert len(it.woken) == 2
    assert it.counted() == {limit: 2, Outcome.ACCEPTED: 1}


def test_a_source_that_no_account_belongs_to_proves_nothing() -> None:
    it = house(ACCOUNTS)
    it.conclude(Outcome.ACCEPTED, "203.0.113.1")
    assert not it.gate(Family.IPV4).visitor(parse_address("203.0.113.1")[1]).known
    it.conclude(Outcome.ACCEPTED, "203.0.113.1", "198.51.100.7")
    assert it.gate(Family.IPV4).visitor(parse_address("203.0.113.1")[1]).known


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("64:ff9b::192.0.2.1", None),
        ("2001:db8:64::192.0.2.1", None),
        ("64:ff9b::192.0.2.66", Outcome.DENIED_SOURCE),
        ("2001:db8:64::192.0.2.66", Outcome.DENIED_SOURCE),
        ("64:ff9b::198.51.100.1", Outcome.UNLISTED_SOURCE),
        ("2001:db8:65::192.0.2.1", Outcome.UNLISTED_SOURCE),
        ("64:ff9b::203.0.113.9", None),
        ("2001:db8:64::203.0.113.9", Outcome.UNLISTED_SOURCE),
        ("203.0.113.9", Outcome.UNLISTED_SOURCE),
    ],
)
def test_the_lists_hold_for_ipv4_sources_behind_a_translator(
    source: str, outcome: Outcome | None
) -> None:
    it = house(
        '[sources]\nallow = ["192.0.2.0/24", "64:ff9b::203.0.113.9"]\ndeny = ["192.0.2.66"]\n'
        'nat64 = ["2001:db8:64::/96"]'
    )
    assert it.refusal(source) is outcome


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("127.0.0.1", "64:ff9b::127.0.0.1"),
        ("127.0.0.1", "2001:db8:64::127.0.0.1"),
        ("192.168.1.7", "64:ff9b::192.168.1.7"),
        ("10.0.0.0/8", "64:ff9b::10.1.2.3"),
    ],
)
def test_an_address_that_the_kernel_keeps_out_comes_in_by_no_other_form(
    written: str, source: str
) -> None:
    it = house(f'[sources]\nallow = ["{written}"]\nnat64 = ["2001:db8:64::/96"]')
    assert it.refusal(source) is Outcome.UNLISTED_SOURCE


def test_the_account_of_an_ipv4_source_is_found_behind_a_translator() -> None:
    it = house(ACCOUNTS + '[[account]]\nname = "six"\nsources = ["::/0"]')
    it.conclude(Outcome.ACCEPTED, "64:ff9b::192.0.2.25")
    it.conclude(Outcome.ACCEPTED, "64:ff9b::192.0.2.26")
    assert [n.account for n in it.woken] == ["work", "six"]


def test_what_is_merged_into_a_waiting_wakeup_tells_the_latest_origin() -> None:
    it = house()
    for source in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        it.conclude(Outcome.ACCEPTED, source)
    state = it.hub.state("default")
    assert not state.merge(it.meet("192.0.2.4"), 1.0, 1300), "the wake-up is due"
    assert state.merge(it.meet("192.0.2.5"), 0.5, 1200), "it came earlier than the others"
    it.hub.tick(1.0)
    assert [(n.count, n.source) for n in it.woken] == [(1, "192.0.2.1"), (3, "192.0.2.3")]


def test_what_is_refused_and_what_is_accepted_at_one_moment_have_one_time() -> None:
    it = house(stamp=count().__next__)
    it.conclude(Outcome.ACCEPTED, "192.0.2.1")
    it.conclude(Outcome.RATE_LIMITED, "192.0.2.1")
    it.conclude(Outcome.ACCEPTED, "192.0.2.2")
    it.hub.tick(1.0)
    assert [(n.count, n.source) for n in it.woken] == [(1, "192.0.2.1"), (2, "192.0.2.2")]


@pytest.mark.parametrize(
    ("source", "outcome"),
    [("203.0.113.1", Outcome.UNKNOWN_ACCOUNT), ("192.0.2.25", Outcome.RATE_LIMITED)],
)
def test_of_a_caller_that_is_known_no_account_is_looked_up(
    monkeypatch: pytest.MonkeyPatch, source: str, outcome: Outcome
) -> None:
    """What is refused would cost more than a good line, whose account is known by then."""
    it = house('[[account]]\nname = "work"\nsources = ["192.0.2.25"]')
    caller = it.meet(source)
    monkeypatch.setattr(AccountMap, "lookup", None)
    said = Outcome.ACCEPTED if outcome is Outcome.UNKNOWN_ACCOUNT else outcome
    assert it.admission.conclude(said, caller, 0.0) is outcome


def test_who_is_barred_is_met_without_a_look_at_limits_and_accounts() -> None:
    it = house('[sources]\ndeny = ["192.0.2.66", "192.0.2.67"]')
    one, other = it.meet("192.0.2.66"), it.meet("192.0.2.67")
    assert one.visitor is other.visitor
    assert not one.accounts
    assert it.conclude(Outcome.DENIED_SOURCE, "192.0.2.66") is Outcome.DENIED_SOURCE
    assert it.counted() == {Outcome.DENIED_SOURCE: 1}
    assert it.woken == []


def test_the_outcomes_that_reach_an_account() -> None:
    assert sorted(ACCOUNT_OUTCOMES) == [
        Outcome.ACCEPTED, Outcome.RATE_LIMITED,
        Outcome.TOO_MANY_CONNECTIONS, Outcome.TOO_MANY_FROM_SOURCE,
    ]  # fmt: skip


def test_a_caller_has_the_state_of_its_account_if_it_is_one() -> None:
    both = "".join(
        f'[[account]]\nname = "{name}"\nsources = ["{sources}"]\n'
        for name, sources in (("work", '192.0.2.25", "192.0.2.26'), ("home", "192.0.2.26"))
    )
    it = house(both)
    one, two, none = map(it.meet, ("192.0.2.25", "192.0.2.26", "192.0.2.27"))
    assert [one.accounts, two.accounts, none.accounts] == [("work",), ("work", "home"), ()]
    assert one.only is it.hub.state("work")
    assert two.only is None
    assert none.only is None


def test_a_call_that_was_not_read_is_for_the_account_of_the_called_address() -> None:
    it = house(ACCOUNTS)
    it.conclude(Outcome.ACCEPTED, "203.0.113.50", "198.51.100.7")
    it.conclude(Outcome.RATE_LIMITED, "203.0.113.50", "203.0.113.9")
    it.hub.tick(1.0)
    assert [n.account for n in it.woken] == ["home"]
    it.conclude(Outcome.RATE_LIMITED, "203.0.113.50", "198.51.100.7")
    it.hub.tick(2.0)
    assert [n.account for n in it.woken] == ["home", "home"]


def test_each_moment_has_the_time_of_its_first_call() -> None:
    it = house(stamp=count().__next__)
    caller = it.meet("192.0.2.1")
    for now in (0.0, 5.0, 5.0, 10.0):
        it.admission.accept(caller, now)
    it.hub.tick(20.0)
    assert [(n.count, n.time) for n in it.woken] == [(1, 1), (1, 2), (2, 3)]

from math import inf

import pytest
from harness.reception import ANNA, BOB, ROOT, STRANGER, Front
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._late_rings import LATE
from mailbell.sender._requests import IGNORED, Malformed, NewMail, Request, Seen
from mailbell.sender._speakers import (
    ADDRESS_BURST,
    CONNECTION_BURST,
    TRUSTED_BURST,
    USER_BURST,
    Origin,
    Speaker,
)

PERMIT = 'event=not_permitted origin=hook uid={} account=bob why="{} listen.trusted"'
HERE = Address.parse("192.0.2.9")
LOOPBACK = Address.parse("127.0.0.1")


@pytest.mark.parametrize(
    ("request_", "uid", "outcome"),
    [
        (NewMail("anna"), ROOT, "accepted"),
        (NewMail("anna@EXAMPLE.org", "INBOX"), ROOT, "accepted"),
        (NewMail("anna"), ANNA, "accepted"),
        (Seen("anna", HERE), ANNA, "accepted"),
        (Seen("anna", HERE), ROOT, "accepted"),
        (IGNORED, STRANGER, "accepted"),
        (NewMail("carol"), ROOT, "unknown_account"),
        (NewMail("carol"), ANNA, "unknown_account"),
        (NewMail("a b"), ROOT, "unknown_account"),
        (NewMail("x" * 400), ROOT, "unknown_account"),
        (NewMail("bob"), ANNA, "not_permitted"),
        (NewMail("gone"), ANNA, "not_permitted"),
        (Seen("bob", HERE), ANNA, "not_permitted"),
        (NewMail("anna"), STRANGER, "not_permitted"),
        (NewMail("gone"), ROOT, "disabled"),
        (Seen("gone", HERE), ROOT, "disabled"),
        (NewMail("anna", "Junk"), ROOT, "quiet_folder"),
        (NewMail("anna", "INBOX.Sent"), ANNA, "quiet_folder"),
        (Seen("anna", LOOPBACK), ROOT, "refused_address"),
        (Seen("anna", LOOPBACK), ANNA, "refused_address"),
        (Malformed("why"), ROOT, "malformed"),
        (Malformed("why", InputOutcome.TOO_LONG), ANNA, "too_long"),
    ],
)
def test_every_request_has_one_counted_outcome(
    request_: Request | Malformed, uid: int, outcome: str
) -> None:
    it = Front()
    assert it.take(request_, uid) == outcome
    assert it.counted() == {InputOutcome(outcome): 1}
    passed_on = outcome == "accepted" and request_ != IGNORED
    assert bool(it.bell.rung or it.bell.logins) is passed_on
    assert len(it.lines) == (outcome != "accepted")


def test_what_is_accepted_reaches_the_bell_by_the_name_of_the_account() -> None:
    it = Front()
    it.take(NewMail("anna"))
    it.take(Seen("anna@example.ORG", HERE))
    assert it.bell.rung == ["anna@example.org"]
    assert it.bell.logins == [("anna@example.org", "192.0.2.9")]


def test_the_bell_gets_the_time_of_each_input() -> None:
    it = Front()
    it.take(Seen("anna", HERE), ANNA, now=10.0)
    for _ in range(USER_BURST + 1):  # two over the limit: one rings at once, and one later
        it.take(NewMail("anna"), ANNA, now=10.0)
    it.reception.ring_late(20.0)
    assert it.bell.times == [10.0] * (USER_BURST + 1) + [20.0]


@pytest.mark.parametrize("uid", [None, ANNA, ROOT])
def test_a_datagram_rings_anybody_and_tells_of_no_login(uid: int | None) -> None:
    it = Front()
    assert it.take(NewMail("bob"), uid, Origin.COMSAT) is InputOutcome.ACCEPTED
    assert it.take(Seen("bob", HERE), uid, Origin.COMSAT) is InputOutcome.NOT_PERMITTED
    assert (it.bell.rung, it.bell.logins) == (["bob"], [])


def test_cyrus_and_the_control_socket_speak_for_everybody() -> None:
    it = Front()
    for uid, origin in ((None, Origin.CYRUS), (STRANGER, Origin.CONTROL)):
        assert it.take(NewMail("bob"), uid, origin) is InputOutcome.ACCEPTED
        assert it.take(Seen("anna", HERE), uid, origin) is InputOutcome.ACCEPTED


def test_the_last_of_a_burst_rings_though_it_is_over_the_limit() -> None:
    it = Front()
    outcomes = [it.take(NewMail("anna"), ANNA) for _ in range(USER_BURST + 3)]
    assert outcomes[USER_BURST:] == [InputOutcome.RATE_LIMITED] * 3
    assert len(it.bell.rung) == USER_BURST + 1
    assert it.reception.ring_late(LATE / 2) == LATE
    assert it.reception.ring_late(LATE) == inf
    assert it.bell.rung == ["anna@example.org"] * (USER_BURST + 2)
    assert it.take(NewMail("bob"), BOB) is InputOutcome.ACCEPTED


def test_a_flood_over_the_limit_rings_no_more_than_once_an_interval() -> None:
    it = Front()
    now = 0.0
    outcomes = []
    for _ in range(10_000):
        now += 1e-4
        outcomes.append(it.take(NewMail("anna"), ANNA, now=now))
        it.reception.admit_connection(Speaker(ANNA, Origin.HOOK), now)
        it.reception.ring_late(now)
    refused = outcomes.count(InputOutcome.RATE_LIMITED)
    assert refused > 8000
    assert len(it.bell.rung) - (10_000 - refused) <= 2


def test_at_the_end_of_the_sender_none_waits_any_longer() -> None:
    it = Front()
    for _ in range(USER_BURST + 2):
        it.take(NewMail("anna"), ANNA)
    assert it.reception.ring_late(0.0, all_of_them=True) == inf
    assert len(it.bell.rung) == USER_BURST + 2


def test_events_that_ring_nobody_pass_the_users_limit_too() -> None:
    it = Front()
    outcomes = [it.take(IGNORED, ANNA) for _ in range(USER_BURST + 3)]
    assert outcomes == [InputOutcome.ACCEPTED] * USER_BURST + [InputOutcome.RATE_LIMITED] * 3
    assert it.bell.rung == []
    assert it.take(IGNORED, BOB) is InputOutcome.ACCEPTED


def test_a_user_who_is_not_trusted_tells_of_few_new_addresses() -> None:
    """Otherwise the sender would call any machine for any user, one after the other."""
    it = Front()
    addresses = [Address.parse(f"192.0.2.{number}") for number in range(50)]
    outcomes = [it.take(Seen("anna", address), ANNA) for address in addresses]
    assert outcomes[:ADDRESS_BURST] == [InputOutcome.ACCEPTED] * ADDRESS_BURST
    assert set(outcomes[ADDRESS_BURST:]) == {InputOutcome.RATE_LIMITED}
    assert len(it.bell.logins) == ADDRESS_BURST
    # What is known may be told of again, and what is refused takes nothing from the others.
    assert it.take(Seen("anna", addresses[0]), ANNA) is InputOutcome.ACCEPTED
    assert it.take(Seen("anna", LOOPBACK), ANNA) is InputOutcome.REFUSED_ADDRESS
    assert it.take(Seen("bob", HERE), BOB) is InputOutcome.ACCEPTED
    assert it.take(Seen("anna", addresses[8]), ANNA, now=61.0) is InputOutcome.ACCEPTED
    assert it.take(Seen("anna", addresses[9]), ANNA, now=61.0) is InputOutcome.RATE_LIMITED


def test_a_mail_server_tells_of_all_addresses() -> None:
    it = Front()
    for number in range(500):
        address = Address.parse(f"192.0.2.{number % 250}")
        uid, origin = ((ROOT, Origin.HOOK), (None, Origin.CYRUS), (ANNA, Origin.CONTROL))[
            number % 3
        ]
        assert it.take(Seen("anna", address), uid, origin) is InputOutcome.ACCEPTED


def test_a_flood_of_logins_or_datagrams_is_dropped_over_the_limit() -> None:
    it = Front()
    for _ in range(USER_BURST + 3):
        it.take(Seen("anna", HERE), ANNA)
        it.take(NewMail("bob"), None, Origin.COMSAT)
    assert len(it.bell.logins) == len(it.bell.rung) == USER_BURST
    assert it.counted()[InputOutcome.RATE_LIMITED] == 6


@pytest.mark.uncounted
def test_a_trusted_user_may_tell_of_all_that_has_waited() -> None:
    it = Front()
    for _ in range(TRUSTED_BURST):
        it.take(NewMail("anna"))
    assert it.counted() == {InputOutcome.ACCEPTED: TRUSTED_BURST}


@pytest.mark.parametrize(
    ("request_", "uid", "line"),
    [
        (
            Malformed("not UTF-8"),
            ANNA,
            'event=malformed origin=hook uid=1000 why="not UTF-8"',
        ),
        (
            NewMail("c\n=", "J k"),
            ROOT,
            'event=unknown_account origin=hook uid=0 account="c\\n=" folder="J k"',
        ),
        (
            Seen("anna", LOOPBACK),
            ROOT,
            "event=refused_address origin=hook uid=0 account=anna address=127.0.0.1",
        ),
        (
            NewMail("bob"),
            ANNA,
            PERMIT.format(1000, "anna speaks for another account: write the user into"),
        ),
        (
            NewMail("bob"),
            STRANGER,
            PERMIT.format(4242, "no such user at the start: write the user into").replace(
                'trusted"', 'trusted, or restart"'
            ),
        ),
    ],
)
def test_the_log_says_who_and_what_to_do(
    request_: Request | Malformed, uid: int, line: str
) -> None:
    it = Front()
    it.take(request_, uid)
    assert it.lines == [line]


def test_the_log_says_that_a_datagram_tells_of_no_login() -> None:
    it = Front()
    it.take(Seen("bob", HERE), None, Origin.COMSAT)
    fields = "origin=comsat account=bob address=192.0.2.9"
    assert it.lines == [f'event=not_permitted {fields} why="anybody may forge a datagram"']


def test_a_refusal_is_no_warning() -> None:
    it = Front(prefixed=True)
    it.take(NewMail("carol"))
    assert it.lines == ["<6>event=unknown_account origin=hook uid=0 account=carol"]


def test_a_flood_of_one_refusal_hides_no_other() -> None:
    it = Front()
    for _ in range(1000):
        it.take(Malformed("x"), ANNA)
    before = len(it.lines)
    it.take(NewMail("bob"), ANNA)
    assert before < 50
    assert len(it.lines) == before + 1


@pytest.mark.parametrize(
    ("uid", "users", "rung"),
    [
        (ANNA, {ANNA: "anna"}, ["anna@example.org"]),
        (ANNA, {ANNA: "gone"}, []),
        (ANNA, {ANNA: "vmail"}, []),
        (STRANGER, {}, []),
    ],
)
def test_a_connection_over_the_limit_is_one_outcome_and_rings_the_own_account(
    uid: int, users: dict[int, str], rung: list[str]
) -> None:
    """It may carry the last notification of a burst, and is not read."""
    it = Front(users=users)
    speaker = Speaker(uid, Origin.HOOK)
    admitted = [it.reception.admit_connection(speaker, 0.0) for _ in range(CONNECTION_BURST)]
    assert all(admitted)
    assert not it.reception.admit_connection(speaker, 0.0)
    assert it.counted() == {InputOutcome.RATE_LIMITED: 1}
    assert it.bell.rung == rung
    why = 'why="too many connections of this user"'
    assert it.lines == [f"event=rate_limited origin=hook uid={uid} {why}"]


ACCOUNTS = ["anna", "anna@Example.org", "bob", "gone", "carol", "a b", ""]
ADDRESSES = [HERE, LOOPBACK]
REQUESTS = st.one_of(
    st.builds(NewMail, st.sampled_from(ACCOUNTS), st.sampled_from([None, "Junk", "INBOX"])),
    st.builds(Seen, st.sampled_from(ACCOUNTS), st.sampled_from(ADDRESSES)),
    st.just(IGNORED),
    st.just(Malformed("x")),
)
NAMES = {
    "anna": "anna@example.org",
    "anna@Example.org": "anna@example.org",
    "bob": "bob",
    "gone": "gone",
}
OWN = {ANNA: "anna@example.org", BOB: "bob"}


def model(request: Request | Malformed, uid: int, origin: Origin) -> InputOutcome:
    """Decide in the slow and obvious way, without limits on the rate."""
    if not isinstance(request, NewMail | Seen):
        return InputOutcome.ACCEPTED if request == IGNORED else InputOutcome.MALFORMED
    name = NAMES.get(request.account)
    login = isinstance(request, Seen)
    permitted = {
        Origin.HOOK: uid == ROOT or OWN.get(uid) == name,
        Origin.COMSAT: not login or name == "gone",
        Origin.CYRUS: True,
        Origin.CONTROL: True,
    }[origin]
    steps = [
        (name is None, InputOutcome.UNKNOWN_ACCOUNT),
        (not permitted, InputOutcome.NOT_PERMITTED),
        (name == "gone", InputOutcome.DISABLED),
        (isinstance(request, NewMail) and request.folder == "Junk", InputOutcome.QUIET_FOLDER),
        (isinstance(request, Seen) and request.address == LOOPBACK, InputOutcome.REFUSED_ADDRESS),
    ]
    return next((outcome for holds, outcome in steps if holds), InputOutcome.ACCEPTED)


@given(
    st.lists(
        st.tuples(REQUESTS, st.sampled_from([ROOT, ANNA, BOB, STRANGER]), st.sampled_from(Origin)),
        max_size=20,
    )
)
def test_requests_end_as_by_the_model(
    inputs: list[tuple[Request | Malformed, int, Origin]],
) -> None:
    it = Front()
    for request, uid, origin in inputs:
        assert it.take(request, uid, origin) is model(request, uid, origin)
    assert sum(it.counters.inputs.values()) == len(inputs)

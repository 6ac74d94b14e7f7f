"""What is written into inboxes, and what is read there."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.cluster import messages as m
from mailbell.cluster.inbox import Arrived, destination, entries, read
from mailbell.core.notification import Transport

NOW, TTL = 1_700_000_000.0, 1800.0
PLACE = m.Place(79, Transport.TCP)
CONFIGURED = "address 192.0.2.1 79 tcp"


def written(
    message: m.Ring | m.Login, logins: tuple[tuple[str, float], ...] = (), is_new: bool = False
) -> list[tuple[str, dict[str, str]]]:
    found = entries(
        message,
        logins=logins,
        is_new=is_new,
        prefix="a/1",
        owner=lambda target: f"owner of {target}",
        now=NOW,
        ttl=TTL,
    )
    return [(node, dict(fields)) for node, fields in found]


def arrived(message: m.Ring | m.Login, *args: object, **more: object) -> list[Arrived | None]:
    return [read(fields, NOW, TTL) for _, fields in written(message, *args, **more)]  # type: ignore[arg-type]


def test_a_ring_goes_to_the_owner_of_each_target() -> None:
    ring = m.Ring(7, "anna", (CONFIGURED,), (PLACE,))
    logins = (("192.0.2.2", NOW - 10), ("2001:db8::2", NOW - TTL))
    found = written(ring, logins)
    second = "address 192.0.2.2 79 tcp"
    assert [node for node, _ in found] == [f"owner of {CONFIGURED}", f"owner of {second}"]
    assert [read(fields, NOW, TTL) for _, fields in found] == [
        Arrived(m.Call("anna", CONFIGURED, None), ("a/1/7", CONFIGURED), 0.0),
        Arrived(m.Call("anna", second, TTL - 10), ("a/1/7", second), 0.0),
    ]
    assert [destination(fields) for _, fields in found] == [CONFIGURED, second]


def test_a_login_at_a_configured_target_is_no_second_target() -> None:
    ring = m.Ring(7, "anna", (CONFIGURED,), (PLACE,))
    assert len(written(ring, (("192.0.2.1", NOW),))) == 1


def test_what_was_rung_alone_is_not_rung_again() -> None:
    ring = m.Ring(7, "anna", (), (PLACE,), ("192.0.2.1",))
    found = written(ring, (("192.0.2.1", NOW), ("192.0.2.2", NOW)))
    assert [destination(fields) for _, fields in found] == ["address 192.0.2.2 79 tcp"]


def test_a_login_ends_the_back_off_of_its_targets() -> None:
    login = m.Login(
        7, "anna", "192.0.2.1", 0.0, False, (CONFIGURED,), (m.Place(80, Transport.UDP),)
    )
    targets = [CONFIGURED, "address 192.0.2.1 80 udp"]
    assert arrived(login, is_new=True) == [Arrived(m.Welcome(each), None, 0.0) for each in targets]
    assert [node for node, _ in written(login)] == [f"owner of {each}" for each in targets]


@pytest.mark.parametrize(("is_late", "is_new"), [(True, True), (True, False), (False, True)])
def test_only_a_late_login_that_the_engine_did_not_know_is_rung(
    is_late: bool, is_new: bool
) -> None:
    login = m.Login(7, "anna", "192.0.2.1", 100.0, is_late, (), (PLACE,))
    found = arrived(login, is_new=is_new)
    assert found[0] == Arrived(m.Welcome(CONFIGURED))
    calls = [m.Call("anna", CONFIGURED, TTL - 100)] if is_late and is_new else []
    assert [each.message for each in found[1:] if each] == calls


def test_what_is_no_address_in_the_book_is_left_out() -> None:
    assert (
        written(m.Ring(7, "anna", (), (PLACE,)), (("localhost", NOW), ("192.0.2.1%eth0", NOW)))
        == []
    )


FIELDS = {
    "account": "anna", "target": CONFIGURED, "ring": "a/1/7", "since": "1", "until": "inf",
}  # fmt: skip


def test_the_time_in_the_inbox() -> None:
    found = read({**FIELDS, "since": str(NOW - 2.5)}, NOW, TTL)
    assert found is not None
    assert found.waited == pytest.approx(2.5)
    later = read({**FIELDS, "since": str(NOW + 2.5)}, NOW, TTL)
    assert later is not None
    assert later.waited == 0


@pytest.mark.parametrize(
    "change",
    [
        {"target": "anything"},
        {"account": ""},
        {"account": "x" * 500},
        {"since": "now"},
        {"until": "nan"},
        {"until": "-inf"},
        {"until": str(NOW)},
        {"until": str(NOW + 1e10)},
        {"login": "anything", "target": "anything"},
    ],
    ids=str,
)
def test_what_no_node_wrote_does_not_arrive(change: dict[str, str]) -> None:
    assert read({**FIELDS, **change}, NOW, TTL) is None


@pytest.mark.parametrize("missing", ["account", "target", "ring", "since", "until"])
def test_a_field_that_is_missing(missing: str) -> None:
    assert read({name: text for name, text in FIELDS.items() if name != missing}, NOW, TTL) is None


def test_an_entry_without_a_target_has_none() -> None:
    assert (destination({}), read({}, NOW, TTL)) == ("", None)


TEXTS = st.text(max_size=20) | st.sampled_from([*FIELDS.values(), "nan", "1e999", "0"])


@given(st.dictionaries(st.sampled_from([*FIELDS, "login"]), TEXTS))
def test_whatever_is_read_can_be_said(fields: dict[str, str]) -> None:
    found = read(fields, NOW, TTL)
    if found is not None:
        assert m.decode_from_companion(m.encode(found.message)) == found.message
        assert 0 <= found.waited < math.inf


def test_a_login_that_ends_in_less_than_a_second_counts_and_one_far_away_does_not() -> None:
    years = 10.0 * 365 * 86_400
    soon = read({**FIELDS, "until": str(NOW + 0.5)}, NOW, TTL)
    assert soon is not None
    assert soon.message == m.Call("anna", CONFIGURED, 0.5)
    assert read({**FIELDS, "until": str(NOW + years)}, NOW, TTL) is None
    assert read({**FIELDS, "until": str(NOW + years - 1)}, NOW, TTL) is not None


@pytest.mark.parametrize(("since", "waited"), [(0.5, 0.5), (1e12, 0.0), (0.0, 0.0)])
def test_who_waited_so_long_that_it_is_no_time_waited_not_at_all(
    since: float, waited: float
) -> None:
    found = read({**FIELDS, "since": str(NOW - since)}, NOW, TTL)
    assert found is not None
    assert found.waited == waited


def test_what_waited_for_ten_years_waited_not_at_all() -> None:
    years = 10.0 * 365 * 86_400
    found = [read({**FIELDS, "since": str(NOW - years + more)}, NOW, TTL) for more in (0, 1)]
    assert [each and each.waited for each in found] == [0.0, years - 1]

"""Events as Dovecot 2.4 wrote them, and everything that is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._dovecot_event import parse_event_untrusted
from mailbell.sender._line_decoder import MAX_EVENT
from mailbell.sender._requests import IGNORED, Malformed, NewMail, Request, Seen

SIEVE = "sieve_action_finished"
DELIVERY = "mail_delivery_finished"
LOGIN = "auth_request_finished"
HERE = "192.0.2.9"


def event(name: object, **fields: object) -> bytes:
    whole = {
        "event": name,
        "hostname": "mail",
        "start_time": "2026-11-26T06:00:00.000000Z",
        "end_time": "2026-11-26T06:00:00.100000Z",
        "categories": ["lmtp", "storage"],
        "fields": {"duration": 1234, "session": "abc", "message_subject": "Grüße", **fields},
    }
    return json.dumps(whole, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (event(SIEVE, user="anna", fileinto_mailbox_name="INBOX"), NewMail("anna", "INBOX")),
        (event(SIEVE, user="anna", fileinto_mailbox_name="Junk"), NewMail("anna", "Junk")),
        (event(SIEVE, user="anna", action_name="redirect"), IGNORED),
        (event(DELIVERY, user="anna@example.org"), NewMail("anna@example.org")),
        (event(DELIVERY, user="anna", error="Quota exceeded"), IGNORED),
        (event(LOGIN, user="anna", success="yes", remote_ip=HERE, protocol="imap"), "seen"),
        (event(LOGIN, user="anna", success="yes", remote_ip=HERE, service="pop3"), "seen"),
        (event(LOGIN, user="anna", success="yes", remote_ip=HERE), "seen"),
        (event(LOGIN, user="anna", success=True, remote_ip=f"::ffff:{HERE}"), "seen"),
        # a failure, another's login, a login that looks for no mail, one from within the server
        (event(LOGIN, user="anna", remote_ip=HERE, protocol="imap"), IGNORED),
        (event(LOGIN, user="anna", success="no", remote_ip=HERE), IGNORED),
        (event(LOGIN, user="anna", success=False, remote_ip=HERE), IGNORED),
        (event(LOGIN, user="anna", success=1, remote_ip=HERE), IGNORED),
        (event(LOGIN, user="anna", success=1.0, remote_ip=HERE), IGNORED),
        (event(LOGIN, user="anna", success="yes", remote_ip=HERE, master_user="root"), IGNORED),
        (event(LOGIN, user="anna", success="yes", remote_ip=HERE, protocol="submission"), IGNORED),
        (event(LOGIN, user="anna", success="yes", remote_ip=HERE, service="smtp"), IGNORED),
        (event(LOGIN, user="anna", success="yes", protocol="imap"), IGNORED),
        (event("imap_command_finished", user="anna"), IGNORED),
        (b'{"event": "anything"}', IGNORED),
        (b'{"event": "anything", "fields": {}, "more": [[[{}]]]}', IGNORED),
    ],
)
def test_an_event_asks(line: bytes, request_: Request | str) -> None:
    expected = Seen("anna", Address.parse(HERE)) if request_ == "seen" else request_
    assert parse_event_untrusted(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"{}",
        b"{}{}",
        b'{"event": null}',
        b'{"event": 5}',
        b'{"event": "x", "fields": []}',
        b'{"event": "x", "fields": null}',
        b'{"event": "x"} trailing',
        b'{"event": "x", "event2": 01}',
        b'{"event": "x", "y": "\xff"}',
        b'{"event": "x", "y": "\0"}',
        event(DELIVERY),
        event(DELIVERY, user=""),
        event(DELIVERY, user=5),
        event(SIEVE, fileinto_mailbox_name="INBOX"),
        event(LOGIN, success="yes", remote_ip=HERE),
        event(LOGIN, user="anna", success="yes", remote_ip="nowhere"),
        event(LOGIN, user="anna", success="yes", remote_ip="/run/socket"),
        b'{"event":' + b"[" * 16_000,
        b'{"event": "x", "fields": {"user": ' + b'{"a":' * 2000,
        b"{" * MAX_EVENT,
    ],
)
def test_anything_else_is_malformed(line: bytes) -> None:
    assert isinstance(parse_event_untrusted(line), Malformed)


def test_depth_ends_in_no_exception() -> None:
    for depth in (100, 1000, 8000):
        deep = b"[" * depth + b"]" * depth
        parse_event_untrusted(b'{"event": "x", "y": ' + deep + b"}")
        parse_event_untrusted(b'{"event": "x", "fields": {"user": ' + deep + b"}}")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"event": "x", "y": "\0"}', "a zero byte"),
        (b'{"event": "x", "y": "\xff"}', "not UTF-8"),
        (b"{", "not an event in JSON"),
        (event(5), "not an event in JSON"),
        (event(DELIVERY), "an event without a user"),
        (b'{"event": "mail_delivery_finished"}', "an event without a user"),
        (event(SIEVE, fileinto_mailbox_name="INBOX"), "an event without a user"),
        (
            event(LOGIN, success="yes", remote_ip=HERE),
            "a login without an account or a numeric address",
        ),
    ],
)
def test_it_says_what_is_wrong(line: bytes, why: str) -> None:
    assert parse_event_untrusted(line) == Malformed(why, InputOutcome.MALFORMED)


@pytest.mark.parametrize("sent", [b"\xff", b"\0"])
def test_bytes_that_are_no_text_are_refused_wherever_they_are(sent: bytes) -> None:
    assert isinstance(parse_event_untrusted(b'{"event": "x", "y": "' + sent + b'"}'), Malformed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["user", "error", "fileinto_mailbox_name", "success", "remote_ip", "master_user", "service"]
    ),
    JSON | st.sampled_from(["anna", "yes", HERE, "imap", ""]),
)


@given(st.sampled_from([SIEVE, DELIVERY, LOGIN, "x"]), FIELDS)
def test_whatever_a_value_is_the_answer_is_a_request_or_none(name: str, fields: object) -> None:
    line = json.dumps({"event": name, "fields": fields}).encode()
    found = parse_event_untrusted(line)
    if isinstance(found, NewMail):
        assert name in {SIEVE, DELIVERY}
    if isinstance(found, Seen):
        assert name == LOGIN

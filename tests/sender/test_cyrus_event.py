"""Datagrams as Cyrus 3.6 and 3.10 sent them, and everything that is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._cyrus_event import MAX_DATAGRAM, parse_datagram_untrusted
from mailbell.sender._requests import IGNORED, Malformed, NewMail, Request, Seen


def datagram(message: bytes, kind: bytes = b"EVENT", options: tuple[bytes, ...] = ()) -> bytes:
    head = [b"mailbell", kind, b"", b"", b"", b"%d" % len(options)]
    return b"\0".join([*head, *options, message, b""])


def new(
    user: str = "alice", mailbox: str = "user.alice", more: str = ";UIDVALIDITY=7;UID=1"
) -> bytes:
    message = {
        "event": "MessageNew",
        "user": user,
        "uri": f"imap://vm/{mailbox}{more}",
        "modseq": 5,
    }
    return datagram(json.dumps(message).encode())


def login(user: str = "alice", address: str = "192.0.2.10") -> bytes:
    message = {"event": "Login", "service": "pop3", "clientIP": address, "user": user}
    return datagram(json.dumps(message).encode())


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        (new(), NewMail("alice")),
        (new(more=""), NewMail("alice")),
        (new(mailbox="user/alice"), NewMail("alice")),
        (new("a.b", "user.a^b"), NewMail("a.b")),
        (new("a.b", "user/a.b"), NewMail("a.b")),
        (new("a.b@x.org", "x.org!user.a^b"), NewMail("a.b@x.org")),
        (new("a.b@x.org", "user.a^b@x.org"), NewMail("a.b@x.org")),
        (new("a.b@x.org", "user/a.b@x.org"), NewMail("a.b@x.org")),
        (new("a.b@x.org", "user/a.b%40x.org"), NewMail("a.b@x.org")),
        (new("jörg", "user.j%C3%B6rg"), NewMail("jörg")),
        (new("jörgöl", "user.j%C3%B6rg%C3%B6l"), NewMail("jörgöl")),
        (new(more=";UID=1\n"), NewMail("alice")),
        # other folders, shared ones, another's
        (new(mailbox="user.alice.Junk"), IGNORED),
        (new(mailbox="user.alice.Lists"), IGNORED),
        (new(mailbox="user/alice/Junk"), IGNORED),
        (new(mailbox="user.alice%2EJunk"), IGNORED),
        (new(mailbox="user.bob"), IGNORED),
        (new(mailbox="user.alic%"), IGNORED),
        (new(mailbox="user.alic%ff"), IGNORED),
        (new(mailbox="shared.news"), IGNORED),
        (new(mailbox="!user.alice"), IGNORED),
        (new(mailbox=""), IGNORED),
        (login(), Seen("alice", Address.parse("192.0.2.10"))),
        (login(address="::ffff:192.0.2.10"), Seen("alice", Address.parse("192.0.2.10"))),
        (login(address="2001:db8::1"), Seen("alice", Address.parse("2001:db8::1"))),
        (datagram(b'{"event":"Logout","user":"alice"}'), IGNORED),
        (datagram(b'{"event":"AclChange","user":"alice","aclSubject":"bob"}'), IGNORED),
        (datagram(b"From: a\nSubject: b\n", b"MAIL"), IGNORED),
        (b"mailbellmail\0MAIL\0\0alice\0INBOX\0000\0From: ...\n\0", IGNORED),
        (datagram(b'{"event":"Logout"}', options=(b"a", b"b")), IGNORED),
    ],
)
def test_a_datagram_asks(data: bytes, request_: Request) -> None:
    assert parse_datagram_untrusted(data) == request_


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 5,
        b"\0" * 100,
        new()[:-1],
        new() + b"\0",
        new()[:20],
        new().replace(b"\0000\0", b"\0001\0"),
        new().replace(b"\0000\0", b"\000-1\0"),
        new().replace(b"\0000\0", b"\000\xd9\xa0\0"),
        new().replace(b"\0000\0", b"\000999\0"),
        datagram(b""),
        datagram(b"{}"),
        datagram(b"[]"),
        datagram(b'{"event":5}'),
        datagram(b'{"event":"x","y":"\xff"}'),
        datagram(b'{"event":"MessageNew"}'),
        datagram(b'{"event":"MessageNew","user":"alice"}'),
        datagram(b'{"event":"MessageNew","uri":"imap://vm/user.alice"}'),
        datagram(b'{"event":"MessageNew","user":7,"uri":"imap://vm/user.alice"}'),
        new().replace(b"imap:", b"http:"),
        login(user=""),
        login(address=""),
        login(address="localhost"),
        datagram(b'{"event":' + b"[" * 10_000),
    ],
)
def test_anything_else_is_malformed(data: bytes) -> None:
    found = parse_datagram_untrusted(data)
    assert isinstance(found, Malformed)
    assert found.outcome is InputOutcome.MALFORMED


def test_a_datagram_has_a_length() -> None:
    rest = MAX_DATAGRAM - len(datagram(b'{"event":"x","y":""}'))
    longest = datagram(b'{"event":"x","y":"' + b"z" * rest + b'"}')
    assert parse_datagram_untrusted(longest) is IGNORED
    found = parse_datagram_untrusted(longest + b"\0")
    assert isinstance(found, Malformed)
    assert found.outcome is InputOutcome.TOO_LONG


PRINTABLE = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)


@given(PRINTABLE, PRINTABLE)
def test_no_folder_within_an_inbox_rings(user: str, folder: str) -> None:
    for separator in "./":
        assert parse_datagram_untrusted(new(user, f"user{separator}{user}")) == NewMail(user)
        within = f"user{separator}{user}{separator}{folder}"
        assert parse_datagram_untrusted(new(user, within)) is IGNORED


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\0" * (MAX_DATAGRAM + 1), Malformed("over 16384 bytes", InputOutcome.TOO_LONG)),
        (b"", Malformed("not a notification of Cyrus")),
        (datagram(b"{}"), Malformed("not an event in JSON")),
        (
            datagram(b'{"event":"MessageNew"}'),
            Malformed("new mail without a user or a mailbox"),
        ),
        (
            datagram(b'{"event":"Login","user":"alice"}'),
            Malformed("a login without an account or a numeric address"),
        ),
    ],
)
def test_the_log_says_why_a_datagram_is_none(data: bytes, found: Malformed) -> None:
    assert parse_datagram_untrusted(data) == found

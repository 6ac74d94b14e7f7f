"""Biff datagrams as Postfix, Exim and procmail sent them, and everything that is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._comsat import MAX_DATAGRAM, parse_datagram_untrusted
from mailbell.sender._requests import Malformed, NewMail


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        (b"bob@498\0", NewMail("bob")),  # Postfix
        (b"bob@522\n\0", NewMail("bob")),  # Exim, mbox
        (b"bob@-1\n\0", NewMail("bob")),  # Exim, maildir
        (b"alice@0:/var/mail/alice", NewMail("alice")),  # procmail
        (b"alice@0:/home/alice/Maildir/new", NewMail("alice", "Maildir")),
        # procmail into a Maildir, an MH folder, a folder of its own kind, an mbox
        (b"alice@0:/home/alice/Maildir/new/1795.346_0.mail", NewMail("alice", "Maildir")),
        (b"alice@0:/home/alice/Maildir/.Junk/new/1795.3_0.mail", NewMail("alice", ".Junk")),
        (b"alice@0:/home/alice/Mail/Junk/1", NewMail("alice", "Junk")),
        (b"alice@0:/home/alice/Mail/Junk/msg.JiB", NewMail("alice", "Junk")),
        (b"alice@0:/home/alice/Mail/Junk/msg", NewMail("alice", "msg")),
        (b"sent@0:/home/sent/Maildir/new/1795.346_0.mail", NewMail("sent", "Maildir")),
        (b"sent@0:/home/sent/new/1795.346_0.mail", NewMail("sent")),
        (b"1000@0:/var/mail/1000", NewMail("1000")),
        (b"alice@0:1", NewMail("alice", "1")),
        (b"alice@0:/home/alice/Maildir/.Junk/", NewMail("alice", ".Junk")),
        (b"alice@0:/home/alice/Maildir/.Junk/new/", NewMail("alice", ".Junk")),
        (b"alice@0:/home/alice/Maildir/.Junk/cur/", NewMail("alice", ".Junk")),
        (b"alice@0:/home/alice/Maildir/.Junk/tmp/", NewMail("alice", ".Junk")),
        (b"alice@0:/home/alice/mail/X", NewMail("alice", "X")),
        (b"alice@0:new/1795.346_0.mail", NewMail("alice")),
        (b"alice@0:Junk/1", NewMail("alice", "Junk")),
        (b"alice@0:/home/alice/mail/Junk", NewMail("alice", "Junk")),
        (b"alice@0:Junk/.", NewMail("alice", "Junk")),
        (b"alice@0:", NewMail("alice")),
        (b"alice@0:/", NewMail("alice")),
        (b"alice@0:new", NewMail("alice")),
        (b"sent@0:/home/sent/Maildir/", NewMail("sent", "Maildir")),
        (b"sent@0:/var/mail/sent", NewMail("sent")),
        (b"alice@0:/home/a@1:b/Sent Items", NewMail("alice", "Sent Items")),
        (b"bob@example.org@498", NewMail("bob@example.org")),
        (b"bob@1und1.example@498", NewMail("bob@1und1.example")),
        (b"bob@498", NewMail("bob")),
        (b"bob@498\n", NewMail("bob")),
    ],
)
def test_a_datagram_says_who_has_mail_and_in_which_folder(data: bytes, request_: NewMail) -> None:
    assert parse_datagram_untrusted(data) == request_


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"bob",
        b"bob@",
        b"@498",
        b"bob@x",
        b"bob@498:a\nb",
        b"bob@498\0\0",
        b"bob@498\n\n\0",
        b"bob@498 ",
        b"b b@498",
        b"bob@\xd9\xa3",  # a digit of another script
        b"bob\0@498",
        b"bob@498\x7f",
        b"b\xffb@498",
        b"bob@" + b"1" * 21,
        b"new bob",
    ],
)
def test_anything_else_is_malformed(data: bytes) -> None:
    found = parse_datagram_untrusted(data)
    assert isinstance(found, Malformed)
    assert found.outcome is InputOutcome.MALFORMED


def test_a_datagram_has_a_length() -> None:
    longest = b"bob@0:/" + b"x" * (MAX_DATAGRAM - 7)
    assert parse_datagram_untrusted(longest) == NewMail("bob", "x" * (MAX_DATAGRAM - 7))
    found = parse_datagram_untrusted(longest + b"x")
    assert isinstance(found, Malformed)
    assert found.outcome is InputOutcome.TOO_LONG


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="@ "), min_size=1, max_size=8)


@given(
    NAMES.filter(str.isprintable),
    st.integers(-1, 1 << 40),
    st.sampled_from(["", "\n", "\0", "\n\0"]),
)
def test_every_server_is_understood(account: str, offset: int, end: str) -> None:
    data = f"{account}@{offset}{end}".encode()
    assert parse_datagram_untrusted(data) == NewMail(account)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"x" * (MAX_DATAGRAM + 1), Malformed("over 512 bytes", InputOutcome.TOO_LONG)),
        (b"\xff", Malformed("not UTF-8")),
        (b"bob", Malformed("not: ACCOUNT@OFFSET[:FOLDER]")),
    ],
)
def test_the_log_says_why_a_datagram_is_none(data: bytes, found: Malformed) -> None:
    assert parse_datagram_untrusted(data) == found

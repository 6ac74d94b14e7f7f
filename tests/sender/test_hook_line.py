from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.sender._dovecot_event import parse_event_untrusted
from mailbell.sender._hook_line import parse_line_untrusted
from mailbell.sender._requests import Malformed, NewMail, Request, Seen

HERE = Address.parse("192.0.2.9")


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"new anna", NewMail("anna")),
        (b"new anna@example.org INBOX", NewMail("anna@example.org", "INBOX")),
        (b"new anna Sent Items", NewMail("anna", "Sent Items")),
        (b"new {x}", NewMail("{x}")),
        ("new jörg Entwürfe".encode(), NewMail("jörg", "Entwürfe")),
        (b"seen anna 192.0.2.9", Seen("anna", HERE)),
        (b"seen anna ::ffff:192.0.2.9", Seen("anna", HERE)),
        (b"seen anna ::FFFF:c000:209", Seen("anna", HERE)),
        (b"seen anna 2001:db8::9", Seen("anna", Address.parse("2001:db8::9"))),
        # Whether an address may be called is decided later.
        (b"seen anna 127.0.0.1", Seen("anna", Address.parse("127.0.0.1"))),
        (b"seen anna ::", Seen("anna", Address.parse("::"))),
    ],
)
def test_a_line_asks(line: bytes, request_: Request) -> None:
    assert parse_line_untrusted(line) == request_


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"new",
        b"new ",
        b"new  anna",
        b"new anna ",
        b"new anna  Junk",
        b"new anna Junk ",
        b"NEW anna",
        b"New anna",
        b"newanna",
        b" new anna",
        b"new\tanna",
        b"new anna\r",
        b"new an\0na",
        b"new anna \0",
        b"new anna\x7f",
        b"new \xff",
        b"new \xc3",
        b"new \xed\xa0\x80",  # half of a surrogate pair
        "new anna\u202ejunk".encode(),
        b"seen",
        b"seen anna",
        b"seen anna ",
        b"seen  192.0.2.9",
        b"seen anna laptop.example.net",
        b"seen anna 192.0.2.9 ",
        b"seen anna 192.0.2.9 79",
        b"seen anna 192.0.2.9:79",
        b"seen anna [2001:db8::9]",
        b"seen anna fe80::1%eth0",
        b"seen anna 192.0.2.009",
        b"seen anna 3221225993",
        b"seen anna 192.0.2.0/24",
        b"ring anna",
        b"GET / HTTP/1.1",
        b'["new", "anna"]',
        b'"new anna"',
        b' {"event": "x"}',
        b"{",
        b"{}",
        b"\0" * 512,
    ],
)
def test_anything_else_is_malformed(line: bytes) -> None:
    found = parse_line_untrusted(line)
    assert isinstance(found, Malformed)
    assert found.outcome is InputOutcome.MALFORMED
    assert found.why


def model(line: bytes) -> Request | None:
    """Read a line without JSON in the slow and obvious way; None: it is malformed."""
    try:
        words = line.decode("utf-8", "strict").split(" ")
    except UnicodeDecodeError:
        return None
    if "" in words[:2] + words[2:3] + words[-1:] or not all(word.isprintable() for word in words):
        return None
    verb, account, *rest = [*words, ""] if len(words) == 1 else words
    more = " ".join(rest)
    if verb == "new" and account and more == more.strip():
        return NewMail(account, more or None)
    if verb == "seen" and len(rest) == 1:
        with suppress(ValueError):
            return Seen(account, Address.parse(more))
    return None


WORDS = st.sampled_from(
    ["new", "seen", "anna", "", "Junk", "192.0.2.9", "::1", "\0", "ä", "\u2003x"]
)


@given(st.lists(WORDS, max_size=5).map(" ".join) | st.text(max_size=20))
def test_a_line_is_read_as_by_the_model(text: str) -> None:
    line = text.encode("utf-8", "surrogatepass")
    found = parse_line_untrusted(line)
    if not line.startswith(b"{"):
        assert (None if isinstance(found, Malformed) else found) == model(line)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"new \xff", "not UTF-8"),
        (b"new an\0na", "a character that is not printable"),
        (b"NEW anna", "neither new nor seen"),
        (b"new ", "not: new ACCOUNT [FOLDER]"),
    ],
)
def test_a_line_that_asks_nothing_is_told_why(line: bytes, why: str) -> None:
    assert parse_line_untrusted(line) == Malformed(why)


def test_what_begins_with_a_brace_is_an_event() -> None:
    assert parse_line_untrusted(b"{") == parse_event_untrusted(b"{")
    event = b'{"event":"MessageNew","user":"anna","mailbox":"INBOX"}'
    assert (
        parse_line_untrusted(event)
        == parse_event_untrusted(event)
        != Malformed("neither new nor seen")
    )

"""What a log says is told in words, and nothing else is."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailbell.logs.journal import format_value
from scripts.show.events import Line, Side, What, happening, pairs

FROM_POSTFIX = "Nov 27 00:56:27 mail postfix/"
PROGRAMS = (
    "postfix", "dovecot", "mailbell-sender", "mailbelld", "mailbell watch", "mailbell run",
    "Maildir", "another",
)  # fmt: skip


@pytest.mark.parametrize(
    ("program", "text", "side", "what", "about"),
    [
        (
            "postfix", f"{FROM_POSTFIX}master[316]: daemon started -- version 3.10.13, x",
            Side.SERVER, What.UP, "",
        ),
        (
            "postfix", f"{FROM_POSTFIX}smtpd[321]: DEF223A6: client=unknown[192.0.2.66]",
            Side.SERVER, What.TAKEN, "192.0.2.66",
        ),
        (
            "dovecot", "Nov 27 00:56:20 master: Info: Dovecot v2.4.1-4 (7d8c) starting up for imap",
            Side.SERVER, What.UP, "",
        ),
        (
            "dovecot", "lmtp(anna)<3>: Info: sieve: msgid=<a@b>: stored mail into mailbox 'INBOX'",
            Side.SERVER, What.FILED, "INBOX",
        ),
        (
            "dovecot",
            "lmtp(anna)<3>: Info: sieve: msgid=x: fileinto action: stored mail into mailbox 'Junk'",
            Side.SERVER, What.FILED, "Junk",
        ),
        (
            "dovecot", "imap-login: Info: Logged in: user=<anna>, rip=192.0.2.7, lip=x",
            Side.SERVER, What.LOGIN, "192.0.2.7",
        ),
        (
            "mailbell-sender", "event=sent account=anna target=192.0.2.7:79 milliseconds=0.3",
            Side.SERVER, What.RANG, "192.0.2.7:79",
        ),
        (
            "mailbell-sender", "event=timeout account=anna target=192.0.2.7:79 milliseconds=2001.7",
            Side.SERVER, What.UNANSWERED, "192.0.2.7:79",
        ),
        (
            "mailbell-sender", "event=quiet_folder origin=hook uid=1000 account=anna folder=Junk",
            Side.SERVER, What.QUIET, "Junk",
        ),
        (
            "mailbell-sender", "event=locked uid=999 gid=999 seccomp=2 landlock_abi=7",
            Side.SERVER, What.UP, "",
        ),
        ("mailbelld", "event=locked uid=999 gid=999 landlock_abi=7", Side.LAPTOP, What.UP, ""),
        ("mailbell run", "event=listening socket=/run/x", Side.LAPTOP, What.UP, ""),
        (
            "mailbell run", "event=run job=mbsync cause=network count=1",
            Side.LAPTOP, What.FETCH, "network",
        ),
        (
            "mailbell run", "event=ran job=mbsync program=mbsync seconds=0.1 code=0",
            Side.LAPTOP, What.FETCHED, "0",
        ),
        ("Maildir", "Lunch on Friday?", Side.LAPTOP, What.ARRIVED, "Lunch on Friday?"),
    ],
)  # fmt: skip
def test_a_line_says_what_has_happened(
    program: str, text: str, side: Side, what: What, about: str
) -> None:
    told = happening(Line(7.5, program, text))
    assert told is not None
    assert (told.at, told.side, told.what, told.about) == (7.5, side, what, about)
    assert about in told.words or about == "network"


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("postfix", f"{FROM_POSTFIX}smtpd[321]: connect from unknown[192.0.2.66]"),
        ("postfix", f"{FROM_POSTFIX}qmgr[318]: DEF223A6: removed"),
        ("dovecot", "imap-login: Info: Login aborted: rip=192.0.2.7, lip=192.0.2.1"),
        ("mailbell-sender", "event=no_target account=anna"),
        ("mailbelld", "event=notification account=anna cause=network count=1"),
        ("mailbell watch", "mailbelld has gone"),
        ("mailbell watch", '{"account": "anna"}'),
        ("mailbell run", 'event=output job=mbsync line="event=ran code=0"'),
        ("mailbell run", "event=retry job=mbsync failures=1 seconds=30"),
        ("another", "event=sent target=192.0.2.7:79"),
    ],
)
def test_other_lines_say_nothing(program: str, text: str) -> None:
    assert happening(Line(7.5, program, text)) is None


def test_a_ring_has_the_time_of_the_daemon() -> None:
    text = json.dumps({"account": "anna", "source": "192.0.2.1", "time": 1795741122517381})
    told = happening(Line(9e9, "mailbell watch", text))
    assert told is not None
    assert (told.at, told.what, told.about) == (1795741122.517381, What.RUNG, "192.0.2.1")


def test_a_failed_fetch_is_told_as_one() -> None:
    told = happening(Line(0.0, "mailbell run", "event=ran job=mbsync seconds=0.0 code=1"))
    assert told is not None
    assert (told.what, told.about) == (What.FETCHED, "1")
    assert "failed with code 1" in told.words


@given(
    st.sampled_from(PROGRAMS),
    st.text(max_size=60) | st.text().map(lambda text: f"event=run job={format_value(text)}"),
)
def test_no_line_is_too_strange(program: str, text: str) -> None:
    told = happening(Line(0.0, program, text))
    assert told is None or told.words.replace("“", "").replace("”", "").isascii()


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(), max_size=3))
@example({"line": "it's"})
@example({"line": 'a "word" and a \\', "code": "1"})
def test_the_fields_of_a_line_are_found_again(fields: dict[str, str]) -> None:
    values = {name: format_value(value) for name, value in fields.items()}
    text = " ".join(f"{name}={value}" for name, value in values.items())
    assert pairs(text) == {
        name: value[1:-1] if value.startswith('"') else value for name, value in values.items()
    }


def test_a_line_that_is_cut_has_no_fields() -> None:
    assert pairs('event=output line="half') == {}

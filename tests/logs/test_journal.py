import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.logs.journal import BURST, Journal, Level, format_value


class Log:
    def __init__(self, *, prefixed: bool = False) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        self.journal = Journal(self.lines.append, lambda: self.now, prefixed=prefixed)


def test_one_event_is_one_line_of_keys_and_values() -> None:
    log = Log()
    log.journal.log(Level.INFO, "listening", on="tcp 0.0.0.0:79", count=2, error=None)
    assert log.lines == ['event=listening on="tcp 0.0.0.0:79" count=2']


def test_the_service_manager_reads_the_level_from_a_prefix() -> None:
    log = Log(prefixed=True)
    log.journal.log(Level.WARNING, "accepting_paused")
    assert log.lines == ["<4>event=accepting_paused"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (b"nm_notifyuser\r\n", r'"nm_notifyuser\r\n"'),
        (b"\x00\xff", r'"\x00\xff"'),
        ("", '""'),
        ('a "b"', r'"a \"b\""'),
        ("back\\slash", r'"back\\slash"'),
        ("a=b", '"a=b"'),
        ("über", r'"\xfcber"'),
        ("\u202e\n", r'"\u202e\n"'),
        (17, "17"),
    ],
)
def test_values(value: object, text: str) -> None:
    assert format_value(value) == text


@given(st.one_of(st.binary(), st.text()))
def test_no_value_can_leave_its_place_or_forge_a_line(value: bytes | str) -> None:
    text = format_value(value)
    assert text.isascii()
    assert text.isprintable()
    assert re.fullmatch(r'[^ "=\\]+|"(?:[^"\\]|\\.)*"', text)
    assert len(text) <= 2 + 10 * 256


def test_each_kind_of_event_is_limited_by_itself_and_says_what_it_held_back() -> None:
    log = Log()
    for _ in range(BURST + 30):
        log.journal.log(Level.NOTICE, "refused")
    log.journal.log(Level.NOTICE, "subscribed")
    assert len(log.lines) == BURST + 1
    assert log.journal.suppressed == 30

    log.now = 60.0
    log.journal.log(Level.NOTICE, "refused")
    log.journal.log(Level.NOTICE, "refused")
    assert log.lines[-2:] == ["event=refused suppressed=30", "event=refused"]


def test_a_line_that_could_not_be_written_is_counted_and_told_later() -> None:
    lines: list[str] = []
    full = [True]

    def write(line: str) -> bool:
        if not full[0]:
            lines.append(line)
        return not full[0]

    journal = Journal(write, lambda: 0.0)
    for _ in range(2):
        journal.log(Level.INFO, "refused")
    full[0] = False
    for _ in range(2):
        journal.log(Level.INFO, "refused")
    assert lines == ["event=refused suppressed=2", "event=refused"]
    assert journal.suppressed == 2

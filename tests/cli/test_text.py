"""Text that is safe to show."""

from hypothesis import given
from hypothesis import strategies as st

from mailbell.cli._text import one_line, printable


@given(st.text())
def test_nothing_but_printable_ascii_is_left_and_nothing_is_lost(text: str) -> None:
    shown = printable(text)
    assert all(" " <= character <= "~" for character in shown)
    assert shown.encode("ascii").decode("unicode_escape") == text


def test_plain_text_stays_as_it_is() -> None:
    assert printable("work@example.org [::1]:79") == "work@example.org [::1]:79"


def test_an_error_is_one_line() -> None:
    assert one_line("mailbell", "a\nb\t\x1b[2J  c") == "mailbell: a b \\x1b[2J c"

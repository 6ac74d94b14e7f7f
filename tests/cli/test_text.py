"""The single line with which a program reports an error."""

from mailbell.cli._text import one_line


def test_an_error_is_one_line() -> None:
    assert one_line("mailbell", "a\nb\t\x1b[2J  c") == "mailbell: a b \\x1b[2J c"

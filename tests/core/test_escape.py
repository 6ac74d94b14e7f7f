"""Text that is safe to show."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.escape import printable


@given(st.text(), st.sampled_from(["", '"', "\"'"]))
def test_nothing_but_printable_ascii_is_left_and_nothing_is_lost(text: str, also: str) -> None:
    shown = printable(text, also)
    assert all(" " <= character <= "~" for character in shown)
    assert shown.encode("ascii").decode("unicode_escape") == text


@given(st.text())
def test_nobody_leaves_the_quotation_marks(text: str) -> None:
    bare = printable(text, '"').replace("\\\\", "").replace('\\"', "")
    assert '"' not in bare


@pytest.mark.parametrize("also", ["", '"', "\"'"])
def test_of_the_first_256_characters_the_printable_ones_stay_and_the_others_are_escaped(
    also: str,
) -> None:
    for character in map(chr, range(256)):
        shown = printable(character, also)
        if character == "\\" or character in also:
            assert shown == "\\" + character
        elif 32 <= ord(character) <= 126:
            assert shown == character
        else:
            assert shown == ascii(character)[1:-1]


def test_without_another_word_only_the_backslash_is_special() -> None:
    every = "".join(map(chr, range(32, 127)))
    assert printable(every) == every.replace("\\", "\\\\")


@pytest.mark.parametrize("text", ["work@example.org [::1]:79", "", 'it\'s "so"'])
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_a_surrogate_of_an_undecodable_byte_is_shown() -> None:
    assert printable("\udcff\x7f\n\u202e\\") == "\\udcff\\x7f\\n\\u202e\\\\"


def test_it_imports_nothing_when_it_is_used() -> None:
    """In the sandbox no module can be imported, not even a codec."""
    code = (
        "import sys; from mailbell.core.escape import printable; before = set(sys.modules);"
        "printable('\\x00\\xff\\u202e\\U0001f514\\ud800', '\"');"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []

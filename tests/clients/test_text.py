"""What comes from outside is written into the add-on's log without a character that acts."""

from typing import Final

import pytest
from harness.v8 import loaded
from hypothesis import given
from hypothesis import strategies as st

ESCAPE: Final = "(text, most) => escapeText(text, most ?? undefined)"


@given(st.text(), st.integers(0, 30))
def test_only_printable_ascii_comes_out(text: str, most: int) -> None:
    shown = loaded()(ESCAPE, text, most)
    assert all(" " <= letter <= "~" for letter in shown)
    assert len(shown) <= 6 * most + 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b]0;owned\x07\nmailbell: forged", r"\x1b]0;owned\x07\x0amailbell: forged"),
        ("a\\x41", r"a\x5cx41"),
        ("ä€\U0001f514", r"\xe4\u20ac\ud83d\udd14"),
        ("\x9b0m\u202e\u0100", r"\x9b0m\u202e\u0100"),
    ],
)
def test_escapes(text: str, shown: str) -> None:
    assert loaded()(ESCAPE, text, None) == shown


def test_a_long_text_is_cut() -> None:
    assert loaded()(ESCAPE, "x" * 201, None) == "x" * 200 + "..."
    assert loaded()(ESCAPE, "x" * 200, None) == "x" * 200


def test_what_is_no_text_becomes_one() -> None:
    assert loaded()("() => escapeText(undefined) + escapeText(null) + escapeText(1)") == (
        "undefinednull1"
    )

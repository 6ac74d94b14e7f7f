"""The rule for the name of an account, compared with a simple model."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailbell.core.account_name import (
    ACCOUNT_NAME_FORM,
    ACCOUNT_NAME_PATTERN,
    MAX_ACCOUNT_NAME,
    is_account_name,
)

FIRST = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
LATER = FIRST + "._@+-"


@given(st.text(st.sampled_from(LATER + " \n/'é\0"), max_size=70))
@example("a" * 64)
@example("a" * 65)
@example("")
@example("a\n")
def test_it_says_what_a_plain_walk_says(text: str) -> None:
    plain = 1 <= len(text) <= 64 and text[0] in FIRST and all(each in LATER for each in text)
    assert is_account_name(text) is plain


@pytest.mark.parametrize("name", ["work", "anna@example.org", "a+b", "0"])
def test_usual_names(name: str) -> None:
    assert is_account_name(name)


def test_the_bound_and_the_words_are_those_of_the_pattern() -> None:
    assert re.fullmatch(ACCOUNT_NAME_PATTERN, "a" * MAX_ACCOUNT_NAME)
    assert not re.fullmatch(ACCOUNT_NAME_PATTERN, "a" * (MAX_ACCOUNT_NAME + 1))
    assert (
        f'a name of 1 to {MAX_ACCOUNT_NAME} letters, digits and any of "._@+-", such as "work"'
    ) == ACCOUNT_NAME_FORM

"""The facts of a machine, and what they may be made of."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.errors import ConfigurationError
from mailbell.recipes.facts import PLACEHOLDERS, Facts, filled, is_safe, words

FACTS = Facts(hook="/h", socket="/s", cyrus="/c", files="/f", user="u", home="/home/u")


def test_every_placeholder_is_a_fact() -> None:
    assert filled(" ".join(f"@{name}@" for name in PLACEHOLDERS), FACTS) == "/h /s /c /f u /home/u"
    assert words(("@hook@", "--account=@user@"), FACTS) == ("/h", "--account=u")


def test_what_is_no_placeholder_stays() -> None:
    assert filled("a@example.org @ @@ @user @Hook@ user@", FACTS).endswith("user@")


@pytest.mark.parametrize("value", ["", "-x", "a b", 'a"b', "a'b", "a\nb", "a;b", "$a", "\\a", "ä"])
def test_what_could_mean_something_to_a_mail_server_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="@user@") as caught:
        Facts(user=value)
    assert str(caught.value).isprintable()


@given(st.text(max_size=300))
def test_a_safe_value_has_no_character_with_a_meaning(value: str) -> None:
    expected = re.fullmatch(r"[A-Za-z0-9/._+@-]{1,200}", value, re.ASCII) and value[0] != "-"
    assert is_safe(value) is bool(expected)


@given(st.text(alphabet="@hokuser \n", max_size=60))
def test_any_text_can_be_filled(text: str) -> None:
    """A text without two @ around letters stays as it is."""
    once = filled(text, FACTS)
    assert once == text or re.search("@[a-z]+@", text)

"""The facts of a machine, and what they may be made of."""

import re
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.errors import ConfigurationError
from mailbell.recipes import recipe
from mailbell.recipes.facts import PLACEHOLDERS, Facts, filled, is_safe, words

FACTS = Facts(hook="/h", socket="/s", cyrus="/c", files="/f", user="u", home="/home/u")


def test_every_placeholder_is_a_fact() -> None:
    assert filled(" ".join(f"@{name}@" for name in PLACEHOLDERS), FACTS) == "/h /s /c /f u /home/u"
    assert words(("@hook@", "--account=@user@"), FACTS) == ("/h", "--account=u")


def test_the_defaults_are_those_that_the_explanation_of_a_recipe_gives() -> None:
    explained = re.findall(r"^    @([a-z]+)@ .* (\S+)$", recipe.__doc__ or "", re.MULTILINE)
    assert dict(explained) == asdict(Facts())
    assert tuple(name for name, _ in explained) == PLACEHOLDERS


@pytest.mark.parametrize("text", ["a@example.org @ @@ @user @Hook@ user@", "@bell@", "@"])
def test_what_is_no_placeholder_stays(text: str) -> None:
    assert filled(text, FACTS) == text


@pytest.mark.parametrize("value", ["", "-x", "a b", 'a"b', "a'b", "a\nb", "a;b", "$a", "\\a", "ä"])
def test_what_could_mean_something_to_a_mail_server_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="@user@") as caught:
        Facts(user=value)
    assert str(caught.value).isprintable()


def test_what_is_refused_is_shown_with_the_remedy() -> None:
    remedy = "let @home@ have letters, digits and / . _ + @ - only"
    for value, shown in (("a b", "a b"), ("x" * 200 + "yz", "x" * 200)):
        with pytest.raises(ConfigurationError) as caught:
            Facts(home=value)
        what = f"'{shown}' is not safe in a mail server's configuration"
        assert str(caught.value) == f"{what}; {remedy}"


def test_a_value_has_200_characters_at_most() -> None:
    assert is_safe("x" * 200)
    assert not is_safe("x" * 201)


@given(st.text(max_size=300))
def test_a_safe_value_has_no_character_with_a_meaning(value: str) -> None:
    expected = re.fullmatch(r"[A-Za-z0-9/._+@-]{1,200}", value, re.ASCII) and value[0] != "-"
    assert is_safe(value) is bool(expected)


@given(st.text(alphabet="@hokuser \n", max_size=60))
def test_any_text_can_be_filled(text: str) -> None:
    """A text without two @ around letters stays as it is."""
    once = filled(text, FACTS)
    assert once == text or re.search("@[a-z]+@", text)

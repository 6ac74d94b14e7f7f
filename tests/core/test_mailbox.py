import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.core.mailbox import MAILBOX_FORM, MAX_MAILBOX, normalize_mailbox


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("anna", "anna"),
        ("Anna", "Anna"),
        ("anna@example.org", "anna@example.org"),
        ("Anna@Example.ORG", "Anna@example.org"),
        ("a@B@C", "a@B@c"),
        ("@", "@"),
        ("jörg@BÜCHER.example", "jörg@bücher.example"),
        ("x" * 254, "x" * 254),
    ],
)
def test_only_the_case_of_the_domain_does_not_count(name: str, normal: str) -> None:
    assert normalize_mailbox(name) == normal


def test_the_form_in_words() -> None:
    what = f"a name of 1 to {MAX_MAILBOX} printable characters without spaces"
    assert f"{what}, such as anna@example.org" == MAILBOX_FORM


# The capital letter becomes two without its case.
GROWS = f"x@{'İ' * 252}"


@pytest.mark.parametrize(
    "name",
    [
        *["", " ", "a b", "a\n", "a\0b", "a\tb", "\x7f", "a\u2028b", "a\u200bb", "\udcff"],
        "x" * 255,
        GROWS,
    ],
)
def test_no_account_is_called_so(name: str) -> None:
    assert normalize_mailbox(name) is None


@given(st.text(max_size=300))
def test_a_normal_form_is_its_own(name: str) -> None:
    normal = normalize_mailbox(name)
    if normal is None:
        assert (
            not 0 < len(name) <= MAX_MAILBOX or " " in name or not name.isprintable() or "@" in name
        )
        return
    assert normalize_mailbox(normal) == normal
    assert 0 < len(normal) <= MAX_MAILBOX
    assert normal.isprintable()
    assert not set(normal) & set(" \n\0")
    assert normal.rpartition("@")[0] == name.rpartition("@")[0]

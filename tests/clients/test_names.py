"""Which names there are, and whom each rings, compared with a model that asks every account."""

from string import ascii_lowercase, ascii_uppercase
from typing import Final

from harness.v8 import loaded
from hypothesis import example, given
from hypothesis import strategies as st

from mailbell.core.account_name import is_account_name

NAMES: Final = st.sampled_from(["work", "Work", "club", "CLUB", "home", "K", "k", "\u212a"])
ACCOUNTS: Final = st.lists(NAMES, max_size=5)
SETTINGS: Final = st.dictionaries(st.integers(0, 5), st.lists(NAMES, max_size=3), max_size=4)
CHOOSE: Final = """(name, accounts, names) =>
  chooseAccounts(name, accounts, namesByAccount(names))"""


@given(st.one_of(st.text(), st.text("aZ0._@+-\n", max_size=70), st.from_regex(r"[a-z.]{1,66}")))
@example("a" * 64)
@example("a" * 65)
@example("work\n")
@example("")
@example("\u0660")
def test_a_name_has_the_form_that_every_program_of_mailbell_knows(text: str) -> None:
    assert loaded()("isAccountName", text) is is_account_name(text)


def test_what_is_no_text_is_no_name() -> None:
    assert loaded()("() => [1, null, undefined, ['work'], {}, true].map(isAccountName)") == (
        [False] * 6
    )


def small(text: str) -> str:
    """Write the letters of ASCII small, and no others: the Kelvin sign is no k."""
    return text.translate(str.maketrans(ascii_uppercase, ascii_lowercase))


@given(st.none() | NAMES, ACCOUNTS, SETTINGS)
def test_whom_a_name_rings(
    name: str | None, accounts: list[str], settings: dict[int, list[str]]
) -> None:
    listed = [{"key": f"server{n}", "name": own} for n, own in enumerate(accounts)]
    stored = {f"server{n}": names for n, names in settings.items()}
    rung = []
    for account in listed:
        rings = stored.get(account["key"]) or [account["name"]]
        if name is not None and small(name) in map(small, rings):
            rung.append(account["key"])
    expected = rung or [account["key"] for account in listed]
    assert loaded()(CHOOSE, name, listed, stored) == expected


def test_an_account_with_names_of_its_own_is_not_rung_by_its_name_in_thunderbird() -> None:
    accounts = [{"key": "server1", "name": "work"}, {"key": "server2", "name": "club"}]
    names = {"server1": ["office", "work-2"]}
    choose = loaded()
    assert choose(CHOOSE, "office", accounts, names) == ["server1"]
    assert choose(CHOOSE, "WORK-2", accounts, names) == ["server1"]
    assert choose(CHOOSE, "club", accounts, names) == ["server2"]
    assert choose(CHOOSE, "work", accounts, names) == ["server1", "server2"]  # no one's name

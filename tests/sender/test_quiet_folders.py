import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailbell.sender._quiet_folders import QuietFolders


@pytest.mark.parametrize(
    ("folder", "quiet"),
    [
        ("Junk", True),
        ("junk", True),
        (".Junk", True),
        ("INBOX.Junk", True),
        ("INBOX/Junk", True),
        ("Junk/2026", True),
        ("Lists.noise", True),
        ("INBOX/Lists/noise/x", True),
        ("[Gmail]/Spam", True),
        ("INBOX", False),
        ("", False),
        ("Lists", False),
        ("noise", False),
        ("Junkyard", False),
        ("My Junk", False),
        ("Lists/x/noise", False),
    ],
)
def test_a_folder_is_quiet_at_any_depth(folder: str, quiet: bool) -> None:
    assert QuietFolders(["Junk", "Lists.noise", "[Gmail]/Spam"]).contains(folder) is quiet


def test_folders_that_differ_in_more_than_case_are_two() -> None:
    assert not QuietFolders(["Maße"]).contains("Masse")
    assert QuietFolders(["MASSE"]).contains("Masse")


def test_no_name_makes_every_folder_quiet() -> None:
    for names in ([], [""], ["."], ["/", "//"]):
        assert not QuietFolders(names).contains("Junk")
        assert not QuietFolders(names).contains("")


NAMES = st.lists(st.sampled_from(["a", "B", "ab", "ä"]), min_size=1, max_size=4)


def model(quiet: list[str], folder: list[str]) -> bool:
    lower = [part.lower() for part in folder]
    wanted = [part.lower() for part in quiet]
    return any(lower[at : at + len(wanted)] == wanted for at in range(len(lower)))


@given(NAMES, NAMES, st.sampled_from("/."), st.sampled_from("/."))
def test_it_is_a_run_of_parts(quiet: list[str], folder: list[str], one: str, other: str) -> None:
    found = QuietFolders([one.join(quiet)]).contains(other.join(folder))
    assert found is model(quiet, folder)

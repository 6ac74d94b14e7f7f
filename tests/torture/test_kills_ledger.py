"""Who is owed a look: only a look that began after the mail was there counts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from torture.kills.ledger import Debt, Diary, Ledger


@pytest.fixture
def diary(tmp_path: Path) -> Iterator[Diary]:
    found = Diary(tmp_path / "diary")
    yield found
    found.close()


def looks(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.write("".join(lines))


def test_a_look_after_the_mail_settles_it(tmp_path: Path, diary: Diary) -> None:
    ledger = Ledger({"agent": diary})
    ledger.owe("anna", 100, "line")
    looks(tmp_path / "diary", "anna 101\n")
    assert ledger.unsettled() == []
    assert (ledger.accounts, ledger.notifications) == (1, 1)


def test_a_look_before_the_mail_does_not(tmp_path: Path, diary: Diary) -> None:
    ledger = Ledger({"agent": diary})
    looks(tmp_path / "diary", "anna 99\n")
    ledger.owe("anna", 100, "line")
    assert ledger.unsettled() == [Debt("anna", 100, "line", "agent")]


def test_the_last_mail_counts_whoever_tells_of_it_first(tmp_path: Path, diary: Diary) -> None:
    ledger = Ledger({"agent": diary})
    ledger.owe("anna", 200, "direct")
    ledger.owe("anna", 100, "line")  # noted late, because another thread did it
    looks(tmp_path / "diary", "anna 150\n")
    assert ledger.unsettled() == [Debt("anna", 200, "direct", "agent")]
    assert (ledger.accounts, ledger.notifications) == (1, 2)


def test_an_older_look_that_is_noted_later_changes_nothing(tmp_path: Path, diary: Diary) -> None:
    ledger = Ledger({"agent": diary})
    ledger.owe("anna", 100, "line")
    looks(tmp_path / "diary", "anna 150\n", "anna 90\n")
    assert ledger.unsettled() == []


def test_each_one_must_look(tmp_path: Path, diary: Diary) -> None:
    other = Diary(tmp_path / "other")
    ledger = Ledger({"agent": diary, "subscriber": other})
    ledger.owe("anna", 100, "line")
    looks(tmp_path / "diary", "anna 150\n")
    assert ledger.unsettled() == [Debt("anna", 100, "line", "subscriber")]
    other.close()


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path, diary: Diary) -> None:
    looks(tmp_path / "diary", "anna 10")
    diary.read()
    assert diary.last == {}
    looks(tmp_path / "diary", "1\n")
    diary.read()
    assert diary.last == {"anna": 101}


def test_what_is_not_settled_in_time_is_returned(diary: Diary) -> None:
    ledger = Ledger({"agent": diary})
    ledger.owe("anna", 100, "line")
    assert ledger.wait(0) == [Debt("anna", 100, "line", "agent")]
    ledger.forget()
    assert ledger.wait(0) == []

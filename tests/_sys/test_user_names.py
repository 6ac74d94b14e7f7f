import os
import pwd

import pytest

from mailbell._sys import user_names
from mailbell._sys.user_names import read_user_names


def test_the_users_are_those_of_the_password_file() -> None:
    names = read_user_names()
    assert names[0] == "root"
    for entry in pwd.getpwall():
        assert names[entry.pw_uid] == pwd.getpwuid(entry.pw_uid).pw_name


def test_no_more_users_are_read_than_the_limit_and_those_that_matter() -> None:
    assert read_user_names(most=0) == {}
    assert len(read_user_names(most=2)) == 2
    nobody = pwd.getpwnam("nobody").pw_uid
    assert read_user_names(["root", "nobody"], most=0) == {0: "root", nobody: "nobody"}


def test_users_that_are_not_listed_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_names, "_list", lambda _: [(0, "root")])
    wanted = ["root", "no such user", "nobody", "a\0b", "\udcff"]
    nobody = pwd.getpwnam("nobody").pw_uid
    assert read_user_names(wanted) == {0: "root", nobody: "nobody"}


def test_of_two_names_of_one_user_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_names, "_list", lambda _: [(0, "root"), (0, "toor")])
    assert read_user_names() == {0: "root"}


def test_it_can_be_read_twice_and_leaves_no_file_open() -> None:
    before = os.listdir("/proc/self/fd")
    assert read_user_names() == read_user_names()
    assert len(os.listdir("/proc/self/fd")) == len(before)

"""What the settings may be, whoever wrote them, and where the socket is looked for."""

from pathlib import Path
from typing import Any, Final

import pytest
from harness.v8 import loaded
from hypothesis import given
from hypothesis import strategies as st

from mailbell.client._path import default_places
from mailbell.core.account_name import is_account_name

PROBLEMS: Final = "(settings, locked) => findProblems(settings, locked)"
RIGHT: Final = {
    "socket": "/run/mailbell/mailbell.sock",
    "settle": 0,
    "gap": 1000,
    "names": {"server1": ["work", "a@b.example"], "server2": []},
}


def problems(settings: dict[str, Any], *locked: str) -> Any:
    return loaded()(PROBLEMS, settings, locked)


def test_right_settings_have_no_problem() -> None:
    assert problems(RIGHT) == {}
    assert problems({}) == {}
    assert problems(loaded()("() => readSettings({})")) == {}
    assert loaded()("() => FIELDS") == list(RIGHT)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("socket", "run/s", "bad_path"), ("socket", "./s", "bad_path"), ("socket", 1, "bad_path"),
        ("socket", None, "bad_path"), ("socket", ["/a"], "bad_path"),
        ("socket", "/a\0b", "bad_path"), ("socket", "~/s", "bad_path"), ("socket", " ", "bad_path"),
        ("socket", "/" + "x" * 107, "too_long"), ("socket", "/" + "ä" * 54, "too_long"),
        ("socket", "/\ud800" + "x" * 104, "too_long"),
        ("settle", "1000", "not_a_number"), ("settle", 1.5, "not_a_number"),
        ("settle", None, "not_a_number"), ("settle", True, "not_a_number"),
        ("settle", -1, "out_of_range"), ("settle", 60_001, "out_of_range"),
        ("gap", 999, "out_of_range"), ("gap", 3_600_001, "out_of_range"),
        ("gap", [], "not_a_number"),
        ("names", None, "bad_names"), ("names", [], "bad_names"), ("names", "work", "bad_names"),
        ("names", {"server1": "work"}, "bad_names"), ("names", {"server 1": []}, "bad_names"),
        ("names", {"": []}, "bad_names"), ("names", {"x" * 33: []}, "bad_names"),
        ("names", {"server1": ["a b"]}, "bad_name"), ("names", {"server1": [1]}, "bad_name"),
        ("names", {"server1": ["a"] * 65}, "too_many"),
        ("names", {f"server{n}": [] for n in range(257)}, "too_many"),
    ],
)  # fmt: skip
def test_each_problem_has_its_code(field: str, value: Any, code: str) -> None:
    assert problems({**RIGHT, field: value}) == {field: code}
    # What is stored so is not taken. A socket is never replaced by another one.
    read = loaded()("settings => readSettings(settings)", {**RIGHT, field: value})
    default = loaded()("() => readSettings({})")
    assert read == {**RIGHT, field: value if field == "socket" else default[field]}


def test_the_greatest_that_is_right() -> None:
    most = {
        "socket": "/" + "ä" * 53, "settle": 60_000, "gap": 3_600_000,
        "names": {f"server{n}": ["x" * 64] * 64 for n in range(256)},
    }  # fmt: skip
    assert problems(most) == {}
    assert problems({"socket": "/" + "x" * 106}) == {}
    assert problems({"socket": ""}) == {}  # the usual places


def test_the_defaults_are_those_that_the_page_names() -> None:
    assert loaded()("() => readSettings({})") == {
        "socket": "", "settle": 1000, "gap": 10_000, "names": {},
    }  # fmt: skip


def test_what_is_unknown_or_fixed_is_refused() -> None:
    assert problems({"sockets": "/a", "__proto__x": 1}) == {"unknown": "unknown"}
    assert problems(RIGHT, "socket", "gap") == {"socket": "locked", "gap": "locked"}
    assert problems({"socket": "relative"}, "socket") == {"socket": "locked"}


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(RIGHT, JSON)))
def test_whatever_is_stored_becomes_right_settings(stored: dict[str, Any]) -> None:
    read = loaded()("settings => readSettings(settings)", stored)
    assert set(read) == set(RIGHT)
    assert set(problems(read)) <= {"socket"}
    assert all(is_account_name(name) for names in read["names"].values() for name in names)


def test_an_empty_list_means_the_accounts_own_name() -> None:
    listed = loaded()("names => [...namesByAccount(names)]", RIGHT["names"])
    assert listed == [["server1", ["work", "a@b.example"]]]


PLACES: Final = "(own, environment) => listPlaces(own, environment)"


@given(
    st.sampled_from(["", "/m", "m"]), st.sampled_from(["", "/run/user/7", "run", "/run/user/7/"])
)
def test_without_a_setting_the_socket_is_looked_for_as_the_client_does(
    named: str, runtime: str
) -> None:
    environment = {"MAILBELL_SOCKET": named, "XDG_RUNTIME_DIR": runtime}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        expected = [str(Path(place)) for place in default_places()]
    assert loaded()(PLACES, "", environment) == expected


def test_a_setting_is_the_only_place() -> None:
    environment = {"MAILBELL_SOCKET": "/m", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert loaded()(PLACES, "/own", environment) == ["/own"]

"""Each promise of docs/correctness.md says when and why it holds, and names tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs/correctness.md").read_text()
PROMISES: Final = {
    match[1]: match[3]
    for match in re.finditer(r"^### ([A-Z]\d+)\. (.+)\n((?:(?!##).*\n)*)", TEXT, re.MULTILINE)
}
PARTS: Final = ("When", "Why", "Checked by", "Not promised")
TEST: Final = re.compile(r"tests/[\w/]+\.py::\w+")


@cache
def names(path: Path) -> frozenset[str]:
    """Return what a file of tests calls a test: functions, and the cases of state machines."""
    tree = ast.parse(path.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    assigned = [node.targets for node in tree.body if isinstance(node, ast.Assign)]
    found |= {one.id for targets in assigned for one in targets if isinstance(one, ast.Name)}
    return frozenset(name for name in found if name.startswith(("test_", "Test")))


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    return (ROOT / file).is_file() and name in names(ROOT / file)


def named_by(promise: str) -> list[str]:
    checked = PROMISES[promise].partition("**Checked by:**")[2].partition("- **")[0]
    return TEST.findall(checked)


def test_they_are_numbered_without_a_gap() -> None:
    found: dict[str, list[int]] = {}
    for promise in PROMISES:
        found.setdefault(promise[0], []).append(int(promise[1:]))
    assert set(found) == set("LCSN")
    assert all(each == list(range(1, len(each) + 1)) for each in found.values())
    assert TEXT.count("\n### ") == len(PROMISES)


@pytest.mark.parametrize("promise", PROMISES)
def test_each_has_all_parts_in_order(promise: str) -> None:
    assert tuple(re.findall(r"^- \*\*([\w ]+):\*\* \S", PROMISES[promise], re.MULTILINE)) == PARTS


@pytest.mark.parametrize("promise", PROMISES)
def test_each_names_tests_that_exist(promise: str) -> None:
    assert named_by(promise)
    assert [test for test in named_by(promise) if not exists(test)] == []


def test_every_name_of_a_test_is_a_whole_one() -> None:
    """What looks like a test and is none would not be checked above."""
    named = {test for promise in PROMISES for test in named_by(promise)}
    assert set(TEST.findall(TEXT)) == named
    assert TEXT.count("::") == len(TEST.findall(TEXT))


def test_the_code_that_holds_a_promise_exists() -> None:
    files = re.findall(r"`((?:core|listener|client|sender|cluster)/[\w/]+\.py)`", TEXT)
    assert len(files) > 10
    assert [name for name in files if not (ROOT / "src/mailbell" / name).is_file()] == []


@pytest.mark.parametrize(
    "test",
    [
        "tests/documents/test_correctness.py::exists",
        "tests/documents/test_correctness.py::test_nothing",
        "tests/documents/test_nothing.py::test_nothing",
        "tests/sender/test_book_model.py::Machine",
    ],
)
def test_what_is_no_test_would_be_found(test: str) -> None:
    assert not exists(test)

"""Each block of each document is executed by a test, or has a reason why nobody can copy it."""

from collections import Counter
from typing import Final

import pytest
from documents.blocks import blocks
from documents.register import REASONS, REGISTER, entries, exists, is_test

ENTRIES: Final = entries(REGISTER.read_text())


def test_each_block_has_one_entry_and_each_entry_a_block() -> None:
    found = Counter((block.document, block.heading) for block in blocks())
    registered = {place: len(each) for place, each in ENTRIES.items()}
    assert dict(found - Counter(registered)) == {}, "blocks without an entry in register.toml"
    assert dict(Counter(registered) - found) == {}, "entries of register.toml without a block"


def test_each_test_of_an_entry_exists() -> None:
    tests = {entry for each in ENTRIES.values() for entry in each if is_test(entry)}
    assert len(tests) > 30
    assert {test for test in tests if not exists(test)} == set()


def test_each_reason_is_one_of_the_known() -> None:
    reasons = {entry for each in ENTRIES.values() for entry in each if not is_test(entry)}
    assert {reason for reason in reasons if not reason.startswith(REASONS)} == set()


@pytest.mark.parametrize(
    "test",
    [
        "tests/documents/test_register.py",
        "tests/documents/test_register.py::entries",
        "tests/documents/test_register.py::test_nothing",
        "tests/documents/test_nothing.py::test_nothing",
        "tests/mail_servers/test_postfix.py::test_the_mails_owner_is_rung",
    ],
)
def test_a_test_that_does_not_exist_is_found_out(test: str) -> None:
    assert not exists(test)


def test_an_entry_may_stand_for_several_blocks() -> None:
    text = '["a.md"]\n"A b" = ["2 x tests/a.py::test_a", "drawing"]\n'
    assert entries(text) == {("a.md", "A b"): ["tests/a.py::test_a"] * 2 + ["drawing"]}

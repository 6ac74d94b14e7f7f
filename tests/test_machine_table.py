"""The tables of docs/machines.md: what a run renews, and what a cell says."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import machine_table
from scripts.machine_table import main, merged, page, rows, tables

TITLES = {"trixie": "Debian 13", "bookworm": "Debian 12", "newest": "unstable"}


def facts(machine: str, boot: float = 60) -> Any:
    return {
        "machine": machine, "kernel": "6.12.1", "systemd": "257", "python": "3.13.5",
        "libc": "2.41", "boot": boot,
    }  # fmt: skip


def result(machine: str, claim: str, outcome: str = "passed", reason: str = "") -> Any:
    test = "tests/machines/test_ring.py::test_it[4]"
    return {
        "machine": machine, "claim": claim, "outcome": outcome, "reason": reason, "test": test
    }  # fmt: skip


def cells(text: str, claim: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {claim} |"))
    return line.strip("| ").split(" | ")[1:]


def test_a_machine_is_renewed_as_a_whole() -> None:
    kept = [facts("trixie"), result("trixie", "old"), facts("newest"), result("newest", "old")]
    run = [facts("newest", 70), result("newest", "new")]
    assert merged(kept, run) == [*kept[:2], *run]


def test_each_machine_has_a_column_in_the_order_of_the_list() -> None:
    found = [facts("bookworm"), facts("trixie"), result("trixie", "it rings")]
    text = tables(TITLES, found)
    assert "| claim | Debian 13 | Debian 12 | test |" in text
    assert cells(text, "it rings") == ["yes", "", "`test_ring.py`"]
    assert "| Debian 13 | 6.12.1 | 257 | 3.13.5 | 2.41 | 60 |" in text


@pytest.mark.parametrize("outcomes", [["passed", "failed"], ["failed", "skipped"]])
def test_one_test_that_fails_is_enough(outcomes: list[str]) -> None:
    found = [facts("trixie"), *(result("trixie", "it rings", each) for each in outcomes)]
    assert cells(tables(TITLES, found), "it rings")[0] == "**not shown**"


def test_the_reason_stands_below() -> None:
    found = [
        facts("trixie"), facts("newest"),
        result("trixie", "a", "skipped", "this kernel is old"),
        result("trixie", "b", "skipped", "it cannot sleep"),
        result("newest", "b"), result("newest", "b", "skipped", "this kernel is old"),
    ]  # fmt: skip
    text = tables(TITLES, found)
    assert cells(text, "a")[:2] == ["no (1)", ""]
    assert cells(text, "b")[:2] == ["no (2)", "yes"]
    assert text.endswith("\n1. this kernel is old\n2. it cannot sleep\n")


def test_a_machine_that_did_not_boot_has_no_column() -> None:
    assert "Debian 12" not in tables(TITLES, [facts("trixie"), result("bookworm", "a", "failed")])


def test_half_a_line_is_left_out() -> None:
    whole = json.dumps(result("trixie", "a"))
    assert rows(f"{whole}\n{whole[:40]}\n{{}}\n3\n") == [result("trixie", "a")]


def test_a_run_is_taken_and_the_document_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, results = tmp_path / "machines.md", tmp_path / "machines.json"
    monkeypatch.setattr(machine_table, "DOCUMENT", document)
    monkeypatch.setattr(machine_table, "RESULTS", results)
    document.write_text(f"before\n{machine_table.BEGIN}old\n{machine_table.END}after\n")
    run = tmp_path / "run"
    lines = [facts("trixie"), result("trixie", "it rings") | {"seconds": 3.0}]
    run.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["--results", str(run)]) == 0
    assert "it rings" in document.read_text()
    assert document.read_text().startswith("before\n")
    assert document.read_text().endswith("after\n")
    assert main([]) == 0
    document.write_text(document.read_text().replace("yes", "no"))
    assert main([]) == 1
    assert main(["--write"]) == 0
    assert main(["--nonsense"]) == 64


def test_the_document_has_the_newest_results() -> None:
    assert machine_table.DOCUMENT.read_text() == page()


def test_everything_in_the_document_was_shown() -> None:
    assert "**not shown**" not in machine_table.DOCUMENT.read_text()

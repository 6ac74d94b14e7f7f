"""The tables of docs/machines.md: what a run renews, and what a cell says."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from machines.claim import MARK, counts
from machines.description import MACHINES

from scripts import machine_table
from scripts.machine_table import main, merged, page, rows, tables

ROOT = Path(__file__).resolve().parent.parent
TITLES = {"trixie": "Debian 13", "bookworm": "Debian 12", "newest": "unstable"}


def facts(machine: str, boot: float = 60) -> Any:
    return {
        "machine": machine, "kernel": "6.12.1", "systemd": "257", "python": "3.13.5",
        "libc": "2.41", "boot": boot,
    }  # fmt: skip


def whole(machine: str) -> Any:
    return {"machine": machine, "whole": True}


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
    run = [facts("newest", 70), result("newest", "new"), whole("newest")]
    assert merged(kept, run) == [*kept[:2], *run]


def test_a_run_that_is_not_whole_renews_nothing() -> None:
    kept = [facts("trixie"), result("trixie", "old"), whole("trixie")]
    assert merged(kept, [facts("trixie"), result("trixie", "new")]) == kept
    short = [facts("trixie"), result("trixie", "new"), whole("trixie") | {"whole": False}]
    assert merged(kept, short) == kept


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
    assert cells(text, "b")[:2] == ["no (2)", "in part (1)"]
    assert "\n1. this kernel is old\n2. it cannot sleep\n" in text
    assert text.endswith("\n\nNot tried to the end yet: Debian 12.\n")


def test_a_machine_that_did_not_boot_says_so() -> None:
    text = tables(
        TITLES, [facts("trixie"), result("trixie", "a"), result("bookworm", "a", "failed")]
    )
    assert "| Debian 12 | **did not boot** |" in text
    assert cells(text, "a")[:2] == ["yes", "**not shown**"]


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
    lines = [facts("trixie"), result("trixie", "it rings") | {"seconds": 3.0}, whole("trixie")]
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


def test_each_machine_of_the_document_has_each_claim_of_today() -> None:
    """So a claim that was renamed, added or removed makes `make vm` necessary."""
    shown: dict[str, set[tuple[str, str]]] = {}
    for row in rows(machine_table.RESULTS.read_text()):
        if "claim" in row:
            file = row["test"].partition("::")[0].rpartition("/")[2]
            shown.setdefault(row["machine"], set()).add((row["claim"], file))
    assert "trixie" in shown
    assert shown == {name: claims_of(name) for name in shown}


def claims_of(machine: str) -> set[tuple[str, str]]:
    """Return the claims that count for a machine, each with its file."""
    found = set()
    for path in (ROOT / "tests" / "machines").glob("test_*.py"):
        if counts(path.stem.removeprefix("test_"), MACHINES[machine].claims):
            module = importlib.import_module(f"machines.{path.stem}")
            found |= {(mark.args[0], path.name) for mark in claims(module)}
    return found


def claims(module: ModuleType) -> Iterator[pytest.Mark]:
    """Yield the claims of a file: those of its tests, and of their parameters."""
    for name, function in vars(module).items():
        if name.startswith("test_"):
            for mark in getattr(function, "pytestmark", ()):
                yield from [mark] if mark.name == MARK else []
                if mark.name == "parametrize":
                    sets = [each for each in mark.args[1] if isinstance(each, type(pytest.param()))]
                    yield from (
                        one.mark if hasattr(one, "mark") else one
                        for each in sets
                        for one in each.marks
                        if one.name == MARK
                    )


def test_each_test_of_a_machine_has_a_claim() -> None:
    for path in (ROOT / "tests" / "machines").glob("test_*.py"):
        module = importlib.import_module(f"machines.{path.stem}")
        tests = [name for name in vars(module) if name.startswith("test_")]
        assert path.stem == "test_parts" or len(list(claims(module))) >= len(tests), path.name


def test_each_word_of_a_list_of_claims_is_a_file() -> None:
    for machine in MACHINES.values():
        for word in machine.claims:
            assert (ROOT / "tests" / "machines" / f"test_{word}.py").exists(), machine.name

"""The times of docs/install.md: what a run renews, and what it leaves."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import install_page
from scripts.install_page import merged, rows, table


def row(name: str, command: str, seconds: float, *, end: bool = False, **more: Any) -> Any:
    return {
        "name": name, "command": command, "seconds": seconds, "fetched": 0.0, "cores": 2,
        "end": end, **more,
    }  # fmt: skip


def test_a_whole_run_renews_the_times_of_its_block() -> None:
    old = [row("agent", "a", 1.0), row("agent", "done", 2.0, end=True)]
    new = [row("agent", "a", 3.0), row("agent", "done", 4.0, end=True)]
    other = [row("first ring", "b", 5.0), row("first ring", "rung", 6.0, end=True)]
    assert merged(old, new + other) == other + new
    assert merged(old, []) == old
    assert merged([], new + old) == old


def test_a_run_that_was_ended_renews_nothing() -> None:
    old = [row("agent", "a", 1.0), row("agent", "done", 2.0, end=True)]
    assert merged(old, [row("agent", "a", 3.0)]) == old
    assert merged(old, [row("pipx install", "a", 3.0, end=True)]) == old


def test_the_table_has_each_command_and_the_sum() -> None:
    lines = table(
        [
            row("first ring", "apt-get install x | y", 7.5, fetched=9.9),
            row("first ring", "the first ring is counted", 8.0, end=True),
        ]
    ).splitlines()
    assert lines[2:] == [
        "| **a bare Debian 13** | | |",
        "| `apt-get install x &#124; y` | 7.5 | 9.9 MB |",
        "| the first ring is counted, in all | 8.0 | |",
    ]


def test_lines_that_are_not_whole_are_left_out() -> None:
    whole = row("agent", "a", 1.0)
    assert rows(json.dumps(whole) + '\n{"name": "agent"}\nnull\n{"na') == [whole]


def test_the_page_shows_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert install_page.main([]) == 0, capsys.readouterr().err
    assert {each["name"] for each in rows(install_page.RESULTS.read_text())} == set(
        install_page.TITLES
    )


def test_results_are_taken_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_page, "DOCUMENT", tmp_path / "page.md")
    monkeypatch.setattr(install_page, "RESULTS", tmp_path / "page.json")
    page = f"before\n{install_page.BEGIN}old\n{install_page.END}after\n"
    (tmp_path / "page.md").write_text(page)
    (tmp_path / "run").write_text(json.dumps(row("agent", "done", 2.0, end=True)) + "\n")
    assert install_page.main(["--results", str(tmp_path / "run")]) == 0
    written = (tmp_path / "page.md").read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "| done, in all | 2.0 | |" in written
    assert "old" not in written
    assert install_page.main([]) == 0
    (tmp_path / "page.md").write_text(page)
    assert install_page.main([]) == 1


def test_an_unknown_option_is_refused() -> None:
    assert install_page.main(["--what"]) == 64

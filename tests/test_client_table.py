"""The table of docs/clients.md: what a run renews, and what it leaves."""

import json
from pathlib import Path
from typing import Any

import pytest

from mailbell.agent.preset import Preset
from scripts import client_table
from scripts.client_table import merged, rows, table

TRIED = "Debian 12, mutt 2"
MUTT = Preset(
    name="mutt", title="Mutt | TUI", kind="none", what="Notices by itself", verified=TRIED
)
SET = Preset(name="set", title="Set", kind="none", what="Nothing", verified="not tried here")


def row(way: str, seconds: float | None, version: str = TRIED, **more: str) -> Any:
    test = {"test": "tests/mail_programs/test_readers.py::test_it[mutt]"}
    return {"preset": "mutt", "version": version, "way": way, "seconds": seconds, **test, **more}


def test_a_run_renews_what_the_same_tests_have_said() -> None:
    other = row("POP3", 2.0, "Debian 13, mutt 3", test="other")
    kept = [row("IMAP", 1.0), row("POP3", 2.0), row("POP3", 2.0, "Debian 11, mutt 1"), other]
    assert merged(kept, [row("POP3", 4.0)]) == [row("IMAP", 1.0), row("POP3", 4.0), other]
    assert merged(kept, []) == sorted(kept, key=lambda row: (row["way"], row["version"]))


def test_a_run_says_the_median() -> None:
    run = [row("POP3", 4.0, test="a"), row("POP3", 3.0, test="b"), row("POP3", 8.0, test="c")]
    assert merged([row("POP3", 1.0)], run) == [row("POP3", 4.0, test="c")]
    assert merged([], [row("IMAP", None)]) == [row("IMAP", None)]


def test_what_was_tried_by_hand_is_renewed_by_a_test() -> None:
    by_hand = [row("IMAP", 1.0, "Debian 11, mutt 1", test=""), row("POP3", 2.0, test="")]
    assert merged(by_hand, [row("IMAP", 3.0)]) == [row("IMAP", 3.0), by_hand[1]]


def test_the_table_has_a_line_for_each_preset() -> None:
    figures = [row("POP3", 1.25), row("IMAP", 1.0), row("signal", None)]
    mutt, nothing = table([MUTT, SET], figures).removeprefix(client_table.HEAD).splitlines()
    assert mutt == (
        "| Mutt &#124; TUI | `mutt` | none | Notices by itself "
        "| Debian 12, mutt 2 (POP3: 1.25 s; IMAP: 1.0 s) | `test_readers.py` |"
    )
    assert nothing == "| Set | `set` | none | Nothing | not tried here |  |"


def test_several_versions_are_told_apart_and_what_is_done_by_hand_is_named() -> None:
    figures = [row("IMAP", 1.0), row("IMAP", 2.0, "Debian 13, mutt 3", test="")]
    (line,) = table([MUTT], figures).removeprefix(client_table.HEAD).splitlines()
    assert "| Debian 12, mutt 2 (IMAP: 1.0 s)<br>Debian 13, mutt 3 (IMAP: 2.0 s) |" in line
    assert line.endswith("| `test_readers.py`, by hand |")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("nothing\n[1]\n5\n{}\n", []),
        (
            f"{json.dumps(row('IMAP', 1.0))}\n{json.dumps(row('POP3', 2.0))[:-9]}",
            [row("IMAP", 1.0)],
        ),
    ],
)
def test_results_may_be_missing_or_not_whole(
    text: str, expected: list[object], tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    assert rows(path) == []
    path.write_text(text)
    assert rows(path) == expected


def test_the_script_writes_what_a_run_has_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document, results, run = (tmp_path / name for name in ("a.md", "a.json", "run.jsonl"))
    document.write_text(f"before\n{client_table.BEGIN}old\n{client_table.END}after\n")
    run.write_text(json.dumps(row("IMAP", 1.5)) + "\n")
    monkeypatch.setattr(client_table, "DOCUMENT", document)
    monkeypatch.setattr(client_table, "RESULTS", results)
    monkeypatch.setattr(client_table, "rows", lambda path=results: rows(path))
    monkeypatch.setattr(client_table, "presets", lambda: [MUTT])

    def called(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["client_table.py", *words])
        return client_table.main()

    assert called() == 1
    assert "run with --write" in capsys.readouterr().out
    assert (called("--write"), called()) == (0, 0)
    assert (called("--results", str(run)), called()) == (0, 0)
    assert rows(results) == [row("IMAP", 1.5)]
    text = document.read_text()
    assert "IMAP: 1.5 s" in text
    assert (text.startswith("before\n"), text.endswith("after\n")) == (True, True)
    assert called("--result") == 64

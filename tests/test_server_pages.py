"""docs/servers/ says what the recipes say, and what the tests of the servers have measured."""

from pathlib import Path

import pytest

from scripts import server_pages


def test_the_pages_are_those_of_the_recipes() -> None:
    assert server_pages.differing() == [], "run: python scripts/server_pages.py --write"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ('{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ('{"a": 1}\n{"a": ', [{"a": 1}]),
        ('[{"a": 1}, 2]', [{"a": 1}]),
        ('{"a": 1}', [{"a": 1}]),
        ("nothing", []),
    ],
)
def test_results_may_be_missing_or_not_whole(
    text: str, expected: list[object], tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    assert server_pages.results(path) == []
    path.write_text(text)
    assert server_pages.results(path) == expected


def test_a_page_that_differs_is_written_and_one_of_no_server_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "servers"
    monkeypatch.setattr(server_pages, "FOLDER", folder)
    monkeypatch.setattr("sys.argv", ["server_pages.py", "--write"])
    assert server_pages.main() == 0
    (folder / "postfix.md").write_text("# Postfix\n")
    (folder / "mmdf.md").write_text("# MMDF\n")
    assert server_pages.differing() == ["mmdf.md", "postfix.md"]
    monkeypatch.setattr("sys.argv", ["server_pages.py"])
    assert server_pages.main() == 1
    assert "docs/servers/mmdf.md is not what its recipe says" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["server_pages.py", "--write"])
    assert (server_pages.main(), server_pages.differing()) == (0, [])
    assert not (folder / "mmdf.md").exists()

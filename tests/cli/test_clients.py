"""`mailbell clients`, on the shipped presets."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli.support import Run

from mailbell.agent.configuration import from_options
from mailbell.agent.preset import Preset
from mailbell.cli import _group, clients
from mailbell.cli._agent_file import presets

KNOWN = presets()


@pytest.fixture
def nothing_installed(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    environment["PATH"] = str(tmp_path / "bin")


def test_the_table_has_every_client_in_80_columns(run: Run) -> None:
    result = run("mailbell", "clients")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    first = [line.split()[:2] for line in lines if line and not line.startswith(" ")]
    for preset in KNOWN.values():
        assert [preset.name, preset.kind] in first
        # The sentence may be broken into several lines, so look for its first word.
        assert preset.what.split()[0] in result.stdout
    for kind in ("run", "poke", "none"):
        assert f"\n{kind:<5} " in result.stdout


@pytest.mark.usefixtures("nothing_installed")
def test_what_is_missing_is_marked(run: Run) -> None:
    assert "mbsync (missing)" in run("mailbell", "clients").stdout
    assert "mbsync (missing)" in run("mailbell", "clients", "mbsync").stdout
    record = json.loads(run("mailbell", "clients", "mbsync", "--json").stdout)
    assert record["missing"] == record["needs"] == ["mbsync"]


def test_what_is_there_is_not(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mbsync").write_text("#!/bin/sh\n")
    (tmp_path / "mbsync").chmod(0o755)
    environment["PATH"] = str(tmp_path)
    assert "missing" not in run("mailbell", "clients", "mbsync").stdout
    assert json.loads(run("mailbell", "clients", "mbsync", "--json").stdout)["missing"] == []


def test_json_has_all_of_all(run: Run) -> None:
    records = json.loads(run("mailbell", "clients", "--json").stdout)["clients"]
    assert [record["name"] for record in records] == sorted(KNOWN)
    for record in records:
        preset = KNOWN[record["name"]]
        assert set(record) == {*Preset.__struct_fields__, "missing"}
        assert record["missing"] == [name for name in preset.needs if shutil.which(name) is None]
        assert tuple(record["command"]) == preset.command
        assert record["ok_codes"] == sorted(preset.ok_codes)
        assert record["traps"] == list(preset.traps)


@pytest.mark.parametrize("name", KNOWN)
def test_the_details_have_everything_in_80_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert _group.run(["clients", name]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    said = "".join(out.split())  # without the line breaks
    preset = KNOWN[name]
    for text in (preset.title, preset.what, preset.words, preset.verified, *preset.traps):
        assert "".join(text.split()) in said
    for line in preset.setup.splitlines():
        assert line in out
    for command in (preset.command, preset.then):
        assert "".join(shlex.join(command).split()) in said


@pytest.mark.parametrize("name", [name for name, preset in KNOWN.items() if preset.command])
def test_a_shipped_preset_is_a_job(name: str) -> None:
    preset = KNOWN[name]
    given: dict[str, Any] = {"client": name, "accounts": ("work",)}
    if preset.words_needed:
        given["args"] = ["word"]
    (job,) = from_options(given, KNOWN)
    assert job.command[: len(preset.command)] == tuple(
        word.replace("{account}", "work") for word in preset.command
    )
    assert (job.lock, job.only_rung) == (preset.lock, preset.only_rung)


ODD = Preset(
    name="odd", title="Odd", kind="poke", what="Does things to {account}", verified="nowhere",
    command=("odd", "a b", "{account}"), words="numbers", words_needed=True, lock="odd",
    then=("after", "it's"), ok_codes=frozenset({3}), only_rung=True, needs=("odd", "after"),
)  # fmt: skip


def test_odd_ones_are_told_in_full(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "presets", lambda: {"odd": ODD})
    assert _group.run(["clients", "odd"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[2:] == [
        "",
        "kind poke: tells a running program to fetch",
        "runs odd 'a b' '{account}'",
        "say mailbell run --client odd --account NAME -- WORD...",
        "words numbers",
        "then after 'it'\"'\"'s'",
        "success exit codes 0, 3",
        "lock odd",
        "when for notifications only, not at the start, after sleep or as a poll",
        "needs odd (missing)",
        "after (missing)",
        "verified nowhere",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mbsink", "mailbell: 'mbsink' is not a known client; perhaps mbsync\n"),
        ("../x", "mailbell: '../x' is not a known client; 'mailbell clients' shows them\n"),
    ],
)
def test_an_unknown_one_is_64(run: Run, name: str, said: str) -> None:
    result = run("mailbell", "clients", name)
    assert (result.returncode, result.stdout, result.stderr) == (64, "", said)


def test_names_complete(run: Run, environment: dict[str, str]) -> None:
    environment |= {
        "_MAILBELL_COMPLETE": "bash_complete",
        "COMP_WORDS": "mailbell clients mbs",
        "COMP_CWORD": "2",
    }
    assert run("mailbell").stdout == "plain,mbsync\n"

"""`mailbell clients`, on the shipped presets."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli.support import Run
from msgspec.structs import replace

from mailbell.agent.configuration import from_options
from mailbell.agent.preset import Preset
from mailbell.cli import _group, _here, clients
from mailbell.cli._agent_file import presets
from mailbell.cli._here import look
from mailbell.core.escape import printable

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
    lines = run("mailbell", "clients").stdout.splitlines()
    at = lines[0].index("here")
    here = {line.split()[0]: line[at:].rstrip() for line in lines if line[:1].strip()}
    assert here["mbsync"] == here["thunderbird"] == "not installed"
    assert here["outlook"] == ""  # it cannot be told
    assert "busctl missing" in "\n".join(lines)
    details = run("mailbell", "clients", "mbsync").stdout
    assert "not installed: no mbsync in PATH" in details
    assert "mbsync (missing)" in details
    record = json.loads(run("mailbell", "clients", "mbsync", "--json").stdout)
    assert record["missing"] == record["needs"] == ["mbsync"]
    assert record["installed"] is False
    outlook = json.loads(run("mailbell", "clients", "outlook", "--json").stdout)
    assert (outlook["installed"], outlook["helper_in_place"], outlook["sources"]) == (None,) * 3


def program(environment: dict[str, str], folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
    environment["PATH"] = str(folder)


def test_what_is_there_is_not(run: Run, environment: dict[str, str], tmp_path: Path) -> None:
    program(environment, tmp_path, "mbsync")
    details = run("mailbell", "clients", "mbsync").stdout
    assert "missing" not in details
    assert ["here", "installed"] in [line.split() for line in details.splitlines()]
    record = json.loads(run("mailbell", "clients", "mbsync", "--json").stdout)
    assert (record["missing"], record["installed"], record["helper_in_place"]) == ([], True, None)


ADDON = ".thunderbird/x1.default/extensions/thunderbird@mailbell.org.xpi"
# Without the places of the machine, where it may be installed.
LOADS = replace(
    KNOWN["thunderbird"],
    helper=tuple(path for path in KNOWN["thunderbird"].helper if path.startswith("~/")),
)


# In a home folder with such a name, only the stars of the pattern stand for others.
@pytest.mark.parametrize("home", ["home", "h[o]me", "ho*e"])
def test_a_helper_is_looked_for_in_each_of_its_places(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / home))
    place, wrong = tmp_path / home / ADDON, tmp_path / "hoXe" / ADDON
    for path in (place, wrong):
        path.parent.mkdir(parents=True)
    wrong.touch()
    assert look(LOADS).helper is None
    place.touch()
    assert look(LOADS).helper == str(place)


def test_a_helper_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(clients, "presets", lambda: {"thunderbird": LOADS})

    def told(*words: str) -> str:
        assert _group.run(["clients", *words]) == 0
        return capsys.readouterr().out

    assert "no helper" in told()
    assert "not in place" in told("thunderbird")
    record = json.loads(told("thunderbird", "--json"))
    assert (record["helper_in_place"], record["helper_path"]) == (False, None)
    place = tmp_path / ADDON
    place.parent.mkdir(parents=True)
    place.touch()
    assert "helper in place" in told()
    assert f" {place}" in told("thunderbird")
    record = json.loads(told("thunderbird", "--json"))
    assert (record["helper_in_place"], record["helper_path"]) == (True, str(place))


@pytest.mark.parametrize("name", ["a\x1b]0;b\x07c", "a\nb", "a\u202eb", "a\udcffb"], ids=ascii)
def test_folders_with_odd_names_are_escaped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A profile's folder may have any name, and also the folder in which mailbell is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(clients, "presets", lambda: {"thunderbird": LOADS})
    monkeypatch.setattr(_here, "CLIENTS", str(tmp_path / name))
    (tmp_path / name / "thunderbird").mkdir(parents=True)
    place = tmp_path / ADDON.replace("x1.default", name)
    place.parent.mkdir(parents=True)
    place.touch()
    assert _group.run(["clients", "thunderbird"]) == 0
    out = capsys.readouterr().out
    lines = [line.strip() for line in out.splitlines()]
    assert lines[lines.index("helper") + 1] == printable(str(place))
    assert lines[lines.index("sources") + 1] == printable(str(tmp_path / name / "thunderbird"))
    assert out.replace("\n", "").isprintable()
    assert _group.run(["clients", "thunderbird", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert json.loads(out)["helper_path"] == str(place)


def test_without_a_home_folder_no_helper_is_looked_for_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "~")
    assert look(LOADS).helper is None


def test_what_mailbell_carries_for_a_program_is_named(run: Run) -> None:
    record = json.loads(run("mailbell", "clients", "thunderbird", "--json").stdout)
    assert Path(record["sources"], "manifest.json").is_file()
    details = run("mailbell", "clients", "thunderbird").stdout
    assert f"\n  {record['sources']}\n" in details


def test_a_path_that_a_person_copies_is_never_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the path of a helper, nor that of our sources, nor the command that has it."""
    long = tmp_path / "folder with a blank" / ("x" * 100)
    place = long / "module.so"
    (long / "evolution").mkdir(parents=True)
    place.touch()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(_here, "CLIENTS", str(long))
    known = {"evolution": replace(KNOWN["evolution"], helper=(str(place),))}
    monkeypatch.setattr(clients, "presets", lambda: known)
    assert _group.run(["clients", "evolution"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    folder = str(long / "evolution")
    assert lines[lines.index("helper") + 1] == str(place)
    assert lines[lines.index("sources") + 1] == folder
    (build,) = (line for line in lines if line.startswith("make "))
    assert shlex.split(build) == ["make", "-f", f"{folder}/Makefile", "install"]


def test_json_has_all_of_all(run: Run) -> None:
    records = json.loads(run("mailbell", "clients", "--json").stdout)["clients"]
    assert [record["name"] for record in records] == sorted(KNOWN)
    for record in records:
        preset = KNOWN[record["name"]]
        assert set(record) == {
            *Preset.__struct_fields__, "missing", "installed", "helper_in_place", "helper_path",
            "sources",
        }  # fmt: skip
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
    preset = KNOWN[name]
    here = look(preset)
    paths = [path for path in (here.helper, here.sources) if path]
    assert all(len(line) <= 80 or any(path in line for path in paths) for line in out.splitlines())
    said = "".join(out.split())  # without the line breaks
    for text in (preset.title, preset.what, preset.words, preset.verified, *preset.traps):
        assert "".join(text.split()) in said
    for line in preset.setup.splitlines():
        assert line.replace("FOLDER", here.sources or "") in out
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
    programs=("odd", "odder"), helper=("/nowhere/odd.so",),
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
        "here not installed: no odd or odder in PATH",
        "helper not in place",
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
        ("emacs", "mailbell: 'emacs' is not a known client; perhaps gnus or mu4e\n"),
        ("isync", "mailbell: 'isync' is not a known client; perhaps mbsync\n"),
        ("../x", "mailbell: '../x' is not a known client; 'mailbell clients' shows them\n"),
    ],
)
def test_an_unknown_one_is_64(run: Run, name: str, said: str) -> None:
    result = run("mailbell", "clients", name)
    assert (result.returncode, result.stdout, result.stderr) == (64, "", said)


def test_large_letters_make_no_difference(run: Run) -> None:
    said = [run("mailbell", "clients", name).stdout for name in ("thunderbird", "Thunderbird")]
    assert said[0] == said[1] != ""


def test_names_complete(run: Run, environment: dict[str, str]) -> None:
    environment |= {
        "_MAILBELL_COMPLETE": "bash_complete",
        "COMP_WORDS": "mailbell clients mbs",
        "COMP_CWORD": "2",
    }
    assert run("mailbell").stdout == "plain,mbsync\n"

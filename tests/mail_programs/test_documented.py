"""The preset and the document say of each mail program what the tests have shown."""

import ast
import platform
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from mail_programs.fetchers import FETCHERS
from mail_programs.support import PRESETS

from mailbell.agent.preset import Preset

HERE = Path(__file__).parent
TEXT = (HERE.parents[1] / "docs" / "clients.md").read_text()
NOT_TRIED = "not tried here"
# What the tests find on the machine itself, and not in a root of their own.
ON_THIS_MACHINE = {
    *(HERE.parents[1] / ".ci" / "stages")
    .read_text()
    .partition("packages=(")[2]
    .split(")")[0]
    .split()
}
SHELLS = {"sh", "bash", "dash", "zsh", "env", "eval", "xargs", "pkill", "killall"}


class Row(NamedTuple):
    preset: str
    kind: str
    tried: str
    test: str


def rows() -> list[Row]:
    table = TEXT.partition("## What was tried")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines[2:]]


TESTS = {
    node.name
    for file in HERE.glob("test_*.py")
    for node in ast.walk(ast.parse(file.read_text()))
    if isinstance(node, ast.FunctionDef)
}


def test_every_preset_has_its_row() -> None:
    assert sorted(row.preset for row in rows()) == sorted(PRESETS)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.preset)
def test_a_row_says_what_the_preset_says(row: Row) -> None:
    preset = PRESETS[row.preset]
    assert (row.kind, row.tried) == (preset.kind, preset.verified)
    assert row.test in TESTS or (row.test == "" and row.tried == NOT_TRIED)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_what_was_tried_is_what_is_installed(preset: Preset) -> None:
    if preset.verified == NOT_TRIED:
        return
    found = re.fullmatch(r"(Debian \d+), (\S+) (\S+)", preset.verified)
    assert found
    system, package, version = found.groups()
    this = platform.freedesktop_os_release()
    if f"Debian {this.get('VERSION_ID')}" == system and this["ID"] == "debian":
        asked = ["dpkg-query", "-W", "-f=${Version}", package]
        installed = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        if not installed and package not in ON_THIS_MACHINE:
            return  # it was run by hand, or a test of the program itself names its version
        if not installed:
            pytest.skip(f"{package} is not installed")
        assert re.match(rf"(\d+:)?{re.escape(version)}\b", installed)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_a_preset_runs_no_shell_and_signals_nobody_by_name(preset: Preset) -> None:
    assert not SHELLS & {*preset.command[:1], *preset.then[:1]}
    words = (*preset.command, *preset.args, *preset.then)
    # Characters with a meaning for a shell only.
    assert not [word for word in words if re.search(r"[|;&<>`$*?~]", word)]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_a_poke_or_an_index_keeps_no_fetch_waiting(preset: Preset) -> None:
    if preset.kind != "none":
        assert (preset.lock == "fetch") is (preset.name in FETCHERS)

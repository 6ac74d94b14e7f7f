"""The preset and the table say of each mail program what the tests have shown."""

import ast
import platform
import re
import subprocess
from pathlib import Path

import pytest
from mail_programs.fetchers import FETCHERS
from mail_programs.support import PRESETS

from mailbell.agent.preset import Preset
from scripts import client_table

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NOT_TRIED = "not tried here"
SHELLS = {"sh", "bash", "dash", "zsh", "env", "eval", "xargs", "pkill", "killall"}
FIGURES = client_table.rows()
# Akonadi needs hundreds of packages and clicks in an assistant. Alpine by itself takes 15 s.
# Nothing rings Geary.
BY_HAND = {"akonadi", "alpine", "geary", "kmail"}
# What `.ci/run` installs on the machine itself. The others get a root of their own.
INSTALLED = set(
    (ROOT / ".ci" / "stages").read_text().partition("packages=(")[2].partition(")")[0].split()
)

TESTS = {
    node.name
    for file in HERE.glob("test_*.py")
    for node in ast.walk(ast.parse(file.read_text()))
    if isinstance(node, ast.FunctionDef)
}


def test_the_table_is_that_of_the_presets_and_their_figures() -> None:
    assert client_table.DOCUMENT.read_text() == client_table.page(), (
        "run: python scripts/client_table.py --write"
    )
    names = [preset.name for preset in client_table.presets()]
    assert sorted(names) == sorted(PRESETS)


def test_every_figure_is_of_a_preset_and_of_a_test() -> None:
    for row in FIGURES:
        assert row["preset"] in PRESETS
        assert row["test"] or row["preset"] in BY_HAND, row
        assert not row["test"] or row["test"].partition("::")[2].partition("[")[0] in TESTS, row


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_what_was_tried_has_figures_of_those_versions(preset: Preset) -> None:
    measured = {row["version"] for row in FIGURES if row["preset"] == preset.name}
    if preset.verified == NOT_TRIED:
        assert measured == set()
    else:
        tried = client_table.versions(preset)
        assert all(re.fullmatch(r"Debian \d+, \S+ [^\s;]+", version) for version in tried)
        assert measured == set(tried), (
            "run its test with MAILBELL_PROGRAMS_RESULTS=FILE in the environment, and then "
            "python scripts/client_table.py --results FILE"
        )


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_what_was_tried_is_what_is_installed(preset: Preset) -> None:
    tried = client_table.versions(preset)
    system, _, what = tried[0].partition(", ")
    package, _, version = what.partition(" ")
    if package not in INSTALLED:
        return  # it was not tried, or the test of its own root says which version it has run
    this = platform.freedesktop_os_release()
    if f"Debian {this.get('VERSION_ID')}" == system and this["ID"] == "debian":
        asked = ["dpkg-query", "-W", "-f=${Version}", package]
        installed = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
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

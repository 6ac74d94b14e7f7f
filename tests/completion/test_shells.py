"""`mailbell st`, Tab: real shells complete it, set up as documented and as in Debian's packages."""

from pathlib import Path
from typing import Final

import pytest
from completion.shells import PROMPT, SHELLS, Typing, typing
from documents.blocks import block
from packages.roots import INSTALLS
from service_files.units import require

from debian.completion import SHELLS as SHELL_FILES
from debian.completion import completion

ROOT: Final = Path(__file__).resolve().parents[2]
# Where Debian's packages put the file of each shell, and what lets it look in such a folder.
PLACES: Final = {
    "bash": (
        "usr/share/bash-completion/completions",
        ". /usr/share/bash-completion/bash_completion",
    ),
    "zsh": (
        "usr/share/zsh/vendor-completions",
        "fpath=({folder} $fpath)\nautoload -Uz compinit && compinit -u",
    ),
    "fish": ("usr/share/fish/vendor_completions.d", "set -p fish_complete_path {folder}"),
}

pytestmark = pytest.mark.skipif(
    not INSTALLS,
    reason="zsh or fish is not installed; the stage `documents` of .ci/run installs it",
)


def expect_completion(terminal: Typing) -> None:
    """Type a command up to where one word is left, and run what the shell made of it."""
    terminal.type("mailbell st\t")
    terminal.until("status")
    terminal.type("--help\n")
    # A shell that does not wait for input takes a Tab for text.
    terminal.until(rf"(?s)Show the daemon's counters, limits and sandbox.*{PROMPT}")
    # The names of presets are not words of ours in the shell's file: the program is asked.
    terminal.type("mailbell run --client mbs\t")
    terminal.until("mbsync")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_documented_line_turns_it_on(shell: str, tmp_path: Path) -> None:
    require(shell)
    order = {"bash": 0, "zsh": 1, "fish": 2}
    lines = block("docs/commands.md", "Completion", order[shell]).text
    with typing(shell, tmp_path, lines) as terminal:
        expect_completion(terminal)


@pytest.mark.parametrize("shell", SHELLS)
def test_without_it_nothing_is_completed(shell: str, tmp_path: Path) -> None:
    require(shell)
    with typing(shell, tmp_path, "") as terminal:
        terminal.type("mailbell st\t.; echo do''ne\n")
        terminal.until("done")
        assert "st." in terminal.shown
        assert "status" not in terminal.shown


@pytest.mark.parametrize("shell", SHELLS)
def test_the_files_of_debians_packages_are_found(shell: str, tmp_path: Path) -> None:
    require(shell)
    place, lines = PLACES[shell]
    name = SHELL_FILES[shell]
    installed = (ROOT / "debian" / "python3-mailbell.install").read_text().split("\n")
    assert f"debian/made/completion/{name} {place}" in installed
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / name).write_text(completion(shell))
    lines = lines.format(folder=folder)
    with typing(shell, tmp_path, lines, XDG_DATA_DIRS=str(tmp_path / "usr/share")) as terminal:
        expect_completion(terminal)

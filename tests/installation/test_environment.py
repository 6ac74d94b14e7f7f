"""Which tool has made an environment, and what its user must do instead."""

import shlex
from pathlib import Path

import pytest

import mailbell
from mailbell.core.errors import ConfigurationError
from mailbell.installation import environment
from mailbell.installation.environment import find_environment, remedy_of, tool_of

TOOLS = ("pipx", "uv", "pip", "source")


@pytest.mark.parametrize("mark", [("pipx_metadata.json", "pipx"), ("uv-receipt.toml", "uv")])
def test_a_tool_is_known_by_the_file_that_it_leaves(tmp_path: Path, mark: tuple[str, str]) -> None:
    (tmp_path / mark[0]).touch()
    assert tool_of(str(tmp_path)) == mark[1]


def test_without_such_a_file_it_is_pip(tmp_path: Path) -> None:
    """The tests run the wheel, and not the source tree."""
    assert tool_of(str(tmp_path)) == "pip"


@pytest.mark.parametrize("tool", TOOLS)
def test_each_remedy_is_a_command_line_for_a_folder_of_root(tool: str) -> None:
    remedy = remedy_of(tool)
    assert remedy.startswith("as root: ")
    command, then = remedy.removeprefix("as root: ").split("; then: ")
    assert "{" not in remedy
    assert all(word.startswith("/") for word in then.split() if word.endswith("mailbell"))
    words = shlex.split(command)
    folders = [word.partition("=")[2] for word in words if "=" in word and word[0].isupper()]
    assert all(folder.startswith(("/opt/", "/usr/local/bin")) for folder in folders)
    assert then.endswith(" install")


@pytest.mark.parametrize("tool", TOOLS)
def test_without_a_python_of_the_system_another_one_is_named(
    tool: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "_SYSTEM_PYTHON", str(tmp_path / "none"))
    remedy = remedy_of(tool)
    assert str(tmp_path) not in remedy
    assert ("--python 3.13" in remedy) == (tool == "uv")


def test_a_tree_in_pythonpath_is_not_what_a_service_would_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbell, "__file__", str(tmp_path / "mailbell/__init__.py"))
    with pytest.raises(ConfigurationError) as caught:
        find_environment()
    assert str(caught.value).startswith(f"this mailbell is in {tmp_path}/mailbell, and a service ")

"""A snapshot shows every change that an installation could leave behind."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from packages.snapshot import BOOTED, PACKAGES, differences, snapshot


def tree(root: Path) -> Path:
    (root / "etc" / "mailbell").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("root:x:0:0::/:\n")
    (root / "etc" / "file").write_text("one\n")
    (root / "etc" / "link").symlink_to("file")
    return root


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a new file": (lambda etc: (etc / "new").touch(), "new: /etc/new"),
    "a new folder": (lambda etc: (etc / "new").mkdir(), "new: /etc/new"),
    "a broken link": (lambda etc: (etc / "new").symlink_to("nowhere"), "new: /etc/new"),
    "a pipe": (lambda etc: os.mkfifo(etc / "new"), "new: /etc/new"),
    "a removed folder": (lambda etc: (etc / "mailbell").rmdir(), "gone: /etc/mailbell"),
    "a mode": (lambda etc: (etc / "mailbell").chmod(0o700), "changed: /etc/mailbell"),
    "a content": (lambda etc: (etc / "file").write_text("two\n"), "changed: /etc/file"),
    "a user": (lambda etc: (etc / "passwd").write_text("x:x:1:1::/:\n"), "changed: /etc/passwd"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_shown_and_nothing_else(name: str, tmp_path: Path) -> None:
    change, told = CHANGES[name]
    before = snapshot(tree(tmp_path))
    assert not differences(before, snapshot(tmp_path))
    change(tmp_path / "etc")
    (line,) = differences(before, snapshot(tmp_path))
    assert line.startswith(told + ":")


def test_what_a_machine_changes_by_itself_is_left_out_with_all_below(tmp_path: Path) -> None:
    before = snapshot(tree(tmp_path), BOOTED, PACKAGES)
    for name in ("run/systemd/system", "var/lib/apt/lists", "proc/1", "var/log/journal/1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc" / "passwd-").touch()
    (tmp_path / "run" / "mailbell").mkdir()
    paths = [
        line.split(": ")[1] for line in differences(before, snapshot(tmp_path, BOOTED, PACKAGES))
    ]
    folders = ["/run", "/var", "/var/lib", "/var/lib/apt", "/var/log"]
    assert paths == sorted([*folders, "/run/mailbell"])


def test_each_path_that_is_left_out_has_its_reason() -> None:
    assert all(reason for part in (BOOTED, PACKAGES) for reason in part.values())

"""The user, the group and the folder are made in the way that the units need."""

import os
import stat
import subprocess
from pathlib import Path

from harness.child import run_as_root
from harness.sender import PATIENCE
from service_files.units import POLICY, require

from mailbell.listener.configuration import parse

DEFAULTS = parse(b"")


Files = dict[str, dict[str, list[str]]]


def made(directory: Path, *command: str) -> Files:
    """Install files under another root, as root; return the entries of its /etc by name."""
    etc = directory / "etc"
    etc.mkdir(exist_ok=True)

    def inside() -> Files:
        done = subprocess.run(
            [command[0], f"--root={directory}", *command[1:]],
            check=False, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return {path.name: entries(path) for path in etc.iterdir() if path.is_file()}

    ended = run_as_root(inside)
    assert ended.error is None, ended
    found: Files = ended.value
    return found


def entries(path: Path) -> dict[str, list[str]]:
    lines = path.read_text().splitlines()
    return {line.split(":")[0]: line.split(":") for line in lines}


def test_a_user_and_its_group_are_made_that_can_do_nothing_else(tmp_path: Path) -> None:
    require("systemd-sysusers")
    found = made(tmp_path, "systemd-sysusers", str(POLICY / "sysusers.d" / "mailbell.conf"))
    name = DEFAULTS.listen.user
    _, _, uid, gid, _, home, shell = found["passwd"][name]
    assert 0 < int(uid) < 1000
    assert (home, Path(shell).name) == ("/", "nologin")
    assert found["group"][DEFAULTS.socket.group][2] == gid
    assert found["shadow"][name][1] == "!*"  # no password, and locked


def test_a_user_that_was_made_by_hand_is_left_as_it_is(tmp_path: Path) -> None:
    """An operator may have run the command of docs/service.md that makes the user."""
    require("systemd-sysusers")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("mailbell:x:777:778::/:/bin/false\n")
    (tmp_path / "etc" / "group").write_text("mailbell:x:778:\n")
    found = made(tmp_path, "systemd-sysusers", str(POLICY / "sysusers.d" / "mailbell.conf"))
    assert found["passwd"]["mailbell"][2:4] == ["777", "778"]


def test_the_folder_is_roots_and_open_to_look_into(tmp_path: Path) -> None:
    require("systemd-tmpfiles")
    made(tmp_path, "systemd-tmpfiles", "--create", str(POLICY / "tmpfiles.d" / "mailbell.conf"))
    folder = tmp_path / Path(DEFAULTS.socket.path).parent.relative_to("/")
    found = folder.stat()
    assert stat.filemode(found.st_mode) == "drwxr-xr-x"
    # In the user namespace of an ordinary user, root is that user.
    assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())

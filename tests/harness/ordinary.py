"""Run a program as an ordinary user, although root runs the tests."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest
from harness.sender import PATIENCE

import mailbell

__all__ = ["NOBODY", "as_nobody", "as_user", "let_in"]

# uid and gid of the user "nobody", which owns no file.
NOBODY: Final = 65534

# Arguments: an empty folder, closed folders, and what is needed of what is in them, lists
# with colons. The mounts are seen by the program alone, and end with it.
_VIEW: Final = """
set -ef
hold=$1 closed=$2 needed=$3
shift 3
mount -t tmpfs -o mode=755 none "$hold"
IFS=:
for path in $needed; do
  mkdir -p "$hold$path"
  mount --bind "$path" "$hold$path"
done
for path in $closed; do mount -t tmpfs -o mode=755 none "$path"; done
for path in $needed; do
  mkdir -p "$path"
  mount --bind "$hold$path" "$path"
done
exec "$@"
"""


def as_nobody(hold: Path, *options: str) -> list[str]:
    """Return the command with which root runs a program as the user nobody, in no group.

    The interpreter may lie in a folder that is closed to others, as root's home
    is. The program then sees the file system with another folder in its place,
    and in that only what it needs.

    Args:
        hold: a folder that stays empty.
        options: for setpriv(1): which capabilities it keeps. None by default.

    Returns:
        The beginning of a command line. The test is skipped, with the reason,
        where the machine does not let us do this.
    """
    return as_user(hold, NOBODY, NOBODY, *options)


def as_user(hold: Path, uid: int, gid: int, *options: str) -> list[str]:
    """Return the same for a user with another number.

    Args:
        hold: as for `as_nobody`.
        uid: the user.
        gid: the user's only group.
        options: as for `as_nobody`.
    """
    command = [
        *_view(hold),
        "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups",
        *(options or ["--bounding-set=-all"]),
    ]  # fmt: skip
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    done = subprocess.run(
        [*command, sys.executable, "-c", "import mailbell, trio"],
        capture_output=True, text=True, check=False, timeout=PATIENCE, cwd="/",
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no program can be run as an ordinary user here: {done.stderr.strip()}")
    return command


def _view(hold: Path) -> list[str]:
    wanted = {Path(sys.base_prefix), Path(sys.prefix), Path(mailbell.__file__).parent.parent}
    closed = {found for path in wanted if (found := _closed(path))}
    if not closed:
        return []
    needed = [path for path in wanted if _closed(path)]
    lists = (":".join(map(str, paths)) for paths in (closed, needed))
    return ["unshare", "-m", "sh", "-c", _VIEW, "sh", str(hold), *lists]


def _closed(path: Path) -> Path | None:
    """Return the outermost folder on a path that other users may not enter."""
    for folder in reversed([path, *path.parents]):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def let_in(path: Path) -> None:
    """Let all users pass through folders that pytest made for this user only."""
    outside = {Path(tempfile.gettempdir()), *Path(tempfile.gettempdir()).parents}
    for folder in {path, *path.parents} - outside:
        folder.chmod(folder.stat().st_mode | 0o011)

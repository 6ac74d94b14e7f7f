"""Looks at all files that a service would load: may others write them, may its user read them.

Whoever may write one of these files decides what the service does. So each file and folder must
belong to root, and its group and others may not write. The group's permissions are also those of a
POSIX access control list (acl(5)). The service's user is no member of any other group, so what
others may not read, the service cannot read.

A link is followed name by name: whoever owns a link or a folder on its way decides where it leads.
The same counts for a folder that a `.pth` file names (site in Python's library), also if there is
no such folder yet: another user could make it.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from mailbell._sys.trusted_path import examine_way, find_weaknesses

__all__ = ["HIDDEN", "Fault", "Found", "is_below", "look"]

HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev")  # noqa: S108 (refused)
"""Folders that the units hide: ProtectHome=, PrivateTmp= and PrivateDevices= of systemd.exec(5)."""

_MOST_FILES: Final = 500_000  # an environment has some thousand
_CACHE: Final = "__pycache__"
_NAMES_FOLDERS: Final = ".pth"
_MOST_BYTES: Final = 1 << 20  # of a .pth file
# uv makes it beside pyvenv.cfg, for all users to lock. Python reads no such file.
_LOCK: Final = ".lock"


class Fault(NamedTuple):
    """Why a service must not, or cannot, use a file.

    Attributes:
        path: of the file or the folder.
        kind: "owner", "write", "read", "hidden", "many", or "missing": it leads to a name that
            does not exist, and that another user could make.
        owner: the user to whom it belongs, with "owner".
    """

    path: str
    kind: str
    owner: int = 0

    def __str__(self) -> str:
        return {
            "owner": f"{self.path} belongs to user {self.owner}",
            "write": f"other users may write to {self.path}",
            "read": f"the service's user may not read {self.path}",
            "hidden": f"{self.path} is in a folder that is hidden from services",
            "many": f"{self.path} has more files than an environment has",
            "missing": f"{self.path} leads to what does not exist and other users could make",
        }[self.kind]


class Found(NamedTuple):
    """What was found.

    Attributes:
        fault: the first fault; None: there is none.
        newest: when the last of the files was changed, in seconds since 1970.
    """

    fault: Fault | None
    newest: float


def is_below(path: str, folder: str) -> bool:
    """Tell whether a path is a folder or is in it.

    Args:
        path: an absolute path without links.
        folder: the same.
    """
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def look(roots: Sequence[str], named: Sequence[str] = ()) -> Found:
    """Look at folders, at all that is in them, and at what their links lead to.

    Args:
        roots: absolute paths without links.
        named: the paths by which programs call them, with their links.

    Returns:
        The first fault, and when the newest file was changed.

    Raises:
        OSError: this process may not look at something.
    """
    newest = 0.0
    count = 0
    for root in roots:
        if fault := _way(root):
            return Found(fault, newest)
        for path, status in _files(root):
            if path == os.path.join(root, _LOCK) and stat.S_ISREG(status.st_mode):
                continue
            count += 1
            if count > _MOST_FILES:
                return Found(Fault(root, "many"), newest)
            if fault := _judge(path, status, roots):
                return Found(fault, newest)
            if stat.S_ISREG(status.st_mode) and _CACHE not in path:
                newest = max(newest, status.st_ctime)
    faults = (_leads(path, path) for path in named)
    return Found(next(filter(None, faults), None), newest)


def _way(path: str) -> Fault | None:
    """Judge the folders that lead to a path."""
    for hidden in HIDDEN:
        if is_below(path, hidden):
            return Fault(path, "hidden")
    for weakness in find_weaknesses(path, whole=True):
        if weakness.owner is None:
            return Fault(weakness.path, "write")
        return Fault(weakness.path, "owner", weakness.owner)
    folder = os.path.dirname(path)
    while folder != "/":
        if not os.stat(folder).st_mode & stat.S_IXOTH:
            return Fault(folder, "read")
        folder = os.path.dirname(folder)
    return None


def _files(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield a folder and all that is in it; links are not followed."""
    todo = [root]
    while todo:
        path = todo.pop()
        status = os.lstat(path)
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(path) as entries:
                todo += sorted(entry.path for entry in entries)


def _judge(path: str, status: os.stat_result, roots: Sequence[str]) -> Fault | None:
    if stat.S_ISLNK(status.st_mode):
        return _judge_link(path, status, roots)
    fault = _judge_file(path, status)
    if fault is None and path.endswith(_NAMES_FOLDERS) and stat.S_ISREG(status.st_mode):
        return next(filter(None, (_leads(each, path) for each in _named_in(path))), None)
    return fault


def _judge_file(path: str, status: os.stat_result) -> Fault | None:
    if status.st_uid not in {0, os.stat("/").st_uid}:
        return Fault(path, "owner", status.st_uid)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Fault(path, "write")
    # Python needs no file of a cache, and compiles again what it cannot read.
    wanted = 0o005 if stat.S_ISDIR(status.st_mode) else 0o004
    if status.st_mode & wanted != wanted and _CACHE not in path:
        return Fault(path, "read")
    return None


def _judge_link(path: str, status: os.stat_result, roots: Sequence[str]) -> Fault | None:
    if status.st_uid not in {0, os.stat("/").st_uid}:
        return Fault(path, "owner", status.st_uid)
    if fault := _leads(path, path):
        return fault
    target = os.path.realpath(path)
    if any(is_below(target, root) for root in roots):
        return None  # it is looked at anyway
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return None  # it leads nowhere
    return _way(target) or _judge_file(target, found)


def _leads(path: str, named_by: str) -> Fault | None:
    """Judge each link and folder on the way to a path, as far as it exists."""
    way = examine_way(path)
    for weakness in way.weaknesses:
        if weakness.owner is None:
            return Fault(weakness.path, "write")
        return Fault(weakness.path, "owner", weakness.owner)
    if way.missing is None:
        return None
    folder = os.path.realpath(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    # A sticky folder is no weakness of a name that exists. In it anybody may make a new one.
    is_open = os.stat(folder).st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return Fault(named_by, "missing") if is_open else None


def _named_in(path: str) -> Iterator[str]:
    """Yield the folders that a `.pth` file names, as Python reads it."""
    with open(path, "rb") as file:
        text = file.read(_MOST_BYTES).decode(errors="surrogateescape")
    for line in text.splitlines():
        name = line.strip()
        if name and "\0" not in name and not name.startswith(("#", "import ", "import\t")):
            yield os.path.join(os.path.dirname(path), name)

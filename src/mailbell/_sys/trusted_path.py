"""Finds the folders on the way to a file in which another user could put another file.

A program that trusts the file at a path trusts whoever may change a name on the way. So the
walk begins at the root folder, and looks at every folder and every link, also at those that a
link leads through. Each must belong to root, to this process's user, or to a user that the
caller names. No other user may write to a folder, unless it is sticky: there only the owner of
a name may change it, inode(7).

The rule has no exception for a private group. A group may get members later, and the group's
permissions are also those of a POSIX access control list (acl(5)). Group 0 is a group as any
other: in a container every user may be its member.

If nothing is found on the whole way, no other user can change what the path means, also not
between this walk and the use of the path. This does not hold where the walk ended early. In a
sticky folder another user may make the missing name. So a caller that needs the whole path asks
for it, and a caller that makes folders looks again after that.

The owner of the root folder is trusted: who owns it decides all. In a user namespace this may be
the overflow user, which stands for all users of the outside.
"""

import errno
import os
import stat
from collections.abc import Collection
from contextlib import suppress
from typing import Final, NamedTuple

__all__ = ["Way", "Weakness", "examine_way", "find_weaknesses", "make_folders"]

_MOST_LINKS: Final = 40  # as many as the kernel follows, path_resolution(7)
_OPEN: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Weakness(NamedTuple):
    """A folder or a link that another user could replace, or in which one could put a name.

    Attributes:
        path: its path, without links.
        owner: the user to whom it belongs, if that user is not trusted; else None. If it is
            None, other users may write to the folder.
    """

    path: str
    owner: int | None

    def __str__(self) -> str:
        if self.owner is None:
            return f"other users may write to {self.path}"
        return f"{self.path} belongs to user {self.owner}"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if self.owner is None:
            return f"chmod go-w {self.path}"
        return f"choose a folder of your own, or `chown root {self.path}`"


class Way(NamedTuple):
    """What was found on the way to a path.

    Attributes:
        weaknesses: the weak places, beginning at the root folder.
        missing: the error at the first name that does not exist; None: all of them exist.
    """

    weaknesses: tuple[Weakness, ...]
    missing: OSError | None


def find_weaknesses(
    path: str, trusted: Collection[int] = (), *, whole: bool = False
) -> tuple[Weakness, ...]:
    """Look at every folder and link on the way to a path.

    Args:
        path: the path. If it is a folder, that is looked at too; another file is not.
        trusted: users who may change the path, beside root and this process's user.
        whole: whether all of the path must exist. If not, the walk ends where it does not.

    Returns:
        What was found, beginning at the root folder.

    Raises:
        OSError: this process may not look at a folder, or there are too many links. With
            `whole`, also a name that does not exist, if nothing else was found.
    """
    way = examine_way(path, trusted)
    if whole and way.missing is not None and not way.weaknesses:
        raise way.missing
    return way.weaknesses


def make_folders(path: str) -> None:
    """Make a folder and its missing parents, for this user alone, whatever the umask is.

    Another user may have made one of them meanwhile. So the caller looks at the whole way then.

    Args:
        path: the path of the folder.

    Raises:
        OSError: a folder cannot be made.
    """
    parent = os.path.dirname(path)
    if not os.path.isdir(parent or "."):
        make_folders(parent)
    with suppress(FileExistsError):
        os.mkdir(path, mode=0o700)


def examine_way(path: str, trusted: Collection[int] = ()) -> Way:
    """Look at every folder and link on the way to a path, as far as it exists.

    Args:
        path: as for `find_weaknesses`.
        trusted: as for `find_weaknesses`.

    Returns:
        What was found.

    Raises:
        OSError: this process may not look at a folder, or there are too many links.
    """
    missing = None
    walk = _Walk({0, os.geteuid(), os.stat("/").st_uid, *trusted})
    try:
        walk.begin()
        walk.follow(path if path.startswith("/") else os.path.join(os.getcwd(), path))
    except (FileNotFoundError, NotADirectoryError) as error:
        missing = error
    finally:
        walk.close()
    return Way(tuple(dict.fromkeys(walk.found)), missing)


class _Walk:
    """A walk from the root folder. It holds the descriptor of the folder that it has reached."""

    def __init__(self, trusted: Collection[int]) -> None:
        self._trusted = trusted
        self._place = -1
        self._name = "/"
        self._links = 0
        self.found: list[Weakness] = []

    def close(self) -> None:
        if self._place >= 0:
            os.close(self._place)
        self._place = -1

    def begin(self) -> None:
        """Go to the root folder."""
        self._go(os.open("/", _OPEN), "/")

    def follow(self, path: str) -> None:
        """Go on along a path from the folder that was reached."""
        for part in path.split("/"):
            if part not in {"", "."}:
                self._enter(part)

    def _enter(self, part: str) -> None:
        entry = os.open(part, _OPEN, dir_fd=self._place)
        try:
            status = os.fstat(entry)
            if stat.S_ISLNK(status.st_mode):
                self._look(os.path.join(self._name, part), status)
                target = os.readlink("", dir_fd=entry)
            else:
                target = None
        except BaseException:
            os.close(entry)
            raise
        if target is None:
            parent = part == ".."
            name = os.path.dirname(self._name) if parent else os.path.join(self._name, part)
            self._go(entry, name)
            return
        os.close(entry)
        self._follow_link(target)

    def _follow_link(self, target: str) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if target.startswith("/"):
            self.begin()
        self.follow(target)

    def _go(self, place: int, name: str) -> None:
        self.close()
        self._place, self._name = place, name
        status = os.fstat(place)
        if stat.S_ISDIR(status.st_mode):
            self._look(name, status)

    def _look(self, name: str, status: os.stat_result) -> None:
        if status.st_uid not in self._trusted:
            self.found.append(Weakness(name, status.st_uid))
        open_to_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        # A link has all permissions, and nobody can write to it.
        if open_to_others and not status.st_mode & stat.S_ISVTX and stat.S_ISDIR(status.st_mode):
            self.found.append(Weakness(name, None))

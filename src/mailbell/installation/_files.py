"""Files and links of an installation: written all or not at all, and nothing of a person's.

A file is ours if it has the mark, or if it is the shipped file to the byte, as a person has it who
has copied it by hand. A link can have no mark, so the path that it leads to is written in a way
that nobody else writes. In the place of anything else nothing is written, and nothing is removed. A
folder that was made gets a file that says so, and only such a folder is removed again.
"""

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Final

from mailbell._sys.trusted_path import examine_way, find_weaknesses
from mailbell._sys.whole_file import is_being_written, replace_file
from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.installation.service_files import is_marked

__all__ = [
    "FileStep",
    "LinkStep",
    "is_our_link",
    "leads_safely",
    "left_over",
    "ours",
    "remove_made",
    "require_safe_way",
]

_MOST_BYTES: Final = 1 << 20  # more than any of the files has
_FOLDER_MODE: Final = 0o755
_OURS: Final = "/./"
_MADE: Final = ".made-by-mailbell"


def require_safe_way(path: str) -> None:
    """Refuse a place in which a user other than root could put another file.

    Args:
        path: of the file.

    Raises:
        ConfigurationError: another user could.
        OSError: this process may not look at a folder.
    """
    weaknesses = find_weaknesses(os.path.dirname(path))
    if weaknesses:
        raise ConfigurationError(f"{weaknesses[0]}, who could replace {path}", weaknesses[0].remedy)


def leads_safely(path: str) -> bool:
    """Tell whether a program that a link leads to is root's, and the whole way to it.

    Args:
        path: of the link.

    Returns:
        Whether no other user can change what is executed.
    """
    way = examine_way(path)
    if way.weaknesses or way.missing is not None:
        return False
    found = os.stat(path)
    return found.st_uid == 0 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def ours(path: str, copies: Collection[str]) -> str | None:
    """Read a file of ours.

    Args:
        path: of the file.
        copies: texts that are ours without a mark.

    Returns:
        Its text; None if there is nothing.

    Raises:
        ConfigurationError: there is something else.
        OSError: it cannot be read.
    """
    try:
        # A pipe without a writer, or a device, would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise _foreign(path, "a link") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _foreign(path, "no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(_MOST_BYTES)
    finally:
        os.close(descriptor)
    text = data.decode(errors="surrogateescape")
    if not is_marked(text) and text not in copies:
        raise _foreign(path, "without the line that says so")
    return text


def _foreign(path: str, why: str) -> ConfigurationError:
    if (
        why == "a link"
        and os.path.realpath(path) == os.devnull
        and path.startswith("/etc/systemd/")
    ):
        unit = os.path.basename(path)
        return ConfigurationError(f"{unit} is masked", f"systemctl unmask {unit}")
    return ConfigurationError(
        f"{path} was not written by mailbell install ({why})", f"mv {path} {path}.old"
    )


def left_over(path: str) -> list[str]:
    """Find what an installation that was killed has left beside a file.

    Args:
        path: of the file.

    Returns:
        The paths of files of this process's user that no process writes any more.

    Raises:
        OSError: the folder cannot be read.
    """
    folder, name = os.path.split(path)
    # As tempfile names them: the name that an editor gives to its own file is another one.
    form = re.compile(rf"\.{re.escape(name)}\.[a-z0-9_]{{8}}")
    try:
        names = [each for each in os.listdir(folder) if form.fullmatch(each)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [os.path.join(folder, each) for each in sorted(names)]
    return [each for each in found if _is_own_file(each) and not is_being_written(each)]


def _is_own_file(path: str) -> bool:
    with suppress(FileNotFoundError):
        status = os.lstat(path)
        return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
    return False


class FileStep:
    """A file that the machine must have.

    Args:
        path: of the file. Missing folders are made.
        text: all that it contains, with the mark.
        copies: texts that are ours without a mark, so that they are replaced.
        mode: its permissions.
    """

    def __init__(
        self, path: str, text: str, copies: Collection[str] = (), mode: int = 0o644
    ) -> None:
        self.path = path
        self.is_changed = False
        self._text = text
        self._copies = copies
        self._mode = mode
        self._before: str | None = None
        self._made: list[str] = []

    @property
    def what(self) -> str:
        """The step as the person is told."""
        return f"write {self.path}"

    @property
    def there(self) -> str:
        """The same, if nothing must be done."""
        return f"{self.path} is in place already"

    def check(self) -> None:
        """Refuse the file of a person, and a folder of another user."""
        require_safe_way(self.path)
        ours(self.path, self._copies)

    def is_done(self) -> bool:
        """Tell whether exactly this file is there."""
        if ours(self.path, self._copies) != self._text:
            return False
        status = os.lstat(self.path)
        return status.st_uid == 0 and stat.S_IMODE(status.st_mode) == self._mode

    def do(self) -> None:
        """Write it."""
        self._before = ours(self.path, self._copies)
        _make_folders(os.path.dirname(self.path), self._made)
        # Another process of root may have changed the way meanwhile.
        require_safe_way(self.path)
        for each in left_over(self.path):
            os.unlink(each)
        self.is_changed = True
        replace_file(self.path, self._text.encode(), self._mode)

    def undo(self) -> None:
        """Put back the file that was there, or none."""
        if self.is_changed:
            if self._before is None:
                with suppress(FileNotFoundError):
                    os.unlink(self.path)
            elif ours(self.path, self._copies) != self._before:  # a full disk has changed nothing
                before = self._before.encode(errors="surrogateescape")
                replace_file(self.path, before, self._mode)
        self.is_changed = False
        for folder in reversed(self._made):
            remove_made(folder)


def _make_folders(folder: str, made: list[str]) -> None:
    """Make a folder and those that lead to it, and note each one."""
    for each in _missing(folder):
        os.mkdir(each, _FOLDER_MODE)
        made.append(each)
        os.chmod(each, _FOLDER_MODE)  # whatever the umask is
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(os.path.join(each, _MADE), flags, 0o644))


def remove_made(folder: str) -> None:
    """Remove a folder that `FileStep` has made, if nothing else is in it any more.

    Args:
        folder: its path.

    Raises:
        OSError: it cannot be removed.
    """
    mark = os.path.join(folder, _MADE)
    if not os.path.lexists(mark) or os.listdir(folder) != [_MADE]:
        return
    os.unlink(mark)
    os.rmdir(folder)


def _missing(folder: str) -> Iterator[str]:
    """Yield the folders on the way that do not exist, the outermost first."""
    if not os.path.lexists(folder):
        yield from _missing(os.path.dirname(folder))
        yield folder


def is_our_link(path: str) -> bool:
    """Tell whether `mailbell install` has made a link.

    Args:
        path: of the link.

    Returns:
        Whether there is a link that leads to a program of its name in the way that `LinkStep`
        writes.
    """
    try:
        target = os.readlink(path)
    except OSError:
        return False
    return target.startswith("/") and target.endswith(f"{_OURS}{os.path.basename(path)}")


class LinkStep:
    """A program that every person must find in the usual PATH.

    Args:
        folder: where the link is made.
        program: the path of the program.
        search: the folders of the usual PATH.
    """

    def __init__(self, folder: str, program: str, search: str) -> None:
        home, name = os.path.split(program)
        self.path = os.path.join(folder, name)
        self._program = program
        self._target = f"{home}{_OURS}{name}"
        self._search = search
        self._before: str | None = None
        self._made: list[str] = []
        self._is_begun = False

    @property
    def what(self) -> str:
        """The step as the person is told."""
        return f"link {self.path} to {self._program}"

    @property
    def there(self) -> str:
        """The same, if nothing must be done."""
        return f"{os.path.basename(self.path)} is in PATH already: {self._found() or self.path}"

    def _found(self) -> str | None:
        """Return the first file of its name in the usual PATH, also a link that leads nowhere."""
        name = os.path.basename(self.path)
        places = [os.path.join(folder, name) for folder in self._search.split(":")]
        return next((place for place in places if os.path.lexists(place)), None)

    def _leads_here(self, path: str) -> bool:
        is_same = os.path.realpath(path) == os.path.realpath(self._program)
        return is_same and leads_safely(path)

    def check(self) -> None:
        """Refuse a program of another mailbell, which would be called instead."""
        found = self._found()
        if found is not None and not is_our_link(found) and not self._leads_here(found):
            what = f"{found} is another program than {self._program}, or others may change the way"
            raise ConfigurationError(what, f"remove it, or mv {found} {found}.old")
        if found is None or is_our_link(found):
            require_safe_way(self.path)

    def is_done(self) -> bool:
        """Tell whether the name leads to the program."""
        found = self._found()
        return found is not None and self._leads_here(found)

    def do(self) -> None:
        """Make the link, or let ours lead to this mailbell."""
        self._before = os.readlink(self.path) if is_our_link(self.path) else None
        self._is_begun = True
        _make_folders(os.path.dirname(self.path), self._made)
        _replace_link(self.path, self._target, self._before)

    def undo(self) -> None:
        """Put back the link that was there, or none."""
        if self._is_begun and is_our_link(self.path):
            os.unlink(self.path)
            if self._before is not None:
                os.symlink(self._before, self.path)
        for folder in reversed(self._made):
            remove_made(folder)


def _replace_link(path: str, target: str, before: str | None) -> None:
    if before is not None:
        os.unlink(path)
    try:
        os.symlink(target, path)
    except FileExistsError as error:
        raise OperatingSystemError(
            f"another program has made {path} meanwhile", "try again"
        ) from error

"""Puts the add-on where Thunderbird finds it for every user of the machine, and removes it.

Thunderbird runs what is there with all rights of its user, so no other user may change any name
on the way. What is replaced or removed is an add-on that mailbell has built, of whatever version,
and nothing else. A folder that the installation had to make is marked with a file in it, and only
a folder with that file is removed again.

Each step is told before it is done. If a step of the installation fails, the steps before it
are undone. A removal that failed goes on where it was, when it is tried again.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from mailbell._sys.trusted_path import find_weaknesses
from mailbell._sys.whole_file import is_being_written, replace_file
from mailbell.addon.xpi import IDENTITY, is_built
from mailbell.core.errors import ConfigurationError, OperatingSystemError

__all__ = ["FOLDER", "NAME", "Say", "install", "save", "uninstall"]

FOLDER: Final = "/usr/share/mozilla/extensions/{3550f703-e582-4d05-9a08-453d09bdfdc6}"
"""Thunderbird, which has this id, looks here at each start. It asks nobody whether to load it."""

NAME: Final = f"{IDENTITY}.xpi"
MARK: Final = ".made-by-mailbell"

_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755
_MOST_BYTES: Final = 1 << 25  # more than any add-on has
_AGAIN: Final = "try again"
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Say = Callable[[str], None]
"""Takes a line that tells the person of a step."""


def install(data: bytes, say: Say, *, dry: bool, folder: str = FOLDER) -> None:
    """Put the add-on into the folder, for every user of this machine.

    Args:
        data: the add-on.
        say: called with each step.
        dry: whether to tell the steps only.
        folder: the folder. Missing folders are made.

    Raises:
        ConfigurationError: another user could change the file, other users could not read it,
            or something else is in its place.
        OperatingSystemError: a step failed. Nothing has changed.
    """
    path = os.path.join(folder, NAME)
    with _explained(folder):
        _require_safe_way(folder)
        missing = _missing(folder)
        _require_readable(os.path.dirname(missing[0]) if missing else folder)
        before = _present(path)
        is_same = before == data and _is_only_ours(path)
    if is_same:
        say(f"{path} is in place already")
        return
    for each in missing:
        say(f"make {each}")
    say(f"{'write' if before is None else 'replace'} {path}")
    if not dry:
        lost = f"another program has removed it meanwhile: {_AGAIN}"
        with _explained(path, lost), _made(missing):
            # Another process of root may have changed the way meanwhile.
            _require_safe_way(folder, whole=True)
            replace_file(path, data, _MODE)


def uninstall(say: Say, *, dry: bool, folder: str = FOLDER) -> bool:
    """Remove the add-on, and the folders that `install` has made for it.

    Args:
        say: called with each step.
        dry: whether to tell the steps only.
        folder: the folder.

    Returns:
        Whether there was something to remove.

    Raises:
        ConfigurationError: another user could lead the path elsewhere, or something else is
            in the add-on's place.
        OperatingSystemError: a step failed. The same command goes on from there.
    """
    path = os.path.join(folder, NAME)
    with _explained(folder):
        _require_safe_way(folder)
        ours = [] if _present(path) is None else [path]
        ours += _left_over(folder)
        marked = list(_marked(folder))
    if not ours and not marked:
        say(f"{path} is not there: nothing to remove")
        return False
    for each in ours:
        say(f"remove {each}")
        if not dry:
            with _explained(each):
                os.unlink(each)
    gone = set(ours)
    for each in marked:
        gone.add(os.path.join(each, MARK))
        with _explained(each):
            others = {os.path.join(each, name) for name in os.listdir(each)} - gone
        say(f"keep {each}, which others use" if others else f"remove {each}")
        if not others:
            gone.add(each)
        if not dry:
            with _explained(each):
                os.unlink(os.path.join(each, MARK)) if others else _remove_made(each)
    return True


def save(data: bytes, path: str, say: Say, *, dry: bool) -> None:
    """Write the add-on to a file of the person's choice.

    Args:
        data: the add-on.
        path: the absolute path of the file. Its folder exists.
        say: called with each step.
        dry: whether to tell the steps only.

    Raises:
        ConfigurationError: another user could change the file, its folder does not exist, or
            there is another file than an add-on that mailbell has built.
        OperatingSystemError: the file cannot be written.
    """
    folder = os.path.dirname(path)
    with _explained(folder):
        _require_safe_way(folder, whole=True)
        before = _present(path, "choose another name")
    say(f"{'write' if before is None else 'replace'} {path}")
    if not dry:
        with _explained(path):
            replace_file(path, data, _MODE)


def _require_safe_way(folder: str, *, whole: bool = False) -> None:
    """Refuse a folder in which another user could replace the add-on, which is a program."""
    weaknesses = find_weaknesses(folder, whole=whole)
    if weaknesses:
        what = f"{weaknesses[0]}, who could replace the add-on in {folder}"
        raise ConfigurationError(what, weaknesses[0].remedy)


def _require_readable(folder: str) -> None:
    """Refuse a folder that Thunderbird of another user could not read."""
    closed = None
    while folder != os.path.dirname(folder):
        if os.stat(folder).st_mode & 0o005 != 0o005:
            closed = folder
        folder = os.path.dirname(folder)
    if closed:
        raise ConfigurationError(f"other users may not read {closed}", f"chmod go+rx {closed}")


def _present(path: str, remedy: str = "move it away") -> bytes | None:
    """Read the add-on at a path; None if there is nothing."""
    try:
        # A pipe without a writer, or a device, would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        is_link = error.errno == errno.ELOOP
        why = "a link" if is_link else error.strerror
        raise ConfigurationError(f"{path} is not mailbell's ({why})", remedy) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            what = f"{path} is not mailbell's (no regular file)"
            raise ConfigurationError(what, remedy)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(_MOST_BYTES)
    finally:
        os.close(descriptor)
    if not is_built(data):
        # A file of the person, or the add-on as a package of the distribution has it.
        what = f"{path} is not mailbell's (no add-on that mailbell has built)"
        raise ConfigurationError(what, remedy)
    return data


def _is_only_ours(path: str) -> bool:
    """Tell whether all users may read the file, and only this user and root may write to it."""
    status = os.lstat(path)
    is_ours = status.st_uid in {0, os.geteuid()} and stat.S_ISREG(status.st_mode)
    # Another name of the file may be in a folder of another user.
    return is_ours and status.st_nlink == 1 and stat.S_IMODE(status.st_mode) == _MODE


def _missing(folder: str) -> list[str]:
    """Return the folders on the way that do not exist, the outermost first."""
    missing = []
    while not os.path.isdir(folder):
        if os.path.lexists(folder):
            raise ConfigurationError(f"{folder} is no folder", "move it away, and try again")
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing[::-1]


@contextmanager
def _made(folders: list[str]) -> Iterator[None]:
    """Make folders that all users may read, and remove them again if the block fails."""
    made = []
    try:
        for each in folders:
            os.mkdir(each, _FOLDER_MODE)
            made.append(each)
            os.chmod(each, _FOLDER_MODE)  # whatever the umask is
            _mark(each)
        yield
    except BaseException:
        for each in reversed(made):
            with suppress(OSError):
                _remove_made(each)
        raise


def _mark(folder: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    os.close(os.open(os.path.join(folder, MARK), flags, _MODE))


def _remove_made(folder: str) -> None:
    """Remove a folder that was made for the add-on. If it cannot be removed, it keeps its mark."""
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, MARK))
    try:
        os.rmdir(folder)
    except OSError:
        with suppress(OSError):
            _mark(folder)
        raise


def _left_over(folder: str) -> list[str]:
    """Return what an installation that was killed has left; refuse while another one runs."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(f".{NAME}.")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    left = [os.path.join(folder, name) for name in sorted(names)]
    for each in left:
        if _is_regular(each) and is_being_written(each):
            raise OperatingSystemError(f"{each} is being installed", _AGAIN)
    return [each for each in left if _is_regular(each)]


def _is_regular(path: str) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False


def _marked(folder: str) -> Iterator[str]:
    """Yield the folders that an installation has made, the innermost first."""
    while _is_regular(os.path.join(folder, MARK)):
        yield folder
        folder = os.path.dirname(folder)


@contextmanager
def _explained(path: str, lost: str = "choose a folder that exists") -> Iterator[None]:
    """Turn an error of the system into one that says what to do."""
    try:
        yield
    except OSError as error:
        # The walk along a path opens each name alone, and then the error has that name only.
        named = str(error.filename or "")
        what = f"{named if named.startswith('/') else path}: {error.strerror}"
        raise OperatingSystemError(what, _remedy(error, lost)) from error


def _remedy(error: OSError, lost: str) -> str:
    if error.errno in _FULL:
        return "make room there, and try again"
    if error.errno == errno.EROFS:
        return "make the file system writable, and try again"
    if isinstance(error, FileExistsError):
        return f"another program has made it meanwhile: {_AGAIN}"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return lost
    return "run it as a user who may change that folder"

"""Reads the sources of the add-on, which are installed with mailbell, and builds it from them.

The sources are in `clients/thunderbird/` of the repository. The package carries all of `clients/`.
Only the files that are named here become part of the add-on, whatever else is in that folder.
"""

import errno
import os
import stat
from typing import Final

from mailbell import __version__
from mailbell._sys.trusted_path import Weakness, find_weaknesses
from mailbell.addon.xpi import build
from mailbell.core.errors import ConfigurationError, OperatingSystemError

__all__ = ["CLIENTS", "FILES", "addon", "read_sources"]

CLIENTS: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "clients")
"""The folder with what mail programs load: a folder for each program."""

FILES: Final = (
    "_locales/de/messages.json", "_locales/en/messages.json", "_locales/fr/messages.json",
    "core/backoff.js", "core/catchups.js", "core/check.js", "core/driver.js", "core/engine.js",
    "core/link.js", "core/names.js", "core/pace.js", "core/replies.js", "core/schedule.js",
    "core/settings.js", "core/text.js", "icon.svg", "mailbell.js", "manifest.json", "schema.json",
    "settings/settings.css", "settings/settings.html", "settings/settings.js", "settings/words.js",
    "thunderbird/fetch.js", "thunderbird/preferences.js", "thunderbird/socket.js",
    "thunderbird/wakeups.js",
)  # fmt: skip
"""All files of the add-on, by their paths below its folder. A new one is named here too."""

_MOST_BYTES: Final = 1 << 20  # of one file
_REINSTALL: Final = "install mailbell again: this file is part of it"
_ELSEWHERE: Final = (
    "install mailbell in a folder that only root may change, such as /opt/mailbell, "
    "and run the mailbell that is there"
)


def read_sources(folder: str, *, for_all: bool = False) -> dict[str, bytes]:
    """Read all files of an add-on.

    Args:
        folder: the folder of its sources.
        for_all: whether every user of the machine is to run them. Then only root and this
            process's user may be able to change them.

    Returns:
        The contents by their paths below the folder, with "/".

    Raises:
        ConfigurationError: another user could change one.
        OSError: one cannot be read, or is missing.
        ValueError: one is no regular file, or is too long.
    """
    if for_all:
        for each in sorted({os.path.dirname(os.path.join(folder, name)) for name in FILES}):
            _refuse(*find_weaknesses(each, whole=True))
    return {name: _read(os.path.join(folder, name), for_all=for_all) for name in FILES}


def _read(path: str, *, for_all: bool) -> bytes:
    # A pipe without a writer would be waited for. A link could lead to a file of the reader.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{path!r} is a link") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path!r} is no regular file")
        if for_all:
            _refuse(*_weaknesses(path, status))
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(_MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{path!r} is too long for an add-on")
    return data


def _weaknesses(path: str, status: os.stat_result) -> list[Weakness]:
    """Judge a file as `find_weaknesses` judges the folders on the way to it."""
    found = []
    if status.st_uid not in {0, os.geteuid(), os.stat("/").st_uid}:
        found.append(Weakness(path, status.st_uid))
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        found.append(Weakness(path, None))
    return found


def _refuse(*weaknesses: Weakness) -> None:
    for each in weaknesses:
        what = f"{each}, who could change the add-on before all users get it"
        raise ConfigurationError(what, _ELSEWHERE)


def addon(*, for_all: bool = False) -> bytes:
    """Return the add-on for Thunderbird that belongs to this mailbell.

    Args:
        for_all: as for `read_sources`.

    Returns:
        The bytes of the .xpi.

    Raises:
        ConfigurationError: another user could change its sources, which matters with `for_all`.
        OperatingSystemError: its sources are missing or damaged.
    """
    folder = os.path.join(CLIENTS, "thunderbird")
    try:
        return build(read_sources(folder, for_all=for_all), __version__)
    except OSError as error:
        what = f"{error.filename or folder}: {error.strerror}"
        raise OperatingSystemError(what, _REINSTALL) from error
    except ValueError as error:
        raise OperatingSystemError(f"{folder}: {error}", _REINSTALL) from error

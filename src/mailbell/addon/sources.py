"""Reads the sources of the add-on, which are installed with mailbell, and builds it from them.

The sources are in `clients/thunderbird/` of the repository. The package carries all of `clients/`.
"""

import os
from typing import Final

from mailbell import __version__
from mailbell.addon.xpi import build, is_packed
from mailbell.core.errors import OperatingSystemError

__all__ = ["CLIENTS", "addon", "read_sources"]

CLIENTS: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "clients")
"""The folder with what mail programs load: a folder for each program."""

_MOST_BYTES: Final = 1 << 20  # of one file
_REINSTALL: Final = "install mailbell again: this file is part of it"


def read_sources(folder: str) -> dict[str, bytes]:
    """Read all files of an add-on.

    Args:
        folder: the folder of its sources.

    Returns:
        The contents by their paths below the folder, with "/".

    Raises:
        OSError: a file cannot be read, or there is none.
        ValueError: a file is none of an add-on.
    """
    found = {}
    for path, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for name in names:
            whole = os.path.join(path, name)
            short = os.path.relpath(whole, folder)
            if is_packed(short):
                with open(whole, "rb") as file:
                    found[short] = file.read(_MOST_BYTES + 1)
                if len(found[short]) > _MOST_BYTES:
                    raise ValueError(f"{short!r} is too long for an add-on")
    return found


def _raise(error: OSError) -> None:
    raise error


def addon() -> bytes:
    """Return the add-on for Thunderbird that belongs to this mailbell.

    Returns:
        The bytes of the .xpi.

    Raises:
        OperatingSystemError: its sources are missing or damaged.
    """
    folder = os.path.join(CLIENTS, "thunderbird")
    try:
        return build(read_sources(folder), __version__)
    except OSError as error:
        what = f"{error.filename or folder}: {error.strerror}"
        raise OperatingSystemError(what, _REINSTALL) from error
    except ValueError as error:
        raise OperatingSystemError(f"{folder}: {error}", _REINSTALL) from error

"""Tells the folders whose mail rings nobody, such as "Junk"."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["QuietFolders"]

# Mail servers separate the names of nested folders with one of these.
_SEPARATORS: Final = re.compile(r"[/.]+")


class QuietFolders:
    """The folders of the configuration, with all folders in them.

    A folder is quiet at any depth: "Junk" stands for "INBOX.Junk" and for "Junk/2026" too. Case
    does not count.

    Args:
        names: the names of the folders, in any of the ways that mail servers write them.
    """

    __slots__ = ("_paths",)

    def __init__(self, names: Iterable[str]) -> None:
        paths = {_path(name) for name in names}
        self._paths = tuple(path for path in paths if path != "/")

    def contains(self, folder: str) -> bool:
        """Tell whether mail in a folder rings nobody.

        Args:
            folder: the name as the mail server says it; any text.
        """
        path = _path(folder)
        return any(quiet in path for quiet in self._paths)


def _path(name: str) -> str:
    """Return a name with one separator before, between and after its parts."""
    parts = _SEPARATORS.split(name.lower())
    return "/".join(["", *filter(None, parts), ""])

"""Looks at the database before it is used, in a process of its own.

Signatures only; the body follows.
"""

from dataclasses import dataclass
from enum import StrEnum

from mailbell._sys.credentials import Identity

__all__ = ["Examined", "Verdict", "examine"]


class Verdict(StrEnum):
    """What there is where the database should be."""

    ABSENT = "absent"
    GOOD = "good"
    CORRUPT = "corrupt"
    FOREIGN = "foreign"  # a database, or another file, that is not ours
    NEWER = "newer"  # of a newer version of mailbell
    LOCKED = "locked"  # another process uses it
    UNUSABLE = "unusable"  # it cannot be opened


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found.

    Attributes:
        path: the database.
        verdict: what it is.
        detail: more words about it.
    """

    path: str
    verdict: Verdict
    detail: str = ""


def examine(path: str, identity: Identity | None) -> Examined:
    """Look at the database, in a process that becomes the user first.

    Call it before the event loop runs, with a single thread, while there are privileges.

    Args:
        path: the database, an absolute path.
        identity: the user that the program becomes; None: it stays what it is.

    Raises:
        ConfigurationError: another user could put a file there.
    """
    raise NotImplementedError

"""What `mailbell check` says: one line for each thing that it has looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from mailbell.core.errors import MailbellError, PrivilegeError

__all__ = ["Finding", "Mark", "failed", "ok", "tried"]


class Mark(StrEnum):
    """The severity of a finding. The word is printed."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        mark: the severity.
        what: what was found.
        remedy: what to do; empty if there is nothing to do.
        exit_code: the exit code of a daemon that were started now; 0: it would not fail here.
        holder: the process that holds the port; None: there is none, or it cannot be seen.
    """

    mark: Mark
    what: str
    remedy: str = ""
    exit_code: int = 0
    holder: int | None = None


def ok(what: str) -> Finding:
    """Make a finding that is no problem."""
    return Finding(Mark.OK, what)


def failed(error: MailbellError) -> Finding:
    """Make a finding of an error with which the daemon would end."""
    # A user with more privileges may be able to do it.
    by = "as this user: " if isinstance(error, PrivilegeError) else ""
    return Finding(Mark.FAIL, by + error.what, error.remedy, error.exit_code)


def tried(what: str, attempt: Callable[[], object]) -> Finding:
    """Judge an attempt.

    Args:
        what: what is so if it succeeds.
        attempt: raises MailbellError if it fails.
    """
    try:
        attempt()
    except MailbellError as error:
        return failed(error)
    return ok(what)

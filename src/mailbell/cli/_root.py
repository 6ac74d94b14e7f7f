"""What `mailbell install` and `mailbell uninstall` say, and that root must say so."""

import os
from typing import Final

import click

from mailbell.core.errors import PrivilegeError
from mailbell.core.escape import printable

__all__ = ["DRY", "dry_end", "dry_run_option", "require_root", "say"]

_ROOT: Final = (
    "\nThis was a dry run: nothing has changed. To do it, run it as root, without --dry-run."
)
DRY: Final = "\nThis was a dry run: nothing has changed. To do it, run it without --dry-run."
"""What is said at the end of a dry run that any user may make."""


def say(line: str) -> None:
    """Print a step, whatever the names of its folders are.

    Args:
        line: the step.
    """
    click.echo(printable(line))


def require_root(what: str, remedy: str, *, dry: bool) -> None:
    """Refuse an ordinary user, who may only look at the steps.

    Args:
        what: what was asked for, as in `install a service`.
        remedy: what to do instead.
        dry: whether the steps are shown only.

    Raises:
        PrivilegeError: this user is not root.
    """
    if os.geteuid() != 0 and not dry:
        raise PrivilegeError(f"only root may {what}", remedy)


def dry_end() -> str:
    """Return what is said at the end of a dry run, for this user."""
    return DRY if os.geteuid() == 0 else _ROOT


dry_run_option = click.option(
    "--dry-run", "dry", is_flag=True, help="Show the steps, and change nothing."
)

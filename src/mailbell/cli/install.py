"""`mailbell install`: puts the add-on where Thunderbird finds it, for all users or in a file."""

import os
from typing import Final

import click

from mailbell import __version__
from mailbell.addon import place
from mailbell.addon.sources import addon
from mailbell.cli._common import absolute
from mailbell.core.errors import PrivilegeError, UsageError
from mailbell.core.escape import printable

__all__ = ["command", "dry_end", "dry_run_option", "require_root", "say", "thunderbird_option"]

_FOR_ALL: Final = """
Thunderbird loads the add-on when it is started the next time, for every user
of this machine. Each user must be in the group mailbell, and have logged in
since: usermod --append --groups mailbell NAME"""

_FOR_ONE: Final = """
In Thunderbird: Add-ons and Themes, the gear, "Install Add-on From File", and
this file. The add-on is then in that profile alone. You must be in the group
mailbell, and have logged in since: usermod --append --groups mailbell NAME

A file that you copy into the folder "extensions" of a profile yourself stays
disabled until you agree in Thunderbird's menu."""

_ROOT: Final = (
    "\nThis was a dry run: nothing has changed. To do it, run it as root, without --dry-run."
)
_DRY: Final = "\nThis was a dry run: nothing has changed. To do it, run it without --dry-run."

_EXAMPLES = """\b
Examples:
  mailbell install --thunderbird --dry-run
  mailbell install --thunderbird                       as root: for all users
  mailbell install --thunderbird --file mailbell.xpi   for one profile"""


_HELP = """\
Install what a mail program needs to hear from the daemon by itself.

--thunderbird puts mailbell's add-on into the folder where Thunderbird looks
for add-ons of the machine, for all users. This needs root, and a mailbell
that no other user may change. With --file it writes the add-on to a file
instead, for you to install in one profile.

The module for Evolution is built with make: see 'mailbell clients evolution'.

Each step is shown. If one fails, nothing is left behind. To do it again does
no harm. 'mailbell uninstall' undoes it."""


def say(line: str) -> None:
    """Print a step, whatever the names of its folders are.

    Args:
        line: the step.
    """
    click.echo(printable(line))


def require_root(what: str, remedy: str, *, dry: bool) -> None:
    """Refuse an ordinary user, who may only look at the steps.

    Args:
        what: what was asked for: `install` or `remove`.
        remedy: what to do instead.
        dry: whether the steps are shown only.

    Raises:
        PrivilegeError: this user is not root.
    """
    if os.geteuid() != 0 and not dry:
        raise PrivilegeError(f"only root may {what} the add-on for all users", remedy)


def dry_end() -> str:
    """Return what is said at the end of a dry run, for this user."""
    return _DRY if os.geteuid() == 0 else _ROOT


thunderbird_option = click.option(
    "--thunderbird", "thunderbird", is_flag=True, help="The add-on for Thunderbird."
)
dry_run_option = click.option(
    "--dry-run", "dry", is_flag=True, help="Show the steps, and change nothing."
)


@click.command(
    help=_HELP, epilog=_EXAMPLES, short_help="Install mailbell's add-on for Thunderbird."
)
@thunderbird_option
@click.option(
    "--file",
    "file",
    metavar="PATH",
    type=click.Path(),
    help="Write the add-on to this file only.",
)
@dry_run_option
def command(thunderbird: bool, file: str | None, dry: bool) -> None:
    """Install what a mail program needs to hear from the daemon by itself."""
    if not thunderbird:
        raise UsageError("nothing to install was named", "give --thunderbird")
    if file is not None:
        path, data = absolute(file), addon()
        place.save(data, path, say, dry=dry)
        click.echo(f"({_about(data)})\n{_DRY if dry else _FOR_ONE}")
        return
    remedy = (
        "run this as root, or, for your own profile: "
        "mailbell install --thunderbird --file mailbell.xpi"
    )
    require_root("install", remedy, dry=dry)
    data = addon(for_all=True)
    place.install(data, say, dry=dry)
    click.echo(f"({_about(data)})\n{dry_end() if dry else _FOR_ALL}")


def _about(data: bytes) -> str:
    return f"mailbell {__version__}, {len(data)} bytes"

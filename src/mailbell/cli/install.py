"""`mailbell install`: sets up a daemon as a service, or installs the add-on for Thunderbird."""

from typing import Final

import click

from mailbell import __version__
from mailbell.addon import place
from mailbell.addon.sources import addon
from mailbell.cli._common import absolute
from mailbell.cli._install_service import install_services
from mailbell.cli._root import DRY, dry_end, dry_run_option, require_root, say
from mailbell.core.errors import UsageError
from mailbell.installation.services import LISTENER, SENDER

__all__ = ["command", "thunderbird_option"]

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

_EXAMPLES = """\b
Examples:
  mailbell install --dry-run
  mailbell install --user NAME     the daemon, and a user who may hear from it
  mailbell install --sender        on a mail server
  mailbell install --thunderbird                       as root: for all users
  mailbell install --thunderbird --file mailbell.xpi   for one profile"""


_HELP = """\
Set up mailbelld as a service of this machine, as root.

It makes the user, the group, the folders and the units, loads the profile
where AppArmor is on, links the manual pages, starts the service and waits
until it is ready. With --sender it does the same for mailbell-sender, and
puts the hook where mail servers find it. The mailbell that runs this command
must be in a folder that only root may change; another one is refused, with
what to do instead.

--thunderbird installs mailbell's add-on for all users instead, or with --file
writes it to a file. The module for Evolution is built with make: see
'mailbell clients evolution'.

Each step is shown. If one fails, nothing is left behind. To do it again does
no harm, and restarts a service whose program is newer. 'mailbell uninstall'
undoes it."""


thunderbird_option = click.option(
    "--thunderbird", "thunderbird", is_flag=True, help="The add-on for Thunderbird."
)


@click.command(help=_HELP, epilog=_EXAMPLES, short_help="Set up a service of this machine.")
@click.option("--listener", is_flag=True, help="The listener mailbelld (the default).")
@click.option("--sender", is_flag=True, help="The mail server's side, mailbell-sender.")
@click.option(
    "--user", "persons", metavar="NAME", multiple=True, help="A user who may connect; repeatable."
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
def command(
    listener: bool,
    sender: bool,
    persons: tuple[str, ...],
    thunderbird: bool,
    file: str | None,
    dry: bool,
) -> None:
    """Set up a service, or the add-on for Thunderbird."""
    if thunderbird:
        if listener or sender or persons:
            raise UsageError("--thunderbird installs no service", "give one of them at a time")
        _install_add_on(file, dry=dry)
        return
    if file is not None:
        raise UsageError("--file is for the add-on", "give --thunderbird too")
    chosen = [each for each, is_named in ((LISTENER, listener), (SENDER, sender)) if is_named]
    install_services(chosen or [LISTENER], list(dict.fromkeys(persons)), dry=dry)


def _install_add_on(file: str | None, *, dry: bool) -> None:
    if file is not None:
        path, data = absolute(file), addon()
        place.save(data, path, say, dry=dry)
        click.echo(f"({_about(data)})\n{DRY if dry else _FOR_ONE}")
        return
    remedy = (
        "run this as root, or, for your own profile: "
        "mailbell install --thunderbird --file mailbell.xpi"
    )
    require_root("install the add-on for all users", remedy, dry=dry)
    data = addon(for_all=True)
    place.install(data, say, dry=dry)
    click.echo(f"({_about(data)})\n{dry_end() if dry else _FOR_ALL}")


def _about(data: bytes) -> str:
    return f"mailbell {__version__}, {len(data)} bytes"

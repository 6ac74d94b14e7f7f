"""`mailbell uninstall`: removes what `mailbell install` has put on this machine."""

from typing import Final

import click

from mailbell.addon import place
from mailbell.cli._install_service import uninstall_services
from mailbell.cli._root import dry_end, dry_run_option, require_root, say
from mailbell.cli.install import thunderbird_option

__all__ = ["command"]

_AFTER: Final = """
Thunderbird forgets the add-on when it is started the next time. A user who
has installed it from a file removes it in Add-ons and Themes."""

_EXAMPLES = """\b
Examples:
  mailbell uninstall --dry-run
  mailbell uninstall                           as root
  mailbell uninstall --thunderbird --dry-run
  mailbell uninstall --thunderbird             as root"""


_HELP = """\
Remove what 'mailbell install' has put on this machine, and nothing else.

The services are stopped and removed, with their users, their groups and the
sender's address book. Your configuration stays, and is named. With
--thunderbird it removes the add-on for all users instead, and those folders
that were made for it, unless there is something else in them now.

Each step is shown. To do it again does no harm."""


@click.command(help=_HELP, epilog=_EXAMPLES, short_help="Remove what 'install' has installed.")
@thunderbird_option
@dry_run_option
def command(thunderbird: bool, dry: bool) -> None:
    """Remove what 'mailbell install' has put on this machine, and nothing else."""
    if not thunderbird:
        uninstall_services(dry=dry)
        return
    require_root("remove the add-on for all users", "run this as root", dry=dry)
    found = place.uninstall(say, dry=dry)
    if dry:
        click.echo(dry_end())
    elif found:
        click.echo(_AFTER)

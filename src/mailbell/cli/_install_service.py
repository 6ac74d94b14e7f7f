"""The part of `mailbell install` and `mailbell uninstall` that is about services."""

from collections.abc import Sequence
from typing import Final

import click

from mailbell.cli._root import dry_end, require_root, say
from mailbell.installation.environment import find_environment
from mailbell.installation.install import install, notes
from mailbell.installation.services import LISTENER, SENDER, Service
from mailbell.installation.steps import ended_by_signals
from mailbell.installation.uninstall import uninstall

__all__ = ["install_services", "uninstall_services"]

_AS_ROOT: Final = "run this as root, or with --dry-run to see the steps"

_AFTER: Final = {
    LISTENER: """
Its counters: mailbell status. Its log: journalctl -u mailbelld
To let a user hear from it:  mailbell install --user NAME
Then, as that user:          mailbell run --install-unit --client CLIENT
Undo all of it with:         mailbell uninstall""",
    SENDER: """
Its counters: mailbell sender status. Its log: journalctl -u mailbell-sender
Who is rung stands in /etc/mailbell/sender.toml: see docs/sender.md
What your mail server needs: mailbell sender recipe SERVER
Undo all of it with:         mailbell uninstall""",
}

_REMOVED: Final = """
mailbell itself is still there: remove it with the tool that has installed it.
An agent that a user has installed stays too. As that user:
  systemctl --user disable --now mailbell-agent.service
  rm ~/.config/systemd/user/mailbell-agent.service"""


def install_services(services: Sequence[Service], persons: Sequence[str], *, dry: bool) -> None:
    """Install services, and tell what to do next.

    Args:
        services: the services.
        persons: the users who may connect to them.
        dry: whether to show the steps only.

    Raises:
        MailbellError: it cannot be done; nothing has changed.
        OSError: the same.
    """
    require_root("install a service", _AS_ROOT, dry=dry)
    where = find_environment()
    with ended_by_signals():
        install(services, persons, where, say, dry=dry)
    if dry:
        click.echo(dry_end())
        return
    for service in services:
        click.echo(_AFTER[service])
    for note in notes(persons):
        click.echo(f"\n{note}")


def uninstall_services(*, dry: bool) -> None:
    """Remove the services, and tell what is still there.

    Args:
        dry: whether to show the steps only.

    Raises:
        MailbellError: a step failed. The same command goes on from there.
        OSError: the same.
    """
    require_root("remove a service", "run this as root", dry=dry)
    found = uninstall(say, dry=dry)
    if not found:
        say("no service of mailbell is installed: nothing to remove")
    if dry:
        click.echo(dry_end())
    elif found:
        click.echo(_REMOVED)

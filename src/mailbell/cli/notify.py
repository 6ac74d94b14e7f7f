"""`mailbell notify`: ring an account by hand, through the local socket."""

import click

from mailbell.cli._common import complete_account, socket_option
from mailbell.client import Client
from mailbell.core.errors import UsageError
from mailbell.interfaces.listener import Status

__all__ = ["command"]

# More names than this do not help a reader.
_NAMED = 20

_EXAMPLES = """\b
Examples:
  mailbell notify
  mailbell notify work"""


_HELP = """\
Ring ACCOUNT by hand (cause: manual).

The daemon tells every subscriber of the account to look for mail, as if a
mail server had rung. ACCOUNT may be left out if there is only one."""


@click.command(help=_HELP, epilog=_EXAMPLES)
@click.argument("account", required=False, shell_complete=complete_account)
@socket_option
def command(account: str | None, socket_path: str | None) -> None:
    """Ring ACCOUNT by hand (cause: manual)."""
    with Client(socket_path) as client:
        client.notify(_only_account(client.status()) if account is None else account)


def _only_account(status: Status) -> str:
    if len(status.accounts) == status.accounts_total == 1:
        return status.accounts[0].name
    names = ", ".join(account.name for account in status.accounts[:_NAMED])
    more = ", ..." if status.accounts_total > _NAMED else ""
    raise UsageError(f"there are {status.accounts_total} accounts", f"name one of {names}{more}")

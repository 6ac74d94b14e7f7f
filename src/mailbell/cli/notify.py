"""`mailbell notify`: ring an account by hand, through the local socket."""

import click

from mailbell.cli._common import complete_account, socket_option
from mailbell.client import Client

__all__ = ["command"]


_EXAMPLES = """\b
Examples:
  mailbell notify
  mailbell notify work"""


@click.command(epilog=_EXAMPLES)
@click.argument("account", default="default", shell_complete=complete_account)
@socket_option
def command(account: str, socket_path: str | None) -> None:
    """Ring ACCOUNT by hand (cause: manual).

    Every subscriber of the account is told to look for mail, as if a mail
    server had rung. Without ACCOUNT: the account "default".
    """
    with Client(socket_path) as client:
        client.notify(account)

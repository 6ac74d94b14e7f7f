"""`mailbell sender ring`: ring an account by hand, as if mail had arrived for it."""

import click

from mailbell.cli._common import complete_mailbox, sender_socket_option
from mailbell.sender_client import Client

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  mailbell sender ring anna@example.org
  mailbell sender ring anna && journalctl -u mailbell-sender -n 5"""


_HELP = """\
Ring ACCOUNT by hand, as if mail had arrived for it.

It ends when the sender has accepted, and not when the targets are rung; see
"mailbell sender test" for what comes of it."""


@click.command(help=_HELP, epilog=_EXAMPLES, short_help="Ring an account by hand.")
@click.argument("account", shell_complete=complete_mailbox)
@sender_socket_option
def command(account: str, socket_path: str | None) -> None:
    """Ring ACCOUNT by hand, as if mail had arrived for it."""
    Client(socket_path).ring(account)

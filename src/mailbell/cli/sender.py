"""`mailbell sender`: the commands for mailbell-sender, the mail server's side."""

import click

from mailbell.cli._lazy import LazyGroup

__all__ = ["command"]

_COMMANDS = ("status", "top", "check", "test", "ring", "recipe")

_HELP = """\
See and try mailbell-sender, which rings for a mail server.

It runs beside the mail server, and tells the machines of the people whose
mail has arrived to look for it (RFC 4146)."""

_EPILOG = """\b
Examples:
  mailbell sender status
  mailbell sender test anna@example.org

\b
The control socket is --socket, else $MAILBELL_SENDER_SOCKET, else
/run/mailbell-sender/control. Its group is mailbell-sender: join it, or be
root. Root, you or the user mailbell-sender must have started what listens
there; another user is $MAILBELL_SENDER_USER."""


@click.group(
    help=_HELP,
    cls=LazyGroup,
    commands=_COMMANDS,
    modules="sender_",
    epilog=_EPILOG,
    short_help="See and try the mail server's side.",
    # Otherwise click raises the help text as an error, which would become one long line.
    invoke_without_command=True,
)
@click.pass_context
def command(context: click.Context) -> int | None:
    """See and try mailbell-sender, which rings for a mail server."""
    if context.invoked_subcommand is not None:
        return None
    click.echo(context.get_help(), err=True)
    return 64

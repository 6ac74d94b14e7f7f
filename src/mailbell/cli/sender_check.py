"""`mailbell sender check`: tells whether the sender would start here, and what to do if not."""

import click

from mailbell.cli import _sender_file
from mailbell.cli._sender_machine import sender_findings
from mailbell.cli.check import Checked, run_check

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  mailbell sender check
  mailbell sender check --config ./new.toml
  mailbell sender check && systemctl restart mailbell-sender"""


_HELP = """\
Check the sender's configuration and this machine. Each problem has a remedy.

It checks the units, if there are any; whether anyone is rung at all; the
kernel's Landlock and seccomp; libseccomp; resource limits; users and groups;
the places of the sockets; the folder of the address book; and the name
server, if a target has a name. Run it as the user who starts the sender, or
as anyone if systemd does. Exit code 0: the sender would start, or is running
and could start again. Otherwise it is the sender's own exit code. No target
is called: "mailbell sender test" does that."""


@click.command(help=_HELP, epilog=_EXAMPLES, short_help="Tell whether the sender would start here.")
@click.option(
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(),
    help=f"The configuration  [default: {_sender_file.DEFAULT_PATH}, if it exists]",
)
def command(path: str | None) -> int:
    """Check the sender's configuration and this machine. Each problem has a remedy."""
    checked = Checked(_sender_file.DEFAULT_PATH, _sender_file.load, sender_findings)
    return run_check(checked, path)

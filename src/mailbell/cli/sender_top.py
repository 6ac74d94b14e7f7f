"""`mailbell sender top`: shows the state of the sender on one screen, and keeps it up to date."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

import click
from rich.console import Console, Group, RenderableType
from rich.screen import Screen as Whole
from rich.text import Text

from mailbell.cli._common import sender_socket_option, show
from mailbell.cli._layout import duration, sandbox_line
from mailbell.cli._screen import Screen
from mailbell.cli.sender_status import (
    accounts_table,
    delays,
    heading,
    numbers,
    targets_table,
    troubles,
)
from mailbell.core.errors import MailbellError, PrivilegeError, TemporaryError, UnavailableError
from mailbell.core.escape import printable
from mailbell.interfaces.sender_status import Status
from mailbell.sender_client import Client

__all__ = ["View", "command", "frame"]

# Seconds between two questions for the status. Ages are shown in seconds.
TICK = 1.0
# Seconds. A sender that does not answer within this time is shown as silent.
PATIENCE = 2.0
# The least number of targets and of accounts that are shown, even on a small terminal.
LEAST = 3


@dataclass(slots=True)
class View:
    """The known state of the sender.

    Attributes:
        status: the sender's last status.
        asked: when the sender sent it, in seconds of a clock that never jumps.
        live: whether this view is kept up to date; if not, it is shown once.
        failure: why the sender did not answer the last question; None: it did.
    """

    status: Status
    asked: float
    live: bool = False
    failure: MailbellError | None = None


def frame(view: View, now: float, rows: int) -> RenderableType:
    """Lay out one picture, for at least 80 columns.

    Args:
        view: the known state.
        now: the time, of the clock of `View.asked`.
        rows: the number of rows. Targets and accounts that do not fit are left out.

    Returns:
        A text for a console.
    """
    status, passed = view.status, now - view.asked
    head = list(_head(view, passed))
    # Four rows: two blank lines and two lines of headings.
    left = max(rows - len(head) - 4, 2 * LEAST)
    targets = status.targets[: max(LEAST, left - min(len(status.accounts), left // 2))]
    accounts = status.accounts[: max(LEAST, left - len(targets))]
    return Group(
        *head,
        Text(),
        targets_table(targets, passed),
        Text(),
        accounts_table(accounts, passed),
    )


def _head(view: View, passed: float) -> Iterable[Text]:
    status = view.status
    yield heading(status, passed)
    if view.live:
        yield _connection(view, passed)
    yield sandbox_line(status.sandbox)
    yield Text(", ".join(f"{name} {now} of {most}" for name, now, most in numbers(status)))
    away = Text(f"{status.backing_off} backing off", style="yellow" if status.backing_off else "")
    known = f"targets {status.targets_known}, of which {status.pending} wait for a ring, "
    yield Text(known).append_text(away)
    yield Text(delays(status.latency))
    yield Text("inputs: " + _nonzero(status.inputs, "accepted"))
    yield Text("rings: " + _nonzero(status.rings, "sent"))
    yield from troubles(status)


def _nonzero(counts: dict[str, int], always: str) -> str:
    shown = [(name, count) for name, count in counts.items() if count or name == always]
    return ", ".join(f"{printable(name)} {count}" for name, count in shown)


def _connection(view: View, passed: float) -> Text:
    if view.failure is None:
        return Text("connected", style="green")
    if isinstance(view.failure, TemporaryError):
        what = "SILENT: the sender does not answer; the status below is old"
    else:
        what = f"LOST {duration(passed)} ago; waiting for the sender; below is its last status"
    return Text(what, style="bold red")


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _follow(socket_path: str | None, first: Status, console: Console) -> NoReturn:
    """Keep a terminal up to date until a signal, or until an error that waiting cannot end."""
    view = View(first, _now(), live=True)
    client = Client(socket_path, timeout=PATIENCE)
    with Screen() as screen:
        while True:
            with console.capture() as captured:
                console.print(Whole(frame(view, _now(), console.height)), end="")
            screen.draw(captured.get())
            time.sleep(TICK)
            ask(client, view)


def ask(client: Client, view: View) -> None:
    """Ask for the status, and note why if it does not come.

    Args:
        client: asks.
        view: notes.

    Raises:
        DataError: the program that answers is not mailbell-sender.
    """
    try:
        view.status, view.asked, view.failure = client.status(), _now(), None
    except (UnavailableError, TemporaryError, PrivilegeError) as error:
        # The sender is away or starts: it binds its socket before it sets the socket's group.
        view.failure = error


_EXAMPLES = """\b
Examples:
  mailbell sender top
  mailbell sender top --once"""


_HELP = """\
Show the state of the sender, and keep it up to date. The key q ends it.

It shows the targets and accounts that were rung last, how each ring ended,
which targets are out of reach and when they are tried again, and how long
notifications take. When the sender goes away, top says so and waits."""


@click.command(help=_HELP, epilog=_EXAMPLES, short_help="Show the state, and keep it up to date.")
@click.option("--once", is_flag=True, help="Print it once and end, as without a terminal.")
@sender_socket_option
def command(once: bool, socket_path: str | None) -> None:
    """Show the state of the sender, and keep it up to date. The key q ends it."""
    status = Client(socket_path).status()
    console = Console(markup=False, emoji=False, highlight=False)
    # rich is not asked: an environment variable can make it take a pipe for a terminal.
    if once or not sys.stdout.isatty() or console.is_dumb_terminal:
        view = View(status, _now())
        show(frame(view, view.asked, sys.maxsize))
    else:
        _follow(socket_path, status, console)

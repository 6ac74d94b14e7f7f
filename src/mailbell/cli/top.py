"""`mailbell top`: the daemon at a glance, kept up to date."""

import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mailbell.cli._common import plain_table, show, socket_option
from mailbell.cli.status import duration, limited_sources, sandbox_facts
from mailbell.cli.watch import how
from mailbell.client import Client, State, Subscription
from mailbell.core.errors import PrivilegeError, TemporaryError, UnavailableError
from mailbell.core.escape import printable
from mailbell.core.notification import Notification
from mailbell.interfaces.listener import Account, Sandbox, Status

__all__ = ["View", "command", "frame"]

# Seconds between two questions for the status: when something has happened, and when not.
SOON, LATER = 1.0, 2.0
# Ages are shown in seconds.
TICK = 1.0
# How long notifications that come together are gathered into one picture.
GATHER = 0.1
# A person looks at it: a daemon that takes longer is shown as silent.
PATIENCE = 2.0
# The fewest accounts that are shown, however low the terminal is.
ACCOUNTS = 3
# Of how many accounts it is remembered how they rang: as many as a status names.
REMEMBERED = 256

_TERMINATED = 128 + signal.SIGTERM


@dataclass(slots=True)
class View:
    """What is known of the daemon.

    Attributes:
        status: what it said last.
        live: whether notifications are followed, or this is one look.
        told: the last notification of each account, the latest last.
        connected: whether the subscription is there.
        silent: whether the daemon did not answer the last question.
        lost: how often the subscription was lost.
        since: when that, or its return, was; wall time in seconds.
        fresh: whether nothing has happened since the status was asked for.
    """

    status: Status
    live: bool = False
    told: dict[str, Notification] = field(default_factory=dict)
    connected: bool = True
    silent: bool = False
    lost: int = 0
    since: float = 0.0
    fresh: bool = True

    def note(self, notification: Notification) -> None:
        """Take a notification in."""
        self.told.pop(notification.account, None)
        self.told[notification.account] = notification
        if len(self.told) > REMEMBERED:
            del self.told[next(iter(self.told))]
        self.fresh = False

    def turn(self, state: State, now: float) -> None:
        """Take in that the subscription was lost or found.

        Args:
            state: which of them.
            now: wall time in seconds.
        """
        connected = state is State.CONNECTED
        if connected is not self.connected:
            self.since = now
        if not connected:
            self.lost += 1
        self.connected = connected
        self.fresh = False


def frame(view: View, now: float, rows: int) -> RenderableType:
    """Lay out one picture, for 80 columns or more.

    Args:
        view: what is known.
        now: wall time, in seconds since 1970.
        rows: how many there are; accounts that do not fit are counted, not shown.

    Returns:
        What a console can print.
    """
    status = view.status
    head = list(_head(view, now))
    outcomes = _outcomes(status)
    below: list[RenderableType] = [Text(), outcomes]
    taken = len(head) + outcomes.row_count + 2
    if status.limited:
        below += [Text(), limited_sources(status.limited)]
        taken += len(status.limited) + 2
    # A blank line, the headings, and perhaps the line that counts the others.
    left = max(rows - taken - 3, ACCOUNTS)
    return Group(*head, Text(), *_accounts(view, now, left), *below)


def _head(view: View, now: float) -> Iterable[Text]:
    status = view.status
    up = duration(now - status.started / 1e6)
    yield Text(f"mailbelld {printable(status.version)}, process {status.pid}, up {up}")
    if view.live:
        yield _connection(view, now)
    yield _sandbox(status.sandbox)
    counts = f"connections {status.connections} of {status.connections_limit}, "
    counts += f"subscribers {status.subscribers} of {status.subscribers_limit}"
    yield Text(counts + (" (this view is one of them)" if view.live else ""))


def _connection(view: View, now: float) -> Text:
    passed = duration(now - view.since)
    if not view.connected:
        what = f"LOST {passed} ago; waiting for the daemon; what follows is what it said last"
        return Text(what, style="bold red")
    if view.silent:
        return Text("SILENT: the daemon does not answer; what follows is old", style="bold red")
    if view.lost:
        return Text(f"connected again, {passed} ago; lost so far: {view.lost}", style="yellow")
    return Text("connected", style="green")


def _sandbox(sandbox: Sandbox) -> Text:
    facts = list(sandbox_facts(sandbox))
    weak = [f"{name} {printable(value)}" for good, name, value in facts if not good]
    if weak:
        return Text(f"sandbox WEAK: {'; '.join(weak)}", style="bold red")
    locked = f"uid {sandbox.uid}, {sandbox.permitted_calls} system calls permitted"
    return Text(f"sandbox ok: {locked}, Landlock ABI {sandbox.landlock_abi}", style="green")


def _accounts(view: View, now: float, at_most: int) -> Iterable[RenderableType]:
    known = [(account, view.told.get(account.name)) for account in view.status.accounts]
    known.sort(key=lambda pair: _latest(*pair), reverse=True)
    accounts = known[:at_most]
    table = plain_table("account", "notifications", "last", *(["how"] if view.live else []))
    for account, told in accounts:
        cells = [printable(account.name), str(account.count), _ago(_latest(account, told), now)]
        table.add_row(*cells, *([how(told)] if told else []))
    yield table
    more = view.status.accounts_total - len(accounts)
    if more > 0:
        yield Text(f"and {more} more", style="dim")


def _latest(account: Account, told: Notification | None) -> int:
    # The status may be older than what the subscription has told since.
    return max(account.time or 0, told.time if told else 0)


def _ago(time: int, now: float) -> str:
    return f"{duration(now - time / 1e6)} ago" if time else "never"


def _outcomes(status: Status) -> Table:
    table = plain_table("outcome", "tcp", "udp")
    tcp, udp = status.outcomes.tcp, status.outcomes.udp
    for name in dict.fromkeys(("accepted", *tcp, *udp)):
        counts = tcp.get(name, 0), udp.get(name, 0)
        if any(counts) or name == "accepted":
            table.add_row(printable(name), *map(str, counts))
    return table


def _once(client: Client) -> None:
    view = View(client.status())
    show(frame(view, time.time(), sys.maxsize))


def _follow(client: Client, console: Console) -> NoReturn:
    """Keep a terminal up to date until a signal, or an error that waiting does not cure."""
    view = View(client.status(), live=True, since=time.time())
    subscription = client.subscribe(on_state=lambda state: view.turn(state, time.time()))
    with (
        subscription,
        Client(client.path, timeout=PATIENCE) as hasty,
        Live(console=console, screen=True, auto_refresh=False) as screen,
    ):
        asked = time.monotonic()
        while True:
            screen.update(frame(view, time.time(), console.height), refresh=True)
            _gather(subscription, view)
            since = time.monotonic() - asked
            if view.connected and since >= (LATER if view.fresh else SOON):
                _ask(hasty, view)
                asked = time.monotonic()


def _gather(subscription: Subscription, view: View) -> None:
    """Take in what comes, until a moment after the first, or for as long as a tick."""
    end = time.monotonic() + TICK
    try:
        while (now := time.monotonic()) < end:
            view.note(subscription.next(end - now))
            end = min(end, time.monotonic() + GATHER)
    except TemporaryError:
        return  # nothing came, or no more


def _ask(client: Client, view: View) -> None:
    try:
        view.status = client.status()
    except (UnavailableError, TemporaryError, PrivilegeError):
        # Away, or starting: the subscription finds out which.
        view.silent = True
    else:
        view.silent, view.fresh = False, True


def _terminate(_number: int, _frame: object) -> NoReturn:
    # The default would leave the terminal without its cursor and its text.
    sys.exit(_TERMINATED)


_EXAMPLES = """\b
Examples:
  mailbell top
  mailbell top --once

\b
The daemon knows how many subscribers there are, not what they do. What the
agent does, it says itself: systemctl --user status mailbell-agent"""


@click.command(epilog=_EXAMPLES)
@click.option("--once", is_flag=True, help="Print it once and end, as without a terminal.")
@socket_option
def command(once: bool, socket_path: str | None) -> None:
    """Show the daemon at a glance, and keep it up to date; Ctrl-C ends.

    Accounts with their last notification, inputs by outcome, the sources most
    often refused, subscribers and the sandbox. When the daemon goes away, this
    says so and waits until it is back.
    """
    with Client(socket_path) as client:
        console = Console(markup=False, emoji=False, highlight=False)
        # Not what rich takes for a terminal: a variable of the environment can
        # make it take a pipe for one.
        if once or not sys.stdout.isatty() or console.is_dumb_terminal:
            _once(client)
        else:
            signal.signal(signal.SIGTERM, _terminate)
            _follow(client, console)

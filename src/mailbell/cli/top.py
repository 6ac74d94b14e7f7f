"""`mailbell top`: shows the state of the daemon on one screen, and keeps it up to date."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import NoReturn

import click
from rich.console import Console, Group, RenderableType
from rich.screen import Screen as Whole
from rich.table import Table
from rich.text import Text

from mailbell.cli._common import plain_table, show, socket_option
from mailbell.cli._layout import duration, sandbox_line
from mailbell.cli._screen import Screen
from mailbell.cli.status import limited_sources, outcome_counts, uptime
from mailbell.cli.watch import how
from mailbell.client import Client, State, Subscription
from mailbell.core.errors import PrivilegeError, TemporaryError, UnavailableError
from mailbell.core.escape import printable
from mailbell.core.notification import Notification
from mailbell.interfaces.listener import Account, Status

__all__ = ["View", "command", "frame"]

# Seconds between two questions for the status: when something has happened, and when not.
SOON, LATER = 1.0, 2.0
# Ages are shown in seconds.
TICK = 1.0
# Notifications that come within this time are shown together.
GATHER = 0.1
# A daemon that does not answer within this time is shown as silent.
PATIENCE = 2.0
# The least number of accounts that are shown, even on a small terminal.
ACCOUNTS = 3
# For so many accounts the last notification is remembered: as many as a status names.
REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on two clocks.

    Attributes:
        steady: seconds of a clock that never jumps, and goes on while the machine sleeps.
        wall: seconds since 1970, by the machine's clock at that moment.
    """

    steady: float
    wall: float

    @classmethod
    def now(cls) -> "Moment":
        """Read both clocks."""
        return cls(time.clock_gettime(time.CLOCK_BOOTTIME), time.time())

    def of(self, microseconds: int) -> float:
        """Convert a time since 1970 to the steady clock. It is never later than this moment."""
        return self.steady - max(self.wall - microseconds / 1e6, 0.0)


@dataclass(slots=True)
class View:
    """The known state of the daemon.

    Attributes:
        status: the daemon's last status.
        asked: the moment at which the daemon sent it.
        live: whether this view follows notifications; if not, it is shown once.
        told: the last notification of each account and its time, with the latest at the end.
        connected: whether there is a subscription.
        silent: whether the daemon did not answer the last request for its status.
        lost: how often the subscription was lost.
        since: when the subscription was last lost or found again.
        fresh: whether nothing has happened since the last status.

    Times are in seconds of a clock that never jumps. A wall clock time from the daemon is
    converted when it comes.
    """

    status: Status
    asked: Moment
    live: bool = False
    told: dict[str, tuple[Notification, float]] = field(default_factory=dict)
    connected: bool = True
    silent: bool = False
    lost: int = 0
    since: float = 0.0
    fresh: bool = True

    def note(self, notification: Notification, now: Moment) -> None:
        """Note a notification.

        Args:
            notification: the notification.
            now: the moment at which it came.
        """
        self.told.pop(notification.account, None)
        self.told[notification.account] = notification, now.of(notification.time)
        if len(self.told) > REMEMBERED:
            del self.told[next(iter(self.told))]
        self.fresh = False

    def turn(self, state: State, now: float) -> None:
        """Note that the subscription was lost or found again.

        Args:
            state: the new state.
            now: the time, of the steady clock in seconds.
        """
        connected = state is State.CONNECTED
        if connected is not self.connected:
            self.since = now
        if not connected:
            self.lost += 1
        self.connected = connected
        self.fresh = False


def frame(view: View, now: float, rows: int) -> RenderableType:
    """Lay out one picture, for at least 80 columns.

    Args:
        view: the known state.
        now: the time, of the steady clock in seconds.
        rows: the number of rows. Accounts that do not fit are only counted.

    Returns:
        A text for a console.
    """
    status = view.status
    head = list(_head(view, now))
    outcomes = _outcomes(status)
    below: list[RenderableType] = [Text(), outcomes]
    taken = len(head) + outcomes.row_count + 2
    if status.limited:
        below += [Text(), limited_sources(status.limited)]
        taken += len(status.limited) + 2
    # Three rows: a blank line, the headings, and the line that counts the other accounts.
    left = max(rows - taken - 3, ACCOUNTS)
    return Group(*head, Text(), *_accounts(view, now, left), *below)


def _head(view: View, now: float) -> Iterable[Text]:
    status = view.status
    up = duration(uptime(status, view.asked.wall) + now - view.asked.steady)
    yield Text(f"mailbelld {printable(status.version)}, process {status.pid}, up {up}")
    if view.live:
        yield _connection(view, now)
    yield sandbox_line(status.sandbox)
    counts = f"connections {status.connections} of {status.connections_limit}, "
    counts += f"subscribers {status.subscribers} of {status.subscribers_limit}"
    yield Text(counts + (" (this view is one of them)" if view.live else ""))


def _connection(view: View, now: float) -> Text:
    passed = duration(now - view.since)
    if not view.connected:
        what = f"LOST {passed} ago; waiting for the daemon; below is its last status"
        return Text(what, style="bold red")
    if view.silent:
        return Text("SILENT: the daemon does not answer; the status below is old", style="bold red")
    if view.lost:
        return Text(f"connected again, {passed} ago; lost so far: {view.lost}", style="yellow")
    return Text("connected", style="green")


def _accounts(view: View, now: float, at_most: int) -> Iterable[RenderableType]:
    known = [(account, _latest(view, account)) for account in view.status.accounts]
    known.sort(key=lambda pair: pair[1], reverse=True)
    accounts = known[:at_most]
    table = plain_table("account", "notifications", "last", *(["how"] if view.live else []))
    for account, latest in accounts:
        ago = "never" if latest == -inf else f"{duration(now - latest)} ago"
        cells = [printable(account.name), str(account.count), ago]
        told = view.told.get(account.name)
        table.add_row(*cells, *([how(told[0])] if told else []))
    yield table
    more = view.status.accounts_total - len(accounts)
    if more > 0:
        yield Text(f"and {more} more", style="dim")


def _latest(view: View, account: Account) -> float:
    """Return when the last notification of an account came; minus infinity if none came."""
    # The subscription may have given later notifications than the status.
    _, told = view.told.get(account.name, (None, -inf))
    if account.age is not None:
        return max(told, view.asked.steady - account.age / 1e6)
    # No notification came, or the daemon is older than this client and tells no ages.
    return told if account.time is None else max(told, view.asked.of(account.time))


def _outcomes(status: Status) -> Table:
    table = plain_table("outcome", "tcp", "udp")
    for name, tcp, udp in outcome_counts(status.outcomes):
        table.add_row(printable(name), str(tcp), str(udp))
    return table


def _once(client: Client) -> None:
    view = View(client.status(), Moment.now())
    show(frame(view, view.asked.steady, sys.maxsize))


def _follow(client: Client, console: Console) -> NoReturn:
    """Keep a terminal up to date until a signal, or until an error that waiting cannot end."""
    view = View(client.status(), now := Moment.now(), live=True, since=now.steady)
    subscription = client.subscribe(on_state=lambda state: view.turn(state, Moment.now().steady))
    with subscription, Screen() as screen:
        asked = time.monotonic()
        while True:
            screen.draw(_picture(view, console))
            _gather(subscription, view)
            since = time.monotonic() - asked
            if view.connected and since >= (LATER if view.fresh else SOON):
                # Ask the subscribed daemon, which may have come back at another place.
                _ask(Client(client.path, timeout=PATIENCE), view)
                asked = time.monotonic()


def _picture(view: View, console: Console) -> str:
    """Lay out one picture that fills the terminal."""
    with console.capture() as captured:
        console.print(Whole(frame(view, Moment.now().steady, console.height)), end="")
    return captured.get()


def _gather(subscription: Subscription, view: View) -> None:
    """Note notifications until shortly after the first one, at most for one tick."""
    end = time.monotonic() + TICK
    try:
        while (now := time.monotonic()) < end:
            view.note(subscription.next(end - now), Moment.now())
            end = min(end, time.monotonic() + GATHER)
    except TemporaryError:
        return  # no further notification came in time


def _ask(client: Client, view: View) -> None:
    try:
        view.status, view.asked = client.status(), Moment.now()
    except (UnavailableError, TemporaryError, PrivilegeError):
        # The daemon is away or starts. The subscription finds out which.
        view.silent = True
    else:
        view.silent, view.fresh = False, True


_EXAMPLES = """\b
Examples:
  mailbell top
  mailbell top --once

\b
The daemon knows how many subscribers there are, and not what they do. To see
what the agent does: systemctl --user status mailbell-agent"""


_HELP = """\
Show the state of the daemon, and keep it up to date. The key q ends it.

It shows accounts with their last notification, inputs by outcome, the sources
that are refused most often, subscribers and the sandbox. When the daemon goes
away, top says so and waits until it is back. Ctrl-C also ends top; Ctrl-Z
stops it."""


@click.command(help=_HELP, epilog=_EXAMPLES)
@click.option("--once", is_flag=True, help="Print it once and end, as without a terminal.")
@socket_option
def command(once: bool, socket_path: str | None) -> None:
    """Show the state of the daemon, and keep it up to date. The key q ends it."""
    with Client(socket_path) as client:
        console = Console(markup=False, emoji=False, highlight=False)
        # rich is not asked: an environment variable can make it take a pipe for a terminal.
        if once or not sys.stdout.isatty() or console.is_dumb_terminal:
            _once(client)
        else:
            _follow(client, console)

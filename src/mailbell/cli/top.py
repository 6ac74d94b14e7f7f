"""`mailbell top`: the daemon at a glance, kept up to date."""

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
from mailbell.cli._screen import Screen
from mailbell.cli.status import (
    duration,
    landlock_version,
    limited_sources,
    outcome_counts,
    sandbox_facts,
    uptime,
)
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


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on two clocks.

    Attributes:
        steady: seconds of a clock that never jumps and goes on while the machine sleeps.
        wall: seconds since 1970, as the machine had it then.
    """

    steady: float
    wall: float

    @classmethod
    def now(cls) -> "Moment":
        """Look at both clocks."""
        return cls(time.clock_gettime(time.CLOCK_BOOTTIME), time.time())

    def of(self, microseconds: int) -> float:
        """Say when a time since 1970 was, by the steady clock; not later than this moment."""
        return self.steady - max(self.wall - microseconds / 1e6, 0.0)


@dataclass(slots=True)
class View:
    """What is known of the daemon.

    Attributes:
        status: what it said last.
        asked: when it said that.
        live: whether notifications are followed, or this is one look.
        told: the last notification of each account and when it was sent, the latest last.
        connected: whether the subscription is there.
        silent: whether the daemon did not answer the last question.
        lost: how often the subscription was lost.
        since: when that, or its return, was.
        fresh: whether nothing has happened since the status was asked for.

    Times are of a clock that never jumps, in seconds. Only what the daemon tells by the wall
    clock is compared with that, at the moment when it comes.
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
        """Take a notification in.

        Args:
            notification: as it came.
            now: when it came.
        """
        self.told.pop(notification.account, None)
        self.told[notification.account] = notification, now.of(notification.time)
        if len(self.told) > REMEMBERED:
            del self.told[next(iter(self.told))]
        self.fresh = False

    def turn(self, state: State, now: float) -> None:
        """Take in that the subscription was lost or found.

        Args:
            state: which of them.
            now: when.
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
        now: of the steady clock, in seconds.
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
    up = duration(uptime(status, view.asked.wall) + now - view.asked.steady)
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
    version = landlock_version(sandbox)
    locked = f"uid {sandbox.uid}, {sandbox.permitted_calls} system calls permitted"
    return Text(f"sandbox ok: {locked}, Landlock {version}", style="green")


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
    """Say when the last notification of an account came; before all times if none did."""
    # The status may be older than what the subscription has told since.
    _, told = view.told.get(account.name, (None, -inf))
    if account.age is not None:
        return max(told, view.asked.steady - account.age / 1e6)
    # No notification yet, or a daemon older than this client, which tells no ages.
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
    """Keep a terminal up to date until a signal, or an error that waiting does not cure."""
    view = View(client.status(), now := Moment.now(), live=True, since=now.steady)
    subscription = client.subscribe(on_state=lambda state: view.turn(state, Moment.now().steady))
    with subscription, Screen() as screen:
        asked = time.monotonic()
        while True:
            screen.draw(_picture(view, console))
            _gather(subscription, view)
            since = time.monotonic() - asked
            if view.connected and since >= (LATER if view.fresh else SOON):
                # The daemon that is followed: it may have come back at another place.
                _ask(Client(client.path, timeout=PATIENCE), view)
                asked = time.monotonic()


def _picture(view: View, console: Console) -> str:
    """Lay out one picture that fills the terminal."""
    with console.capture() as captured:
        console.print(Whole(frame(view, Moment.now().steady, console.height)), end="")
    return captured.get()


def _gather(subscription: Subscription, view: View) -> None:
    """Take in what comes, until a moment after the first, or for as long as a tick."""
    end = time.monotonic() + TICK
    try:
        while (now := time.monotonic()) < end:
            view.note(subscription.next(end - now), Moment.now())
            end = min(end, time.monotonic() + GATHER)
    except TemporaryError:
        return  # nothing came, or no more


def _ask(client: Client, view: View) -> None:
    try:
        view.status, view.asked = client.status(), Moment.now()
    except (UnavailableError, TemporaryError, PrivilegeError):
        # Away, or starting: the subscription finds out which.
        view.silent = True
    else:
        view.silent, view.fresh = False, True


_EXAMPLES = """\b
Examples:
  mailbell top
  mailbell top --once

\b
The daemon knows how many subscribers there are, not what they do. What the
agent of 'mailbell run' does: systemctl --user status mailbell-agent"""


_HELP = """\
Show the daemon at a glance, and keep it up to date; q ends.

Shows accounts with their last notification, inputs by outcome, the sources
most often refused, subscribers and the sandbox. When the daemon goes away,
top says so and waits until it is back. Ctrl-C ends top too; Ctrl-Z stops it."""


@click.command(help=_HELP, epilog=_EXAMPLES)
@click.option("--once", is_flag=True, help="Print it once and end, as without a terminal.")
@socket_option
def command(once: bool, socket_path: str | None) -> None:
    """Show the daemon at a glance, and keep it up to date; q ends."""
    with Client(socket_path) as client:
        console = Console(markup=False, emoji=False, highlight=False)
        # Not what rich takes for a terminal: a variable of the environment can
        # make it take a pipe for one.
        if once or not sys.stdout.isatty() or console.is_dumb_terminal:
            _once(client)
        else:
            _follow(client, console)

"""`mailbell watch`: prints each notification as it comes."""

import time
from collections.abc import Callable
from contextlib import closing
from math import inf

import click

from mailbell.cli._common import (
    Count,
    Seconds,
    complete_account,
    json_line,
    local_time,
    socket_option,
)
from mailbell.cli._text import one_line
from mailbell.client import Client, State, Subscription
from mailbell.core.errors import DataError, MailbellError, TemporaryError
from mailbell.core.escape import printable
from mailbell.core.notification import Cause, Notification

__all__ = ["command", "describe", "how"]

# A daemon that hangs keeps its connections open. So it is asked after this time without a
# notification, and has this time for its answer. Both in seconds.
QUIET, PATIENCE = 30.0, 5.0


def describe(notification: Notification) -> str:
    """Return one line about a notification.

    Args:
        notification: the notification from the daemon.

    Returns:
        Local time, account, how it came, and its count if that is more than one. The line
        has only printable ASCII characters.
    """
    parts = [local_time(notification.time), printable(notification.account), how(notification)]
    if notification.count > 1:
        parts.append(f"({notification.count} times)")
    return "  ".join(parts)


def how(notification: Notification) -> str:
    """Return in a few words how a notification came.

    Args:
        notification: the notification from the daemon.

    Returns:
        The words. They have only printable ASCII characters.
    """
    if notification.cause is Cause.MANUAL:
        return "by hand"
    if notification.cause is Cause.RESYNC:
        return "look once: something may have been missed"
    transport = notification.transport or "unknown transport"
    return f"{transport} from {printable(notification.source or 'unknown source')}"


class _Speaker:
    """Says on stderr when the daemon is lost or does not answer, and when it is back."""

    def __init__(self) -> None:
        self._lost = False
        self._silent = False
        self.subscription: Subscription | None = None

    def __call__(self, state: State) -> None:
        if state is State.CONNECTED and self._lost:
            self._say("the daemon is back")
        elif state is not State.CONNECTED and not self._lost:
            self._say(f"the connection to the daemon is lost{self._why()}; waiting for it")
        self._lost = state is not State.CONNECTED
        self._silent = False

    def ask(self, client: Client) -> None:
        """Ask the daemon whether it still answers, unless it is known to be away.

        Args:
            client: for this question.
        """
        if self._lost:
            return
        try:
            client.status()
        except TemporaryError as error:
            if not self._silent:
                self._say(f"{error.what}; waiting for it")
            self._silent = True
        except MailbellError:  # it has ended just now, and the subscription finds out
            return
        else:
            if self._silent:
                self._say("the daemon answers again")
            self._silent = False

    def _why(self) -> str:
        # An end of the connection needs no explanation. A broken daemon does.
        error = self.subscription and self.subscription.failure
        return f" ({error.what})" if isinstance(error, DataError) else ""

    @staticmethod
    def _say(message: str) -> None:
        click.echo(one_line("mailbell", message), err=True)


def _follow(
    client: Client,
    subscription: Subscription,
    speaker: _Speaker,
    show: Callable[[Notification], str],
    count: float,
    deadline: float,
) -> None:
    shown = 0
    while shown < count:
        left = max(deadline - time.monotonic(), 0.0)
        try:
            notification = subscription.next(min(left, QUIET))
        except TemporaryError:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            # Ask the subscribed daemon, which may have come back at another place.
            speaker.ask(Client(client.path, timeout=min(left, PATIENCE)))
        else:
            # echo flushes each line, so that a program that reads the pipe gets it at once.
            click.echo(show(notification))
            shown += 1


_EXAMPLES = """\b
Examples:
  mailbell watch
  mailbell watch --account work --json | jq --unbuffered .source
  mailbell watch --count 1 --timeout 60 && mbsync -a"""


_HELP = """\
Print each notification as it comes, from now on.

When the daemon goes away, watch waits until the daemon is back. If something
may have been missed, it then prints a notification that says so. When the
daemon hangs, watch says so within 35 seconds after the last notification."""


@click.command(help=_HELP, epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_account,
    help="Only this account; repeatable.",
)
@click.option("--count", type=Count(), metavar="N", help="End with success after N notifications.")
@click.option(
    "--timeout",
    type=Seconds(),
    metavar="SECONDS",
    help="End with exit code 75 after this time, at most a year.",
)
@socket_option
def command(
    as_json: bool,
    accounts: tuple[str, ...],
    count: int | None,
    timeout: float | None,
    socket_path: str | None,
) -> None:
    """Print each notification as it comes, from now on."""
    show = json_line if as_json else describe
    speaker = _Speaker()
    # The time includes the wait for the daemon's answer, which may never come.
    deadline = time.monotonic() + (timeout or inf)
    with Client(socket_path) as client:
        client.timeout = min(client.timeout, timeout or inf)
        with closing(client.subscribe(accounts, on_state=speaker)) as subscription:
            speaker.subscription = subscription
            _follow(client, subscription, speaker, show, count or inf, deadline)

"""`mailbell status`: shows the daemon's status, for people and for collectors."""

import math
import time
from collections.abc import Iterable, Sequence

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mailbell.cli._common import json_line, local_time, plain_table, show, socket_option
from mailbell.cli._layout import counted, duration, sandbox_table, section
from mailbell.cli._openmetrics import PREFIX, no_answer, openmetrics
from mailbell.client import Client
from mailbell.core.errors import DataError, TemporaryError, UnavailableError, UsageError
from mailbell.core.escape import printable
from mailbell.interfaces.listener import Account, Limited, Outcomes, Status

__all__ = [
    "command",
    "limited_sources",
    "outcome_counts",
    "render",
    "uptime",
]

# More accounts than this do not help a reader. --json shows all.
_ACCOUNTS_SHOWN = 20


def render(status: Status, now: float) -> RenderableType:
    """Lay out a status for people.

    Args:
        status: the daemon's status.
        now: wall time in seconds since 1970, for a daemon that does not tell its uptime.

    Returns:
        A text for a console of at least 80 columns.
    """
    return Group(
        *_heading(status, now),
        section("Inputs by outcome", _outcomes(status)),
        section("Limits", _limits(status)),
        section("Accounts", _accounts(status.accounts, status.accounts_total)),
        section("Local socket and log", _local(status)),
        section("Sandbox", sandbox_table(status.sandbox)),
    )


def _heading(status: Status, now: float) -> Iterable[Text]:
    up = duration(uptime(status, now))
    yield Text(f"mailbelld {printable(status.version)}, process {status.pid}, up {up}")
    yield Text("listening on " + (", ".join(map(printable, status.listening)) or "nothing"))
    if status.unfiltered is not None:
        why = printable(status.unfiltered)
        yield Text(f"the daemon, not the kernel, enforces sources.allow: {why}", style="yellow")


def uptime(status: Status, now: float) -> float:
    """Return how long the daemon had been up when it sent its status.

    Args:
        status: the daemon's status.
        now: wall time then, in seconds since 1970. It is used only for a daemon that is
            older than this client and does not tell its uptime.

    Returns:
        Seconds.
    """
    if status.uptime is None:
        return now - status.started / 1e6
    return status.uptime / 1e6


def outcome_counts(outcomes: Outcomes) -> list[tuple[str, int, int]]:
    """Return the outcomes that happened, and always `accepted`.

    Args:
        outcomes: the daemon's counters.

    Returns:
        For each outcome its name, its count over TCP and its count over UDP.
    """
    names = dict.fromkeys(("accepted", *outcomes.tcp, *outcomes.udp))
    counts = [(name, outcomes.tcp.get(name, 0), outcomes.udp.get(name, 0)) for name in names]
    return [(name, tcp, udp) for name, tcp, udp in counts if tcp or udp or name == "accepted"]


def _outcomes(status: Status) -> RenderableType:
    table = plain_table("outcome", "tcp", "udp")
    shown = outcome_counts(status.outcomes)
    for name, tcp, udp in shown:
        table.add_row(printable(name), counted(tcp), counted(udp))
    if status.kernel_dropped is not None:
        # The kernel does not tell which of the two it was.
        table.add_row("dropped by filter or full queue", "", counted(status.kernel_dropped))
    names = {*status.outcomes.tcp, *status.outcomes.udp}
    return Group(table, *_notes(status, len(names) - len(shown)))


def _notes(status: Status, rest: int) -> Iterable[Text]:
    if status.refused_by_total:
        yield Text(f"{status.refused_by_total} of the refused only by limits.total_rate")
    if status.leaked:
        yield Text(f"{status.leaked} datagrams over their limit let through by chance")
    if rest:
        yield Text(f"{rest} other outcomes at zero", style="dim")


def _limits(status: Status) -> RenderableType:
    table = plain_table("what", "now", "at most", "evicted")
    table.add_row("connections", counted(status.connections), str(status.connections_limit), "")
    table.add_row("subscribers", counted(status.subscribers), str(status.subscribers_limit), "")
    for row in status.tables:
        name = f"sources {printable(row.name)}"
        table.add_row(name, counted(row.entries), str(row.capacity), counted(row.evicted))
    if not status.limited:
        return table
    return Group(table, Text(), limited_sources(status.limited))


def limited_sources(limited: Sequence[Limited]) -> Table:
    """Lay out the sources that are over their limits.

    Args:
        limited: the sources, from the daemon's status.

    Returns:
        A table with a row for each source.
    """
    table = plain_table("over its limit", "refused by", "of the last 64", "heard again in")
    for source in limited:
        wait = duration(math.ceil(source.wait / 1_000_000))
        name, refused = printable(source.source), str(source.refused)
        table.add_row(name, printable(source.table), refused, wait)
    return table


def _accounts(accounts: tuple[Account, ...], total: int) -> RenderableType:
    table = plain_table("account", "notifications", "last")
    shown = accounts[:_ACCOUNTS_SHOWN]
    for account in shown:
        last = "never" if account.time is None else local_time(account.time)
        table.add_row(printable(account.name), counted(account.count), last)
    more = total - len(shown)
    return Group(table, Text(f"and {more} more", style="dim")) if more > 0 else table


def _local(status: Status) -> RenderableType:
    table = plain_table("event", "count")
    table.add_row("notifications handed on", counted(status.wakeups))
    for name, count in status.local.items():
        if count:
            table.add_row(printable(name), counted(count))
    table.add_row("log lines held back", counted(status.log_suppressed))
    return table


def _metrics(status: Status) -> str:
    text = openmetrics(status)
    # The format has its own escapes. Characters that it cannot escape are refused.
    if not all(character == "\n" or character.isprintable() for character in text):
        raise DataError("the daemon's status holds control characters", "check who it is")
    return text


_EXAMPLES = """\b
Examples:
  mailbell status
  mailbell status --json | jq .outcomes.tcp.accepted
  mailbell status --prometheus | grep '^mailbell_inputs_total'"""


_HELP = """\
Show the daemon's counters, limits and sandbox.

If the daemon does not answer, the only metric is mailbell_up with the value 0."""


@click.command(help=_HELP, epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object; every name is present.")
@click.option("--prometheus", is_flag=True, help="Metrics for Prometheus, as OpenMetrics text.")
@socket_option
def command(as_json: bool, prometheus: bool, socket_path: str | None) -> None:
    """Show the daemon's counters, limits and sandbox."""
    if as_json and prometheus:
        raise UsageError("--json and --prometheus exclude each other", "choose one")
    try:
        with Client(socket_path) as client:
            status = client.status()
    except (TemporaryError, UnavailableError):
        if prometheus:
            click.echo(no_answer(PREFIX), nl=False)
        raise
    if as_json:
        click.echo(json_line(status))
    elif prometheus:
        click.echo(_metrics(status), nl=False)
    else:
        show(render(status, time.time()))

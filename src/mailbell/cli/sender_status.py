"""`mailbell sender status`: shows the sender's status, for people and for collectors."""

import math
from collections.abc import Iterable, Mapping, Sequence

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mailbell.cli._common import json_line, plain_table, sender_socket_option, show
from mailbell.cli._layout import counted, duration, sandbox_table, section
from mailbell.cli._openmetrics import no_answer
from mailbell.cli._sender_metrics import SENDER_PREFIX, sender_metrics
from mailbell.core.errors import TemporaryError, UnavailableError, UsageError
from mailbell.core.escape import printable
from mailbell.interfaces.sender_status import Account, Latency, Status, TargetState
from mailbell.sender_client import Client, RingOutcome

__all__ = [
    "accounts_table",
    "command",
    "delays",
    "heading",
    "numbers",
    "outcomes_table",
    "render",
    "targets_table",
    "troubles",
]

_STYLES = {RingOutcome.SENT: "green", RingOutcome.COALESCED: "", RingOutcome.NO_TARGET: "dim"}


def render(status: Status) -> RenderableType:
    """Lay out a status for people.

    Args:
        status: the sender's status.

    Returns:
        A text for a console of at least 80 columns.
    """
    return Group(
        heading(status, 0.0),
        Text("listening on " + (", ".join(map(printable, status.listening)) or "nothing")),
        *troubles(status),
        *_cluster(status),
        section("Inputs by outcome", outcomes_table(status.inputs, "accepted")),
        section("Rings by outcome", _rings(status)),
        section("Limits", _limits(status)),
        section("Accounts rung last", accounts_table(status.accounts, 0.0)),
        section("Targets rung last", targets_table(status.targets, 0.0)),
        section("Control socket and log", _local(status)),
        section("Sandbox", sandbox_table(status.sandbox)),
    )


def heading(status: Status, passed: float) -> Text:
    """Say which program it is, and for how long it has run.

    Args:
        status: the sender's status.
        passed: seconds since the sender sent it.

    Returns:
        One line.
    """
    up = duration(status.uptime / 1e6 + passed)
    return Text(f"mailbell-sender {printable(status.version)}, process {status.pid}, up {up}")


def troubles(status: Status) -> Iterable[Text]:
    """Say what is wrong with the store and the cluster.

    Args:
        status: the sender's status.

    Yields:
        A line for each trouble.
    """
    store = status.store
    if store.failing is not None:
        why = printable(store.failing)
        yield Text(f"STORE: logins are not saved, only kept in memory: {why}", style="bold red")
    if store.set_aside is not None:
        why = printable(store.set_aside)
        yield Text(f"store: begun anew at the start: {why}", style="yellow")
    if status.cluster is not None and status.cluster.failing is not None:
        why = printable(status.cluster.failing)
        yield Text(f"CLUSTER: this machine rings alone: {why}", style="bold red")


def _cluster(status: Status) -> Iterable[RenderableType]:
    cluster = status.cluster
    if cluster is None:
        return
    table = plain_table("node", "", "taken", "waiting", "lag")
    for node in cluster.nodes:
        table.add_row(
            printable(node.name) + (" (this one)" if node.name == cluster.node else ""),
            Text("lives") if node.lives else Text("gone", style="bold red"),
            counted(node.taken),
            counted(node.waiting),
            _short(node.lag),
        )
    yield section("Cluster", table)
    yield Text(
        f"rung alone or said again: {cluster.alone}; to be handed over: {cluster.waiting};"
        f" found no place: {cluster.dropped}; not obeyed: {cluster.refused}"
    )


def outcomes_table(counts: Mapping[str, int], always: str) -> RenderableType:
    """Lay out the outcomes that happened.

    Args:
        counts: the number of each outcome.
        always: the outcome that is shown although it has not happened.

    Returns:
        A table, and how many others there are.
    """
    table = plain_table("outcome", "count")
    shown = [(name, count) for name, count in counts.items() if count or name == always]
    for name, count in shown:
        table.add_row(printable(name), counted(count))
    rest = len(counts) - len(shown)
    return Group(table, Text(f"{rest} other outcomes at zero", style="dim")) if rest else table


def _rings(status: Status) -> RenderableType:
    return Group(outcomes_table(status.rings, "sent"), Text(delays(status.latency)))


def delays(latency: Latency) -> str:
    """Say how long notifications took.

    Args:
        latency: from the mail server's word to the wire.

    Returns:
        The median and the 99th percentile in words.
    """
    if latency.p50 is None or latency.p99 is None:
        return "from the mail server's word to the wire: not measured yet"
    return (
        f"from the mail server's word to the wire: p50 {_short(latency.p50)},"
        f" p99 {_short(latency.p99)} of {latency.count}"
    )


def _short(microseconds: int) -> str:
    if microseconds < 10_000:
        return f"{microseconds / 1000:.1f} ms"
    if microseconds < 10_000_000:
        return f"{microseconds / 1000:.0f} ms"
    return duration(microseconds / 1e6)


def _limits(status: Status) -> Table:
    book = status.book
    table = plain_table("what", "now", "at most", "evicted")
    for name, now, most in numbers(status):
        table.add_row(name, counted(now), str(most), "")
    for kind, count in status.names.items():
        table.add_row(f"names: {printable(kind)}", counted(count), "", "")
    accounts = f"address book: accounts (with {book.addresses} addresses)"
    table.add_row(accounts, counted(book.accounts), str(book.capacity), counted(book.evicted))
    return table


def numbers(status: Status) -> Iterable[tuple[str, int, int]]:
    """Return what is in use now.

    Args:
        status: the sender's status.

    Yields:
        What it is, how many there are, and how many there may be.
    """
    yield "connections of mail servers", status.connections, status.connections_limit
    yield "connections to targets", status.sending, status.sending_limit
    yield "watchers", status.watchers, status.watchers_limit


def accounts_table(accounts: Sequence[Account], passed: float) -> Table:
    """Lay out the accounts that were rung last.

    Args:
        accounts: from the sender's status.
        passed: seconds since the sender sent it.

    Returns:
        A table with a row for each account.
    """
    table = plain_table("account", "count", "last ring", "when")
    for account in accounts:
        when = f"{duration(account.age / 1e6 + passed)} ago"
        table.add_row(printable(account.name), str(account.rings), _outcome(account.last), when)
    return table


def targets_table(targets: Sequence[TargetState], passed: float) -> Table:
    """Lay out the targets that were rung last.

    Args:
        targets: from the sender's status.
        passed: seconds since the sender sent it.

    Returns:
        A table with a row for each target.
    """
    table = plain_table("target", "sent", "of", "last attempt", "took", "when", "tried again")
    for target in targets:
        when = f"{duration(target.age / 1e6 + passed)} ago"
        again = "" if target.wait is None else f"in {_left(target.wait / 1e6 - passed)}"
        table.add_row(
            printable(target.target),
            str(target.sent),
            str(target.attempts),
            _outcome(target.last),
            _short(target.took),
            when,
            again,
        )
    return table


def _left(seconds: float) -> str:
    return duration(math.ceil(seconds))


def _outcome(outcome: RingOutcome) -> Text:
    return Text(printable(outcome.value), style=_STYLES.get(outcome, "yellow"))


def _local(status: Status) -> Table:
    table = plain_table("event", "count")
    for name, count in status.local.items():
        if count:
            table.add_row(printable(name), counted(count))
    table.add_row("log lines held back", counted(status.log_suppressed))
    for name, pid in status.companions.items():
        table.add_row(f"companion {printable(name)}", f"process {pid}")
    return table


_EXAMPLES = """\b
Examples:
  mailbell sender status
  mailbell sender status --json | jq .rings.sent
  mailbell sender status --prometheus | grep '^mailbell_sender_rings_total'"""


_HELP = """\
Show the sender's counters, targets, limits and sandbox.

The metrics name no account and no target. The other forms name those that
were rung last. If the sender does not answer, the only metric is
mailbell_sender_up with the value 0."""


@click.command(help=_HELP, epilog=_EXAMPLES, short_help="Show counters, targets and limits.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; every name is present.")
@click.option("--prometheus", is_flag=True, help="Metrics for Prometheus, as OpenMetrics text.")
@sender_socket_option
def command(as_json: bool, prometheus: bool, socket_path: str | None) -> None:
    """Show the sender's counters, targets, limits and sandbox."""
    if as_json and prometheus:
        raise UsageError("--json and --prometheus exclude each other", "choose one")
    try:
        status = Client(socket_path).status()
    except (TemporaryError, UnavailableError):
        if prometheus:
            click.echo(no_answer(SENDER_PREFIX), nl=False)
        raise
    if as_json:
        click.echo(json_line(status))
    elif prometheus:
        click.echo(sender_metrics(status), nl=False)
    else:
        show(render(status))

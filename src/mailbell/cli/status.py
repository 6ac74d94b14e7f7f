"""`mailbell status`: shows the daemon's status, for people and for collectors."""

import math
import time
from collections.abc import Iterable, Sequence

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mailbell.cli._common import json_line, local_time, plain_table, show, socket_option
from mailbell.cli._openmetrics import openmetrics
from mailbell.client import Client
from mailbell.core.errors import DataError, UsageError
from mailbell.core.escape import printable
from mailbell.interfaces.listener import Account, Limited, Outcomes, Sandbox, Status

__all__ = [
    "command",
    "duration",
    "landlock_version",
    "limited_sources",
    "outcome_counts",
    "render",
    "sandbox_facts",
    "uptime",
]

# More accounts than this do not help a reader. --json shows all.
_ACCOUNTS_SHOWN = 20
_GROUPS_SHOWN = 32


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
        _section("Inputs by outcome", _outcomes(status)),
        _section("Limits", _limits(status)),
        _section("Accounts", _accounts(status.accounts, status.accounts_total)),
        _section("Local socket and log", _local(status)),
        _section("Sandbox", _sandbox(status.sandbox)),
    )


def _section(title: str, body: RenderableType) -> RenderableType:
    return Group(Text(), Text(title, style="bold"), Padding(body, (0, 0, 0, 2)))


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


def duration(seconds: float) -> str:
    """Format a duration with its two largest units.

    Args:
        seconds: the duration; less than 0 counts as 0.

    Returns:
        A text such as `1 d 2 h`.
    """
    minutes, seconds = divmod(max(int(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    known = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(known[:2]) or "0 s"


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
        table.add_row(printable(name), _count(tcp), _count(udp))
    if status.kernel_dropped is not None:
        # The kernel does not tell which of the two it was.
        table.add_row("dropped by filter or full queue", "", _count(status.kernel_dropped))
    names = {*status.outcomes.tcp, *status.outcomes.udp}
    return Group(table, *_notes(status, len(names) - len(shown)))


def _notes(status: Status, rest: int) -> Iterable[Text]:
    if status.refused_by_total:
        yield Text(f"{status.refused_by_total} of the refused only by limits.total_rate")
    if status.leaked:
        yield Text(f"{status.leaked} datagrams over their limit let through by chance")
    if rest:
        yield Text(f"{rest} other outcomes at zero", style="dim")


def _count(number: int) -> Text:
    return Text(str(number), style="" if number else "dim")


def _limits(status: Status) -> RenderableType:
    table = plain_table("what", "now", "at most", "evicted")
    table.add_row("connections", _count(status.connections), str(status.connections_limit), "")
    table.add_row("subscribers", _count(status.subscribers), str(status.subscribers_limit), "")
    for row in status.tables:
        name = f"sources {printable(row.name)}"
        table.add_row(name, _count(row.entries), str(row.capacity), _count(row.evicted))
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
        table.add_row(printable(account.name), _count(account.count), last)
    more = total - len(shown)
    return Group(table, Text(f"and {more} more", style="dim")) if more > 0 else table


def _local(status: Status) -> RenderableType:
    table = plain_table("event", "count")
    table.add_row("notifications handed on", _count(status.wakeups))
    for name, count in status.local.items():
        if count:
            table.add_row(printable(name), _count(count))
    table.add_row("log lines held back", _count(status.log_suppressed))
    return table


def _sandbox(sandbox: Sandbox) -> Table:
    table = plain_table("", "", "", header=False)
    for good, name, value in sandbox_facts(sandbox):
        # A word beside the colour, for people who see no colours and for pipes.
        mark = Text("ok", style="green") if good else Text("WEAK", style="bold red")
        table.add_row(mark, name, Text(printable(value)))
    return table


def sandbox_facts(sandbox: Sandbox) -> Iterable[tuple[bool, str, str]]:
    """Judge each fact about the sandbox.

    Args:
        sandbox: the sandbox, from the daemon's status.

    Yields:
        Whether the fact is good, its name, and its value, which must still be escaped.
    """
    # The kernel may list the group itself among the others (getgroups(2)). An ordinary
    # user cannot leave its groups, so only root's group causes a warning.
    others = [group for group in sandbox.groups if group != sandbox.gid]
    groups = f"also in {_few(others)}" if others else "no other groups"
    identity = f"uid {sandbox.uid}, gid {sandbox.gid}, {groups}"
    yield bool(sandbox.uid and sandbox.gid and 0 not in others), "identity", identity
    held = _capabilities(sandbox.capabilities)
    yield held == "none", "capabilities", held
    yield sandbox.no_new_privs, "no_new_privs", "set" if sandbox.no_new_privs else "not set"
    calls = f"mode {sandbox.seccomp}, {sandbox.permitted_calls} calls permitted"
    yield sandbox.seccomp == 2, "seccomp", calls
    yield sandbox.threads == 1, "threads", str(sandbox.threads)
    uncovered = ", ".join(sandbox.landlock_uncovered)
    beyond = f"; left to seccomp: {uncovered}" if uncovered else ""
    in_force = sandbox.landlock_abi if sandbox.landlock_used is None else sandbox.landlock_used
    yield in_force >= 1, "landlock", landlock_version(sandbox) + beyond


def _few(groups: Sequence[int]) -> str:
    """Name the first groups. A user may be in 65,536 (credentials(7))."""
    more = len(groups) - _GROUPS_SHOWN
    named = ", ".join(map(str, groups[:_GROUPS_SHOWN]))
    return f"{named} and {more} more" if more > 0 else named


def landlock_version(sandbox: Sandbox) -> str:
    """Return the version of Landlock in force, and the kernel's version if it is another.

    Args:
        sandbox: the sandbox, from the daemon's status.

    Returns:
        A text such as `ABI 7` or `ABI 7, of the kernel's 10`.
    """
    used, offered = sandbox.landlock_used, sandbox.landlock_abi
    if used is None or used == offered:
        return f"ABI {offered}"
    return f"ABI {used}, of the kernel's {offered}"


def _capabilities(mask: str) -> str:
    try:
        return "none" if int(mask, 16) == 0 else mask
    except ValueError:
        return mask or "unknown"


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
Show the daemon's counters, limits and sandbox."""


@click.command(help=_HELP, epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object; every name is present.")
@click.option("--prometheus", is_flag=True, help="Metrics for Prometheus, as OpenMetrics text.")
@socket_option
def command(as_json: bool, prometheus: bool, socket_path: str | None) -> None:
    """Show the daemon's counters, limits and sandbox."""
    if as_json and prometheus:
        raise UsageError("--json and --prometheus exclude each other", "choose one")
    with Client(socket_path) as client:
        status = client.status()
    if as_json:
        click.echo(json_line(status))
    elif prometheus:
        click.echo(_metrics(status), nl=False)
    else:
        show(render(status, time.time()))

"""`mailbell policy`: shows the sandbox of a program to its reviewers."""

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mailbell._sys.landlock import PINNED
from mailbell.cli._common import json_line, show
from mailbell.core.errors import UsageError
from mailbell.sandbox.policy_file import list_programs, read_policy
from mailbell.syscalls.policy import KILL, Condition, Entry, Policy

__all__ = ["command"]

_LANDLOCK = f"every right that ABI {PINNED} knows is given up, "


def _landlock(policy: Policy) -> str:
    """Say what Landlock permits: a program that connects is granted some ports."""
    connects = {"socket", "connect"} <= set(policy.permitted)
    granted = "and only connecting to some ports is granted"
    return _LANDLOCK + (granted if connects else "and none is granted")


def _count(policy: Policy) -> str:
    return f"{len(policy.permitted)} calls are permitted, most of them with some arguments only"


def _texts(conditions: Iterable[Condition]) -> list[str]:
    return [str(condition) for condition in conditions]


def _what(entry: Entry) -> Text:
    text = Text(", ".join(entry.calls), style="bold")
    if entry.conditions:
        text.append("\nif " + "\nand ".join(_texts(entry.conditions)), style="not bold")
        text.append(f"\nelse {entry.otherwise}", style="not bold red")
    if entry.within:
        text.append("\nwithin " + "\nand ".join(_texts(entry.within)), style="not bold")
        text.append(f"\noutside {KILL}", style="not bold red")
    return text


def _why(entry: Entry) -> Text:
    text = Text(entry.reason)
    if entry.unused:
        text.append(f"\nunused: {entry.unused}", style="dim")
    return text


def _table(policy: Policy) -> RenderableType:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 1, 0))
    table.add_column("answer", no_wrap=True)
    table.add_column("calls and conditions", ratio=1, overflow="fold")
    table.add_column("reason", ratio=1)
    for entry in policy.entries:
        table.add_row(str(entry.action), _what(entry), _why(entry))
    unknown = policy.unknown
    numbers = f"numbers {unknown.newest + 1} to {unknown.until}"
    table.add_row(str(unknown.action), numbers, Text(unknown.reason))
    rest = "all else, other architectures, x32"
    table.add_row(str(KILL), rest, "the whole process ends, with SIGSYS")
    known_later = [Text(f"{name}: {what}") for name, what in policy.placeholders.items()]
    return Group(table, *known_later, Text(f"Landlock: {_landlock(policy)}"), Text(_count(policy)))


def _record(policy: Policy) -> dict[str, object]:
    return {
        "program": policy.program,
        "default": str(KILL),
        "landlock": _landlock(policy),
        "permitted": len(policy.permitted),
        "placeholders": dict(policy.placeholders),
        "unknown": {
            "first": policy.unknown.newest + 1,
            "last": policy.unknown.until,
            "answer": str(policy.unknown.action),
            "reason": policy.unknown.reason,
        },
        "calls": [
            {
                "call": call,
                "answer": str(entry.action),
                "conditions": _texts(entry.conditions),
                "otherwise": str(entry.otherwise) if entry.conditions else None,
                "within": _texts(entry.within),
                "reason": entry.reason,
                "unused": entry.unused or None,
            }
            for entry in policy.entries
            for call in entry.calls
        ],
    }


def _complete(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in list_programs() if name.startswith(begun)]


_EXAMPLES = """\b
Examples:
  mailbell policy
  mailbell policy mailbelld
  mailbell policy --json | jq -r '.calls[] | select(.answer == "allow").call'"""


_HELP = """\
Show the sandbox of PROGRAM: every system call, its conditions, its reason.

An answer is "allow", "kill" (the whole process), or the error that the call
returns. The names that are explained below the table stand for numbers that
only the running program knows. The default PROGRAM is mailbelld."""


@click.command(
    help=_HELP, epilog=_EXAMPLES, short_help="Show the sandbox of PROGRAM, call by call."
)
@click.argument("program", default="mailbelld", shell_complete=_complete)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, one entry a call.")
def command(program: str, as_json: bool) -> None:
    """Show the sandbox of PROGRAM: every system call, its conditions, its reason."""
    known = list_programs()
    # The name becomes part of a path only if it is a known program.
    if program not in known:
        raise UsageError(f"no policy for {program!r}", f"known: {', '.join(known)}")
    policy = read_policy(program)
    if as_json:
        click.echo(json_line(_record(policy)))
    else:
        show(_table(policy))

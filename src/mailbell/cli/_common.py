"""Options that several commands share, and text that is safe to show."""

import json
import os
from collections.abc import Callable
from datetime import datetime
from math import isnan
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec
from click.shell_completion import CompletionItem

from mailbell.core.account_name import is_account_name
from mailbell.core.errors import MailbellError, OperatingSystemError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = [
    "Count",
    "Seconds",
    "absolute",
    "complete_account",
    "complete_mailbox",
    "json_line",
    "local_time",
    "plain_table",
    "sender_socket_option",
    "show",
    "socket_option",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_NUMBERS = {
    *("tcp", "udp", "now", "at most", "evicted", "notifications", "count", "of the last 64"),
    *("sent", "of"),
}

# Seconds. A person waits at the prompt: no names are better than a late answer.
_COMPLETION_TIMEOUT = 0.5


def absolute(path: str) -> str:
    """Return the absolute form of a path.

    Args:
        path: the path as typed. A relative path begins at the current folder.

    Returns:
        The absolute path. It need not exist.

    Raises:
        OperatingSystemError: the path is relative, and the current folder was removed.
    """
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        raise OperatingSystemError(
            f"{path} is looked for in the current folder, which was removed",
            "change to a folder that exists, or write a path that begins with /",
        ) from error


def json_line(value: object) -> str:
    """Write a record as JSON on one line.

    Args:
        value: a msgspec Struct, a dataclass, or plain values.

    Returns:
        ASCII without the end of a line. DEL and all characters beyond ASCII are JSON escapes.
    """
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=True)
    return text.replace("\x7f", "\\u007f")


def local_time(microseconds: int) -> str:
    """Format a time for people.

    Args:
        microseconds: the time since 1970, as the daemon sent it.

    Returns:
        The local time to the second with its offset, in ISO 8601. If no calendar has the
        time, the number itself.
    """
    try:
        at = datetime.fromtimestamp(microseconds // 1_000_000).astimezone()
    except (OverflowError, OSError, ValueError):
        return str(microseconds)
    return at.isoformat(timespec="seconds")


class Count(click.IntRange):
    """The type of an option that takes a number, at least 1."""

    name = "whole number"

    def __init__(self) -> None:
        super().__init__(1)


class Seconds(click.FloatRange):
    """The type of a time-out: more than 0, at most a year, and not nan, which FloatRange takes."""

    name = "number of seconds"

    def __init__(self) -> None:
        super().__init__(0, 365 * 86_400, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number of seconds.

        Args:
            value: the value as typed, or the default.
            param: the option.
            ctx: the context of the command.

        Returns:
            The number.

        Raises:
            click.BadParameter: the value is not a number, or is out of range.
        """
        seconds = float(super().convert(value, param, ctx))
        if isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


def show(rendered: "RenderableType", *, soft_wrap: bool = False) -> None:
    """Print a table or a text on stdout.

    Args:
        rendered: the table or text. Markup, emoji and numbers in it have no special meaning.
        soft_wrap: do not break long lines. The terminal breaks them; a pipe or a file gets
            them whole.
    """
    # On a broken pipe rich would end the process itself. So it writes into memory, and
    # takes only the width and the colours from stdout.
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(rendered, soft_wrap=soft_wrap)
    click.echo(captured.get(), nl=False, color=console.is_terminal)


def plain_table(*columns: str, header: bool = True) -> "Table":
    """Begin a table without a frame, with numbers to the right.

    Args:
        columns: the headings.
        header: whether to show the headings.

    Returns:
        A table without rows.
    """
    from rich.table import Table

    table = Table(box=None, show_header=header, header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in _NUMBERS else "left")
    return table


def socket_option(function: _Function) -> _Function:
    """Give a command the option `--socket`, as the argument `socket_path`.

    Args:
        function: the function of the command.

    Returns:
        The same function.
    """
    return click.option(
        "--socket",
        "socket_path",
        metavar="PATH",
        type=click.Path(),
        help="The daemon's local socket.",
    )(function)


def sender_socket_option(function: _Function) -> _Function:
    """Give a command the option `--socket` of the sender, as the argument `socket_path`.

    Args:
        function: the function of the command.

    Returns:
        The same function.
    """
    return click.option(
        "--socket",
        "socket_path",
        metavar="PATH",
        type=click.Path(),
        help="The sender's control socket.",
    )(function)


def complete_mailbox(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of an account of the sender: those that were rung last.

    Args:
        ctx: the context, with the words so far and `--socket`.
        begun: the part that was typed.

    Returns:
        The names that begin with it; none if the sender does not answer.
    """
    from mailbell.sender_client import Client

    try:
        client = Client(ctx.params.get("socket_path"), timeout=_COMPLETION_TIMEOUT)
        names = [account.name for account in client.status().accounts]
    except (MailbellError, OSError):
        return []
    # The shell puts the names on the command line, so only harmless ones are given.
    good = [name for name in names if is_account_name(name)]
    return [CompletionItem(name) for name in good if name.startswith(begun)]


def complete_account(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of an account. The daemon tells the names.

    Args:
        ctx: the context, with the words so far and `--socket`.
        begun: the part that was typed.

    Returns:
        The names that begin with it; none if the daemon does not answer.
    """
    from mailbell.client import Client

    try:
        with Client(ctx.params.get("socket_path"), timeout=_COMPLETION_TIMEOUT) as client:
            names = [account.name for account in client.status().accounts]
    except (MailbellError, OSError):
        return []
    # The shell puts the names on the command line, so only valid account names are given.
    good = [name for name in names if is_account_name(name)]
    return [CompletionItem(name) for name in good if name.startswith(begun)]

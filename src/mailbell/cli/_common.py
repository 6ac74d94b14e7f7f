"""What several commands share: options, and text that is safe to show."""

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
    "json_line",
    "local_time",
    "plain_table",
    "show",
    "socket_option",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_NUMBERS = {
    *("tcp", "udp", "now", "at most", "evicted", "notifications", "count", "of the last 64"),
}

# A person waits at the prompt: no answer is better than a late one.
_COMPLETION_TIMEOUT = 0.5


def absolute(path: str) -> str:
    """Return the absolute form of a path.

    Args:
        path: as typed; a relative one is looked for in the current folder.

    Returns:
        The path from the root on, whatever is there.

    Raises:
        OperatingSystemError: the path is relative, and the current folder was removed.
    """
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        raise OperatingSystemError(
            f"{path} is looked for in the current folder, which was removed",
            "change to a folder that is there, or write the path from / on",
        ) from error


def json_line(value: object) -> str:
    """Write a record as JSON on one line.

    Args:
        value: a msgspec Struct, a dataclass, or plain values.

    Returns:
        ASCII without a line end; DEL and all beyond ASCII as JSON escapes.
    """
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=True)
    return text.replace("\x7f", "\\u007f")


def local_time(microseconds: int) -> str:
    """Write a time for people.

    Args:
        microseconds: since 1970, as a daemon sent it.

    Returns:
        Local time to the second with its offset, in ISO 8601; the bare number
        when it is no time a calendar knows.
    """
    try:
        at = datetime.fromtimestamp(microseconds // 1_000_000).astimezone()
    except (OverflowError, OSError, ValueError):
        return str(microseconds)
    return at.isoformat(timespec="seconds")


class Count(click.IntRange):
    """How many, one at least."""

    name = "whole number"

    def __init__(self) -> None:
        super().__init__(1)


class Seconds(click.FloatRange):
    """A time-out: more than nothing, at most a year, and a number (FloatRange takes nan)."""

    name = "number of seconds"

    def __init__(self) -> None:
        super().__init__(0, 365 * 86_400, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number of seconds.

        Args:
            value: as typed, or the default.
            param: which option it is for.
            ctx: of the command.

        Returns:
            The number.

        Raises:
            click.BadParameter: it is none, or out of range.
        """
        seconds = float(super().convert(value, param, ctx))
        if isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


def show(rendered: "RenderableType", *, soft_wrap: bool = False) -> None:
    """Print a table or a text on stdout.

    Args:
        rendered: what; nothing in its texts is taken as markup, emoji or a number.
        soft_wrap: leave long lines to the terminal; a pipe or a file gets them whole.
    """
    # rich would end the process itself when the pipe is broken, so it writes
    # into memory; it still asks stdout for width and colour.
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(rendered, soft_wrap=soft_wrap)
    click.echo(captured.get(), nl=False, color=console.is_terminal)


def plain_table(*columns: str, header: bool = True) -> "Table":
    """Begin a table in the house style: no frame, numbers to the right.

    Args:
        columns: the headings; the first is a name, the others as they come.
        header: whether the headings are shown.

    Returns:
        A table without rows.
    """
    from rich.table import Table

    table = Table(box=None, show_header=header, header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in _NUMBERS else "left")
    return table


def socket_option(function: _Function) -> _Function:
    """Give a command the option `--socket`, passed on as `socket_path`.

    Args:
        function: the command's.

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


def complete_account(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete an account's name from what the daemon shows.

    Args:
        ctx: holds the words so far, `--socket` among them.
        begun: the part already typed.

    Returns:
        The names that fit; none when the daemon cannot be asked.
    """
    from mailbell.client import Client

    try:
        with Client(ctx.params.get("socket_path"), timeout=_COMPLETION_TIMEOUT) as client:
            names = [account.name for account in client.status().accounts]
    except (MailbellError, OSError):
        return []
    # The shell puts this on the command line: only what a configuration can name.
    good = [name for name in names if is_account_name(name)]
    return [CompletionItem(name) for name in good if name.startswith(begun)]

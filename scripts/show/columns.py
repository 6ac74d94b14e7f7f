"""How the show stands on a terminal: two columns, or one below the other where it is narrow. Pure.

Nothing that was printed is changed later. So the same rows fit a terminal of any width, a file and
a recording.
"""

from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, chop_cells

from scripts.show.events import Side

__all__ = ["Entry", "Heading", "Note", "Row", "Segment", "Title", "rows"]

_TWO_COLUMNS: Final = 84  # from this width on
_WIDEST: Final = 130
_TIME: Final = 8  # cells of "2,345 ms"
_BETWEEN: Final = " │ "

Segment = tuple[str, str]
"""A text, and the name of its style: "time", "server", "laptop", "title", "note", "line"."""


@dataclass(frozen=True)
class Heading:
    """The names of both machines, above their columns."""

    server: str
    laptop: str


@dataclass(frozen=True)
class Title:
    """The beginning of a scene."""

    text: str


@dataclass(frozen=True)
class Note:
    """What the demonstration itself does or says."""

    text: str


@dataclass(frozen=True)
class Entry:
    """What happens at one of the machines.

    Attributes:
        side: where.
        seconds: since the scene's beginning; None: no time is shown.
        text: in words.
    """

    side: Side
    seconds: float | None
    text: str


Row = Heading | Title | Note | Entry


def rows(row: Row, width: int | None) -> list[list[Segment]]:
    """Return the lines of a terminal that show a row.

    Args:
        row: what to show.
        width: of the terminal, in cells; None: there is no terminal, and a line is not folded.
    """
    if width is None:
        return [_plain(row)]
    width = max(12, min(width, _WIDEST))
    if width < _TWO_COLUMNS:
        return _narrow(row, width)
    return _wide(row, width)


def _plain(row: Row) -> list[Segment]:
    match row:
        case Heading():
            return [(f"{Side.SERVER}: {row.server}; {Side.LAPTOP}: {row.laptop}", "title")]
        case Title():
            return [(f"== {row.text}", "title")]
        case Note():
            return [(row.text, "note")]
        case Entry():
            return [(f"{row.side}: {_time(row.seconds)}{row.text}", _style(row.side))]


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{_milliseconds(seconds)}: "


def _milliseconds(seconds: float) -> str:
    return f"{max(0, round(1000 * seconds)):,} ms"


def _narrow(row: Row, width: int) -> list[list[Segment]]:
    match row:
        case Heading():
            texts = (f"{Side.SERVER}: {row.server}", f"{Side.LAPTOP}: {row.laptop}")
            return [[(part, "title")] for text in texts for part in _folded(text, width)]
        case Title():
            return [[("", "line")], *([(part, "title")] for part in _folded(row.text, width))]
        case Note():
            return [[(part, "note")] for part in _folded(row.text, width)]
        case Entry():
            text = f"{row.side}: {_time(row.seconds)}{row.text}"
            first, *others = _folded(text, width - 2)
            style = _style(row.side)
            return [[(first, style)], *([(f"  {part}", style)] for part in others)]


def _wide(row: Row, width: int) -> list[list[Segment]]:
    left = (width - len(_BETWEEN)) // 2
    match row:
        case Heading():
            names = (row.server, row.laptop)
            cells = [_cell(_folded(name, left - _TIME - 1), left, "title") for name in names]
            return [
                *_beside(cells[0], cells[1], left),
                [(f"{'─' * (left + 1)}┼{'─' * (left + 1)}", "line")],
            ]
        case Title():
            ruled = _folded(f"── {row.text}", width - 1)
            ruled[-1] += " " + "─" * (width - 1 - cell_len(ruled[-1]))
            return [[(part, "title")] for part in ruled]
        case Note():
            return [[("  ", "note"), (part, "note")] for part in _folded(row.text, width - 2)]
        case Entry():
            cell = _cell(_folded(row.text, left - _TIME - 1), left, _style(row.side), row.seconds)
            return _beside(*((cell, []) if row.side is Side.SERVER else ([], cell)), left)


def _cell(
    parts: list[str], width: int, style: str, seconds: float | None = None
) -> list[list[Segment]]:
    """Return the lines of one column, each padded to its width."""
    shown = "" if seconds is None else _milliseconds(seconds)
    lines = []
    for number, part in enumerate(parts):
        time = shown if number == 0 else ""
        padding = " " * (width - _TIME - 1 - cell_len(part))
        lines.append([(f"{time:>{_TIME}} ", "time"), (part + padding, style)])
    return lines


def _beside(
    left: list[list[Segment]], right: list[list[Segment]], width: int
) -> list[list[Segment]]:
    empty: list[Segment] = [(" " * width, "line")]
    height = max(len(left), len(right))
    left = left + [empty] * (height - len(left))
    lines = []
    for number in range(height):
        beyond = right[number] if number < len(right) else []
        lines.append([*left[number], (_BETWEEN if beyond else _BETWEEN.rstrip(), "line"), *beyond])
    return lines


def _style(side: Side) -> str:
    return "server" if side is Side.SERVER else "laptop"


def _folded(text: str, width: int) -> list[str]:
    """Return a text in lines of at most this width, folded between words where that can be."""
    lines = [""]
    for word in text.split():
        for part in chop_cells(word, width):
            joined = f"{lines[-1]} {part}" if lines[-1] else part
            if cell_len(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(part)
    return lines

"""The terminal that the show is seen on, and the recording of it, which has a width of its own."""

import io
import os
import time
from typing import Final

from rich.console import Console
from rich.text import Text

from scripts.show.cast import Cast, Event
from scripts.show.columns import Row, Segment, rows

__all__ = ["Screen"]

_STYLES: Final = {
    "title": "bold", "note": "yellow", "time": "dim", "line": "dim", "server": "cyan",
    "laptop": "green",
}  # fmt: skip
_WIDTH: Final = 112  # of a recording
_HEIGHT: Final = 40


class Screen:
    """Shows rows, and records them.

    Args:
        title: of the recording.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(highlight=False, markup=False)
        self._paper = io.StringIO()
        self._recorder = Console(
            file=self._paper, width=_WIDTH, force_terminal=True, color_system="standard",
            highlight=False, markup=False, legacy_windows=False, no_color=False,
        )  # fmt: skip
        self._began = time.monotonic()
        self._timestamp = int(time.time())
        self._events: list[Event] = []

    def show(self, row: Row) -> None:
        """Show a row now."""
        tty = self._console.is_terminal and os.environ.get("TERM") != "dumb"
        _print(self._console, rows(row, self._console.width if tty else None))
        self._paper.seek(0)
        self._paper.truncate()
        _print(self._recorder, rows(row, _WIDTH))
        self._note("o", self._paper.getvalue().replace("\n", "\r\n"))

    def mark(self, label: str) -> None:
        """Name this moment of the recording."""
        self._note("m", label)

    def cast(self) -> Cast:
        """Return the recording."""
        return Cast(_WIDTH, _HEIGHT, self._timestamp, self._title, tuple(self._events))

    def _note(self, kind: str, text: str) -> None:
        self._events.append(Event(time.monotonic() - self._began, kind, text))


def _print(console: Console, lines: list[list[Segment]]) -> None:
    for line in lines:
        text = Text.assemble(*((part, _STYLES.get(style, "")) for part, style in line))
        text.rstrip()
        console.print(text, soft_wrap=True)
    console.file.flush()

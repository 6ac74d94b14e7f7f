"""A still picture of a recording: the terminal's last lines at one moment, as SVG. Pure.

The show only writes lines and colours, and never moves the cursor. So its screen is the end of its
output. The picture names no font that must be downloaded, and no viewer has to execute anything.
"""

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from rich.cells import cell_len

from scripts.show.cast import Cast, Event

__all__ = ["picture"]

_CELL: Final = (8.4, 18)  # pixels of a character, at the size of the font below
_MARGIN: Final = 14
_FONTS: Final = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"
_STYLES: Final = {
    "1": 'font-weight="bold"', "2": 'fill="#8b949e"', "36": 'fill="#79c0ff"',
    "32": 'fill="#7ee787"', "33": 'fill="#e3b341"', "31": 'fill="#ff7b72"',
}  # fmt: skip
_CODE: Final = re.compile(r"\x1b\[([\d;]*)m")


def picture(cast: Cast, events: Sequence[Event]) -> str:
    """Return the screen after these events as the text of an SVG file.

    Args:
        cast: whose screen it is.
        events: the output until then.
    """
    output = "".join(each.text for each in events)
    lines = output.replace("\r\n", "\n").rstrip("\n").split("\n")[-cast.height :]
    width = cast.width * _CELL[0] + 2 * _MARGIN
    height = len(lines) * _CELL[1] + 2 * _MARGIN
    size = f'width="{width:.0f}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" {size}>',
        f"<title>{escape(cast.title)}</title>",
        f'<rect {size} rx="8" fill="#0d1117"/>',
        f'<g font-family="{_FONTS}" font-size="14" fill="#e6edf3" xml:space="preserve">',
    ]
    for number, line in enumerate(lines):
        y = _MARGIN + _CELL[1] * number + 13
        parts += _texts(line, y)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _texts(line: str, y: int) -> Iterator[str]:
    """Yield one element for each piece of a line with one style, at its place."""
    column = 0
    for text, styles in _pieces(line):
        bare = text.strip(" ")
        if bare:
            start = column + len(text) - len(text.lstrip(" "))
            x, length = f"{_MARGIN + start * _CELL[0]:.1f}", f"{cell_len(bare) * _CELL[0]:.1f}"
            marks = "".join(f" {_STYLES[style]}" for style in styles if style in _STYLES)
            yield f'<text x="{x}" y="{y}" textLength="{length}"{marks}>{escape(bare)}</text>'
        column += cell_len(text)


def _pieces(line: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each piece of a line between two codes, and the codes in force there (SGR, ECMA-48)."""
    styles: tuple[str, ...] = ()
    place = 0
    for found in _CODE.finditer(line):
        yield line[place : found.start()], styles
        codes = [code for code in found[1].split(";") if code]
        reset = not codes or "0" in codes
        styles = () if reset else (*styles, *codes)
        place = found.end()
    yield line[place:], styles

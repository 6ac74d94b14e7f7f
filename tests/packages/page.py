"""The blocks of docs/install.md: what a person types, and what is printed then.

A block stands below a comment that says where it is run, such as
`<!-- run: pipx install on trixie forky -->`. A line that begins with `# ` is typed by root, one
with `$ ` by the person. The other lines are what the command prints. There `...` stands for any
text of a line, and as a line of its own for any lines. A number stands for any other one, since
versions and times change.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["PAGE", "Block", "Step", "blocks", "is_printed", "parse"]

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "install.md"
"""The page."""

_BLOCK: Final = re.compile(
    r"^<!-- run: (?P<name>.+?) on (?P<suites>[a-z ]+) -->\n```console\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_PROMPTS: Final = {"# ": True, "$ ": False}
_ANY: Final = "..."


@dataclass(frozen=True, slots=True)
class Step:
    """A command.

    Attributes:
        command: the line.
        root: whether root types it; else the person.
        printed: the lines that the page shows below.
    """

    command: str
    root: bool
    printed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the page.

    Attributes:
        name: what the comment above calls it.
        suites: where it is run.
        steps: the commands, in their order.
    """

    name: str
    suites: tuple[str, ...]
    steps: tuple[Step, ...]


def blocks(name: str, suite: str) -> list[Block]:
    """Return the blocks of a name that are run with a version of Debian.

    Args:
        name: of the blocks.
        suite: the version, as Debian names it.

    Returns:
        The blocks, in the order of the page.

    Raises:
        LookupError: there is none.
    """
    found = [
        each
        for each in parse(PAGE.read_text())
        if (each.name, suite in each.suites) == (name, True)
    ]
    if not found:
        raise LookupError(f"docs/install.md has no block {name!r} for {suite}")
    return found


def parse(text: str) -> list[Block]:
    """Read all blocks of a page that are run."""
    return [
        Block(found["name"], tuple(found["suites"].split()), tuple(_steps(found["text"])))
        for found in _BLOCK.finditer(text)
    ]


def _steps(text: str) -> Iterator[Step]:
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line[:2] in _PROMPTS]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        line = lines[start]
        yield Step(line[2:], _PROMPTS[line[:2]], tuple(lines[start + 1 : end]))


def is_printed(shown: Sequence[str], printed: str) -> bool:
    """Tell whether a command has printed what the page shows.

    Args:
        shown: the lines of the page.
        printed: the text of the command.
    """
    pattern = "".join(_pattern(line) for line in shown)
    lines = (line.rstrip() for line in printed.splitlines())
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _pattern(line: str) -> str:
    """Return the pattern of a line of the page, or of the lines that `...` stands for."""
    if line == _ANY:
        return r"(?:.*\n)*?"
    parts = re.split(r"(\.\.\.|\d+)", line.rstrip())
    return "".join(_part(part) for part in parts) + r"\n"


def _part(text: str) -> str:
    if text == _ANY:
        return ".*"
    return r"\d+" if text.isascii() and text.isdigit() else re.escape(text)

"""Finds the blocks of the documents: what stands between fences, and what is indented as code.

It also reads the commands of a block that shows a terminal, and compares what they print. A line
that begins with `# ` is typed by root, one with `$ ` by a person. The other lines are what the
command prints: there `...` stands for any text of a line, and as a line of its own for any lines. A
number stands for any other one, since times, pids and versions change.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "Block", "Step", "block", "blocks", "documents", "is_printed", "of", "steps"]

ROOT: Final = Path(__file__).resolve().parents[2]
"""The project."""

_HEADING: Final = re.compile(r"#{1,6} +(.*?) *#*$")
# CommonMark, "Fenced code blocks": up to three spaces, and at least three of ` or ~.
_FENCE: Final = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<language>[^`\s]*)")
_INDENT: Final = "    "
# CommonMark, "List items": what follows belongs to the item if it is indented as its text is.
_ITEM: Final = re.compile(r" {0,3}(?:[-+*]|\d{1,9}[.)]) +")

_PROMPTS: Final = {"# ": True, "$ ": False}
_ANY: Final = "..."


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a document.

    Attributes:
        document: the file, as seen from the project.
        heading: the heading above it.
        ordinal: 0 for the first block below headings of that name.
        line: where it begins, counted from 1.
        language: the word after the fence; empty: none, or it is indented.
        text: its lines.
    """

    document: str
    heading: str
    ordinal: int
    line: int
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a block.

    Attributes:
        command: the line.
        root: whether root types it; else a person.
        printed: the lines that the document shows below.
    """

    command: str
    root: bool
    printed: tuple[str, ...]


def documents() -> list[str]:
    """Return the documents whose blocks people copy, as seen from the project."""
    found = [ROOT / "README.md", ROOT / "SECURITY.md", *ROOT.glob("docs/**/*.md")]
    found += ROOT.glob("*/README.md")
    return sorted(str(path.relative_to(ROOT)) for path in found)


def blocks() -> list[Block]:
    """Return the blocks of all documents, in their order, without changes of the code."""
    found = (each for name in documents() for each in of(name, (ROOT / name).read_text()))
    return [each for each in found if each.language != "diff"]


def block(document: str, heading: str, ordinal: int = 0) -> Block:
    """Return a block.

    Args:
        document: the file, as seen from the project.
        heading: the heading above it.
        ordinal: 0 for the first one below that heading.

    Raises:
        LookupError: there is none.
    """
    for each in of(document, (ROOT / document).read_text()):
        if (each.heading, each.ordinal) == (heading, ordinal):
            return each
    raise LookupError(f"{document} has no block {ordinal} below {heading!r}")


def of(document: str, text: str) -> Iterator[Block]:
    """Yield the blocks of a document.

    Args:
        document: its name.
        text: what it contains.
    """
    seen: Counter[str] = Counter()
    for line, heading, language, found in _parts(text.splitlines()):
        yield Block(document, heading, seen[heading], line, language, found)
        seen[heading] += 1


def _parts(lines: list[str]) -> Iterator[tuple[int, str, str, str]]:
    """Yield where a block begins, the heading above it, its language and its text."""
    heading, depth, number, open_line = "", 0, 0, True
    while number < len(lines):
        line = lines[number]
        begun = number
        if fence := _FENCE.match(line):
            number = _closed(lines, number + 1, fence["fence"])
            text = "".join(f"{each}\n" for each in lines[begun + 1 : number])
            yield begun + 1, heading, fence["language"], text
        elif open_line and line.strip() and line.startswith(" " * depth + _INDENT):
            number = _outdented(lines, number, depth + len(_INDENT))
            text = "".join(f"{each[depth + 4 :]}\n" for each in lines[begun : number + 1])
            yield begun + 1, heading, "", text
        elif found := _HEADING.match(line):
            heading, depth = found[1], 0
        elif item := _ITEM.match(line):
            depth = item.end()
        elif line and not line.startswith(" "):
            depth = 0
        open_line = (
            not lines[min(number, len(lines) - 1)].strip() or _HEADING.match(line) is not None
        )
        number += 1


def _closed(lines: list[str], number: int, fence: str) -> int:
    """Return the line that closes a fence."""
    while number < len(lines) and not re.fullmatch(rf" {{0,3}}{fence}[`~]* *", lines[number]):
        number += 1
    return number


def _outdented(lines: list[str], number: int, depth: int) -> int:
    """Return the last line of what is indented so deep; empty lines within belong to it."""
    last = number
    while number < len(lines) and (not lines[number].strip() or lines[number][:depth].isspace()):
        last = number if lines[number].strip() else last
        number += 1
    return last


def steps(text: str) -> list[Step]:
    """Return the commands of a block that shows a terminal, and what each prints.

    A line that ends in a backslash goes on in the next one.
    """
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line[:2] in _PROMPTS]
    found = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        prompt, after = lines[start][:2], start + 1
        command = [lines[start][2:]]
        while command[-1].endswith("\\") and after < end:
            command.append(lines[after])
            after += 1
        found.append(Step("\n".join(command), _PROMPTS[prompt], tuple(lines[after:end])))
    return found


def is_printed(shown: Sequence[str], printed: str) -> bool:
    """Tell whether a command has printed what a document shows.

    Args:
        shown: the lines of the document.
        printed: the text of the command.
    """
    pattern = "".join(_pattern(line) for line in shown)
    lines = (line.rstrip() for line in printed.splitlines())
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _pattern(line: str) -> str:
    """Return the pattern of a line of a document, or of the lines that `...` stands for."""
    if line == _ANY:
        return r"(?:.*\n)*?"
    parts = re.split(r"(\.\.\.|\d+)", line.rstrip())
    return "".join(_part(part) for part in parts) + r"\n"


def _part(text: str) -> str:
    if text == _ANY:
        return ".*"
    return r"\d+" if text.isascii() and text.isdigit() else re.escape(text)

"""The blocks of docs/install.md: what a person types, and what is printed then.

A block stands below a comment that says where it is run, such as
`<!-- run: pipx install on trixie forky -->`. What such a block consists of, and how it is compared
with what is printed, is in `documents.blocks`.
"""

import re
from dataclasses import dataclass
from typing import Final

from documents.blocks import ROOT, Step, steps

__all__ = ["PAGE", "Block", "blocks", "parse"]

PAGE: Final = ROOT / "docs" / "install.md"
"""The page."""

_BLOCK: Final = re.compile(
    r"^<!-- run: (?P<name>.+?) on (?P<suites>[a-z ]+) -->\n```console\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


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
        Block(found["name"], tuple(found["suites"].split()), tuple(steps(found["text"])))
        for found in _BLOCK.finditer(text)
    ]

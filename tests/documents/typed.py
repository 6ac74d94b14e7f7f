"""Types the commands of a block, one after another, and compares what each prints."""

import re
from collections.abc import Callable, Sequence
from typing import Final

import pytest
from documents.blocks import Block, Step, block, is_printed, steps
from packages.system import Ran

__all__ = ["text_of", "typed"]

# A short time has a fraction, and a long one has none.
_MILLISECONDS: Final = re.compile(r"\b\d+(?:\.\d+)? ms\b")


def typed(
    document: str,
    heading: str,
    ordinal: int,
    run: Callable[[Step], Ran],
    *,
    code: int = 0,
    codes: Sequence[int] = (),
) -> str:
    """Type the commands of a block.

    Args:
        document: the file, as seen from the project.
        heading: the heading above the block.
        ordinal: 0 for the first block below that heading.
        run: runs one command to its end.
        code: with which the last command ends. The others end with 0.
        codes: instead of `code`: with which each of the commands ends.

    Returns:
        What the last command printed.
    """
    found = block(document, heading, ordinal)
    commands = steps(found.text)
    said = ""
    for step, expected in zip(commands, codes or [*[0] * (len(commands) - 1), code], strict=True):
        done = run(step)
        _take(found, step, done, expected)
        said = done.said
    return said


def _take(found: Block, step: Step, done: Ran, code: int) -> None:
    shown = [_MILLISECONDS.sub("1 ms", line) for line in step.printed]
    if done.code != code or not is_printed(shown, _MILLISECONDS.sub("1 ms", done.said)):
        where = f"{found.document}, line {found.line}: {step.command}"
        expected = "\n".join(step.printed)
        pytest.fail(f"{where}: code {done.code}\n{done.said}\nthe document shows:\n{expected}")


def text_of(document: str, heading: str, ordinal: int = 0, **changes: str) -> str:
    """Return a block that is a file.

    Args:
        document: the file of the document, as seen from the project.
        heading: the heading above the block.
        ordinal: 0 for the first block below that heading.
        changes: words of the block that stand for something of the reader's, and what it is here.
    """
    text = block(document, heading, ordinal).text
    for word, here in changes.items():
        assert word in text, (word, text)
        text = text.replace(word, here)
    return text

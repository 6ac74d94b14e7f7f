"""Writes man(7), the language of manual pages: text, words in bold, lists, lines as they are."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

__all__ = ["Words", "bold", "emphasis", "item", "lines", "paragraph", "plain", "tagged"]

# groff_char(7): these characters are typeset in another way if they are not named.
_NAMED: Final = str.maketrans(
    {"\\": r"\(rs", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", "-": r"\-"}
)
# mandoc(1) complains of lines that are longer than this; in bytes.
_LONGEST: Final = 78

Words = str
"""Text in roff's language, without the end of a line."""


def plain(text: str) -> Words:
    """Return text that is to be read.

    Args:
        text: ASCII without control characters.

    Raises:
        ValueError: there is another character in it.
    """
    if not re.fullmatch(r"[ -~]*", text):
        raise ValueError(f"a manual page is plain ASCII: {text!r}")
    # A hyphen within a word stays one, so that a line may be broken there.
    named = text.replace("\\", r"\(rs").replace("'", r"\(aq").replace("~", r"\(ti")
    named = named.replace("`", r"\(ga").replace("^", r"\(ha")
    return re.sub(r"(?<![A-Za-z])-|-(?![A-Za-z])", r"\\-", named)


def bold(text: str) -> Words:
    """Return text that is to be typed as it is.

    Args:
        text: as for `plain`.
    """
    return rf"\fB{_typed(text)}\fR"


def emphasis(words: Words) -> Words:
    """Return emphasized words.

    Args:
        words: as `plain` returns them.
    """
    return rf"\fI{words}\fR"


def _typed(text: str) -> Words:
    plain(text)
    return text.translate(_NAMED)


def _wrapped(words: Words) -> Iterator[str]:
    # A word in bold may have blanks, at which a line may be broken too.
    for line in textwrap.wrap(words, _LONGEST, break_long_words=False, break_on_hyphens=False):
        yield _harmless(line)


def _harmless(line: str) -> str:
    # A line that begins with one of these would be a request.
    return rf"\&{line}" if line[:1] in {".", "'"} else line


def paragraph(words: Words) -> Iterator[str]:
    """Yield the lines of a paragraph.

    Args:
        words: of the paragraph.
    """
    yield ".PP"
    yield from _wrapped(words)


def tagged(tag: Words, bodies: Sequence[Words]) -> Iterator[str]:
    """Yield the lines of an entry in a list of terms.

    Args:
        tag: the term.
        bodies: the paragraphs about it.
    """
    yield ".TP"
    yield _harmless(tag)
    for place, body in enumerate(bodies):
        if place:
            yield ".IP"
        yield from _wrapped(body)


def item(words: Words, mark: str = r"\(bu") -> Iterator[str]:
    """Yield the lines of an entry in a list.

    Args:
        words: of the entry.
        mark: what stands before it.
    """
    yield f".IP {mark} 3"
    yield from _wrapped(words)


def lines(texts: Iterable[str]) -> Iterator[str]:
    """Yield lines that are shown as they are, with an indent.

    Args:
        texts: as for `plain`, each a line.
    """
    yield from (".PP", ".RS 4", ".nf")
    yield from (_harmless(_typed(text)) if text else r"\&" for text in texts)
    yield from (".fi", ".RE")

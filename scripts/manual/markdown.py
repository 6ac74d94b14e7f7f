"""Turns Markdown of the documents into man(7)'s language."""

import re
from collections.abc import Iterator
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from scripts.manual import roff

__all__ = ["Section", "converted", "sections"]

# A term stands on a line of its own. A row that begins with more is an entry of a list. In bytes.
_LONGEST_TERM: Final = 66
_PARSER: Final = MarkdownIt("commonmark").enable("table")

Section = tuple[str, list[str]]
"""A heading, and the lines of man(7) below it."""


def sections(text: str, *, level: int = 2) -> list[Section]:
    """Convert a document.

    Args:
        text: in Markdown.
        level: of the headings that begin a section. A deeper heading is one within it.

    Returns:
        The sections in their order. The first has what stands above all of them, and the
        heading "".
    """
    found: list[Section] = [("", [])]
    for node in SyntaxTreeNode(_PARSER.parse(text)).children:
        if node.type != "heading":
            found[-1][1].extend(_block(node))
        elif int(node.tag[1:]) <= level:
            found.append((_words(node, is_heading=True), []))
        else:
            found[-1][1].append(f".SS {_words(node, is_heading=True)}")
    return found


def converted(text: str) -> list[str]:
    """Convert a text without headings.

    Args:
        text: in Markdown.
    """
    return sections(text)[0][1]


def _block(node: SyntaxTreeNode) -> Iterator[str]:
    match node.type:
        case "paragraph":
            yield from roff.paragraph(_words(node))
        case "fence" | "code_block":
            yield from roff.lines(node.content.rstrip("\n").split("\n"))
        case "bullet_list" | "ordered_list":
            for place, entry in enumerate(node.children, 1):
                mark = r"\(bu" if node.type == "bullet_list" else f"{place}."
                yield from roff.item(" ".join(map(_words, entry.children)), mark)
        case "table":
            yield from _table(node)
        case "html_block":
            pass  # a comment: a mark for a test or for a command
        case other:
            raise ValueError(f"a manual page cannot show this: {other}")


def _table(node: SyntaxTreeNode) -> Iterator[str]:
    """Yield a row as an entry: the first cell is its term, the others say more about it."""
    head, *rest = node.children
    names = [_words(cell, is_heading=True) for cell in head.children[0].children]
    rows = [[_words(cell) for cell in row.children] for part in rest for row in part.children]
    is_short = all(len(tag) <= _LONGEST_TERM for tag, *_ in rows)
    for tag, *cells in rows:
        body = cells[0] if len(cells) == 1 else _said(names[1:], cells)
        if is_short:
            yield from roff.tagged(tag, [body])
        else:
            yield from roff.item(f"{tag}: {body}")


def _said(names: list[str], cells: list[str]) -> str:
    """Return the cells of a row as sentences, each with the heading of its column."""
    return " ".join(
        f"{name[:1].upper()}{name[1:]}: {cell}{'' if _is_sentence(cell) else '.'}"
        for name, cell in zip(names, cells, strict=True)
        if cell
    )


def _is_sentence(words: roff.Words) -> bool:
    return re.sub(r"\\f[BIR]", "", words).endswith(".")


def _words(node: SyntaxTreeNode, *, is_heading: bool = False) -> roff.Words:
    parts = "".join(_inline(each, is_heading=is_heading) for each in node.children)
    return re.sub(r"\s+", " ", parts).strip()


def _inline(node: SyntaxTreeNode, *, is_heading: bool) -> roff.Words:
    match node.type:
        case "text":
            return roff.plain(node.content)
        case "code_inline":
            # A heading is set in bold already.
            return roff.plain(node.content) if is_heading else roff.bold(node.content)
        case "softbreak" | "hardbreak" | "html_inline":  # of HTML there is `<br>` alone
            return " "
        case "em" | "strong":
            return roff.emphasis(_words(node, is_heading=is_heading))
        case "link":
            return _link(node, is_heading=is_heading)
        case "inline" | "paragraph":
            return _words(node, is_heading=is_heading)
    raise ValueError(f"a manual page cannot show this: {node.type}")


def _link(node: SyntaxTreeNode, *, is_heading: bool) -> roff.Words:
    """Return the text of a link, with its place if that is on the network or is the text."""
    text = _words(node, is_heading=is_heading)
    place = str(node.attrs["href"])
    if place.startswith("https:"):
        return f"{text} <{roff.plain(place)}>"
    return f"docs/{text}" if text == roff.plain(place.partition("#")[0]) else text

"""Changes the links of a document so that they hold on the site.

On the site each document is a page, at the place that it has in the project. README.md alone has
another name, because it is the first page. A link to anything else of the project leads to a copy:
a page of the site that shows the file, or the file itself where it is no text.
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["HOME", "Links", "page_of", "shown_at"]

HOME: Final = "README.md"
_FIRST: Final = "index.md"
# `[text](place)`, and the picture `![text](place)`. Of `[![text](picture)](place)` both are found.
_LINK: Final = re.compile(r"(?P<before>\]\()(?P<place>[^)\s]+)(?P<after>(?:\s\"[^\"]*\")?\))")
_REFERENCE: Final = re.compile(r"(?m)^(?P<before>\[[^]]+\]:\s+)(?P<place>\S+)(?P<after>)")
# What is shown as it is: a block between fences, a block with an indent, a word in backticks.
_LITERAL: Final = re.compile(
    r"(?ms)^(?P<fence> *(?:```+|~~~+))[^\n]*\n.*?^(?P=fence)[`~]*\s*?$"
    r"|(?<=\n\n)(?:(?: {4}|\t)[^\n]*(?:\n|\Z)+)+"
    r"|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"
)


@dataclass(frozen=True, slots=True)
class Links:
    """The links of one document.

    Attributes:
        document: its place in the project, such as `docs/agent.md`.
        documents: the places of all documents.
        is_shown: tells whether a file or folder of the project is shown on a page of its own.
        exists: tells whether a place is in the project.
    """

    document: str
    documents: frozenset[str]
    is_shown: Callable[[str], bool]
    exists: Callable[[str], bool]

    def changed(self, text: str) -> tuple[str, set[str], list[str]]:
        """Change the links.

        Args:
            text: of the document, in Markdown.

        Returns:
            The text for the site; the places of what the site must have a copy of; the links
            that lead nowhere, as they are written.
        """
        copied: set[str] = set()
        dead: list[str] = []

        def change(found: re.Match[str]) -> str:
            return f"{found['before']}{self._place(found['place'], copied, dead)}{found['after']}"

        parts: list[str] = []
        end = 0
        for literal in _LITERAL.finditer(text):
            parts += [self._every(change, text[end : literal.start()]), literal[0]]
            end = literal.end()
        return "".join([*parts, self._every(change, text[end:])]), copied, dead

    @staticmethod
    def _every(change: Callable[[re.Match[str]], str], text: str) -> str:
        return _REFERENCE.sub(change, _LINK.sub(change, text))

    def _place(self, link: str, copied: set[str], dead: list[str]) -> str:
        path, mark, anchor = link.partition("#")
        if not path or re.match(r"[a-z][a-z0-9+.-]*:", path):
            return link
        place = posixpath.normpath(posixpath.join(posixpath.dirname(self.document), path))
        if place not in self.documents:
            if not self.exists(place):
                dead.append(link)
                return link
            copied.add(place)
            if self.is_shown(place):
                place = shown_at(place)
        return self._relative(page_of(place)) + mark + anchor

    def _relative(self, place: str) -> str:
        here = posixpath.dirname(page_of(self.document))
        return posixpath.relpath(place, here or ".")


def page_of(document: str) -> str:
    """Return where the site has a document.

    Args:
        document: its place in the project.
    """
    return _FIRST if document == HOME else document


def shown_at(place: str) -> str:
    """Return the page of the site that shows a file or a folder which is no document.

    Args:
        place: its place in the project.
    """
    return f"source/{place}.md"

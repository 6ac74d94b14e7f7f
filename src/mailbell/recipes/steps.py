"""The steps of a recipe, with the facts of a machine in their places."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["CommandStep", "FileStep"]

# A variable as in a shell, a .procmailrc or a .mailfilter. Without "=" procmail unsets it.
_SET: Final = re.compile(r"([A-Z_]+)=", re.ASCII)
_SET_AGAIN: Final = re.compile(r"([A-Z_]+)\s*(?:=|$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileStep:
    """A file that gets lines.

    Attributes:
        why: what it does.
        path: the file.
        lines: what is put into it, in this order.
        below: the line below which they are put; empty: at the end.
        without: lines that the file must not have.
        owner: who must own the file; empty: anyone.
        mode: the permissions of the file; None: any.
        undo: a command that is run before the lines are taken out; empty: none.
        by: the user in whose home folder the file is, and who could have put a link to another
            file there: only this user writes the file; empty: it is in no home folder.
    """

    why: str
    path: str
    lines: tuple[str, ...] = ()
    below: str = ""
    without: tuple[str, ...] = ()
    owner: str = ""
    mode: int | None = None
    undo: tuple[str, ...] = ()
    by: str = ""

    @property
    def text(self) -> str:
        """The lines, each with its end."""
        return "".join(f"{line}\n" for line in self.lines)

    def applied(self, before: str) -> str:
        """Return what the file holds after the step.

        Args:
            before: what it holds now; empty: there is none.

        Returns:
            The same if the lines are there already. Else the text with the lines in it,
            and without those that it must not have.
        """
        if not self.missing(before) and not self.unwanted(before):
            return before
        unwanted = {line.strip() for line in self.without}
        kept = [line for line in before.splitlines() if line.strip() not in unwanted]
        if self.missing("\n".join(kept)):
            if self._place(kept) is None:
                kept.append(self.below)
            kept[self._place(kept) : self._place(kept)] = self.lines
        return "".join(f"{line}\n" for line in kept)

    def _place(self, present: Sequence[str]) -> int | None:
        """Return where the lines begin; None: the line is missing below which they are put."""
        if not self.below:
            return len(present)
        for place, line in enumerate(present):
            if line.strip() == self.below.strip():
                return place + 1
        return None

    def missing(self, text: str) -> tuple[str, ...]:
        """Return the lines that a file lacks.

        Args:
            text: what the file holds.

        Returns:
            The lines that are not there, or not after those before them, or not below the line
            below which they are put. Lines that are indented deeper than this one count only
            in its block. Blank lines and white space around a line do not count.
        """
        wanted = tuple(line for line in self.lines if line.strip())
        present = text.splitlines()
        if self.below and wanted:
            place = self._place(present)
            if place is None:
                return (self.below, *wanted)
            present = self._block(present[place:], wanted)
        rest = iter([line.strip() for line in present])
        return tuple(line for line in wanted if line.strip() not in rest)

    def _block(self, present: list[str], wanted: Sequence[str]) -> list[str]:
        """Return what of the lines is in the block that `below` begins."""
        outside = _indent(self.below)
        if min(map(_indent, wanted)) <= outside:
            return present
        for place, line in enumerate(present):
            if line.strip() and not line.startswith("#") and _indent(line) <= outside:
                return present[:place]
        return present

    def overridden(self, text: str) -> str:
        """Return the first later line that gives a variable of the lines another value.

        Args:
            text: what the file holds.

        Returns:
            The line without white space around it; "": there is none, or the lines set no
            variable as a shell does.
        """
        own = [line.strip() for line in self.lines]
        names = {found[1] for line in own if (found := _SET.match(line))}
        later: dict[str, str] = {}
        begun = False
        for line in map(str.strip, text.splitlines()):
            found = _SET_AGAIN.match(line)
            if line in own:
                begun = True
                later.pop(found[1] if found else "", None)
            elif begun and found and found[1] in names:
                later.setdefault(found[1], line)
        return next(iter(later.values()), "")

    def unwanted(self, text: str) -> tuple[str, ...]:
        """Return the lines of a file that it must not have.

        Args:
            text: what the file holds.
        """
        present = {line.strip() for line in text.splitlines()}
        return tuple(line for line in self.without if line.strip() in present)


@dataclass(frozen=True, slots=True)
class CommandStep:
    """A command that changes the machine. No shell is meant.

    Attributes:
        why: what it does.
        command: its words.
        undo: a command that takes it back; empty: none.
        shows: a command that shows whether it is in force; empty: none.
        replaces: a command that shows what the step replaces; empty: nothing.
        expect: what a line of its standard output then has, as whole words.
    """

    why: str
    command: tuple[str, ...]
    undo: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    expect: str = ""
    replaces: tuple[str, ...] = ()

    def seen_in(self, output: str) -> bool:
        """Tell whether the step is in force.

        Args:
            output: what `shows` has printed on standard output.

        Returns:
            Whether `expect` is in it as whole words: 1 is not in 10, nor in 1:2. White space,
            commas, { and }, and the ends of a line are between words: Postfix takes out the
            blanks between a brace and a command.
        """
        words = rf"(?<![^\s,{{}}]){re.escape(self.expect)}(?![^\s,{{}}])"
        return re.search(words, output) is not None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())

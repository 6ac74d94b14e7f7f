"""The steps of a recipe, with the facts of a machine in their places."""

from dataclasses import dataclass

__all__ = ["CommandStep", "FileStep"]


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
    """

    why: str
    path: str
    lines: tuple[str, ...] = ()
    below: str = ""
    without: tuple[str, ...] = ()
    owner: str = ""
    mode: int | None = None
    undo: tuple[str, ...] = ()

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
            kept[self._place(kept) : self._place(kept)] = self.lines
        return "".join(f"{line}\n" for line in kept)

    def _place(self, present: list[str]) -> int:
        for place, line in enumerate(present):
            if self.below and line.strip() == self.below.strip():
                return place + 1
        return len(present)

    def missing(self, text: str) -> tuple[str, ...]:
        """Return the lines that a file lacks.

        Args:
            text: what the file holds.

        Returns:
            The lines that are not there, or not after those before them. Blank lines and
            white space around a line do not count.
        """
        rest = iter(line.strip() for line in text.splitlines())
        wanted = (line for line in self.lines if line.strip())
        return tuple(line for line in wanted if line.strip() not in rest)

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
        expect: what `shows` then prints.
    """

    why: str
    command: tuple[str, ...]
    undo: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    expect: str = ""

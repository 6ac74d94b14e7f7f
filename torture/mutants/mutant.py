"""One change of one file, and the name under which it is known from run to run."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Change", "Mutant", "digest", "named"]


@dataclass(frozen=True, slots=True)
class Change:
    """A part of a source that is replaced.

    Attributes:
        start: offset of its first character.
        end: offset of the first character behind it.
        text: what comes in its place.
        scope: the function or method that it is in, with its class; empty: none.
        in_body: whether only the code of that function changes. What is done when the file is
            imported changes else: a constant, a class, a default value.
    """

    start: int
    end: int
    text: str
    scope: str
    in_body: bool


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change with a name.

    Attributes:
        name: the function, the line before and after, and a number if that is not enough. It
            stays the same if lines are added elsewhere in the file.
        line: number of the first line that changes.
        before: the lines that change, joined.
        after: the same lines, changed.
        change: what is replaced.
    """

    name: str
    line: int
    before: str
    after: str
    change: Change

    def applied(self, source: str) -> str:
        """Return the changed source.

        Args:
            source: of the whole file.
        """
        return source[: self.change.start] + self.change.text + source[self.change.end :]


def named(source: str, changes: Iterable[Change]) -> Iterator[Mutant]:
    """Give each change its name. Changes that make the same source are one.

    Args:
        source: of the whole file.
        changes: in any order.

    Yields:
        the mutants, in the order of the file.
    """
    seen: Counter[str] = Counter()
    known: set[tuple[int, str]] = set()
    for change in sorted(changes, key=lambda change: (change.start, change.end, change.text)):
        start = source.rfind("\n", 0, change.start) + 1
        end = _end_of_line(source, change.end)
        before = source[start:end]
        after = source[start : change.start] + change.text + source[change.end : end]
        if before == after or (start, after) in known:
            continue
        known.add((start, after))
        old, new = _shortest(before, after)
        text = f"{change.scope or 'module'}: {_joined(old)} -> {_joined(new)}"
        seen[text] += 1
        name = text if seen[text] == 1 else f"{text} #{seen[text]}"
        skipped = _same_at_the_start(before.splitlines(), after.splitlines())
        line = source.count("\n", 0, start) + 1 + skipped
        yield Mutant(name, line, _joined(old), _joined(new), change)


def digest(text: str) -> str:
    """Return the hash under which a state of a file is known.

    Args:
        text: of the file.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _end_of_line(source: str, offset: int) -> int:
    found = source.find("\n", max(offset - 1, 0) if source[offset - 1 : offset] == "\n" else offset)
    return len(source) if found < 0 else found


def _shortest(before: str, after: str) -> tuple[list[str], list[str]]:
    """Return the lines that differ: a change of a long call is mostly one line."""
    old, new = before.splitlines(), after.splitlines()
    head = _same_at_the_start(old, new)
    tail = _same_at_the_start(old[head:][::-1], new[head:][::-1])
    return old[head : len(old) - tail], new[head : len(new) - tail]


def _same_at_the_start(old: list[str], new: list[str]) -> int:
    pairs = zip(old, new, strict=False)
    return next(
        (number for number, (one, other) in enumerate(pairs) if one != other),
        min(len(old), len(new)),
    )


def _joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)

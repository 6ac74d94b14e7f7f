"""What a grammar of inputs consists of, and the tree of one input. `fuzz.grammar` has the rules."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Chars", "Expression", "Many", "Node", "Number", "Sized", "mostly", "pack"]


@dataclass(frozen=True, slots=True, eq=False)
class Many:
    """An expression several times."""

    part: "Expression"
    least: int = 0
    most: int = 6


@dataclass(frozen=True, slots=True, eq=False)
class Chars:
    """Bytes of an alphabet."""

    alphabet: bytes
    least: int = 1
    most: int = 12


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """A number as `struct` packs it.

    Attributes:
        form: of one number.
        usual: numbers that mean something there.
    """

    form: str
    usual: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return struct.calcsize(self.form)


@dataclass(frozen=True, slots=True, eq=False)
class Sized:
    """A length as `struct` packs it, and so many bytes.

    Attributes:
        form: of the length.
        part: what has this length.
        more: what the length says too much.
    """

    form: str
    part: "Expression"
    more: int = 0


Expression: TypeAlias = (
    "bytes | str | tuple[Expression, ...] | list[Expression] | Many | Chars | Number | Sized"
)


def mostly(usual: Expression, *rare: Expression) -> list[Expression]:
    """Return a choice of which one alternative is taken nearly always.

    Args:
        usual: that one. Where many values stand together, each must be right nearly always.
        rare: the others.
    """
    return [*([usual] * 8), *rare]


@dataclass(slots=True, eq=False)
class Node:
    """A part of an input.

    Attributes:
        made_by: the expression that it is of.
        parts: what it consists of.
        data: its bytes, if it has no parts.
        pick: which alternative it is; -1: there are none.
        lie: what is added to the length that it says.
    """

    made_by: Expression
    parts: "list[Node]" = field(default_factory=list)
    data: bytes = b""
    pick: int = -1
    lie: int = 0

    def text(self) -> bytes:
        """Return the bytes of this part."""
        inner = b"".join(part.text() for part in self.parts) if self.parts else self.data
        if not isinstance(self.made_by, Sized):
            return inner
        return pack(self.made_by.form, len(inner) + self.made_by.more + self.lie) + inner

    def all(self) -> "Iterator[Node]":
        """Yield this part and all parts of it."""
        yield self
        for part in self.parts:
            yield from part.all()

    def copy(self) -> "Node":
        """Return the same tree made of other nodes."""
        parts = [part.copy() for part in self.parts]
        return Node(self.made_by, parts, self.data, self.pick, self.lie)

    def become(self, other: "Node") -> None:
        """Take over everything of another node, and so its place in the tree."""
        self.made_by, self.parts, self.data = other.made_by, other.parts, other.data
        self.pick, self.lie = other.pick, other.lie


def pack(form: str, number: int) -> bytes:
    """Return a number as `struct` packs it; of a number that does not fit, the lowest bits.

    Args:
        form: of `struct`, for one number without a sign.
        number: any number.
    """
    return struct.pack(form, number % (1 << (8 * struct.calcsize(form))))

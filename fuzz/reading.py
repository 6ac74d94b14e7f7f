"""Reads an input by a grammar. All ways are tried, and the work is bounded. Pure."""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from fuzz.expressions import Chars, Expression, Many, Node, Number, Sized

__all__ = ["LONGEST", "read"]

LONGEST: Final = 4096
"""Bytes of an input that is read at most."""
_MOST_STEPS: Final = 5000

_Ways = dict[int, Node]  # of each place where a part may end, the first way to get there


class _TooMuchWorkError(Exception):
    pass


def read(rules: Mapping[str, Expression], data: bytes) -> Node | None:
    """Read an input.

    Args:
        rules: of the grammar; "start" is that of a whole input.
        data: any bytes.

    Returns:
        Its tree. None: it is none of this grammar, or to read it would take long.
    """
    if len(data) > LONGEST:
        return None
    try:
        found = _Reader(rules, data).ways("start", 0, len(data)).get(len(data))
    except (_TooMuchWorkError, RecursionError):
        return None
    # The copy has each node once: a part without bytes may be in several places.
    return None if found is None else found.copy()


class _Reader:
    """Finds where each part of the input may end. What was found once is not looked for again."""

    def __init__(self, rules: Mapping[str, Expression], data: bytes) -> None:
        self._rules = rules
        self._data = data
        self._steps = 0
        self._known: dict[tuple[int, int, int], _Ways] = {}

    def ways(self, expression: Expression, at: int, end: int) -> _Ways:
        """Read an expression that begins at `at` and ends at `end` at the latest."""
        if isinstance(expression, str):
            inner = self.ways(self._rules[expression], at, end)
            return {place: Node(expression, [node]) for place, node in inner.items()}
        key = id(expression), at, end
        if key not in self._known:
            self._known[key] = {}  # of a rule that leads back to itself without a byte
            self._known[key] = self._look(expression, at, end)
        return self._known[key]

    def _look(self, expression: Expression, at: int, end: int) -> _Ways:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _TooMuchWorkError
        match expression:
            case tuple():
                return self._one_after_the_other(expression, at, end)
            case list():
                return self._one_of(expression, at, end)
            case Many():
                return self._several(expression, at, end)
            case Sized():
                return self._sized(expression, at, end)
        return {
            place: Node(expression, data=self._data[at:place])
            for place in self._ends(expression, at, end)
        }

    def _one_after_the_other(self, parts: tuple[Expression, ...], at: int, end: int) -> _Ways:
        reached: dict[int, list[Node]] = {at: []}
        for part in parts:
            further: dict[int, list[Node]] = {}
            for place, nodes in reached.items():
                for last, node in self.ways(part, place, end).items():
                    further.setdefault(last, [*nodes, node])
            reached = further
        return {place: Node(parts, nodes) for place, nodes in reached.items()}

    def _one_of(self, alternatives: list[Expression], at: int, end: int) -> _Ways:
        found: _Ways = {}
        for pick, each in enumerate(alternatives):
            for place, node in self.ways(each, at, end).items():
                found.setdefault(place, Node(alternatives, [node], pick=pick))
        return found

    def _several(self, many: Many, at: int, end: int) -> _Ways:
        reached: dict[int, list[Node]] = {at: []}
        found: dict[int, list[Node]] = {}
        for count in range(many.most + 1):
            if count >= many.least:
                for place, nodes in reached.items():
                    found.setdefault(place, nodes)
            further: dict[int, list[Node]] = {}
            for place, nodes in reached.items():
                for last, node in self.ways(many.part, place, end).items():
                    if last > place or count < many.least:
                        further.setdefault(last, [*nodes, node])
            reached = further
        return {place: Node(many, nodes) for place, nodes in found.items()}

    def _sized(self, sized: Sized, at: int, end: int) -> _Ways:
        start = at + struct.calcsize(sized.form)
        if start > end:
            return {}
        (length,) = struct.unpack(sized.form, self._data[at:start])
        last = start + length - sized.more
        if not start <= last <= end:
            return {}
        inner = self.ways(sized.part, start, last)
        return {last: Node(sized, [inner[last]])} if last in inner else {}

    def _ends(self, expression: Expression, at: int, end: int) -> Iterator[int]:
        """Yield each place where bytes without parts may end."""
        match expression:
            case bytes():
                if self._data.startswith(expression, at, end):
                    yield at + len(expression)
            case Number(size=size):
                if at + size <= end:
                    yield at + size
            case Chars(alphabet=alphabet, least=least, most=most):
                last = at
                while last < min(end, at + most) and self._data[last] in alphabet:
                    last += 1
                yield from range(last, at + least - 1, -1)

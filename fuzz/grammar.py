"""Makes and changes inputs by a grammar: what a change of single bytes rarely reaches. Pure.

A grammar is rules by name. A rule is an expression:

    b"new "                  these bytes
    "account"                the rule of this name
    (b"new ", "account")     one after the other
    [b"new", b"seen"]        one of them; the first one must not lead back to its own rule
    Many("line", 0, 4)       so many times
    Chars(b"abc", 1, 8)      so many bytes out of these
    Number("!H", (1, 28))    a number in binary form, often one of these
    Sized("!H", "record")    its length in binary form, and then the expression itself

An input is read into a tree. A change replaces, repeats or leaves out a part of the tree: lengths,
counts and pairs of brackets change with it. Some changes break the grammar on purpose: a length
that lies, another byte in a name. An input that cannot be read is made anew.
"""

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Final

from fuzz.expressions import Chars, Expression, Many, Node, Number, Sized, mostly, pack
from fuzz.reading import read

__all__ = ["Chars", "Expression", "Grammar", "Many", "Number", "Sized", "mostly", "picks"]

# From this depth on the first alternative is taken, and the least number of parts.
_DEEP: Final = 24
_ATTEMPTS: Final = 8
_LONGEST_WORD: Final = 64


class Grammar:
    """A grammar of one kind of input.

    Args:
        rules: the rules by name; "start" is that of a whole input.
        longest: bytes of an input that is made, at most.
    """

    def __init__(self, rules: Mapping[str, Expression], longest: int = 4096) -> None:
        self.rules = dict(rules)
        self.longest = longest

    def make(self, rng: Random) -> Node:
        """Make an input.

        Args:
            rng: what is made depends on it alone.

        Returns:
            A tree of at most `longest` bytes.
        """
        for attempt in range(_ATTEMPTS):
            # Each attempt is a smaller one: it begins deeper.
            tree = self._make("start", rng, attempt * _DEEP // (_ATTEMPTS - 1))
            if len(tree.text()) <= self.longest:
                return tree
        raise ValueError(f"the smallest input has more than {self.longest} bytes")

    def _make(self, expression: Expression, rng: Random, depth: int) -> Node:
        match expression:
            case str():
                return Node(expression, [self._make(self.rules[expression], rng, depth + 1)])
            case tuple():
                return Node(expression, [self._make(each, rng, depth) for each in expression])
            case list():
                pick = 0 if depth >= _DEEP else rng.randrange(len(expression))
                return Node(expression, [self._make(expression[pick], rng, depth + 1)], pick=pick)
            case Many(part=part, least=least, most=most):
                count = least if depth >= _DEEP else rng.randint(least, most)
                return Node(expression, [self._make(part, rng, depth + 1) for _ in range(count)])
            case Sized(part=part):
                return Node(expression, [self._make(part, rng, depth)])
        return Node(expression, data=_make_bytes(expression, rng))

    def change(
        self, data: bytes, rng: Random, longest: int, native: Callable[[bytes], bytes]
    ) -> bytes:
        """Change an input.

        Args:
            data: any bytes.
            rng: the result depends on it, on `data` and on `native`.
            longest: bytes of the result at most.
            native: changes the bytes of a name or a number in a way of its own.

        Returns:
            Another input.
        """
        for _ in range(_ATTEMPTS):
            tree = read(self.rules, data) or self.make(rng)
            for _ in range(rng.randint(1, 3)):
                self._change_once(tree, rng, native)
            found = tree.text()
            if len(found) <= longest and found != data:
                return found
        return self.make(rng).text()[:longest]

    def _change_once(self, tree: Node, rng: Random, native: Callable[[bytes], bytes]) -> None:
        nodes = [*tree.all()]
        place = rng.choice(nodes)
        made_by = place.made_by
        alike = [node for node in nodes if node.made_by is made_by and node is not place]
        if isinstance(made_by, Sized) and not rng.randrange(3):
            place.lie = rng.choice((-made_by.more, -1, 1, 255, 1 << 15))
        elif isinstance(made_by, Many) and place.parts and rng.randrange(4):
            _rearrange(place.parts, rng)
        elif not place.parts and not rng.randrange(3):
            place.data = native(place.data)
        elif alike and rng.randrange(2):
            place.become(rng.choice(alike).copy())
        else:
            place.become(self._make(made_by, rng, rng.randrange(_DEEP)))

    def productions(self) -> frozenset[tuple[int, int]]:
        """Return each alternative of each choice that "start" leads to, in the form of `picks`."""
        return frozenset(
            (id(expression), pick)
            for expression in self._expressions()
            if isinstance(expression, list)
            for pick in range(len(expression))
        )

    def words(self) -> frozenset[bytes]:
        """Return the texts and the usual numbers of the grammar, for a dictionary."""
        found: set[bytes] = set()
        for expression in self._expressions():
            if isinstance(expression, bytes):
                found.add(expression)
            elif isinstance(expression, Number):
                found |= {pack(expression.form, number) for number in expression.usual}
        return frozenset(word for word in found if 1 < len(word) <= _LONGEST_WORD)

    def _expressions(self) -> Iterator[Expression]:
        """Yield each expression that "start" leads to, once."""
        seen: set[int] = set()
        waiting: list[Expression] = [self.rules["start"]]
        while waiting:
            expression = waiting.pop()
            if id(expression) not in seen:
                seen.add(id(expression))
                yield expression
                waiting += self._inner(expression)

    def _inner(self, expression: Expression) -> list[Expression]:
        match expression:
            case str():
                return [self.rules[expression]]
            case tuple() | list():
                return list(expression)
            case Many(part=part) | Sized(part=part):
                return [part]
        return []


def picks(tree: Node) -> frozenset[tuple[int, int]]:
    """Return which alternatives a tree has: each choice by its identity, and the alternative.

    Args:
        tree: of an input that `Grammar.make` has made.
    """
    return frozenset((id(node.made_by), node.pick) for node in tree.all() if node.pick >= 0)


def _make_bytes(expression: Expression, rng: Random) -> bytes:
    match expression:
        case bytes():
            return expression
        case Chars(alphabet=alphabet, least=least, most=most):
            return bytes(rng.choice(alphabet) for _ in range(rng.randint(least, most)))
        case Number(form=form, usual=usual) if usual and rng.randrange(8):
            return pack(form, rng.choice(usual))
        case Number(form=form, size=size):
            return pack(form, rng.getrandbits(8 * size))
    raise TypeError(expression)


def _rearrange(parts: list[Node], rng: Random) -> None:
    """Leave out, repeat or exchange one of several parts."""
    place = rng.randrange(len(parts))
    match rng.randrange(3):
        case 0:
            del parts[place]
        case 1:
            parts[place:place] = [parts[place].copy() for _ in range(rng.choice((1, 1, 2, 17)))]
        case _:
            parts[place], parts[0] = parts[0], parts[place]

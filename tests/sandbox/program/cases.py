"""Inputs with which a filter could be wrong: at and around everything that a policy permits."""

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product
from typing import Final

from sandbox.program.reading import Condition, Paragraph

__all__ = ["LOW", "NUMBERS", "X32", "ZEROES", "Args", "arguments", "near", "noise", "permitted"]

Args = tuple[int, ...]

ALL: Final = (1 << 64) - 1
LOW: Final = (1 << 32) - 1
HIGH: Final = ALL ^ LOW
X32: Final = 1 << 30  # the bit in the number of a call, asm/unistd.h
ZEROES: Final = (0,) * 6
# For the arguments that no condition is about.
FILLINGS: Final = (0, ALL)

# Every call that exists or may soon exist, the same as negative and x32, and each single bit.
NUMBERS: Final = (
    *range(2048),
    *((1 << bit) + near for bit in range(11, 32) for near in (-1, 0, 1)),
    *(X32 + number for number in range(2, 2048)),
    *(-number & LOW for number in range(1, 2048)),
)


def noise(seed: int) -> Args:
    """Arbitrary arguments, the same for the same seed."""
    draw = random.Random(seed)
    return tuple(draw.getrandbits(64) for _ in range(6))


def around(value: int) -> Iterator[int]:
    """A value, and values that a comparison could take for it."""
    yield from (value, 0, ALL, LOW, HIGH, value ^ ALL, value ^ LOW)
    yield from ((value + 1) & ALL, (value - 1) & ALL)
    yield from (value | HIGH, value & LOW, (value << 32) & ALL, value >> 32, 1 << 32 | value)
    yield from (value ^ 1 << bit for bit in range(64))


def permitted(paragraph: Paragraph) -> Iterator[Args]:
    """Every combination of permitted values, with each filling of the other bits."""
    choices = [sorted(condition.examples) for condition in paragraph.judged]
    for filling, chosen in product(FILLINGS, product(*choices)):
        yield _filled(paragraph.judged, chosen, filling)


def near(paragraph: Paragraph) -> Iterator[Args]:
    """The permitted arguments, and those around each condition while the others are met."""
    for met in permitted(paragraph):
        yield met
        for condition in paragraph.judged:
            yield from _with(met, condition, around(met[condition.argument]))
            for value in condition.forbidden:
                yield from _with(met, condition, around(value))


def arguments(paragraph: Paragraph) -> Iterator[Args]:
    """Close arguments, any two bits flipped, and every mixture of met and unmet conditions."""
    yield from near(paragraph)
    for met in permitted(paragraph):
        for condition in paragraph.judged:
            yield from _with(met, condition, _two_bits_off(met[condition.argument]))
    for filling, mixture in product(FILLINGS, product(*map(_few, paragraph.judged))):
        yield _filled(paragraph.judged, mixture, filling)


def _two_bits_off(value: int) -> Iterator[int]:
    return (value ^ 1 << one ^ 1 << other for one, other in combinations(range(64), 2))


def _few(condition: Condition) -> list[int]:
    close = {
        value ^ bit
        for value in condition.permitted | condition.forbidden
        for bit in (0, 1, 4, 1 << 31)
    }
    return sorted({value & condition.bits for value in close | {0, ALL}})


def _filled(conditions: Sequence[Condition], values: Sequence[int], filling: int) -> Args:
    """These values, with the filling in all other arguments and in the bits that are ignored."""
    args = [filling] * 6
    for condition, value in zip(conditions, values, strict=True):
        args[condition.argument] = filling & ~condition.bits | value
    return tuple(args)


def _with(args: Args, condition: Condition, values: Iterable[int]) -> Iterator[Args]:
    at = condition.argument
    return ((*args[:at], value, *args[at + 1 :]) for value in values)

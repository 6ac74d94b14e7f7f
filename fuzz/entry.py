"""Starts the fuzzer with one target. `fuzz/run.py` and ClusterFuzzLite both come here."""

import sys
from collections.abc import Sequence
from random import Random
from types import ModuleType

import atheris

from fuzz.grammars import grammar_of

__all__ = ["start"]

# One change out of so many is by the grammar. To read an input takes longer than most targets do.
_SHARE = 4


def start(target: ModuleType, arguments: Sequence[str]) -> None:
    """Fuzzes. It does not return: the fuzzer ends the process.

    Args:
        target: the module of the target.
        arguments: of libFuzzer.
    """
    name = target.__name__.rpartition("fuzz_")[2]
    grammar = grammar_of(name)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        rng = Random(seed)  # noqa: S311  a seed must give the same input again
        if rng.randrange(_SHARE):
            return bytes(atheris.Mutate(data, longest))
        return grammar.change(data, rng, longest, lambda part: native(part, longest))

    atheris.Setup([sys.argv[0], *arguments], target.check, custom_mutator=mutate)
    atheris.Fuzz()


def native(part: bytes, longest: int) -> bytes:
    """Changes a part of an input by libFuzzer, which takes words of its dictionary too.

    Args:
        part: any bytes.
        longest: bytes of an input at most.
    """
    return bytes(atheris.Mutate(part, min(longest, 2 * len(part) + 16)))

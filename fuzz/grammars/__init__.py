"""The grammar of each target, by its name: see `fuzz.grammar`. A file for each family of inputs."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from fuzz.grammar import Expression, Grammar
from fuzz.grammars import binary, json_messages, limits, lines, names, protocol, toml

__all__ = ["GRAMMARS", "grammar_of"]

GRAMMARS: Final[Mapping[str, Mapping[str, Expression]]] = {
    **protocol.RULES,
    **limits.RULES,
    **lines.RULES,
    **names.RULES,
    **binary.RULES,
    **json_messages.RULES,
    **toml.RULES,
}
"""The rules of each target's grammar."""


@cache
def grammar_of(target: str) -> Grammar:
    """Returns the grammar of a target.

    Args:
        target: its name.
    """
    return Grammar(GRAMMARS[target])

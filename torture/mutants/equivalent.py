"""Why a mutant that no test notices is no fault: equivalent.toml, by file and name."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["FILE", "reasons", "unmatched"]

FILE: Final = Path(__file__).parent / "equivalent.toml"


@cache
def reasons() -> Mapping[str, Mapping[str, str]]:
    """Return the reason of each mutant, by file and by the name of the mutant."""
    return tomllib.loads(FILE.read_text())


def unmatched(known: Mapping[str, Mapping[str, str]], names: Mapping[str, set[str]]) -> list[str]:
    """Return the entries that mean no mutant.

    Args:
        known: the reasons.
        names: of all mutants, by file.
    """
    return [
        f"{file}: {name}"
        for file, entries in known.items()
        for name in entries
        if name not in names.get(file, set())
    ]

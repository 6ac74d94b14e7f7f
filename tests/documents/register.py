"""What executes each block of the documents: register.toml, as data."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from documents.blocks import ROOT

__all__ = ["REASONS", "REGISTER", "entries", "exists", "is_test"]

REGISTER: Final = Path(__file__).with_name("register.toml")
"""The file."""

REASONS: Final = ("drawing", "form: ", "output: ", "not here: ")
"""How an entry begins that is no test."""

_REPEATED: Final = re.compile(r"(\d+) x (.*)")


def entries(text: str) -> dict[tuple[str, str], list[str]]:
    """Read the register.

    Args:
        text: of the file.

    Returns:
        For each document and heading one entry for each block below it, in their order.
    """
    return {
        (document, heading): [each for entry in found for each in _each(entry)]
        for document, headings in tomllib.loads(text).items()
        for heading, found in headings.items()
    }


def _each(entry: str) -> Iterator[str]:
    repeated = _REPEATED.fullmatch(entry)
    times, what = (int(repeated[1]), repeated[2]) if repeated else (1, entry)
    for _ in range(times):
        yield what


def is_test(entry: str) -> bool:
    """Tell whether an entry names a test; else it is a reason."""
    return entry.startswith("tests/")


def exists(test: str) -> bool:
    """Tell whether there is a test of that name: `file::function` or `file::class::method`."""
    file, *names = test.split("::")
    return (ROOT / file).is_file() and "::".join(names) in _tests(ROOT / file)


@cache
def _tests(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text())
    found = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    found += [node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]
    found += [
        f"{above.name}::{node.name}"
        for above in tree.body
        if isinstance(above, ast.ClassDef)
        for node in above.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))

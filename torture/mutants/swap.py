"""Puts changed code into functions that exist already, so that nothing has to be imported anew.

A function of Python has its code in `__code__`, which may be assigned. The methods of a class that
a decorator or msgspec has made, and the functions behind a property or a cache, are such functions
too. They are found by the file that they come from, wherever they are kept.
"""

import gc
from collections import defaultdict
from collections.abc import Iterator
from types import CodeType, FunctionType

__all__ = ["Functions", "scope_of"]


def scope_of(code: CodeType) -> str:
    """Return the function or method that some code is in, with its class.

    Args:
        code: of it, or of a function within it.
    """
    return code.co_qualname.partition(".<locals>")[0]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Return the code of all functions of a file, outer ones first."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


class Functions:
    """The functions of one file, as they are in this process.

    Args:
        file: where Python found the file.
        source: of the file.
    """

    def __init__(self, file: str, source: str) -> None:
        self._file = file
        self._original = self._compiled(source)
        self._living: dict[CodeType, list[FunctionType]] = defaultdict(list)
        for found in gc.get_objects():
            if isinstance(found, FunctionType) and found.__code__.co_filename == file:
                self._living[found.__code__].append(found)

    @property
    def scopes(self) -> list[str]:
        """The functions and methods of the file."""
        return list(self._original)

    def put(self, source: str, scope: str, *, only_try: bool = False) -> bool:
        """Put the code of a changed source into the functions of one scope.

        Args:
            source: of the whole file, changed.
            scope: the function or method that differs.
            only_try: change nothing in either case.

        Returns:
            whether that could be done. Nothing is changed else, and the file must be imported.
        """
        changed = self._compiled(source)
        old, new = self._original[scope], changed[scope]
        if len(old) != len(new) or not old:
            return False
        pairs = [
            (function, after)
            for before, after in zip(old, new, strict=True)
            if before != after
            for function in self._living.get(before, ())
        ]
        if not pairs or any(
            function.__code__.co_freevars != code.co_freevars for function, code in pairs
        ):
            return False
        for function, code in () if only_try else pairs:
            function.__code__ = code
        return True

    def _compiled(self, source: str) -> dict[str, list[CodeType]]:
        whole = compile(source, self._file, "exec", dont_inherit=True)
        found: dict[str, list[CodeType]] = defaultdict(list)
        for code in _codes(whole):
            found[scope_of(code)].append(code)
        return found

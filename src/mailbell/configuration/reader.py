"""Turns TOML into typed structures and finds every mistake in it.

msgspec stops at the first mistake. An operator who edits the configuration of a mail server
needs all of them at once. So this reader visits the fields itself and gives msgspec one value
at a time. A value that cannot be read is replaced by `INVALID`. The positions in an array
therefore stay those in the file, and later checks skip such a value.

A configuration may contain anything. So every quotation from it is escaped and cut, and a
problem is always one line of printable ASCII.
"""

import codecs
import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from mailbell.core.errors import ConfigurationError, Problem
from mailbell.core.escape import printable

__all__ = ["INVALID", "Problems", "convert", "each", "quote", "read"]

S = TypeVar("S", bound=Struct)
T = TypeVar("T")

MAX_BYTES: Final = 1 << 20  # ten thousand accounts fit

# Python's TOML reader needs time quadratic in the number of parts of a dotted key:
# seconds for 16,000 parts. A key cannot span lines, so the length of a line limits it.
MAX_LINE: Final = 1024

# A megabyte can hold half a million mistakes. No operator reads that many.
MAX_PROBLEMS: Final = 1000

_MAX_QUOTED = 40
_MAX_SYNTAX = 80  # the longest message of the TOML reader itself has 53
_MAX_DIGITS = 20
_KINDS: Final[dict[type, str]] = {list: "an array", dict: "a table"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)
_CHARACTER = re.compile(r"line ([0-9]+), column ([0-9]+)")
_POSITION = re.compile(r"(?s)(.*) \(at (line [0-9]+, column [0-9]+|end of document)\)")


class _Invalid:
    """Stands for a value that could not be read. It equals no other value."""


# The type is Any, because it replaces values of every type.
INVALID: Final[Any] = _Invalid()


class Problems:
    """Collects problems. It keeps the first `MAX_PROBLEMS` and counts the rest."""

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._count = 0

    def add(self, path: str, message: str) -> None:
        """Add a problem.

        Args:
            path: where, as in `limits.rate`; already printable (see `quote`).
            message: what is wrong and which form is accepted; already printable.
        """
        self._count += 1
        if len(self._kept) < MAX_PROBLEMS:
            self._kept.append(Problem(path, message))

    def raise_if_any(self) -> None:
        """Raise a ConfigurationError with all problems, if there are any."""
        if not self._count:
            return
        more = self._count - len(self._kept)
        last = (Problem("", f"and {more} more"),) if more else ()
        noun = "problem" if self._count == 1 else "problems"
        raise ConfigurationError(
            f"{self._count} {noun} in the configuration",
            "correct it and try again",
            (*self._kept, *last),
        )


def quote(value: object, longest: int = _MAX_QUOTED) -> str:
    """Return a value of a configuration as printable ASCII of bounded length.

    Args:
        value: as the TOML reader gives it.
        longest: how many characters of a string are shown.

    Returns:
        The value, a string in quotation marks. For an array or a table, only its kind.
    """
    match value:
        case str():
            dots = "..." if len(value) > longest else ""
            return '"' + printable(value[:longest], also='"') + '"' + dots
        case bool() | float():
            return str(value).lower()
        case int():
            # str() of a huge integer raises, and a hexadecimal integer may have any size.
            return str(value) if abs(value) < 10**_MAX_DIGITS else "a huge number"
    return _KINDS.get(type(value), "a date or time")


def each(values: Sequence[T]) -> Iterator[tuple[int, T]]:
    """Yield the values that could be read.

    Args:
        values: of an array. `INVALID` stands for a value, or for the whole array, that could
            not be read.

    Yields:
        Each value with its position in the file.
    """
    if values is not INVALID:
        yield from ((place, value) for place, value in enumerate(values) if value is not INVALID)


def read(data: bytes, structure: type[S], problems: Problems) -> S:
    """Read TOML into a structure.

    Args:
        data: the bytes of the file; they may be anything.
        structure: a Struct whose fields are annotated with `msgspec.Meta`. The `description`
            is the accepted form, as in "write ...".
        problems: takes every problem that is found.

    Returns:
        The structure, with `INVALID` for each value that could not be read.
    """
    table = _decode(data, problems)
    return _make_invalid(structure) if table is None else _table(structure, table, "", problems)


def _decode(data: bytes, problems: Problems) -> dict[str, Any] | None:
    if len(data) > MAX_BYTES:
        problems.add("", f"larger than {MAX_BYTES} bytes: make it smaller")
        return None
    data = data.removeprefix(codecs.BOM_UTF8)  # some editors put it before every file
    if not _is_plain(data, problems):
        return None
    try:
        table = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        problems.add(f"line {number}", "not UTF-8: save it as UTF-8")
    except RecursionError:
        problems.add("", "nested too deeply: no value here needs more than two levels")
    except ValueError as error:  # TOML's own errors, and numbers too long to read
        problems.add(*_syntax(str(error), data))
    else:
        return table
    return None


def _is_plain(data: bytes, problems: Problems) -> bool:
    """Tell whether the TOML reader can be given this text."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        problems.add("", "UTF-16, not UTF-8: save it as UTF-8")
        return False
    if b"\0" in data:  # UTF-16 has one beside each ASCII character; TOML allows none
        number = data.count(b"\n", 0, data.index(b"\0")) + 1
        problems.add(f"line {number}", "holds a zero byte, as UTF-16 does: save it as UTF-8")
        return False
    for number, line in enumerate(data.split(b"\n"), 1):
        if len(line) > MAX_LINE:
            problems.add(f"line {number}", f"longer than {MAX_LINE} bytes: break it into several")
            return False
    return True


def _syntax(message: str, data: bytes) -> tuple[str, str]:
    """Split the TOML reader's message into the position and the rest."""
    found = _POSITION.fullmatch(message)
    what, place = found.groups() if found else (message, "")
    if place == "end of document":
        place = "the last line"
    # The message may quote keys and characters of the file without escaping them.
    return place, f"not valid TOML: {quote(what, _MAX_SYNTAX)}{_invisible(place, data)}"


def _invisible(place: str, data: bytes) -> str:
    """Name the character at a position, if an editor may not show it or may show a blank."""
    found = _CHARACTER.fullmatch(place)
    if found is None:
        return ""
    number, column = map(int, found.groups())
    line = data.split(b"\n")[number - 1].decode()
    # The position may be the end of the line; then there is no character.
    character = line[column - 1 : column]
    if not character or " " <= character <= "~":
        return ""
    return f", at the character {quote(character)}"


def convert(annotation: Any, value: object, path: str, problems: Problems) -> Any:
    """Convert one value of TOML to the type that a field is annotated with.

    Args:
        annotation: a type, or an `Annotated` one with its `msgspec.Meta`.
        value: as the TOML reader gives it.
        path: where the value is, for the messages.
        problems: takes every problem that is found.

    Returns:
        The converted value, or `INVALID`.
    """
    kind, meta = _split(annotation)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _table(kind, value, path, problems)
    if get_origin(kind) in (tuple, frozenset):
        return _array(kind, meta, value, path, problems)
    if hasattr(kind, "parse"):
        return _convert_domain(kind, meta, value, path, problems)
    try:
        return msgspec.convert(value, annotation)
    except (msgspec.ValidationError, UnicodeEncodeError):
        # The second: a word of the command line that is not UTF-8 (PEP 383).
        return _refused(problems, path, quote(value), f"write {meta.description}")


def _refused(problems: Problems, path: str, what: str, remedy: str) -> Any:
    problems.add(path, f"{what} is not accepted: {remedy}")
    return INVALID


def _split(annotation: Any) -> tuple[Any, Meta]:
    if get_origin(annotation) is Annotated:
        kind, meta = get_args(annotation)
        return kind, meta
    return annotation, Meta(description=getattr(annotation, "form", None))


def _convert_domain(kind: Any, meta: Meta, value: object, path: str, problems: Problems) -> Any:
    """Convert a string with the type's own `parse`, and check its bounds.

    msgspec's `dec_hook` is no help: msgspec never asks it about dataclasses and named tuples,
    because it takes them for tables and arrays.
    """
    remedy = f"write {meta.description}"
    if isinstance(value, str):
        try:
            parsed = kind.parse(value)
        except ValueError as error:
            remedy = str(error)
        else:
            if meta.ge is None or meta.le is None or meta.ge <= parsed <= meta.le:
                return parsed
    return _refused(problems, path, quote(value), remedy)


def _array(kind: Any, meta: Meta, value: object, path: str, problems: Problems) -> Any:
    remedy = f"write {meta.description}"
    if not isinstance(value, list):
        return _refused(problems, path, quote(value), remedy)
    if not (meta.min_length or 0) <= len(value) <= (meta.max_length or 0):
        # Its elements are not checked, because there may be hundreds of thousands.
        return _refused(problems, path, f"an array of {len(value)}", remedy)
    item = get_args(kind)[0]
    collection: Any = get_origin(kind)
    return collection(
        convert(item, element, f"{path}[{place}]", problems) for place, element in enumerate(value)
    )


def _table(structure: type[S], value: object, path: str, problems: Problems) -> S:
    if not isinstance(value, dict):
        head = f"[[{path.partition('[')[0]}]]" if path.endswith("]") else f"[{path}]"
        _refused(problems, path, quote(value), f"write a table, {head}")
        return _make_invalid(structure)
    fields = _fields(structure)
    for key in value:
        if key not in fields:
            known = ", ".join(fields)
            problems.add(_join(path, key), f"unknown key: the keys here are {known}")
    found: dict[str, Any] = {}
    for name, (annotation, required) in fields.items():
        if name in value:
            found[name] = convert(annotation, value[name], _join(path, name), problems)
        elif required:
            found[name] = INVALID
            problems.add(_join(path, name), f"missing: write {_split(annotation)[1].description}")
    return structure(**found)


def _fields(structure: type[Struct]) -> dict[str, tuple[Any, bool]]:
    hashable: Any = structure  # the type information of msgspec 0.19 does not say so
    return _cached_fields(hashable)


@cache
def _cached_fields(structure: type[Struct]) -> dict[str, tuple[Any, bool]]:
    return {field.name: (field.type, field.required) for field in msgspec.structs.fields(structure)}


def _make_invalid(structure: type[S]) -> S:
    """Make a structure in which no value could be read."""
    return structure(
        **{
            name: _make_invalid(annotation) if _is_structure(annotation) else INVALID
            for name, (annotation, _) in _fields(structure).items()
        }
    )


def _is_structure(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Struct)


def _join(path: str, key: str) -> str:
    part = key if _BARE_KEY.fullmatch(key) else quote(key)
    return f"{path}.{part}" if path else part

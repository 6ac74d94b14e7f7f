"""Inputs in TOML: the files of both daemons and of the agent, policies, presets, recipes.

The keys are those of the type that reads the file. A value is one of the examples that its own
description gives to people, so the grammar and the messages cannot differ.
"""

import re
import types
from collections.abc import Iterator
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from fuzz.grammar import Chars, Expression, Many, mostly
from fuzz.grammars.sound_toml import PRESET, RECIPE
from mailbell.agent import configuration as agent
from mailbell.agent.preset import Preset
from mailbell.listener import configuration as listener
from mailbell.recipes import recipe
from mailbell.sender import configuration as sender
from mailbell.syscalls.call_numbers import CONSTANTS, ERRORS

__all__ = ["RULES"]

_ANY: Final = bytes(range(256))
_QUOTED: Final = re.compile(r'"([^"]*)"')
_BOUNDS: Final = re.compile(r'from "([^"]*)" to "([^"]*)"')
_BETWEEN: Final = re.compile(r", or .*|, | or ")
_VALUES: Final[dict[str, Expression]] = {
    "value": ["text", "number", b"true", b"[]", b"{}", b"1979-05-27", b"1.5", "array", "table"],
    "text": [
        b'"work"', b'""', b"'a'", (b'"', Chars(bytes(range(0x23, 0x5B)), 0, 20), b'"'),
        b'"\\u0000"', b'"\\U0010FFFF"', (b'"', Chars(_ANY, 1, 5), b'"'), b'"""\n a\n b"""',
    ],
    "number": [
        b"0", b"1", b"-1", b"8", b"79", b"255", b"65536", b"0x10", b"1_000", b"9223372036854775808",
        Chars(b"0123456789", 1, 7),
    ],
    "array": (b"[", "value", Many((b", ", "value"), 0, 3), b"]"),
    "table": (b"{ a = ", "value", b" }"),
    "noise": [
        b"# a comment\n", b"\r\n", (Chars(b"abcdefgh_-.", 1, 9), b" = ", "value", b"\n"),
        b"[a.b.c]\n", Chars(_ANY, 0, 9), b"\xef\xbb\xbf",
    ],
}  # fmt: skip


def _samples(description: str) -> list[bytes]:
    """Return the examples in a description of a value, and its bounds."""
    before, _, after = description.rpartition("such as ")
    bounds = _BOUNDS.search(before)
    found = [*(bounds.groups() if bounds else ()), *_QUOTED.findall(after)]
    found = found or [each for each in _BETWEEN.split(after) if each]
    return [b'"' + text.encode() + b'"' for text in found]


def _of_value(annotation: Any) -> Expression:
    """Return a value of a type; a wrong one now and then."""
    kind, description, least = _plain(annotation)
    arguments = get_args(kind)
    if get_origin(kind) in {tuple, frozenset}:
        one = _of_value(arguments[0])
        return [b"[]", (b"[", one, b"]"), (b"[", one, b", ", one, b"]")]
    if get_origin(kind) is types.UnionType:
        return _of_value(arguments[0])
    if get_origin(kind) is Literal:
        return [f'"{each}"'.encode() for each in arguments]
    if kind is bool:
        return [b"true", b"false"]
    if kind is int:
        return mostly(str(least).encode(), "number")
    # A sentence of a least length has no example.
    filler = b'"A sentence of some length"' if "printable" in description else b'"work"'
    samples = _samples(description) or [filler]
    return mostly([*samples], "text")


def _plain(annotation: Any) -> tuple[Any, str, int]:
    """Return a type without its annotation, its description, and its least number."""
    kind, *metas = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
    meta = metas[0] if metas else msgspec.Meta()
    form = meta.description or str(getattr(kind, "form", ""))
    return kind, form, int(meta.ge or 1)


def _tables(structure: Any, path: str) -> Iterator[Expression]:
    """Yield the table of a structure with its own keys, then those of its tables."""
    keys: list[Expression] = []
    inner: list[tuple[Any, str, str]] = []
    for field in msgspec.structs.fields(structure):
        kind = _plain(field.type)[0]
        item = _plain(get_args(kind)[0])[0] if get_origin(kind) is tuple else None
        below = f"{path}.{field.name}".lstrip(".")
        if _is_structure(kind):
            inner.append((kind, below, f"[{below}]\n"))
        elif _is_structure(item):
            inner.append((item, below, f"[[{below}]]\n"))
        else:
            pair: Expression = (f"{field.name} = ".encode(), _of_value(field.type), b"\n")
            keys.append(pair if field.required else [b"", pair])
    yield tuple(keys)
    for kind, below, head in inner:
        for place, table in enumerate(_tables(kind, below)):
            whole = (head.encode(), table) if not place else table
            yield Many(whole, 0, 2) if head.startswith("[[") else [b"", whole]


def _is_structure(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _file(structure: Any) -> dict[str, Expression]:
    """Return the rules of a file that is read into a structure."""
    tables = tuple(_tables(structure, ""))
    return {
        "start": mostly("tables", ("tables", "noise"), ("noise", "tables")),
        "tables": tables,
        **_VALUES,
    }


_POLICY: Final[dict[str, Expression]] = {
    "start": (
        b'program = "p"\n', ["without", "with"],
        Many("paragraph", 0, 4), mostly(b"", "noise"),
    ),
    "without": "unknown",
    "with": (
        b'placeholders = { FD = "x" }\n', "unknown",
        b'[[allow]]\ncalls = ["ioctl"]\nargs.0 = ["FD"]\nreason = "x"\n',
    ),
    "unknown": mostly(
        b'[unknown]\nnewest = 450\nuntil = 460\nanswer = "ENOSYS"\nreason = "x"\n',
        (b"[unknown]\nnewest = ", "number", b"\nuntil = ", "number", b"\nanswer = ", "error",
         b'\nreason = "x"\n'),
    ),
    "paragraph": (["allow", "deny"], b"calls = [", "call", b"]\n", Many("key", 0, 2),
                  b'reason = "x"\n'),
    "allow": b"[[allow]]\n",
    "deny": (b"[[deny]]\nanswer = ", "error", b"\n"),
    "call": mostly((b'"', Chars(b"abcdef", 3, 5), b'"'), b'"read", "write"', b'"socket"'),
    "key": [
        (b"args.", "place", b" = ", "condition", b"\n"),
        (b"except.", "place", b" = ", "condition", b"\n"),
        (b"args.", "place", b" = ", "condition", b"\nelse = ", "error", b"\n"),
        (b"args.", "place", b" = ", "condition", b"\nwithin.", "place", b" = ", "condition",
         b"\nelse = ", "error", b"\n"),
        mostly(b"", b'unused = "x"\n'),
    ],
    "place": mostly([b"0", b"1", b"2", b"5"], b"6"),
    "condition": [
        (b"[", "constant", b"]"),
        (b"[", "constant", b", ", "constant", b"]"),
        (b"{ mask = ", "constant", b", equals = [", "constant", b"] }"),
        (b"{ equals = ", "constant", b", width = ", mostly(b"64", b"32", b"16"), b" }"),
    ],
    "constant": mostly(
        [b"1", b"4", b"5", b"7", "named"],
        b"0", b'"FD"', "number", (b'"', Chars(b"ABCDEF|_", 1, 6), b'"'),
    ),
    "named": [f'"{name}"'.encode() for name in sorted(CONSTANTS)[:24]],
    "error": [f'"{name}"'.encode() for name in sorted(ERRORS)[:12]],
    **_VALUES,
}  # fmt: skip

_PACED: Final[list[Expression]] = [
    (f"{field.name}\0".encode(), [b"1s", b"30s..10m", b"true", b"0"])
    for field in msgspec.structs.fields(agent._Pacing)  # noqa: SLF001  it has no public name
]
_OPTIONS: Final[dict[str, Expression]] = {
    "options": (b"o", Many(("option", b"\0"), 0, 5), "option"),
    "option": [
        (b"name\0", "word"),
        (b"accounts\0", "word"),
        (b"lock\0", "word"),
        *_PACED,
        (b"ok_codes\0", [b"0,1", b"x", b"300"]),
        (b"then\0", [b"notmuch new", b"'", b"a\\", Chars(_ANY, 0, 8)]),
        b"command\0mbsync\0command\0-a",
        b"command\0mbsync",
        b"client\0mbsync",
    ],
    "word": [b"work", b"mbsync", b"", Chars(_ANY, 0, 6)],
}


def _agent() -> dict[str, Expression]:
    rules = _file(agent._File)  # noqa: SLF001  as above
    job = b'[[job]]\nclient = "mbsync"\nargs = ["work"]\n'
    return {
        **rules,
        **_OPTIONS,
        "file": rules["start"],
        "start": ["file", ("file", job), "options", (b'[[job]]\ncommand = ["mbsync"]\n', "file")],
    }


RULES: Final[dict[str, dict[str, Expression]]] = {
    "config": _file(listener.Configuration),
    "sender_config": _file(sender.Configuration),
    "preset": {**_file(Preset), **PRESET},
    "recipe": {**_file(recipe._File), **RECIPE},  # noqa: SLF001  it has no public name
    "agent_config": _agent(),
    "policy": _POLICY,
}
"""The rules of each file."""

"""Reads and checks the text of a policy.

A policy is refused as a whole if anything in it is doubtful: an unknown key, an unknown
constant, a call in two paragraphs, a grant without a reason. All problems are reported
at once. Whether a call exists is checked later: libseccomp is asked when it compiles the
filter (`mailbell._sys.seccomp`).
"""

import codecs
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Final, NoReturn

from mailbell.core.errors import ConfigurationError, Problem
from mailbell.syscalls.call_numbers import CONSTANTS, ERRORS
from mailbell.syscalls.policy import (
    ALLOW,
    ARGUMENTS,
    KILL,
    Action,
    Condition,
    Entry,
    Policy,
    Unknown,
    Value,
)

__all__ = ["parse"]

MAX_BYTES: Final = 64 * 1024
# Higher call numbers belong to x32 (0x40000000) or do not exist. libseccomp puts every number
# of the unknown range into the filter, which may have at most 4096 instructions.
MAX_NUMBER: Final = 2047
# The most rules for one call, so that the filter fits in 4096 instructions.
MAX_RULES: Final = 512

PROGRAM: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
CALL: Final = re.compile(r"[a-z_][a-z0-9_]{0,63}")
PLACEHOLDER: Final = re.compile(r"[A-Z][A-Z0-9_]{0,31}")


def parse(data: bytes) -> Policy:
    """Read a policy.

    Args:
        data: the TOML text.

    Returns:
        The policy. Its placeholders are not filled yet.

    Raises:
        ConfigurationError: the policy is wrong; it holds every problem.
    """
    reader = _Reader()
    policy = reader.policy(_table(data))
    if reader.problems:
        _refuse(reader.problems)
    return policy


def _refuse(problems: list[Problem]) -> NoReturn:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise ConfigurationError(
        f"policy: {problems[0]}{more}", "correct the policy", problems=tuple(problems)
    )


def _table(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        _refuse([Problem("", f"longer than {MAX_BYTES} bytes")])
    try:
        return tomllib.loads(data.removeprefix(codecs.BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        _refuse([Problem("", f"not UTF-8 at byte {error.start}: save it as UTF-8")])
    except ValueError as error:
        _refuse([Problem("", f"not TOML: {error}")])
    except RecursionError:  # tomllib raises it for a thousand opening brackets
        _refuse([Problem("", "not TOML: nested too deeply")])


def _plain(key: str) -> str:
    """Return a key in a form that is safe on a terminal: TOML allows any character in quotes."""
    return ascii(key)[1:-1]


class _Reader:
    """Turns tables into types and collects the problems.

    After a problem each method returns a harmless value of its type, so that the reader
    can go on and find the next problem.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._placeholders: dict[str, str] = {}
        self._used: set[str] = set()
        self._calls: dict[str, str] = {}  # the path of each call's paragraph

    def policy(self, table: dict[str, Any]) -> Policy:
        self._keys("", table, {"program", "placeholders", "unknown", "allow", "deny"})
        program = self._matching("program", table.get("program"), PROGRAM)
        self._placeholders = self._declarations(table.get("placeholders", {}))
        unknown = self._unknown(table.get("unknown"))
        entries = [
            *self._entries("allow", table.get("allow", [])),
            *self._entries("deny", table.get("deny", [])),
        ]
        for name in sorted(self._placeholders.keys() - self._used):
            self._problem(f"placeholders.{name}", "is used nowhere")
        return Policy(program, self._placeholders, unknown, tuple(entries))

    def _problem(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def _keys(self, path: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
        for key in sorted(table.keys() - set(known)):
            accepted = ", ".join(sorted(known))
            self._problem(
                f"{path}.{_plain(key)}".lstrip("."), f"unknown key; accepted are {accepted}"
            )

    def _matching(self, path: str, value: object, pattern: re.Pattern[str]) -> str:
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        self._problem(path, f"must be a name of the form {pattern.pattern}")
        return ""

    def _reason(self, path: str, value: object) -> str:
        if isinstance(value, str) and value.strip():
            return value.strip()
        self._problem(path, "missing: say in words why")
        return ""

    def _integer(self, path: str, value: object, low: int, high: int) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self._problem(path, f"must be an integer from {low} to {high}")
        return low

    def _error(self, path: str, value: object) -> Action:
        if isinstance(value, str) and value in ERRORS:
            return Action(value, ERRORS[value])
        self._problem(path, f"must be one of {', '.join(sorted(ERRORS))}")
        return KILL

    def _declarations(self, table: object) -> dict[str, str]:
        if not isinstance(table, dict):
            self._problem("placeholders", "must be a table of names, each with a description")
            return {}
        found = {}
        for name, reason in table.items():
            path = f"placeholders.{_plain(name)}"
            if name in CONSTANTS:
                self._problem(path, "is the name of a constant")
            if self._matching(path, name, PLACEHOLDER):
                found[name] = self._reason(path, reason)
        return found

    def _unknown(self, table: object) -> Unknown:
        if not isinstance(table, dict):
            self._problem("unknown", "missing: a table of newest, until, answer and reason")
            return Unknown(0, 0, KILL, "")
        self._keys("unknown", table, {"newest", "until", "answer", "reason"})
        newest = self._integer("unknown.newest", table.get("newest"), 1, MAX_NUMBER)
        return Unknown(
            newest,
            self._integer("unknown.until", table.get("until"), newest, MAX_NUMBER),
            self._error("unknown.answer", table.get("answer")),
            self._reason("unknown.reason", table.get("reason")),
        )

    def _entries(self, kind: str, tables: object) -> list[Entry]:
        if isinstance(tables, list) and all(isinstance(table, dict) for table in tables):
            return [self._entry(f"{kind}[{i}]", kind, table) for i, table in enumerate(tables)]
        self._problem(kind, f"must be written as [[{kind}]]")
        return []

    def _entry(self, path: str, kind: str, table: dict[str, Any]) -> Entry:
        kinds = "unused" if kind == "allow" else "answer"
        self._keys(path, table, {"calls", "args", "except", "within", "else", "reason", kinds})
        named = self._conditions(f"{path}.args", table.get("args", {}))
        excluded = self._conditions(f"{path}.except", table.get("except", {}))
        # Last: the complement of few values takes many rules, and each takes all the others.
        conditions = (*named, *(replace(condition, negated=True) for condition in excluded))
        within = self._conditions(f"{path}.within", table.get("within", {}))
        entry = Entry(
            calls=self._names(f"{path}.calls", table.get("calls")),
            conditions=conditions,
            action=ALLOW if kind == "allow" else self._error(f"{path}.answer", table.get("answer")),
            otherwise=self._error(f"{path}.else", table["else"]) if "else" in table else KILL,
            reason=self._reason(f"{path}.reason", table.get("reason")),
            unused=self._reason(f"{path}.unused", table["unused"]) if "unused" in table else "",
            within=within,
        )
        if "else" in table and not conditions:
            self._problem(f"{path}.else", "needs args or except: without them it has no effect")
        if within and "else" not in table:
            self._problem(f"{path}.within", "needs else: write the conditions under args")
        for condition in excluded:
            if condition.argument in {each.argument for each in (*named, *within)}:
                self._problem(
                    f"{path}.except.{condition.argument}",
                    "has args or within for the same argument: leave it out of their values",
                )
        self._check_within(path, named, within)
        if entry.action == entry.otherwise != KILL:
            self._problem(f"{path}.else", "is the same as answer: leave args and else out")
        if entry.size > MAX_RULES:
            self._problem(f"{path}.args", f"takes more than {MAX_RULES} rules: name fewer values")
        return entry

    def _check_within(
        self, path: str, conditions: Iterable[Condition], within: Iterable[Condition]
    ) -> None:
        """Refuse values of an argument that its `within` excludes."""
        for condition, around in product(conditions, within):
            inside = {value.number for value in around.values}
            if condition.argument != around.argument or None in inside:
                continue
            mask = condition.mask & around.mask
            let_through = {number & mask for number in inside if number is not None}
            for value in condition.values:
                if value.number is not None and value.number & mask not in let_through:
                    self._problem(
                        f"{path}.args.{condition.argument}",
                        f"{value.text} is excluded by within: it never matches",
                    )

    def _names(self, path: str, names: object) -> tuple[str, ...]:
        if not isinstance(names, list) or not names:
            self._problem(path, "must be a list of system calls")
            return ()
        found = tuple(self._matching(f"{path}[{i}]", name, CALL) for i, name in enumerate(names))
        for name in filter(None, found):
            if name in self._calls:
                self._problem(path, f"{name} already stands in {self._calls[name]}")
            self._calls[name] = path
        return found

    def _conditions(self, path: str, table: object) -> tuple[Condition, ...]:
        accepted = [str(number) for number in range(ARGUMENTS)]
        if not isinstance(table, dict):
            key = path.rpartition(".")[2]
            self._problem(path, f"must be written as {key}.0 to {key}.5")
            return ()
        self._keys(path, table, accepted)
        return tuple(
            self._condition(f"{path}.{key}", int(key), table[key])
            for key in accepted
            if key in table
        )

    def _condition(self, path: str, argument: int, form: object) -> Condition:
        table = {"equals": form} if isinstance(form, list) else form
        if not isinstance(table, dict):
            self._problem(path, "must be a list of values, or { mask, equals, width }")
            return Condition(argument, 0, ())
        self._keys(path, table, {"equals", "mask", "width"})
        width = table.get("width", 32)
        if not (isinstance(width, int) and width in {32, 64}):
            self._problem(f"{path}.width", "must be 32 or 64")
            width = 32
        full = (1 << width) - 1
        mask = full
        if "mask" in table:
            mask = self._constant(f"{path}.mask", table["mask"], full).number or 0
            if not mask:
                self._problem(f"{path}.mask", "must not be zero or a placeholder")
        return Condition(
            argument, mask, self._values(f"{path}.equals", table.get("equals"), full, mask)
        )

    def _values(self, path: str, form: object, full: int, mask: int) -> tuple[Value, ...]:
        forms = form if isinstance(form, list) else [form]
        if not forms:
            self._problem(path, "must name at least one value")
        values = tuple(self._constant(path, form, full) for form in forms)
        for value in values:
            if value.number is not None and value.number & ~mask:
                self._problem(path, f"{value.text} has bits outside the mask: it never matches")
        numbers = [value.number if value.number is not None else value.text for value in values]
        if len(set(numbers)) != len(numbers):
            self._problem(path, "names the same value twice")
        return values

    def _constant(self, path: str, form: object, full: int) -> Value:
        """Read one value: an integer, a placeholder, or constants joined by `|`."""
        if isinstance(form, int) and not isinstance(form, bool):
            if -(full >> 1) - 1 <= form <= full:
                return Value(str(form), form & full)
            self._problem(path, f"holds an integer of more than {full.bit_length()} bits")
            return Value("", 0)
        if not isinstance(form, str):
            self._problem(path, "must hold integers and names of constants only")
            return Value("", 0)
        if form in self._placeholders:
            self._used.add(form)
            return Value(form, None)
        number = 0
        for name in form.split("|"):
            if name not in CONSTANTS:
                self._problem(path, f"{name!a} is not a known constant")
            number |= CONSTANTS.get(name, 0)
        return Value(form, number)

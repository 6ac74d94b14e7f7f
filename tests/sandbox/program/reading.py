"""The policy, read a second time by other means, so that a fault of our own reader is found.

No code of the product is used here. `tomllib` reads the text. A C compiler gives its names
their meaning, with the kernel's headers. The rules are written once more, as the head of the
policy explains them to a reviewer.
"""

import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ["GENERIC_CALLS", "NATIVE_CALLS", "Condition", "Numbers", "Paragraph", "Reading"]

Numbers = int | tuple[int, ...]  # what a placeholder stands for

NATIVE_CALLS: Final = "#include <asm/unistd.h>"
# arch/arm64/include/uapi/asm/unistd.h: the generic table, with these.
GENERIC_CALLS: Final = """
#define __ARCH_WANT_RENAMEAT
#define __ARCH_WANT_NEW_STAT
#define __ARCH_WANT_SET_GET_RLIMIT
#define __ARCH_WANT_TIME32_SYSCALLS
#define __ARCH_WANT_SYS_CLONE3
#include <asm-generic/unistd.h>
"""
CONSTANTS: Final = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#define STDERR STDERR_FILENO
"""
ALLOW: Final = "SECCOMP_RET_ALLOW"
KILL: Final = "SECCOMP_RET_KILL_PROCESS"


@dataclass(frozen=True, slots=True)
class Condition:
    """For one argument: the bits that are compared, and the accepted values.

    Attributes:
        argument: its number.
        bits: those that are compared.
        permitted: the values that are accepted; empty: all but the forbidden ones.
        forbidden: the values that are not accepted.
    """

    argument: int
    bits: int
    permitted: frozenset[int]
    forbidden: frozenset[int] = frozenset()

    def holds(self, args: Sequence[int]) -> bool:
        value = args[self.argument] & self.bits
        return value not in self.forbidden if self.forbidden else value in self.permitted

    @property
    def examples(self) -> frozenset[int]:
        """Accepted values; of a condition that forbids values, two of the others."""
        return self.permitted or frozenset({self.bits, 1 << 10}) - self.forbidden


@dataclass(frozen=True, slots=True)
class Paragraph:
    """What the filter returns for a call, as in linux/seccomp.h.

    Attributes:
        conditions: the conditions of the arguments.
        met: the answer if all of them hold.
        unmet: the answer if one of them does not hold.
        within: further conditions; if one of them does not hold, the call kills.
    """

    conditions: tuple[Condition, ...]
    met: int
    unmet: int
    within: tuple[Condition, ...] = ()

    @property
    def judged(self) -> tuple[Condition, ...]:
        """One condition for each argument that the answer depends on."""
        own = {condition.argument for condition in self.conditions}
        return (*self.conditions, *(each for each in self.within if each.argument not in own))


@dataclass(frozen=True, slots=True)
class Reading:
    """The whole policy for one architecture.

    Attributes:
        calls: the names of the calls that the architecture has, by number.
        lacking: the calls that it lacks.
        paragraphs: the paragraphs by the number of the call.
        newer: the numbers that get an error.
        softly: that error.
        kill: the answer to everything else.
        architectures: all that the kernel's headers name, as in linux/audit.h.
    """

    calls: Mapping[int, str]
    lacking: frozenset[str]
    paragraphs: Mapping[int, Paragraph]
    newer: range
    softly: int
    kill: int
    architectures: Mapping[str, int]

    def answer(self, number: int, args: Sequence[int]) -> int:
        """What the filter must return for a call of this architecture."""
        paragraph = self.paragraphs.get(number)
        if paragraph is None:
            return self.softly if number in self.newer else self.kill
        for condition in paragraph.within:
            if not condition.holds(args):
                return self.kill
        answer = paragraph.met
        for condition in paragraph.conditions:
            if not condition.holds(args):
                if not condition.forbidden:
                    return paragraph.unmet
                answer = self.kill
        return answer

    @staticmethod
    def of(
        text: bytes, placeholders: Mapping[str, Numbers], unistd: str, directory: Path
    ) -> "Reading":
        """Read a policy.

        Args:
            text: the TOML text.
            placeholders: their values.
            unistd: C code that defines the call numbers of the architecture.
            directory: a folder for the C compiler's files.
        """
        table = tomllib.loads(text.decode())
        paragraphs = [(kind, one) for kind in ("allow", "deny") for one in table[kind]]
        names = {call for _, one in paragraphs for call in one["calls"]}
        architectures = _audit_names()
        words = {*_words(table), *architectures, ALLOW, KILL} - placeholders.keys()
        numbers = _compute([*words, *(f"__NR_{name}" for name in names)], unistd, directory)
        calls = {name: numbers.get(f"__NR_{name}") for name in names}
        meanings = {**numbers, **placeholders}
        return Reading(
            calls={number: name for name, number in calls.items() if number is not None},
            lacking=frozenset(name for name, number in calls.items() if number is None),
            paragraphs={
                number: _paragraph(kind, one, meanings)
                for kind, one in paragraphs
                for name in one["calls"]
                if (number := calls[name]) is not None
            },
            newer=range(table["unknown"]["newest"] + 1, table["unknown"]["until"] + 1),
            softly=numbers[_error(table["unknown"]["answer"])],
            kill=numbers[KILL],
            architectures={name: numbers[name] for name in architectures},
        )


def _audit_names() -> list[str]:
    """Every architecture that the kernel's headers name."""
    said = _gcc("-E", "-dM", "-include", "linux/audit.h", "-xc", "/dev/null")
    names = (line.split()[1] for line in said.splitlines())
    return sorted(name for name in names if name.startswith("AUDIT_ARCH_"))


def _paragraph(kind: str, one: dict[str, Any], meanings: Mapping[str, Numbers]) -> Paragraph:
    def conditions(key: str) -> tuple[Condition, ...]:
        forms = one.get(key, {}).items()
        return tuple(_condition(int(argument), form, meanings) for argument, form in forms)

    def answer(word: str) -> int:
        meaning = meanings[word]
        assert isinstance(meaning, int)
        return meaning

    forbidden = (replace(each, permitted=frozenset(), forbidden=each.permitted)
                 for each in conditions("except"))  # fmt: skip
    return Paragraph(
        conditions=(*conditions("args"), *forbidden),
        met=answer(ALLOW if kind == "allow" else _error(one["answer"])),
        unmet=answer(_error(one["else"]) if "else" in one else KILL),
        within=conditions("within"),
    )


def _condition(argument: int, form: Any, meanings: Mapping[str, Numbers]) -> Condition:
    def numbers(value: int | str) -> tuple[int, ...]:
        found = value if isinstance(value, int) else meanings[value]
        return (found,) if isinstance(found, int) else found

    form = form if isinstance(form, dict) else {"equals": form}
    equals = form["equals"] if isinstance(form["equals"], list) else [form["equals"]]
    width = (1 << form.get("width", 32)) - 1
    (mask,) = numbers(form.get("mask", width))
    meant = frozenset(number & width for value in equals for number in numbers(value))
    return Condition(argument, mask & width, meant)


def _error(name: str) -> str:
    return f"SECCOMP_RET_ERRNO|{name}"


def _words(table: dict[str, Any]) -> Iterator[str]:
    """Every expression of a policy that C must evaluate."""
    yield _error(table["unknown"]["answer"])
    for one in (*table["allow"], *table["deny"]):
        yield from (_error(one[key]) for key in ("answer", "else") if key in one)
        tables = (one.get(key, {}) for key in ("args", "except", "within"))
        for form in (form for table in tables for form in table.values()):
            parts = [form["equals"], form.get("mask")] if isinstance(form, dict) else [form]
            for part in parts:
                values = part if isinstance(part, list) else [part]
                yield from (value for value in values if isinstance(value, str))


def _compute(expressions: Iterable[str], unistd: str, directory: Path) -> dict[str, int]:
    """The value of each expression in C, without the calls that the architecture lacks."""
    body = "".join(map(_printed, sorted(expressions)))
    source = directory / "numbers.c"
    source.write_text(f"{CONSTANTS}{unistd}\nint main(void)\n{{\n{body}return 0;\n}}\n")
    program = directory / "numbers"
    _gcc("-o", str(program), str(source))
    said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    pairs = (line.split("\t") for line in said.splitlines())
    return {expression: int(number) for expression, number in pairs}


def _printed(expression: str) -> str:
    statement = f'printf("%s\\t%lld\\n", "{expression}", (long long) ({expression}));\n'
    if expression.startswith("__NR_"):
        return f"#ifdef {expression}\n{statement}#endif\n"
    return statement


def _gcc(*arguments: str) -> str:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    done = subprocess.run(["gcc", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout

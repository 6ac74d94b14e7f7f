"""The programs that are tested, and the comparison.

For aarch64 there are two. This machine's libseccomp compiles the first one. It needs names, so it
must leave out the numbers that have none. The Python and the libseccomp of aarch64 compile the
second one in an emulator, which leaves out nothing.
"""

import importlib.util
import platform
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from harness.bpf import Code
from sandbox.program.cases import Args
from sandbox.program.decisions import Decisions, Judge
from sandbox.program.reading import GENERIC_CALLS, NATIVE_CALLS, Numbers, Reading

import mailbell
from mailbell._sys import seccomp
from mailbell.sandbox.policy_file import FOLDER
from mailbell.syscalls.policy import ALLOW, KILL, Action, Policy
from mailbell.syscalls.policy_toml import parse

__all__ = [
    "AARCH64",
    "NATIVE",
    "X86_64",
    "Publish",
    "Subject",
    "Tally",
    "can_emulate",
    "cross_compiled",
    "decoded",
    "emulated",
    "native",
    "native_with",
    "returned",
]

Publish = Callable[[str, object], None]

FILE: Final = Path(FOLDER, "mailbelld.toml")
PLACEHOLDERS: Final[dict[str, Numbers]] = {
    "SELF": 4321, "STATUS": 7, "WAKEUP": 11, "SHARED": (0, 1, 2, 3, 4, 9),
}  # fmt: skip
# linux/audit.h
X86_64: Final = 0xC000003E
AARCH64: Final = 0xC00000B7
NATIVE: Final = {"x86_64": X86_64, "aarch64": AARCH64}.get(platform.machine(), 0)

HERE: Final = Path(__file__).parent
# Debian's Python and libseccomp for aarch64, unpacked by .ci/run.
AARCH64_ROOT: Final = HERE.parents[2] / ".cache" / "aarch64"
AARCH64_PYTHON: Final = AARCH64_ROOT / "usr" / "bin" / "python3"


@dataclass(frozen=True)
class Subject:
    """A program, and what it should be.

    Attributes:
        architecture: the architecture whose calls it judges, as in linux/audit.h.
        code: the program that the kernel gets.
        policy: the policy, all its placeholders filled.
        reading: the second reading of the same text with the same placeholders.
    """

    architecture: int
    code: bytes
    policy: Policy
    reading: Reading

    @property
    def program(self) -> tuple[Code, ...]:
        return decoded(self.code)


@dataclass
class Tally:
    """The number of evaluated inputs, and those for which not all three agree."""

    subject: Subject
    evaluations: int = 0
    mismatches: int = 0
    examples: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._decisions = Decisions(self.subject.program)
        self._judges: dict[int, tuple[Judge, Policy, int | str]] = {}

    def add(self, number: int, args: Args) -> None:
        """Evaluate a call of the program's own architecture."""
        subject = self.subject
        judge, policy, call = self._judges.get(number) or self._judging(number)
        said = judge.answer(args)
        by_policy = returned(policy.answer(call, args))
        self._count(said, by_policy, subject.reading.answer(number, args), number, args)

    def _judging(self, number: int) -> tuple[Judge, Policy, int | str]:
        """What judges a call: the program, and of the policy the entries that name the call."""
        subject = self.subject
        call = subject.reading.calls.get(number, number)
        entries = tuple(each for each in subject.policy.entries if call in each.calls)
        judge = self._decisions.judge(subject.architecture, number)
        found = self._judges[number] = judge, replace(subject.policy, entries=entries), call
        return found

    def add_foreign(self, architecture: int, number: int, args: Args) -> None:
        """Evaluate a call of another architecture: no policy permits one."""
        said = self._decisions.judge(architecture, number).answer(args)
        kill = self.subject.reading.kill
        self._count(said, returned(KILL), kill, architecture, (number, *args))

    def _count(self, said: int, by_policy: int, by_text: int, first: int, rest: Args) -> None:
        self.evaluations += 1
        if not said == by_policy == by_text:
            self.mismatches += 1
            if len(self.examples) < 10:
                call = " ".join(map(hex, (first, *rest)))
                self.examples.append(f"{call}: {said:#x}, {by_policy:#x}, {by_text:#x}")

    def publish(self, record: Publish) -> None:
        record("sandbox: evaluations", self.evaluations)
        record("sandbox: mismatches", self.mismatches)
        assert self.evaluations
        assert not self.mismatches, self.examples


def decoded(code: bytes) -> tuple[Code, ...]:
    """The bytes of each `struct sock_filter`; our architectures are little-endian."""
    return tuple(struct.iter_unpack("<HBBI", code))


def returned(action: Action) -> int:
    """The answer, as in linux/seccomp.h."""
    if action is ALLOW or action == ALLOW:
        return 0x7FFF0000
    return 0x80000000 if action is KILL or action == KILL else 0x00050000 | action.errno


def native(directory: Path) -> Subject:
    """The program for this machine."""
    return native_with(PLACEHOLDERS, directory)


def native_with(placeholders: dict[str, Numbers], directory: Path, file: Path = FILE) -> Subject:
    policy = parse(file.read_bytes()).bind(placeholders)
    code = seccomp.compile_policy(policy).program
    reading = Reading.of(file.read_bytes(), placeholders, NATIVE_CALLS, directory)
    return Subject(NATIVE, code, policy, reading)


def cross_compiled(directory: Path) -> Subject:
    """The program for aarch64, except `[unknown]`: those numbers are killed."""
    _only_on_x86_64()
    policy = _policy(PLACEHOLDERS)
    policy = replace(policy, unknown=replace(policy.unknown, until=policy.unknown.newest))
    code = seccomp.compile_policy(policy, "aarch64").program
    return Subject(AARCH64, code, policy, replace(_generic(directory), newer=range(0)))


def emulated(directory: Path) -> Subject:
    """The program that aarch64 itself compiles and loads."""
    _only_on_x86_64()
    return Subject(AARCH64, _compiled_there(), _policy(PLACEHOLDERS), _generic(directory))


def _policy(placeholders: dict[str, Numbers]) -> Policy:
    return parse(FILE.read_bytes()).bind(placeholders)


def _generic(directory: Path) -> Reading:
    return Reading.of(FILE.read_bytes(), PLACEHOLDERS, GENERIC_CALLS, directory)


def _only_on_x86_64() -> None:
    """On aarch64 the native program is that of aarch64."""
    if platform.machine() != "x86_64":
        pytest.skip("of x86-64 only")


def can_emulate() -> bool:
    """Tell whether this machine has an emulator and a Python for aarch64."""
    return shutil.which("qemu-aarch64") is not None and AARCH64_PYTHON.exists()


@cache
def _compiled_there() -> bytes:
    emulator, python = shutil.which("qemu-aarch64"), AARCH64_PYTHON
    if emulator is None or not python.exists():
        pytest.skip("needs qemu-user and a Python for aarch64 in .cache, as .ci/run has them")
    binding = importlib.util.find_spec("pyseccomp")
    assert binding is not None
    modules = (Path(mailbell.__file__).parents[1], Path(str(binding.origin)).parent)
    done = subprocess.run(
        [
            emulator, "-L", AARCH64_ROOT, python, "-B", HERE / "export.py", FILE,
            *(f"{name}={meant}" for name, meant in PLACEHOLDERS.items()),
        ],
        env={"PYTHONPATH": ":".join(map(str, modules))},
        check=False, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout

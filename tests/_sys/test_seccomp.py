"""The compiled program does what the policy says: every call number, near every condition."""

import ctypes.util
import errno
import platform
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyseccomp
import pytest
from harness.bpf import Code, evaluate
from hypothesis import given
from hypothesis import strategies as st

from mailbell._errors import ConfigurationError, InternalError, OperatingSystemError
from mailbell._policy import ALLOW, KILL, Action, Policy
from mailbell._policy_toml import parse
from mailbell._sys import seccomp

POLICY = Path(seccomp.__file__).parent.parent / "policy" / "mailbelld.toml"
SELF, STATUS, WAKEUP = 4321, 7, 11
HEAD = """
program = "test"
unknown = { newest = 469, until = 470, answer = "ENOSYS", reason = "newer" }
"""
# linux/audit.h
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003}
NATIVE = ARCHITECTURES.get(platform.machine(), 0)

policy = parse(POLICY.read_bytes()).bind({"SELF": SELF, "STATUS": STATUS, "WAKEUP": WAKEUP})
compiled = seccomp.compile_policy(policy)
program: list[Code] = [*struct.iter_unpack("=HBBI", compiled.program)]
numbers = {
    pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, call): call
    for entry in policy.entries
    for call in entry.calls
}


def verdict(
    number: int, args: Sequence[int] = (0,) * 6, architecture: int = NATIVE, code: Any = program
) -> int:
    """What the kernel would get: `struct seccomp_data` in, action out."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *args)
    return evaluate(code, data, byteorder=sys.byteorder)


def expected(action: Action) -> int:
    """As in linux/seccomp.h."""
    if action == ALLOW:
        return 0x7FFF0000
    return 0x80000000 if action == KILL else 0x00050000 | action.errno


@pytest.mark.parametrize("args", [(0,) * 6, (1,) * 6, ((1 << 64) - 1,) * 6], ids="01F")
def test_every_number(args: tuple[int, ...]) -> None:
    for number in (*range(1200), 1 << 31, 0xFFFFFFFF):
        said = policy.answer(numbers.get(number, number), args)
        assert verdict(number, args) == expected(said), number


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is of x86-64")
def test_every_number_of_x32_kills() -> None:
    for number in range(1200):
        assert verdict(0x40000000 | number) == expected(KILL)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES.values(), 0])
def test_every_other_architecture_kills(architecture: int) -> None:
    if architecture != NATIVE:
        for number in range(1200):
            assert verdict(number, architecture=architecture) == expected(KILL)


@st.composite
def calls(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A conditional call with arguments that meet its conditions, give or take a bit."""
    number, call = draw(st.sampled_from(sorted(numbers.items())))
    args = draw(st.lists(st.integers(0, (1 << 64) - 1), min_size=6, max_size=6))
    (entry,) = (entry for entry in policy.entries if call in entry.calls)
    for condition in entry.conditions:
        value = draw(st.sampled_from(sorted(condition.numbers)))
        at = condition.argument
        args[at] = args[at] & ~condition.mask | value
        if not draw(st.integers(0, 3)):
            args[at] ^= 1 << draw(st.integers(0, 63))
    return number, args


@given(st.lists(calls(), min_size=10, max_size=40))
def test_near_every_condition(made: list[tuple[int, list[int]]]) -> None:
    for number, args in made:
        if number >= 0:
            assert verdict(number, args) == expected(policy.answer(numbers[number], args))


def test_every_single_bit_of_every_condition() -> None:
    for number, call in numbers.items():
        (entry,) = (entry for entry in policy.entries if call in entry.calls)
        met = [0] * 6
        for condition in entry.conditions:
            met[condition.argument] = min(condition.numbers)
        for condition in entry.conditions if number >= 0 else ():
            for bit in range(64):
                args = list(met)
                args[condition.argument] ^= 1 << bit
                assert verdict(number, args) == expected(policy.answer(call, args)), (call, args)


def test_size_is_within_the_kernels_limit() -> None:
    assert len(program) == compiled.instructions < seccomp.MAX_INSTRUCTIONS / 2


def test_only_equality_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used = set()

    class Arg(pyseccomp.Arg):  # type: ignore[misc]  # pyseccomp publishes no types
        def __init__(self, arg: int, op: int, data_a: int, data_b: int = 0) -> None:
            used.add(op)
            super().__init__(arg, op, data_a, data_b)

    monkeypatch.setattr(pyseccomp, "Arg", Arg)
    assert seccomp.compile_policy(policy).program == compiled.program
    assert used == {pyseccomp.EQ, pyseccomp.MASKED_EQ}


def made(body: str) -> Policy:
    return parse((HEAD + body).encode())


def test_unknown_calls_are_all_named() -> None:
    body = '[[allow]]\ncalls = ["raed", "read", "wriet"]\nreason = "x"'
    with pytest.raises(ConfigurationError) as caught:
        seccomp.compile_policy(made(body))
    assert [problem.path for problem in caught.value.problems] == ["raed", "wriet"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names are chosen for x86-64")
def test_calls_of_other_architectures_are_skipped() -> None:
    assert pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, "send") < -1
    both = seccomp.compile_policy(made('[[allow]]\ncalls = ["send", "read"]\nreason = "x"'))
    one = seccomp.compile_policy(made('[[allow]]\ncalls = ["read"]\nreason = "x"'))
    assert both.program == one.program


def test_an_open_placeholder_is_refused() -> None:
    with pytest.raises(InternalError, match="WAKEUP"):
        seccomp.compile_policy(parse(POLICY.read_bytes()).bind({"STATUS": 1}))


def test_a_program_too_long_is_refused() -> None:
    # Values of their own for each call: libseccomp shares what is the same.
    entries = "".join(
        f'[[allow]]\ncalls = ["{call}"]\nreason = "x"\nelse = "EPERM"\n'
        f"args.0 = {{ equals = {[n << 60 | at << 8 for n in range(7)]}, width = 64 }}\n"
        for at, call in enumerate(("read", "write", "close"))
    )
    with pytest.raises(ConfigurationError, match="the kernel takes 4096"):
        seccomp.compile_policy(made(entries))


def test_a_missing_library_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_pyseccomp", None)
    with pytest.raises(OperatingSystemError, match="install libseccomp2") as caught:
        seccomp.compile_policy(policy)
    assert caught.value.exit_code == 71


def test_import_survives_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyseccomp")
    monkeypatch.setattr(seccomp, "LIBRARY", "libseccomp-that-is-not-there.so.2")
    before = ctypes.util.find_library
    assert seccomp._import_pyseccomp() is None
    assert ctypes.util.find_library is before


def test_import_runs_no_program() -> None:
    script = """if True:
        import sys
        def hook(event, args):
            if event in {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "os.system"}:
                sys.exit(f"{event} {args}")
        sys.addaudithook(hook)
        import mailbell._sys.seccomp as seccomp
        sys.exit(seccomp._pyseccomp is None)
        """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyseccomp, "system_arch", lambda: pyseccomp.Arch.MIPS64)
    with pytest.raises(OperatingSystemError, match="no policy for this architecture"):
        seccomp.compile_policy(policy)


def test_a_failure_of_the_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(pyseccomp.SyscallFilter, "set_attr", refuse)
    with pytest.raises(OperatingSystemError, match=re.escape("Invalid argument; it needs lib")):
        seccomp.compile_policy(policy)


def test_a_refusal_of_the_kernel_is_told() -> None:
    def refuse() -> None:
        raise OSError(errno.EACCES, "Permission denied")

    broken = seccomp.compile_policy(policy)
    broken._compiled = SimpleNamespace(load=refuse)
    with pytest.raises(OperatingSystemError, match="the kernel refused the seccomp filter"):
        broken.load()

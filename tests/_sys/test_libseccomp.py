"""Either binding of libseccomp is as good: the same programs, the same numbers, the same errors."""

import ctypes.util
import errno
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from harness.child import run
from harness.cython_seccomp import cython_seccomp

from mailbell._sys import seccomp
from mailbell._sys._libseccomp import Binding, find_binding
from mailbell.core.errors import OperatingSystemError
from mailbell.sandbox.policy_file import FOLDER
from mailbell.syscalls.call_numbers import ARCHITECTURES
from mailbell.syscalls.policy import Policy
from mailbell.syscalls.policy_toml import parse

POLICIES = sorted(path.stem for path in Path(FOLDER).glob("*.toml"))


def both(monkeypatch: pytest.MonkeyPatch) -> tuple[Binding, Binding]:
    """The binding that is installed, and `seccomp`."""
    first = find_binding()
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    monkeypatch.setitem(sys.modules, "seccomp", cython_seccomp())
    second = find_binding()
    assert first is not None
    assert second is not None
    assert second.name == "seccomp"
    return first, second


def filled(program: str) -> Policy:
    policy = parse((Path(FOLDER) / f"{program}.toml").read_bytes())
    return policy.bind({name: 3 + at for at, name in enumerate(sorted(policy.unbound))})


@pytest.mark.parametrize("program", POLICIES)
def test_the_programs_are_the_same(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    policy, programs = filled(program), []
    for binding in both(monkeypatch):
        monkeypatch.setattr(seccomp, "_binding", binding)
        programs.append(seccomp.compile_policy(policy).program)
    assert programs[0] == programs[1]


def test_so_are_the_programs_for_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        'program = "test"\n'
        'unknown = { newest = 469, until = 469, answer = "ENOSYS", reason = "newer" }\n'
        '[[allow]]\ncalls = ["read", "openat"]\nargs.0 = { equals = [-1, 7] }\n'
        'else = "EPERM"\nreason = "x"\n'
    )
    for architecture in ARCHITECTURES:
        programs = []
        for binding in both(monkeypatch):
            monkeypatch.setattr(seccomp, "_binding", binding)
            programs.append(seccomp.compile_policy(parse(text.encode()), architecture).program)
        assert programs[0] == programs[1]


def test_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (binding.library for binding in both(monkeypatch))
    assert one.system_arch() == other.system_arch()
    for name in ("KILL_PROCESS", "ALLOW", "EQ", "MASKED_EQ"):
        assert getattr(one, name) == getattr(other, name)
    assert one.ERRNO(errno.EACCES) == other.ERRNO(errno.EACCES)
    names = {
        call for program in POLICIES for entry in filled(program).entries for call in entry.calls
    }
    for architecture in ("NATIVE", *(name.upper() for name in ARCHITECTURES)):
        token = getattr(one.Arch, architecture)
        assert token == getattr(other.Arch, architecture)
        for name in {*names, "seccomp", "no_such_call", "send"}:
            assert one.resolve_syscall(token, name) == other.resolve_syscall(token, name)


class NotOpen:
    def fileno(self) -> int:
        return 1 << 20


def export(of: Any, made: Any) -> None:
    made.set_attr(of.Attr.API_SYSRAWRC, 1)
    made.export_bpf(NotOpen())


MISTAKES: dict[str, Callable[[Any, Any], object]] = {
    "an attribute": lambda _, made: made.set_attr(99, 1),
    "a value": lambda of, made: made.set_attr(of.Attr.CTL_OPTIMIZE, 99),
    "an architecture to add": lambda _, made: made.add_arch(77777),
    "an architecture that is there": lambda of, made: made.add_arch(of.Arch.NATIVE),
    "an architecture to remove": lambda _, made: made.remove_arch(77777),
    "an action": lambda _, made: made.add_rule_exactly(0x12345, 0),
    "the default as an action": lambda of, made: made.add_rule_exactly(of.KILL_PROCESS, 0),
    "an argument": lambda of, made: made.add_rule_exactly(of.ALLOW, 0, of.Arg(9, of.EQ, 1)),
    "a rule": lambda of, made: made.add_rule(of.ALLOW, 0, of.Arg(9, of.EQ, 1)),
    "a descriptor": export,
    "the default action": lambda of, _: of.SyscallFilter(12345),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_errors_are_the_same(monkeypatch: pytest.MonkeyPatch, mistake: str) -> None:
    numbers = []
    for binding in both(monkeypatch):
        library = binding.library
        made = library.SyscallFilter(library.KILL_PROCESS)
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            MISTAKES[mistake](library, made)
        assert caught.value.strerror == os.strerror(caught.value.errno or 0)
        numbers.append(caught.value.errno)
    assert numbers[0] == numbers[1]


def outcome_of_loading(first: str) -> str:
    """In a child: what `first` refuses is how the kernel answers the load after it."""
    binding = find_binding()
    assert binding is not None
    library = binding.library
    if first:
        refusing = library.SyscallFilter(library.ALLOW)
        refusing.add_rule(library.ERRNO(errno.ESRCH), first)
        refusing.load()
    made = library.SyscallFilter(library.ALLOW)
    made.set_attr(library.Attr.API_SYSRAWRC, 1)
    made.add_rule(library.ERRNO(errno.ENOLCK), "openat")
    try:
        made.load()
        del made
        gc.collect()
        os.open("/", os.O_RDONLY)
    except OSError as error:
        return f"{binding.name} {errno.errorcode[error.errno or 0]}"
    return "no error"


@pytest.mark.parametrize(("first", "error"), [("", "ENOLCK"), ("seccomp", "ESRCH")])
def test_a_filter_is_in_force_or_the_kernels_error_is_told(
    monkeypatch: pytest.MonkeyPatch, first: str, error: str
) -> None:
    installed, _ = both(monkeypatch)
    assert run(lambda: outcome_of_loading(first)).value == f"seccomp {error}"
    monkeypatch.undo()
    assert run(lambda: outcome_of_loading(first)).value == f"{installed.name} {error}"


def test_pyseccomp_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """It uses the libseccomp of the system, which is updated by itself."""
    monkeypatch.setitem(sys.modules, "pyseccomp", ModuleType("pyseccomp"))
    monkeypatch.setitem(sys.modules, "seccomp", cython_seccomp())
    found = find_binding()
    assert found is not None
    assert found.name == "pyseccomp"


def test_the_other_one_is_taken_where_pyseccomp_does_not_find_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(monkeypatch, tmp_path, "pyseccomp", "raise RuntimeError('Unable to find libseccomp')")
    monkeypatch.setitem(sys.modules, "seccomp", cython_seccomp())
    found = find_binding()
    assert found is not None
    assert found.name == "seccomp"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "class Arch: pass\nclass SyscallFilter: pass\n",
        "raise OSError('cannot be mapped')",
        "raise ValueError('binary incompatibility')",
    ],
)
def test_another_module_of_that_name_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    plant(monkeypatch, tmp_path, "seccomp", text)
    assert find_binding() is None


def plant(monkeypatch: pytest.MonkeyPatch, place: Path, name: str, text: str) -> None:
    (place / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setitem(sys.modules, name, None)  # so that it is taken out at the end
    del sys.modules[name]


def test_where_both_are_missing_the_search_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    monkeypatch.setitem(sys.modules, "seccomp", None)
    before = ctypes.util.find_library
    assert find_binding() is None
    assert ctypes.util.find_library is before
    monkeypatch.setattr(seccomp, "_binding", None)
    with pytest.raises(OperatingSystemError, match=r"libseccomp\.so\.2 cannot be loaded"):
        seccomp.binding_name()


def test_the_name_is_that_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    for binding in both(monkeypatch):
        monkeypatch.setattr(seccomp, "_binding", binding)
        assert seccomp.binding_name() == binding.name

"""Compiling: what is refused, with which message. tests/sandbox shows what the program does."""

import errno
import platform
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness.libseccomp import libseccomp

from mailbell._sys import seccomp
from mailbell.core.errors import ConfigurationError, InternalError, OperatingSystemError
from mailbell.sandbox.policy_file import FOLDER
from mailbell.syscalls.policy import Policy
from mailbell.syscalls.policy_toml import parse

POLICY = Path(FOLDER) / "mailbelld.toml"
HEAD = """
program = "test"
unknown = { newest = 469, until = 470, answer = "ENOSYS", reason = "newer" }
"""

policy = parse(POLICY.read_bytes()).bind(
    {"SELF": 4321, "STATUS": 7, "WAKEUP": 11, "SHARED": (0, 1, 2)}
)
compiled = seccomp.compile_policy(policy)


def test_size_is_within_the_kernels_limit() -> None:
    assert len(compiled.program) == compiled.instructions * 8
    assert compiled.instructions < seccomp.MAX_INSTRUCTIONS * 3 / 4


def test_only_equality_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used = set()

    make = libseccomp.Arg

    def argument(place: int, operator: int, *values: int) -> object:
        used.add(operator)
        return make(place, operator, *values)

    monkeypatch.setattr(libseccomp, "Arg", argument)
    assert seccomp.compile_policy(policy).program == compiled.program
    assert used == {libseccomp.EQ, libseccomp.MASKED_EQ}


def made(body: str) -> Policy:
    return parse((HEAD + body).encode())


def test_unknown_calls_are_all_named() -> None:
    body = '[[allow]]\ncalls = ["raed", "read", "wriet"]\nreason = "x"'
    with pytest.raises(ConfigurationError) as caught:
        seccomp.compile_policy(made(body))
    assert [problem.path for problem in caught.value.problems] == ["raed", "wriet"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names are chosen for x86-64")
def test_calls_of_other_architectures_are_skipped() -> None:
    assert libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, "send") < -1
    both = seccomp.compile_policy(made('[[allow]]\ncalls = ["send", "read"]\nreason = "x"'))
    one = seccomp.compile_policy(made('[[allow]]\ncalls = ["read"]\nreason = "x"'))
    assert both.program == one.program


def test_an_open_placeholder_is_refused() -> None:
    with pytest.raises(InternalError, match="WAKEUP"):
        seccomp.compile_policy(parse(POLICY.read_bytes()).bind({"STATUS": 1, "SHARED": ()}))


def test_a_program_too_long_is_refused() -> None:
    # Different values for each call, because libseccomp merges equal rules.
    entries = "".join(
        f'[[allow]]\ncalls = ["{call}"]\nreason = "x"\nelse = "EPERM"\n'
        f"args.0 = {{ equals = {[n << 60 | at << 8 for n in range(7)]}, width = 64 }}\n"
        for at, call in enumerate(("read", "write", "close"))
    )
    with pytest.raises(ConfigurationError, match="the kernel takes 4096"):
        seccomp.compile_policy(made(entries))


def test_a_missing_library_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_binding", None)
    with pytest.raises(OperatingSystemError, match="install libseccomp2") as caught:
        seccomp.compile_policy(policy)
    assert caught.value.exit_code == 71


def test_import_runs_no_program() -> None:
    script = """if True:
        import sys
        def hook(event, args):
            if event in {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "os.system"}:
                sys.exit(f"{event} {args}")
        sys.addaudithook(hook)
        import mailbell._sys.seccomp as seccomp
        sys.exit(seccomp._binding is None)
        """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_this_architecture_is_the_default() -> None:
    assert seccomp.compile_policy(policy, platform.machine()).program == compiled.program


@pytest.mark.parametrize("name", ["mips64", "x32", ""])
def test_an_architecture_that_has_no_policy_is_refused(name: str) -> None:
    with pytest.raises(OperatingSystemError, match="no policy for this architecture"):
        seccomp.compile_policy(policy, name)


def test_a_machine_that_has_no_policy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libseccomp, "system_arch", lambda: libseccomp.Arch.MIPS64)
    with pytest.raises(OperatingSystemError, match="no policy for this architecture"):
        seccomp.compile_policy(policy)


def test_a_failure_of_the_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(libseccomp.SyscallFilter, "set_attr", refuse)
    with pytest.raises(OperatingSystemError, match=re.escape("Invalid argument; it needs lib")):
        seccomp.compile_policy(policy)


def test_a_refusal_of_the_kernel_is_told() -> None:
    def refuse() -> None:
        raise OSError(errno.EACCES, "Permission denied")

    broken = seccomp.compile_policy(policy)
    broken._compiled = SimpleNamespace(load=refuse)
    with pytest.raises(OperatingSystemError, match="the kernel refused the seccomp filter"):
        broken.load()

"""What precedes the lock and must not outlive it: tracers, and the environment."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from harness import child
from harness.daemon import PATIENCE, configuration, started
from harness.ordinary import NOBODY, as_nobody
from harness.tracee import Tracee, mappings, read_memory, traced
from system.support import opened_by, program

# Starts a program that this process traces, and lets it go on whenever it stops.
TRACER: Final = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
ready, go = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    os.read(go[0], 1)
    os.execvp(sys.argv[1], sys.argv[1:])
assert libc.ptrace(0x4206, pid, None, None) == 0, os.strerror(ctypes.get_errno())
os.write(go[1], b".")
while True:
    _, status = os.waitpid(pid, 0x40000000)
    if not os.WIFSTOPPED(status):
        os._exit(os.waitstatus_to_exitcode(status))
    number = os.WSTOPSIG(status)
    libc.ptrace(7, pid, None, ctypes.c_void_p(0 if status >> 16 else number))
"""

SECRET: Final = "d9c1f0a7-correct-horse"
VARIABLES: Final = {
    "DB_PASSWORD": SECRET,
    "PATH": f"{os.environ['PATH']}:/{SECRET}",
    "UNUSED": "x" * 3 + SECRET,
}
# os.execve takes a dictionary, which has each name once.
TWICE: Final = f"""
import ctypes, os, sys
words = [word.encode() for word in sys.argv[1:]]
pairs = [name + b"=" + value for name, value in os.environb.items()]
pairs += [b"DB_PASSWORD=of no interest", b"DB_PASSWORD={SECRET}", b"{SECRET}"]
array = lambda each: (ctypes.c_char_p * (len(each) + 1))(*each)
ctypes.CDLL(None).execve(words[0], array(words), array(pairs))
"""


def configured(directory: Path) -> Path:
    file = directory / "mailbelld.toml"
    file.write_text(configuration(directory))
    return file


def as_user(hold: Path) -> list[str]:
    return as_nobody(hold) if os.geteuid() == 0 else []


def test_whoever_is_traced_from_the_beginning_does_not_become_ready(open_path: Path) -> None:
    """As by strace(1). Root may attach at any time, and is told too."""
    ended = subprocess.run(
        [sys.executable, "-c", TRACER, *program("mailbelld"), "--config", configured(open_path)],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert ended.returncode == 71, ended
    assert re.fullmatch(
        r"mailbelld: process \d+ traces this one and would control it, also when it is locked;"
        r" start it without strace or a debugger; [^\n]*\n",
        ended.stderr,
    )
    assert not re.search(r"event=(locked|listening)", ended.stderr)


def test_no_process_of_its_user_attaches_while_it_starts(open_path: Path, empty_path: Path) -> None:
    """It stops where it reads its configuration, which is a pipe without a writer."""
    open_path.chmod(0o777)
    pipe = open_path / "mailbelld.toml"
    os.mkfifo(pipe, 0o666)
    pipe.chmod(0o666)
    command = [*as_user(empty_path), *program("mailbelld"), "--config", str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd="/") as process:
        try:
            writer = opened_by(process, pipe)
            assert isinstance(attached(process.pid), PermissionError)
            assert isinstance(looked_into(process.pid), PermissionError)
            os.write(writer, b"nonsense")
            os.close(writer)
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 78
    assert b"not valid TOML" in said


def attached(pid: int) -> BaseException | None:
    """What a process of the daemon's user gets when it attaches to the daemon."""
    return as_its_user(lambda: Tracee(pid))


def looked_into(pid: int) -> BaseException | None:
    return as_its_user(lambda: open(f"/proc/{pid}/mem", "rb").close())


def as_its_user(attempt: Callable[[], object]) -> BaseException | None:
    def inside() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        attempt()

    return child.run(inside).error


# CPython 3.13 and later have the last one. It uses freed memory again later than the others.
ALLOCATORS: Final = ["default", "malloc_debug", *(["mimalloc"] * (sys.version_info >= (3, 13)))]


@pytest.mark.parametrize("allocator", ALLOCATORS)
@traced
def test_nothing_of_its_environment_is_left_in_its_memory(open_path: Path, allocator: str) -> None:
    environ = {**VARIABLES, "PYTHONMALLOC": allocator}
    with started(open_path, environ=environ) as daemon:
        assert found_in(daemon.pid, SECRET) == []
        assert found_in(daemon.pid, "DB_PASSWORD") == []
        environment = environment_of(daemon.pid)
        assert len(environment) > len(SECRET)
        assert not environment.strip(b"\0")
        # The control: what is there is found.
        assert found_in(daemon.pid, str(open_path)) != []


@traced
def test_a_variable_that_stands_twice_is_gone_too(open_path: Path) -> None:
    """Python's dictionary has only the first one."""
    with started(open_path, command=[sys.executable, "-c", TWICE]) as daemon:
        assert found_in(daemon.pid, SECRET) == []


def environment_of(pid: int) -> bytes:
    """Return the environment that the kernel gave to a process, as it is now (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    start, end = map(int, fields[47:49])  # env_start and env_end, fields 50 and 51
    return read_memory(pid, start, end - start)


def found_in(pid: int, text: str) -> list[str]:
    """Return the mappings of a process in which a text stands."""
    found = []
    for mapping in mappings(pid):
        if "r" in mapping.rights and not mapping.path.startswith("[v"):
            held = read_memory(pid, mapping.start, mapping.end - mapping.start)
            found += [mapping.path or "anonymous"] * held.count(text.encode())
    return found

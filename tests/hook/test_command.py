"""The command after `--` starts as if the hook had not been there."""

import ctypes
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from harness.child import run as in_child
from harness.sender import PATIENCE
from hook.support import HOOK, INTERPRETERS, listening, private, start

LOGIN = [b"USER=anna", b"IP=192.0.2.10", b"AUTH_TOKEN=secret"]
ENVIRONMENTS = [
    LOGIN,
    [],
    [*LOGIN, b"LC_CTYPE=C"],
    [*LOGIN, b"LC_CTYPE=POSIX", b"LANG=de_DE.UTF-8"],
    [b"LC_CTYPE=", *LOGIN],
    [*LOGIN, b"LC_CTYPE=xx_YY"],
    [*LOGIN, b"LC_CTYPE=C.UTF-8"],
    [*LOGIN, b"LC_ALL=C"],
    [*LOGIN, b"LC_ALL=", b"LANG="],
    [*LOGIN, b"LANG=C.UTF-8"],
    # What only a hostile parent makes: twice the same, no name, no value, no text.
    [b"USER=anna", b"USER=bob", b"=x", b"nothing", b"", b"\xff=\xfe", b"A=1\n2", *LOGIN],
]


def executed(words: list[bytes], environment: list[bytes], output: Path) -> int | None:
    """Execute a program with exactly this environment; return its code."""

    def child() -> None:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.closerange(3, 1000)
        arguments = (ctypes.c_char_p * (len(words) + 1))(*words, None)
        variables = (ctypes.c_char_p * (len(environment) + 1))(*environment, None)
        ctypes.CDLL(None).execve(words[0], arguments, variables)

    ended = in_child(child, seconds=PATIENCE)
    assert ended.output == b""
    return ended.code


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_its_environment_is_that_of_the_hook(tmp_path: Path, environment: list[bytes]) -> None:
    """Byte for byte: CPython changes LC_CTYPE in its own environment."""
    with listening(tmp_path / "hook") as sender:
        hook = [os.fsencode(HOOK), b"--socket", os.fsencode(sender.path), b"--login", b"--"]
        command = [b"/bin/cat", b"/proc/self/environ"]
        assert executed([*hook, *command], environment, tmp_path / "output") == 0
        assert (tmp_path / "output").read_bytes() == b"".join(e + b"\0" for e in environment)
        assert len(sender.all()) == (b"IP=192.0.2.10" in environment)


@pytest.mark.parametrize("python", INTERPRETERS.values(), ids=INTERPRETERS)
@pytest.mark.parametrize("environment", [[], [*LOGIN, b"LC_CTYPE=C"], [*LOGIN, b"LC_ALL=C"]])
def test_so_it_is_with_every_interpreter(
    tmp_path: Path, python: Path, environment: list[bytes]
) -> None:
    command = [os.fsencode(python), b"-IS", os.fsencode(HOOK), b"--", b"/bin/cat",
               b"/proc/self/environ"]  # fmt: skip
    assert executed(command, environment, tmp_path / "output") == 0
    assert (tmp_path / "output").read_bytes() == b"".join(e + b"\0" for e in environment)


def test_without_proc_a_variable_that_was_not_there_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "hold").mkdir()
    through = private(tmp_path / "hold", proc=False)
    for environment in ({}, {"LC_ALL": "C"}, {"LC_ALL": "C", "LC_CTYPE": "C.UTF-8"}):
        process = start("alice", "--", "/usr/bin/env", env=environment, through=through)
        with process:
            output, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (0, b"")
        found = dict(line.split("=", 1) for line in output.decode().splitlines())
        assert {k: v for k, v in found.items() if k.startswith("LC_")} == environment


LOOK = """
exec 2>&1
echo "$$ $PPID $0 $*"; pwd; umask; ulimit -a
grep -E 'Sig[^Q]|Groups|Uid|Gid|Cap|NoNew|Seccomp:' /proc/self/status
for place in /proc/$$/fd/*; do echo "$place"; readlink "$place" || :; done
"""


def ignoring() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM})
    os.umask(0o027)


def test_descriptors_signals_and_all_else_are_those_of_the_hook(tmp_path: Path) -> None:
    """It is the same process, with the same parent."""
    reader, writer = os.pipe()
    looking = ["/bin/sh", "-c", LOOK, "name", "a b", "", "\n", "--login", "--"]
    with listening(tmp_path / "hook") as sender:
        hook = [HOOK, "--socket", str(sender.path), "alice", "--"]
        found = []
        for words in (looking, [*hook, *looking], [*hook[:-1], "--nonsense", "--", *looking]):
            with subprocess.Popen(
                words, stdin=reader, stdout=subprocess.PIPE, cwd=tmp_path, pass_fds=[writer],
                preexec_fn=ignoring,  # noqa: PLW1509
            ) as process:  # fmt: skip
                output = process.communicate(timeout=PATIENCE)[0].decode()
            assert process.returncode == 0
            pid, rest = output.split(" ", 1)
            assert int(pid) == process.pid
            # The number of the process stands in the paths, and each run has another output.
            rest = rest.replace(f"/proc/{pid}/", "")
            found.append(re.sub(r"pipe:\[\d+\]", "pipe", rest))
        assert sender.all() == [b"new alice\n"]
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert f"fd/{writer}\npipe\n" in found[0]
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    "words",
    [["--nonsense"], ["--login"], ["a b"], [], ["--folder", ""], ["--socket", "/nowhere", "alice"],
     ["alice", "--unless-spam"]],
    ids=str,
)  # fmt: skip
def test_the_command_starts_whatever_happened_before(words: list[str]) -> None:
    """A login must go on."""
    for code in (0, 7):
        with start(*words, "--", "/bin/sh", "-c", f"echo on; exit {code}") as process:
            output, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, output, errors) == (code, b"on\n", b"")


def test_a_name_without_a_slash_is_looked_up(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    program = tmp_path / "folder" / "program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    (tmp_path / "program").write_text("#!/bin/sh\necho wrong\n")
    (tmp_path / "program").chmod(0o755)
    path = f":/nowhere:{tmp_path}/folder"
    with start("alice", "--", "program", env={"PATH": path}, cwd=tmp_path) as process:
        assert process.communicate(timeout=PATIENCE)[0] == b"found\n"
    for variables, code in (({}, 0), ({"PATH": "/nowhere"}, 75)):
        with start("alice", "--", "true", env=variables) as process:
            assert process.communicate(timeout=PATIENCE) == (b"", b"")
        assert process.returncode == code


def test_the_next_hook_may_be_the_command(tmp_path: Path) -> None:
    with listening(tmp_path / "hook") as sender:
        at = [HOOK, "--socket", str(sender.path)]
        with start(*at[1:], "a", "--", *at, "b", "--", *at, "c") as process:
            assert process.communicate(timeout=PATIENCE) == (b"", b"")
        assert process.returncode == 0
        assert sender.all() == [b"new a\n", b"new b\n", b"new c\n"]

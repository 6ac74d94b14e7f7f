"""What a command inherits, what it does not, and the message if it cannot be started."""

import os
import resource
import shutil
import signal
import sys
from itertools import combinations
from pathlib import Path

import pytest
import trio
from agent.commands import Run, forgotten, python
from harness import child
from harness.sender import PATIENCE

from mailbell.agent._child import start


async def told(argv: list[str], environ: dict[str, str] | None = None) -> list[str]:
    """Return the output of a command."""
    once = Run()
    ended = await once(argv, environ)
    assert ended.code == 0, once.lines
    return [line.decode() for line in once.lines]


async def problem(argv: list[str], environ: dict[str, str] | None = None) -> str:
    """Return the message for a command that cannot be started."""
    ended = await Run()(argv, environ)
    assert (ended.code, ended.signal) == (None, None)
    assert ended.problem.isprintable()
    return ended.problem


# --- what it is given ----------------------------------------------------------


async def test_arguments_arrive_as_they_are() -> None:
    arguments = ["$HOME", "`id`", "a b", "*", "", ";", "|", "--", "\udcff", "ü\n"]
    assert await told(python("say(ascii(sys.argv[1:]))", *arguments)) == [ascii(arguments)]


async def test_its_environment_is_the_one_it_is_given() -> None:
    environ = {"MAILBELL_ACCOUNT": "work", "EMPTY": "", "ODD": "a=b\nü\udcff"}
    # Python changes its own environment; this is the one that the kernel got.
    (line,) = await told(
        python("say(ascii(open('/proc/self/environ', 'rb').read().split(b'\\0')[:-1]))"), environ
    )
    given = [os.fsencode(f"{name}={value}") for name, value in environ.items()]
    assert line == ascii(given)


async def test_its_input_is_at_its_end() -> None:
    assert await told(python("say(repr(sys.stdin.read()))")) == ["''"]


async def test_it_leads_a_session_and_a_group_of_its_own() -> None:
    (line,) = await told(python("say(len({os.getpid(), os.getsid(0), os.getpgrp()}))"))
    assert line == "1"


async def test_it_has_no_descriptors_but_the_standard_ones() -> None:
    reader, writer = os.pipe()
    try:
        os.set_inheritable(writer, True)
        lines = await told(
            python("""
                for name in sorted(os.listdir("/proc/self/fd")):
                    try:
                        say(f"{name} {os.readlink('/proc/self/fd/' + name)}")
                    except OSError:
                        pass  # the listing's own
            """)
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert lines[0] == "0 /dev/null"
    assert [line.partition(":")[0] for line in lines[1:]] == ["1 pipe", "2 pipe"]
    assert lines[1][1:] == lines[2][1:]


MISSING = [numbers for length in (1, 2, 3) for numbers in combinations((0, 1, 2), length)]


@pytest.mark.parametrize("missing", MISSING, ids=str)
def test_it_has_the_standard_ones_also_when_we_have_not(missing: tuple[int, ...]) -> None:
    code = "os.write(1, ascii([os.readlink(f'/proc/self/fd/{n}')[:9] for n in range(3)]).encode())"

    def inside() -> bytes:
        saved = os.dup(2)
        for number in missing:
            os.close(number)
        command = start(python(code), os.environ, kill_after=PATIENCE)
        trio.run(command.listen)
        assert (command.code, command.signal, command.problem) == (0, None, "")
        said = os.read(command.output, 1024)
        os.close(command.output)
        os.dup2(saved, 2)
        return said

    ended = child.run(inside)
    assert ended.error is None
    said = ended.value.decode()
    assert said.startswith("['/dev/null', 'pipe:[")
    assert said.count("'pipe:[") == 2


def test_whatever_is_ignored_or_blocked_here_is_not_there() -> None:
    """Also SIGCHLD: if it is ignored, the kernel does not tell how a command ended."""
    cat = shutil.which("cat")
    assert cat  # Python is not used: it ignores some signals by itself

    def inside() -> list[bytes]:
        ours = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
        for number in ours:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ours)
        once = Run()

        async def look() -> int | None:
            return (await once([cat, "/proc/self/status"])).code

        assert trio.run(look) == 0
        return once.lines

    ended = child.run(inside)
    assert ended.error is None
    masks = dict(line.split(b":\t") for line in ended.value if line.startswith(b"Sig"))
    # Two numbers between the others belong to the C library, which ignores them here.
    known = sum(1 << number - 1 for number in signal.valid_signals())
    for name in (b"SigBlk", b"SigIgn"):
        assert int(masks[name], 16) & known == 0, name


# --- where it is found ---------------------------------------------------------


def program(path: Path, text: str = "", mode: int = 0o755) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text or f"#!{sys.executable} -IS\nimport sys; print(sys.argv[0])\n")
    path.chmod(mode)
    return str(path)


async def test_it_is_the_first_in_path_that_can_be_executed(tmp_path: Path) -> None:
    (tmp_path / "0" / "fetch").mkdir(parents=True)
    program(tmp_path / "1" / "fetch", mode=0o644)
    found = program(tmp_path / "2" / "fetch")
    program(tmp_path / "3" / "fetch")
    path = ":".join(str(tmp_path / name) for name in "0123")
    assert await told(["fetch"], {"PATH": path}) == [found]


async def test_without_path_it_is_looked_for_where_systems_have_programs() -> None:
    assert (await told(["cat", "/proc/self/cmdline"], {}))[0].startswith("cat\0")


# --- what cannot be started ----------------------------------------------------


async def test_a_program_that_is_not_in_path(tmp_path: Path) -> None:
    for path in ("", str(tmp_path), "/nonexistent"):
        assert (
            await problem(["fetch"], {"PATH": path})
            == "fetch: not found in PATH; install it, or give its full path"
        )


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    file = program(tmp_path / "file")
    for path in (f"{tmp_path}/fetch", f"{file}/fetch"):
        assert (await problem([path])).endswith(": no such file; correct the path, or install it")


async def test_a_program_that_may_not_be_executed(tmp_path: Path) -> None:
    path = program(tmp_path / "fetch", mode=0o644)
    expected = f"{path}: may not be executed; make it executable (chmod +x) and reachable"
    assert await problem([path]) == expected
    assert await problem(["fetch"], {"PATH": str(tmp_path)}) == expected


async def test_a_directory(tmp_path: Path) -> None:
    assert await problem([str(tmp_path)]) == f"{tmp_path}: is a directory; name a program"


async def test_a_script_is_never_given_to_a_shell(tmp_path: Path) -> None:
    path = program(tmp_path / "fetch", f"echo > {tmp_path}/made\n")
    assert await problem([path]) == (
        f"{path}: is no program; begin a script with #! and its interpreter"
    )
    assert not (tmp_path / "made").exists()


async def test_a_script_whose_interpreter_is_missing(tmp_path: Path) -> None:
    path = program(tmp_path / "fetch", "#!/nonexistent/python\n")
    assert await problem([path]) == (
        f"{path}: its interpreter is missing; correct its first line, or install that"
    )


async def test_arguments_that_are_too_long() -> None:
    text = await problem([sys.executable, "x" * 200_000])
    assert text.endswith(": arguments and environment are too long; shorten them")


async def test_what_no_program_can_be_given() -> None:
    assert "null byte, in an argument or in the environment" in await problem(["cat", "a\0b"])
    assert (await problem(["cat"], {"A": "\0"})).endswith("; remove it")
    assert (await problem(["cat"], {"A=B": ""})).endswith("; remove it")
    assert (await problem(["ca\0t"])).startswith(r"ca\x00t: ")
    assert (await problem(["cat", "\ud800"])).endswith("; remove it")


async def test_a_path_in_a_problem_can_do_no_harm(tmp_path: Path) -> None:
    text = await problem(["\x1b[2J\n" + "x" * 5_000])
    assert text.startswith(r"\x1b[2J\nxxx")
    assert len(text) < 256


def test_without_processes_there_is_a_problem() -> None:
    """The limit holds for ordinary users only."""

    def inside() -> str:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        once = Run()

        async def attempt() -> str:
            return (await once(["cat"])).problem

        return trio.run(attempt)

    ended = child.run(inside)
    assert ended.error is None
    assert ended.value.endswith(
        "/cat: no more processes can be started; raise ulimit -u or TasksMax="
    )


async def test_one_that_could_not_be_started_has_left_nothing() -> None:
    before, ended = os.listdir("/proc/self/fd"), forgotten()
    await problem(["/nonexistent"])
    await problem(["cat", "\0"])
    assert os.listdir("/proc/self/fd") == before
    assert forgotten() <= ended

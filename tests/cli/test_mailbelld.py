"""mailbelld's command line, configuration file and errors. The daemon itself is replaced."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
from cli.support import Run
from harness import child
from system.support import program

from mailbell import __version__
from mailbell.cli import _file, mailbelld
from mailbell.core.errors import MailbellError
from mailbell.listener.configuration import Configuration


@pytest.fixture(autouse=True)
def _no_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_file, "DEFAULT_PATH", str(tmp_path / "default.toml"))
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Configuration]:
    """The configurations with which the daemon was started."""
    started: list[Configuration] = []
    monkeypatch.setattr("mailbell.listener.daemon.run", started.append)
    return started


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(_: Configuration) -> None:
        raise error

    monkeypatch.setattr("mailbell.listener.daemon.run", run)


def test_without_a_word_the_defaults_are_taken(started: list[Configuration]) -> None:
    assert mailbelld.run([]) == 0
    assert started == [Configuration()]


def test_the_default_file_is_read_when_it_is_there(
    started: list[Configuration], tmp_path: Path
) -> None:
    (tmp_path / "default.toml").write_text("[limits]\nburst = 3\n")
    assert mailbelld.run([]) == 0
    assert started[0].limits.burst == 3


def test_the_command_line_has_the_last_word(started: list[Configuration], tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text('[listen]\ntcp = ["192.0.2.1:79"]\nuser = "a"\n[limits]\nburst = 3\n')
    words = ["--config", str(file), "--listen", "127.0.0.1:1", "--listen", "[::1]:2"]
    words += ["--udp", "127.0.0.1:3", "--user", "b", "--socket", "/run/x/s"]
    assert mailbelld.run(words) == 0
    (configuration,) = started
    assert [str(endpoint) for endpoint in configuration.listen.tcp] == ["127.0.0.1:1", "[::1]:2"]
    assert [str(endpoint) for endpoint in configuration.listen.udp] == ["127.0.0.1:3"]
    assert configuration.listen.user == "b"
    assert configuration.socket.path == "/run/x/s"
    assert configuration.limits.burst == 3


@pytest.mark.parametrize(
    "words", [["--loud"], ["here"], ["--config"], ["--list", "127.0.0.1:1"], ["--udp"]]
)
def test_a_wrong_command_line_is_one_line_and_64(
    started: list[Configuration], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert mailbelld.run(words) == 64
    err = capsys.readouterr().err
    assert err.startswith("mailbelld: ")
    assert err.endswith("see 'mailbelld --help'\n")
    assert err.count("\n") == 1
    assert started == []


def test_a_named_file_must_be_there(
    started: list[Configuration], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "none.toml"
    assert mailbelld.run(["--config", str(path)]) == 78
    assert capsys.readouterr().err.startswith(f"mailbelld: {path}: no such file; ")
    assert started == []


def test_a_directory_is_no_file(
    started: list[Configuration], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert mailbelld.run(["--config", str(tmp_path)]) == 78
    assert "Is a directory" in capsys.readouterr().err


def test_a_file_that_may_not_be_read_is_77(
    monkeypatch: pytest.MonkeyPatch, started: list[Configuration]
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "no")

    # root may read every file, so the system's error is simulated
    monkeypatch.setattr("builtins.open", refuse)
    assert mailbelld.run([]) == 77
    assert started == []


def test_a_file_without_end_is_not_read_to_its_end(
    started: list[Configuration], capsys: pytest.CaptureFixture[str]
) -> None:
    assert mailbelld.run(["--config", "/dev/zero"]) == 78
    assert started == []


def test_every_problem_has_its_line_and_its_place(
    started: list[Configuration], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "f.toml"
    path.write_text('[limits]\nrate = "often"\nburst = 0\n')
    assert mailbelld.run(["--config", str(path), "--listen", "here"]) == 78
    *problems, last = capsys.readouterr().err.splitlines()
    places = {problem.split(" ")[1] for problem in problems}
    assert places == {f"{path}:", "--listen:"}
    assert any(f"{path}: limits.rate: " in problem for problem in problems)
    assert any(f"{path}: limits.burst: " in problem for problem in problems)
    assert last.startswith("mailbelld: 3 problems")
    assert started == []


@pytest.mark.parametrize("kind", MailbellError.__subclasses__())
def test_the_exit_code_is_the_errors(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: type[MailbellError],
) -> None:
    _fail_with(monkeypatch, kind("port \x1b[2J taken", "stop it"))
    assert mailbelld.run([]) == kind.exit_code
    assert capsys.readouterr().err == "mailbelld: port \\x1b[2J taken; stop it\n"


def test_under_the_journal_an_error_has_no_prefix_for_its_level(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert mailbelld.run(["--loud"]) == 64
    assert capsys.readouterr().err.startswith("mailbelld: ")


def test_what_nobody_expected_is_a_bug_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, ZeroDivisionError("oh"))
    assert mailbelld.run([]) == 70
    traceback, last = capsys.readouterr().err.rsplit("\nmailbelld: ", 1)
    assert traceback.startswith("Traceback")
    assert last == "this is a bug in mailbelld: ZeroDivisionError: oh; please report it\n"


@pytest.mark.parametrize("place", ["itself", "in a group", "the cause", "what was being handled"])
def test_no_memory_is_no_bug(place: str) -> None:
    """The process ends at once, so this needs a real process."""

    def run() -> None:
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - the life of the child
        _fail_with(pytest.MonkeyPatch(), without_memory(place))
        mailbelld.run([])

    ended = child.run(run)
    assert ended.code == 71
    assert ended.output == (
        b"mailbelld: there is no more memory; raise LimitDATA= and MemoryMax= of the unit, "
        b"or lower limits.sources, limits.connections and socket.subscribers\n"
    )


def without_memory(place: str) -> Exception:
    if place == "itself":
        return MemoryError()
    if place == "in a group":
        inner = ExceptionGroup("", [ValueError("another"), MemoryError()])
        return ExceptionGroup("of a nursery", [ValueError("one"), inner])
    error = RuntimeError("something inside of Trio")
    if place == "the cause":
        error.__cause__ = MemoryError()
    else:
        error.__context__ = MemoryError()
    return error


def _closed_pipe() -> IO[bytes]:
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "wb", buffering=0)


def _full_disk() -> IO[bytes]:
    return open("/dev/full", "wb", buffering=0)


OUTPUTS = {"a closed pipe": _closed_pipe, "a full disk": _full_disk}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(
    ("words", "code"), [(["--bogus"], 64), (["--config", "/nonexistent/file"], 78)]
)
def test_the_exit_code_does_not_depend_on_who_reads(
    words: list[str], code: int, output: str
) -> None:
    with OUTPUTS[output]() as stderr:
        done = subprocess.run(
            program("mailbelld", *words), stdin=subprocess.DEVNULL, stderr=stderr, check=False
        )
    assert done.returncode == code


# The interpreter itself writes to standard error about an error that it ignores.
IGNORED = """
import sys
from mailbell.cli import {module}

class Dropped:
    def __del__(self):
        raise ValueError("ignored")

def run(_words):
    Dropped()
    return {code}

{begin}
"""
BEGIN = {
    "mailbelld": "mailbelld.run = run; mailbelld.main()",
    "mailbell_sender": "mailbell_sender.run = run; mailbell_sender.main()",
    "_group": "_group.run = run; from mailbell import cli; cli.main()",
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("code", [0, 71])
@pytest.mark.parametrize("module", BEGIN)
def test_nor_on_what_the_interpreter_says(module: str, code: int, output: str) -> None:
    text = IGNORED.format(module=module, code=code, begin=BEGIN[module])
    with OUTPUTS[output]() as stderr:
        done = subprocess.run([sys.executable, "-c", text], stderr=stderr, check=False)
    assert done.returncode == code


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_message_that_cannot_be_written_goes_nowhere_else(output: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("[limits]\nx = 1\n")  # two lines are to be said
    with OUTPUTS[output]() as stderr:
        done = subprocess.run(
            program("mailbelld", "--config", str(file)),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (78, b"")


@pytest.mark.parametrize(
    ("output", "said"),
    [("a closed pipe", ""), ("a full disk", "standard output: No space left on device")],
)
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_that_cannot_be_written_is_no_bug(option: str, output: str, said: str) -> None:
    with OUTPUTS[output]() as stdout:
        done = subprocess.run(
            program("mailbelld", option),
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 71
    assert done.stderr == (f"mailbelld: {said}\n" if said else "")


def test_the_help_names_the_default_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert mailbelld.run(["--help"]) == 0
    out = capsys.readouterr().out
    assert f"  --config FILE       default: {_file.DEFAULT_PATH}, if it exists\n" in out


def test_ctrl_c_before_it_serves_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, KeyboardInterrupt())
    assert mailbelld.run([]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_word_that_is_no_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert mailbelld.run(["here"]) == 64
    assert "mailbelld: here: mailbelld takes options only; see" in capsys.readouterr().err


def test_help_and_version(run: Run) -> None:
    for option in ("-h", "--help"):
        result = run("mailbelld", option)
        assert result.returncode == 0
        assert "examples:\n  mailbelld" in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80
    for option in ("-V", "--version"):
        assert run("mailbelld", option).stdout == f"mailbelld {__version__}\n"


def test_what_the_system_refuses_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, ExceptionGroup("of a nursery", [OSError(errno.ENOBUFS, "refused")]))
    assert mailbelld.run([]) == 71
    said = capsys.readouterr().err
    refusal = "mailbelld: the system refused what cannot be done without: refused; see what"
    assert said.startswith(refusal)
    assert said.count("\n") == 1

"""The help, the errors and the end that all commands have in common."""

import os
import signal
import subprocess
import sys
from typing import Any

import click
import pytest
from cli.support import FakeDaemon, Run, Start, a_notification
from cli.support import words as program

from mailbell import __version__
from mailbell.cli import _group, notify
from mailbell.core.errors import ConfigurationError, MailbellError, Problem, TemporaryError

_COMMANDS = [
    *("run", "clients", "watch", "top", "status", "send", "notify", "check", "policy", "sender")
]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `mailbell notify` end with an error."""

    def fail(error: BaseException) -> int:
        def command() -> None:
            raise error

        monkeypatch.setattr(notify, "command", click.command()(command))
        return _group.run(["notify"])

    return fail


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", _COMMANDS)
def test_every_help_has_examples(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _group.run([command, option]) == 0
    text = capsys.readouterr().out
    assert "  Examples:\n" in text
    assert f"    mailbell {command}" in text
    assert "\b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_help_names_every_command_and_the_completion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _group.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {command} " in text for command in _COMMANDS)
    assert 'eval "$(_MAILBELL_COMPLETE=bash_source mailbell)"' in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there(run: Run, environment: dict[str, str], shell: str) -> None:
    # click asks bash for its version
    environment["_MAILBELL_COMPLETE"] = f"{shell}_source"
    result = run("mailbell")
    assert result.returncode == 0
    assert "_MAILBELL_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    "line", [["notify", "w"], ["watch", "--account", "w"], ["notify", "--socket", "PATH", "w"]]
)
def test_accounts_complete(
    run: Run, environment: dict[str, str], daemon: FakeDaemon, line: list[str]
) -> None:
    path = environment["MAILBELL_SOCKET"]
    if "PATH" in line:
        environment["MAILBELL_SOCKET"] = path + "-elsewhere"
    typed = " ".join(["mailbell", *line]).replace("PATH", path)
    environment |= {
        "_MAILBELL_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    assert run("mailbell").stdout == "plain,work\n"


def test_a_name_that_a_shell_would_act_on_does_not_complete(
    run: Run, environment: dict[str, str], daemon: FakeDaemon
) -> None:
    """No mailbelld has such a name, so nothing of the whole status is believed."""
    good = daemon.status["accounts"]
    environment |= {
        "_MAILBELL_COMPLETE": "bash_complete",
        "COMP_WORDS": "mailbell notify w",
        "COMP_CWORD": "2",
    }
    assert run("mailbell").stdout == "plain,work\n"
    for name in ("w$(id)", "w;id", "w id", "w\n"):
        daemon.status["accounts"] = [*good, {"name": name, "count": 0}]
        assert run("mailbell").stdout == "\n"


def test_without_a_daemon_nothing_completes(run: Run, environment: dict[str, str]) -> None:
    environment |= {
        "_MAILBELL_COMPLETE": "bash_complete",
        "COMP_WORDS": "mailbell notify w",
        "COMP_CWORD": "2",
    }
    result = run("mailbell")
    assert (result.stdout.strip(), result.stderr) == ("", "")


def test_the_version(run: Run) -> None:
    assert run("mailbell", "--version").stdout == f"mailbell {__version__}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["ring"], "No such command 'ring'; see"),
        (["statsu"], "No such command 'statsu'; perhaps 'status'; see"),
        (["watch", "--count", "x"], "'x' is not a valid whole number"),
        (["watch", "--timeout", "x"], "'x' is not a valid number of seconds"),
        (["status", "--socket", ""], "write a path of at most 107 bytes"),
        (["send", "127.0.0.1:x"], "'x' is no port; write a number from 1 to 65535"),
        (["--loud"], "No such option"),
        (["send"], "Missing argument 'HOST[:PORT]'"),
        (["notify", "a", "b"], "unexpected extra argument"),
        (["watch", "--count", "0"], "--count"),
        (["watch", "--timeout", "0"], "--timeout"),
        (["watch", "--timeout", "nan"], "--timeout"),
        (["send", "x", "--timeout", "inf"], "--timeout"),
        (["status", "--json", "--prometheus"], "exclude each other"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_64(
    line: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _group.run(line) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mailbell: ")
    assert said in err
    assert err.count("\n") == 1


def test_no_command_is_64(run: Run) -> None:
    result = run("mailbell")
    assert result.returncode == 64
    assert result.stdout == ""
    # The whole help as with --help, and not the single line of an error.
    assert result.stderr == run("mailbell", "--help").stdout


@pytest.mark.parametrize("kind", MailbellError.__subclasses__())
def test_a_known_error_is_one_line_and_its_code(
    failing: Any, kind: type[MailbellError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(kind("no\x1b[2J bell", "buy one")) == kind.exit_code
    assert capsys.readouterr().err == "mailbell: no\\x1b[2J bell; buy one\n"


def test_every_problem_of_a_configuration_is_told(
    failing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = (Problem("limits.rate", "no rate"), Problem("listen", "no listener"))
    assert failing(ConfigurationError("2 problems", "correct them", problems)) == 78
    assert capsys.readouterr().err.splitlines() == [
        "mailbell: limits.rate: no rate",
        "mailbell: listen: no listener",
        "mailbell: 2 problems; correct them",
    ]


def test_an_unknown_error_is_a_bug_with_its_traceback(
    failing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(ZeroDivisionError("oh\nno")) == 70
    *traceback, last = capsys.readouterr().err.splitlines()
    assert traceback[0].startswith("Traceback")
    assert last == (
        "mailbell: this is a bug in mailbell: ZeroDivisionError: oh no; please report it"
    )


def test_a_full_disk_is_a_system_error(run: Run, daemon: FakeDaemon) -> None:
    with open("/dev/full", "w") as full:
        result = run("mailbell", "status", "--json", stdout=full)
    assert (result.returncode, result.stderr) == (
        71,
        "mailbell: cannot write the output: No space left on device\n",
    )


@pytest.mark.parametrize("command", ["watch", "status"])
def test_a_broken_pipe_ends_quietly(start: Start, daemon: FakeDaemon, command: str) -> None:
    daemon.scripts = [[a_notification()]]
    reader, writer = os.pipe()
    os.close(reader)
    process = start("mailbell", command, stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 128 + signal.SIGPIPE


def test_ctrl_c_ends_quietly(start: Start, daemon: FakeDaemon) -> None:
    daemon.scripts = [[a_notification()]]
    process = start("mailbell", "watch")
    assert process.stdout is not None
    process.stdout.readline()  # now it waits for the next notification
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 128 + signal.SIGINT


def test_an_error_that_cannot_be_told_keeps_its_code(failing: Any) -> None:
    class Closed:
        def write(self, _: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None: ...

    for error, code in ((TemporaryError("late"), 75), (ZeroDivisionError(), 70)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stderr", Closed())
            assert failing(error) == code


@pytest.mark.parametrize(
    ("words", "code"), [(["--bogus"], 64), (["status", "--socket", "/nonexistent/s"], 69)]
)
def test_the_exit_code_does_not_depend_on_who_reads(words: list[str], code: int) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        done = subprocess.run(program("mailbell", *words), stderr=full, check=False)
    assert done.returncode == code


# A command ends in each of the ways, and something is left for a stream that takes nothing.
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("return 69", 69),
        ("sys.exit(129)", 129),  # as the screen of `mailbell top` does on SIGHUP
        ("raise KeyboardInterrupt", 130),
    ],
)
def test_what_is_left_at_the_end_does_not_change_the_code(stream: str, end: str, code: int) -> None:
    command = (
        "import sys\n"
        "from mailbell.cli import _group, main\n"
        "def run(_):\n"
        f"    sys.{stream}.write('left')\n"
        f"    {end}\n"
        "_group.run = run\n"
        "main()\n"
    )
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    with open("/dev/full", "wb", buffering=0) as full:
        done = subprocess.run(
            [sys.executable, "-c", command],
            env=environment,
            stdout=full if stream == "stdout" else subprocess.PIPE,
            stderr=full if stream == "stderr" else subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stdout or b"", done.stderr or b"") == (code, b"", b"")

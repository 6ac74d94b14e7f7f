"""The daemon's door: command line, configuration file, errors. The daemon itself is replaced."""

import os
from pathlib import Path
from typing import Any

import pytest
from cli.support import Run

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
    """The configurations the daemon was started with."""
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

    # root may read anything, so the system's answer is played
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


def test_under_the_journal_an_error_has_its_level(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert mailbelld.run(["--loud"]) == 64
    assert capsys.readouterr().err.startswith("<3>mailbelld: ")


def test_what_nobody_expected_is_a_bug_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, ZeroDivisionError("oh"))
    assert mailbelld.run([]) == 70
    traceback, last = capsys.readouterr().err.rsplit("\nmailbelld: ", 1)
    assert traceback.startswith("Traceback")
    assert last == "this is a bug in mailbelld: ZeroDivisionError: oh; please report it\n"


def test_ctrl_c_before_it_serves_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, KeyboardInterrupt())
    assert mailbelld.run([]) == 130
    assert capsys.readouterr() == ("", "")


def test_help_and_version(run: Run) -> None:
    for option in ("-h", "--help"):
        result = run("mailbelld", option)
        assert result.returncode == 0
        assert "examples:\n  mailbelld" in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80
    assert run("mailbelld", "--version").stdout == f"mailbelld {__version__}\n"

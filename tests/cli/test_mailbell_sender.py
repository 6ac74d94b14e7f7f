"""mailbell-sender's command line, configuration file and errors. The daemon itself is replaced."""

import os
from pathlib import Path

import pytest

from mailbell import __version__
from mailbell.cli import _sender_file, mailbell_sender
from mailbell.sender.configuration import Configuration

SEE = "see 'mailbell-sender --help'"
TOML = '[[account]]\nname = "anna"\ntargets = ["127.0.0.1:9"]\n'


@pytest.fixture(autouse=True)
def _no_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_sender_file, "DEFAULT_PATH", str(tmp_path / "default.toml"))
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Configuration]:
    """The configurations with which the daemon was started."""
    started: list[Configuration] = []
    monkeypatch.setattr("mailbell.sender.daemon.run", started.append)
    return started


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sender.toml"
    path.write_text(TOML)
    return path


def names(started: list[Configuration]) -> list[list[str]]:
    return [[account.name for account in configuration.account] for configuration in started]


def test_without_a_word_the_default_file_is_read(
    started: list[Configuration], tmp_path: Path
) -> None:
    (tmp_path / "default.toml").write_text(TOML)
    assert mailbell_sender.run([]) == 0
    assert names(started) == [["anna"]]


@pytest.mark.parametrize(
    "words", [["--config", "{}"], ["--config={}"], ["--config=no", "--config={}"]]
)
def test_a_file_may_be_named_and_the_last_name_counts(
    started: list[Configuration], file: Path, words: list[str]
) -> None:
    assert mailbell_sender.run([word.format(file) for word in words]) == 0
    assert names(started) == [["anna"]]


def test_a_path_may_contain_an_equals_sign(started: list[Configuration], tmp_path: Path) -> None:
    (tmp_path / "a=b=c").write_text(TOML)
    assert mailbell_sender.run([f"--config={tmp_path}/a=b=c"]) == 0
    assert names(started) == [["anna"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["here"], "here: mailbell-sender takes options only"),
        (["--loud"], "--loud: no such option"),
        (["--help=now"], "--help: no such option"),
        (["-V=1"], "-V: no such option"),
        (["--config"], "--config: its value is missing"),
        (["--config", "a", "--config"], "--config: its value is missing"),
        (["--config", "a", "here"], "here: mailbell-sender takes options only"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_64(
    started: list[Configuration],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert mailbell_sender.run(words) == 64
    assert capsys.readouterr().err == f"mailbell-sender: {message}; {SEE}\n"
    assert started == []


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_the_help_names_the_default_file(
    started: list[Configuration], capsys: pytest.CaptureFixture[str], word: str, tmp_path: Path
) -> None:
    assert mailbell_sender.run(["--config", "/nowhere", word, "--loud"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: mailbell-sender [--config FILE]\n")
    assert f"default: {tmp_path}/default.toml, if it exists\n" in out
    assert started == []


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_the_version(
    started: list[Configuration], capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert mailbell_sender.run([word]) == 0
    assert capsys.readouterr().out == f"mailbell-sender {__version__}\n"
    assert started == []


def test_a_missing_file_is_no_start(
    started: list[Configuration], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert mailbell_sender.run(["--config", f"{tmp_path}/none.toml"]) == 78
    assert capsys.readouterr().err.startswith(f"mailbell-sender: {tmp_path}/none.toml: ")
    assert started == []


def test_a_bug_names_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    def run(_: Configuration) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("mailbell.sender.daemon.run", run)
    assert mailbell_sender.run(["--config", str(file)]) == 70
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "mailbell-sender: this is a bug in mailbell-sender: ZeroDivisionError: oh; please report it"
    )


def test_without_memory_it_says_what_to_raise_and_to_lower(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], file: Path
) -> None:
    class Ended(BaseException):
        pass

    def end(code: int) -> None:
        raise Ended(code)

    def run(_: Configuration) -> None:
        raise MemoryError

    monkeypatch.setattr("mailbell.sender.daemon.run", run)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(Ended, match="71"):
        mailbell_sender.run(["--config", str(file)])
    assert capfd.readouterr().err == (
        "mailbell-sender: there is no more memory; raise LimitDATA= and MemoryMax= of the unit, or "
        "lower send.connections and last_used.addresses\n"
    )

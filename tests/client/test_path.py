from pathlib import Path

import pytest

from mailbell.client import _path, default_path
from mailbell.client._path import default_places


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MAILBELL_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setattr(_path, "SYSTEM_PATH", str(tmp_path / "mailbell.sock"))


def test_the_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(_path.SYSTEM_PATH).touch()
    monkeypatch.setenv("MAILBELL_SOCKET", "/elsewhere")
    assert default_path() == "/elsewhere"


def test_then_the_system_socket() -> None:
    Path(_path.SYSTEM_PATH).touch()
    assert default_path() == _path.SYSTEM_PATH


def test_then_the_users() -> None:
    assert default_path() == "/run/user/1000/mailbell/mailbell.sock"


def test_with_nothing_to_go_by_the_error_names_the_system_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setenv("MAILBELL_SOCKET", "")
    assert default_path() == _path.SYSTEM_PATH


@pytest.mark.parametrize("value", ["", ".", "run", "./run", "~/run", "\x20/run"])
def test_a_runtime_folder_that_is_not_absolute_is_ignored(
    value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The XDG Base Directory Specification requires it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert default_places() == (_path.SYSTEM_PATH,)
    assert default_path() == _path.SYSTEM_PATH


def test_every_place_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    users = "/run/user/1000/mailbell/mailbell.sock"
    assert default_places() == (_path.SYSTEM_PATH, users)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_places() == (_path.SYSTEM_PATH,)
    monkeypatch.setenv("MAILBELL_SOCKET", "/elsewhere")
    assert default_places() == ("/elsewhere",)


def test_the_system_path_is_the_documented_one() -> None:
    source = Path(_path.__file__).read_text()
    assert 'SYSTEM_PATH = "/run/mailbell/mailbell.sock"' in source

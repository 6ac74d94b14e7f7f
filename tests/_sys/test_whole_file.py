"""A file appears whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from mailbell._sys.whole_file import is_being_written, replace_file


def test_it_has_its_mode_whatever_the_umask_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for umask, mode in ((0o077, 0o644), (0o000, 0o600)):
        before = os.umask(umask)
        try:
            replace_file(str(path), b"data", mode)
        finally:
            os.umask(before)
        assert (path.read_bytes(), path.stat().st_mode & 0o7777) == (b"data", mode)
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_of_the_old_file_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        replace_file(str(path), b"new", 0o644)
        assert (reader.read(), path.read_bytes()) == (b"old", b"new")


@pytest.mark.parametrize("call", ["fchmod", "fsync", "replace"])
def test_an_error_names_the_file_and_leaves_the_old_one(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="Input/output error") as caught:
        replace_file(str(path), b"new", 0o644)
    assert caught.value.filename == str(path)
    assert (os.listdir(tmp_path), path.read_bytes()) == (["file"], b"old")


@pytest.mark.parametrize("folder", ["nowhere", "file"])
def test_an_error_of_its_folder_names_the_file(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    path = str(tmp_path / folder / "x")
    with pytest.raises((FileNotFoundError, NotADirectoryError)) as caught:
        replace_file(path, b"new", 0o644)
    assert caught.value.filename == path


def test_an_interruption_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_file(str(tmp_path / "file"), b"new", 0o644)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_that_is_being_written_is_told_from_one_that_was_left(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(os, call)
    seen = []

    def look(*args: object) -> None:
        (name,) = os.listdir(tmp_path)
        seen.append((name[:6], is_being_written(f"{tmp_path}/{name}")))
        real(*args)

    monkeypatch.setattr(os, call, look)
    replace_file(str(tmp_path / "file"), b"data", 0o644)
    assert seen == [(".file.", True)]
    assert not is_being_written(f"{tmp_path}/file")
    assert is_being_written(f"{tmp_path}/.file.gone")  # it has got its name meanwhile


def test_one_that_this_user_may_not_read_counts_as_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert not is_being_written(f"{tmp_path}/.file.x")


def test_a_new_file_that_somebody_has_removed_is_the_error_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(_: int) -> None:
        (tmp_path / os.listdir(tmp_path)[0]).unlink()

    monkeypatch.setattr(os, "fsync", remove)
    with pytest.raises(FileNotFoundError) as caught:
        replace_file(str(tmp_path / "file"), b"data", 0o644)
    assert caught.value.filename == str(tmp_path / "file")

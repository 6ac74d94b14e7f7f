"""The sources of the add-on are those of the package, or it says what to do."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.ordinary import NOBODY

from mailbell.addon import sources
from mailbell.addon.sources import CLIENTS, FILES, addon, read_sources
from mailbell.core.errors import ConfigurationError, OperatingSystemError

CONTENTS = {name: b'{"version": "0"}' if name == "manifest.json" else b"1" for name in FILES}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Sources that only this user may change, whatever the checkout of these tests is."""
    # TMPDIR may be a folder that other users may change.
    top = Path(tempfile.mkdtemp(prefix="mailbell-", dir="/tmp"))
    monkeypatch.setattr(sources, "CLIENTS", str(top))
    for name, content in CONTENTS.items():
        path = top / "thunderbird" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for path in (top, *top.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield top / "thunderbird"
    shutil.rmtree(top)


def test_every_source_is_named_and_no_other_file() -> None:
    """A new file of the add-on is named in FILES. Hidden files and texts are no part of it."""
    top = ROOT / "clients/thunderbird"
    found = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
    parts = {name for name in found if not name.endswith(".md") and "/." not in f"/{name}"}
    assert parts == set(FILES)
    assert read_sources(f"{CLIENTS}/thunderbird").keys() == set(FILES)


def test_only_the_named_files_are_read(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git/config.js").touch()
    for name in ("README.md", "planted.js", "core/pace.js~", "core/module.so"):
        (folder / name).touch()
    os.mkfifo(folder / "pipe.js")
    assert read_sources(str(folder)) == CONTENTS
    assert addon(for_all=True) == addon()


def test_a_missing_folder_has_a_remedy(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    for for_all, path in ((False, folder / FILES[0]), (True, folder)):
        with pytest.raises(OperatingSystemError) as caught:
            addon(for_all=for_all)
        assert caught.value.what.endswith(": No such file or directory")
        assert caught.value.remedy == "install mailbell again: this file is part of it"
        assert path.name in caught.value.what


def too_long(path: Path) -> str:
    path.write_bytes(bytes(sources._MOST_BYTES + 1))
    return "is too long for an add-on"


def no_manifest(path: Path) -> str:
    (path.parents[1] / "manifest.json").write_bytes(b"{")
    return "Expecting property name"


def a_link(path: Path) -> str:
    path.rename(path.parent / "theirs")
    path.symlink_to("theirs")
    return "is a link"


def a_pipe(path: Path) -> str:
    path.unlink()
    os.mkfifo(path)
    return "is no regular file"


def a_folder(path: Path) -> str:
    path.unlink()
    path.mkdir()
    return "is no regular file"


@pytest.mark.parametrize("damage", [too_long, no_manifest, a_link, a_pipe, a_folder])
def test_a_damaged_file_has_a_remedy(folder: Path, damage: Callable[[Path], str]) -> None:
    said = damage(folder / "core/pace.js")
    with pytest.raises(OperatingSystemError, match="install mailbell again") as caught:
        addon()
    assert said in caught.value.what


def open_file(folder: Path) -> str:
    (folder / "core/pace.js").chmod(0o664)
    return f"other users may write to {folder}/core/pace.js"


def open_folder(folder: Path) -> str:
    (folder / "core").chmod(0o775)
    return f"other users may write to {folder}/core"


def open_top(folder: Path) -> str:
    folder.parent.chmod(0o777)
    return f"other users may write to {folder.parent}"


def link_to_open_folder(folder: Path) -> str:
    """As in a source tree, where the package has a link to `clients`."""
    real = folder.parent / "real"
    folder.rename(real)
    real.chmod(0o777)
    folder.symlink_to("real")
    return f"other users may write to {real}"


def file_of_another(folder: Path) -> str:
    os.chown(folder / "manifest.json", NOBODY, NOBODY)
    return f"{folder}/manifest.json belongs to user {NOBODY}"


def tree_of_another(folder: Path) -> str:
    """As `sudo .venv/bin/mailbell install` in the home of an ordinary user."""
    for path in (folder.parent, *folder.parent.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return f"{folder.parent} belongs to user {NOBODY}"


ATTACKS = [open_file, open_folder, open_top, link_to_open_folder, file_of_another, tree_of_another]
AS_ROOT = {file_of_another, tree_of_another}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_all_users_get_is_nobody_elses(folder: Path, attack: Callable[[Path], str]) -> None:
    if attack in AS_ROOT and os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    said = attack(folder)
    with pytest.raises(ConfigurationError) as caught:
        addon(for_all=True)
    assert caught.value.what == f"{said}, who could change the add-on before all users get it"
    assert "such as /opt/mailbell, and run the mailbell that is there" in caught.value.remedy
    # A file for this user alone may be built from any tree.
    assert addon()

"""The sources of the add-on are those of the package, or it says what to do."""

from pathlib import Path

import pytest

from mailbell.addon import sources
from mailbell.addon.sources import addon, read_sources
from mailbell.core.errors import OperatingSystemError

MANIFEST = b'{"version": "0"}'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sources, "CLIENTS", str(tmp_path))
    (tmp_path / "thunderbird/core").mkdir(parents=True)
    (tmp_path / "thunderbird/manifest.json").write_bytes(MANIFEST)
    (tmp_path / "thunderbird/core/pace.js").write_bytes(b"1")
    return tmp_path / "thunderbird"


def test_all_files_are_read_but_hidden_ones_and_texts(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git/config.js").touch()
    (folder / "README.md").touch()
    expected = {"manifest.json": MANIFEST, "core/pace.js": b"1"}
    assert read_sources(str(folder)) == expected
    assert addon().startswith(b"PK\3\4")


def test_a_missing_folder_has_a_remedy(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    with pytest.raises(OperatingSystemError) as caught:
        addon()
    what = f"{folder}: No such file or directory"
    assert str(caught.value) == f"{what}; install mailbell again: this file is part of it"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("core/pace.js", bytes(sources._MOST_BYTES + 1), "'core/pace.js' is too long"),
        ("core/pace.js~", b"", "'core/pace.js~' is no file of an add-on"),
        ("manifest.json", b"{", "Expecting property name"),
    ],
)
def test_a_damaged_file_has_a_remedy(folder: Path, name: str, content: bytes, said: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(OperatingSystemError, match="install mailbell again") as caught:
        addon()
    assert said in caught.value.what

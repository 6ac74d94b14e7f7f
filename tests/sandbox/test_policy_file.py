"""The policies are found where the package has them. A damaged one is named with the remedy."""

from io import BytesIO
from pathlib import Path

import pytest

import mailbell
from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.sandbox import policy_file
from mailbell.sandbox.policy_file import list_programs, read_policy
from mailbell.syscalls.policy_toml import MAX_BYTES

REMEDY = "install mailbell again: this file is part of it"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(policy_file, "FOLDER", str(tmp_path))
    return tmp_path


def installed() -> Path:
    return Path(mailbell.__file__).parent / "policy" / "syscalls"


def test_the_policies_of_the_package_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # wherever the program is started
    assert list_programs() == sorted(path.stem for path in installed().glob("*.toml"))
    assert "mailbelld" in list_programs()
    for program in list_programs():
        assert read_policy(program).program == program


def test_only_files_with_the_right_ending_are_policies(folder: Path) -> None:
    for name in ("b.toml", "a.toml", "README.md", "c.toml.orig"):
        (folder / name).touch()
    assert list_programs() == ["a", "b"]


def test_a_missing_folder_and_a_missing_file_are_named_with_the_remedy(folder: Path) -> None:
    with pytest.raises(OperatingSystemError) as missing:
        read_policy("other")
    assert missing.value.what == f"{folder}/other.toml: No such file or directory"
    assert missing.value.remedy == REMEDY
    folder.rmdir()
    with pytest.raises(OperatingSystemError) as gone:
        list_programs()
    assert gone.value.what == f"{folder}: No such file or directory"
    assert gone.value.remedy == REMEDY


def test_a_damaged_file_is_named_with_the_remedy(folder: Path) -> None:
    (folder / "other.toml").write_text("program =")
    with pytest.raises(ConfigurationError) as damaged:
        read_policy("other")
    assert damaged.value.what.startswith(f"{folder}/other.toml: ")
    assert len(damaged.value.what) > len(f"{folder}/other.toml: ")
    assert damaged.value.remedy == REMEDY


def test_a_file_is_read_up_to_its_longest_and_no_further(folder: Path) -> None:
    text = (installed() / "mailbelld.toml").read_bytes()
    longest = text + b"#" * (MAX_BYTES - len(text) - 1) + b"\n"
    (folder / "longest.toml").write_bytes(longest)
    assert read_policy("longest") == read_policy_of(text, folder)
    (folder / "longer.toml").write_bytes(longest + b"#")
    with pytest.raises(ConfigurationError) as longer:
        read_policy("longer")
    assert longer.value.remedy == REMEDY


def test_a_file_without_an_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Endless(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            asked.append(size)
            return b"#" * size

    monkeypatch.setattr(policy_file, "open", lambda *_: Endless(), raising=False)
    with pytest.raises(ConfigurationError, match="longer than"):
        read_policy("endless")
    assert asked == [MAX_BYTES + 1], "one more than a policy may have"


def read_policy_of(text: bytes, folder: Path) -> object:
    (folder / "plain.toml").write_bytes(text)
    return read_policy("plain")

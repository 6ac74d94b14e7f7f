"""Whether others may write a file that a service loads, or the service not read it."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailbell.installation import _walk
from mailbell.installation._walk import Fault, is_below, look


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder of root's that is not hidden from services."""
    if os.geteuid() != 0:
        pytest.skip("needs root: what belongs to another user is refused")
    with tempfile.TemporaryDirectory(prefix="mailbell-", dir="/var/lib") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


MODES = st.sampled_from([0o644, 0o755, 0o444, 0o640, 0o664, 0o646, 0o600, 0o711])


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from("abcd"), st.tuples(MODES, st.sampled_from([0, 0, 0, 1234]))))
def test_it_finds_what_find_finds(place: Path, tree: dict[str, tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        top = Path(folder)
        top.chmod(0o755)
        (top / "sub").mkdir(mode=0o755)
        for name, (mode, owner) in tree.items():
            path = top / "sub" / name
            path.touch()
            path.chmod(mode)
            os.chown(path, owner, 0)
        words = ["find", folder, "(", "-perm", "/022", "-o", "!", "-user", "0", "-o", "!", "-perm",
                 "-004", ")"]  # fmt: skip
        wrong = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        found = look([folder])
        assert bool(found.fault) == bool(wrong)
        assert not found.fault or found.fault.path in wrong


def test_the_newest_file_counts_and_no_cache(place: Path) -> None:
    top = place / "newest"
    (top / "__pycache__").mkdir(parents=True, mode=0o755)
    (top / "a").write_text("")
    newest = look([str(top)]).newest
    assert newest == (top / "a").stat().st_ctime
    (top / "__pycache__/a.pyc").write_text("")
    (top / "__pycache__/a.pyc").chmod(0o600)
    assert look([str(top)]) == (None, newest)
    (top / "__pycache__/a.pyc").chmod(0o602)
    assert look([str(top)]).fault == Fault(f"{top}/__pycache__/a.pyc", "write")


def test_the_lock_of_uv_may_be_written_by_all(place: Path) -> None:
    """uv, and a pipx that finds it, make this file with mode 0666; nothing loads it."""
    top = place / "uv"
    (top / "lib").mkdir(parents=True, mode=0o755)
    newest = look([str(top)])
    (top / ".lock").touch()
    (top / ".lock").chmod(0o666)
    assert look([str(top)]) == newest
    (top / ".lock").rename(top / "lib" / ".lock")
    assert look([str(top)]).fault == Fault(f"{top}/lib/.lock", "write")
    (top / "lib" / ".lock").unlink()
    (top / ".lock").mkdir()
    (top / ".lock").chmod(0o777)
    assert look([str(top)]).fault == Fault(f"{top}/.lock", "write")


def test_a_link_is_judged_by_what_it_leads_to(place: Path) -> None:
    top, other = place / "links", place / "other"
    top.mkdir(mode=0o755)
    other.mkdir(mode=0o755)
    link = top / "link"
    link.symlink_to("nowhere")
    assert look([str(top)]).fault is None
    link.unlink()
    link.symlink_to(other)
    assert look([str(top)]).fault is None
    other.chmod(0o777)
    assert look([str(top)]).fault == Fault(str(other), "write")
    other.chmod(0o755)
    os.lchown(link, 1234, 0)
    assert look([str(top)]).fault == Fault(str(link), "owner", 1234)
    link.unlink()
    link.symlink_to("/tmp")
    assert look([str(top)]).fault == Fault("/tmp", "hidden")


def test_the_way_counts(place: Path) -> None:
    inner = place / "way" / "inner"
    inner.mkdir(parents=True, mode=0o755)
    inner.parent.chmod(0o700)
    assert look([str(inner)]).fault == Fault(str(inner.parent), "read")
    inner.parent.chmod(0o757)
    assert look([str(inner)]).fault == Fault(str(inner.parent), "write")
    inner.parent.chmod(0o755)
    os.chown(inner.parent, 1234, 0)
    assert look([str(inner)]).fault == Fault(str(inner.parent), "owner", 1234)
    os.chown(inner.parent, 0, 0)
    assert look([str(inner)]).fault is None


@pytest.mark.parametrize("folder", _walk.HIDDEN)
def test_what_a_service_does_not_see_is_refused(folder: str) -> None:
    """`ProtectHome=` and `PrivateTmp=` of the units."""
    assert look([f"{folder}/x"]).fault == Fault(f"{folder}/x", "hidden")
    assert look([folder]).fault == Fault(folder, "hidden")


def test_it_ends_where_there_are_more_files_than_an_environment_has(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_walk, "_MOST_FILES", 3)
    top = place / "many"
    top.mkdir(mode=0o755)
    for name in "ab":
        (top / name).touch()
    assert look([str(top)]).fault is None
    (top / "c").touch()
    assert look([str(top)]).fault == Fault(str(top), "many")


@pytest.mark.parametrize("kind", ["owner", "write", "read", "hidden", "many"])
def test_each_fault_is_a_sentence_with_its_path(kind: str) -> None:
    assert "/x" in str(Fault("/x", kind, 7))


def test_what_is_below() -> None:
    assert is_below("/a", "/a")
    assert is_below("/a/b", "/a")
    assert is_below("/a", "/")
    assert not is_below("/ab", "/a")
    assert not is_below("/", "/a")

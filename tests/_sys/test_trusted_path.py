"""Every folder and every link on the way to a file counts; other users are real ones."""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from harness.child import run, run_as_root
from harness.ordinary import NOBODY, let_in

from mailbell._sys.trusted_path import Weakness, find_weaknesses, make_folders


def found(path: Path | str, *trusted: int) -> list[str]:
    return [str(each) for each in find_weaknesses(str(path), trusted)]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    place = tmp_path / "top"
    place.mkdir(mode=0o755)
    return place


@pytest.mark.parametrize("path", ["/", "/proc/self/status", "/usr/bin/env", "/nonexistent/x"])
def test_the_systems_own_folders_are_trusted(path: str) -> None:
    assert found(path) == []


def test_the_folders_of_tests_are_trusted(tmp_path: Path) -> None:
    """/tmp is open to all users, and sticky."""
    assert found(tmp_path / "file") == []


@pytest.mark.parametrize("mode", [0o757, 0o775, 0o777, 0o722])
@pytest.mark.parametrize("below", ["", "a", "a/b/file"])
def test_a_folder_that_others_may_write(top: Path, mode: int, below: str) -> None:
    (top / "a/b").mkdir(parents=True)
    (top / "a/b/file").touch()
    top.chmod(mode)
    assert found(top / below) == [f"other users may write to {top}"]
    (weakness,) = find_weaknesses(str(top / below))
    assert weakness.remedy == f"chmod go-w {top}"
    top.chmod(mode | 0o1000)
    assert found(top / below) == []


def test_a_file_itself_is_the_callers_affair(top: Path) -> None:
    file = top / "file"
    file.touch()
    file.chmod(0o666)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(top / "s"))
        (top / "s").chmod(0o777)
    assert found(file) == found(top / "s") == found(file / "below") == []


def make_link_in_open_folder(top: Path) -> tuple[Path, Path]:
    """A link to a good folder, in a folder that others may write."""
    (top / "good").mkdir()
    (top / "open").mkdir()
    (top / "open").chmod(0o777)
    (top / "open/link").symlink_to(top / "good")
    return top / "open/link/file", top / "open"


def make_link_to_open_folder(top: Path) -> tuple[Path, Path]:
    (top / "open").mkdir()
    (top / "open").chmod(0o777)
    (top / "link").symlink_to("open")
    return top / "link/file", top / "open"


def make_link_through_open_folder(top: Path) -> tuple[Path, Path]:
    """agent.toml is a link to a link, which lies where others may write."""
    (top / "open/closed").mkdir(parents=True)
    (top / "open").chmod(0o777)
    (top / "open/closed/second").symlink_to("../../real")
    (top / "real").touch()
    (top / "first").symlink_to("./open/closed/second")
    return top / "first", top / "open"


def make_dots(top: Path) -> tuple[Path, Path]:
    (top / "open/closed").mkdir(parents=True)
    (top / "open").chmod(0o777)
    return top / "open/closed/../../file", top / "open"


@pytest.mark.parametrize(
    "make",
    [
        make_link_in_open_folder,
        make_link_to_open_folder,
        make_link_through_open_folder,
        make_dots,
    ],
)
def test_links_are_followed_as_the_kernel_does(
    top: Path, make: Callable[[Path], tuple[Path, Path]]
) -> None:
    path, weak = make(top)
    assert set(found(path)) == {f"other users may write to {weak}"}


def test_a_relative_path_begins_at_the_current_folder(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "a").mkdir()
    monkeypatch.chdir(top / "a")
    top.chmod(0o777)
    for path in ("file", ".", "../a", ""):
        assert found(path) == [f"other users may write to {top}"]


def test_links_in_a_circle_are_an_error(top: Path) -> None:
    (top / "a").symlink_to("b")
    (top / "b").symlink_to("a")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        find_weaknesses(str(top / "a"))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("path", ["missing", "missing/x", "file/x", "link"])
def test_who_needs_the_whole_path_is_told_where_it_ends(top: Path, path: str) -> None:
    (top / "file").touch()
    (top / "link").symlink_to("nothing")
    assert found(top / path) == []
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        find_weaknesses(str(top / path), whole=True)
    assert find_weaknesses(str(top / "file"), whole=True) == ()
    top.chmod(0o777)
    assert find_weaknesses(str(top / path), whole=True) == (Weakness(str(top), None),)


@pytest.mark.parametrize("umask", [0, 0o002, 0o077])
def test_folders_are_made_for_their_owner_alone(top: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_folders(str(top / "a/b"))
        make_folders(str(top / "a/b"))
    finally:
        os.umask(before)
    assert [(top / each).stat().st_mode & 0o777 for each in ("a", "a/b")] == [0o700] * 2
    (top / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_folders(str(top / "file/a"))


def test_a_relative_folder_is_made_in_the_current_one(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(top)
    make_folders("a/b")
    assert (top / "a/b").is_dir()


def test_no_descriptor_is_left(top: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/", top, top / "missing/x", "/proc/self/fd/0", "/dev/stdin"):
        find_weaknesses(str(path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pipe_of_the_shell_is_no_folder() -> None:
    reader, writer = os.pipe()
    assert found(f"/dev/fd/{reader}") == []
    os.close(reader)
    os.close(writer)


# --- other users ------------------------------------------------------------------


def as_user(function: Callable[[], object], uid: int) -> object:
    def inside() -> object:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        return function()

    ended = run(inside)
    assert ended.error is None, ended
    return ended.value


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a directory away")
@pytest.mark.parametrize("below", ["", "file"])
def test_a_folder_of_another_user(top: Path, below: str) -> None:
    os.chown(top, 12345, 12345)
    assert found(top / below) == [f"{top} belongs to user 12345"]
    assert "of your own" in Weakness(str(top), 12345).remedy
    assert found(top / below, 12345) == []
    let_in(top)
    assert as_user(lambda: found(top / below), 12345) == []
    assert as_user(lambda: found(top / below), NOBODY) == [f"{top} belongs to user 12345"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a directory away")
def test_in_a_sticky_folder_the_owner_of_a_name_counts(top: Path) -> None:
    """Another user puts a link or a folder where the program's own is expected."""
    top.chmod(0o1777)
    (top / "good").mkdir()
    (top / "link").symlink_to("good")
    os.lchown(top / "link", 12345, 12345)
    (top / "folder").mkdir()
    os.chown(top / "folder", 12345, 12345)
    assert found(top / "link/file") == [f"{top}/link belongs to user 12345"]
    assert found(top / "folder/file") == [f"{top}/folder belongs to user 12345"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_what_was_found_is_what_another_user_can_do(top: Path) -> None:
    """A local user moves the folder away, as the mode permits; without it, the kernel refuses."""
    let_in(top)
    (top / "d").mkdir()

    def take_over() -> bool:
        try:
            os.rename(top / "d", top / "old")
        except PermissionError:
            return False
        return True

    assert (found(top / "d/s"), as_user(take_over, 12345)) == ([], False)
    top.chmod(0o777)
    assert (len(found(top / "d/s")), as_user(take_over, 12345)) == (1, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_shared_volume_is_good_once_it_is_sticky(top: Path) -> None:
    """docs/service.md, "In a container or a pod": emptyDir of Kubernetes."""
    let_in(top)
    top.chmod(0o777)
    (top / "mailbell").mkdir(mode=0o755)
    os.chown(top / "mailbell", 12345, 12345)

    def look() -> object:
        return as_user(lambda: found(top / "mailbell"), 12345)

    assert look() == [f"other users may write to {top}"]
    top.chmod(0o1777)
    assert look() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_roots_group_is_a_group_as_any_other(top: Path) -> None:
    """In an image for arbitrary users each of them is in it, and writes to the folders."""
    let_in(top)
    top.chmod(0o775)

    def as_member(uid: int) -> list[str]:
        def inside() -> list[str]:
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(uid, uid, uid)
            with suppress(FileExistsError):
                (top / "d").mkdir(mode=0o755)
            os.rename(top / "d", top / "other")
            os.rename(top / "other", top / "d")
            return found(top / "d")

        ended = run(inside)
        assert ended.error is None, ended
        found_there: list[str] = ended.value
        return found_there

    assert as_member(12345) == [f"other users may write to {top}"]
    assert f"other users may write to {top}" in as_member(NOBODY)  # who moved it away


def test_in_a_user_namespace_the_outside_is_trusted(tmp_path: Path) -> None:
    """There the system's folders belong to the overflow user, as the root folder does."""

    def inside() -> list[str]:
        return found("/usr/bin/env")

    ended = run_as_root(inside)
    if isinstance(ended.error, PermissionError):
        pytest.skip(f"namespaces cannot be made here: {ended.error}")
    assert ended.value == [], ended

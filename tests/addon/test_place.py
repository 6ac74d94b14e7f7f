"""The add-on is put in place as a whole, undone without a trace, and never through other hands."""

import errno
import io
import json
import os
import resource
import shutil
import signal
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from harness import child
from harness.ordinary import NOBODY

from mailbell.addon import place
from mailbell.addon.place import MARK, NAME, install, save, uninstall
from mailbell.addon.xpi import IDENTITY, build
from mailbell.core.errors import ConfigurationError, MailbellError, OperatingSystemError

MANIFEST = json.dumps({"browser_specific_settings": {"gecko": {"id": IDENTITY}}}).encode()
DATA = build({"manifest.json": MANIFEST, "mailbell.js": b"2"}, "2")
OLD = build({"manifest.json": MANIFEST}, "1")
WAYS = ["", "mozilla", "mozilla/extensions", "mozilla/extensions/{id}"]


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder as /usr/share is: every user may read it, and nobody else may write to it."""
    # TMPDIR may be within a folder that other users cannot read.
    made = Path(tempfile.mkdtemp(prefix="mailbell-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def folder(top: Path) -> Path:
    return top / WAYS[-1]


def tree(top: Path) -> dict[str, tuple[int, bytes]]:
    """All that there is: modes and contents by path."""
    found = {}
    for path in sorted([top, *top.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path.relative_to(top))] = (status.st_mode, content)
    return found


def quiet(step: str) -> None:
    """Hear of a step."""


def steps(act: Callable[..., object], *args: object, **options: object) -> list[str]:
    said: list[str] = []
    act(*args, said.append, **{"dry": False, **options})
    return said


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_every_user_may_read_it_and_nobody_else_may_write(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        said = steps(install, DATA, folder=str(folder))
    finally:
        os.umask(before)
    path = folder / NAME
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (DATA, 0o644)
    made = [folder.parent.parent, folder.parent, folder]
    assert said == [*(f"make {each}" for each in made), f"write {path}"]
    assert {stat.S_IMODE(each.stat().st_mode) for each in made} == {0o755}
    assert sorted(os.listdir(folder)) == [MARK, NAME]
    assert {stat.S_IMODE((each / MARK).stat().st_mode) & 0o133 for each in made} == {0}


def test_twice_is_once(top: Path, folder: Path) -> None:
    install(DATA, quiet, dry=False, folder=str(folder))
    before, inode = tree(top), (folder / NAME).stat().st_ino
    assert steps(install, DATA, folder=str(folder)) == [f"{folder / NAME} is in place already"]
    assert (tree(top), (folder / NAME).stat().st_ino) == (before, inode)


def test_another_version_is_replaced(folder: Path) -> None:
    install(OLD, quiet, dry=False, folder=str(folder))
    assert steps(install, DATA, folder=str(folder)) == [f"replace {folder / NAME}"]
    assert (folder / NAME).read_bytes() == DATA
    assert sorted(os.listdir(folder)) == [MARK, NAME]


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_one_that_users_could_not_read_or_could_write_is_put_right(folder: Path, mode: int) -> None:
    install(DATA, quiet, dry=False, folder=str(folder))
    (folder / NAME).chmod(mode)
    assert steps(install, DATA, folder=str(folder)) == [f"replace {folder / NAME}"]
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o644


def another_owner(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def another_name(path: Path) -> None:
    os.link(path, path.parents[3] / "other name")


@pytest.mark.parametrize("change", [another_owner, another_name])
def test_one_that_another_user_could_change_is_replaced(
    folder: Path, change: Callable[[Path], None]
) -> None:
    if change is another_owner and os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    install(DATA, quiet, dry=False, folder=str(folder))
    before = (folder / NAME).stat().st_ino
    change(folder / NAME)
    assert steps(install, DATA, folder=str(folder)) == [f"replace {folder / NAME}"]
    status = (folder / NAME).stat()
    assert (status.st_uid, status.st_nlink) == (os.geteuid(), 1)
    assert status.st_ino != before


def zipped(manifest: bytes) -> bytes:
    """An archive as other programs make it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", manifest)
    return file.getvalue()


OTHERS = {
    "a text": b"Dear Anna", "nothing": b"", "a letter of a word processor": zipped(b"{}"),
    "the add-on of a distribution": zipped(MANIFEST), "half of it": DATA[:-9], "more": DATA + b"x",
    "another add-on": build({"manifest.json": b'{"name": "other"}'}, "1"),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_a_file_that_mailbell_has_not_built_is_left_alone(folder: Path, what: str) -> None:
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(OTHERS[what])
    before = tree(folder)
    for act, args in ((install, (DATA,)), (uninstall, ())):
        with pytest.raises(ConfigurationError, match=r"is not mailbell's .*; move it away"):
            steps(act, *args, folder=str(folder))
        assert tree(folder) == before


@pytest.mark.parametrize("there", WAYS)
def test_it_is_undone_without_a_trace(top: Path, folder: Path, there: str) -> None:
    (top / there).mkdir(parents=True, exist_ok=True)
    before = tree(top)
    install(DATA, quiet, dry=False, folder=str(folder))
    said = steps(uninstall, folder=str(folder))
    assert tree(top) == before
    assert said[0] == f"remove {folder / NAME}"
    assert len(said) == 1 + len(WAYS) - 1 - WAYS.index(there)
    said = steps(uninstall, folder=str(folder))
    assert said == [f"{folder / NAME} is not there: nothing to remove"]
    assert tree(top) == before


@pytest.mark.parametrize("there", WAYS[:-1])
def test_what_others_have_put_there_meanwhile_stays(top: Path, folder: Path, there: str) -> None:
    install(DATA, quiet, dry=False, folder=str(folder))
    other = (top / there or folder) / "other.xpi"
    other.write_text("theirs")
    expected = {
        name: what
        for name, what in tree(top).items()
        if not name.endswith((MARK, NAME)) and (top / name == other or top / name in other.parents)
    }
    said = steps(uninstall, folder=str(folder))
    assert tree(top) == expected
    kept = [] if other.parent == top else [f"keep {other.parent}, which others use"]
    assert [line for line in said if line.startswith("keep ")][:1] == kept


def test_one_that_was_removed_by_hand_leaves_no_folders(top: Path, folder: Path) -> None:
    install(DATA, quiet, dry=False, folder=str(folder))
    (folder / NAME).unlink()
    assert uninstall(quiet, dry=False, folder=str(folder))
    assert os.listdir(top) == []


def test_what_a_killed_installation_left_is_removed(top: Path, folder: Path) -> None:
    install(DATA, quiet, dry=False, folder=str(folder))
    (folder / f".{NAME}.k1ll3d").write_bytes(DATA[:3])
    assert f"remove {folder}/.{NAME}.k1ll3d" in steps(uninstall, folder=str(folder))
    assert os.listdir(top) == []


def as_folder(path: Path) -> None:
    path.mkdir()
    (path / "theirs").touch()


def as_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("make", [as_folder, as_link, os.mkfifo])
@pytest.mark.parametrize("name", [f".{NAME}.x", MARK])
def test_what_has_the_name_of_a_trace_and_is_no_file_stays(
    top: Path, folder: Path, name: str, make: Callable[[Path], None]
) -> None:
    folder.mkdir(parents=True)
    make(folder / name)
    before = tree(top)
    install(DATA, quiet, dry=False, folder=str(folder))
    assert steps(uninstall, folder=str(folder)) == [f"remove {folder / NAME}"]
    assert tree(top) == before


def test_a_folder_with_the_name_of_a_trace_does_not_stop_a_removal(top: Path, folder: Path) -> None:
    install(DATA, quiet, dry=False, folder=str(folder))
    (folder / f".{NAME}.x").mkdir()
    assert uninstall(quiet, dry=False, folder=str(folder))
    assert os.listdir(folder) == [f".{NAME}.x"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_removal_does_not_disturb_an_installation(
    top: Path, folder: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(os, call)
    said = []

    def meanwhile(*args: object) -> None:
        before = tree(top)
        with pytest.raises(OperatingSystemError, match="is being installed; try again") as caught:
            uninstall(quiet, dry=False, folder=str(folder))
        assert tree(top) == before
        said.append(str(caught.value))
        real(*args)

    monkeypatch.setattr(os, call, meanwhile)
    install(DATA, quiet, dry=False, folder=str(folder))
    monkeypatch.undo()
    assert said
    assert (folder / NAME).read_bytes() == DATA
    assert uninstall(quiet, dry=False, folder=str(folder))
    assert os.listdir(top) == []


@pytest.mark.parametrize("what", ["the new file", "its folder"])
def test_an_installation_from_which_something_is_taken_away_says_so(
    top: Path, folder: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(_: int) -> None:
        if what == "its folder":
            shutil.rmtree(folder)
        else:
            next(folder.glob(f".{NAME}.*")).unlink()

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(OperatingSystemError) as caught:
        install(DATA, quiet, dry=False, folder=str(folder))
    assert str(caught.value) == (
        f"{folder / NAME}: No such file or directory; "
        "another program has removed it meanwhile: try again"
    )
    assert os.listdir(top) == []


def test_a_folder_that_may_not_be_listed_is_named(top: Path, folder: Path) -> None:
    """To another user, who may look at the steps of a removal."""
    install(DATA, quiet, dry=False, folder=str(folder))

    def as_other() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        uninstall(quiet, dry=True, folder=str(folder))

    for closed in (folder, folder.parent):
        closed.chmod(0o311)
        error = child.run(as_other).error
        assert isinstance(error, OperatingSystemError)
        said = "Permission denied; run it as a user who may change that folder"
        assert str(error) == f"{closed}: {said}"
        closed.chmod(0o755)


def test_a_dry_run_tells_the_same_and_changes_nothing(top: Path, folder: Path) -> None:
    for act, args in ((install, (DATA,)), (uninstall, ())):
        before = tree(top)
        told = steps(act, *args, folder=str(folder), dry=True)
        assert tree(top) == before
        assert steps(act, *args, folder=str(folder)) == told
        assert tree(top) != before


# --- attacks on the way -------------------------------------------------------------------


def open_folder(top: Path) -> str:
    (top / "mozilla").mkdir()
    (top / "mozilla").chmod(0o777)
    return f"other users may write to {top}/mozilla"


def open_innermost(top: Path) -> str:
    (top / WAYS[-1]).mkdir(parents=True)
    (top / WAYS[-1]).chmod(0o775)
    return f"other users may write to {top / WAYS[-1]}"


def folder_of_another(top: Path) -> str:
    (top / "mozilla").mkdir()
    os.chown(top / "mozilla", NOBODY, NOBODY)
    return f"{top}/mozilla belongs to user {NOBODY}"


def link_of_another(top: Path) -> str:
    """In a folder as /tmp: the link may be led elsewhere at any time."""
    (top / "elsewhere").mkdir()
    top.chmod(0o1777)
    (top / "mozilla").symlink_to("elsewhere")
    os.lchown(top / "mozilla", NOBODY, NOBODY)
    return f"{top}/mozilla belongs to user {NOBODY}"


def link_to_open_folder(top: Path) -> str:
    (top / "open").mkdir()
    (top / "open").chmod(0o777)
    (top / "mozilla").symlink_to("open")
    return f"other users may write to {top}/open"


def link_to_nothing(top: Path) -> str:
    (top / "mozilla").symlink_to("nothing")
    return f"{top}/mozilla is no folder; move it away"


def link_in_a_circle(top: Path) -> str:
    (top / "mozilla").symlink_to("mozilla")
    return "Too many levels of symbolic links"


def file_on_the_way(top: Path) -> str:
    (top / "mozilla").write_text("theirs")
    return f"{top}/mozilla is no folder; move it away"


ATTACKS = [open_folder, open_innermost, folder_of_another, link_of_another, link_to_open_folder,
           link_to_nothing, link_in_a_circle, file_on_the_way]  # fmt: skip
AS_ROOT = {folder_of_another, link_of_another}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_way_through_other_hands_is_refused(
    top: Path, folder: Path, attack: Callable[[Path], str]
) -> None:
    if attack in AS_ROOT and os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    why = attack(top)
    before = tree(top)
    with pytest.raises(MailbellError) as caught:
        steps(install, DATA, folder=str(folder))
    assert why in str(caught.value)
    assert caught.value.remedy
    assert tree(top) == before
    # Where there is no folder, there is nothing to remove.
    if attack not in {link_to_nothing, file_on_the_way}:
        with pytest.raises(MailbellError) as caught:
            steps(uninstall, folder=str(folder))
        assert why in str(caught.value)
        assert caught.value.remedy
    assert tree(top) == before


def a_link(path: Path) -> None:
    (path.parent / "victim").write_bytes(OLD)
    path.symlink_to("victim")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [a_link, Path.mkdir, a_pipe])
def test_what_is_no_file_in_the_add_ons_place_is_left_alone(
    folder: Path, make: Callable[[Path], None]
) -> None:
    folder.mkdir(parents=True)
    make(folder / NAME)
    before = tree(folder)
    for act, args in ((install, (DATA,)), (uninstall, ())):
        with pytest.raises(ConfigurationError, match=r"is not mailbell's .*; move it away"):
            steps(act, *args, folder=str(folder))
        assert tree(folder) == before


def test_a_folder_that_users_cannot_read_is_refused(top: Path, folder: Path) -> None:
    """As one that was made with the umask 077: Thunderbird would find no add-on there."""
    (top / "mozilla").mkdir(mode=0o700)
    with pytest.raises(ConfigurationError) as caught:
        install(DATA, quiet, dry=False, folder=str(folder))
    assert str(caught.value) == (
        f"other users may not read {top}/mozilla; chmod go+rx {top}/mozilla"
    )
    assert os.listdir(top / "mozilla") == []


def test_a_folder_that_comes_meanwhile_is_not_taken_over(top: Path, folder: Path) -> None:
    def meanwhile(step: str) -> None:
        if step == f"make {folder}":
            folder.mkdir(parents=True)
            folder.chmod(0o777)

    with pytest.raises(OperatingSystemError, match="File exists; another program has made it"):
        install(DATA, meanwhile, dry=False, folder=str(folder))
    assert list(tree(top)) == [".", *WAYS[1:]]


def test_a_folder_that_is_opened_meanwhile_is_not_used(top: Path, folder: Path) -> None:
    folder.mkdir(parents=True)

    def meanwhile(step: str) -> None:
        folder.chmod(0o777)

    with pytest.raises(ConfigurationError, match="other users may write to"):
        install(DATA, meanwhile, dry=False, folder=str(folder))
    assert os.listdir(folder) == []


def test_one_that_fails_leaves_the_mark_for_one_that_comes_meanwhile(
    top: Path, folder: Path
) -> None:
    """Two at once: the first makes the outermost folder, and the other one all else."""

    def fails() -> None:
        with place._made([str(top / "mozilla")]):
            install(DATA, quiet, dry=False, folder=str(folder))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert uninstall(quiet, dry=False, folder=str(folder))
    assert os.listdir(top) == []


# --- what fails in the middle --------------------------------------------------------------


def full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def forbidden(*_: object) -> NoReturn:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.parametrize("there", WAYS)
@pytest.mark.parametrize(
    ("call", "failure", "said"),
    [
        ("replace", full, "make room there, and try again"),
        ("fsync", full, "make room there, and try again"),
        ("replace", forbidden, "run it as a user who may change that folder"),
        ("chmod", forbidden, "run it as a user who may change that folder"),
        ("replace", interrupted, ""),
    ],
)
def test_an_installation_that_fails_leaves_nothing(
    top: Path, folder: Path, there: str, call: str, failure: Callable[..., NoReturn], said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (top / there).mkdir(parents=True, exist_ok=True)
    if call == "chmod" and there == WAYS[-1]:
        return  # it makes no folder
    before = tree(top)
    monkeypatch.setattr(os, call, failure)
    with pytest.raises((OperatingSystemError, KeyboardInterrupt)) as caught:
        install(DATA, quiet, dry=False, folder=str(folder))
    monkeypatch.undo()
    assert str(caught.value).endswith(said)
    assert tree(top) == before


def test_an_update_that_fails_leaves_the_version_that_was_there(
    top: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(OLD, quiet, dry=False, folder=str(folder))
    before = tree(top)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OperatingSystemError, match="No space left"):
        install(DATA, quiet, dry=False, folder=str(folder))
    monkeypatch.undo()
    assert tree(top) == before


def test_a_limit_on_files_leaves_nothing(top: Path, folder: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        install(DATA, quiet, dry=False, folder=str(folder))

    error = child.run(limited).error
    assert isinstance(error, OperatingSystemError)
    assert str(error) == f"{folder / NAME}: File too large; make room there, and try again"
    assert os.listdir(top) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_kill_leaves_no_half_and_nothing_that_is_not_removed_again(
    top: Path, folder: Path, call: str
) -> None:
    def killed() -> None:
        setattr(os, call, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        install(DATA, quiet, dry=False, folder=str(folder))

    assert child.run(killed).signal == signal.SIGKILL
    assert not (folder / NAME).exists()
    assert uninstall(quiet, dry=False, folder=str(folder))
    assert os.listdir(top) == []


def test_a_removal_that_fails_goes_on_the_next_time(
    top: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(DATA, quiet, dry=False, folder=str(folder))
    monkeypatch.setattr(os, "rmdir", forbidden)
    with pytest.raises(OperatingSystemError, match="Permission denied; run it as a user who"):
        uninstall(quiet, dry=False, folder=str(folder))
    monkeypatch.undo()
    assert [path.name for path in folder.iterdir()] == [MARK]
    assert uninstall(quiet, dry=False, folder=str(folder))
    assert os.listdir(top) == []


def test_the_error_of_a_file_system_that_is_only_read_says_so() -> None:
    error = OSError(errno.EROFS, os.strerror(errno.EROFS))
    assert place._remedy(error, "") == "make the file system writable, and try again"


# --- a file of the person's choice ----------------------------------------------------------


def test_it_is_saved_where_the_person_says(top: Path) -> None:
    path = top / "mailbell.xpi"
    assert steps(save, DATA, str(path), dry=True) == [f"write {path}"]
    assert not path.exists()
    assert steps(save, OLD, str(path)) == [f"write {path}"]
    assert steps(save, DATA, str(path)) == [f"replace {path}"]
    assert path.read_bytes() == DATA
    assert os.listdir(top) == ["mailbell.xpi"]


@pytest.mark.parametrize("what", OTHERS)
def test_a_file_that_is_another_one_is_not_replaced(top: Path, what: str) -> None:
    path = top / "letter.docx"
    path.write_bytes(OTHERS[what])
    with pytest.raises(ConfigurationError, match=r"is not mailbell's .*; choose another name"):
        save(DATA, str(path), quiet, dry=False)
    assert path.read_bytes() == OTHERS[what]


@pytest.mark.parametrize("make", [a_link, Path.mkdir, a_pipe])
def test_it_is_not_saved_over_what_is_no_file(top: Path, make: Callable[[Path], None]) -> None:
    make(top / "mailbell.xpi")
    before = tree(top)
    with pytest.raises(ConfigurationError, match=r"is not mailbell's .*; choose another name"):
        save(DATA, f"{top}/mailbell.xpi", quiet, dry=False)
    assert tree(top) == before


def test_it_is_not_saved_where_others_could_replace_it(top: Path) -> None:
    top.chmod(0o777)
    with pytest.raises(ConfigurationError, match="who could replace the add-on"):
        save(DATA, f"{top}/mailbell.xpi", quiet, dry=False)
    assert os.listdir(top) == []


@pytest.mark.parametrize("name", ["nowhere/mailbell.xpi", "file/mailbell.xpi"])
def test_it_is_not_saved_where_there_is_no_folder(top: Path, name: str) -> None:
    (top / "file").touch()
    with pytest.raises(OperatingSystemError, match="; choose a folder that exists") as caught:
        save(DATA, f"{top}/{name}", quiet, dry=False)
    assert str(top / name).startswith(caught.value.what.partition(": ")[0])
    assert os.listdir(top) == ["file"]

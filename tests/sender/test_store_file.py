"""What is at the path of the database: good, foreign, broken, dangerous, or somebody else's."""

import errno
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.child import run, run_as_root
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sender.support_store import Bench, address, own_mounts

from mailbell._sys import credentials, landlock
from mailbell._sys.credentials import Identity
from mailbell.core.errors import (
    ConfigurationError,
    InternalError,
    MailbellError,
    OperatingSystemError,
    PrivilegeError,
)
from mailbell.sender import _database, _store_file
from mailbell.sender._store_file import Examined, Verdict, examine, move_aside

NOBODY = Identity("nobody", 65534, 65534)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "state" / "state.db")


@pytest.fixture
def used(bench: Bench) -> Bench:
    """A database of ours with some rows, ended in order."""
    store, book = bench.open()
    for number in range(200):
        bench.see(store, book, f"user{number}", 1)
    store.close(["user1"])
    return bench


def edit(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_the_first_start_makes_the_folder(bench: Bench) -> None:
    assert examine(str(bench.path), None).verdict is Verdict.ABSENT
    assert bench.path.parent.is_dir()


def test_our_own_file_is_good_and_stays_as_it_is(used: Bench) -> None:
    before = used.path.read_bytes()
    assert examine(str(used.path), None).verdict is Verdict.GOOD
    assert used.path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "spoil", "verdict"),
    [
        ("text", lambda path: path.write_text("anna = 192.0.2.7\n" * 100), Verdict.FOREIGN),
        ("noise", lambda path: path.write_bytes(bytes(range(256)) * 64), Verdict.FOREIGN),
        ("other program", lambda path: edit(path, "PRAGMA application_id = 7"), Verdict.FOREIGN),
        ("version 0", lambda path: edit(path, "PRAGMA user_version = 0"), Verdict.FOREIGN),
        ("newer", lambda path: edit(path, "PRAGMA user_version = 2"), Verdict.NEWER),
        ("a table more", lambda path: edit(path, "CREATE TABLE more (a)"), Verdict.FOREIGN),
        ("an index", lambda path: edit(path, "CREATE INDEX i ON book (newest)"), Verdict.FOREIGN),
        (
            "a view",
            lambda path: edit(
                path, "DROP TABLE book", "CREATE VIEW book AS SELECT 'a' account, 1 newest"
            ),
            Verdict.FOREIGN,
        ),
        (
            "a trigger",
            lambda path: edit(
                path, "CREATE TRIGGER more AFTER INSERT ON run BEGIN DELETE FROM book; END"
            ),
            Verdict.FOREIGN,
        ),
        ("half", lambda path: os.truncate(path, path.stat().st_size // 2), Verdict.CORRUPT),
        ("a page of noise", lambda path: _overwrite(path, 4096, b"\xff" * 4096), Verdict.CORRUPT),
        (
            "a schema of noise",
            lambda path: _replace(path, b" WITHOUT ROWID", b" WITHOUT \x80OWID"),
            Verdict.CORRUPT,
        ),
        (
            "a name of many pages, which SQLite quotes",
            lambda path: edit(
                path,
                "PRAGMA writable_schema = ON",
                "UPDATE sqlite_master SET sql = 'noise', name = hex(zeroblob(5000))"
                " WHERE name = 'book'",
            ),
            Verdict.CORRUPT,
        ),
        ("a header against writing", lambda path: _overwrite(path, 18, b"\3"), Verdict.CORRUPT),
        (
            "rows of another form",
            lambda path: edit(path, "INSERT INTO book VALUES ('x', 'text', 7)"),
            Verdict.CORRUPT,
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_moved_aside_and_begun_anew(
    used: Bench, name: str, spoil: Callable[[Path], object], verdict: Verdict
) -> None:
    spoil(used.path)
    spoiled = used.path.read_bytes()
    assert examine(str(used.path), None).verdict is verdict, name
    with used.opened() as (store, book):
        assert store.status().working
        assert used.events == ["store_moved_aside"]
        assert f"why={verdict}" in used.lines[0]
        assert not store.was_clean
        assert len(book) == 0
        used.see(store, book, "anna", 7)
    aside = Path(f"{used.path}.{verdict}-1")
    assert store.status().moved_aside == str(aside)
    assert aside.read_bytes() == spoiled
    with used.opened() as (_, book):
        assert book.fresh("anna", used.now) == (address(7),)


def _replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def _overwrite(path: Path, place: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(data)


def test_an_empty_file_is_taken(bench: Bench) -> None:
    bench.path.parent.mkdir(mode=0o700)
    bench.path.touch(mode=0o600)
    assert examine(str(bench.path), None).verdict is Verdict.ABSENT
    with bench.opened() as (store, _):
        assert store.status().working
        assert store.was_clean


def test_a_start_that_was_killed_before_its_tables_were_made(bench: Bench) -> None:
    bench.path.parent.mkdir(mode=0o700)
    edit(bench.path, "PRAGMA journal_mode = WAL", "CREATE TABLE a (a)", "DROP TABLE a")
    bench.path.chmod(0o600)
    with bench.opened() as (store, _):
        assert store.status().working
        assert bench.events == []


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_file_is_survived(used: Bench, data: st.DataObject) -> None:
    """Bytes of a good file are changed anywhere. The sender starts with it or without it."""
    good = Path(f"{used.path}.good")
    if not good.exists():
        shutil.copy(used.path, good)
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    for path in used.path.parent.iterdir():
        if path != good:
            path.unlink()
    used.path.write_bytes(content)
    used.path.chmod(0o600)
    with used.opened() as (store, book):
        assert store.status().working
        used.see(store, book, "anna", 9)
        assert store.status().working or store.status().problem


def test_at_most_so_many_files_are_kept_and_none_is_overwritten(used: Bench) -> None:
    for number in range(1, 9):
        used.path.write_text(f"file {number}")
        assert move_aside(str(used.path), Verdict.FOREIGN) == f"{used.path}.foreign-{number}"
    used.path.write_text("the last one")
    with used.opened() as (store, book):
        assert not store.status().working
        assert used.events == ["store_unusable"]
        used.see(store, book, "anna", 1)
        assert store.descriptors == ()
    assert used.path.read_text() == "the last one"
    assert Path(f"{used.path}.foreign-1").read_text() == "file 1"


def test_the_log_of_a_file_goes_with_it(used: Bench) -> None:
    for end in _store_file.COMPANIONS:
        Path(f"{used.path}{end}").write_text(end)
    moved = move_aside(str(used.path), Verdict.CORRUPT)
    for end in _store_file.COMPANIONS:
        assert not Path(f"{used.path}{end}").exists()
        assert Path(f"{moved}{end}").read_text() == end


def _crash(_path: str) -> tuple[str, str, str]:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def _hang(_path: str) -> tuple[str, str, str]:
    while True:
        signal.pause()


def _eat(_path: str) -> tuple[str, str, str]:
    raise MemoryError


def _fault(_path: str) -> tuple[str, str, str]:
    raise ValueError("an unforeseen one")


@pytest.mark.parametrize(
    ("judge", "verdict", "words"),
    [
        (_crash, Verdict.CORRUPT, "SIGSEGV"),
        (_eat, Verdict.CORRUPT, "too much memory"),
        (_fault, Verdict.UNUSABLE, "ValueError: an unforeseen one"),
    ],
)
def test_a_file_that_crashes_its_reader(
    used: Bench,
    monkeypatch: pytest.MonkeyPatch,
    judge: Callable[[str], tuple[str, str, str]],
    verdict: Verdict,
    words: str,
) -> None:
    monkeypatch.setattr(_store_file, "_judge", judge)
    found = examined_leaving_no_child(used)
    assert found.verdict is verdict
    assert words in found.detail


@pytest.mark.parametrize("refusal", [OperatingSystemError, InternalError, PrivilegeError])
def test_a_reader_that_cannot_be_locked_in(
    used: Bench, monkeypatch: pytest.MonkeyPatch, refusal: type[MailbellError]
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise refusal("the kernel offers no Landlock", "take a newer one")

    monkeypatch.setattr(landlock, "confine_files", refuse)
    ended = run(lambda: examine(str(used.path), None))
    assert type(ended.error) is refusal, ended
    assert str(ended.error) == "the kernel offers no Landlock; take a newer one"


def examined_leaving_no_child(used: Bench) -> Examined:
    """Examine the file in a process without other children. The tests have some of their own."""

    def inside() -> Examined:
        found = examine(str(used.path), None)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        return found

    ended = run(inside)
    assert ended.error is None, ended
    found: Examined = ended.value
    return found


@pytest.mark.parametrize(
    "said",
    [
        ("nonsense", "", ""),
        ("good", ""),
        ("good", "", "", ""),
        ("\x80",),
        ("InternalError", "\x1b]0;x\a"),
        ("good", "", "a second report" + "\0" * 3000),
    ],
)
def test_a_reader_in_which_an_intruder_is_costs_the_file(
    used: Bench, monkeypatch: pytest.MonkeyPatch, said: tuple[str, ...]
) -> None:
    def write(_path: str, _identity: object, writer: int) -> None:
        os.write(writer, "\0".join(said).encode())
        os._exit(0)

    monkeypatch.setattr(_store_file, "_be_child", write)
    found = examine(str(used.path), None)
    assert (found.verdict, found.detail) == (Verdict.CORRUPT, "reading it ended with nonsense")


def test_a_file_that_stops_its_reader(used: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store_file, "_judge", _hang)
    # Both run out. The wait for the killed child does not: it ends when the child has.
    monkeypatch.setattr(_store_file, "_PATIENCE", 0.2)
    monkeypatch.setattr(_store_file, "_LAST_WAIT", 0.2)
    found = examined_leaving_no_child(used)
    assert found.verdict is Verdict.UNUSABLE
    assert "cannot be read in" in found.detail


def test_a_file_that_takes_all_processor_time(used: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def spin(_path: str) -> tuple[str, str, str]:
        while True:
            pass

    monkeypatch.setattr(_store_file, "_judge", spin)
    monkeypatch.setattr(_store_file, "_MOST_TIME", 0)
    found = run(lambda: examine(str(used.path), None)).value
    assert found.verdict is Verdict.CORRUPT
    assert "SIGXCPU" in found.detail or "SIGKILL" in found.detail


@pytest.mark.parametrize("end", ["", "-wal"])
def test_a_file_that_is_too_large(used: Bench, end: str) -> None:
    with open(f"{used.path}{end}", "ab") as file:
        file.truncate((1 << 30) + 1)  # a hole: it takes no room
    os.chmod(file.name, 0o600)
    found = examine(str(used.path), None)
    assert found.verdict is Verdict.CORRUPT
    assert f"{(1 << 30) + 1}" in found.detail


def test_what_reads_the_file_has_no_privilege_and_no_other_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It becomes the user, holds only the pipe, opens no other file, starts and calls nothing."""

    def attempt(action: Callable[[], object]) -> str:
        try:
            action()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "succeeded"

    def is_open(descriptor: int) -> bool:
        return attempt(lambda: os.fstat(descriptor)) != "EBADF"

    def look(path: str) -> tuple[str, str, str]:
        program = Path(path).parent / "program"
        told = {
            "uid": os.getuid(),
            "capabilities": credentials.read_capabilities() == credentials.NO_CAPABILITIES,
            "own file": attempt(lambda: os.close(os.open(path, os.O_RDWR))),
            "other file": attempt(lambda: os.open("/etc/passwd", os.O_RDONLY)),
            "program": attempt(lambda: os.execv(program, ["true"])),
            "another": attempt(lambda: os.execv("/bin/true", ["true"])),
            "a port": attempt(lambda: socket.socket().connect(called)),
            "opened": [one for one in range(3, 200) if is_open(one)],
        }
        return Verdict.GOOD, json.dumps(told), ""

    def inside() -> object:
        identity = NOBODY if is_real_root() else None
        with tempfile.TemporaryDirectory() as folder, open("/etc/passwd"):
            os.chmod(folder, 0o711)
            path = Path(folder, "state", "state.db")
            path.parent.mkdir(mode=0o700)
            path.touch(mode=0o600)
            shutil.copy("/bin/true", path.parent / "program")
            for name in (path.parent, *path.parent.iterdir()):
                os.chown(name, *((NOBODY.uid, NOBODY.gid) if identity else (-1, -1)))
            return examine(str(path), identity), identity

    server = socket.create_server(("127.0.0.1", 0))
    called = server.getsockname()
    monkeypatch.setattr(_store_file, "_judge", look)
    with server:
        ended = run_as_root(inside)
    found, identity = ended.value
    told = json.loads(found.detail)
    assert len(told.pop("opened")) == 1, "the pipe"
    assert told == {
        "uid": identity.uid if identity else 0,
        "capabilities": True,
        "own file": "succeeded",
        "other file": "EACCES",
        "program": "EACCES",
        "another": "EACCES",
        "a port": "EACCES" if landlock.abi() >= 4 else "succeeded",
    }


def is_real_root() -> bool:
    """Tell whether other users exist here: in a namespace of one user they do not."""
    return Path("/proc/self/uid_map").read_text().split()[2] != "1"


def _link(path: Path) -> None:
    path.rename(f"{path}.real")
    path.symlink_to(f"{path}.real")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_link, "is a symbolic link"),
        (_fifo, "is not a regular file"),
        (_folder, "is not a regular file"),
        (lambda path: Path(f"{path}-wal").symlink_to("/etc/passwd"), "-wal is a symbolic link"),
        (lambda path: path.chmod(0o620), "other users may write to"),
        (lambda path: path.chmod(0o602), "other users may write to"),
        (lambda path: path.parent.chmod(0o770), "other users may write to"),
        (lambda path: path.parent.chmod(0o1777), "other users may write to"),
        (lambda path: path.parent.parent.chmod(0o777), "other users may write to"),
    ],
)
def test_where_another_user_could_put_a_file_the_sender_does_not_start(
    used: Bench, spoil: Callable[[Path], object], words: str
) -> None:
    Path(f"{used.path}-wal").unlink(missing_ok=True)
    spoil(used.path)
    with pytest.raises(ConfigurationError, match=r"store\.url") as caught:
        examine(str(used.path), None)
    assert words in str(caught.value)
    assert caught.value.remedy


def test_a_folder_of_another_user_is_refused(used: Bench) -> None:
    if os.geteuid():
        pytest.skip("needs root, to give the folder to another user")
    os.chown(used.path.parent, 12345, 12345)
    with pytest.raises(ConfigurationError, match="belongs to user 12345"):
        examine(str(used.path), None)
    found = examine(str(used.path), Identity("another", 12345, 12345))
    assert found.verdict is Verdict.UNUSABLE, "it may not pass through pytest's folder"
    assert found.remedy.startswith("let user 12345 read and write")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "missing" / "state" / "state.db")
    found = examine(str(bench.path), None)
    assert found.verdict is Verdict.UNUSABLE
    assert "No such file or directory" in found.detail
    assert found.remedy == f"install -d -m 700 {bench.path.parent}, then restart"
    store, book = bench.open()
    bench.see(store, book, "anna", 1)
    assert book.fresh("anna", bench.now) == (address(1),), "ringing goes on"
    assert not store.status().working
    assert bench.events == ["store_unusable"]


def test_root_makes_the_folder_for_the_user() -> None:
    if os.geteuid():
        pytest.skip("needs root, to give the folder to another user")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)  # any user may pass through it; pytest's own is closed
        path = Path(folder, "state", "state.db")
        assert examine(str(path), NOBODY).verdict is Verdict.ABSENT
        assert path.parent.stat().st_uid == NOBODY.uid
        # Root need not have a permission that the user has: it leaves the files to the user.
        path.write_bytes(b"not a database at all" * 100)
        os.chown(path, NOBODY.uid, NOBODY.gid)
        path.chmod(0o600)
        assert examine(str(path), NOBODY).verdict is Verdict.FOREIGN


def test_a_file_system_that_is_read_only(used: Bench) -> None:
    def inside() -> object:
        done = subprocess.run(
            ["mount", "--bind", "-o", "ro", str(used.path.parent), str(used.path.parent)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise OSError(done.stderr)
        store, book = used.open()
        used.see(store, book, "anna", 1)
        return store.status().working, store.status().problem, used.events

    def in_a_namespace() -> object:
        own_mounts()
        return inside()

    ended = run_as_root(in_a_namespace)
    assert ended.error is None, ended
    working, problem, events = ended.value
    assert not working
    assert problem
    assert events[-1] in {"store_unusable", "storing_paused"}


def test_a_version_that_is_not_known_yet_has_another_number() -> None:
    """A change of the tables needs a new version: the schema is part of what is compared."""
    assert _database.VERSION == 1
    assert list(_database.SCHEMA) == ["book", "pending", "run"]


def test_a_log_without_its_database_is_not_taken_for_ours(used: Bench) -> None:
    """SQLite would copy a log into any database of that name, if their salts were equal."""
    store, book = used.open()
    used.see(store, book, "anna", 7)
    log = Path(f"{used.path}-wal").read_bytes()
    store.close()
    used.path.unlink()
    Path(f"{used.path}-wal").write_bytes(log)
    Path(f"{used.path}-wal").chmod(0o600)
    with used.opened() as (store, book):
        assert store.status().working
        assert book.fresh("anna", used.now) == ()
        used.see(store, book, "bert", 8)
    with used.opened() as (_, book):
        assert book.fresh("bert", used.now) == (address(8),)

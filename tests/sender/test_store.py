"""The store: what a later run finds, bounds, clocks, and disks that do not work."""

import errno
import math
import os
import resource
import sqlite3
import stat
from pathlib import Path
from typing import Any, NoReturn

import pytest
from harness.child import run, run_as_root
from hypothesis import given
from hypothesis import strategies as st
from sender.support_store import TTL, Bench, address, kill, mount_small_disk

from mailbell.sender import _database, _store
from mailbell.sender._store import Store
from mailbell.sender._store_file import examine


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "state" / "state.db")


def test_a_killed_run_has_lost_nothing(bench: Bench) -> None:
    with bench.opened() as (store, book):
        assert store.was_clean
        bench.see(store, book, "anna", 1)
        bench.see(store, book, "anna", 2)
        bench.see(store, book, "b\u00e4rbel@example.org", 3)
        assert len(store.descriptors) == 2
        assert store.status().working
    bench.wait(10)
    with bench.opened() as (store, book):
        assert not store.was_clean
        assert book.fresh("anna", bench.now) == (address(2), address(1))
        assert book.fresh("b\u00e4rbel@example.org", bench.now) == (address(3),)
        assert sorted(store.names()) == ["anna", "b\u00e4rbel@example.org"]
        assert store.pending == ()


def test_an_orderly_end_leaves_what_was_pending(bench: Bench) -> None:
    store, book = bench.open()
    bench.see(store, book, "anna", 1)
    store.close(["anna", "bert"])
    store.close(["nobody"])  # it is closed: nothing happens
    with bench.opened() as (store, book):
        assert store.was_clean
        assert store.pending == ("anna", "bert")
        assert book.fresh("anna", bench.now) == (address(1),)
    with bench.opened() as (store, _):
        assert not store.was_clean
        assert store.pending == (), "the run before has rung them, or was killed"


def test_more_that_was_pending_than_is_read_means_everybody(bench: Bench) -> None:
    bench.accounts = 2
    store, _ = bench.open()
    store.close(["anna", "bob", "carl"])
    store, _ = bench.open()
    assert not store.was_clean
    assert store.pending == ()
    store.close(["anna", "bob"])
    with bench.opened() as (store, _):
        assert store.was_clean
        assert store.pending == ("anna", "bob")


def test_an_end_before_all_of_the_last_run_was_rung(bench: Bench) -> None:
    """A killed run is followed by one that ends early: the third one still rings everybody."""
    with bench.opened() as (store, book):
        bench.see(store, book, "anna", 1)
    store, _ = bench.open()
    assert not store.was_clean
    store.close(["bert"], finished=False)
    with bench.opened() as (store, book):
        assert not store.was_clean
        assert book.fresh("anna", bench.now) == (address(1),)


def test_addresses_age_while_the_sender_does_not_run(bench: Bench) -> None:
    with bench.opened() as (store, book):
        bench.see(store, book, "anna", 1)
        bench.wait(TTL / 2)
        bench.see(store, book, "bert", 2)
    bench.wall += TTL / 2 + 1
    bench.now = 5.0  # the machine was started anew: another steady clock
    with bench.opened() as (store, book):
        assert book.fresh("anna", bench.now) == ()
        assert book.fresh("bert", bench.now) == (address(2),)
        assert book.fresh("bert", bench.now + TTL / 2) == ()


@pytest.mark.parametrize(("back", "kept"), [(60.0, True), (TTL + 60, False)])
def test_a_wall_clock_that_was_set_back(bench: Bench, back: float, kept: bool) -> None:
    """A time in the near future is now. A time in the far future says nothing."""
    with bench.opened() as (store, book):
        bench.see(store, book, "anna", 1)
    bench.wall -= back
    with bench.opened() as (store, book):
        assert book.fresh("anna", bench.now) == ((address(1),) if kept else ())
        assert book.fresh("anna", bench.now + TTL + 1) == ()


@pytest.mark.parametrize("forward", [0.0, 5e-7, 0.9])
def test_what_a_full_book_holds_stays_on_disk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, forward: float
) -> None:
    """The time of the oldest account is rounded, and the wall clock may be set forward."""
    monkeypatch.setattr(_store, "_SWEEP", 1)
    bench.accounts = 2
    bench.wall = math.nextafter(bench.wall, 0.0)  # just before the next millisecond
    with bench.opened() as (store, book):
        bench.see(store, book, "anna", 1)
        bench.wait(1.5)
        bench.wall += forward
        for _ in range(3):
            bench.see(store, book, "bert", 2)
        assert sorted(store.names()) == ["anna", "bert"]
        bench.wait(1.5)
        for _ in range(3):
            bench.see(store, book, "carl", 3)
        assert "anna" not in store.names(), "it was forgotten, and need not be read again"


def test_a_smaller_book_takes_the_newest_accounts(bench: Bench) -> None:
    with bench.opened() as (store, book):
        for number in range(20):
            bench.see(store, book, f"user{number}", number)
            bench.wait(1)
    bench.accounts = 5
    with bench.opened() as (store, book):
        assert len(book) == 5
        for number in range(20):
            assert bool(book.fresh(f"user{number}", bench.now)) is (number >= 15)


def test_of_accounts_that_were_seen_at_one_time_none_takes_the_place_of_a_newer_one(
    bench: Bench,
) -> None:
    with bench.opened() as (store, book):
        bench.see(store, book, "anna", 1)
        bench.see(store, book, "bob", 2)
        bench.wait(1)
        bench.see(store, book, "carl", 3)
    bench.accounts = 2
    with bench.opened() as (_, book):
        assert book.fresh("carl", bench.now) == (address(3),)
        assert len(book) == 2


def test_the_names_are_read_in_portions(bench: Bench) -> None:
    wanted = {f"user{number}" for number in range(300)}
    with bench.opened() as (store, book):
        for name in wanted:
            bench.see(store, book, name, 1)
        names = list(store.names())
        assert len(names) == 300
        assert set(names) == wanted


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute("SELECT count(*) FROM book").fetchone()
    finally:
        connection.close()
    return int(count)


@pytest.mark.uncounted
def test_the_table_is_bounded_although_it_is_swept_in_parts(bench: Bench) -> None:
    """10,000 accounts come once each; the book has places for 1,000, and so has the table."""
    store, book = bench.open()
    for number in range(10_000):
        bench.see(store, book, f"user{number * 7919 % 10_000}", number % 200)
        bench.wait(0.01)
    store.close()
    assert 1000 <= rows(bench.path) < 1500
    assert bench.path.stat().st_size < 400_000
    with bench.opened() as (_, book):
        assert len(book) == 1000


def test_what_is_too_old_leaves_the_table(bench: Bench) -> None:
    store, book = bench.open()
    for number in range(500):
        bench.see(store, book, f"old{number}", 1)
    bench.wait(TTL + 1 + _store._SLACK)
    for number in range(200):
        bench.see(store, book, f"new{number}", 1)
    store.close()
    assert rows(bench.path) < 300


def test_the_log_does_not_grow(bench: Bench) -> None:
    log = Path(f"{bench.path}-wal")
    with bench.opened() as (store, book):
        sizes = []
        for number in range(4 * _store._CHECKPOINT):
            bench.see(store, book, f"user{number % 900}", number % 200)
            sizes.append(log.stat().st_size)
        assert max(sizes) < 6_000_000
        first, *_, last = (
            max(sizes[start : start + _store._CHECKPOINT])
            for start in range(0, len(sizes), _store._CHECKPOINT)
        )
        assert last < first * 1.2, "the log is begun anew after a checkpoint"


def test_nobody_else_can_read_the_files(bench: Bench) -> None:
    before = os.umask(0)
    try:
        with bench.opened():
            assert os.umask(0) == 0, "the mask is as it was"
            files = [path for path in bench.path.parent.iterdir() if path.is_file()]
            assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
            assert len(files) == 2
    finally:
        os.umask(before)
    assert stat.S_IMODE(bench.path.parent.stat().st_mode) == 0o700


def test_a_second_run_beside_the_first_keeps_nothing_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailbell.sender._database._LOCK_WAIT", 0.01)
    first, book = bench.open()
    try:
        ended = run(lambda: _status_of(bench))
    finally:
        kill(first)
    working, problem, events, names = ended.value
    assert not working
    assert problem == "another process uses it"
    assert events == ["store_unusable"]
    assert names == []
    with bench.opened() as (store, _):
        assert store.status().working
    del book


def _status_of(bench: Bench) -> tuple[bool, str | None, list[str], list[str]]:
    store, book = bench.open()
    bench.see(store, book, "anna", 1)
    store.retry()
    store.close(["anna"])
    status = store.status()
    return status.working, status.problem, bench.events, list(store.names())


def full(bench: Bench) -> tuple[list[bool], list[str], int]:
    """Fill the disk, then make room; return whether it worked at each step, and the log."""
    store, book = bench.open()
    told = []
    big = bench.path.parent / "big"
    with open(big, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    for number in range(60):
        bench.see(store, book, f"full{number}", number)
    told.append(store.status().working)
    unsaved = store.status().unsaved
    big.unlink()
    store.retry()
    told.append(store.status().working)  # too early
    bench.wait(6)
    store.retry()
    told.append(store.status().working)
    bench.see(store, book, "late", 7)
    told.append(store.status().working)
    kill(store)
    with bench.opened() as (_, book):
        for number in range(60):
            assert book.fresh(f"full{number}", bench.now) == (address(number),)
        assert book.fresh("late", bench.now) == (address(7),)
    return told, bench.events, unsaved


def test_a_full_disk_costs_persistence_until_there_is_room(tmp_path: Path) -> None:
    """A real file system of 256 KiB. What could not be written is written later."""

    def inside() -> object:
        mount_small_disk(tmp_path)
        bench = Bench(tmp_path / "state" / "state.db")
        return full(bench)

    ended = run_as_root(inside)
    told, events, unsaved = ended.value
    assert told == [False, False, True, True], ended
    assert events == ["storing_paused", "storing_resumed"]
    assert unsaved > 10


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    """The file of an earlier run is there. The sender starts, and writes as soon as it can."""

    def inside() -> object:
        mount_small_disk(tmp_path)
        bench = Bench(tmp_path / "state" / "state.db")
        store, book = bench.open()
        bench.see(store, book, "anna", 1)
        store.close()
        big = tmp_path / "big"
        with open(big, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        store, book = bench.open()
        working = [store.status().working]
        known = book.fresh("anna", bench.now) == (address(1),)
        big.unlink()
        bench.wait(6)
        store.retry()
        working.append(store.status().working)
        kill(store)
        with bench.opened() as (store, _):
            return working, known, store.was_clean, bench.events

    ended = run_as_root(inside)
    working, known, was_clean, events = ended.value
    assert (working, known) == ([False, True], True), ended
    assert not was_clean, "the mark of the run was written as soon as there was room"
    assert events == ["storing_paused", "storing_resumed"]


def test_files_that_may_not_grow(bench: Bench) -> None:
    """RLIMIT_FSIZE instead of a full disk: another error of the kernel, and the same result."""

    def inside() -> object:
        store, book = bench.open()
        bench.see(store, book, "anna", 1)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        for number in range(5):
            bench.see(store, book, f"user{number}", number)
        failing = store.status()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        bench.wait(6)
        store.retry()
        return failing, store.status(), bench.events

    failing, later, events = run(inside).value
    assert not failing.working
    assert failing.problem
    assert failing.failures == 1, "it is not tried again at once"
    assert failing.unsaved == 5
    assert later.working
    assert later.unsaved == 0
    assert events == ["storing_paused", "storing_resumed"]


def test_while_nothing_can_be_written_memory_is_bounded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "_MOST_UNSAVED", 3)
    with bench.opened() as (store, book):
        store._fail(MemoryError())
        for number in (1, 2, 1, 3, 4):
            bench.see(store, book, f"user{number}", number)
        assert list(store._unsaved) == ["user1", "user3", "user4"]
        assert store.status().problem == "MemoryError"


def test_a_name_that_cannot_be_written_keeps_no_other_from_it(bench: Bench) -> None:
    """No part of the sender takes such a name. The store does not rely on it."""
    with bench.opened() as (store, book):
        for name in ("\ud800", "a\0b", "anna"):
            bench.see(store, book, name, 1)
        assert store.status().working
        assert list(store.names()) == ["anna"]


def test_a_file_that_breaks_while_the_sender_runs(bench: Bench) -> None:
    """Ringing goes on, the status says so, and the next start moves the file aside."""
    store, book = bench.open()
    for number in range(300):
        bench.see(store, book, f"user{number}", 1)
    store.close()
    store, book = bench.open()
    with open(bench.path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_000)
    store._opened().execute("PRAGMA shrink_memory")  # it had read all of it
    for number in range(300):
        bench.see(store, book, f"user{number}", 2)
        bench.wait(6)
    status = store.status()
    assert not status.working
    assert status.failures > 1, "it was tried again"
    assert book.fresh("user7", bench.now - 293 * 6) == (address(2), address(1))
    assert list(store.names()) == []
    store.close(["anna"])
    bench.lines.clear()
    with bench.opened() as (store, book):
        assert bench.events == ["store_moved_aside"]
        assert store.status().working
        assert not store.was_clean
        assert store.status().moved_aside == f"{bench.path}.corrupt-1"


def test_a_table_that_cannot_be_read_at_the_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench.opened() as (store, book):
        bench.see(store, book, "anna", 1)

    def fail(self: Store) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Store, "_load", fail)
    with bench.opened() as (store, book):
        assert store.status().problem == "disk I/O error"
        assert len(book) == 0


@given(st.binary(max_size=200))
def test_a_row_of_any_bytes_is_read(packed: bytes) -> None:
    """An intruder in the sender can write rows. Whatever they hold, the next run starts."""
    store = Store.__new__(Store)
    store._book = type("Book", (), {"ttl": TTL})()
    found = list(store._unpack(packed, 10.0, 1_800_000_000.0))
    assert len(found) <= len(packed) // 24
    assert all(-TTL <= one.time <= 10.0 for one in found)


@pytest.mark.parametrize("call", ["dup", "stat", "fstat"])
def test_files_whose_descriptors_are_not_found_are_not_used(
    call: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter of system calls permits these descriptors only: any other would kill."""
    with bench.opened() as (store, book):
        bench.see(store, book, "anna", 1)
    examined = examine(str(bench.path), None)

    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, "refused")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        store = bench.keep(examined, book)
    assert not store.status().working
    assert store.descriptors == ()
    assert store.load() == 0
    assert list(store.names()) == []
    assert bench.events[-1] == "store_unusable"
    with bench.opened() as (again, _):  # nothing of it is open any more
        assert again.status().working


def test_a_database_that_cannot_be_opened_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has the file open by then. New versions find out there that it is no database."""
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def note(path: str, **how: Any) -> sqlite3.Connection:
        made.append(connect(path, **how))
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", note)
    monkeypatch.setattr(_database, "_BEFORE_READING", ("no pragma",))
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        _database.connect(str(tmp_path / "state.db"))
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        made[0].execute("SELECT 1")

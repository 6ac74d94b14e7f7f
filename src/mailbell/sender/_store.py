"""Keeps the address book on disk, in SQLite, for a process that can open nothing more.

Everything is opened by `Store.open`: the database, and its write-ahead log, which is all that
SQLite needs in exclusive mode. After that it reads and writes these two files only.

Ringing never depends on the store. A write that fails costs only that the address is forgotten
if the sender ends before the write is tried again.

Source: SQLite, "Write-Ahead Logging" (sections 2.4 and 6, and "locking_mode").
"""

import errno
import os
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from mailbell.core.networks import Address
from mailbell.logs.journal import Journal, Level
from mailbell.logs.switch import Switch
from mailbell.sender import _database
from mailbell.sender._address_book import AddressBook, Sighting, pack_address, unpack_address
from mailbell.sender._store_file import Examined, Verdict, move_aside

__all__ = ["Store", "StoreStatus"]

# One sighting in a row: an address of 16 bytes, and a time in milliseconds since 1970.
_SIGHTING: Final = struct.Struct(">16sq")
_MILLISECONDS: Final = 1000.0

# Accounts whose last write failed. Those that are too many are forgotten if the sender ends now.
_MOST_UNSAVED: Final = 4096
_RETRY: Final = 5.0  # seconds between two attempts while writing fails
# Writes between two checkpoints. So the log has about four megabytes at most.
_CHECKPOINT: Final = 500
# One write of so many also looks for rows that are too old, at so many rows. So the whole
# table is looked through while an eighth of its rows is written.
_SWEEP: Final = 16
_SWEPT: Final = 128
_SLACK: Final = 1.0  # seconds for which a row stays that the book may not need any more
_NAMES: Final = 128  # accounts that are read at once
_OPEN_MEANWHILE: Final = 16  # descriptors that SQLite has for a moment while it opens its files
# The rows that are loaded: first those that are newer than the oldest, and then the oldest.
_NEWER: Final = "SELECT account, addresses FROM book WHERE newest > ?"
_AS_OLD: Final = "SELECT account, addresses FROM book WHERE newest = ?"
# What can go wrong with a statement. Python raises MemoryError where SQLite finds no memory, and
# UnicodeError where the words of SQLite's error quote a broken file.
_FAILURES: Final = (sqlite3.Error, MemoryError, UnicodeError)


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What the status tells about the store.

    Attributes:
        path: the database.
        working: whether addresses are kept on disk now.
        problem: why not; None: they are.
        moved_aside: where a file is now that could not be used; None: there was none.
        failures: how many attempts to write failed.
        unsaved: accounts whose last address is not on disk.
    """

    path: str
    working: bool
    problem: str | None
    moved_aside: str | None
    failures: int
    unsaved: int


class Store:
    """The address book on disk. `Store.open` makes one.

    Attributes:
        was_clean: whether the last run ended in order, and `pending` is all that it left. If not,
            a notification may have been accepted and not sent.
        pending: the accounts that still waited for a ring when the last run ended in order.
        descriptors: the open files, for the policy; empty if the store cannot be used.
    """

    def __init__(
        self,
        path: str,
        *,
        book: AddressBook,
        journal: Journal,
        steady: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._path = path
        self._book = book
        self._journal = journal
        self._switch = Switch(journal, "storing", path)
        self._steady = steady
        self._wall = wall
        self._connection: sqlite3.Connection | None = None
        self._problem: str | None = None
        self._moved_aside: str | None = None
        self._failures = 0
        self._unsaved: dict[str, None] = {}
        self._is_marked = False
        self._retry_at = 0.0
        self._writes = 0
        self._swept = b""
        self.was_clean = False
        self.pending: tuple[str, ...] = ()
        self.descriptors: tuple[int, ...] = ()

    @classmethod
    def open(
        cls,
        examined: Examined,
        *,
        book: AddressBook,
        journal: Journal,
        steady: Callable[[], float],
        wall: Callable[[], float],
    ) -> "Store":
        """Open the database. Everything that will ever be opened is open then.

        Call it as the user who owns the folder, when all privileges are gone, before Landlock.

        Args:
            examined: what `examine` found, while there were privileges.
            book: the address book that the store keeps.
            journal: the log.
            steady: returns seconds of the clock of the book.
            wall: returns seconds since 1970.

        Returns:
            The store. If the database cannot be used, the store keeps nothing, and says so.
        """
        store = cls(examined.path, book=book, journal=journal, steady=steady, wall=wall)
        mask = os.umask(0o077)
        try:
            store._take(examined)
        finally:
            os.umask(mask)
        return store

    def load(self) -> int:
        """Put everything that is fresh into the book; return how many accounts that were."""
        try:
            return self._load()
        except _FAILURES as error:
            self._fail(error)
            return len(self._book)

    def names(self) -> Iterator[str]:
        """Return the accounts on disk, one at a time. The book says whether one is fresh."""
        last = b""
        query = "SELECT account FROM book WHERE account > CAST(? AS TEXT) ORDER BY account LIMIT ?"
        while self._connection is not None:
            try:
                rows = self._connection.execute(query, (last, _NAMES)).fetchall()
            except _FAILURES as error:
                self._fail(error)
                return
            if not rows:
                return
            yield from (_database.text_of(account) for (account,) in rows)
            last = rows[-1][0]

    def note(self, account: str, address: Address) -> None:
        """Write what the book knows of an account. It never raises.

        Args:
            account: its name.
            address: the address that the book was just told. All fresh ones are written.
        """
        del address
        if self._connection is None or not account.isprintable():
            return  # such a name cannot always be written, and would keep the others from it
        if self._problem is not None:
            self._remember(account)
            self.retry()
            return
        try:
            self._write(account)
        except _FAILURES as error:
            self._remember(account)
            self._fail(error)

    def retry(self) -> None:
        """Write what could not be written. Call it every ten seconds or so; it never raises."""
        if self._connection is None or self._problem is None or self._steady() < self._retry_at:
            return
        try:
            self._mark()
            with self._transaction():
                for account in self._unsaved:
                    self._put(account)
            self._checkpoint()
        except _FAILURES as error:
            self._fail(error)
            return
        self._unsaved.clear()
        self._problem = None
        self._switch.on()

    def close(self, pending: Iterable[str] = (), *, finished: bool = True) -> None:
        """End in order. It never raises.

        Args:
            pending: the accounts that still wait for a ring. The next run rings them.
            finished: whether `pending` is all: this run has rung what the run before had left, and
                has read what was said to it. If not, the next run finds an end that was not in
                order, and rings everybody.
        """
        if self._connection is None:
            return
        self._retry_at = 0.0
        self.retry()
        try:
            if finished:
                self._end_run(pending)
            self._checkpoint()
        except _FAILURES as error:
            self._fail(error)
        # Where stat(2) is refused, SQLite leaves the log as it is. The next start reads it.
        with suppress(*_FAILURES):
            self._connection.close()
        self._connection = None

    def status(self) -> StoreStatus:
        """Return what the status tells about the store."""
        return StoreStatus(
            path=self._path,
            working=self._connection is not None and self._problem is None,
            problem=self._problem,
            moved_aside=self._moved_aside,
            failures=self._failures,
            unsaved=len(self._unsaved),
        )

    def _take(self, examined: Examined) -> None:
        """Use what was found, or say why that is not possible."""
        verdict = examined.verdict
        if verdict in {Verdict.LOCKED, Verdict.UNUSABLE}:
            self._give_up(examined.detail, examined.remedy)
            return
        try:
            if verdict not in {Verdict.ABSENT, Verdict.GOOD}:
                self._move_aside(examined)
            self._begin()
        except (OSError, *_FAILURES) as error:
            self._give_up(str(error), "see what is wrong with the file, then restart")

    def _move_aside(self, examined: Examined) -> None:
        moved = move_aside(examined.path, examined.verdict)
        if moved is None:
            raise OSError(f"it is {examined.verdict}, and so many others are beside it already")
        self._moved_aside = moved
        self._journal.log(
            Level.ERROR,
            "store_moved_aside",
            path=examined.path,
            to=moved,
            why=examined.verdict,
            detail=examined.detail or None,
            lost="the last-used addresses until each user logs in again",
        )

    def _begin(self) -> None:
        connection = _database.connect(self._path)
        try:
            _database.configure(connection)
            if _database.is_empty(connection):
                self._make(connection)
                # What a killed sender had accepted is unknown if its file had to be moved.
                self.was_clean = self._moved_aside is None
            else:
                (count,) = connection.execute("SELECT count(*) FROM run").fetchone()
                pending = tuple(self._read_pending(connection))
                has_all = len(pending) <= self._book.limit
                self.was_clean = has_all and not count
                self.pending = pending if has_all else ()
            # The filter of system calls permits these only: without them it must not be used.
            self.descriptors = _descriptors_of(self._path)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        try:
            self._mark()
            self._checkpoint()
        except _FAILURES as error:
            self._fail(error)

    def _make(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _database.CREATE:
            connection.execute(statement)
        connection.execute("COMMIT")

    def _read_pending(self, connection: sqlite3.Connection) -> Iterator[str]:
        """Yield the accounts; one too many tells that there are more, so that all must be rung."""
        query = "SELECT account FROM pending LIMIT ?"
        for (account,) in connection.execute(query, (self._book.limit + 1,)):
            yield _database.text_of(account)

    def _mark(self) -> None:
        """Note on disk that the sender runs. So the next start knows when this one was killed."""
        if not self._is_marked:
            with self._transaction() as connection:
                connection.execute("INSERT OR REPLACE INTO run VALUES (1)")
                connection.execute("DELETE FROM pending")
            self._is_marked = True

    def _end_run(self, pending: Iterable[str]) -> None:
        with self._transaction() as connection:
            connection.execute("DELETE FROM pending")
            rows = ((account,) for account in pending)
            connection.executemany("INSERT OR REPLACE INTO pending VALUES (?)", rows)
            connection.execute("DELETE FROM run")

    def _write(self, account: str) -> None:
        self._put(account)
        self._writes += 1
        if not self._writes % _SWEEP:
            self._sweep()
        if not self._writes % _CHECKPOINT:
            self._checkpoint()

    def _put(self, account: str) -> None:
        """Write the row of one account: all of its fresh addresses."""
        now, wall = self._steady(), self._wall()
        times, packed = [], b""
        for address, time in self._book.logins(account, now):
            milliseconds = _milliseconds(wall - (now - time))
            times.append(milliseconds)
            packed += _SIGHTING.pack(pack_address(address), milliseconds)
        if times:
            row = (account, max(times), packed)
            self._execute("INSERT OR REPLACE INTO book VALUES (?, ?, ?)", row)

    def _sweep(self) -> None:
        """Remove what the book no longer needs from the next part of the table."""
        now, wall = self._steady(), self._wall()
        # On disk the time of the oldest account may be earlier than it is now: it was rounded, and
        # the wall clock may have been set forward a little.
        horizon = _milliseconds(wall - (now - self._book.horizon(now)) - _SLACK)
        query = (
            "SELECT account FROM book WHERE account > CAST(? AS TEXT)"
            " ORDER BY account LIMIT 1 OFFSET ?"
        )
        end = self._execute(query, (self._swept, _SWEPT)).fetchone()
        statement = "DELETE FROM book WHERE account > CAST(? AS TEXT) AND newest < ?"
        if end is None:
            self._execute(statement, (self._swept, horizon))
            self._swept = b""
        else:
            bounded = f"{statement} AND account <= CAST(? AS TEXT)"
            self._execute(bounded, (self._swept, horizon, end[0]))
            self._swept = end[0]

    def _load(self) -> int:
        if self._connection is None:
            return 0
        now, wall = self._steady(), self._wall()
        oldest = self._oldest_needed(_milliseconds(wall - self._book.ttl))
        try:
            # The book may lack room for some of those that were last seen at the oldest time.
            for query in _NEWER, _AS_OLD:
                for account, packed in self._execute(query, (oldest,)):
                    self._book.restore(_database.text_of(account), self._unpack(packed, now, wall))
        finally:
            self._book.sort()
        return len(self._book)

    def _oldest_needed(self, oldest: int) -> int:
        """Return the time of the oldest row to load: later than `oldest` if there are too many."""
        query = "SELECT count(*) FROM book WHERE newest >= ?"
        (count,) = self._execute(query, (oldest,)).fetchone()
        if count <= self._book.limit:
            return oldest
        query = "SELECT newest FROM book ORDER BY newest DESC LIMIT 1 OFFSET ?"
        (newest,) = self._execute(query, (self._book.limit - 1,)).fetchone()
        return int(newest)

    def _unpack(self, packed: bytes, now: float, wall: float) -> Iterator[Sighting]:
        """Read a row. Half a record at its end is ignored."""
        whole = len(packed) // _SIGHTING.size * _SIGHTING.size
        for address, milliseconds in _SIGHTING.iter_unpack(packed[:whole]):
            age = wall - milliseconds / _MILLISECONDS
            # The wall clock may have been set back a little. A time that is further in the
            # future says nothing.
            if -self._book.ttl <= age <= self._book.ttl:
                yield Sighting(unpack_address(address), now - max(age, 0.0))

    def _execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        return self._opened().execute(statement, values)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the store is closed")
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all or nothing."""
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # SQLite has ended the transaction itself after some errors.
            if connection.in_transaction:
                with suppress(*_FAILURES):
                    connection.execute("ROLLBACK")
            raise

    def _checkpoint(self) -> None:
        """Copy the log into the database. The next write then begins the log anew."""
        self._execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _remember(self, account: str) -> None:
        self._unsaved.pop(account, None)
        self._unsaved[account] = None
        if len(self._unsaved) > _MOST_UNSAVED:
            del self._unsaved[next(iter(self._unsaved))]

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        self._problem = str(error) or type(error).__name__
        self._retry_at = self._steady() + _RETRY
        self._switch.off(self._problem)

    def _give_up(self, why: str, remedy: str) -> None:
        """Keep nothing in this run, and say so once."""
        self._problem = why
        self._journal.log(
            Level.ERROR, "store_unusable", path=self._path, why=why, remedy=remedy or None
        )


def _milliseconds(seconds: float) -> int:
    return int(seconds * _MILLISECONDS)


def _descriptors_of(path: str) -> tuple[int, ...]:
    """Return the descriptors of the database and its log.

    It opens neither of them: a process that closes any descriptor of a file loses all of its
    locks on it, fcntl(2). A new descriptor takes the lowest free number, so theirs lie below
    that number or just above it.

    Raises:
        OSError: they are not found.
    """
    wanted = set()
    for name in (path, f"{path}-wal"):
        status = os.stat(name)
        wanted.add((status.st_dev, status.st_ino))
    free = os.dup(2)
    os.close(free)
    found = {}
    for number in range(free + _OPEN_MEANWHILE):
        with suppress(OSError):  # it is not open
            status = os.fstat(number)
            if (status.st_dev, status.st_ino) in wanted:
                found[number] = status.st_dev, status.st_ino
    if {*found.values()} != wanted:
        raise OSError(errno.ENOENT, "the descriptors of the database are not found")
    return tuple(found)

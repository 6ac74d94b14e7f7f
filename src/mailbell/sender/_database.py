"""The form of the database, and how SQLite is told to trust no part of it.

The file belongs to the sender's user. An intruder in the sender cannot open a file, but may
write to this one. So whoever reads it again takes it for input from outside.
"""

import sqlite3
from typing import Any, Final

__all__ = [
    "APPLICATION",
    "CREATE",
    "SCHEMA",
    "VERSION",
    "WRONG_ROWS",
    "configure",
    "connect",
    "is_empty",
    "number_of",
    "text_of",
]

APPLICATION: Final = 0x6D62656C
"""The application id in the header of the file: "mbel". Source: SQLite, "Database File Format"."""

VERSION: Final = 1
"""The version of the form. A file with a greater number is of a newer mailbell."""

# `book`: `newest` is the greatest time in `addresses`, in milliseconds since 1970.
# `pending`: the accounts that still waited for a ring when the last run ended in order.
# `run`: a row while the sender runs. A sender that is killed leaves it.
SCHEMA: Final = {
    "book": "CREATE TABLE book (account TEXT PRIMARY KEY, newest INTEGER NOT NULL,"
    " addresses BLOB NOT NULL) WITHOUT ROWID",
    "pending": "CREATE TABLE pending (account TEXT PRIMARY KEY) WITHOUT ROWID",
    "run": "CREATE TABLE run (running INTEGER PRIMARY KEY) WITHOUT ROWID",
}
"""The statement that made each table. A file with another schema is not ours."""

CREATE: Final = (
    *SCHEMA.values(),
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)
"""What makes an empty file ours, in one transaction."""

WRONG_ROWS: Final = (
    "SELECT count(*) FROM book WHERE typeof(account) != 'text' OR typeof(newest) != 'integer'"
    " OR typeof(addresses) != 'blob'"
)
"""Asks for rows that the program never writes."""

# Seconds to wait for another process that uses the database, as an operator's backup does.
_LOCK_WAIT: Final = 2.0
_KIB: Final = 1024
# Bytes of one text or blob, and of one statement. Our longest row has less than 2 KiB.
_LONGEST_VALUE: Final = 64 * _KIB
_LONGEST_STATEMENT: Final = 4 * _KIB

_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: _LONGEST_VALUE,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: _LONGEST_STATEMENT,
    sqlite3.SQLITE_LIMIT_COLUMN: 16,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 16,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 1,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 4,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 0,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 8,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}

# Those that read no byte of the file. `locking_mode` stands before all that do: the first
# access to the log then makes its index in memory, and no further file.
_BEFORE_READING: Final = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "mmap_size = 0",
    "temp_store = MEMORY",
    f"hard_heap_limit = {32 * _KIB * _KIB}",
    "locking_mode = EXCLUSIVE",
)
# `synchronous`: SQLite never waits for the disk. A killed sender loses nothing: the kernel has
# all that was written. A power failure can cost the file, which is then begun anew.
# `wal_autocheckpoint`: SQLite would not tell of a failure. So the store does it.
# `max_page_count`: one page of 4 KiB less than half a gigabyte, because the filter of system calls
# lets no write begin behind that. 100,000 accounts of any length need less.
_AFTER_READING: Final = (
    "synchronous = OFF",
    f"cache_size = -{_KIB}",  # KiB
    "secure_delete = FAST",
    "wal_autocheckpoint = 0",
    "max_page_count = 131071",
)


def connect(path: str) -> sqlite3.Connection:
    """Open a database, and read nothing of it yet.

    Every text comes back as bytes, because a hostile file may have any bytes there.

    Args:
        path: an absolute path.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(
        path, timeout=_LOCK_WAIT, isolation_level=None, cached_statements=16
    )
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.text_factory = bytes
    for category, limit in _LIMITS.items():
        connection.setlimit(category, limit)
    # Python 3.11 lacks `setconfig`.
    setconfig = getattr(connection, "setconfig", None)
    if setconfig is not None:
        setconfig(vars(sqlite3)["SQLITE_DBCONFIG_DEFENSIVE"], True)
    for pragma in _BEFORE_READING:
        connection.execute(f"PRAGMA {pragma}").fetchall()
    # SQLite opens /dev/urandom at its first need of a random number, and never again. New ones read
    # the file for that.
    connection.execute("SELECT random()").fetchall()


def configure(connection: sqlite3.Connection) -> None:
    """Make a connection ready to write.

    Raises:
        sqlite3.Error: the file cannot be read or written.
    """
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if text_of(mode[0]) != "wal":
        raise sqlite3.OperationalError("the file system permits no write-ahead log")
    for pragma in _AFTER_READING:
        connection.execute(f"PRAGMA {pragma}").fetchall()


def is_empty(connection: sqlite3.Connection) -> bool:
    """Tell whether a database has no content, so that anybody may take it.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    schema = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not (
        number_of(connection, "application_id")
        or number_of(connection, "user_version")
        or schema[0]
    )


def number_of(connection: sqlite3.Connection, pragma: str) -> int:
    """Return the number that a pragma tells.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    (number,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(number)


def text_of(value: Any) -> str:
    """Return a text of the database; what is not UTF-8 in it is replaced."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

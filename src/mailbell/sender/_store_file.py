"""Looks at the database before it is used, in a process of its own.

Two reasons. The file may be anything: one that crashes SQLite or keeps it busy must cost the
file, and not each start of the sender. And root must not read a file that the sender's user can
write. So a child becomes that user, gives up what it can, reads all of the file, and says what
it is. It changes no byte of it.
"""

import os
import resource
import select
import signal
import sqlite3
import stat
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn

from mailbell._sys import credentials, landlock, process
from mailbell._sys.trusted_path import find_weaknesses
from mailbell.core.errors import (
    ConfigurationError,
    InternalError,
    MailbellError,
    OperatingSystemError,
    PrivilegeError,
)
from mailbell.sender import _database

__all__ = ["COMPANIONS", "NEEDED", "Examined", "Verdict", "examine", "move_aside"]

NEEDED: Final = ("/dev/urandom",)
"""What SQLite reads beside its own files."""

COMPANIONS: Final = ("-wal", "-journal", "-shm")
"""What SQLite appends to the name of a database for its other files."""

# Bytes. 100,000 accounts with the longest names need a quarter of it.
_LARGEST: Final = 1 << 30
# Seconds of processor time, and of waiting. A quick check of 100,000 accounts takes half a second.
_MOST_TIME: Final = 20
_PATIENCE: Final = 30.0
_LAST_WAIT: Final = 5.0
_KILLED_WAIT: Final = 5.0
_MOST_REPORT: Final = 32 * 1024
# Characters of the words about a file. A path has 4,096 bytes at most, and is quoted in full.
_MOST_WORDS: Final = 4096 + 256
# Files that could not be used and are kept. An operator who wants more has moved them away.
_KEPT: Final = 8


# What the child says of a file that another user could change. It is a mistake of the operator.
_UNSAFE: Final = "unsafe"
# What the child says if it cannot be locked in: the name of the error. The sender could not be
# either, so it does not start.
_REFUSALS: Final = {
    error.__name__: error for error in (InternalError, OperatingSystemError, PrivilegeError)
}
# In the child: SQLite changes the file when it is closed, so it is never closed.
_held: Final[list[sqlite3.Connection]] = []


class Verdict(StrEnum):
    """What there is where the database should be."""

    ABSENT = "absent"
    GOOD = "good"
    CORRUPT = "corrupt"
    FOREIGN = "foreign"  # a database, or another file, that is not ours
    NEWER = "newer"  # of a newer version of mailbell
    LOCKED = "locked"  # another process uses it
    UNUSABLE = "unusable"  # it cannot be opened, and another file in its place could not either


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found.

    Attributes:
        path: the database.
        verdict: what it is.
        detail: more words about it, for the log; empty if there is no more to say.
        remedy: what the operator can do; empty if there is nothing to do.
    """

    path: str
    verdict: Verdict
    detail: str = ""
    remedy: str = ""

    @property
    def folder(self) -> str | None:
        """The folder in which `Store.open` opens files; None: it opens none."""
        is_off = self.verdict in {Verdict.LOCKED, Verdict.UNUSABLE}
        return None if is_off else os.path.dirname(self.path)


def examine(path: str, identity: credentials.Identity | None, key: str = "store.url") -> Examined:
    """Look at the database. Its folder is made if only that is missing.

    Call it with a single thread, while there are privileges, and before the event loop runs.

    Args:
        path: the database, an absolute path.
        identity: the user that the program becomes; None: it stays what it is.
        key: of the configuration that names it, for messages.

    Returns:
        What was found.

    Raises:
        ConfigurationError: another user could put a file there, or what is there is no file.
        OperatingSystemError, InternalError, PrivilegeError: the process that looks cannot be
            locked in.
    """
    folder = os.path.dirname(path)
    try:
        _make_folder(folder, identity)
        _require_safe_folder(folder, identity, key)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename or folder}"
        return Examined(path, Verdict.UNUSABLE, reason, _folder_remedy(folder, identity))
    return _examined_by_child(path, identity, key)


def move_aside(path: str, verdict: Verdict) -> str | None:
    """Give a file that cannot be used another name, which no file has.

    Args:
        path: the database.
        verdict: becomes part of the name.

    Returns:
        The new path of the database; None: as many files as are kept are there already.

    Raises:
        OSError: a file could not be renamed.
    """
    for number in range(1, _KEPT + 1):
        target = f"{path}.{verdict}-{number}"
        if not any(os.path.lexists(target + end) for end in ("", *COMPANIONS)):
            os.rename(path, target)
            for end in COMPANIONS:
                with suppress(FileNotFoundError):
                    os.rename(path + end, target + end)
            return target
    return None


def _make_folder(folder: str, identity: credentials.Identity | None) -> None:
    with suppress(FileExistsError):
        os.mkdir(folder, mode=0o700)
        if identity is not None:
            os.chown(folder, identity.uid, identity.gid, follow_symlinks=False)


def _require_safe_folder(folder: str, identity: credentials.Identity | None, key: str) -> None:
    trusted = () if identity is None else (identity.uid,)
    weaknesses = find_weaknesses(folder, trusted, whole=True)
    if weaknesses:
        raise ConfigurationError(f"{key}: {weaknesses[0]}", weaknesses[0].remedy)
    # A sticky folder is safe for the names in it, and not for those that are not there yet.
    if os.stat(folder).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(
            f"{key}: other users may write to {folder}", f"chmod go-w {folder}"
        )


def _folder_remedy(folder: str, identity: credentials.Identity | None) -> str:
    owner = "" if identity is None else f" -o {identity.name} -g {identity.gid}"
    return f"install -d -m 700{owner} {folder}, then restart"


def _examined_by_child(path: str, identity: credentials.Identity | None, key: str) -> Examined:
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        _be_child(path, identity, writer)
    os.close(writer)
    try:
        report = _read_in_time(reader)
    finally:
        os.close(reader)
        killed_by = _end(pid)
    if report:
        verdict, detail, remedy = _read_report(report)
        if verdict == _UNSAFE:
            raise ConfigurationError(f"{key}: {detail}", remedy)
        if verdict in _REFUSALS:
            raise _REFUSALS[verdict](detail, remedy)
        return Examined(path, Verdict(verdict), detail, remedy)
    if killed_by is None:
        return Examined(path, Verdict.UNUSABLE, f"it cannot be read in {_PATIENCE:.0f} s")
    return Examined(path, Verdict.CORRUPT, f"reading it ended with {killed_by}")


def _report_of(verdict: str, detail: str = "", remedy: str = "") -> bytes:
    """Return what the child reports. SQLite quotes the file in its words, at any length."""
    words = (verdict, detail[:_MOST_WORDS], remedy)
    return "\0".join(word.replace("\0", "?") for word in words).encode(errors="replace")


def _read_report(report: bytes) -> tuple[str, str, str]:
    """Read what the child reports. An intruder may be in the child: the file is hostile input."""
    words = report.decode(errors="replace").split("\0")
    if len(words) != 3 or words[0] not in {*Verdict, _UNSAFE, *_REFUSALS}:
        return Verdict.CORRUPT, "reading it ended with nonsense", ""
    return words[0], words[1], words[2]


def _end(pid: int) -> str | None:
    """End the child. Return the name of the signal that ended it before; None: there was none."""
    ended = os.pidfd_open(pid)
    try:
        # It has reported, or is killed already, or does not end in time.
        if not _is_ready(ended, _LAST_WAIT):
            os.kill(pid, signal.SIGKILL)
            if _is_ready(ended, _KILLED_WAIT):
                os.waitpid(pid, 0)
            return None  # a process that waits for a dead disk cannot be ended
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(ended)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None


def _be_child(path: str, identity: credentials.Identity | None, writer: int) -> NoReturn:
    report = b""
    try:
        # Among them are the sockets that root has bound. A process that reads a hostile file
        # must not hold them.
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        _give_up(identity, os.path.dirname(path))
        report = _report_of(*_judge(path))
    except MailbellError as error:
        report = _report_of(type(error).__name__, error.what, error.remedy)
    except MemoryError:
        report = _report_of(Verdict.CORRUPT, "it takes too much memory")
    except OSError as error:
        words = f"{error.strerror}: {error.filename}", _permission_remedy(path)
        report = _report_of(Verdict.UNUSABLE, *words)
    except BaseException as error:  # nothing may return into the code of the sender
        report = _report_of(Verdict.UNUSABLE, f"{type(error).__name__}: {error}")
    finally:
        with suppress(OSError):
            os.write(writer, report[:_MOST_REPORT])
        os._exit(0)


def _give_up(identity: credentials.Identity | None, folder: str) -> None:
    """Become the user, keep one folder, and limit what reading the file can cost."""
    if identity is not None:
        credentials.empty_bounding_set()
        credentials.become(identity)
    credentials.clear_capabilities()
    process.no_new_privileges()
    landlock.confine_files(folder, NEEDED, alone=True)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + _MOST_TIME
    wanted = {"CORE": 0, "NPROC": 0, "CPU": seconds}
    for name, limit in wanted.items():
        kind: int = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        permitted = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (permitted, permitted))


def _judge(path: str) -> tuple[str, str, str]:
    """Say what a file is: a verdict, more words, and a remedy."""
    try:
        return _danger_of(path) or _judge_file(path)
    except FileNotFoundError:
        return Verdict.ABSENT, "", ""
    except sqlite3.Error as error:
        return _judge_error(path, error)
    except UnicodeError:  # of an error of SQLite, whose words quote the file
        return Verdict.CORRUPT, "its tables have names that are not UTF-8", ""
    except OSError as error:
        return Verdict.UNUSABLE, f"{error.strerror}: {path}", _permission_remedy(path)


def _judge_file(path: str) -> tuple[str, str, str]:
    size = os.stat(path).st_size
    log = f"{path}-wal"
    log_size = os.stat(log).st_size if os.path.exists(log) else 0
    if max(size, log_size) > _LARGEST:
        return Verdict.CORRUPT, f"it has {size} bytes, and its log has {log_size}", ""
    if not size and not log_size:
        return Verdict.ABSENT, "", ""
    connection = _database.connect(path)
    _held.append(connection)
    return (*_judge_content(connection), "")


def _danger_of(path: str) -> tuple[str, str, str] | None:
    """Say what another user could change; None: nothing."""
    for name in (path + end for end in ("", *COMPANIONS)):
        try:
            status = os.lstat(name)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a regular file"
            return _UNSAFE, f"{name} is {kind}", "remove it, or name another file"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return _UNSAFE, f"other users may write to {name}", f"chmod 600 {name}"
    return None


def _judge_content(connection: sqlite3.Connection) -> tuple[Verdict, str]:
    if _database.is_empty(connection):
        return Verdict.GOOD, ""
    application = _database.number_of(connection, "application_id")
    version = _database.number_of(connection, "user_version")
    if application != _database.APPLICATION:
        return Verdict.FOREIGN, f"its application id is {application}"
    if version > _database.VERSION:
        return Verdict.NEWER, f"its version is {version}, and {_database.VERSION} is known here"
    rows = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
    schema = {_database.text_of(name): _database.text_of(sql) for name, sql in rows}
    if version != _database.VERSION or schema != _database.SCHEMA:
        return Verdict.FOREIGN, "its tables are not those of this program"
    # The tables are known to be plain ones: nothing in the schema acts while they are read.
    fault = _fault_in_rows(connection)
    # A header may permit to read and forbid to write: SQLite, "Database File Format", "File
    # format version numbers". This begins to write, and writes nothing.
    connection.execute("DELETE FROM run WHERE 0")
    return (Verdict.CORRUPT, fault) if fault else (Verdict.GOOD, "")


def _fault_in_rows(connection: sqlite3.Connection) -> str:
    """Read all of the file. Return what is wrong with it; empty: nothing."""
    (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if _database.text_of(answer) != "ok":
        return _database.text_of(answer)
    (wrong,) = connection.execute(_database.WRONG_ROWS).fetchone()
    return f"{wrong} rows are of another form" if wrong else ""


def _judge_error(path: str, error: sqlite3.Error) -> tuple[str, str, str]:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return Verdict.LOCKED, "another process uses it", "end that process, then restart"
    if code == sqlite3.SQLITE_NOTADB:
        return Verdict.FOREIGN, "it is no database of SQLite", ""
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_ERROR}:
        return Verdict.CORRUPT, str(error), ""
    if code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK):
        return Verdict.CORRUPT, "its header forbids to write", ""
    if code == sqlite3.SQLITE_NOMEM:
        return Verdict.CORRUPT, "it takes too much memory", ""
    return Verdict.UNUSABLE, str(error), _permission_remedy(path)


def _permission_remedy(path: str) -> str:
    return f"let user {os.geteuid()} read and write {path} and its folder, then restart"


def _read_in_time(reader: int) -> bytes:
    """Return what the child reports; empty: it ended without a report, or did not end in time."""
    return os.read(reader, _MOST_REPORT) if _is_ready(reader, _PATIENCE) else b""


def _is_ready(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))

"""Locks that let only one agent fetch for an account: two at once have destroyed mail.

A lock is flock(2) on a file. So the kernel releases it in whatever way the process ends,
and a file without a lock means nothing. For a lock named `fetch`, the directory has these
files:

    fetch           all accounts: an agent for all accounts holds it exclusively, and
                    every agent for some accounts shares it
    fetch:work      the account `work`: an agent for this account holds it exclusively

The names of locks and accounts contain no colon. The agent that holds a file exclusively
writes its process id into it. Another agent reads the id for its message.

After an agent was killed, the keepers of its commands hold its locks until they have ended
all that the commands have started. If a keeper was killed too, the kernel releases the
lock, although a command may still fetch. So each agent also writes the sessions of its
commands into its files. No agent takes a lock while a process runs in a session that an
earlier holder has written down.

If somebody removes or replaces a file, its lock excludes nobody any more: another agent
makes a new file. So an agent calls `Turn.renew` before each run and every few seconds.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from mailbell._sys.trusted_path import find_weaknesses, make_folders
from mailbell.agent._processes import continue_keepers
from mailbell.agent._session import Session
from mailbell.core.account_name import is_account_name
from mailbell.core.errors import (
    ConfigurationError,
    MailbellError,
    OperatingSystemError,
    PrivilegeError,
    TemporaryError,
)

__all__ = ["Turn", "take", "take_all"]

_PID: Final = re.compile(rb"[1-9][0-9]{0,9}")
_MAX_SIZE: Final = 64 * 1024  # bytes; enough for the sessions of a thousand commands


class Turn:
    """The exclusive right to fetch. `take` and `take_all` make it.

    It ends with `close`, or with the process, and with each keeper of a command that still
    holds `descriptors`. A program that the process executes does not get it.

    Args:
        directory: the directory of the locks. It is also an attribute.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._names: dict[int, str] = {}  # of the files, by descriptor
        self._exclusive: list[int] = []
        self._shared: list[int] = []
        self._sessions: tuple[Session, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the locks. Closing it again does nothing."""
        # The notes of commands that could not be ended stay in the files.
        left = [session for session in self._sessions if session.left()]
        while self._exclusive:
            descriptor = self._exclusive.pop()
            _write(descriptor, left)
            os.close(descriptor)
        while self._shared:
            os.close(self._shared.pop())

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The open files with the locks."""
        return (*self._exclusive, *self._shared)

    def note(self, sessions: Collection[Session]) -> None:
        """Write the sessions of the running commands into the lock files.

        Args:
            sessions: all sessions in which a command runs.
        """
        self._sessions = tuple(sessions)
        for descriptor in self._exclusive:
            _write(descriptor, sessions, os.getpid())

    def renew(self) -> bool:
        """Take each lock again whose file was removed or replaced, with the same descriptor.

        Returns:
            Whether there was such a file.

        Raises:
            TemporaryError: another agent has such a lock by now.
            MailbellError: the lock cannot be taken again.
        """
        gone = [held for held in self.descriptors if not self._is_in_place(held)]
        if not gone:
            return False
        try:
            self._take_all_again(gone)
        except MailbellError as error:
            what = f"{self.directory} was removed or replaced while this agent ran, and now"
            raise type(error)(f"{what} {error.what}", error.remedy) from error
        self.note(self._sessions)
        return True

    def _is_in_place(self, descriptor: int) -> bool:
        path = os.path.join(self.directory, self._names[descriptor])
        try:
            return os.path.samestat(os.lstat(path), os.fstat(descriptor))
        except OSError:
            return False

    def _take_all_again(self, descriptors: Iterable[int]) -> None:
        try:
            place = _open_directory(self.directory)
            try:
                # In the same order as `take_all`.
                for descriptor in sorted(descriptors, key=lambda it: self._names[it].split(":")):
                    self._take_again(place, descriptor)
            finally:
                os.close(place)
        except OSError as error:
            raise _explain(error, self.directory) from error

    def _take_again(self, place: int, descriptor: int) -> None:
        """Lock the new file. The descriptor keeps its number, so that keepers hold it too."""
        name = self._names[descriptor]
        lock, _, account = name.partition(":")
        is_for_all = not account and descriptor in self._exclusive
        how = fcntl.LOCK_EX if descriptor in self._exclusive else fcntl.LOCK_SH
        new = _locked(place, name, how)
        if new is None and is_for_all:
            raise _taken_of_all(place, lock)
        if new is None:
            whose = f"account {account}" if account else "all accounts"
            raise _taken(lock, whose, _holder(place, name))
        os.dup2(new, descriptor, inheritable=False)
        os.close(new)
        for other in _of_accounts(place, lock) if is_for_all else ():
            _require_nothing_left(place, other)

    def add(self, place: int, lock: str, accounts: Collection[str]) -> None:
        """Take one more lock.

        Args:
            place: the descriptor of the directory.
            lock: the name of the lock.
            accounts: the accounts to fetch for; empty: all accounts.

        Raises:
            TemporaryError: another agent has the lock.
            OSError: the file cannot be opened or locked.
        """
        if not accounts:
            if not self._lock(place, lock, fcntl.LOCK_EX):
                raise _taken_of_all(place, lock)
            for name in _of_accounts(place, lock):
                _require_nothing_left(place, name)
            return
        if not self._lock(place, lock, fcntl.LOCK_SH):
            raise _taken(lock, "all accounts", _holder(place, lock))
        # Every agent takes them in the same order. So of several agents that start at the
        # same time, one gets all of its locks.
        for account in sorted(set(accounts)):
            if not self._lock(place, f"{lock}:{account}", fcntl.LOCK_EX):
                holder = _holder(place, f"{lock}:{account}")
                raise _taken(lock, f"account {account}", holder)

    def _lock(self, place: int, name: str, how: int) -> bool:
        descriptor = _locked(place, name, how)
        if descriptor is None:
            return False
        self._names[descriptor] = name
        (self._exclusive if how == fcntl.LOCK_EX else self._shared).append(descriptor)
        return True


def take(directory: str, lock: str, accounts: Collection[str]) -> Turn:
    """Make sure that no other agent fetches for these accounts.

    Args:
        directory: the directory of the locks. It is made if it does not exist.
        lock: the name of the lock. Agents with different locks ignore each other.
        accounts: the names of the accounts; empty: all accounts.

    Returns:
        The right to fetch, which holds the locks.

    Raises:
        TemporaryError: another agent fetches for one of the accounts.
        MailbellError: this directory cannot have locks, or a lock cannot have this name.
    """
    return take_all(directory, [(lock, accounts)])


def take_all(directory: str, wanted: Iterable[tuple[str, Collection[str]]]) -> Turn:
    """Take several locks, either all or none of them.

    `wanted` may contain the same lock more than once, with different accounts: a process
    does not exclude itself.

    Args:
        directory: the directory of the locks. It is made if it does not exist.
        wanted: pairs of the name of a lock and the names of accounts.

    Returns:
        The right to fetch, which holds the locks.

    Raises:
        TemporaryError: another agent fetches for one of the accounts.
        MailbellError: this directory cannot have locks, or a lock cannot have this name.
    """
    merged = _merged(wanted)
    turn = Turn(directory)
    try:
        place = _open_directory(directory)
        try:
            for lock, accounts in sorted(merged.items()):
                turn.add(place, lock, accounts)
        finally:
            os.close(place)
    except OSError as error:
        turn.close()
        raise _explain(error, directory) from error
    except BaseException:
        turn.close()
        raise
    return turn


def _merged(wanted: Iterable[tuple[str, Collection[str]]]) -> dict[str, frozenset[str]]:
    """Join the accounts of each lock. An empty set means all accounts, and stays empty."""
    merged: dict[str, frozenset[str]] = {}
    for lock, accounts in wanted:
        for name in (lock, *accounts):
            if not is_account_name(name):
                raise ConfigurationError(
                    f"{name!r} cannot be part of a lock's name",
                    "use letters, digits and ._@+-, the first a letter or a digit",
                )
        before = merged.get(lock, frozenset(accounts))
        merged[lock] = before.union(accounts) if before and accounts else frozenset()
    return merged


# --- files --------------------------------------------------------------------


def _open_directory(path: str) -> int:
    """Open the directory, or make it. Refuse a directory that other users could change."""
    parent = os.path.dirname(path)
    _require_safe_way(parent, path)
    make_folders(path)
    # Again: in a sticky folder another user may have made one of the missing folders first.
    _require_safe_way(parent, path, whole=True)
    place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _require_ours(os.fstat(place), path)
    except BaseException:
        os.close(place)
        raise
    return place


def _require_safe_way(parent: str, path: str, *, whole: bool = False) -> None:
    """Refuse it if another user could put another directory in its place.

    Two agents would have two directories, and both would fetch.
    """
    weaknesses = find_weaknesses(parent, whole=whole)
    if weaknesses:
        raise ConfigurationError(
            f"{weaknesses[0]}, who could replace the folder of the locks, {path}",
            weaknesses[0].remedy,
        )


def _require_ours(status: os.stat_result, path: str) -> None:
    remedy = f"see who made it, and remove it: {path}"
    if status.st_uid != os.geteuid():
        what = f"{path} belongs to user {status.st_uid}, and not to you"
        raise ConfigurationError(what, remedy)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(f"other users may write to {path}", remedy)


def _locked(place: int, name: str, how: int) -> int | None:
    """Open and lock a file; return its descriptor, or None if another process has the lock."""
    descriptor = _open(place, name)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        _require_nothing_left(place, name)
    except BlockingIOError:
        os.close(descriptor)
        _require_a_living_holder(place, name)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    # While the lock is shared, no agent has it exclusively: a process id in the file is out
    # of date.
    _write(descriptor, (), os.getpid() if how == fcntl.LOCK_EX else None)
    return descriptor


def _open(place: int, name: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=place)


def _write(descriptor: int, sessions: Iterable[Session], pid: int | None = None) -> None:
    lines = [b"%d" % pid] if pid else [b""] if sessions else []
    data = b"".join(line + b"\n" for line in [*lines, *(session.note() for session in sessions)])
    # The agent goes on when the disk is full: others need the content only for a message,
    # or if this agent is killed.
    with suppress(OSError):
        # Write first and cut then: so the file is never empty, even if we are killed here.
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))


def _read(place: int, name: str) -> list[bytes]:
    """Return the lines of a file, or no lines if the file cannot be read."""
    try:
        descriptor = _open(place, name)
    except OSError:
        return []
    try:
        return os.read(descriptor, _MAX_SIZE).split(b"\n")
    finally:
        os.close(descriptor)


def _of_accounts(place: int, lock: str) -> list[str]:
    return sorted(name for name in os.listdir(place) if name.startswith(f"{lock}:"))


# --- messages -----------------------------------------------------------------


def _taken(lock: str, whose: str, pid: int | None) -> TemporaryError:
    who = f"another mailbell run (pid {pid})" if pid else "another mailbell run"
    return TemporaryError(
        f"{who} fetches for {whose} already, under the lock {lock}",
        "end it, or choose another --lock",
    )


def _taken_of_all(place: int, lock: str) -> TemporaryError:
    """Explain which agent has all accounts, or some of them."""
    pid = _holder(place, lock)
    if pid:
        return _taken(lock, "all accounts", pid)
    for name in _of_accounts(place, lock):
        if pid := _holder(place, name):
            return _taken(lock, f"account {name.removeprefix(f'{lock}:')}", pid)
    return _taken(lock, "some accounts", None)


def _holder(place: int, name: str) -> int | None:
    """Return the process that holds a file; None if that is unknown or out of date."""
    pid = _noted(place, name)
    return pid if pid and _lives(pid) else None


def _noted(place: int, name: str) -> int | None:
    """Return the process that has written its number into a file."""
    first = next(iter(_read(place, name)), b"")
    return int(first) if _PID.fullmatch(first) else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # the process has ended, or the number is now another user's process
        return False
    return True


def _require_a_living_holder(place: int, name: str) -> None:
    """Say what is still there of a holder that was killed and whose lock is still held."""
    pid = _noted(place, name)
    if pid is not None and _lives(pid):
        return
    if stopped := continue_keepers():
        raise TemporaryError(
            f"a mailbell-keeper (pid {stopped[0]}) was stopped; it may hold the lock {name}, and"
            " goes on now",
            "wait until it has ended its command",
        )
    if pid is None:
        return
    _require_nothing_left(place, name)
    raise TemporaryError(
        f"what an earlier mailbell run (pid {pid}) has started still runs under the lock {name}",
        "wait until its mailbell-keeper has ended it",
    )


def _require_nothing_left(place: int, name: str) -> None:
    """Refuse a lock while a command runs that an earlier holder could not end."""
    for line in _read(place, name)[1:]:
        session = Session.read(line)
        if session is not None and (pid := session.left()):
            raise TemporaryError(
                f"process {pid}, which an earlier mailbell run started and could not end, still"
                f" runs under the lock {name}",
                "wait until it ends, or end it",
            )


def _explain(error: OSError, path: str) -> MailbellError:
    why = error.strerror or str(error)
    match error.errno:
        case errno.ELOOP | errno.ENOTDIR | errno.EEXIST:
            return ConfigurationError(
                f"{path} is a link, or not a directory", f"see who made it, and remove it: {path}"
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return PrivilegeError(
                f"no permission to make a lock in {path}: {why}",
                "set HOME to a directory of your own",
            )
    return OperatingSystemError(
        f"cannot make a lock in {path}: {why}",
        "set HOME to a directory on a file system with locks",
    )

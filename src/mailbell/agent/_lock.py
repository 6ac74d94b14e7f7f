"""One agent an account: two that fetch at once have destroyed mail.

A lock is flock(2) on a file, so the kernel gives it back however the process ends,
and a file that is left behind means nothing. In the directory stand, for a lock
named `fetch`:

    fetch           all accounts: held exclusively by an agent for all of them, and
                    shared by every agent for some
    fetch:work      the account `work`: held exclusively by an agent for it

Neither a lock nor an account has a colon in its name. Who holds a file exclusively
writes its process id into it, for the message that another gets.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from mailbell.core.account_name import is_account_name
from mailbell.core.errors import (
    ConfigurationError,
    MailbellError,
    OperatingSystemError,
    PrivilegeError,
    TemporaryError,
)

__all__ = ["Turn", "directory", "take", "take_all"]

_PID: Final = re.compile(rb"[1-9][0-9]{0,9}\n")


def directory(environ: Mapping[str, str]) -> str:
    """Find where the locks of this user are.

    Under the home directory and nowhere else: all agents of a user have to agree on
    it, also one that cron started before any login, where there is no directory in
    /run/user, and one that outlives a logout, which takes that away.

    Args:
        environ: the environment.

    Returns:
        `~/.local/state/mailbell`.

    Raises:
        ConfigurationError: there is no home directory.
    """
    home = environ.get("HOME", "")
    if not os.path.isabs(home):
        raise ConfigurationError("there is no directory for locks: HOME is not set", "set HOME")
    return os.path.join(home, ".local", "state", "mailbell")


class Turn:
    """The right to fetch, and nobody else's. Made by `take` and `take_all`.

    It ends with `close`, or with the process. A program that the process
    executes does not have it.
    """

    def __init__(self) -> None:
        self._exclusive: list[int] = []
        self._shared: list[int] = []

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
        """Let others have it. Closing it again does nothing."""
        while self._exclusive:
            descriptor = self._exclusive.pop()
            _write(descriptor, b"")
            os.close(descriptor)
        while self._shared:
            os.close(self._shared.pop())

    def add(self, place: int, lock: str, accounts: Collection[str]) -> None:
        """Take one more lock.

        Args:
            place: descriptor of the directory.
            lock: its name.
            accounts: for which accounts; none: for all.

        Raises:
            TemporaryError: another has it.
            OSError: the file cannot be opened or locked.
        """
        if not accounts:
            if not self._lock(place, lock, fcntl.LOCK_EX):
                raise _taken_of_all(place, lock)
            return
        if not self._lock(place, lock, fcntl.LOCK_SH):
            raise _taken(lock, "all accounts", _holder(place, lock))
        # In the same order for all: of several who start at once one gets everything.
        for account in sorted(set(accounts)):
            if not self._lock(place, f"{lock}:{account}", fcntl.LOCK_EX):
                holder = _holder(place, f"{lock}:{account}")
                raise _taken(lock, f"account {account}", holder)

    def _lock(self, place: int, name: str, how: int) -> bool:
        descriptor = _open(place, name)
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        is_exclusive = how == fcntl.LOCK_EX
        # While it is shared nobody has it exclusively: a number in it is of the dead.
        _write(descriptor, b"%d\n" % os.getpid() if is_exclusive else b"")
        (self._exclusive if is_exclusive else self._shared).append(descriptor)
        return True


def take(directory: str, lock: str, accounts: Collection[str]) -> Turn:
    """Make sure that nobody else fetches for these accounts.

    Args:
        directory: where the locks are; it is made if need be.
        lock: the name of the lock. Agents with different locks do not see each other.
        accounts: their names; none: all accounts.

    Returns:
        What holds it.

    Raises:
        TemporaryError: another agent fetches for one of them.
        MailbellError: there can be no lock in this directory, or none of this name.
    """
    return take_all(directory, [(lock, accounts)])


def take_all(directory: str, wanted: Iterable[tuple[str, Collection[str]]]) -> Turn:
    """Do as `take` for several at once, all or none.

    A process does not stand in its own way: the same lock may be wanted more than
    once, for some accounts, or for all.

    Args:
        directory: where the locks are; it is made if need be.
        wanted: name of a lock, and accounts.

    Returns:
        What holds them.

    Raises:
        TemporaryError: as `take`.
        MailbellError: as `take`.
    """
    merged = _merged(wanted)
    turn = Turn()
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
    """Join the accounts of each lock; none stays none, which is all."""
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
    """Open the directory; make it if need be; refuse one that others could change."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(path, mode=0o700)
    place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _require_ours(os.fstat(place), path)
    except BaseException:
        os.close(place)
        raise
    return place


def _require_ours(status: os.stat_result, path: str) -> None:
    remedy = f"see who made it, and remove it: {path}"
    if status.st_uid != os.geteuid():
        raise ConfigurationError(f"{path} belongs to user {status.st_uid}, not to us", remedy)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(f"others may write to {path}", remedy)


def _open(place: int, name: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=place)


def _write(descriptor: int, data: bytes) -> None:
    with suppress(OSError):  # a full disk: it is only for a message
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)


# --- messages -----------------------------------------------------------------


def _taken(lock: str, whose: str, pid: int | None) -> TemporaryError:
    who = f"another mailbell run (pid {pid})" if pid else "another mailbell run"
    return TemporaryError(
        f"{who} fetches for {whose} already, under the lock {lock}",
        "end it, or name another --lock",
    )


def _taken_of_all(place: int, lock: str) -> TemporaryError:
    """Say who keeps us from having all accounts: another who has all, or who has some."""
    pid = _holder(place, lock)
    if pid:
        return _taken(lock, "all accounts", pid)
    for name in sorted(os.listdir(place)):
        if name.startswith(f"{lock}:") and (pid := _holder(place, name)):
            return _taken(lock, f"account {name.removeprefix(f'{lock}:')}", pid)
    return _taken(lock, "some accounts", None)


def _holder(place: int, name: str) -> int | None:
    """Read who holds a file; None when that is not known, or not true any more."""
    try:
        descriptor = _open(place, name)
    except OSError:
        return None
    try:
        data = os.read(descriptor, 16)
    finally:
        os.close(descriptor)
    if not _PID.fullmatch(data):
        return None
    pid = int(data)
    try:
        os.kill(pid, 0)
    except OSError:  # it is gone, or by now another user's
        return None
    return pid


def _explain(error: OSError, path: str) -> MailbellError:
    why = error.strerror or str(error)
    match error.errno:
        case errno.ELOOP | errno.ENOTDIR | errno.EEXIST:
            return ConfigurationError(
                f"{path} is a link, or no directory", f"see who made it, and remove it: {path}"
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

"""What the tests of the store share."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mailbell.core.networks import Address, Family
from mailbell.logs.journal import Journal
from mailbell.sender._address_book import AddressBook
from mailbell.sender._store import Store
from mailbell.sender._store_file import Examined, examine

__all__ = ["TTL", "Bench", "address", "kill", "mount_small_disk", "own_mounts"]

TTL: Final = 1800.0


def address(number: int) -> Address:
    """Return one of many addresses."""
    return Address(Family.IPV4, 0xC633_6400 + number)


@dataclass
class Bench:
    """A store with clocks that a test sets.

    Attributes:
        path: the database.
        now: seconds of the steady clock.
        wall: seconds since 1970.
        lines: what was logged.
    """

    path: Path
    now: float = 1000.0
    wall: float = 1_800_000_000.0
    addresses: int = 4
    accounts: int = 1000
    lines: list[str] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.now += seconds
        self.wall += seconds

    @contextmanager
    def opened(self) -> Iterator[tuple[Store, AddressBook]]:
        """Open the store, load the book, and close the files at the end without an orderly end."""
        store, book = self.open()
        try:
            yield store, book
        finally:
            kill(store)

    def open(self) -> tuple[Store, AddressBook]:
        """Begin a run: examine, open, load."""
        book = AddressBook(TTL, self.addresses, self.accounts, secret="of the tests")
        store = self.keep(examine(str(self.path), None), book)
        store.load()
        return store, book

    def keep(self, examined: Examined, book: AddressBook) -> Store:
        """Open the store of a book, without loading it."""
        return Store.open(
            examined,
            book=book,
            journal=Journal(self.lines.append, lambda: self.now),
            steady=lambda: self.now,
            wall=lambda: self.wall,
        )

    def see(self, store: Store, book: AddressBook, account: str, number: int) -> None:
        """Do what the bell does with a login."""
        book.see(account, address(number), self.now)
        store.note(account, address(number))

    @property
    def events(self) -> list[str]:
        """The kinds of the logged lines."""
        return [line.split()[0].removeprefix("event=") for line in self.lines]


def kill(store: Store) -> None:
    """End a store as SIGKILL would: its files are closed, and nothing more is written.

    SQLite copies its log into the database when it closes it, unless the file has moved.
    """
    connection, store._connection = store._connection, None
    if connection is not None:
        os.rename(store._path, f"{store._path}.away")
        connection.close()
        os.rename(f"{store._path}.away", store._path)


_CLONE_NEWNS: Final = 0x20000
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000


def own_mounts() -> None:
    """Make a mount namespace for this process, which must be root at least in its own world."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(None, b"/", None, _MS_REC_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "unshare")


def mount_small_disk(path: Path) -> None:
    """Put a file system of 256 KiB at a path, in a mount namespace of this process."""
    own_mounts()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(path), b"tmpfs", 0, b"size=256k,mode=755"):
        raise OSError(ctypes.get_errno(), "mount")

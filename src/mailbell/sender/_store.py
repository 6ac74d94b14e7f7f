"""Keeps the address book on disk, in SQLite, for a process that can open nothing more.

Signatures only; the body follows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mailbell.core.networks import Address
from mailbell.logs.journal import Journal
from mailbell.sender._address_book import AddressBook
from mailbell.sender._store_file import Examined

__all__ = ["Store", "StoreStatus"]


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What the status tells about the store.

    Attributes:
        path: the database.
        working: whether the last write was a success.
        problem: why it does not work; None: it works.
        moved_aside: where a file is now that could not be used; None: there was none.
        failures: how many writes failed.
    """

    path: str
    working: bool
    problem: str | None
    moved_aside: str | None
    failures: int


class Store:
    """The address book on disk.

    Attributes:
        was_clean: whether the last run ended in order. If not, a notification may have been
            accepted and not sent.
        pending: the accounts that still waited for a ring when the last run ended.
        descriptors: the open files, for the policy.
    """

    was_clean: bool
    pending: tuple[str, ...]
    descriptors: tuple[int, ...]

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
            steady: seconds of the clock of the book.
            wall: seconds since 1970.
        """
        raise NotImplementedError

    def load(self) -> int:
        """Put everything that is fresh into the book; return how many accounts that were."""
        raise NotImplementedError

    def names(self) -> Iterator[str]:
        """Return the accounts on disk, one at a time. The book says whether one is fresh."""
        raise NotImplementedError

    def note(self, account: str, address: Address) -> None:
        """Write what the book knows of an account. It never raises."""
        raise NotImplementedError

    def retry(self) -> None:
        """Write what could not be written before. Call it every ten seconds or so."""
        raise NotImplementedError

    def close(self, pending: Iterable[str] = ()) -> None:
        """End in order: note the accounts that still wait for a ring. It never raises."""
        raise NotImplementedError

    def status(self) -> StoreStatus:
        """Return what the status tells about the store."""
        raise NotImplementedError

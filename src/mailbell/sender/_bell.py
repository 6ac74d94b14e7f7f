"""From an account to its targets: the configured ones, and the addresses of the last logins."""

from collections.abc import Callable
from typing import Protocol

from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.target import Target
from mailbell.interfaces.sender import Step
from mailbell.sender._ring import Ring
from mailbell.sender._schedule import Schedule

__all__ = ["Bell", "Book", "Recipient", "Rules"]


class LastUsed(Protocol):
    """Stands in an account's targets for the addresses of its last logins."""

    @property
    def port(self) -> int:
        """Where they are rung, 1 to 65535."""

    @property
    def transport(self) -> Transport:
        """How."""


class Recipient(Protocol):
    """What is needed of an account; `_accounts.Account` has it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def targets(self) -> tuple[Target | LastUsed, ...]:
        """Where it is rung."""

    @property
    def enabled(self) -> bool:
        """Whether it is rung at all."""


class Book(Protocol):
    """What is needed of the address book. Its times are seconds of its own steady clock."""

    @property
    def ttl(self) -> float:
        """Seconds for which an address is fresh after a login."""

    def see(self, account: str, address: Address, now: float) -> None:
        """Note a login."""

    def logins(self, account: str, now: float) -> tuple[tuple[Address, float], ...]:
        """Return the fresh addresses, the newest first, each with the time of its login."""


class Rules(Protocol):
    """Which addresses may be called; `_address_rules.AddressRules` has it."""

    def refusal(self, address: Address) -> str | None:
        """Return why an address is never called; None: it may be called."""


class Bell:
    """Rings accounts.

    Args:
        book: the addresses of the last logins.
        rules: which of them may be called.
        schedule: when each target is called.
        steady: the clock of the book, in seconds.
        note: is told each login that is noted, for the store.
        on_ring: is told of notifications that no target can get.
    """

    def __init__(
        self,
        *,
        book: Book,
        rules: Rules,
        schedule: Schedule,
        steady: Callable[[], float],
        note: Callable[[str, Address], None],
        on_ring: Callable[[Ring], None],
    ) -> None:
        raise NotImplementedError

    def ring(self, account: Recipient, now: float) -> None:
        """Ring an account at all of its targets. `now` is the schedule's time in seconds."""
        raise NotImplementedError

    def seen(self, account: Recipient, address: Address, now: float) -> bool:
        """Note a login. False: the address is one that is never called."""
        raise NotImplementedError

    def explain(self, account: Recipient, now: float) -> tuple[Step, ...]:
        """Tell what `ring` would do now, target by target."""
        raise NotImplementedError

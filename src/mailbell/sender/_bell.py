"""From an account to its targets: the configured ones, and the addresses of the last logins.

The operator answers for a target that the configuration names. Where a login came from is the
word of a mail server or of a user. So the rules for addresses are asked when a login is noted
and again before each ring, and no attempt is made after the address is too old.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.interfaces.sender import Origin, Step, Verdict
from mailbell.sender._accounts import Account, LastUsed
from mailbell.sender._ring import Ring
from mailbell.sender._schedule import Outlook, Schedule

__all__ = ["Bell", "Book", "Rules"]


class Book(Protocol):
    """What the bell needs of the address book. Times are seconds of its own steady clock."""

    @property
    def ttl(self) -> float:
        """Seconds for which an address is fresh after a login."""

    def see(self, account: str, address: Address, now: float) -> None:
        """Note a login."""

    def logins(self, account: str, now: float) -> tuple[tuple[Address, float], ...]:
        """Return the fresh addresses, the newest first, each with the time of its login."""


class Rules(Protocol):
    """Which addresses may be called."""

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
        on_ring: is told of notifications that have no target.
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
        self._book = book
        self._rules = rules
        self._schedule = schedule
        self._steady = steady
        self._note = note
        self._on_ring = on_ring

    def ring(self, account: Account, now: float) -> None:
        """Ring an account at all of its targets.

        Args:
            account: who has new mail; one that is switched off is not rung.
            now: the schedule's time in seconds.
        """
        if not account.enabled:
            return
        rung = False
        for target in account.targets:
            if type(target) is Target:
                self._schedule.ring(target, account.name, now)
                rung = True
        for target, _, seen in self._last_used(account):
            rung = True
            if self._is_configured(target, account):
                continue
            if self._refusal(target) is not None:
                self._on_ring(Ring(account.name, target, RingOutcome.NOT_ALLOWED))
            else:
                self._schedule.ring(target, account.name, now, seen + self._book.ttl)
        if not rung:
            self._on_ring(Ring(account.name, None, RingOutcome.NO_TARGET))

    def would_learn(self, account: Account, address: Address) -> bool:
        """Tell whether a login from an address would make it one more target of an account.

        Args:
            account: who has logged in.
            address: from where.

        Returns:
            False: the login is known, or is not noted because of the rules or of the account.
        """
        if not any(isinstance(target, LastUsed) for target in account.targets):
            return False
        if self._rules.refusal(address) is not None:
            return False
        logins = self._book.logins(account.name, self._steady())
        return all(known != address for known, _ in logins)

    def seen(self, account: Account, address: Address, now: float) -> bool:
        """Note a login. It ends the back-off of the account's targets at its address.

        Addresses that are no longer among the account's newest ones are given up.

        Args:
            account: who has logged in.
            address: from where.
            now: the schedule's time in seconds; the login itself is noted on the steady clock.

        Returns:
            False: the address is one that is never called, and nothing is noted.
        """
        del now
        if self._rules.refusal(address) is not None:
            return False
        schedule = self._schedule
        places = []
        for target in account.targets:
            if isinstance(target, LastUsed):
                places.append(target)
                named = Target(address, target.port, target.transport)
                schedule.logged_in(named, is_configured=False)
            elif target.host == address:
                schedule.logged_in(target, is_configured=True)
        if places:
            for forgotten in self._see(account.name, address):
                for place in places:
                    old = Target(forgotten, place.port, place.transport)
                    schedule.withdraw(old, account.name)
            self._note(account.name, address)
        return True

    def _see(self, account: str, address: Address) -> set[Address]:
        """Note a login in the book; return the addresses that the book forgets for it."""
        now = self._steady()
        before = {each for each, _ in self._book.logins(account, now)}
        self._book.see(account, address, now)
        return before.difference(each for each, _ in self._book.logins(account, now))

    def explain(self, account: Account, now: float) -> tuple[Step, ...]:
        """Tell what `ring` would do now, target by target.

        Args:
            account: the account.
            now: the schedule's time in seconds.

        Returns:
            At least one step for each target of the configuration.
        """
        logins = tuple(self._last_used(account))
        steps: list[Step] = []
        for target in account.targets:
            if isinstance(target, LastUsed):
                steps += self._explain_last_used(account, target, logins, now)
            else:
                steps.append(self._step(account, target, Origin.CONFIGURED, now))
        return tuple(steps)

    def _last_used(self, account: Account) -> Iterator[tuple[Target, LastUsed, float]]:
        """Yield targets of logins, the newest first, and when each login was."""
        for place in account.targets:
            if isinstance(place, LastUsed):
                for address, seen in self._book.logins(account.name, self._steady()):
                    yield Target(address, place.port, place.transport), place, seen

    def _is_configured(self, target: Target, account: Account) -> bool:
        return target in account.targets

    def _refusal(self, target: Target) -> str | None:
        return self._rules.refusal(target.host) if isinstance(target.host, Address) else None

    def _explain_last_used(
        self,
        account: Account,
        place: LastUsed,
        logins: tuple[tuple[Target, LastUsed, float], ...],
        now: float,
    ) -> Iterator[Step]:
        found = [(target, seen) for target, of, seen in logins if of is place]
        if not found:
            verdict = Verdict.NO_ADDRESS if account.enabled else Verdict.DISABLED
            yield Step(origin=Origin.LAST_USED, verdict=verdict)
        for target, seen in found:
            age = max(self._steady() - seen, 0.0)
            yield self._step(account, target, Origin.LAST_USED, now, seen=_microseconds(age))

    def _step(
        self, account: Account, target: Target, origin: Origin, now: float, seen: int | None = None
    ) -> Step:
        is_configured = origin is Origin.CONFIGURED or self._is_configured(target, account)
        outlook = self._schedule.outlook(target, now, is_configured=is_configured)
        reason = self._refusal(target) if origin is Origin.LAST_USED else None
        verdict = _verdict(outlook)
        if reason is not None and not is_configured:
            verdict = Verdict.NOT_ALLOWED
        if not account.enabled:
            verdict = Verdict.DISABLED
        waits = verdict in {Verdict.HELD_BACK, Verdict.BACKING_OFF}
        return Step(
            origin=origin,
            target=str(target),
            verdict=verdict,
            reason=reason if verdict is Verdict.NOT_ALLOWED else None,
            wait=_microseconds(outlook.wait) if waits else None,
            last=outlook.last,
            seen=seen,
        )


def _verdict(outlook: Outlook) -> Verdict:
    if outlook.is_in_flight:
        return Verdict.IN_FLIGHT
    if outlook.backs_off:
        return Verdict.BACKING_OFF
    return Verdict.HELD_BACK if outlook.wait else Verdict.RING


def _microseconds(seconds: float) -> int:
    return int(seconds * 1e6)

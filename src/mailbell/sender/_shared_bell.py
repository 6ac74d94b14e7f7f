"""Rings accounts in a cluster: through the engine while it is there, and alone while it is not.

What comes from other nodes is checked like any word of a stranger, because an intruder may be in
the engine or in the companion: a configured target must be one of the account's here, and the
rules for addresses decide about every other.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import inf
from typing import Final, Protocol

from mailbell.cluster.messages import Call, Login, Place, Welcome, read_target, write_target
from mailbell.cluster.messages import Ring as RingMessage
from mailbell.core.networks import Address
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender._accounts import Account, Accounts, LastUsed
from mailbell.sender._backlog import Backlog, Late
from mailbell.sender._bell import Bell, Book, Rules
from mailbell.sender._ring import Ring
from mailbell.sender._schedule import Schedule

__all__ = ["HANDED_OVER", "MOST_REST", "MOST_RUNG", "SharedBell", "Sharer"]

MOST_REST: Final = 65_536
"""Accounts at most that are handed over at the end."""
MOST_RUNG: Final = 4096
"""Accounts on their way to others, of which it is known when this node rang them alone."""
HANDED_OVER: Final = 64
"""Messages that are handed over at once, when the engine is back."""


class Sharer(Protocol):
    """What passes messages to the companion."""

    @property
    def room(self) -> int:
        """How many messages that are not urgent it takes now."""

    def share(self, message: RingMessage | Login) -> bool:
        """Pass a message on; return False if the engine cannot be used, or too much waits."""

    def next_number(self) -> int:
        """Return the number of the next message."""


class SharedBell:
    """What the reception rings in a cluster.

    Args:
        bell: rings from what this node knows, and by its own schedule.
        book: the logins that this node knows.
        accounts: the configured accounts.
        schedule: when each target of this node is called.
        rules: which addresses may be called.
        sharer: passes messages to the companion.
        backlog: what the engine has yet to learn.
        steady: the clock of logins, in seconds.
        on_ring: is told of notifications that have no target.

    Attributes:
        backlog: as given.
        refused: messages of other nodes that were not obeyed.
    """

    def __init__(
        self,
        *,
        bell: Bell,
        book: Book,
        accounts: Accounts,
        schedule: Schedule,
        rules: Rules,
        sharer: Sharer,
        backlog: Backlog,
        steady: Callable[[], float],
        on_ring: Callable[[Ring], None],
    ) -> None:
        self._bell = bell
        self._book = book
        self._accounts = accounts
        self._schedule = schedule
        self._rules = rules
        self._sharer = sharer
        self._steady = steady
        self._on_ring = on_ring
        self._rest: dict[str, None] | None = None
        self._rung: OrderedDict[int, float] = OrderedDict()
        self.backlog = backlog
        self.refused = 0

    # --- what this machine's mail server says ---------------------------------------------

    def ring(self, account: Account, now: float) -> None:
        """Ring an account, through the engine if that is there. See `Bell.ring`."""
        if not account.enabled:
            return
        if self._rest is not None:
            self._rest[account.name] = None
        elif not account.targets:
            self._bell.ring(account, now)
        elif not self._sharer.share(self._ring_message(account)):
            self.ring_alone(account, now)

    def ring_alone(self, account: Account, now: float) -> None:
        """Ring what this node knows of an account. The others hear of it later.

        Args:
            account: who has new mail.
            now: the schedule's time in seconds.
        """
        self._bell.ring(account, now)
        self.backlog.outbox.put(account.name, self._steady())

    def would_learn(self, account: Account, address: Address) -> bool:
        """Tell whether a login would make its address one more target, as far as is known here."""
        return self._bell.would_learn(account, address)

    def seen(self, account: Account, address: Address, now: float) -> bool:
        """Note a login, here and in the engine. See `Bell.seen`."""
        if not self._bell.seen(account, address, now):
            return False
        login = Late(account.name, address, self._steady())
        message = self._login_message(account, login, is_late=False)
        if not message.targets and not message.places:
            return True
        if self._sharer.share(message):
            self.backlog.note_said(login, now)
        else:
            self.backlog.keep(login)
        return True

    # --- what the engine may not have ---------------------------------------------------------

    def lost(self, message: RingMessage | Login, now: float) -> None:
        """Do alone what the engine may not have got.

        Args:
            message: as it was shared.
            now: the schedule's time in seconds.
        """
        account = self._accounts.find(message.account)
        if account is None:
            return
        if isinstance(message, Login):
            seen = self._steady() - message.age
            login = Late(account.name, Address.parse(message.address), seen)
            (self.backlog.keep_late if message.is_late else self.backlog.keep)(login)
        elif self._rest is not None:
            self._rest[account.name] = None
        elif message.number in self._rung:  # alone, before
            self.backlog.outbox.put(account.name, self._rung[message.number])
        else:
            self.ring_alone(account, now)

    def hand_over(self, now: float) -> bool:
        """Say a part of what the engine has yet to learn.

        Args:
            now: the schedule's time in seconds.

        Returns:
            Whether the engine has, with this, learnt the logins that it had to learn again.
        """
        is_late = self.backlog.is_late(now)
        for each in tuple(self.backlog.take(min(HANDED_OVER, self._sharer.room))):
            account = self._accounts.find(each[0])
            if account is None or not account.enabled:
                continue
            if isinstance(each, Late):
                if self._steady() - each.seen >= self._book.ttl:
                    continue
                if not self._sharer.share(self._login_message(account, each, is_late=is_late)):
                    self.backlog.keep(each)
                else:
                    self.backlog.note_said(each, now)
            elif not self._sharer.share(self._rest_of_ring(account, each[1])):
                self.backlog.outbox.put(*each)
        return self.backlog.has_caught_up(now)

    # --- what the other nodes say -------------------------------------------------------------

    def call(self, message: Call, now: float) -> None:
        """Ring one target of this node.

        Args:
            message: of any node.
            now: the schedule's time in seconds.
        """
        target, account = read_target(message.target), self._accounts.find(message.account)
        if target is None or account is None or not account.enabled:
            self.refused += 1
        elif self._rest is not None:
            self._rest[account.name] = None
        elif message.left is None:
            self._call_configured(target, account, now)
        elif not self._is_place(target, account):
            self.refused += 1
        elif self._refusal(target) is not None:
            self._on_ring(Ring(account.name, target, RingOutcome.NOT_ALLOWED))
        elif target not in account.targets:  # which is called as a configured one
            self._schedule.ring(target, account.name, now, self._steady() + message.left)

    def welcome(self, message: Welcome) -> None:
        """End the back-off of a target of this node.

        Args:
            message: of any node.
        """
        target = read_target(message.target)
        if target is None:
            self.refused += 1
            return
        for is_configured in (True, False):
            self._schedule.logged_in(target, is_configured=is_configured)

    def nobody(self, name: str) -> None:
        """Note that an account has no target anywhere.

        Args:
            name: of the account.
        """
        account = self._accounts.find(name)
        if account is None:
            self.refused += 1
        else:
            self._on_ring(Ring(account.name, None, RingOutcome.NO_TARGET))

    def ring_logins(self, name: str, now: float) -> None:
        """Ring an account at the addresses of its logins only.

        Args:
            name: of the account.
            now: the schedule's time in seconds.
        """
        account = self._accounts.find(name)
        if account is not None:
            kept = tuple(each for each in account.targets if isinstance(each, LastUsed))
            if kept:
                self.ring(account._replace(targets=kept), now)

    def configured(self) -> Iterator[Account]:
        """Yield the accounts that have configured targets, each with these only."""
        for account in self._accounts.listed:
            kept = tuple(each for each in account.targets if type(each) is Target)
            if kept:
                yield account._replace(targets=kept)

    # --- the end ------------------------------------------------------------------------------

    def collect(self) -> None:
        """Ring nobody from now on: keep who is to be rung, for `rest`."""
        self._rest = {}

    def rest(self, waiting: Iterator[str]) -> Iterator[RingMessage]:
        """Yield what other nodes are to ring, or this one after its next start.

        `collect` comes first.

        Args:
            waiting: accounts whose notifications are not sent yet.
        """
        alone = [name for name, _ in self.backlog.outbox.take(MOST_REST)]
        for name in dict.fromkeys((*waiting, *(self._rest or ()), *alone)):
            account = self._accounts.find(name)
            if account is not None and account.enabled and account.targets:
                yield self._ring_message(account)

    # --- messages -------------------------------------------------------------------------------

    def _ring_message(self, account: Account) -> RingMessage:
        targets = tuple(write_target(each) for each in account.targets if type(each) is Target)
        return RingMessage(self._sharer.next_number(), account.name, targets, _places(account))

    def _rest_of_ring(self, account: Account, when: float) -> RingMessage:
        """Return a ring of the addresses that this node has not rung alone."""
        logins = self._book.logins(account.name, self._steady())
        rung = tuple(str(address) for address, seen in logins if seen <= when)
        number = self._sharer.next_number()
        self._rung[number] = when
        if len(self._rung) > MOST_RUNG:
            self._rung.popitem(last=False)
        return RingMessage(number, account.name, (), _places(account), rung)

    def _login_message(self, account: Account, login: Late, *, is_late: bool) -> Login:
        return Login(
            self._sharer.next_number(),
            account.name,
            str(login.address),
            max(self._steady() - login.seen, 0.0),
            is_late,
            tuple(
                write_target(each)
                for each in account.targets
                if type(each) is Target and each.host == login.address
            ),
            _places(account),
        )

    def _call_configured(self, target: Target, account: Account, now: float) -> None:
        if target in account.targets:
            self._schedule.ring(target, account.name, now, inf)
        else:
            self.refused += 1

    def _is_place(self, target: Target, account: Account) -> bool:
        """Tell whether the account is rung there if a login comes from that address."""
        is_address = isinstance(target.host, Address)
        return is_address and LastUsed(target.port, target.transport) in account.targets

    def _refusal(self, target: Target) -> str | None:
        return self._rules.refusal(target.host) if isinstance(target.host, Address) else None


def _places(account: Account) -> tuple[Place, ...]:
    return tuple(
        Place(each.port, each.transport) for each in account.targets if isinstance(each, LastUsed)
    )

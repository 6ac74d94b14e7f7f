"""Which targets still have to be rung, and for whom: a model of the sender's schedule, in lists."""

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from harness.sender_parts import Sizes

from mailbell.core.networks import Address

__all__ = ["Debt", "Key", "Network", "State"]


class Key(NamedTuple):
    """A target. One that a login named has a state of its own beside the configured one."""

    address: Address
    is_configured: bool


class Network(Enum):
    """What happens to an attempt."""

    ANSWERS = auto()
    REFUSES = auto()
    IS_SILENT = auto()


@dataclass
class Debt:
    """One notification of one account for one target, which no successful attempt followed yet.

    Attributes:
        account: who has new mail.
        number: its place among all notifications and attempts.
        since: when the sender could ring at the earliest.
        until: when the address is too old, on the steady clock.
        is_rung: whether the bell has been told; if not, the account still waits for its turn.
        is_excused: whether it is no longer promised, because newer logins pushed the address out,
            or the account before its turn.
    """

    account: str
    number: int
    since: float
    until: float
    is_rung: bool
    is_excused: bool = False


@dataclass
class State:
    """What is true of a target in one run of the sender.

    Attributes:
        debts: the notifications that it owes.
        until: no attempt may begin later, on the steady clock. The address is that of the newest
            login from there, whose ever it was, for as long as something waits.
        asked: when the last notification came.
        failures: attempts in a row that failed.
        ended: when the last attempt ended.
        not_before: when the next attempt may begin at the earliest.
        flying: when the attempt began that is on its way; None: there is none.
        held_up: when the last attempt was displaced or taken back, or the back-off ended early.
    """

    debts: list[Debt] = field(default_factory=list)
    until: float = -math.inf
    asked: float = -math.inf
    failures: int = 0
    ended: float = -math.inf
    not_before: float = -math.inf
    flying: float | None = None
    number: int = 0
    is_forgiven: bool = False
    held_up: float = -math.inf

    def owe(self, debt: Debt) -> None:
        """Note a notification."""
        self.debts.append(debt)
        self.until = max(self.until, debt.until)
        if debt.is_rung:
            self.asked = max(self.asked, debt.since)

    def promised(self, steady: float) -> list[Debt]:
        """Return what must still be rung."""
        return [each for each in self.debts if not each.is_excused and steady <= each.until]

    def begin(self, now: float, number: int) -> None:
        """Note that an attempt begins."""
        self.flying, self.number, self.is_forgiven = now, number, False

    def succeed(self, now: float, sizes: Sizes) -> None:
        """Note that it reached its target, so that all that came before it is rung."""
        self.debts = [each for each in self.debts if each.number > self.number]
        self.until = self.until if self.debts else -math.inf
        self.flying, self.failures, self.ended = None, 0, now
        self.not_before = now + sizes.interval

    def fail(self, now: float, sizes: Sizes) -> None:
        """Note that it did not: the next one waits for twice as long as the last one."""
        self.flying, self.ended = None, now
        self.failures = 0 if self.is_forgiven else self.failures + 1
        first, longest = sizes.backoff
        delay = min(first * 2 ** (self.failures - 1), longest) if self.failures else 0.0
        self.not_before = now + max(delay, sizes.interval)

    def take_back(self, now: float) -> None:
        """Note that an attempt began in vain, and begins again."""
        self.flying, self.held_up = None, now
        if self.is_forgiven:
            self.failures = 0

    def forgive(self, now: float, sizes: Sizes) -> None:
        """Note a login from there: the back-off is over."""
        self.is_forgiven, self.held_up = True, now
        if self.flying is None:
            self.failures = 0
            self.not_before = self.ended + sizes.interval

    def give_up(self) -> None:
        """Note that the sender has given all of its notifications up."""
        self.debts, self.until = [], -math.inf

    def excuse(self) -> None:
        """Note that the sender may have given all of its notifications up."""
        for debt in self.debts:
            debt.is_excused = True

    def may_be_given_up(self, now: float, steady: float, sizes: Sizes) -> bool:
        """Tell whether it says nothing any more: too old, too long out of reach, or pushed out."""
        is_old = steady > self.until or now >= self.asked + sizes.horizon
        return is_old or all(each.is_excused for each in self.debts)

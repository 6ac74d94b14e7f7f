"""Turns each request into exactly one counted outcome, and passes on what is accepted.

Pure: it combines the accounts, the speakers and the bell, and times are arguments.
"""

from collections.abc import Iterable
from typing import Protocol

from mailbell.core.networks import Address
from mailbell.core.sender_outcome import InputOutcome
from mailbell.logs.journal import Journal
from mailbell.sender._accounts import Account, Accounts
from mailbell.sender._counters import Counters
from mailbell.sender._requests import Malformed, Request
from mailbell.sender._speakers import Speaker, Speakers

__all__ = ["Reception", "Ringer"]


class Ringer(Protocol):
    """What gets the accepted requests: the bell."""

    def ring(self, account: Account, now: float, /) -> None:
        """Ring an account's targets, at once or later."""

    def seen(self, account: Account, address: Address, now: float, /) -> bool:
        """Note that a user looked for mail; return whether the address may be rung."""


class Reception:
    """Decides about every request.

    Args:
        accounts: finds the account that a request names.
        speakers: who may speak for which account, and how often.
        bell: gets what is accepted.
        quiet: the folders whose mail rings nobody.
        counters: counts every outcome.
        journal: logs every refusal, with a limit on its lines.
    """

    def __init__(
        self,
        accounts: Accounts,
        speakers: Speakers,
        bell: Ringer,
        quiet: Iterable[str],
        counters: Counters,
        journal: Journal,
    ) -> None:
        raise NotImplementedError

    def take(self, request: Request | Malformed, speaker: Speaker, now: float) -> InputOutcome:
        """Decide about one input, count its outcome, and ring or note what is accepted.

        Args:
            request: what was read.
            speaker: its author.
            now: monotonic clock, in seconds.

        Returns:
            The counted outcome.
        """
        raise NotImplementedError

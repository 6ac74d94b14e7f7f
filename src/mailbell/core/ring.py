"""One ring: what mailbell-sender did for one account at one target, and how it ended."""

from typing import NamedTuple

from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target

__all__ = ["Ring"]


class Ring(NamedTuple):
    """One notification for one target.

    Attributes:
        account: the account's name in the form that the sender knows it by.
        target: where it was sent, or was to be sent; None: the account has no target.
        outcome: how it ended.
        milliseconds: how long the attempt took, from its connect to its end; 0: none was made.
        delay: from the notification until it was sent, in seconds; None: it was not sent.
    """

    account: str
    target: Target | None
    outcome: RingOutcome
    milliseconds: float = 0.0
    delay: float | None = None

"""What became of one notification at one target, for `Watch`, the counters and the log."""

from typing import NamedTuple

from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target

__all__ = ["Ring"]


class Ring(NamedTuple):
    """One notification for one target, or for none.

    Attributes:
        account: the account that has new mail; if one ring stands for several, the last one.
        target: where it was sent to; None: the account has no target.
        outcome: how it ended.
        milliseconds: how long the attempt took; 0: none was made.
        waited: seconds from the first notification that this ring stands for until its end;
            0: no attempt was made.
    """

    account: str
    target: Target | None
    outcome: RingOutcome
    milliseconds: float = 0.0
    waited: float = 0.0

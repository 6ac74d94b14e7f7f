"""The state of one target: what it waits for, for whom, and what is known of it.

Whoever logs in chooses an address, and with it the key of a state. So such a key has a secret
in it: the hash of a number is no secret, and many states of one hash would make each ring slow.
"""

import struct
from enum import Enum, auto
from math import inf
from typing import Final, NamedTuple

from mailbell.core.notification import Transport
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender._places import Rank

__all__ = ["SECRET", "Call", "Outlook", "Phase", "login_key"]

SECRET: Final = 16
"""Bytes of the secret in the keys of addresses."""

_TCP: Final = Transport.TCP

# The secret, the family, the address, the port, and whether the transport is TCP.
_KEY: Final = struct.Struct(f"={SECRET}sB16sH?")


def login_key(target: Target, secret: bytes) -> Target | bytes:
    """Return the key of a target that a login named.

    Args:
        target: where the login came from.
        secret: `SECRET` bytes that no peer can know. The key of CPython's hash of bytes is
            none if the environment has PYTHONHASHSEED.

    Returns:
        Bytes, whose hash no peer can foresee. A target with a name as it is: it is never
        that of a login.
    """
    host = target.host
    if isinstance(host, str):
        return target
    packed = host.value.to_bytes(16, "big")
    return _KEY.pack(secret, host.family, packed, target.port, target.transport is _TCP)


class Phase(Enum):
    """What a target waits for."""

    IDLE = auto()  # for a notification
    RESTING = auto()  # for the end of the interval; there is no notification
    HELD = auto()  # for the end of the interval, and then it is called
    QUEUED = auto()  # for a place
    FLYING = auto()  # for the end of its attempt
    BACKING_OFF = auto()  # for the next attempt after a failure


class Call:
    """One target with a state. `Schedule.take` returns those that must be called now.

    Attributes:
        target: what is called.
        account: who has new mail; if several have, the one that came last.
        memo: free for the caller of the schedule; it lives as long as the state.
        late: the outcome if the attempt lasts longer than the deadline.
        began: when the last attempt began, in seconds.
        rank: what is known of the target.
        is_configured: whether the operator named the target, and not a login.
    """

    __slots__ = (
        "account", "accounts", "asked", "began", "called_for", "failures", "is_configured",
        "is_crowded", "key", "last", "late", "logged_in", "memo", "phase", "rank", "served",
        "since", "since_next", "target", "until", "waits",
    )  # fmt: skip

    def __init__(self, target: Target, key: Target | bytes) -> None:
        self.target = target
        self.key = key
        self.is_configured = key is target
        self.account = ""
        self.memo: object = None
        self.began = -inf
        self.rank = Rank.NEW
        self.phase = Phase.IDLE
        self.failures = 0
        self.last: RingOutcome | None = None
        self.late = RingOutcome.TIMEOUT
        self.called_for = ""  # the account of the attempt that is on its way
        self.served: tuple[str, ...] = ()  # all accounts of this attempt
        self.accounts: tuple[str, ...] = ()  # all that wait beside them
        self.is_crowded = False  # whether more wait than have a place in `accounts`
        self.logged_in = False  # whether a login came from there during this attempt
        # Whether a notification waits; while the target is called, whether a later one does.
        self.waits = False
        self.since = 0.0  # when the first notification came that waits or is being sent
        self.since_next = 0.0  # likewise, of those that came during this attempt
        self.asked = 0.0  # when the last one came
        self.until = -inf  # no attempt is made later than this, on the steady clock


class Outlook(NamedTuple):
    """What a notification would do at a target now.

    Attributes:
        is_in_flight: an attempt is on its way; another one would follow.
        backs_off: the last attempt failed, and the next one comes after `wait`.
        wait: seconds until the target is called; 0: at once.
        last: how the last attempt ended; None: not known.
    """

    is_in_flight: bool
    backs_off: bool
    wait: float
    last: RingOutcome | None

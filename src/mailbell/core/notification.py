"""What a subscriber is told, and its place in the history of what it was told.

The enumerations are closed: a name that is not here does not exist, and the
tests count on it. Nothing in this module does anything.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Cause", "Cursor", "Notification", "Transport"]


class Transport(StrEnum):
    """How a notification arrived (RFC 4146, section 3: TCP, and UDP by some senders)."""

    TCP = "tcp"
    UDP = "udp"


class Cause(StrEnum):
    """Why a subscriber is told to look for mail."""

    NETWORK = "network"
    MANUAL = "manual"
    RESYNC = "resync"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the history of one run of the daemon.

    Attributes:
        epoch: names the run; another run has another epoch.
        sequence: number of the last wake-up of which everything was told; 0: the
            beginning; -1: not yet told everything that this run has to say at once.
    """

    epoch: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Notification:
    """What a subscriber is told: look for mail of this account.

    Attributes:
        account: the account's name.
        cause: why the subscriber is told.
        count: how many notifications this one stands for (0 for a resync).
        transport: how the last of them arrived; None unless by network.
        source: numeric address the last of them came from; None unless by network.
        time: of the last of them, in microseconds since 1970.
    """

    account: str
    cause: Cause
    count: int
    transport: Transport | None
    source: str | None
    time: int

"""What a subscriber is told, and a subscriber's place in the history of notifications.

The enumerations are closed: no other values exist, and the tests rely on it. This module
holds data only.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Cause", "Cursor", "Notification", "Transport"]


class Transport(StrEnum):
    """How a notification arrived: by TCP (RFC 4146, section 3), or by UDP from some senders."""

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
        epoch: names the run; each run has its own.
        sequence: the number of the last wake-up that the subscriber knows. 0: the beginning of
            the run. -1: the subscriber comes from another run and has not yet received every
            resync that this run begins with.
    """

    epoch: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Notification:
    """What a subscriber is told: look for mail in this account.

    Attributes:
        account: the account's name.
        cause: why the subscriber is told.
        count: how many notifications this one stands for; 0 for a resync.
        transport: how the last of them arrived; None unless the cause is the network.
        source: the numeric address the last of them came from; None unless the cause is
            the network.
        time: when the last of them came, in microseconds since 1970.
    """

    account: str
    cause: Cause
    count: int
    transport: Transport | None
    source: str | None
    time: int

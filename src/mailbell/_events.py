"""The vocabulary every layer shares: what can happen, and to whom.

The enumerations are closed: a name that is not here does not exist, and the
tests count on it. Nothing in this module does anything.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum

__all__ = ["Cause", "Cursor", "End", "Family", "Notification", "Outcome", "Transport"]


class Family(IntEnum):
    """An IP address family, by its version number."""

    IPV4 = 4
    IPV6 = 6

    @property
    def bits(self) -> int:
        """Length of an address in bits."""
        return 32 if self is Family.IPV4 else 128


class Transport(StrEnum):
    """How a notification arrived (RFC 4146, section 3: TCP, and UDP by some senders)."""

    TCP = "tcp"
    UDP = "udp"


class Cause(StrEnum):
    """Why a subscriber is told to look for mail."""

    NETWORK = "network"
    MANUAL = "manual"
    RESYNC = "resync"


class Outcome(StrEnum):
    """What became of one connection or one datagram: exactly one of these."""

    ACCEPTED = "accepted"
    # refused before a byte was read
    DENIED_SOURCE = "denied_source"
    UNLISTED_SOURCE = "unlisted_source"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    TOO_MANY_FROM_SOURCE = "too_many_from_source"
    # invalid: something was read, or nothing came
    MISMATCH = "mismatch"
    BAD_TERMINATOR = "bad_terminator"
    TRAILING_DATA = "trailing_data"
    TRUNCATED = "truncated"
    FINGER_QUERY = "finger_query"
    DEADLINE = "deadline"
    EMPTY = "empty"
    RESET = "reset"
    # a good line that belongs to nobody
    UNKNOWN_ACCOUNT = "unknown_account"


class End(Enum):
    """How the input of one connection came to its end."""

    CLOSED = "closed"  # by us: enough was read
    EOF = "eof"  # the peer has closed its side
    RESET = "reset"  # the peer, or the path to it, broke the connection
    DEADLINE = "deadline"  # the time for the whole exchange is over


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

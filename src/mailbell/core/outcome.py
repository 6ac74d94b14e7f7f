"""How the input of a connection ends, and what becomes of a connection or a datagram.

The enumerations are closed: a name that is not here does not exist, and the
tests count on it.
"""

from enum import Enum, StrEnum

__all__ = ["End", "Outcome"]


class End(Enum):
    """How the input of one connection came to its end."""

    CLOSED = "closed"  # by us: enough was read
    EOF = "eof"  # the peer has closed its side
    RESET = "reset"  # the peer, or the path to it, broke the connection
    DEADLINE = "deadline"  # the time for the whole exchange is over


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

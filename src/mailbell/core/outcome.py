"""How the input of a connection ends, and the outcome of a connection or a datagram.

The enumerations are closed: no other values exist, and the tests rely on it.
"""

from enum import Enum, StrEnum

__all__ = ["End", "Outcome"]


class End(Enum):
    """How the input of one connection ended."""

    CLOSED = "closed"  # the daemon closed: it had read enough
    EOF = "eof"  # the sender closed its side
    RESET = "reset"  # the sender, or the path to it, broke the connection
    DEADLINE = "deadline"  # the time for the whole exchange ran out


class Outcome(StrEnum):
    """The one outcome of a connection or a datagram."""

    ACCEPTED = "accepted"
    # refused before any byte was read
    DENIED_SOURCE = "denied_source"
    UNLISTED_SOURCE = "unlisted_source"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    TOO_MANY_FROM_SOURCE = "too_many_from_source"
    # invalid: the bytes were wrong, or none came
    MISMATCH = "mismatch"
    BAD_TERMINATOR = "bad_terminator"
    TRAILING_DATA = "trailing_data"
    TRUNCATED = "truncated"
    FINGER_QUERY = "finger_query"
    DEADLINE = "deadline"
    EMPTY = "empty"
    RESET = "reset"
    # a valid line, but no account matches
    UNKNOWN_ACCOUNT = "unknown_account"

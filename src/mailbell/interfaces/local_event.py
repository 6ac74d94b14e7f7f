"""What happens at a local socket; the status of each daemon counts it.

The enumeration is closed: a name that is not here does not exist.
"""

from enum import StrEnum

__all__ = ["LocalEvent"]


class LocalEvent(StrEnum):
    """What happens at the local socket.

    A connection begins with `connected` or `refused_full`. One that was
    connected ends in exactly one of `disconnected`, `garbage`, `too_long`,
    `bad_call`, `too_fast`, `idle`, `displaced`, `unread`, `failed`. `refused_subscriber`
    may come any number of times between.
    """

    CONNECTED = "connected"
    REFUSED_FULL = "refused_full"  # no room for another connection
    REFUSED_SUBSCRIBER = "refused_subscriber"  # answered TooManySubscribers
    # a connection ends
    DISCONNECTED = "disconnected"  # the peer left, in order or not
    GARBAGE = "garbage"  # not JSON, or not a Varlink call
    TOO_LONG = "too_long"  # more than a message may hold, without its NUL
    BAD_CALL = "bad_call"  # a call whose parameters have the wrong type
    TOO_FAST = "too_fast"  # more calls than the allowance
    IDLE = "idle"  # connected, and asked nothing in time
    DISPLACED = "displaced"  # asked nothing when all places were taken and another came
    UNREAD = "unread"  # does not read its replies
    FAILED = "failed"  # our own fault: a handler raised what it should not

"""The events at a local socket, which the status of each daemon counts.

The enumeration is closed: no other values exist.
"""

from enum import StrEnum

__all__ = ["LocalEvent"]


class LocalEvent(StrEnum):
    """An event at the local socket.

    A connection begins with `connected`, `refused_full` or `refused_user`. A connection
    that began with `connected` ends in exactly one of `disconnected`, `garbage`, `too_long`,
    `bad_call`, `too_fast`, `user_too_fast`, `idle`, `displaced`, `unread`, `failed`.
    `refused_subscriber` may come any number of times between.
    """

    CONNECTED = "connected"
    REFUSED_FULL = "refused_full"  # there was no place for another connection
    REFUSED_USER = "refused_user"  # the peer's user connected or called more often than allowed
    REFUSED_SUBSCRIBER = "refused_subscriber"  # answered with TooManySubscribers
    # the ends of a connection
    DISCONNECTED = "disconnected"  # the peer left, by closing or by a broken connection
    GARBAGE = "garbage"  # the bytes are not JSON, or not a Varlink call
    TOO_LONG = "too_long"  # a message exceeded the limit before its NUL came
    BAD_CALL = "bad_call"  # a parameter of a call has the wrong type
    TOO_FAST = "too_fast"  # the peer called more often than allowed
    USER_TOO_FAST = "user_too_fast"  # all peers of its user together called too often
    IDLE = "idle"  # the peer connected and did not call in time
    DISPLACED = "displaced"  # all places were taken, and this peer had not called yet
    UNREAD = "unread"  # the peer does not read its replies
    FAILED = "failed"  # a bug of ours: a handler raised an unexpected exception

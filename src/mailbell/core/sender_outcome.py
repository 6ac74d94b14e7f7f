"""How each input of mailbell-sender ends, and how each ring ends.

The enumerations are closed: no other values exist, and the tests rely on it.
"""

from enum import StrEnum

__all__ = ["InputOutcome", "RingOutcome"]


class InputOutcome(StrEnum):
    """The one outcome of a line or a datagram that a mail server or a user sends."""

    ACCEPTED = "accepted"
    UNKNOWN_ACCOUNT = "unknown_account"
    DISABLED = "disabled"
    QUIET_FOLDER = "quiet_folder"
    NOT_PERMITTED = "not_permitted"
    MALFORMED = "malformed"
    TOO_LONG = "too_long"
    REFUSED_ADDRESS = "refused_address"
    RATE_LIMITED = "rate_limited"


class RingOutcome(StrEnum):
    """The outcome of one ring: one notification for one target, or for none."""

    SENT = "sent"
    COALESCED = "coalesced"  # one that is sent later stands for it
    REFUSED = "refused"  # nobody listens there
    UNREACHABLE = "unreachable"  # the network says that there is no way
    TIMEOUT = "timeout"
    RESET = "reset"
    BACKING_OFF = "backing_off"  # it failed before, and is tried again later
    NO_TARGET = "no_target"  # the account has no target now
    EXPIRED = "expired"  # it waited too long
    NOT_ALLOWED = "not_allowed"  # the address is one that is never called
    NAME_UNKNOWN = "name_unknown"

"""`org.mailbell.Sender`: what mailbell-sender answers on its control socket.

The text of the interface, the types of every call and reply, and the errors. A test
compares the text with the types, field by field. The status has a file of its own,
`mailbell.interfaces.sender_status`.
"""

from enum import StrEnum
from typing import Final

import msgspec

from mailbell import __version__
from mailbell.core.mailbox import MAX_MAILBOX
from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.interfaces.sender_status import STATUS_TEXT, Status
from mailbell.varlink import Interface, Method, Service, ServiceError, invalid_parameter

__all__ = [
    "MAX_ADDRESS",
    "SENDER",
    "SENDER_INTERFACE",
    "SENDER_SERVICE",
    "Explain",
    "ExplainReply",
    "GetStatus",
    "GetStatusReply",
    "Origin",
    "Ring",
    "RingReply",
    "RingResult",
    "Seen",
    "SeenReply",
    "Step",
    "Verdict",
    "Watch",
    "WatchReply",
    "not_accepted",
    "too_fast",
    "too_many_watchers",
    "unknown_account",
]

SENDER = "org.mailbell.Sender"

MAX_ADDRESS: Final = 64
"""The greatest length of a numeric address in a call, in characters; an IPv6 one has 45."""

_TEXT = (
    """\
# Rings the people whose mail has arrived, as a mail server that speaks RFC 4146.
interface org.mailbell.Sender

# One target of an account, or the lack of one, and what a notification would do
# there now. origin says where the target comes from: the configuration, or the
# last logins. target is null if there is no address now. The verdict is
#   ring         it would be sent at once
#   held_back    one was sent a moment ago; it would be sent after "wait"
#   in_flight    one is on its way; another one would follow
#   backing_off  the last attempt failed; the next one comes after "wait"
#   not_allowed  the address is one that is never called; reason says why
#   no_address   nobody has logged in within last_used.ttl, or not at all
#   disabled     the account is switched off
# reason is in words, for a person, and null where the verdict says it all. wait
# is in microseconds. last is how the last attempt there ended, seen is how many
# microseconds ago the login was; both are null if that is not known.
type Step (
  origin: (configured, last_used),
  target: ?string,
  verdict: (
    ring, held_back, in_flight, backing_off, not_allowed, no_address, disabled
  ),
  reason: ?string,
  wait: ?int,
  last: ?(
    sent, coalesced, refused, unreachable, timeout, reset, backing_off, no_target,
    expired, not_allowed, name_unknown
  ),
  seen: ?int
)

# One notification for one target, and how it ended. target is null if the account
# has none. milliseconds is how long the attempt took; it is 0 if none was made.
type RingResult (
  account: string,
  target: ?string,
  outcome: (
    sent, coalesced, refused, unreachable, timeout, reset, backing_off, no_target,
    expired, not_allowed, name_unknown
  ),
  milliseconds: float
)

"""
    + STATUS_TEXT
    + """
# New mail for this account, as if a mail server had said so. The reply comes when
# the notification is accepted, and not when it is sent.
method Ring(account: string) -> ()

# The account's owner has logged in from this numeric address.
method Seen(account: string, address: string) -> ()

# What a notification for this account would do now, target by target. account in
# the reply is the name that the sender knows it by. Nothing is sent.
method Explain(account: string) -> (account: string, steps: []Step)

# Counters, targets, limits and the state of the sandbox.
method GetStatus() -> (status: Status)

# Call it with "more". The first answer comes at once, and its ring is null. Each
# later answer is one ring, of this account only if one is given. missed says how
# many rings the caller missed before this answer, because it reads slowly.
method Watch(account: ?string) -> (ring: ?RingResult, missed: int)

# The sender has no account of this name, and the configuration has no default.
error UnknownAccount (account: string)

# The sender does not accept this. The outcome is counted.
error NotAccepted (
  outcome: (
    accepted, unknown_account, disabled, quiet_folder, not_permitted, malformed,
    too_long, refused_address, rate_limited
  )
)

# All places for watchers are taken; limit is their number.
error TooManyWatchers (limit: int)

# The programs of the caller's user connect or call too often. The daemon closes the
# connection. Try again later.
error TooFast ()
"""
)


class Origin(StrEnum):
    """Where a target comes from."""

    CONFIGURED = "configured"
    LAST_USED = "last_used"


class Verdict(StrEnum):
    """What a notification would do at one target now."""

    RING = "ring"  # it would be sent at once
    HELD_BACK = "held_back"  # one was sent a moment ago
    IN_FLIGHT = "in_flight"  # one is on its way
    BACKING_OFF = "backing_off"  # the last attempt failed
    NOT_ALLOWED = "not_allowed"  # the address is one that is never called
    NO_ADDRESS = "no_address"  # nobody has logged in within last_used.ttl
    DISABLED = "disabled"  # the account is switched off


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One target of an account, or the lack of one.

    Attributes:
        origin: the configuration, or the last logins.
        target: the address or name, the port, and `/udp` for UDP; None: there is no address.
        verdict: what a notification would do there now.
        reason: why, in words; None: the verdict says it all.
        wait: microseconds until the notification would be sent; None: at once or never.
        last: how the last attempt there ended; None: not known.
        seen: how many microseconds ago the login was; None: it comes from no login.
    """

    origin: Origin
    target: str | None = None
    verdict: Verdict
    reason: str | None = None
    wait: int | None = None
    last: RingOutcome | None = None
    seen: int | None = None


class RingResult(msgspec.Struct, frozen=True, kw_only=True):
    """One notification for one target, and how it ended.

    Attributes:
        account: the name that the sender knows the account by.
        target: the address or name, the port, and `/udp` for UDP; None: there is no target.
        outcome: how it ended.
        milliseconds: how long the attempt took; 0: none was made.
    """

    account: str
    target: str | None = None
    outcome: RingOutcome
    milliseconds: float


class Ring(msgspec.Struct, frozen=True):
    """org.mailbell.Sender.Ring: new mail for an account.

    Attributes:
        account: name of the account, or an alias.
    """

    account: str


class RingReply(msgspec.Struct, frozen=True):
    """The answer to `Ring`: the notification is accepted."""


class Seen(msgspec.Struct, frozen=True):
    """org.mailbell.Sender.Seen: a login.

    Attributes:
        account: name of the account, or an alias.
        address: the numeric address that it came from.
    """

    account: str
    address: str


class SeenReply(msgspec.Struct, frozen=True):
    """The answer to `Seen`: the login is noted."""


class Explain(msgspec.Struct, frozen=True):
    """org.mailbell.Sender.Explain: asks what a notification would do.

    Attributes:
        account: name of the account, or an alias.
    """

    account: str


class ExplainReply(msgspec.Struct, frozen=True):
    """The answer to `Explain`.

    Attributes:
        account: the name that the sender knows the account by.
        steps: target by target, in the order of the configuration, the newest login first.
    """

    account: str
    steps: tuple[Step, ...]


class GetStatus(msgspec.Struct, frozen=True):
    """org.mailbell.Sender.GetStatus: asks for the state of the sender."""


class GetStatusReply(msgspec.Struct, frozen=True):
    """The answer to `GetStatus`.

    Attributes:
        status: counters, targets, limits and the state of the sandbox.
    """

    status: Status


class Watch(msgspec.Struct, frozen=True, omit_defaults=True):
    """org.mailbell.Sender.Watch: asks for each ring from now on.

    Attributes:
        account: of this account only; None: of all accounts.
    """

    account: str | None = None


class WatchReply(msgspec.Struct, frozen=True):
    """One of the answers to `Watch`.

    Attributes:
        ring: the ring; None in the first answer.
        missed: how many rings the caller missed before this answer, because it reads slowly.
    """

    ring: RingResult | None = None
    missed: int = 0


def unknown_account(account: str) -> ServiceError:
    """Make the error for an account that the sender does not have.

    Args:
        account: its name, as the peer sent it.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{SENDER}.UnknownAccount", {"account": account})


def not_accepted(outcome: InputOutcome) -> ServiceError:
    """Make the error for a call that the sender does not accept.

    Args:
        outcome: how it was counted.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{SENDER}.NotAccepted", {"outcome": outcome})


def too_many_watchers(limit: int) -> ServiceError:
    """Make the error for a watcher for which there is no place.

    Args:
        limit: how many there may be.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{SENDER}.TooManyWatchers", {"limit": limit})


def too_fast() -> ServiceError:
    """Make the error for a user whose programs connect or call too often.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{SENDER}.TooFast", {})


def _check_account(request: "Ring | Explain") -> "Ring | Explain":
    if not 1 <= len(request.account) <= MAX_MAILBOX:
        raise invalid_parameter("account")
    return request


def _check_seen(request: Seen) -> Seen:
    if not 1 <= len(request.account) <= MAX_MAILBOX:
        raise invalid_parameter("account")
    if not 1 <= len(request.address) <= MAX_ADDRESS:
        raise invalid_parameter("address")
    return request


def _check_watch(request: Watch) -> Watch:
    if request.account is not None and not 1 <= len(request.account) <= MAX_MAILBOX:
        raise invalid_parameter("account")
    return request


SENDER_INTERFACE = Interface(
    name=SENDER,
    text=_TEXT,
    methods={
        "Ring": Method(Ring, check=_check_account),
        "Seen": Method(Seen, check=_check_seen),
        "Explain": Method(Explain, check=_check_account),
        "GetStatus": Method(GetStatus),
        "Watch": Method(Watch, more=True, check=_check_watch),
    },
)

SENDER_SERVICE = Service(
    vendor="mailbell",
    product="mailbell-sender",
    version=__version__,
    url="https://www.rfc-editor.org/rfc/rfc4146",
    interfaces=(SENDER_INTERFACE,),
)
"""All interfaces that mailbell-sender serves on its control socket."""

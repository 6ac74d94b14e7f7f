"""`org.mailbell.Listener`: what mailbelld answers on its local socket.

The text of the interface, the types of every call and reply, and the errors. A test
compares the text with the types, field by field. Notifications and cursors are those
of `mailbell.core.notification`: nothing is copied from one form to another.
"""

import msgspec

from mailbell import __version__
from mailbell.core.account_name import MAX_ACCOUNT_NAME
from mailbell.core.notification import Cursor, Notification
from mailbell.interfaces.sandbox import SANDBOX_TEXT, Sandbox
from mailbell.limits.limiter import Limited, Table
from mailbell.varlink import Interface, Method, Service, ServiceError, invalid_parameter

__all__ = [
    "LISTENER",
    "LISTENER_INTERFACE",
    "LISTENER_SERVICE",
    "Account",
    "GetStatus",
    "GetStatusReply",
    "Limited",
    "Notify",
    "NotifyReply",
    "Outcomes",
    "Sandbox",
    "Status",
    "Subscribe",
    "SubscribeReply",
    "Table",
    "too_fast",
    "too_many_subscribers",
    "unknown_account",
]

LISTENER = "org.mailbell.Listener"

_TEXT = (
    """\
# Tells programs that new mail has arrived, as a mail server told us (RFC 4146).
interface org.mailbell.Listener

# A place in the history of one run of the daemon. The epoch names the run; each
# run has its own. The sequence is the number of the last wake-up that the
# subscriber knows. A run begins at 0. A subscriber from another run is at -1
# until it has received every resync that this run begins with.
type Cursor (epoch: string, sequence: int)

# Look for mail in this account. The cause is "network" when a mail server
# notified, "manual" when a person did, and "resync" when notifications may have
# been missed. count says how many notifications this one stands for. transport
# and source (a numeric address) belong to the last of them; they are null unless
# the cause is "network". time is in microseconds since 1970.
type Notification (
  account: string,
  cause: (network, manual, resync),
  count: int,
  transport: ?(tcp, udp),
  source: ?string,
  time: int
)

# How all connections and datagrams ended so far: the number for each outcome.
# Every outcome is present.
type Outcomes (tcp: [string]int, udp: [string]int)

# One table of the rate limiter: how many sources it holds, how many it can hold,
# and how many it forgot while they were still limited.
type Table (name: string, entries: int, capacity: int, evicted: int)

# A source that is over its limit now: the table that refuses it, its address or
# network, how many of that table's last 64 refusals were its own, and after how
# many microseconds it is admitted again.
type Limited (table: string, source: string, refused: int, wait: int)

# One account: notifications so far, the time of the last one in microseconds
# since 1970, and how many microseconds ago that was. The age does not change
# with the setting of the clock.
type Account (name: string, count: int, time: ?int, age: ?int)

"""
    + SANDBOX_TEXT
    + """
# The state of the daemon. started is in microseconds since 1970, by the clock as
# it is set now. uptime is how many microseconds the daemon has run; it does not
# change with the setting of the clock. refused_by_total counts requests that only
# the total rate of all sources refused. leaked counts datagrams over their
# source's limits that were let through at random. kernel_dropped counts datagrams
# that the kernel dropped, by the filter or because the queue was full; it is null
# without UDP, or if the kernel does not tell. unfiltered says why the kernel does
# not enforce the allowed sources; it is null if the kernel does, or need not.
# accounts may be cut short; accounts_total is the number of all accounts. limited
# has at most eight sources, the most often refused first.
type Status (
  version: string,
  pid: int,
  cursor: Cursor,
  started: int,
  uptime: ?int,
  listening: []string,
  outcomes: Outcomes,
  refused_by_total: int,
  leaked: int,
  kernel_dropped: ?int,
  unfiltered: ?string,
  wakeups: int,
  accounts: []Account,
  accounts_total: int,
  connections: int,
  connections_limit: int,
  subscribers: int,
  subscribers_limit: int,
  tables: []Table,
  limited: []Limited,
  local: [string]int,
  log_suppressed: int,
  sandbox: Sandbox
)

# Call it with "more". The first answer comes at once. Its notification is a
# resync when the subscriber may have missed something since "after", and null
# otherwise, or when no "after" was given. Each later answer is a notification.
# Without accounts the subscriber gets those of all accounts. A subscriber that
# reads slowly gets one answer that stands for many.
method Subscribe(accounts: ?[]string, after: ?Cursor) -> (
  cursor: Cursor,
  notification: ?Notification
)

# Notifies by hand.
method Notify(account: string) -> (cursor: Cursor)

# Counters, limits and the state of the sandbox.
method GetStatus() -> (status: Status)

# The daemon has no account of this name.
error UnknownAccount (account: string)

# All places for subscribers are taken; limit is their number.
error TooManySubscribers (limit: int)

# The programs of the caller's user connect or call too often. The daemon closes the
# connection. Try again later.
error TooFast ()
"""
)


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of connections and datagrams by outcome.

    Attributes:
        tcp: count of each `Outcome` over TCP, by name; every name is present.
        udp: the same over UDP.
    """

    tcp: dict[str, int]
    udp: dict[str, int]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The notifications of one account.

    Attributes:
        name: the account's name.
        count: notifications since the daemon started.
        time: when the last of them came, in microseconds since 1970; None: none came yet.
        age: how long ago that was, in microseconds, by a clock that does not jump; None: none
            came yet, or the daemon is older than this client.
    """

    name: str
    count: int
    time: int | None = None
    age: int | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the daemon tells about itself.

    Attributes:
        version: of mailbell.
        pid: process number of the daemon.
        cursor: the latest wake-up of this run.
        started: when the daemon started, in microseconds since 1970, by the wall clock as it
            is set now.
        uptime: how long it has run, in microseconds, by a clock that does not jump; None: the
            daemon is older than this client.
        listening: where it accepts, as in `tcp 127.0.0.1:79`.
        outcomes: the numbers of connections and datagrams by outcome.
        refused_by_total: requests within their source's limits that `limits.total_rate`
            refused. They also count as `rate_limited`.
        leaked: datagrams over their source's limits that were let through at random.
        kernel_dropped: datagrams that the kernel dropped, by the filter or because the queue
            was full; None: there is no UDP, or the kernel does not tell.
        unfiltered: why the kernel does not enforce `sources.allow`, so that the daemon must;
            None: the kernel does, or there is nothing to enforce.
        wakeups: wake-ups of subscribers, after coalescing.
        accounts: the accounts, as many as fit in a message.
        accounts_total: the number of all accounts.
        connections: network connections open now.
        connections_limit: how many may be open.
        subscribers: subscribers now.
        subscribers_limit: how many there may be.
        tables: the tables of sources.
        limited: the sources over their limits now, at most eight, the most often refused
            first. Empty if the daemon is older than this client.
        local: the number of each `LocalEvent`, by name; every name is present.
        log_suppressed: log lines that the log's own limit held back, or that could not be written.
        sandbox: the lock-down.
    """

    version: str
    pid: int
    cursor: Cursor
    started: int
    uptime: int | None = None
    listening: tuple[str, ...]
    outcomes: Outcomes
    refused_by_total: int
    leaked: int
    kernel_dropped: int | None = None
    unfiltered: str | None = None
    wakeups: int
    accounts: tuple[Account, ...]
    accounts_total: int
    connections: int
    connections_limit: int
    subscribers: int
    subscribers_limit: int
    tables: tuple[Table, ...]
    limited: tuple[Limited, ...] = ()
    local: dict[str, int]
    log_suppressed: int
    sandbox: Sandbox


class Subscribe(msgspec.Struct, frozen=True, omit_defaults=True):
    """org.mailbell.Listener.Subscribe: asks for all notifications from now on.

    Attributes:
        accounts: names of the accounts; empty: all accounts.
        after: the last place the caller knows; None: the caller does not ask what it missed.
    """

    accounts: tuple[str, ...] = ()
    after: Cursor | None = None


class SubscribeReply(msgspec.Struct, frozen=True):
    """One of the answers to `Subscribe`.

    Attributes:
        cursor: the caller's place after this answer.
        notification: what it is told; None in a first answer: nothing was missed.
    """

    cursor: Cursor
    notification: Notification | None = None


class Notify(msgspec.Struct, frozen=True):
    """org.mailbell.Listener.Notify: notifies by hand.

    Attributes:
        account: name of the account.
    """

    account: str


class NotifyReply(msgspec.Struct, frozen=True):
    """The answer to `Notify`.

    Attributes:
        cursor: the place in the history after this notification.
    """

    cursor: Cursor


class GetStatus(msgspec.Struct, frozen=True):
    """org.mailbell.Listener.GetStatus: asks for the state of the daemon."""


class GetStatusReply(msgspec.Struct, frozen=True):
    """The answer to `GetStatus`.

    Attributes:
        status: counters, limits and the state of the sandbox.
    """

    status: Status


def unknown_account(account: str) -> ServiceError:
    """Make the error for an account that this daemon does not have.

    Args:
        account: its name, as the peer sent it.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{LISTENER}.UnknownAccount", {"account": account})


def too_many_subscribers(limit: int) -> ServiceError:
    """Make the error for a subscriber for which there is no place.

    Args:
        limit: how many there may be.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{LISTENER}.TooManySubscribers", {"limit": limit})


def too_fast() -> ServiceError:
    """Make the error for a user whose programs connect or call too often.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{LISTENER}.TooFast", {})


def _check_account(name: str, parameter: str) -> None:
    if not 1 <= len(name) <= MAX_ACCOUNT_NAME:
        raise invalid_parameter(parameter)


def _check_notify(request: Notify) -> Notify:
    _check_account(request.account, "account")
    return request


def _check_subscribe(request: Subscribe) -> Subscribe:
    for name in request.accounts:
        _check_account(name, "accounts")
    if request.after is not None and request.after.sequence < -1:
        raise invalid_parameter("after.sequence")
    return Subscribe(tuple(dict.fromkeys(request.accounts)), request.after)


LISTENER_INTERFACE = Interface(
    name=LISTENER,
    text=_TEXT,
    methods={
        "Subscribe": Method(Subscribe, more=True, nested={"after": Cursor}, check=_check_subscribe),
        "Notify": Method(Notify, check=_check_notify),
        "GetStatus": Method(GetStatus),
    },
)

LISTENER_SERVICE = Service(
    vendor="mailbell",
    product="mailbelld",
    version=__version__,
    url="https://www.rfc-editor.org/rfc/rfc4146",
    interfaces=(LISTENER_INTERFACE,),
)
"""All interfaces that mailbelld serves on its local socket."""

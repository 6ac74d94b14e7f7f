"""`org.mailbell.Listener`: what mailbelld answers on its local socket.

The text of the interface, the types of every call and reply, and the errors. A test
compares the text with the types, field by field. Notifications and cursors are those
of `mailbell.core.notification`: nothing is copied from one form to another.
"""

import msgspec

from mailbell import __version__
from mailbell.core.account_name import MAX_ACCOUNT_NAME
from mailbell.core.notification import Cursor, Notification
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
    "too_many_subscribers",
    "unknown_account",
]

LISTENER = "org.mailbell.Listener"

_TEXT = """\
# Tells programs that new mail has arrived, as a mail server told us (RFC 4146).
interface org.mailbell.Listener

# A place in the history of one run of the daemon. The epoch names the run, and
# another run has another one; sequence is the number of the last wake-up of
# which everything was told. A run begins at 0; -1 is given to who comes from
# another run and was not yet told everything that this one has to say at once.
type Cursor (epoch: string, sequence: int)

# Look for mail of this account. The cause is "network" when a mail server rang,
# "manual" when a person did, "resync" when something may have been missed.
# count says how many notifications this one stands for; transport and source
# (a numeric address) belong to the last of them and are null unless the cause
# is "network"; time is in microseconds since 1970.
type Notification (
  account: string,
  cause: (network, manual, resync),
  count: int,
  transport: ?(tcp, udp),
  source: ?string,
  time: int
)

# What became of all connections and datagrams so far: outcome to number, every
# outcome always present.
type Outcomes (tcp: [string]int, udp: [string]int)

# One table of the rate limiter: sources it holds, sources it can hold, and how
# many it gave up while they still counted.
type Table (name: string, entries: int, capacity: int, evicted: int)

# A source that is over its limit now: the table that refuses it, its address or
# network, how many of that table's last 64 refusals were its own, and after how
# many microseconds it is heard again.
type Limited (table: string, source: string, refused: int, wait: int)

# One account: notifications so far, the time of the last one in microseconds
# since 1970, and how many microseconds ago that was. The age does not change
# with the setting of the clock.
type Account (name: string, count: int, time: ?int, age: ?int)

# The state of the sandbox, as the kernel reports it. landlock_abi is the version
# of Landlock in the kernel, landlock_used is the one in force.
type Sandbox (
  uid: int,
  gid: int,
  groups: []int,
  capabilities: string,
  no_new_privs: bool,
  seccomp: int,
  threads: int,
  permitted_calls: int,
  landlock_abi: int,
  landlock_used: ?int,
  landlock_uncovered: []string
)

# How the daemon is. started is in microseconds since 1970 by the clock as it is
# set now; uptime is the microseconds since then, which do not change with the
# setting of the clock; refused_by_total are the requests that only the rate of
# all sources together refused; leaked are datagrams over their source's limits
# that were let through by chance; kernel_dropped are datagrams the kernel
# dropped, by the filter or because the queue was full, and null where there is
# no UDP or the kernel does not tell; unfiltered says why the kernel does not
# enforce the allowed sources, and is null when it does or need not; accounts
# may be cut short, accounts_total is how many there are; limited has at most
# eight sources, the most often refused first.
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

# Call it with "more". The first answer comes at once: its notification is null
# when nothing was missed since "after" (or no "after" was given), a resync
# otherwise. Each later answer is a notification. Without accounts: of all
# accounts. Who reads slowly gets one answer that stands for many.
method Subscribe(accounts: ?[]string, after: ?Cursor) -> (
  cursor: Cursor,
  notification: ?Notification
)

# Rings by hand.
method Notify(account: string) -> (cursor: Cursor)

# Counters, limits and the state of the sandbox.
method GetStatus() -> (status: Status)

# The daemon has no account of this name.
error UnknownAccount (account: string)

# No more subscribers are taken; there may be this many.
error TooManySubscribers (limit: int)
"""


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """How connections and datagrams ended.

    Attributes:
        tcp: count of each `Outcome` over TCP, by name; every name is present.
        udp: the same over UDP.
    """

    tcp: dict[str, int]
    udp: dict[str, int]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one table of sources.

    Attributes:
        name: transport, family and prefix, as in `tcp/ipv4/24`.
        entries: sources it holds now.
        capacity: sources it can hold.
        evicted: sources that gave way while there was still something to know of them.
    """

    name: str
    entries: int
    capacity: int
    evicted: int


class Limited(msgspec.Struct, frozen=True, kw_only=True):
    """A source that is over its limit now.

    Attributes:
        table: name of the table that refuses it.
        source: its address or network, as in `192.0.2.25` or `2001:db8::/64`.
        refused: how many of the table's last 64 refusals were its own.
        wait: microseconds until it is heard again.
    """

    table: str
    source: str
    refused: int
    wait: int


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What came for one account.

    Attributes:
        name: the account's name.
        count: notifications since the daemon started.
        time: of the last of them, in microseconds since 1970; None: none yet.
        age: how long ago that was, in microseconds, whatever the wall clock was set to
            since; None: none yet, or the daemon is older than this client.
    """

    name: str
    count: int
    time: int | None = None
    age: int | None = None


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """The lock-down, as read back from the kernel once it was in force.

    Attributes:
        uid: the user the daemon runs as.
        gid: its group.
        groups: its supplementary groups.
        capabilities: union of its capability sets, 16 hexadecimal digits (proc(5)).
        no_new_privs: whether executing could no longer add a privilege.
        seccomp: mode of seccomp(2); 2 is a filter.
        threads: number of threads the filter holds.
        permitted_calls: system calls the filter lets through, some with conditions.
        landlock_abi: version of Landlock's ABI in the running kernel.
        landlock_used: version of the ABI that is in force, which mailbell was tested with;
            None: the daemon is older than this client.
        landlock_uncovered: what the ABI in force cannot restrict and the filter must.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: str
    no_new_privs: bool
    seccomp: int
    threads: int
    permitted_calls: int
    landlock_abi: int
    landlock_used: int | None = None
    landlock_uncovered: tuple[str, ...]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the daemon tells about itself.

    Attributes:
        version: of mailbell.
        pid: process number of the daemon.
        cursor: the latest wake-up of this run.
        started: when, in microseconds since 1970, by the wall clock as it is set now.
        uptime: microseconds since then, whatever the wall clock was set to; None: the
            daemon is older than this client.
        listening: what it accepts on, as in `tcp 127.0.0.1:79`.
        outcomes: how connections and datagrams ended.
        refused_by_total: requests within their source's limits that `limits.total_rate`
            refused; they are counted `rate_limited` too.
        leaked: datagrams over their source's limits that were let through by chance.
        kernel_dropped: datagrams the kernel dropped, by the filter or because the queue
            was full; None: there is no UDP, or the kernel does not tell.
        unfiltered: why the kernel does not enforce `sources.allow` and the daemon has to;
            None: it does, or there is nothing to enforce.
        wakeups: notifications handed on, after coalescing.
        accounts: the accounts, as many as fit a message.
        accounts_total: how many accounts there are.
        connections: network connections open now.
        connections_limit: at most.
        subscribers: subscribers now.
        subscribers_limit: at most.
        tables: the tables of sources.
        limited: the sources over their limits now, most often refused first, at most
            eight; a daemon older than this client does not tell.
        local: count of each `LocalEvent`, by name; every name is present.
        log_suppressed: log lines held back by the log's own limit.
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
    """org.mailbell.Listener.Subscribe: tell me of notifications, from now on.

    Attributes:
        accounts: names of the accounts, each once; empty: all of them.
        after: what the caller has seen last; None: it asks for nothing missed.
    """

    accounts: tuple[str, ...] = ()
    after: Cursor | None = None


class SubscribeReply(msgspec.Struct, frozen=True):
    """One of the answers to `Subscribe`.

    Attributes:
        cursor: where the caller stands after this answer.
        notification: what it is told; None in a first answer: nothing was missed.
    """

    cursor: Cursor
    notification: Notification | None = None


class Notify(msgspec.Struct, frozen=True):
    """org.mailbell.Listener.Notify: ring by hand.

    Attributes:
        account: name of the account.
    """

    account: str


class NotifyReply(msgspec.Struct, frozen=True):
    """The answer to `Notify`.

    Attributes:
        cursor: where the account's history stands after the ringing.
    """

    cursor: Cursor


class GetStatus(msgspec.Struct, frozen=True):
    """org.mailbell.Listener.GetStatus: how are you?"""


class GetStatusReply(msgspec.Struct, frozen=True):
    """The answer to `GetStatus`.

    Attributes:
        status: counters, limits and the state of the sandbox.
    """

    status: Status


def unknown_account(account: str) -> ServiceError:
    """Make the error for an account this daemon does not have.

    Args:
        account: its name, as the peer sent it.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{LISTENER}.UnknownAccount", {"account": account})


def too_many_subscribers(limit: int) -> ServiceError:
    """Make the error for one subscriber too many.

    Args:
        limit: how many there may be.

    Returns:
        The error to raise.
    """
    return ServiceError(f"{LISTENER}.TooManySubscribers", {"limit": limit})


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
"""All that mailbelld serves on its local socket."""

"""The interfaces we serve, in Varlink's definition language.

Comments stand above a member, never inside it: some parsers take them only
there. Source of the first: https://varlink.org/Service
"""

from mailbell import __version__
from mailbell.varlink._errors import interface_not_found
from mailbell.varlink._names import LISTENER, SERVICE
from mailbell.varlink.types import GetInfoReply, GetInterfaceDescriptionReply

__all__ = [
    "LISTENER_TEXT",
    "SERVICE_TEXT",
    "describe",
    "service_information",
]

SERVICE_TEXT = """\
# What every Varlink service answers: who it is, and what it can do.
interface org.varlink.service

# Who answers, and which interfaces it serves.
method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

# An interface in Varlink's definition language.
method GetInterfaceDescription(interface: string) -> (description: string)

# This interface is not served here.
error InterfaceNotFound (interface: string)

# The interface has no such method.
error MethodNotFound (method: string)

# The method cannot be called like this (nothing here can be upgraded).
error MethodNotImplemented (method: string)

# A parameter is unknown, missing or out of range.
error InvalidParameter (parameter: string)

# The caller may not do this.
error PermissionDenied ()

# The method answers more than once and has to be called with "more".
error ExpectedMore ()
"""

LISTENER_TEXT = """\
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

# One account: notifications so far, and the time of the last one in
# microseconds since 1970.
type Account (name: string, count: int, time: ?int)

# The state of the sandbox, as the kernel reports it.
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
  landlock_uncovered: []string
)

# How the daemon is. started is in microseconds since 1970; refused_by_total are
# the requests that only the rate of all sources together refused; leaked are
# datagrams over their source's limits that were let through by chance;
# kernel_dropped are datagrams the kernel dropped, by the filter or because the
# queue was full, and null where there is no UDP or the kernel does not tell;
# unfiltered says why the kernel does not enforce the allowed sources, and is
# null when it does or need not; accounts may be cut short, accounts_total is
# how many there are; limited has at most eight sources, the most often refused
# first.
type Status (
  version: string,
  pid: int,
  cursor: Cursor,
  started: int,
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

_TEXTS = {SERVICE: SERVICE_TEXT, LISTENER: LISTENER_TEXT}


def service_information() -> GetInfoReply:
    """Make the answer to `GetInfo`.

    Returns:
        Our name, version and the names of our interfaces.
    """
    return GetInfoReply(
        vendor="mailbell",
        product="mailbelld",
        version=__version__,
        url="https://www.rfc-editor.org/rfc/rfc4146",
        interfaces=tuple(_TEXTS),
    )


def describe(interface: str) -> GetInterfaceDescriptionReply:
    """Make the answer to `GetInterfaceDescription`.

    Args:
        interface: name of the interface, as the peer sent it.

    Returns:
        The interface's text.

    Raises:
        ServiceError: InterfaceNotFound.
    """
    if interface not in _TEXTS:
        raise interface_not_found(interface)
    return GetInterfaceDescriptionReply(_TEXTS[interface])

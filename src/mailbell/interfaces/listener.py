"""What the daemon counts, and the record it shows of itself.

The records are the types of `GetStatus` in `org.mailbell.Listener`, field for
field. Nothing here reads a clock or a file: who builds a record brings the
values.
"""

from enum import StrEnum
from typing import TypeVar

import msgspec

from mailbell.core.notification import Cursor, Transport
from mailbell.core.outcome import Outcome

__all__ = [
    "Account",
    "Counters",
    "Limited",
    "LocalEvent",
    "Outcomes",
    "Sandbox",
    "Status",
    "Table",
]

_Name = TypeVar("_Name", bound=StrEnum)


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
    """

    name: str
    count: int
    time: int | None = None


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
        landlock_uncovered: what this ABI cannot restrict and the filter must.
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
    landlock_uncovered: tuple[str, ...]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the daemon tells about itself.

    Attributes:
        version: of mailbell.
        pid: process number of the daemon.
        cursor: the latest wake-up of this run.
        started: when, in microseconds since 1970.
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


class Counters:
    """The daemon's running counts. All names are there from the start, at zero.

    Attributes:
        outcomes: per transport, how many inputs ended so.
        local: how often each event happened at the local socket.
        wakeups: notifications handed on, after coalescing.
    """

    __slots__ = ("local", "outcomes", "wakeups")

    def __init__(self) -> None:
        self.outcomes: dict[Transport, dict[Outcome, int]] = {
            transport: dict.fromkeys(Outcome, 0) for transport in Transport
        }
        self.local: dict[LocalEvent, int] = dict.fromkeys(LocalEvent, 0)
        self.wakeups = 0

    def count(self, transport: Transport, outcome: Outcome) -> None:
        """Count the end of one connection or datagram.

        Args:
            transport: how it came.
            outcome: how it ended.
        """
        self.outcomes[transport][outcome] += 1

    def count_local(self, event: LocalEvent) -> None:
        """Count one event at the local socket.

        Args:
            event: what happened.
        """
        self.local[event] += 1

    def count_wakeup(self) -> None:
        """Count one notification handed on to the subscribers."""
        self.wakeups += 1

    def snapshot_outcomes(self) -> Outcomes:
        """Copy the outcomes into their record.

        Returns:
            The counts as they are now; later counting does not change them.
        """
        return Outcomes(
            tcp=_by_name(self.outcomes[Transport.TCP]),
            udp=_by_name(self.outcomes[Transport.UDP]),
        )

    def snapshot_local(self) -> dict[str, int]:
        """Copy the local socket's events.

        Returns:
            Count by name, as it is now; later counting does not change it.
        """
        return _by_name(self.local)


def _by_name(counts: dict[_Name, int]) -> dict[str, int]:
    return {name.value: count for name, count in counts.items()}

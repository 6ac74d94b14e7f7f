"""The status of mailbell-sender, as `org.mailbell.Sender` tells it: text and types."""

from typing import Final

import msgspec

from mailbell.core.sender_outcome import RingOutcome
from mailbell.interfaces.sandbox import SANDBOX_TEXT, Sandbox

__all__ = [
    "RECENT",
    "STATUS_TEXT",
    "Account",
    "Book",
    "Cluster",
    "ClusterNode",
    "Latency",
    "Sandbox",
    "Status",
    "Store",
    "TargetState",
]

RECENT: Final = 32
"""How many accounts and targets a status names at most: those that were rung last."""

STATUS_TEXT = (
    """\
# One account that was rung lately: rings so far, how the last one ended, and how
# many microseconds ago.
type Account (
  name: string,
  rings: int,
  last: (
    sent, coalesced, refused, unreachable, timeout, reset, backing_off, no_target,
    expired, not_allowed, name_unknown
  ),
  age: int
)

# One target that was rung lately: attempts so far and how many were sent, how the
# last one ended, how many microseconds ago, and how long it took in microseconds.
# wait is how many microseconds its back-off still lasts; null if it has none.
type TargetState (
  target: string,
  attempts: int,
  sent: int,
  last: (
    sent, coalesced, refused, unreachable, timeout, reset, backing_off, no_target,
    expired, not_allowed, name_unknown
  ),
  age: int,
  took: int,
  wait: ?int
)

# How long notifications took from the mail server's word to the wire, in
# microseconds: how many were measured, the median and the 99th percentile. Both
# are null before the first one, and otherwise at most a fifth too high.
type Latency (count: int, p50: ?int, p99: ?int)

# The address book: accounts and addresses in it, how many accounts it can hold,
# and how many it forgot because it was full.
type Book (accounts: int, addresses: int, capacity: int, evicted: int)

# The file of the address book. failing says why nothing can be written to it now,
# and set_aside why another file was found in its place at start; null if all is
# well. pending is how many accounts still waited for their ring when the last run
# ended.
type Store (url: string, failing: ?string, set_aside: ?string, pending: int)

# One node of the cluster, as it says itself: whether it lives, how many rings it has
# taken since it started, how many entries wait in its inbox, and how many
# microseconds the latest one had waited there.
type ClusterNode (name: string, lives: bool, taken: int, waiting: int, lag: int)

# The senders that share their work. failing says why this one rings alone now; null
# if it does not. alone is how often the engine may not have got what this sender
# had for it; waiting is how many logins and accounts it will hand over, and dropped
# how many of these found no place. refused counts what other nodes said and was not
# obeyed.
type Cluster (
  node: string,
  failing: ?string,
  nodes: []ClusterNode,
  alone: int,
  waiting: int,
  dropped: int,
  refused: int
)

"""
    + SANDBOX_TEXT
    + """
# The state of the sender. started is in microseconds since 1970, by the clock as it
# is set now. uptime is how many microseconds it has run; it does not change with
# the setting of the clock. listening says where mail servers are heard. inputs and
# rings count how each input and each ring ended; every outcome is present.
# latency, accounts and targets are of this run; accounts and targets name at most
# 32, the latest first. accounts_listed is how many accounts the configuration has.
# targets_known is how many targets have a state now, pending is how many of them
# have a notification that is not sent yet, backing_off how many are out of reach.
# names counts questions to the resolver by how they ended; it is empty without
# one. cluster is null if this is the only sender. companions are the processes
# beside the sender, by their numbers. connections are those of mail servers,
# sending those to targets.
type Status (
  version: string,
  pid: int,
  started: int,
  uptime: int,
  listening: []string,
  inputs: [string]int,
  rings: [string]int,
  latency: Latency,
  accounts: []Account,
  accounts_listed: int,
  targets: []TargetState,
  targets_known: int,
  pending: int,
  backing_off: int,
  book: Book,
  store: Store,
  names: [string]int,
  cluster: ?Cluster,
  companions: [string]int,
  connections: int,
  connections_limit: int,
  sending: int,
  sending_limit: int,
  watchers: int,
  watchers_limit: int,
  local: [string]int,
  log_suppressed: int,
  sandbox: Sandbox
)
"""
)
"""These types in Varlink's definition language."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One account that was rung lately.

    Attributes:
        name: the account's name.
        rings: rings since the sender started, or since it forgot the account.
        last: how the last one ended.
        age: how many microseconds ago that was.
    """

    name: str
    rings: int
    last: RingOutcome
    age: int


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """One target that was rung lately.

    Attributes:
        target: the address or name, the port, and `/udp` for UDP.
        attempts: attempts since the sender started, or since it forgot the target.
        sent: how many of them were sent.
        last: how the last one ended.
        age: how many microseconds ago that was.
        took: how long it took, in microseconds.
        wait: microseconds that its back-off still lasts; None: it has none.
    """

    target: str
    attempts: int
    sent: int
    last: RingOutcome
    age: int
    took: int
    wait: int | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long notifications took from the mail server's word to the wire.

    Attributes:
        count: how many were measured.
        p50: the median in microseconds, at most a fifth too high; None: none was measured.
        p99: the 99th percentile, likewise.
    """

    count: int
    p50: int | None = None
    p99: int | None = None


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """The address book.

    Attributes:
        accounts: how many accounts have an address in it.
        addresses: how many addresses it holds.
        capacity: how many accounts it can hold.
        evicted: how many accounts it forgot because it was full.
    """

    accounts: int
    addresses: int
    capacity: int
    evicted: int


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """The file of the address book.

    Attributes:
        url: as in the configuration.
        failing: why nothing can be written to it now; None: it can.
        set_aside: why another file was found in its place at start, and what it is called
            now; None: there was none.
        pending: how many accounts waited for their ring when the last run ended.
    """

    url: str
    failing: str | None = None
    set_aside: str | None = None
    pending: int = 0


class ClusterNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the cluster, as it says itself.

    Attributes:
        name: its name.
        lives: whether it gave a sign of life in time.
        taken: rings that it has taken since it started.
        waiting: entries in its inbox.
        lag: microseconds that the latest entry had waited there.
    """

    name: str
    lives: bool
    taken: int
    waiting: int
    lag: int


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """The senders that share their work.

    Attributes:
        node: the name of this one.
        failing: why this one rings alone now; None: it does not.
        nodes: those that have not left.
        alone: how often the engine may not have got what this one had for it.
        waiting: logins and accounts that it will hand over.
        dropped: how many of these found no place.
        refused: what other nodes said and was not obeyed.
    """

    node: str
    failing: str | None = None
    nodes: tuple[ClusterNode, ...]
    alone: int
    waiting: int
    dropped: int
    refused: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the sender tells about itself.

    Attributes:
        version: of mailbell.
        pid: process number of the sender.
        started: when it started, in microseconds since 1970, by the wall clock as set now.
        uptime: how long it has run, in microseconds, by a clock that does not jump.
        listening: where mail servers are heard, as in `hook /run/mailbell-sender/hook`.
        inputs: the number of each `InputOutcome`, by name; every name is present.
        rings: the number of each `RingOutcome`, by name; every name is present.
        latency: from the mail server's word to the wire.
        accounts: those that were rung last, at most `RECENT`, the latest first.
        accounts_listed: how many accounts the configuration has.
        targets: those that were rung last, at most `RECENT`, the latest first.
        targets_known: how many targets have a state now.
        pending: how many of them have a notification that is not sent yet.
        backing_off: how many of them could not be reached and are tried later.
        book: the address book.
        store: its file.
        names: how the questions to the resolver ended, by outcome; empty: there is none.
        cluster: the senders that share their work; None: this is the only one.
        companions: the processes beside the sender that live: name and process number.
        connections: connections of mail servers and hooks open now.
        connections_limit: how many may be open.
        sending: connections to targets open now.
        sending_limit: how many may be open.
        watchers: callers of `Watch` now.
        watchers_limit: how many there may be.
        local: the number of each `LocalEvent` at the control socket; every name is present.
        log_suppressed: log lines that the log's own limit held back, or that could not be written.
        sandbox: the lock-down.
    """

    version: str
    pid: int
    started: int
    uptime: int
    listening: tuple[str, ...]
    inputs: dict[str, int]
    rings: dict[str, int]
    latency: Latency
    accounts: tuple[Account, ...]
    accounts_listed: int
    targets: tuple[TargetState, ...]
    targets_known: int
    pending: int
    backing_off: int
    book: Book
    store: Store
    names: dict[str, int]
    cluster: Cluster | None = None
    companions: dict[str, int]
    connections: int
    connections_limit: int
    sending: int
    sending_limit: int
    watchers: int
    watchers_limit: int
    local: dict[str, int]
    log_suppressed: int
    sandbox: Sandbox

"""What a simulation and a measurement have found. The tables and the picture read it.

`results.json` keeps a `Run`, and `throughput.json` a `Throughput`.
"""

from collections.abc import Iterable
from typing import Final, Self

import msgspec

from bench.cluster.assumptions import Day, Limits, Machines
from bench.cluster.costs import Inputs
from bench.cluster.model import Call

__all__ = [
    "PARTS", "Cluster", "Delay", "Event", "Hour", "Idle", "Minute", "Run", "Shared", "Sweep",
    "Throughput",
]  # fmt: skip

PARTS: Final = ("senders", "companions", "engine", "hosts", "hooks")
"""The processes of a real cluster that are told apart. "hosts" is one that all targets are, and
"hooks" is one that all mail servers are."""


class Delay(msgspec.Struct, frozen=True):
    """From the delivery of a mail until the call begins, in seconds.

    Attributes:
        count: of how many calls.
        p50: half of them took no longer.
        p99: of a hundred, one took longer.
        most: the longest.
    """

    count: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, calls: Iterable[Call]) -> Self | None:
        """Summarise calls; None: there is none.

        Args:
            calls: each may stand for several with the same delay.
        """
        found = sorted((call.delay, call.number) for call in calls)
        if not found:
            return None
        total = sum(count for _, count in found)
        return cls(total, _rank(found, total, 50), _rank(found, total, 99), found[-1][0])


def _rank(found: list[tuple[float, int]], total: int, percent: int) -> float:
    """Return the delay of the call with this rank, and nothing between two."""
    left = -(-total * percent // 100)
    for delay, count in found:
        left -= count
        if left <= 0:
            return delay
    return found[-1][0]


class Hour(msgspec.Struct, frozen=True):
    """One hour of a usual day.

    Attributes:
        hour: 0 to 23.
        notifications: mails a second, of all nodes together, and so on.
        logins: logins a second.
        calls: calls a second, with those to silent targets.
        commands: commands a second that the engine gets.
        fresh: share of the accounts with a login that counts.
        node: share of the most used resource of a node.
        engine: share of the most used resource of an engine.
        delay: of calls; None: there was none.
    """

    hour: int
    notifications: float
    logins: float
    calls: float
    commands: float
    fresh: float
    node: float
    engine: float
    delay: Delay | None


class Minute(msgspec.Struct, frozen=True):
    """A minute of an event, for one node.

    Attributes:
        at: seconds from the beginning of the event.
        delay: of usual mails that were delivered in this minute; None: nobody was called.
        requests: messages that wait in the companion at its beginning.
        inbox: entries that wait in the inbox.
        calls: targets that wait for a call.
    """

    at: float
    delay: Delay | None
    requests: int
    inbox: int
    calls: float


class Event(msgspec.Struct, frozen=True):
    """A storm of logins or a mass mailing.

    Attributes:
        name: for people.
        seconds: how long it lasts.
        grain: how many messages come together in the simulation.
        uses: the share of each resource that is asked for when it is at its top.
        nodes: how many nodes are needed so that nothing waits for long, with the spare one.
        shards: how many engines.
        fresh: the highest share of the accounts with a login that counts.
        expired: share of the rings for which there was no room.
        requests: the most that waited in the companion of a node.
        inbox: the most entries that waited in an inbox.
        calls: the most targets that waited for a call.
        before: the delay before the event.
        during: the delay of other mails while it lasts, and while something waits.
        mailed: the delay of the mails of the mailing; None: there is none.
        over: seconds from the beginning until the last of them is called.
        inbox_mib: what the inboxes take of the memory of one engine.
        book_mib: what the address book takes there.
        minutes: one after the other.
    """

    name: str
    seconds: float
    grain: int
    uses: dict[str, float]
    nodes: int
    shards: int
    fresh: float
    expired: float
    requests: int
    inbox: int
    calls: float
    before: Delay | None = None
    during: Delay | None = None
    mailed: Delay | None = None
    over: float = 0.0
    inbox_mib: float = 0.0
    book_mib: float = 0.0
    minutes: tuple[Minute, ...] = ()


class Sweep(msgspec.Struct, frozen=True):
    """A node has died in the busiest hour: each account with a login that counts is rung once.

    Attributes:
        accounts: how many these are.
        by_one: seconds by resource, if one node does it.
        by_all: seconds by resource, if all share it.
    """

    accounts: float
    by_one: dict[str, float]
    by_all: dict[str, float]


class Idle(msgspec.Struct, frozen=True):
    """What the same people cost with IMAP IDLE, in the busiest hour.

    Attributes:
        name: for people.
        connections: that stay open.
        mib: memory for them.
        signs: signs of life a second.
        cores: processors for these.
        bits: bits a second on the network for them.
    """

    name: str
    connections: float
    mib: float
    signs: float
    cores: float
    bits: float


class Cluster(msgspec.Struct, frozen=True):
    """A cluster for a number of accounts.

    Attributes:
        accounts: how many.
        nodes: how many nodes, with the spare one.
        shards: how many engines.
        book_mib: memory of all engines for the address book in the busiest hour.
        mib: that, and the memory of all nodes.
        cores: processors that are busy in the busiest hour.
        uses: the share of each resource that is used then.
        growth: how often the accounts fit until each resource is used up.
        hours: of a usual day.
        events: the storm and the mailings.
        sweep: after the death of a node.
        idle: what IMAP IDLE costs.
    """

    accounts: int
    nodes: int
    shards: int
    book_mib: float
    mib: float
    cores: float
    uses: dict[str, float]
    growth: dict[str, float]
    hours: tuple[Hour, ...]
    events: tuple[Event, ...]
    sweep: Sweep
    idle: tuple[Idle, ...]


class Run(msgspec.Struct, frozen=True):
    """All that was simulated, and from what.

    Attributes:
        inputs: the measured costs.
        day: what is assumed of people.
        limits: of a node.
        machines: what the cluster is built of.
        node_carries: accounts of one node at the share that is used at most, by resource.
        shard_carries: the same of one engine.
        clusters: one for each number of accounts.
    """

    inputs: Inputs
    day: Day
    limits: Limits
    machines: Machines
    node_carries: dict[str, float]
    shard_carries: dict[str, float]
    clusters: tuple[Cluster, ...]


class Shared(msgspec.Struct, frozen=True):
    """What one real cluster has done.

    Attributes:
        nodes: how many.
        seconds: that were measured.
        notifications: that were shared in them.
        sent: calls in the whole run.
        joined: rings in it that joined a call.
        alone: notifications in it that were not shared, but rung by the node that took them.
        cpu: microseconds for each notification, by `PARTS`.
    """

    nodes: int
    seconds: float
    notifications: int
    sent: int
    joined: int
    alone: int
    cpu: dict[str, float]

    @property
    def rate(self) -> float:
        """Notifications a second."""
        return self.notifications / self.seconds

    @property
    def cores(self) -> float:
        """How many cores were busy."""
        return self.rate * sum(self.cpu.values()) / 1e6


class Throughput(msgspec.Struct, frozen=True):
    """What real clusters have done, all on one machine.

    Attributes:
        machine: where.
        when: the day.
        cores: which all processes share.
        benchmark: commands a second of the engine's own benchmark, by test.
        shared: of one node, and of more.
    """

    machine: str
    when: str
    cores: int
    benchmark: dict[str, float]
    shared: tuple[Shared, ...]

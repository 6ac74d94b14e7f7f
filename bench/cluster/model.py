"""Discrete events: one node of a cluster and its part of the engine, message by message. Pure.

All nodes are alike, and a target belongs to each of them with the same probability. So what
one node puts into inboxes is, in the long run, what comes into its own, and one node can stand
for all: its own inbox gets what it puts. A shard serves several nodes. Here it serves one,
and each message occupies it as long as those of all these nodes would. Both make the load
a little rougher than it is, so that delays are rather too long than too short.

Each server works first in, first out, and its times are known. So when a message comes to a
server, it is known when it leaves: that is one event.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from heapq import heappop, heappush
from typing import Final, NamedTuple

from bench.cluster.capacity import (
    Setting,
    Size,
    entry_seconds,
    login_seconds,
    notification_seconds,
    weight,
)
from bench.cluster.load import Load

__all__ = ["Call", "Kind", "Moment", "Node", "Outcome", "Pace", "Rounds", "Station", "simulate"]

_MICRO: Final = 1e-6


class Kind(IntEnum):
    """What comes."""

    USUAL = 0
    MAILING = 1
    LOGIN = 2
    RETRY = 3


class Node(NamedTuple):
    """What a message costs on its way, in seconds.

    Attributes:
        sender: of the sender's process: a notification, a login, a call, a welcome.
        companion: of the companion's: a notification, a login, a target, an entry.
        engine: of the engine: a notification, a login, a target.
        round_trip: between a node and the engine.
        nodes_per_shard: nodes that one engine serves.
        rate: first calls a second.
        burst: seconds of the rate that may come at once.
        waiting: targets that can wait for a call.
    """

    sender: tuple[float, ...]
    companion: tuple[float, ...]
    engine: tuple[float, ...]
    round_trip: float
    nodes_per_shard: float
    rate: float
    burst: float
    waiting: float

    @classmethod
    def of(cls, setting: Setting, size: Size) -> "Node":
        """Take the measured costs for one node of a cluster.

        Args:
            setting: costs and limits.
            size: of the cluster.
        """
        costs, limits = setting.costs, setting.limits
        find = weight(costs, size.nodes)
        sender = (
            costs.sender_notification, costs.sender_login, costs.sender_call, costs.sender_welcome,
        )  # fmt: skip
        companion = (
            costs.companion_notification, costs.companion_login + find,
            costs.companion_put + find, costs.companion_entry,
        )  # fmt: skip
        return cls(
            sender=tuple(each * _MICRO for each in sender),
            companion=tuple(each * _MICRO for each in companion),
            engine=(notification_seconds(costs), login_seconds(costs), entry_seconds(costs)),
            round_trip=costs.round_trip * _MICRO,
            nodes_per_shard=size.nodes / size.shards,
            rate=limits.first_rate,
            burst=limits.burst,
            waiting=limits.waiting,
        )


class Station:
    """A server that takes one message after the other.

    Attributes:
        free: when it has done all that has come.
        busy: seconds that it has worked, or will have.
    """

    __slots__ = ("busy", "free")

    def __init__(self) -> None:
        self.free = 0.0
        self.busy = 0.0

    def serve(self, now: float, each: float, count: int = 1, share: float = 1.0) -> float:
        """Serve messages that come at the same time; return when the mean one of them leaves.

        Args:
            now: when they come; never earlier than at the last call.
            each: seconds for one.
            count: how many they are.
            share: how many messages of other nodes come with each of them, with it.
        """
        begins = max(now, self.free)
        work = each * count * share
        self.free = begins + work
        self.busy += work
        return begins + each * (count + 1) / 2


class Rounds:
    """The companion shares all that has come in one round, and begins the next one after it.

    Args:
        seconds: for a round.
    """

    __slots__ = ("_begins", "_ends", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begins = self._ends = float("-inf")

    def join(self, now: float) -> float:
        """Return when the round begins that a message is in.

        Args:
            now: when it comes; never earlier than at the last call.
        """
        if now >= self._ends:
            self._begins, self._ends = now, now + self._seconds
        elif now > self._begins:
            self._begins, self._ends = self._ends, self._ends + self._seconds
        return self._begins


class Pace:
    """The rate of calls: a bucket of tokens, as the sender has it, and a bound of those that wait.

    Args:
        rate: tokens a second.
        burst: seconds of them that may be used at once.
        most: how many wait at most.
    """

    __slots__ = ("_ahead", "_each", "_most", "_next")

    def __init__(self, rate: float, burst: float, most: float) -> None:
        self._each = 1 / rate
        self._ahead = max(rate * burst - 1, 0) * self._each
        self._most = most
        self._next = float("-inf")

    def waiting(self, now: float) -> float:
        """Return how many wait.

        Args:
            now: in seconds.
        """
        return max(self._next - now, 0.0) / self._each

    def begin(self, now: float, count: int = 1) -> float | None:
        """Return when the mean call of several begins; None: there is no room for them to wait.

        Args:
            now: when they come; never earlier than at the last call.
            count: how many they are.
        """
        if self.waiting(now) + count > self._most:
            return None
        first = max(self._next, now - self._ahead)
        self._next = first + count * self._each
        return max(now, first + (count - 1) / 2 * self._each)


class Call(NamedTuple):
    """Calls that begin.

    Attributes:
        born: when the mail was delivered.
        delay: seconds since then.
        number: how many calls.
        kind: of the mail.
    """

    born: float
    delay: float
    number: int
    kind: Kind


class Moment(NamedTuple):
    """What waits at a moment.

    Attributes:
        at: when, in seconds.
        requests: messages of the sender that its companion has not shared yet.
        inbox: entries that the node has not taken.
        calls: targets that wait for a call.
    """

    at: float
    requests: int
    inbox: int
    calls: float


@dataclass(slots=True)
class Outcome:
    """What has become of everything.

    Attributes:
        entered: mails and logins that came, by kind.
        nobody: mails for accounts without an address.
        answered: mails that were looked up; logins that were noted.
        targets: rings of targets.
        joined: those that joined one which waits for a silent target.
        woken: calls because a silent target has logged in.
        expired: rings and such calls for which there was no room.
        calls: those that were made.
        moments: what waits, from time to time.
        busy: seconds that sender, companion and engine worked.
    """

    entered: list[int] = field(default_factory=lambda: [0] * len(Kind))
    nobody: int = 0
    answered: int = 0
    targets: int = 0
    joined: int = 0
    woken: int = 0
    expired: int = 0
    calls: list[Call] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    busy: tuple[float, float, float] = (0.0, 0.0, 0.0)


_Event = tuple[float, int, Callable[["_Message"], None], "_Message"]


class _Message(NamedTuple):
    born: float
    number: int
    kind: Kind
    targets: int = 0


class _Run:
    """One simulation: its servers, and what happens next."""

    def __init__(self, node: Node, load: Load, seconds: float, grain: int, seed: int) -> None:
        self._node, self._load, self._seconds, self._grain = node, load, seconds, grain
        self._chance = random.Random(seed)  # noqa: S311  nothing secret
        self._streams = load.streams
        self._counts = range(1, len(load.addresses) + 1)
        self._mean = sum(map(float.__mul__, load.addresses, map(float, self._counts)))
        self._events: list[_Event] = []
        self._number = 0
        self._sender, self._companion, self._engine = Station(), Station(), Station()
        self._rounds = Rounds(2 * node.round_trip)  # one looks up, and one puts
        self._pace = Pace(node.rate, node.burst, node.waiting)
        self._requests = self._inbox = 0
        self._now = 0.0
        self.outcome = Outcome()

    def run(self, step: float) -> None:
        """Let everything happen that comes within the time.

        Args:
            step: seconds from one moment that is noted to the next.
        """
        for kind in Kind:
            self._expect(kind, 0.0)
        moment = 0.0
        while self._events:
            self._now, _, happen, message = heappop(self._events)
            while moment <= self._now:
                self._note(moment)
                moment += step
            happen(message)
        self.outcome.busy = (self._sender.busy, self._companion.busy, self._engine.busy)

    def _note(self, at: float) -> None:
        waiting = self._pace.waiting(at)
        self.outcome.moments.append(Moment(at, self._requests, self._inbox, waiting))

    def _at(self, when: float, happen: Callable[[_Message], None], message: _Message) -> None:
        self._number += 1  # which orders what happens at the same time
        heappush(self._events, (when, self._number, happen, message))

    # --- what comes -------------------------------------------------------------------------

    def _expect(self, kind: Kind, now: float) -> None:
        """Let the next message of a kind come, at the highest rate of its kind."""
        most = self._streams[kind][1] / self._grain
        if most > 0:
            when = now + self._chance.expovariate(most)
            if when < self._seconds:
                self._at(when, self._come, _Message(when, self._grain, kind))

    def _come(self, message: _Message) -> None:
        now, kind = message.born, message.kind
        self._expect(kind, now)
        rate, most = self._streams[kind]
        # Thinned, so that the rate is that of this moment.
        if self._chance.random() * most >= rate(now):
            return
        self.outcome.entered[kind] += message.number
        if kind is Kind.RETRY:
            self._sender.serve(now, self._node.sender[2], message.number)
            return
        cost = self._node.sender[1 if kind is Kind.LOGIN else 0]
        self._at(self._sender.serve(now, cost, message.number), self._share, message)

    # --- from the sender to the engine --------------------------------------------------------

    def _share(self, message: _Message) -> None:
        self._requests += message.number
        self._at(self._rounds.join(self._now), self._begin_round, message)

    def _begin_round(self, message: _Message) -> None:
        each, is_login = self._node.companion, message.kind is Kind.LOGIN
        if not is_login:
            message = message._replace(targets=self._targets(message.number))
        cost = each[1] if is_login else each[0] + each[2] * message.targets / message.number
        leaves = self._companion.serve(self._now, cost, message.number)
        self._at(leaves + self._node.round_trip / 2, self._look_up, message)

    def _targets(self, count: int) -> int:
        """Return how many targets the accounts of so many mails have."""
        fresh = self._load.fresh_at(self._now)
        if count > 1:
            return int(count * fresh * self._mean + self._chance.random())
        if self._chance.random() >= fresh:
            return 0
        return self._chance.choices(self._counts, self._load.addresses)[0]

    def _look_up(self, message: _Message) -> None:
        self._requests -= message.number
        is_login = message.kind is Kind.LOGIN
        self.outcome.answered += message.number
        leaves = self._occupy(self._node.engine[1 if is_login else 0], message.number)
        if is_login:
            self._at(leaves + self._node.round_trip / 2, self._take, message)
        elif message.targets:
            self.outcome.targets += message.targets
            message = message._replace(number=message.targets)
            self._at(leaves + self._node.round_trip, self._put, message)
        else:
            self.outcome.nobody += message.number

    def _put(self, message: _Message) -> None:
        leaves = self._occupy(self._node.engine[2], message.number)
        self._at(leaves + self._node.round_trip / 2, self._take, message)

    def _occupy(self, each: float, count: int) -> float:
        return self._engine.serve(self._now, each, count, self._node.nodes_per_shard)

    # --- from the inbox to the target -----------------------------------------------------------

    def _take(self, message: _Message) -> None:
        self._inbox += message.number
        leaves = self._companion.serve(self._now, self._node.companion[3], message.number)
        self._at(leaves, self._tell, message)

    def _tell(self, message: _Message) -> None:
        self._inbox -= message.number
        is_login = message.kind is Kind.LOGIN
        cost = self._node.sender[3 if is_login else 2]
        # Those that join make no call, and each login from a silent target makes one.
        joins = int(message.number * self._load.joins + self._chance.random())
        if is_login:
            self._sender.serve(self._now, cost, message.number)
            self.outcome.woken += joins
            calls, cost = joins, self._node.sender[2]
        else:
            self.outcome.joined += joins
            calls = message.number - joins
        if calls:
            leaves = self._sender.serve(self._now, cost, calls)
            self._at(leaves, self._call, message._replace(number=calls))

    def _call(self, message: _Message) -> None:
        begins = self._pace.begin(self._now, message.number)
        if begins is None:
            self.outcome.expired += message.number
        else:
            delay = begins - message.born
            self.outcome.calls.append(Call(message.born, delay, message.number, message.kind))


def simulate(
    node: Node, load: Load, seconds: float, *, grain: int = 1, seed: int = 4146, step: float = 60.0
) -> Outcome:
    """Let everything come that comes in a time, and wait until all of it is done.

    Args:
        node: what a message costs.
        load: what comes.
        seconds: for which it comes.
        grain: how many messages come together. More than one makes waits of a few times their
            work longer than they are, changes nothing in a long queue, and takes less time.
        seed: of the chance.
        step: seconds from one moment that is noted to the next.
    """
    run = _Run(node, load, seconds, grain, seed)
    run.run(step)
    return run.outcome

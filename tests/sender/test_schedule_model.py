"""Coalescing and back-off together: what the schedule promises, whatever happens.

The machine rings targets, lets users log in, and changes what is reachable. It plays the
dialer and the network, and it knows when each notification must be on the wire at the latest.
"""

import math
from dataclasses import dataclass, field
from enum import Enum, auto

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mailbell.core.networks import Address, Family
from mailbell.core.notification import Transport
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.sender._call import SECRET
from mailbell.sender._places import PATIENCE
from mailbell.sender._ring import Ring
from mailbell.sender._schedule import Call, Schedule

TARGETS = [Target(Address(Family.IPV4, 0xC0000200 + n), 79, Transport.TCP) for n in range(5)]
CONFIGURED = 3  # so many of them the operator named; the others are those of logins
INDEX = st.integers(0, len(TARGETS) - 1)
# How many calls are taken at a time; the real dialer takes 64.
BATCH = 3


class Network(Enum):
    ANSWERS = auto()
    REFUSES = auto()
    IS_SILENT = auto()


@dataclass
class Host:
    """What is true of a target.

    Attributes:
        network: what happens to an attempt that begins now.
        since: since when.
        owed: when the first notification came that no attempt has delivered yet.
        during: when the first one came during the attempt that is on its way.
        newest: when the last one came.
        ended: when the last attempt ended.
        until: when the address of its only notifications is too old.
    """

    network: Network = Network.ANSWERS
    since: float = -math.inf
    owed: float | None = None
    during: float | None = None
    newest: float = -math.inf
    ended: float = -math.inf
    until: float = -math.inf


@dataclass
class Settings:
    interval: float
    backoff: tuple[float, float]
    rate: float
    connections: int
    deadline: float

    @property
    def horizon(self) -> float:
        return max(1800.0, self.backoff[1])

    @property
    def turn(self) -> float:
        """The longest time in a queue: all others first, a turn in four, and all are silent."""
        one = self.deadline + 1 / self.rate + 0.01
        return 4 * len(TARGETS) * one

    @property
    def latest(self) -> float:
        """How long after it came a notification is delivered at the latest, if its target answers.

        The attempt that is on its way fails, the back-off is the longest, the interval may be
        longer than that, and each of two attempts waits for its turn.
        """
        return self.backoff[1] + 2 * self.interval + 2 * self.deadline + 2 * self.turn


@dataclass
class Flight:
    ends: float
    outcome: RingOutcome
    began: float
    host: Host = field(repr=False)


class Ringing(RuleBasedStateMachine):
    @initialize(
        how=st.builds(
            Settings,
            interval=st.sampled_from([0.01, 2.0, 60.0]),
            backoff=st.sampled_from([(1.0, 8.0), (30.0, 600.0), (5.0, 5.0)]),
            rate=st.sampled_from([0.5, 5.0, 1000.0]),
            connections=st.sampled_from([1, 2, 3, 8, 256]),
            deadline=st.sampled_from([0.1, 2.0]),
        )
    )
    def begin(self, how: Settings) -> None:
        self.how = how
        self.now = 1000.0
        self.told: list[Ring] = []
        self.begun: list[float] = []
        self.hosts = {target: Host() for target in TARGETS}
        self.flights: dict[Call, Flight] = {}
        self.is_due = False
        self.schedule = Schedule(
            interval=how.interval,
            backoff=how.backoff,
            rate=how.rate,
            connections=how.connections,
            deadline=how.deadline,
            horizon=how.horizon,
            on_ring=self.tell,
            on_due=self.wake,
            steady=lambda: self.now,
            secret=bytes(SECRET),
        )

    # --- the world around the schedule -----------------------------------------------

    def wake(self) -> None:
        self.is_due = True

    def tell(self, ring: Ring) -> None:
        self.told.append(ring)
        assert ring.target is not None
        host = self.hosts[ring.target]
        if ring.outcome is RingOutcome.EXPIRED:
            too_late = self.now >= host.newest + self.how.horizon
            assert too_late or self.now > host.until
            host.owed = None

    def serve(self) -> None:
        """Do what the dialer does when it wakes."""
        while True:
            self.is_due = False
            for call in self.schedule.overdue(self.now):
                flight = self.flights.pop(call)
                is_late = self.now >= flight.began + self.how.deadline
                assert is_late or self.now >= flight.began + PATIENCE
                if is_late:
                    flight.host.ended = self.now
            taken = self.schedule.take(self.now, BATCH)
            for call in taken:
                self.call(call)
            if len(taken) < BATCH and not self.is_due:
                return

    def call(self, call: Call) -> None:
        host = self.hosts[call.target]
        assert call not in self.flights
        # A target that failed is not called before its interval is over, either.
        assert self.now >= host.ended + self.how.interval
        assert self.now <= host.until
        assert host.owed is not None
        host.during = None
        self.begun.append(self.now)
        quick = min(PATIENCE, self.how.deadline) / 2
        ends, outcome = {
            Network.ANSWERS: (self.now + quick, RingOutcome.SENT),
            Network.REFUSES: (self.now, RingOutcome.REFUSED),
            Network.IS_SILENT: (math.inf, RingOutcome.TIMEOUT),
        }[host.network]
        self.flights[call] = Flight(ends, outcome, self.now, host)

    def finish(self) -> None:
        """Let the attempts end that are answered by now."""
        for call, flight in list(self.flights.items()):
            if flight.ends <= self.now:
                del self.flights[call]
                flight.host.ended = self.now
                if flight.outcome is RingOutcome.SENT:
                    flight.host.owed = flight.host.during
                self.schedule.done(call, flight.outcome, self.now)

    def run_until(self, end: float) -> None:
        for _ in range(100_000):
            self.finish()
            self.serve()
            due = self.schedule.next_due
            dues = [flight.ends for flight in self.flights.values()]
            dues += [] if due is None else [due]
            following = min(dues, default=math.inf)
            if following > end:
                self.now = end
                return
            self.now = max(following, self.now)
            self.check_promise()
        raise AssertionError("the schedule is due without an end")

    # --- what may happen ----------------------------------------------------------------

    @rule(index=INDEX, fresh=st.sampled_from([1e9, 1e9, 3.0, 300.0]))
    def ring(self, index: int, fresh: float) -> None:
        host = self.hosts[TARGETS[index]]
        fresh = math.inf if index < CONFIGURED else fresh
        if host.owed is None and not self.is_flying(index):
            host.until = -math.inf
        if host.owed is None:
            host.owed = self.now
        if self.is_flying(index) and host.during is None:
            host.during = self.now
        host.newest = self.now
        host.until = max(host.until, self.now + fresh)
        before = len(self.told)
        self.schedule.ring(TARGETS[index], "anna", self.now, self.now + fresh)
        # It is told at once if it joins another, and otherwise when its attempt ends.
        assert [ring.outcome for ring in self.told[before:]] in (
            [],
            [RingOutcome.COALESCED],
            [RingOutcome.BACKING_OFF],
        )
        self.run_until(self.now)

    @rule(index=INDEX, gaps=st.lists(st.sampled_from([0.0, 0.04, 0.2, 1.5, 3.0, 40.0]), max_size=8))
    def ring_often(self, index: int, gaps: list[float]) -> None:
        for seconds in gaps:
            self.ring(index, 1e9)
            self.wait(seconds)

    @rule(index=INDEX)
    def log_in(self, index: int) -> None:
        target, kind = TARGETS[index], index < CONFIGURED
        self.schedule.logged_in(target, is_configured=kind)
        assert not self.schedule.outlook(target, self.now, is_configured=kind).backs_off
        self.run_until(self.now)

    @rule(index=INDEX, network=st.sampled_from(Network))
    def change(self, index: int, network: Network) -> None:
        self.set(self.hosts[TARGETS[index]], network)

    @rule(network=st.sampled_from(Network))
    def change_half(self, network: Network) -> None:
        for target in TARGETS[::2]:
            host = self.hosts[target]
            self.set(host, network)

    def set(self, host: Host, network: Network) -> None:
        if host.network is not network:
            host.network, host.since = network, self.now

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.3, 1.0, 2.0, 7.0, 31.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.run_until(self.now + seconds)

    # --- what is promised -----------------------------------------------------------------

    def is_flying(self, index: int) -> bool:
        return any(call.target == TARGETS[index] for call in self.flights)

    @invariant()
    def check_promise(self) -> None:
        if not hasattr(self, "schedule"):
            return
        for host in self.hosts.values():
            if host.owed is not None and host.network is Network.ANSWERS:
                assert self.now <= max(host.owed, host.since) + self.how.latest

    @invariant()
    def check_bounds(self) -> None:
        if not hasattr(self, "schedule"):
            return
        assert self.schedule.in_flight == len(self.flights) <= self.how.connections
        owing = sum(host.owed is not None for host in self.hosts.values())
        assert self.schedule.pending == owing
        assert self.schedule.known <= len(TARGETS)
        attempts = self.begun[-40:]
        if attempts:
            allowed = max(self.how.rate / 10, 1) + self.how.rate * (self.now - attempts[0])
            assert len(attempts) <= allowed + 1e-6

    def teardown(self) -> None:
        """In the end everything answers, and nothing is owed."""
        if not hasattr(self, "schedule"):
            return
        for host in self.hosts.values():
            self.set(host, Network.ANSWERS)
        self.run_until(self.now + self.how.latest + self.how.interval)
        assert all(host.owed is None for host in self.hosts.values())
        assert (self.schedule.pending, self.schedule.backing_off, self.schedule.in_flight) == (
            0,
            0,
            0,
        )
        assert self.schedule.next_due is None


Ringing.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestRinging = pytest.mark.uncounted(Ringing.TestCase)

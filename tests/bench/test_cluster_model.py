"""The simulation of a cluster: against naive ones and known formulas; and how it scales."""

import heapq
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cluster.load import Load, Wave
from bench.cluster.model import Call, Kind, Node, Pace, Rounds, Station, simulate
from bench.cluster.record import Delay

MS = 1e-3
NODE = Node(
    sender=(0.1 * MS, 0.1 * MS, 0.2 * MS, 0.05 * MS),
    companion=(0.3 * MS, 0.4 * MS, 0.1 * MS, 0.1 * MS),
    engine=(0.02 * MS, 0.05 * MS, 0.04 * MS),
    round_trip=0.2 * MS,
    nodes_per_shard=4,
    rate=984,
    burst=0.1,
    waiting=100_000,
)

pytestmark = pytest.mark.long
LOAD = Load(
    notifications=800, logins=300, retries=20, joins=0.2, fresh=0.4,
    addresses=(0.6, 0.3, 0.05, 0.05), ttl=1800,
)  # fmt: skip
ARRIVALS = st.lists(st.tuples(st.floats(0, 0.3), st.integers(1, 5)), min_size=1, max_size=60)


def passed(gaps: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return times from the gaps between them, each with its number."""
    now, found = 0.0, []
    for gap, number in gaps:
        now += gap
        found.append((now, number))
    return found


# --- servers --------------------------------------------------------------------------------


@given(ARRIVALS)
def test_a_station_is_a_queue(gaps: list[tuple[float, int]]) -> None:
    each, station, free = 0.1, Station(), 0.0
    for now, number in passed(gaps):
        leaves = []
        for _ in range(number):  # one after the other
            free = max(free, now) + each
            leaves.append(free)
        assert station.serve(now, each, number) == pytest.approx(sum(leaves) / number)
        assert station.free == pytest.approx(free)
    assert station.busy == pytest.approx(each * sum(number for _, number in gaps))


@pytest.mark.parametrize("used", [0.3, 0.6, 0.8])
def test_a_station_waits_as_the_formula_for_one_server_says(used: float) -> None:
    """M/D/1: the mean wait is used / (2 (1 - used)) services (Pollaczek and Khinchine)."""
    chance, station, now, waits = random.Random(1), Station(), 0.0, []
    for _ in range(100_000):
        now += chance.expovariate(used)
        waits.append(station.serve(now, 1.0) - 1.0 - now)
    assert sum(waits) / len(waits) == pytest.approx(used / (2 * (1 - used)), rel=0.05)


@given(ARRIVALS)
def test_the_rate_of_calls_is_a_bucket_of_tokens(gaps: list[tuple[float, int]]) -> None:
    rate, burst = 20.0, 0.25  # five tokens at once
    pace, tokens, last = Pace(rate, burst, most=1e9), rate * burst, 0.0
    for now, number in passed(gaps):
        begins = []
        for _ in range(number):
            at = max(now, last)
            tokens = min(tokens + (at - last) * rate, rate * burst)
            at += max(1 - tokens, 0) / rate
            tokens = max(tokens, 1) - 1
            last = at
            begins.append(at)
        if number == 1:
            found = pace.begin(now)
            assert found == pytest.approx(begins[0], abs=1e-6)
        else:
            found = pace.begin(now, number)
            assert found is not None
            assert begins[0] - 1e-6 <= found <= begins[-1] + 1e-6


@given(ARRIVALS, st.integers(1, 20))
def test_no_more_calls_wait_than_there_is_room(gaps: list[tuple[float, int]], most: int) -> None:
    pace = Pace(5.0, 0.0, most)
    for now, number in passed(gaps):
        before = pace.waiting(now)
        begins = pace.begin(now, number)
        assert (begins is None) == (before + number > most)
        assert pace.waiting(now) <= most + 1e-6


@given(st.lists(st.floats(0, 2), max_size=60))
def test_a_round_begins_when_the_last_one_has_ended(gaps: list[float]) -> None:
    rounds, begun, now = Rounds(1.0), [float("-inf")], 0.0
    for gap in gaps:
        now += gap
        at = rounds.join(now)
        assert at >= now
        assert at == now or at - now <= 1.0 + 1e-9
        if at != begun[-1]:
            assert at >= begun[-1] + 1.0 - 1e-9
            begun.append(at)


# --- the whole ------------------------------------------------------------------------------


def delay_of(calls: list[Call]) -> Delay:
    found = Delay.of(calls)
    assert found is not None
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0, 3000), st.floats(0, 3000), st.floats(0, 1), st.floats(0, 0.9),
    st.integers(1, 7), st.integers(2, 500), st.integers(0, 9),
)  # fmt: skip
def test_all_that_comes_is_called_or_counted(
    notifications: float,
    logins: float,
    fresh: float,
    joins: float,
    grain: int,
    waiting: int,
    seed: int,
) -> None:
    load = replace(
        LOAD, notifications=notifications, logins=logins, fresh=fresh, joins=joins,
        mailing=Wave(0.05, 0.1, 100, is_bell=True), storm=Wave(0.0, 0.2, 50, is_bell=False),
    )  # fmt: skip
    found = simulate(NODE._replace(waiting=waiting), load, 0.3, grain=grain, seed=seed, step=0.01)
    mails = found.entered[Kind.USUAL] + found.entered[Kind.MAILING]
    assert found.answered == mails + found.entered[Kind.LOGIN]
    assert found.nobody <= mails
    called = sum(call.number for call in found.calls)
    assert called + found.joined + found.expired == found.targets + found.woken
    assert all(call.delay >= 0 for call in found.calls if call.kind is not Kind.LOGIN)
    for moment in found.moments:
        assert moment.requests >= 0
        assert moment.inbox >= 0
        assert moment.calls <= waiting


def test_nobody_has_an_address_at_first_and_everybody_after_the_storm() -> None:
    storm = Wave(0.0, 600, 1000, is_bell=True)
    load = replace(LOAD, fresh=0.0, storm=storm)
    assert load.fresh_at(0) == 0
    assert load.fresh_at(300) == pytest.approx(0.5)
    assert load.fresh_at(600) == pytest.approx(1)
    assert load.fresh_at(600 + 1800) == pytest.approx(0)  # too old


def test_an_empty_cluster_takes_its_own_work_and_the_network() -> None:
    load = replace(LOAD, notifications=1, logins=0, retries=0, joins=0, fresh=1, addresses=(1.0,))
    s, c, e = NODE.sender, NODE.companion, NODE.engine
    work = s[0] + c[0] + c[2] + e[0] + e[2] + c[3] + s[2]
    least = work + 2 * NODE.round_trip
    assert delay_of(simulate(NODE, load, 60).calls).p50 == pytest.approx(least)


def test_the_same_seed_gives_the_same() -> None:
    assert simulate(NODE, LOAD, 0.5).calls == simulate(NODE, LOAD, 0.5).calls
    assert simulate(NODE, LOAD, 0.5).calls != simulate(NODE, LOAD, 0.5, seed=1).calls


def test_servers_work_as_much_as_what_comes_costs() -> None:
    seconds, load = 40, LOAD
    found = simulate(NODE, load, seconds)
    addresses = sum(share * number for number, share in enumerate(load.addresses, 1))
    rings = load.notifications * load.fresh * addresses
    calls = rings * (1 - load.joins) + load.logins * load.joins + load.retries
    s, c, e = NODE.sender, NODE.companion, NODE.engine
    expected = (
        load.notifications * s[0] + load.logins * (s[1] + s[3]) + calls * s[2],
        load.notifications * c[0] + load.logins * (c[1] + c[3]) + rings * (c[2] + c[3]),
        (load.notifications * e[0] + load.logins * e[1] + rings * e[2]) * NODE.nodes_per_shard,
    )
    for busy, share in zip(found.busy, expected, strict=True):
        assert busy / seconds == pytest.approx(share, rel=0.03)


def test_many_messages_at_once_make_no_difference_in_a_long_queue() -> None:
    # More than twice what a node can do.
    load = replace(LOAD, mailing=Wave(2, 8, 32_000, is_bell=False))
    exact, coarse = (delay_of(simulate(NODE, load, 12, grain=g).calls) for g in (1, 20))
    assert exact.p50 > 2
    assert coarse.p50 == pytest.approx(exact.p50, rel=0.1)
    assert coarse.p99 == pytest.approx(exact.p99, rel=0.05)


# --- one node stands for all -----------------------------------------------------------------


class Servers(NamedTuple):
    """A node of the naive cluster."""

    sender: Station
    companion: Station
    rounds: Rounds
    pace: Pace


class Message(NamedTuple):
    """A mail or a login on its way: at the node that took it, or at the one that has the target."""

    node: Servers
    born: float
    is_login: bool
    targets: int = 0


class Naive:
    """Each node and each engine of a cluster, and a draw for the owner of each target."""

    def __init__(self, nodes: int, shards: int, load: Load, seconds: float) -> None:
        self.chance, self.numbers, self.now = random.Random(7), count(), 0.0
        self.load, self.seconds = load, seconds
        self.events: list[tuple[float, int, Callable[[Message], None], Message]] = []
        self.calls: list[Call] = []
        self.engines = [Station() for _ in range(shards)]
        self.nodes = [
            Servers(Station(), Station(), Rounds(2 * NODE.round_trip), Pace(NODE.rate, 0.1, 1e9))
            for _ in range(nodes)
        ]

    def run(self) -> list[Call]:
        for node in self.nodes:
            self.expect(Message(node, 0.0, is_login=False))
            self.expect(Message(node, 0.0, is_login=True))
        while self.events:
            self.now, _, happen, message = heapq.heappop(self.events)
            happen(message)
        return self.calls

    def at(self, when: float, happen: Callable[[Message], None], message: Message) -> None:
        heapq.heappush(self.events, (when, next(self.numbers), happen, message))

    def expect(self, last: Message) -> None:
        rate = self.load.logins if last.is_login else self.load.notifications
        born = last.born + self.chance.expovariate(rate)
        if born < self.seconds:
            self.at(born, self.come, last._replace(born=born))

    def come(self, message: Message) -> None:
        self.expect(message)
        cost = NODE.sender[1 if message.is_login else 0]
        self.at(message.node.sender.serve(self.now, cost), self.share, message)

    def share(self, message: Message) -> None:
        self.at(message.node.rounds.join(self.now), self.begin, message)

    def begin(self, message: Message) -> None:
        cost, many = NODE.companion[1], 0
        if not message.is_login:
            if self.chance.random() < self.load.fresh:
                many = self.chance.choices(range(1, 5), self.load.addresses)[0]
            cost = NODE.companion[0] + many * NODE.companion[2]
        leaves = message.node.companion.serve(self.now, cost)
        self.at(leaves + NODE.round_trip / 2, self.look_up, message._replace(targets=many))

    def look_up(self, message: Message) -> None:
        engine = self.chance.choice(self.engines)
        leaves = engine.serve(self.now, NODE.engine[1 if message.is_login else 0])
        if message.is_login:
            self.at(leaves + NODE.round_trip / 2, self.take, message)
        for _ in range(message.targets):
            self.at(leaves + NODE.round_trip, self.put, message)

    def put(self, message: Message) -> None:
        leaves = self.chance.choice(self.engines).serve(self.now, NODE.engine[2])
        self.at(leaves + NODE.round_trip / 2, self.take, message)

    def take(self, message: Message) -> None:
        owner = self.chance.choice(self.nodes)
        leaves = owner.companion.serve(self.now, NODE.companion[3])
        self.at(leaves, self.tell, message._replace(node=owner))

    def tell(self, message: Message) -> None:
        leaves = message.node.sender.serve(self.now, NODE.sender[3 if message.is_login else 2])
        if not message.is_login:
            self.at(leaves, self.call, message)

    def call(self, message: Message) -> None:
        begins = message.node.pace.begin(self.now)
        assert begins is not None
        self.calls.append(Call(message.born, begins - message.born, 1, Kind.USUAL))


def naive(nodes: int, shards: int, load: Load, seconds: float) -> list[Call]:
    return Naive(nodes, shards, load, seconds).run()


PLAIN = replace(LOAD, retries=0, joins=0)


@pytest.mark.parametrize("nodes", [4, 8])
def test_one_node_stands_for_all(nodes: int) -> None:
    load = replace(PLAIN, notifications=1000)
    exact = delay_of(naive(nodes, nodes // 4, load, 16 / nodes))
    sample = delay_of(simulate(NODE, load, 16).calls)
    assert exact.p50 <= sample.p50 * 1.02
    assert sample.p50 <= exact.p50 + 0.3 * MS
    # Rather too long than too short: the messages of all nodes of an engine come together.
    assert 0.95 * exact.p99 <= sample.p99 <= exact.p99 + 2 * MS


def test_ten_times_the_accounts_and_servers_give_the_same_delays() -> None:
    few = delay_of(naive(4, 1, PLAIN, 4))
    many = delay_of(naive(40, 10, PLAIN, 0.4))
    assert many.p50 == pytest.approx(few.p50, rel=0.05)
    assert many.p99 == pytest.approx(few.p99, rel=0.15)


def test_one_node_stands_for_all_when_it_is_too_much() -> None:
    load = replace(PLAIN, notifications=3000)
    exact = delay_of(naive(4, 1, load, 3))
    sample = delay_of(simulate(NODE, load, 3).calls)
    assert exact.p50 > 0.3
    assert sample.p50 == pytest.approx(exact.p50, rel=0.1)
    assert sample.p99 == pytest.approx(exact.p99, rel=0.1)

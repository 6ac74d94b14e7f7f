"""The limits: while no table is full, every decision is that of exact, unbounded buckets."""

import gc
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.fuzz_limiter import check
from mailbell.core.networks import Family, Network
from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.core.translation import Translation
from mailbell.limits.gate import Visitor
from mailbell.limits.gcra import BucketTable, OwnBucket
from mailbell.limits.limiter import Limited, Limiter, LimiterStatistics, Senders, Table
from mailbell.limits.proven import ProvenSources

TCP, UDP = Transport.TCP, Transport.UDP
V4, V6 = Family.IPV4, Family.IPV6
HOST = 0xC0000219  # 192.0.2.25
NETWORK = 0x20010DB8 << 96  # 2001:db8::
NETWORK_V4 = 0xCB007100  # 203.0.113.0


def listed(*networks: str) -> Senders:
    return Senders(tuple(map(Network.parse, networks)))


def never() -> float:
    return 0.25  # the smallest number that does not leak


def make(**changes: Any) -> Limiter:
    settings: dict[str, Any] = {
        "rate": 1.0,
        "burst": 4,
        "total_rate": 1000.0,
        "connections": 10,
        "connections_per_source": 3,
        "sources": 64,
        "udp": True,
        "seed": 42,
        "random": never,
    }
    return Limiter(**settings | changes)


def admitted(limiter: Limiter, transport: Transport, family: Family, source: int, n: int) -> int:
    return sum(limiter.gate(transport, family).visitor(source).admit(100.0) for _ in range(n))


# Steps in the form of the fuzz target, with the same model and the same checks.
STEPS = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 30)), max_size=80
)


@pytest.mark.uncounted
@settings(max_examples=200)
# A private address, and the address of IPv6 that looks as if it were behind the translator.
@example(limits=b"\x00\x00\x02", steps=[(0, 12, 0), (2, 7, 0)])
@given(limits=st.binary(min_size=3, max_size=3), steps=STEPS)
def test_decides_as_exact_buckets_do(limits: bytes, steps: list[tuple[int, int, int]]) -> None:
    check(limits + b"".join(bytes(step) for step in steps))


def test_burst_then_rate() -> None:
    gate = make().gate(TCP, V4)
    assert [gate.visitor(HOST).admit(100.0) for _ in range(5)] == [True] * 4 + [False]
    assert [gate.visitor(HOST).admit(101.0) for _ in range(2)] == [True, False]
    assert [gate.visitor(HOST).admit(9999.0) for _ in range(5)] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("family", "base", "step"), [(V4, HOST & ~0xFF, 1), (V6, NETWORK, 1 << 64)]
)
def test_the_widest_prefix_has_sixteen_times_as_much(family: Family, base: int, step: int) -> None:
    limiter = make()
    sums = [admitted(limiter, TCP, family, base + i * step, 9) for i in range(20)]
    assert sums == [4] * 16 + [0] * 4
    beyond = base + 65536 * step
    assert admitted(limiter, TCP, family, beyond, 9) == 4


def test_an_ipv6_64_has_four_times_as_much_as_one_address() -> None:
    limiter = make()
    assert admitted(limiter, TCP, V6, NETWORK, 9) == 4
    assert sum(admitted(limiter, TCP, V6, NETWORK + i, 1) for i in range(1, 40)) == 12


def test_families_and_transports_are_apart() -> None:
    limiter = make()
    for transport in Transport:
        for family in Family:
            assert admitted(limiter, transport, family, 7, 9) == 4


def test_flood_of_datagrams_takes_nothing_from_connections() -> None:
    limiter = make(total_rate=20.0, sources=8, random=lambda: 0.0)
    assert admitted(limiter, TCP, V4, HOST, 4) == 4
    entries = limiter.statistics().tables[:5]
    for source in range(0, 1 << 32, 1 << 20):
        limiter.gate(UDP, V4).visitor(source).admit(100.0)
        limiter.gate(UDP, V6).visitor(source << 64).admit(100.0)
    assert limiter.statistics().tables[:5] == entries
    assert admitted(limiter, TCP, V4, HOST, 1) == 0
    assert admitted(limiter, TCP, V4, HOST + 1, 4) == 4


def test_total_rate() -> None:
    limiter = make(total_rate=6.0)
    assert sum(admitted(limiter, TCP, V4, source << 8, 2) for source in range(5)) == 6
    assert limiter.statistics().total_refused == 4
    assert limiter.gate(TCP, V6).visitor(NETWORK).admit(101.0)


def test_total_never_undercuts_the_burst_of_a_source() -> None:
    assert admitted(make(total_rate=0.5, burst=7), TCP, V4, HOST, 20) == 7


def test_refused_by_wide_or_total_costs_nothing() -> None:
    limiter = make(total_rate=4.0)
    gate = limiter.gate(TCP, V4)
    assert admitted(limiter, TCP, V4, 1, 4) == 4
    tables = limiter.statistics().tables
    assert admitted(limiter, TCP, V4, 1 << 16, 50) == 0
    assert limiter.statistics().tables == tables
    # If they had cost a token, the burst of this source would be used up now.
    assert sum(gate.visitor(1 << 16).admit(101.0) for _ in range(9)) == 4


def test_full_table_lets_new_sources_pass() -> None:
    limiter = make(sources=8, total_rate=1e6)
    assert all(admitted(limiter, TCP, V4, source << 8, 5) == 4 for source in range(100))
    narrow, wide, *_ = limiter.statistics().tables
    assert (narrow.entries, narrow.capacity, narrow.evicted) == (8, 8, 92)
    assert (wide.entries, wide.capacity, wide.evicted) == (8, 8, 92)


def test_leak_is_a_quarter_and_only_for_datagrams() -> None:
    limiter = make(random=random.Random(4146).random, total_rate=1e6, sources=1 << 14)
    gate = limiter.gate(UDP, V4)
    for source in range(1000):
        assert [gate.visitor(source << 8).admit(100.0) for _ in range(4)] == [True] * 4
    leaked = sum(gate.visitor(source << 8).admit(100.0) for source in range(1000) for _ in range(4))
    assert 0.23 < leaked / 4000 < 0.27
    assert limiter.statistics().leaked == leaked
    assert admitted(limiter, TCP, V4, HOST, 10_004) == 4


def test_leak_has_a_budget_for_each_source_and_for_all() -> None:
    limiter = make(random=lambda: 0.0, total_rate=20.0)
    assert admitted(limiter, UDP, V4, HOST, 1000) == 4 + 4
    assert admitted(limiter, UDP, V4, HOST ^ 1 << 31, 1000) == 4 + 1, "five a second of all"
    assert limiter.statistics().leaked == 5
    assert limiter.gate(UDP, V4).visitor(HOST).admit(101.0), "its own bucket"
    assert limiter.gate(UDP, V4).visitor(HOST).admit(101.0), "the leak"
    assert not limiter.gate(UDP, V4).visitor(HOST).admit(101.0)


def test_a_neighbour_has_a_leak_of_its_own() -> None:
    limiter = make(random=lambda: 0.0)
    assert [admitted(limiter, UDP, V4, HOST + i, 100) for i in range(2)] == [4 + 4] * 2


def test_a_listed_sender_has_a_leak_too() -> None:
    limiter = make(random=lambda: 0.0, senders=listed("192.0.2.25"))
    assert admitted(limiter, UDP, V4, HOST, 100) == 4 + 4


@pytest.mark.parametrize(("rate", "leaked"), [(2.0, 1), (6.0, 2), (20.0, 5)])
def test_a_quarter_of_the_total_leaks_at_once_and_one_at_least(rate: float, leaked: int) -> None:
    limiter = make(random=lambda: 0.0, total_rate=rate)
    for source in range(4):
        for _ in range(9):
            limiter.gate(UDP, V4).visitor(source << 16).penalize(100.0)
        admitted(limiter, UDP, V4, source << 16, 4)
    assert limiter.statistics().leaked == leaked


def test_the_leak_remembers_a_quarter_of_the_sources() -> None:
    """Nine of 36: so it has sixteen places, of which each of them has one."""
    limiter = make(random=lambda: 0.0, sources=36, total_rate=1e6)
    for _ in range(2):
        for source in range(9):
            admitted(limiter, UDP, V4, source << 16, 20)
    assert limiter.statistics().leaked == 9 * 4


def test_what_leaks_takes_nothing_from_the_total() -> None:
    limiter = make(random=lambda: 0.0, total_rate=16.0)
    for _ in range(1000):
        limiter.gate(UDP, V4).visitor(HOST).admit(100.0)
    assert sum(admitted(limiter, UDP, V4, source << 16, 1) for source in range(30)) == 12


def test_a_part_of_the_total_is_for_those_who_have_proven_themselves_by_tcp() -> None:
    for transport, more in ((TCP, 8), (UDP, 0)):
        gate = make(total_rate=16.0).gate(transport, V4)
        gate.visitor(HOST).prove(100.0)
        assert sum(gate.visitor(source << 16).admit(100.0) for source in range(50)) == 16
        assert not gate.visitor(NETWORK_V4).admit(100.0)
        proven = sum(gate.visitor(HOST).admit(100.0 + i / 1e6) for i in range(4))
        assert proven == min(4, more)


def test_all_who_have_proven_themselves_share_their_part_of_the_total() -> None:
    limiter = make(total_rate=16.0)
    gate = limiter.gate(TCP, V4)
    proven = range(0, 6 << 16, 1 << 16)
    for source in proven:
        gate.visitor(source).prove(100.0)
    for source in range(6, 22):
        assert gate.visitor(source << 16).admit(100.0)
    assert sum(admitted(limiter, TCP, V4, source, 4) for source in proven) == 8
    assert limiter.statistics().total_refused == 16


def test_even_the_named_may_not_have_more_than_the_total() -> None:
    names = ("192.0.2.25", "192.0.2.26", "192.0.2.27")
    limiter = make(total_rate=1.0, senders=listed(*names))
    assert [admitted(limiter, TCP, V4, HOST + i, 4) for i in range(3)] == [4, 4, 0]
    assert limiter.statistics().total_refused == 4


def test_the_last_part_of_the_total_is_for_the_named() -> None:
    limiter = make(total_rate=8.0, senders=listed("192.0.2.25"))
    gate = limiter.gate(TCP, V4)
    for source in range(100):
        gate.visitor(source << 16).prove(100.0)
        for _ in range(4):
            gate.visitor(source << 16).admit(100.0)
    assert not gate.visitor(77 << 24).admit(100.0)
    assert [gate.visitor(HOST).admit(100.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert limiter.statistics().total_refused > 300


def test_the_whole_of_127_is_one_source() -> None:
    gate = make().gate(TCP, V4)
    assert sum(gate.visitor(127 << 24 | i << 8).admit(100.0) for i in range(100)) == 4
    assert [gate.connect(127 << 24 | i) for i in range(4)] == [
        *[None] * 3,
        Outcome.TOO_MANY_FROM_SOURCE,
    ]
    for i in range(3):
        gate.disconnect(127 << 24 | 7 << i)


def test_the_whole_of_127_is_named_by_its_best_known_address() -> None:
    limiter = make()
    assert admitted(limiter, TCP, V4, 127 << 24 | 99, 5) == 4
    assert [source.source for source in limiter.limited(100.0)] == ["127.0.0.1"]


def test_unless_it_is_listed() -> None:
    gate = make(senders=listed("127.0.0.0/16")).gate(TCP, V4)
    assert sum(gate.visitor(127 << 24 | i).admit(100.0) for i in range(10)) == 10
    assert sum(gate.visitor(127 << 24 | 1 << 16 | i).admit(100.0) for i in range(10)) == 4


@pytest.mark.parametrize(
    ("written", "neighbour"),
    [
        ("192.0.2.25", "192.0.2.26"),
        ("192.0.2.16/28", "192.0.2.77"),
        ("2001:db8:2:2::25", "2001:db8:2:2::66"),
        ("2001:db8:2:2::20/124", "2001:db8:2:2::66"),
        ("2001:db8:2::/56", "2001:db8:2:aaaa::66"),
    ],
)
def test_no_neighbour_can_spend_what_a_listed_sender_has(written: str, neighbour: str) -> None:
    network, other = Network.parse(written), Network.parse(neighbour)
    gate = make(senders=listed(written)).gate(TCP, network.family)
    sender = network.prefix | (9 if network.length < network.family.bits else 0)
    for i in range(80):
        gate.visitor(other.prefix + i).admit(100.0)
        gate.visitor(other.prefix + i).penalize(100.0)
    assert not gate.visitor(other.prefix + 81).admit(100.0), "the network has no token left"
    assert [gate.visitor(sender).admit(100.0) for _ in range(5)] == [True] * 4 + [False]


@pytest.mark.uncounted
@pytest.mark.parametrize(
    ("sender", "neighbours"),
    [
        ("192.0.2.25", [f"192.0.2.{i}" for i in range(100, 132)]),
        ("2001:db8:2:2::25", ["2001:db8:2:2::66"]),
        ("2001:db8:2:2::25", [f"2001:db8:2:{i}::1" for i in range(10, 42)]),
    ],
)
def test_neighbours_that_send_garbage_do_not_silence_a_sender_that_is_not_listed(
    sender: str, neighbours: list[str]
) -> None:
    source = Network.parse(sender)
    gate = make(burst=10).gate(TCP, source.family)
    heard = 0
    for second in range(600):
        for neighbour in neighbours:
            for _ in range(3):
                if gate.visitor(Network.parse(neighbour).prefix).admit(float(second)):
                    gate.visitor(Network.parse(neighbour).prefix).penalize(float(second))
        if second % 60 == 59:
            heard += gate.visitor(source.prefix).admit(float(second))
    assert heard == 10


def test_ipv4_senders_behind_a_translator_are_ipv4_senders() -> None:
    translation = Translation([Network.parse("2001:db8:64::/96")])
    senders = Senders((Network.parse("64:ff9b::198.51.100.1"),), translation)
    limiter = make(senders=senders)
    gate = limiter.gate(TCP, V6)
    own = translation.prefixes[1].prefix
    assert sum(gate.visitor(0x64FF9B << 96 | HOST).admit(100.0) for _ in range(9)) == 4
    assert not gate.visitor(own | HOST).admit(100.0)
    assert not limiter.gate(TCP, V4).visitor(HOST).admit(100.0)
    assert gate.visitor(0x64FF9B << 96 | HOST + 1).admit(100.0)
    assert gate.connect(0x64FF9B << 96 | HOST) is None
    assert limiter.gate(TCP, V4)._strangers.places[0].held == {HOST: 1}
    assert gate.names(0x64FF9B << 96 | 0xC6336401), "listed in the form of the translator"


@pytest.mark.parametrize("around", ["2001:db8::/32", "2001:db8:64::/48", "2001:db8:64::/64"])
def test_a_listed_network_around_a_translator_makes_no_stranger_behind_it_named(
    around: str,
) -> None:
    prefix = Network.parse("2001:db8:64::/96")
    senders = Senders((Network.parse(around), Network.parse("192.0.2.25")), Translation([prefix]))
    gate = make(senders=senders).gate(TCP, V6)
    assert not gate.names(prefix.prefix | NETWORK_V4)
    assert gate.names(prefix.prefix | HOST)
    assert gate.names(Network.parse(around).prefix | 1 << 40) is (around != "2001:db8::/32")
    for i in range(100):
        while gate.visitor(prefix.prefix | NETWORK_V4 | i).admit(100.0):
            pass
    assert [gate.visitor(prefix.prefix | HOST).admit(100.0) for _ in range(5)] == [
        *[True] * 4,
        False,
    ]


@pytest.mark.uncounted
@pytest.mark.parametrize("written", ["2001:db8:a::25", "2001:db8:a::/64", "2001:db8:a::/48"])
def test_a_named_sender_is_known_before_it_was_heard_and_for_ever(written: str) -> None:
    gate = make(senders=listed(written)).gate(TCP, V6)
    good = NETWORK | 0xA << 80 | 0x25
    assert gate.visitor(good).known
    for other in range(1 << 14):
        gate.visitor(NETWORK | 0xA << 80 | other << 64).prove(100.0)
        gate.visitor(other << 96).prove(100.0)
    assert gate.visitor(good).known


def test_who_is_known() -> None:
    written = ("192.0.2.25", "198.51.100.0/24", "10.0.0.0/16", "0.0.0.0/0", "2001:db8::/48")
    gate = make(senders=listed(*written)).gate(TCP, V4)
    for text, known in (
        *(("192.0.2.25", True), ("198.51.100.7", True), ("198.51.101.7", False)),
        *(("10.0.0.1", False), ("203.0.113.1", False)),
    ):
        source = Network.parse(text).prefix
        assert (gate.visitor(source).known, gate.names(source)) == (known, known)
        gate.visitor(source).prove(100.0)
        assert (gate.visitor(source).known, gate.names(source)) == (True, known)


@pytest.mark.parametrize(
    ("family", "base", "host", "network"), [(V4, HOST, 1, 1 << 8), (V6, NETWORK, 1 << 64, 1 << 80)]
)
def test_of_each_wide_network_the_last_eight_sources_are_known(
    family: Family, base: int, host: int, network: int
) -> None:
    gate = make().gate(TCP, family)
    one, other = ([base + i * step for i in range(9)] for step in (host, network))
    for source in one:
        assert not gate.visitor(source).known
        gate.visitor(source).prove(100.0)
    assert [gate.visitor(source).known for source in one] == [False, *[True] * 8]
    for source in other:
        gate.visitor(source).prove(100.0)
    assert all(gate.visitor(source).known for source in other), "each has a network of its own"


def test_a_host_of_ipv6_that_is_known_is_its_64() -> None:
    gate = make().gate(TCP, V6)
    gate.visitor(NETWORK).prove(100.0)
    known = [gate.visitor(NETWORK | 1 << bit).known for bit in (0, 63, 64)]
    assert known == [True, True, False]


def test_a_network_that_is_nearly_everybody_is_nobody() -> None:
    largest = [Network.parse("10.0.0.0/8"), Network.parse("2000::/16")]
    found = listed("10.0.0.0/8", "2000::/16", "8.0.0.0/7", "2000::/15").by_family()
    assert found == {V4: largest[:1], V6: largest[1:]}


def test_penalty() -> None:
    gate = make(burst=10).gate(TCP, V4)
    for _ in range(2):
        assert gate.visitor(HOST).admit(0.0)
        gate.visitor(HOST).penalize(0.0)
    assert not gate.visitor(HOST).admit(0.0)
    assert gate.visitor(HOST).admit(1.0)
    for _ in range(1000):
        gate.visitor(HOST).penalize(1.0)
    assert not gate.visitor(HOST).admit(11.0)
    assert gate.visitor(HOST).admit(21.0), "never silent for longer than two bursts"


def test_only_the_narrow_prefix_pays_the_penalty() -> None:
    limiter = make()
    gate = limiter.gate(TCP, V4)
    for host in range(16):
        gate.visitor(HOST & ~0xFF | host).penalize(100.0)
    assert not gate.visitor(HOST & ~0xFF).admit(100.0)
    assert gate.visitor(HOST & ~0xFF | 77).admit(100.0)


@pytest.mark.parametrize("back", [0.001, 5.0, 1e6])
def test_time_that_runs_backwards_does_no_lasting_harm(back: float) -> None:
    gate = make().gate(TCP, V4)
    while gate.visitor(HOST).admit(1e6):
        pass
    now = 1e6 - back
    gate.visitor(HOST).admit(now)
    other = HOST ^ 1 << 31
    assert gate.visitor(other).admit(now) or gate.visitor(other).admit(now + 1.001), (
        "the total is back"
    )
    # Two bursts (8 s) for the narrow prefix, and the same time for the wide one.
    assert gate.visitor(HOST).admit(now + 8) or gate.visitor(HOST).admit(now + 16)


def test_connections() -> None:
    limiter = make(connections=5)
    gate, other = limiter.gate(TCP, V4), limiter.gate(TCP, V6)
    assert [gate.connect(HOST) for _ in range(4)] == [None] * 3 + [Outcome.TOO_MANY_FROM_SOURCE]
    assert [other.connect(NETWORK) for _ in range(3)] == [
        *(None, None),
        Outcome.TOO_MANY_CONNECTIONS,
    ]
    assert limiter.statistics().connections == limiter.statistics().connections_limit == 5
    gate.disconnect(HOST)
    assert other.connect(NETWORK) is None
    assert other.connect(NETWORK + (1 << 64)) is Outcome.TOO_MANY_CONNECTIONS
    for _ in range(2):
        gate.disconnect(HOST)
    with pytest.raises(KeyError):
        gate.disconnect(HOST)
    assert limiter.statistics().connections == 3
    assert other.connect(NETWORK) is Outcome.TOO_MANY_FROM_SOURCE


def test_the_places_of_an_address_are_not_those_of_its_neighbours() -> None:
    gate = make(connections=100).gate(TCP, V6)
    taken = [gate.connect(NETWORK + i // 3) for i in range(13)]
    assert taken == [None] * 12 + [Outcome.TOO_MANY_FROM_SOURCE], "a /64 has four times as many"
    assert gate.connect(NETWORK | 1 << 64) is None
    for i in range(12):
        gate.disconnect(NETWORK + i // 3)
    assert gate.connect(NETWORK + 99) is None


def test_all_addresses_of_a_64_share_its_places() -> None:
    gate = make(connections=100).gate(TCP, V6)
    taken = [gate.connect(NETWORK | i << 60) for i in range(13)]
    assert taken == [None] * 12 + [Outcome.TOO_MANY_FROM_SOURCE]


def test_a_single_place_can_be_taken() -> None:
    gate = make(connections=1, connections_per_source=1).gate(TCP, V4)
    assert [gate.connect(HOST + i) for i in (0, 0, 1)] == [
        *(None, Outcome.TOO_MANY_FROM_SOURCE, Outcome.TOO_MANY_CONNECTIONS),
    ]


@pytest.mark.parametrize("written", ["2001:db8::7", "2001:db8::/64"])
def test_a_named_sender_has_its_places_whatever_its_neighbours_hold(written: str) -> None:
    gate = make(connections=100, senders=listed(written)).gate(TCP, V6)
    for i in range(40):
        gate.connect(NETWORK + 0x100 + i)
    assert [gate.connect(NETWORK + 7) for _ in range(4)] == [
        *[None] * 3,
        Outcome.TOO_MANY_FROM_SOURCE,
    ]


def test_statistics_is_a_record() -> None:
    limiter = make()
    before = limiter.statistics()
    assert isinstance(before, LimiterStatistics)
    assert [table.name for table in before.tables] == [
        *("tcp/ipv4/32", "tcp/ipv4/24", "tcp/ipv6/128", "tcp/ipv6/64", "tcp/ipv6/48"),
        *("udp/ipv4/32", "udp/ipv4/24", "udp/ipv6/128", "udp/ipv6/64", "udp/ipv6/48"),
    ]
    limiter.gate(TCP, V4).visitor(HOST).admit(0.0)
    limiter.gate(TCP, V4).visitor(HOST + 1).admit(0.0)
    assert [table.entries for table in before.tables] == [0] * 10
    assert [table.entries for table in limiter.statistics().tables] == [2, 1, *[0] * 8]


def test_who_is_refused_is_named_by_network_and_table() -> None:
    limiter = make()
    assert limiter.limited(100.0) == ()
    assert admitted(limiter, TCP, V4, HOST, 6) == 4
    for last in range(16):
        admitted(limiter, UDP, V6, NETWORK | last << 64, 4)
    assert admitted(limiter, UDP, V6, NETWORK | 99 << 64, 3) == 0
    wide, narrow = limiter.limited(100.0)
    assert wide == Limited(table="udp/ipv6/48", source="2001:db8::/48", refused=3, wait=wide.wait)
    assert narrow == Limited(table="tcp/ipv4/32", source="192.0.2.25", refused=2, wait=narrow.wait)
    assert wide.wait == pytest.approx(1_000_000 / 16, 0.1)
    assert narrow.wait == pytest.approx(1_000_000, 0.1)


def test_a_listed_sender_is_named_by_the_bucket_of_its_own() -> None:
    limiter = make(senders=listed("192.0.2.25", "198.51.100.0/24"))
    assert [table.name for table in limiter.statistics().tables[:7]] == [
        *("tcp/ipv4/32", "tcp/ipv4/24"),
        *("tcp/ipv4/listed", "tcp/ipv4/listed/32", "tcp/ipv4/listed/24", "tcp/ipv6/128"),
        "tcp/ipv6/64",
    ]
    assert limiter.statistics().tables[2].entries == 2
    assert admitted(limiter, TCP, V4, HOST, 9) == 4
    for host in range(17):
        admitted(limiter, TCP, V4, 0xC6336400 + host, 4)
    address, network = limiter.limited(100.0)
    assert (address.table, address.source, address.refused) == ("tcp/ipv4/listed", "192.0.2.25", 5)
    assert (network.source, network.refused) == ("198.51.100.0/24", 4)
    assert limiter.limited(9999.0) == ()


def test_the_state_of_the_buckets_of_their_own() -> None:
    limiter = make(senders=listed("192.0.2.25", "198.51.100.0/24"))
    own = Table(name="tcp/ipv4/listed", entries=2, capacity=2, evicted=0)
    assert limiter.statistics().tables[2] == own


@pytest.mark.parametrize("senders", [Senders(), listed("192.0.2.25")])
def test_a_source_is_limited_until_the_moment_when_it_is_admitted(senders: Senders) -> None:
    """With a thousandth of a token in reserve, all of which a float has exactly."""
    limiter = make(senders=senders)
    assert admitted(limiter, TCP, V4, HOST, 5) == 4
    (source,) = limiter.limited(100.0)
    assert source.wait == round(1_000_000 * 1023 / 1024) == 999_023
    moment = 101 - 1 / 1024
    visitor = limiter.gate(TCP, V4).visitor(HOST)
    assert not visitor.admit(moment - 1e-9)
    assert len(limiter.limited(moment - 1e-9)) == 1
    assert limiter.limited(moment) == ()
    assert visitor.admit(moment)


@pytest.mark.parametrize("senders", [Senders(), listed("192.0.2.25")])
def test_the_last_64_refusals_are_counted(senders: Senders) -> None:
    limiter = make(senders=senders)
    admitted(limiter, TCP, V4, HOST, 100)
    assert [source.refused for source in limiter.limited(100.0)] == [64]


def test_those_refused_most_are_named_first_and_no_more_than_eight() -> None:
    limiter = make(total_rate=1e6, sources=1024)
    for source in range(1, 11):
        assert admitted(limiter, TCP, V4, source << 8, 4 + source) == 4
    named = limiter.limited(100.0)
    assert [(source.source, source.refused) for source in named] == [
        (f"0.0.{source}.0", source) for source in range(10, 2, -1)
    ]


def test_of_those_refused_as_often_the_one_who_waits_longest_is_first() -> None:
    limiter = make(total_rate=1e6)
    gate = limiter.gate(TCP, V4)
    for source, admitted_first, penalties in ((1, 4, 0), (2, 1, 2), (3, 1, 1)):
        assert admitted(limiter, TCP, V4, source << 8, admitted_first) == admitted_first
        for _ in range(penalties):
            gate.visitor(source << 8).penalize(100.0)
        assert not gate.visitor(source << 8).admit(100.0)
    named = limiter.limited(100.0)
    assert [source.source for source in named] == ["0.0.2.0", "0.0.3.0", "0.0.1.0"]
    assert [source.refused for source in named] == [1, 1, 1]


def test_without_udp_there_are_no_tables_for_it() -> None:
    limiter = make(udp=False)
    assert [table.name[:3] for table in limiter.statistics().tables] == ["tcp"] * 5
    assert limiter.gate(TCP, V4) is limiter.gate(TCP, V4)
    with pytest.raises(KeyError):
        limiter.gate(UDP, V4)


@pytest.mark.parametrize(
    "senseless",
    [
        *({"rate": 0.0}, {"burst": 0}, {"total_rate": 0.0}, {"connections": 0}),
        *({"connections_per_source": 0}, {"sources": 0}),
    ],
)
def test_senseless_limits_are_refused(senseless: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least"):
        make(**senseless)


@pytest.mark.parametrize("what", ["connections", "connections_per_source"])
def test_no_place_at_all_is_refused_by_name(what: str) -> None:
    with pytest.raises(ValueError, match="1 at least") as refused:
        make(**{what: 0})
    assert str(refused.value) == "connections and connections_per_source: 1 at least"


def test_a_gate_knows_what_it_is_of() -> None:
    limiter = make()
    for transport in Transport:
        for family in Family:
            gate = limiter.gate(transport, family)
            assert (gate.transport, gate.family) == (transport, family)
            assert isinstance(gate.barred, Visitor)


def test_a_visitor_is_no_work_for_the_collector_of_garbage() -> None:
    """There is one for each connection, and it is in no circle."""
    gate = make().gate(TCP, V4)
    assert not gc.is_tracked(gate.visitor(HOST))
    assert not gc.is_tracked(gate.barred)


@pytest.mark.uncounted
def test_a_limiter_that_nobody_needs_any_more_leaves_nothing_behind() -> None:
    """A program that makes one for each input would fill its memory: fuzzers do."""

    def tables() -> int:
        gc.collect()
        return sum(isinstance(one, BucketTable | OwnBucket) for one in gc.get_objects())

    before = tables()
    for _ in range(3):
        limiter = make(senders=listed("192.0.2.25"))
        for source in (HOST, 1 << 16):
            visitor = limiter.gate(TCP, V4).visitor(source)
            assert visitor.admit(0.0)
    assert tables() > before
    del limiter, visitor
    assert tables() == before


def test_a_proven_source_is_noted_once_a_second_unless_one_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A notification comes much more often, and to note it costs more than all other limits."""
    noted: list[float] = []
    add = ProvenSources.add

    def noting(self: ProvenSources, source: int, now: float) -> float:
        noted.append(now)
        return add(self, source, now)

    monkeypatch.setattr(ProvenSources, "add", noting)
    visitor = make().gate(TCP, V4).visitor(HOST)
    for now in (0.0, 0.5, 1.0, 1.5):
        visitor.prove(now)
    assert noted == [0.0, 1.0]
    visitor.lane.proven.forgotten += 1
    for now in (1.6, 1.7):
        visitor.prove(now)
    assert noted == [0.0, 1.0, 1.6]


def test_a_named_source_is_not_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ProvenSources, "add")
    make(senders=listed("192.0.2.25")).gate(TCP, V4).visitor(HOST).prove(0.0)

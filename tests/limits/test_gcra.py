"""Token buckets: exact compared with a textbook bucket, and always bounded."""

import math
import random
from collections import deque
from fractions import Fraction
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fuzz.fuzz_limiter import ExactBucket
from mailbell.limits import gcra
from mailbell.limits.gcra import Bucket, BucketTable, OwnBucket, Refused

RATES = st.sampled_from([0.25, 0.5, 1.0, 4.0, 64.0])
BURSTS = st.integers(1, 20)
# Sixteenths of a second: exact in floats, and never closer to a token's limit than the slack.
WAITS = st.lists(st.integers(0, 400), max_size=60)
# The uptime of any machine, up to three decades.
UPTIMES = st.floats(0, 1e9)


@given(rate=RATES, burst=BURSTS, steps=st.lists(st.tuples(st.integers(0, 99), st.integers(1, 5))))
def test_bucket_is_exact(rate: float, burst: int, steps: list[tuple[int, int]]) -> None:
    bucket, model = Bucket(rate, burst), ExactBucket(Fraction(rate), burst)
    now = Fraction(1000)
    for wait, cost in steps:
        now += Fraction(wait, 16)
        affordable = model.at(now) >= cost
        if affordable:
            model.take(Fraction(cost))
        assert bucket.take(float(now), cost) == affordable


# Up to 400 tokens a second: with more a float of such an uptime is too coarse for the reserve.
@given(rate=st.floats(0.001, 400), burst=BURSTS, now=UPTIMES)
def test_burst_is_whole_at_any_time(rate: float, burst: int, now: float) -> None:
    bucket, table = Bucket(rate, burst), BucketTable(0, 8, 1, rate, burst)
    assert [bucket.take(now) for _ in range(burst + 1)] == [True] * burst + [False]
    for _ in range(burst):
        assert table.test(1, now)
        table.commit(now)
    assert not table.test(1, now)


@given(rate=st.floats(0.01, 100), burst=BURSTS, back=st.floats(0, 1e9))
def test_bucket_recovers_when_time_runs_backwards(rate: float, burst: int, back: float) -> None:
    bucket = Bucket(rate, burst)
    while bucket.take(1e9):
        pass
    now = 1e9 - back
    bucket.take(now)
    assert bucket.take(now + (burst + 1) / rate)


@given(back=st.floats(0, 1e9), penalties=st.integers(0, 9), burst=BURSTS)
def test_table_recovers_when_time_runs_backwards(back: float, penalties: int, burst: int) -> None:
    table = BucketTable(0, 8, 1, 1.0, burst)
    for _ in range(penalties):
        table.penalize(7, 1e9, 4.0)
    now = 1e9 - back
    table.test(7, now)
    assert table.test(7, now + 2 * burst)


@pytest.mark.parametrize("burst", [1, 4])
def test_who_was_refused_when_time_had_run_backwards_waits_for_two_bursts(burst: int) -> None:
    table = BucketTable(0, 8, 1, 1.0, burst)
    table.penalize(7, 1000.0, 99.0)
    for _ in range(2):
        assert not table.test(7, 500.0)
        (refused,) = table.refused(500.0)
        assert refused.wait == burst + 1 - 1 / 1024
    moment = 500.0 + refused.wait
    assert not table.test(7, moment - 1e-9)
    assert table.test(7, moment)


@given(rate=RATES, cost=st.integers(0, 9))
def test_a_penalty_costs_as_many_tokens_as_it_says(rate: float, cost: int) -> None:
    table = BucketTable(0, 8, 1, rate, 10)
    own = OwnBucket(rate, 10, deque(maxlen=4))
    for bucket in (table, own):
        bucket.entry(7).penalize(100.0, float(cost))
        assert bucket.entry(7).locate(100.0) == 100.0 + cost / rate


def test_a_token_is_there_from_the_moment_when_it_comes() -> None:
    """With a thousandth of a token in reserve, all of which a float has exactly."""
    bucket, table = Bucket(1.0, 4), BucketTable(0, 8, 1, 1.0, 4)
    fill(table, range(7, 8), 100.0, cost=4)
    assert all(bucket.take(100.0) for _ in range(4))
    moment = 101 - 1 / 1024
    for now, wait in ((moment - 1 / 1024, [1 / 1024]), (moment, [])):
        assert (bucket.take(now), table.test(7, now)) == (not wait, not wait)
        assert [refused.wait for refused in table.refused(now)] == wait


@given(penalties=st.integers(1, 50), burst=BURSTS)
def test_penalty_silences_for_two_bursts_at_most(penalties: int, burst: int) -> None:
    table = BucketTable(0, 8, 1, 1.0, burst)
    for _ in range(penalties):
        table.penalize(7, 0.0, 4.0)
    debt = max(burst - 4 * penalties, -burst)
    assert table.test(7, max(0, 1 - debt))
    assert debt >= 1 or not table.test(7, -debt)


@pytest.mark.parametrize(
    ("asked", "capacity"), [(1, 8), (8, 8), (9, 16), (1000, 1024), (8192, 8192), (8193, 16384)]
)
def test_capacity_is_a_power_of_two(asked: int, capacity: int) -> None:
    table = BucketTable(0, asked, 1, 1.0, 1)
    assert table.capacity == capacity
    arrays = sum(len(part) * part.itemsize for part in (table.keys, table.tats))
    assert arrays + len(table.hints) == 17 * capacity


def test_sources_with_the_same_prefix_share_a_bucket() -> None:
    table = BucketTable(8, 8, 1, 1.0, 1)
    assert take(table, 0xC0000219)
    assert not take(table, 0xC00002FF)
    assert take(table, 0xC0000319)


HOST = 0xC0000219  # 192.0.2.25
PREFIX = 0x20010DB8 << 96 | 0x25  # 2001:db8::25


def test_prefixes_of_128_bits_are_told_apart_by_each_of_their_bits() -> None:
    table, base = BucketTable(0, 1024, 0xFEED, 1.0, 1), PREFIX
    assert take(table, base)
    for bit in range(128):
        assert take(table, base ^ 1 << bit)
    assert table.entries == 129
    (base_again,) = [refused for refused in refused_of(table, base) if refused.source == base]
    assert base_again.times == 1, "it is named by its whole address"


@pytest.mark.parametrize("seed", [0, 1, 2, 0xFEED, (1 << 64) - 1])
def test_a_key_and_its_own_slot_are_the_upper_bits_of_products(seed: int) -> None:
    """Both multipliers are odd: so no bit of a source is lost."""
    table = BucketTable(0, 256, seed, 1.0, 1)
    multiplier, fold = table._multiplier, table._fold
    assert (multiplier % 2, fold % 2) == (1, 1)
    assert min(fold, (1 << 128) - fold) > 1 << 100, "it reaches the upper half"
    for source in (1, HOST, (1 << 64) - 2):
        entry = table.entry(source)
        assert (entry.key, entry.slot) == (source, source * multiplier % (1 << 64) >> 56)
    for source in (1 << 64, PREFIX, (1 << 128) - 1):
        entry = table.entry(source)
        assert entry.key == source * fold % (1 << 128) >> 64
        assert entry.slot == entry.key * multiplier % (1 << 64) >> 56


def test_the_folding_of_long_prefixes_depends_on_the_seed() -> None:
    """So an attacker cannot choose a prefix that shares a bucket with another."""
    multipliers = {BucketTable(0, 8, seed, 1.0, 1)._fold for seed in range(1000)}
    assert len(multipliers) > 990
    assert all(multiplier % 2 for multiplier in multipliers)


def take(table: BucketTable, source: int) -> bool:
    admitted = table.test(source, 0.0)
    if admitted:
        table.commit(0.0)
    return admitted


def refused_of(table: BucketTable, source: int) -> list[Refused]:
    assert not take(table, source)
    return table.refused(0.0)


@given(
    st.sampled_from([0.5, 1.0, 4.0]),
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(["take", "penalize"]), st.integers(0, 20)), max_size=60),
)
def test_a_bucket_of_ones_own_decides_as_a_table_with_one_source(
    rate: float, burst: int, steps: list[tuple[str, int]]
) -> None:
    refusals: deque[OwnBucket] = deque(maxlen=4)
    own, table, now = OwnBucket(rate, burst, refusals), BucketTable(0, 8, 1, rate, burst), 100.0
    for what, wait in steps:
        now += (wait - 3) / 4  # sometimes it runs backwards
        if what == "penalize":
            own.entry(7).penalize(now, 4.0)
            table.penalize(7, now, 4.0)
            continue
        admitted = gcra.test((own.entry(7),), now)
        assert admitted == table.test(7, now)
        if admitted:
            gcra.commit((own.entry(7),), now)
            table.commit(now)
        else:
            assert refusals[-1] is own
        waits = [refused.wait for refused in table.refused(now)]
        if own in refusals and own.wait(now) > 0:
            assert [own.wait(now)] == waits


@given(RATES, st.integers(1, 9), st.integers(0, 9))
def test_a_reserve_is_left(rate: float, burst: int, reserve: int) -> None:
    bucket = Bucket(rate, burst)
    taken = sum(bucket.take(0.0, 1.0, reserve) for _ in range(20))
    assert taken == max(0, burst - reserve)
    assert sum(bucket.take(0.0) for _ in range(20)) == burst - taken


def fill(table: BucketTable, keys: range, now: float, cost: int = 1) -> None:
    for key in keys:
        for _ in range(cost):
            assert table.test(key, now)
            table.commit(now)


def test_smallest_tat_gives_way() -> None:
    table = BucketTable(0, 8, 1, 1.0, 5)
    fill(table, range(8), 0.0, cost=3)
    fill(table, range(3, 4), 0.0, cost=2)  # the flooder: all of its tokens are gone
    fill(table, range(100, 107), 0.0, cost=3)  # seven others, and it does not ask any more
    assert (table.entries, table.evictions) == (8, 7)
    assert not table.test(3, 0.0)


@given(seed=st.integers(0), keys=st.sets(st.integers(0, (1 << 64) - 2), min_size=8, max_size=8))
def test_each_set_has_room_for_eight(seed: int, keys: set[int]) -> None:
    table = BucketTable(0, 8, seed, 1.0, 1)
    for key in keys:
        fill(table, range(key, key + 1), 0.0)
    assert (table.entries, table.evictions) == (8, 0)
    assert not any(table.test(key, 0.0) for key in keys)


def test_entry_in_the_past_gives_way_uncounted() -> None:
    table = BucketTable(0, 8, 1, 1.0, 5)
    fill(table, range(8), 0.0)
    fill(table, range(100, 108), 1.0)
    assert (table.entries, table.evictions) == (8, 0)
    fill(table, range(200, 201), 1.5)
    assert table.evictions == 1


def test_two_that_share_a_slot_cannot_take_turns_to_be_forgotten() -> None:
    table = BucketTable(0, 8, 1, 1.0, 4)
    fill(table, range(8), 0.0)
    slot = own_slot(table, 0)
    first, second = islice((key for key in count(8) if own_slot(table, key) == slot), 2)
    admitted = 0
    for _ in range(20):
        for key in (first, second):
            if table.test(key, 0.5):
                table.commit(0.5)
                admitted += 1
    assert admitted == 8


def test_who_means_nothing_any_more_gives_way_to_whoever_has_its_slot() -> None:
    table = BucketTable(0, 8, 1, 1.0, 4)
    fill(table, range(1, 8), 0.0)
    fill(table, range(1), 0.0, cost=2)
    slot = table.keys.index(0)
    rival = next(key for key in count(8) if own_slot(table, key) == slot)
    for now, gives_way in ((0.5, False), (1.999, False), (2.0, True)):
        assert table.test(rival, now)
        assert (table._entry.slot == slot) == gives_way


def test_while_there_is_room_nobody_gives_way() -> None:
    table = BucketTable(0, 8, 1, 1.0, 8)
    fill(table, range(1), 0.0)
    rival = next(key for key in count(1) if own_slot(table, key) == table.keys.index(0))
    fill(table, range(rival, rival + 1), 0.5)
    assert (table.entries, table.evictions) == (2, 0)


def own_slot(table: BucketTable, key: int) -> int:
    return key * table._multiplier >> table._down & table._last


def test_a_key_with_the_hint_of_another_is_not_taken_for_it() -> None:
    table = BucketTable(0, 8, 1, 1.0, 1)
    fill(table, range(8), 0.0)
    assert all(table.test(key + 251, 0.0) and table.test(key + 502, 0.0) for key in range(8))
    assert not any(table.test(key, 0.0) for key in range(8))


def test_refused_and_merely_tested_leave_nothing_behind() -> None:
    table = BucketTable(0, 8, 1, 1.0, 2)
    fill(table, range(8), 0.0, cost=2)
    before = table.keys[:], table.tats[:], table.hints[:]
    assert not table.test(3, 0.0)
    assert table.test(99, 0.0)
    assert (table.keys, table.tats, table.hints) == before


def test_who_was_refused_and_would_be_now_is_named_with_its_wait() -> None:
    table = BucketTable(8, 8, 1, 0.5, 2)
    fill(table, range(0x100, 0x101), 10.0, cost=2)
    fill(table, range(0x2FF, 0x300), 10.0, cost=2)
    fill(table, range(0x300, 0x301), 10.0, cost=2)  # has no token either, but asks for none
    assert table.refused(10.0) == []
    assert not table.test(0x1FF, 10.0)
    assert not table.test(0x200, 10.0)
    assert not table.test(0x123, 10.0)
    first, second = sorted(table.refused(11.0))
    assert (first.source, first.times, second.source, second.times) == (0x100, 2, 0x200, 1)
    assert first.wait == second.wait == pytest.approx(1.0, abs=0.01)
    assert table.refused(12.0) == []


def test_the_last_refusals_are_remembered_and_no_more() -> None:
    table = BucketTable(0, 8, 1, 1.0, 1)
    fill(table, range(3), 0.0)
    for key, times in ((0, 1000), (1, 60), (2, 4)):
        assert not any(table.test(key, 0.0) for _ in range(times))
    assert sorted((refused.source, refused.times) for refused in table.refused(0.0)) == [
        (1, 60),
        (2, 4),
    ]


@given(asked=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=200))
def test_nobody_is_named_who_would_be_heard_and_nobody_refused_is_left_out(
    asked: list[tuple[int, int]],
) -> None:
    table, now = BucketTable(0, 8, 0xFEED, 1.0, 2), 0.0
    refused = []
    for key, wait in asked:
        now += wait / 4
        if table.test(key, now):
            table.commit(now)
        else:
            refused.append(key)
    now += 0.375  # no token comes at such a time: rounding decides nothing
    named = {one.source: one.times for one in table.refused(now)}
    late = refused[-64:]
    assert named == {key: late.count(key) for key in late if not table.test(key, now)}


def test_whoever_was_forgotten_is_not_named() -> None:
    table = BucketTable(0, 8, 1, 1.0, 2)
    fill(table, range(8), 0.0, cost=2)
    assert not table.test(3, 0.0)
    fill(table, range(100, 108), 1.0, cost=2)
    assert table.refused(1.0) == []


@pytest.mark.parametrize("key", [0, (1 << 64) - 1])
def test_no_key_is_mistaken_for_a_free_slot(key: int) -> None:
    table = BucketTable(0, 8, 1, 1.0, 1)
    fill(table, range(key, key + 1), -5.0)
    assert not table.test(key, -5.0)
    assert table.test(key ^ 1, -5.0)


@pytest.mark.uncounted
@pytest.mark.parametrize("shift", [0, 8, 16, 44])
def test_neighbours_do_not_crowd_one_set(shift: int) -> None:
    # 1024 neighbours in 1024 sets of eight: with a good hash, almost none is forgotten.
    seeds = random.Random(4146)
    kept = []
    for _ in range(50):
        table = BucketTable(0, 8192, seeds.getrandbits(64), 1.0, 1)
        fill(table, range(0, 1024 << shift, 1 << shift), 0.0)
        kept.append(table.entries)
    assert sorted(kept)[5] > 1000


def test_seed_decides_the_sets() -> None:
    def kept(seed: int) -> list[int]:
        table = BucketTable(0, 1024, seed, 1.0, 1)
        fill(table, range(512), 0.0)
        return table.keys.tolist()

    assert kept(1) == kept(1)
    assert kept(1) != kept(2)


@pytest.mark.parametrize(
    ("rate", "burst", "capacity"),
    [(0.0, 1, 8), (-1.0, 1, 8), (math.inf, 1, 8), (math.nan, 1, 8), (1.0, 0, 8), (1.0, 1, 0)],
)
def test_senseless_limits_are_refused(rate: float, burst: int, capacity: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        BucketTable(0, capacity, 1, rate, burst)


class CrowdedTable(RuleBasedStateMachine):
    """Many sources in sixteen slots. This must hold however they replace each other."""

    def __init__(self) -> None:
        super().__init__()
        self.table = BucketTable(4, 16, 0xFEED, 1.0, 4)
        self.now = 0.0

    @rule(source=st.integers(0, 8000), times=st.integers(1, 6))
    def request(self, source: int, times: int) -> None:
        key = source >> 4
        known = key in self.table.keys
        admitted = 0
        for _ in range(times):
            if self.table.test(source, self.now):
                self.table.commit(self.now)
                admitted += 1
        assert admitted <= 4
        assert known or admitted == min(times, 4), "an unknown source has its whole burst"

    @rule(source=st.integers(0, 8000))
    def penalize(self, source: int) -> None:
        self.table.penalize(source, self.now, 4.0)
        assert self.table.tats[self.table.keys.index(source >> 4)] <= self.now + 8

    @rule(seconds=st.integers(-20, 20))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def is_bounded(self) -> None:
        used = [key for key in self.table.keys if key != (1 << 64) - 1]
        assert len(used) == len(set(used)) == self.table.entries <= self.table.capacity == 16
        assert len(self.table.keys) == len(self.table.tats) == len(self.table.hints) == 16
        hints = zip(self.table.hints, self.table.keys, strict=True)
        assert all(hint == key % 251 for hint, key in hints if key != (1 << 64) - 1)


TestCrowdedTable = CrowdedTable.TestCase


@pytest.mark.parametrize(("rate", "burst"), [(1.0, 3), (4.0, 8), (0.5, 5)])
def test_the_times_of_both_kinds_of_bucket_are_those_of_the_rate(rate: float, burst: int) -> None:
    table = BucketTable(0, 8, 1, rate, burst)
    own = OwnBucket(rate, burst, deque(maxlen=4))
    for bucket in (table, own):
        assert bucket.increment == 1 / rate
        assert bucket.ceiling == 2 * burst / rate
        assert 0 < bucket.tolerance - burst / rate < 1 / (1000 * rate)


@pytest.mark.parametrize("burst", [1, 5])
def test_the_debt_of_a_bucket_of_ones_own_is_one_burst_at_most(burst: int) -> None:
    own = OwnBucket(2.0, burst, deque(maxlen=4))
    own.entry(7).penalize(100.0, 1000.0)
    assert own.wait(100.0) == pytest.approx((burst + 1) / 2.0, abs=0.01)

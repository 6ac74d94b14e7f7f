"""How large a cluster must be: what comes in an hour, what it uses, and what ends first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cluster.assumptions import Day, Limits, Machines
from bench.cluster.capacity import (
    NODE,
    Setting,
    Size,
    beat_commands,
    engine_uses,
    growth,
    node_uses,
    size_for,
    states,
    sweep_seconds,
)
from bench.cluster.costs import Costs
from bench.cluster.load import Load, Wave, hour_share, usual
from bench.cluster.model import Node, simulate
from bench.cluster.surges import mailing, monday

COSTS = Costs(
    sender_notification=80, sender_login=60, sender_call=120, sender_welcome=20,
    companion_notification=200, companion_login=300, companion_put=60, companion_entry=60,
    companion_weight=1, round_trip=200, engine_exchange=8, engine_zrange=3, engine_zadd=2,
    engine_zremrangebyrank=2, engine_pexpire=1, engine_xadd=3, engine_xread=1, engine_xdel=1,
    engine_scan=0.5, engine_small=1, engine_operations=100_000, book_1=200, book_2=250,
    book_3=300, book_4=350, inbox_entry=250, node_memory=80, idle_sign=50,
    idle_sign_hibernated=20,
)  # fmt: skip
DAY, LIMITS, MACHINES = Day(), Limits(), Machines()
SETTING = Setting(COSTS, DAY, LIMITS, MACHINES)
ACCOUNTS = st.integers(1_000, 300_000_000)


# --- what comes ---------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(1, 2), st.integers(8, 19))
def test_the_hours_of_a_day_are_the_day(by_day: float, peak: float, busiest: int) -> None:
    day = Day(by_day=by_day, peak=peak, busiest=busiest)
    shares = [hour_share(day, hour) for hour in range(24)]
    assert sum(shares) == pytest.approx(1)
    assert sum(shares[8:20]) == pytest.approx(by_day)
    assert min(shares) >= -1e-12
    assert shares[busiest] == pytest.approx(max(shares[8:20]))
    assert shares[busiest] * 12 == pytest.approx(by_day * peak)


def test_no_more_accounts_have_an_address_than_are_used() -> None:
    busy, calm = (usual(DAY, LIMITS, 1e6, hour) for hour in (DAY.busiest, 3))
    assert 0 < calm.fresh < busy.fresh < DAY.used
    assert busy.rings == pytest.approx(busy.notifications * busy.fresh * DAY.mean_addresses)
    # A silent target at which a ring waits is called once more when it logs in, and else not.
    assert busy.calls == pytest.approx(
        busy.rings * (1 - busy.joins) + busy.logins * busy.joins, rel=1e-9
    )


def test_retries_are_those_of_the_back_off_in_half_the_time_of_a_login() -> None:
    assert Limits().retries == 4  # after 30, 90, 210 and 450 s; the next one is after 930 s
    assert Limits(ttl=60).retries == 1
    assert Limits(ttl=50).retries == 0


@pytest.mark.parametrize("is_bell", [False, True])
def test_a_wave_happens_once_for_each_account(is_bell: bool) -> None:
    wave = Wave(100, 600, 9000, is_bell)
    total = sum(wave.rate(moment + 0.5) for moment in range(1000))
    assert total == pytest.approx(9000, rel=1e-4)
    assert max(wave.rate(moment) for moment in range(1000)) <= wave.most
    assert [wave.done(moment) for moment in (0, 100, 400, 700, 900)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
    done = sum(wave.rate(moment + 0.5) for moment in range(250)) / 9000
    assert wave.done(250) == pytest.approx(done, abs=1e-4)


# --- what it needs ------------------------------------------------------------------------------


@given(ACCOUNTS)
def test_a_cluster_is_the_smallest_that_is_enough(accounts: int) -> None:
    rates = usual(DAY, LIMITS, accounts, DAY.busiest)
    size = size_for(SETTING, rates)
    needed = size.nodes - MACHINES.spare
    most = MACHINES.most + 1e-6
    assert max(node_uses(SETTING, rates, needed).values()) <= most
    assert needed == 1 or max(node_uses(SETTING, rates, needed - 1).values()) > most - 2e-6
    assert max(engine_uses(SETTING, rates, size).values()) <= most
    fewer = Size(size.nodes, size.shards - 1)
    assert size.shards == 1 or max(engine_uses(SETTING, rates, fewer).values()) > most - 2e-6


def test_no_number_of_nodes_is_enough_if_each_weighs_too_many_others() -> None:
    rates = usual(DAY, LIMITS, 1e10, DAY.busiest)
    with pytest.raises(OverflowError, match="nodes are not enough"):
        size_for(SETTING, rates)


def test_signs_of_life_grow_with_the_square_of_the_nodes() -> None:
    assert [beat_commands(nodes) for nodes in (1, 10, 100)] == [8, 260, 20_600]


@given(ACCOUNTS)
def test_a_resource_is_used_up_when_the_accounts_have_grown_so_much(accounts: int) -> None:
    size = size_for(SETTING, usual(DAY, LIMITS, accounts, DAY.busiest))
    for name, times in growth(SETTING, accounts, DAY.busiest, size).items():
        rates = usual(DAY, LIMITS, accounts * times, DAY.busiest)
        used = node_uses(SETTING, rates, size.nodes) | engine_uses(SETTING, rates, size)
        used |= states(SETTING, rates, size.nodes)
        # The calls to silent targets have a bound, which a few accounts do not reach.
        rel = 0.02 if accounts > 2_000_000 and name != NODE[0] else 0.5
        assert used[name] == pytest.approx(1, rel=rel)


def test_what_is_computed_is_what_the_simulation_does() -> None:
    rates = usual(DAY, LIMITS, 1e7, DAY.busiest)
    size = Size(8, 1)
    load = Load.of(rates, size.nodes, DAY, LIMITS)
    busy = simulate(Node.of(SETTING, size), load, 20).busy
    uses = node_uses(SETTING, rates, size.nodes)
    assert busy[0] / 20 == pytest.approx(uses["sender CPU"], rel=0.03)
    assert busy[1] / 20 == pytest.approx(uses["companion CPU"], rel=0.03)
    # The signs of life are no messages.
    engine = engine_uses(SETTING, rates, size)["engine CPU"]
    assert busy[2] / 20 == pytest.approx(engine, rel=0.05)


def test_a_sweep_of_all_nodes_is_soon_over_but_for_what_they_share() -> None:
    rates = usual(DAY, LIMITS, 1e8, DAY.busiest)
    size = size_for(SETTING, rates)
    one, every = (sweep_seconds(SETTING, rates, size, n) for n in (1, size.nodes - 1))
    for name in ("sender CPU", "companion CPU"):
        assert one[name] / every[name] == pytest.approx(size.nodes - 1)
    for name in ("send.rate", "engine CPU"):
        assert one[name] == every[name]


# --- what comes beside --------------------------------------------------------------------------

SHORT = SETTING._replace(day=Day(storm=60))
SMALL = usual(DAY, LIMITS, 20_000, DAY.busiest)


def test_a_cluster_that_is_large_enough_does_not_notice_a_mailing() -> None:
    event = mailing(SHORT, SMALL, Size(2, 2), 60)
    assert max(event.uses.values()) < 0.9
    assert event.before
    assert event.during
    assert event.mailed
    assert event.during.p50 < 2 * event.before.p50
    assert event.expired == 0
    assert event.over == pytest.approx(60, abs=1)


def test_a_cluster_that_is_too_small_rings_late_and_says_how_late() -> None:
    slow = SHORT._replace(limits=Limits(rate=100))
    event = mailing(slow, SMALL, Size(1, 1), 60)
    assert event.uses["send.rate"] > 1.4
    assert event.during
    assert event.mailed
    assert event.mailed.p50 > 1
    # All of them are called, one after the other.
    assert event.over > 80
    assert event.minutes[0].at == -120
    assert event.minutes[-1].calls == 0
    assert event.nodes > 2


def test_on_monday_every_account_has_an_address() -> None:
    event = monday(SHORT, SMALL, Size(8, 2))
    assert event.mailed is None
    assert event.fresh == pytest.approx(1)
    assert event.book_mib == pytest.approx(20_000 * 220 / 2 / 2**20, rel=0.1)

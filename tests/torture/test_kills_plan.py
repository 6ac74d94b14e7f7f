"""What a round of kills consists of: each way to kill equally often, and the same for one seed."""

from collections import Counter

from torture.kills.plan import ACCOUNTS, SUBSETS, Program, Way, plan


def test_each_way_to_kill_some_of_the_five_comes_once_in_31_rounds() -> None:
    assert len(SUBSETS) == 31
    for block in range(3):
        rounds = range(31 * block, 31 * (block + 1))
        assert Counter(plan(7, number).killed for number in rounds) == Counter(SUBSETS)


def test_a_round_kills_those_that_it_says() -> None:
    for number in range(62):
        played = plan(7, number)
        killed = {kill.program for kill in played.kills} | (
            {Program.HOOK} if played.hooks else set()
        )
        assert killed == set(played.killed)


def test_a_seed_makes_the_same_rounds_and_another_seed_makes_others() -> None:
    assert plan(7, 40) == plan(7, 40)
    assert plan(7, 40) != plan(8, 40)
    assert plan(7, 40) != plan(7, 41)


def test_accounts_are_rung_in_every_way_and_at_other_times_than_each_other() -> None:
    rings = [ring for number in range(31) for ring in plan(7, number).rings]
    assert {ring.way for ring in rings} == set(Way)
    assert {ring.account for ring in rings} == set(ACCOUNTS)
    assert len({ring.at for ring in rings}) == len(rings)


def test_moments_are_in_order() -> None:
    for number in range(31):
        played = plan(7, number)
        for each in (played.kills, played.hooks, played.rings):
            times = [thing.at for thing in each]
            assert times == sorted(times)


def test_a_program_is_sometimes_killed_again_while_it_starts() -> None:
    counts = [
        Counter(kill.program for kill in plan(7, number).kills).most_common(1)
        for number in range(31)
    ]
    assert {count for each in counts for _, count in each} == {1, 2}

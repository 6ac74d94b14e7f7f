"""Programs are killed, and each look that is owed is taken; one that is lost is found."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import until

from torture.kills.ledger import Debt, Diary
from torture.kills.plan import ACCOUNTS, Program, Round, plan
from torture.kills.run import Plays
from torture.kills.world import World

SEED: Final = 20
# It looks for mail when it starts for the first time, and after a ring; not when it starts again.
FORGETFUL: Final = (
    'mkdir "$0.$1" 2>/dev/null || [ "$MAILBELL_CAUSE" != start ] || exit 0;'
    ' exec date "+$1 %s%N" >>"$0"'
)


def rounds(*killed: Program) -> Iterator[Round]:
    """Yield rounds in which these programs are killed, and no other."""
    for number in range(31 * 40):
        if (found := plan(SEED, number)).killed == killed:
            yield found


def first_lost(world: World, played: Iterable[Round], patience: float) -> tuple[Debt, ...]:
    """Play rounds until one has lost something, and return it."""
    for each in played:
        if lost := world.play(each, patience).lost:
            return lost
    return ()


def never_looked(directory: Path, by: str, debts: Iterable[Debt]) -> list[Debt]:
    """Return those debts that were not paid later either."""
    diary = Diary(directory / f"{by}.diary")
    diary.read()
    diary.close()
    return [debt for debt in debts if debt.by == by and diary.last[debt.account] < debt.since]


@pytest.mark.long
def test_no_look_is_lost_and_an_agent_that_forgets_to_look_is_found(open_path: Path) -> None:
    look = ("sh", "-c", FORGETFUL)
    with World(open_path, is_held=True, look=look) as world:
        assert world.begin() == ()
        others = next(rounds(Program.LISTENER, Program.SUBSCRIBER, Program.SENDER, Program.HOOK))
        played = world.play(others)
        assert played.lost == ()
        assert 0 < played.accounts <= played.notifications
        lost = first_lost(world, rounds(Program.AGENT), patience=3)
        until(lambda: has_looked_since_its_start(open_path), "the looks of the agent's start")
        assert never_looked(open_path, "agent", lost)
        assert never_looked(open_path, "subscriber", lost) == []
        assert len(+world.kills) == 4
        assert world.odd_ends == []


def has_looked_since_its_start(directory: Path) -> bool:
    """Tell whether the agent's last run has run its command for each account."""
    _, _, run = (directory / "agent.log").read_text().rpartition("event=started ")
    return all(f"event=ran job=look/{account} " in run for account in ACCOUNTS)


@pytest.mark.long
def test_a_sender_without_its_store_is_found(open_path: Path) -> None:
    empty = ("/bin/sh", "-c", f'rm -f {open_path}/state/*; exec "$@"', "sh")
    through = {Program.SENDER: empty}
    with World(open_path, is_held=False, through=through) as world:
        assert world.begin() == ()
        # The agent may have looked late for an earlier notification, when the lost mail was there.
        lost = first_lost(world, rounds(Program.SENDER), patience=20)
        assert never_looked(open_path, "subscriber", lost)


@pytest.mark.long
def test_each_way_to_kill_some_of_the_five_loses_nobody() -> None:
    report = Plays(SEED, print, rounds=31).play()
    assert report.failures == ()
    assert report.is_right
    figures = {figure.name: figure.value for figure in report.figures}
    assert figures["rounds"] == figures["ways to kill some of the five"] == 31
    assert figures["kills"] >= 16 * len(Program)  # each is killed in 16 of these rounds
    assert figures["accounts owed"] > 31

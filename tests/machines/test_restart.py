"""mailbelld ends in every way, while mail servers call."""

from collections.abc import Callable

from machines.claim import claim
from machines.guest import Guest
from machines.service import (
    MANY,
    SERVICE,
    Call,
    calls,
    configured,
    log_mark,
    logged_after,
    running,
    running_anew,
    status,
    subscribed,
)


def restart(guest: Guest) -> None:
    guest.run(f"systemctl restart {SERVICE}")


def kill(guest: Guest) -> None:
    guest.run(f"systemctl kill --kill-whom=main --signal=KILL {SERVICE}")


def lost(made: list[Call]) -> list[Call]:
    return [call for call in made if call.how != "served"]


@claim("a connection every 50 ms, while mailbelld is restarted: each one is served")
def test_a_restart_loses_nothing(guest: Guest) -> None:
    with configured(guest, MANY):
        assert lost(under_load(guest, restart)) == []


@claim("the same with kill -9: each one that mailbelld did not have in its hands is served")
def test_a_kill_loses_nothing(guest: Guest) -> None:
    with configured(guest, MANY):
        before = float(guest.run("date +%s.%N"))
        made = under_load(guest, kill)
        in_hand = lost(made)
        started = status(guest)["started"] / 1e6
        assert len(in_hand) <= 1, in_hand
        assert all(before < call.begun < call.ended < started for call in in_hand)


def under_load(guest: Guest, end: Callable[[Guest], None]) -> list[Call]:
    """End mailbelld while connections come; return them all, each with what became of it.

    The next mailbelld must have counted each one that ended since its start.
    """
    before = running(guest)
    with calls(guest) as load:
        load.wait_for(20)
        end(guest)
        running_anew(guest, before)
        now = float(guest.run("date +%s.%N"))
        load.wait_for(20, since=now)
        made = load.all()
    found = status(guest)
    later = [call for call in made if call.ended > found["started"] / 1e6]
    waited = [call for call in later if call.begun < found["started"] / 1e6]
    assert waited, "no connection waited for the next mailbelld"
    assert found["outcomes"]["tcp"]["accepted"] == len(later)
    return made


@claim("who subscribes is told to look once, after kill -9")
def test_a_subscriber_is_told_to_look(guest: Guest) -> None:
    before = running(guest)
    with subscribed(guest) as heard:
        kill(guest)
        running_anew(guest, before)
        heard.wait_for(cause="resync")
        assert len(heard.all()) == 1


@claim("a mailbelld that hangs (SIGSTOP) is ended by the watchdog, and who waits is served")
def test_the_watchdog(guest: Guest) -> None:
    before = running(guest)
    mark = log_mark(guest)
    guest.run(f"kill -STOP {before}")
    with calls(guest, number=3) as waiting:
        running_anew(guest, before)
        assert lost(waiting.all()) == []
    assert "Watchdog timeout" in logged_after(guest, mark)

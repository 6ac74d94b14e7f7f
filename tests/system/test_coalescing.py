"""A storm of notifications through the whole daemon: few wake-ups, none of them for nothing."""

import time
from pathlib import Path

import pytest
from harness.daemon import LINE, PATIENCE, configuration, ring, started, until
from system.support import GENEROUS, pushed

from mailbell._errors import TemporaryError
from mailbell.client import Client

ACCOUNTS = """
[[account]]
name = "work"
sources = ["127.0.0.2"]
[[account]]
name = "private"
sources = ["127.0.0.3"]
"""
RUNG = 200


def toml(directory: Path, more: str) -> str:
    return configuration(directory, tcp=("127.0.0.1:0",), more=more + ACCOUNTS)


def test_two_hundred_in_a_second_are_few_wakeups_and_the_last_is_delivered(tmp_path: Path) -> None:
    with (
        started(tmp_path, toml(tmp_path, GENEROUS)) as daemon,
        Client(str(daemon.path)) as client,
        client.subscribe() as subscription,
    ):
        endpoint = daemon.endpoint()
        begin = time.monotonic()
        for _ in range(RUNG):
            ring(endpoint, source="127.0.0.2")
        rung_in = time.monotonic() - begin
        counts: list[int] = []
        while sum(counts) < RUNG:
            notification = subscription.next(PATIENCE)
            assert (notification.account, notification.source) == ("work", "127.0.0.2")
            counts.append(notification.count)
        seconds = time.monotonic() - begin
        print(f"{RUNG} rung in {rung_in:.2f} s, told {counts} in {seconds:.2f} s")
        assert sum(counts) == RUNG
        assert counts[0] == 1  # the first at once
        # One at the beginning, then one a second. (They start no earlier than
        # `begin`, and the last was sent before we read it.)
        assert len(counts) <= 1 + int(seconds)
        assert daemon.status().wakeups == len(counts)
        assert daemon.counted() == {"accepted": RUNG}
        assert [a.count for a in daemon.status().accounts] == [RUNG, 0]


def test_a_storm_on_one_account_does_not_delay_another(tmp_path: Path) -> None:
    """Their next wake-up is an hour away; if it delayed ours, this test would not end."""
    more = GENEROUS + '[coalesce]\ninterval = "1h"\n'
    with (
        started(tmp_path, toml(tmp_path, more)) as daemon,
        Client(str(daemon.path)) as client,
        client.subscribe() as subscription,
        client.subscribe(["private"]) as mine,
    ):
        endpoint = daemon.endpoint()
        for number in range(RUNG):
            ring(endpoint, source="127.0.0.2")
            if number == RUNG // 2:
                ring(endpoint, source="127.0.0.3")
        told = [subscription.next(PATIENCE) for _ in range(2)]
        assert [(n.account, n.count) for n in told] == [("work", 1), ("private", 1)]
        assert mine.next(PATIENCE).source == "127.0.0.3"
        until(lambda: daemon.counted() == {"accepted": RUNG + 1})
        assert daemon.status().wakeups == 2
        for quiet in (subscription, mine):
            with pytest.raises(TemporaryError):
                quiet.next(0)


def test_a_flood_that_is_refused_does_not_delay_another_source(tmp_path: Path) -> None:
    """The limits as they are shipped: most of the flood is not even read."""
    more = '[coalesce]\ninterval = "1h"\n'
    with (
        started(tmp_path, toml(tmp_path, more)) as daemon,
        Client(str(daemon.path)) as client,
        client.subscribe(["private"]) as mine,
    ):
        endpoint = daemon.endpoint()
        for _ in range(RUNG):
            assert pushed(endpoint, LINE, "127.0.0.2") == b""
        ring(endpoint, source="127.0.0.3")
        assert mine.next(PATIENCE).source == "127.0.0.3"
        until(lambda: sum(daemon.counted().values()) == RUNG + 1)
        assert daemon.counted()["rate_limited"] >= RUNG // 2
        assert [a.count for a in daemon.status().accounts] == [1, 1]

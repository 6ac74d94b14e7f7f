"""A storm of notifications through the whole daemon: few wake-ups, and none without a reason."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest
from harness.daemon import LINE, PATIENCE, Daemon, configuration, ring, started, until
from system.support import GENEROUS

from mailbell.client import Client, Subscription
from mailbell.core.errors import TemporaryError

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
        # One at the beginning, then one per second. They start after `begin`, and the last
        # one was sent before the test read it.
        assert len(counts) <= 1 + int(seconds)
        assert daemon.status().wakeups == len(counts)
        assert daemon.counted() == {"accepted": RUNG}
        assert [a.count for a in daemon.status().accounts] == [RUNG, 0]


def test_a_storm_on_one_account_does_not_delay_another(tmp_path: Path) -> None:
    """The other account's next wake-up is in an hour. If it delayed ours, the test would hang."""
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
    """With the default limits most of the flood is not even read."""
    more = '[coalesce]\ninterval = "1h"\n'
    with (
        started(tmp_path, toml(tmp_path, more)) as daemon,
        Client(str(daemon.path)) as client,
        client.subscribe(["private"]) as mine,
    ):
        endpoint = daemon.endpoint()
        for _ in range(RUNG):
            assert ring(endpoint, LINE, "127.0.0.2") == b""
        ring(endpoint, source="127.0.0.3")
        assert mine.next(PATIENCE).source == "127.0.0.3"
        until(lambda: sum(daemon.counted().values()) == RUNG + 1)
        assert daemon.counted()["rate_limited"] >= RUNG // 2
        assert [a.count for a in daemon.status().accounts] == [1, 1]


def ring_last(daemon: Daemon, endpoint: tuple[str, int]) -> int:
    """Notify once more; return the number of the last wake-up before that.

    If there was a wake-up at the same time, the order is unknown. Then it notifies again.
    """
    for _ in range(100):
        before = daemon.status().cursor.sequence
        ring(endpoint, source="127.0.0.2")
        # The end of the connection proves that the daemon has handled it: it closes and
        # counts a connection in one step.
        if daemon.status().cursor.sequence == before:
            return before
    pytest.fail("no ring comes between two wake-ups")


def told_after(subscription: Subscription, sequence: int) -> int:
    """Read until a wake-up with a higher number arrives; return how many were read."""
    read = 0
    while not read or last_told(subscription) <= sequence:
        subscription.next(PATIENCE)
        read += 1
    return read


def last_told(subscription: Subscription) -> int:
    assert subscription.cursor
    return subscription.cursor.sequence


@pytest.mark.parametrize(
    ("seconds", "more"),
    [
        pytest.param(0.0, "", id="at-once"),
        pytest.param(3.0, "", id="for-three-seconds"),
        # Only the first is accepted, so that no other notification can wake the
        # subscriber after the last one.
        pytest.param(0.0, '[limits]\nrate = "1/h"\nburst = 1\n', id="one-an-hour"),
        pytest.param(
            3.0, '[limits]\nrate = "1/h"\nburst = 1\n', id="one-an-hour-for-three-seconds"
        ),
    ],
)
def test_the_last_of_a_storm_is_told_although_most_are_refused(
    tmp_path: Path, seconds: float, more: str
) -> None:
    """Send 200, or as many as fit into the time, from one source, with the default limits."""
    with (
        started(tmp_path, toml(tmp_path, more)) as daemon,
        Client(str(daemon.path)) as client,
        client.subscribe() as subscription,
    ):
        endpoint = daemon.endpoint()
        begin = time.monotonic()
        rung = 0
        while rung < RUNG - 1 or time.monotonic() - begin < seconds:
            assert ring(endpoint, source="127.0.0.2") == b""
            rung += 1
        after = ring_last(daemon, endpoint)
        told = told_after(subscription, after)
        passed = time.monotonic() - begin
        outcomes = daemon.counted()
        print(f"{rung} rung in {passed:.2f} s: {told} times told, {outcomes}")
        assert told <= 1 + int(passed)
        assert daemon.status().wakeups <= 1 + int(time.monotonic() - begin)
        assert outcomes["rate_limited"] > RUNG // 2
        assert set(outcomes) == {"accepted", "rate_limited"}


def test_whoever_never_rang_wakes_nobody_by_being_refused(tmp_path: Path) -> None:
    """Send garbage until the source is not read any more, then the line, which is not read."""
    settings = toml(tmp_path, '[coalesce]\ninterval = "10ms"\n[limits]\nrate = "1/h"\n')
    # The whole of 127.0.0.0/8 is listed and too large to be named. Of a named source any
    # connection counts.
    settings = settings.replace('"127.0.0.2"', '"127.0.0.0/8"')
    with (
        started(tmp_path, settings) as daemon,
        Client(str(daemon.path)) as client,
        client.subscribe() as subscription,
    ):
        endpoint = daemon.endpoint()
        for _ in range(RUNG):
            assert ring(endpoint, b"garbage\r\n", "127.0.0.2") == b""
        before = daemon.counted()["rate_limited"]
        assert before > RUNG // 2
        assert ring(endpoint, LINE, "127.0.0.2") == b""
        assert daemon.counted()["rate_limited"] == before + 1
        # The first notification of an account is delivered at once. Every wake-up that the
        # flood caused would arrive before it.
        ring(endpoint, source="127.0.0.3")
        assert subscription.next(PATIENCE).account == "private"
        status = daemon.status()
        assert (status.wakeups, [a.count for a in status.accounts]) == (1, [0, 1])


def processor_seconds(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_refused_calls_for_ten_thousand_accounts_cost_little(tmp_path: Path) -> None:
    """The source is for no account, so it is for all of them."""
    accounts = "\n".join(
        f'[[account]]\nname = "a{n}"\nsources = ["10.{n >> 8}.{n & 255}.0/24"]'
        for n in range(10_000)
    )
    text = configuration(tmp_path, tcp=["127.0.0.1:0"], more=accounts)
    with started(tmp_path, f'unmatched = "all"\n{text}') as daemon:
        endpoint = daemon.endpoint()
        ring(endpoint)
        until(lambda: daemon.status().wakeups == 10_000)
        before = processor_seconds(daemon)
        for _ in range(1500):
            with socket.create_connection(endpoint) as sender, suppress(OSError):
                sender.sendall(LINE)
        until(lambda: daemon.counted().get("rate_limited", 0) >= 1400)
        used = processor_seconds(daemon) - before
        # The wake-ups of the last call come too.
        until(lambda: daemon.status().wakeups >= 20_000)
    # To ring 10,000 accounts for each of them takes 4.5 seconds on a fast machine.
    assert used < 1.5, used

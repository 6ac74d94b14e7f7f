"""The daemon is killed and starts again: each subscriber is told once to look for mail."""

import json
import os
import select
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import trio
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from system.support import program

from mailbell.client import Client, State
from mailbell.client.trio import Client as TrioClient
from mailbell.core.notification import Cause

Restart = Callable[[], Daemon]


@contextmanager
def killable(directory: Path) -> Iterator[tuple[Daemon, Restart]]:
    """Yield a daemon, and a function that kills it and starts another in its place."""
    toml = configuration(directory, tcp=("127.0.0.1:0",))
    with ExitStack() as stack:
        first = stack.enter_context(started(directory, toml))

        def restart() -> Daemon:
            first.process.kill()
            assert first.process.wait(PATIENCE) == -9
            assert first.path.exists()  # the killed daemon could not remove it
            return stack.enter_context(started(directory, toml))

        yield first, restart


def test_a_blocking_subscription_is_told_to_look_once(tmp_path: Path) -> None:
    states: list[State] = []
    with killable(tmp_path) as (first, restart), Client(str(first.path)) as client:
        subscription = client.subscribe(on_state=states.append)
        ring(first.endpoint())
        assert subscription.next(PATIENCE).cause is Cause.NETWORK
        old = subscription.cursor
        second = restart()
        resync = subscription.next(PATIENCE)
        assert (resync.account, resync.cause, resync.count) == ("default", Cause.RESYNC, 0)
        assert old is not None
        assert subscription.cursor is not None
        assert subscription.cursor.epoch != old.epoch
        ring(second.endpoint())
        after = subscription.next(PATIENCE)
        assert (after.cause, after.count) == (Cause.NETWORK, 1)
        assert states == [State.CONNECTED, State.LOST, State.CONNECTED]


def test_what_came_before_it_reconnected_is_not_lost(tmp_path: Path) -> None:
    """The new run has the same sequence number as the old one; only the epoch differs."""
    with killable(tmp_path) as (first, restart), Client(str(first.path)) as client:
        subscription = client.subscribe()
        ring(first.endpoint())
        assert subscription.next(PATIENCE).cause is Cause.NETWORK
        old = subscription.cursor
        second = restart()  # the subscription does nothing until the test asks it for something
        ring(second.endpoint())
        until(lambda: second.counted() == {"accepted": 1})
        assert old is not None
        assert second.status().cursor.sequence == old.sequence
        assert subscription.next(PATIENCE).cause is Cause.RESYNC
        ring(second.endpoint())
        after = subscription.next(PATIENCE)
        assert (after.cause, after.count) == (Cause.NETWORK, 1)


def test_without_a_restart_nothing_is_missed_and_nobody_told(tmp_path: Path) -> None:
    with killable(tmp_path) as (daemon, _), Client(str(daemon.path)) as client:
        with client.subscribe() as subscription:
            ring(daemon.endpoint())
            subscription.next(PATIENCE)
            cursor = subscription.cursor
        with client.subscribe(after=cursor) as again:
            ring(daemon.endpoint())
            assert again.next(PATIENCE).cause is Cause.NETWORK


async def test_a_trio_subscription_is_told_to_look_once(tmp_path: Path) -> None:
    with killable(tmp_path) as (first, restart):
        path, endpoint = str(first.path), first.endpoint()
        async with TrioClient(path) as client, await client.subscribe() as subscription:
            with trio.fail_after(PATIENCE):
                ring(endpoint)
                assert (await anext(subscription)).cause is Cause.NETWORK
                second = restart()
                assert (await anext(subscription)).cause is Cause.RESYNC
                ring(second.endpoint())
                assert (await anext(subscription)).cause is Cause.NETWORK


def next_object(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout
    assert select.select([process.stdout], [], [], PATIENCE)[0], "nothing was printed"
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def test_watch_prints_one_look_and_then_the_next(tmp_path: Path) -> None:
    with killable(tmp_path) as (first, restart):
        watch = subprocess.Popen(
            program("mailbell", "watch", "--json", "--count", "3", "--timeout", "60"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "MAILBELL_SOCKET": str(first.path)},
        )  # fmt: skip
        try:
            until(lambda: first.status().subscribers == 1)
            ring(first.endpoint())
            assert next_object(watch)["cause"] == "network"
            second = restart()
            assert next_object(watch)["cause"] == "resync"
            ring(second.endpoint())
            assert next_object(watch)["cause"] == "network"
            out, said = watch.communicate(timeout=PATIENCE)
        finally:
            watch.kill()
            watch.communicate()
        assert (watch.returncode, out) == (0, "")
        assert said.splitlines() == [
            "mailbell: the connection to the daemon is lost; waiting for it",
            "mailbell: the daemon is back",
        ]

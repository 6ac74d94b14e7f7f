"""A member of the socket's group who attacks the daemon through the kernel."""

import os
import signal
import socket
from collections import deque
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
from harness.child import run
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from harness.lingering import needs_refusal, pass_to
from harness.ordinary import let_in
from system.support import Local

from mailbell.client import Client, TemporaryError
from mailbell.core.notification import Cause, Cursor


@needs_refusal
def test_a_descriptor_in_a_message_is_refused_and_cannot_stop_the_daemon(tmp_path: Path) -> None:
    with started(tmp_path) as daemon, socket.socket(socket.AF_UNIX) as member:
        member.connect(str(daemon.path))
        assert not pass_to(member)
        ring(daemon.endpoint())
        until(lambda: daemon.counted() == {"accepted": 1})


def test_many_accounts_and_many_foreign_cursors_cost_little(tmp_path: Path) -> None:
    """Each such subscriber must get every account, one after the other, when it reads."""
    accounts = "\n".join(
        f'[[account]]\nname = "a{n}"\nsources = ["10.{n >> 8}.{n & 255}.0/24"]' for n in range(4000)
    )
    with started(tmp_path, configuration(tmp_path, more=accounts)) as daemon:
        before = int(daemon.kernel_says()["VmRSS"].split()[0])
        with Client(str(daemon.path)) as client:
            subscriptions = [
                client.subscribe(after=Cursor("another", 0), reconnect=False) for _ in range(60)
            ]
            firsts = [subscription.next(PATIENCE) for subscription in subscriptions]
            assert {first.cause for first in firsts} == {Cause.RESYNC}
            grown = int(daemon.kernel_says()["VmRSS"].split()[0]) - before
            assert daemon.status().subscribers == 60
            for subscription in subscriptions:
                subscription.close()
    # 60 x 4000 separate notifications would take about 50 MiB.
    assert grown < 12 * 1024, grown


def test_many_accounts_and_many_subscribers_that_do_not_read_cost_little(tmp_path: Path) -> None:
    """A line for all accounts: each wake-up of each account is new for each subscriber."""
    accounts = "\n".join(
        f'[[account]]\nname = "a{n}"\nsources = ["0.0.0.0/0"]' for n in range(2000)
    )
    toml = configuration(tmp_path, tcp=["127.0.0.1:0"], more=accounts)
    toml = toml.replace('group = ""', 'group = ""\nsubscribers = 401')
    with started(tmp_path, toml) as daemon, Local(daemon.path) as reader:
        subscribers = []
        for _ in range(400):
            subscribers.append(Local(daemon.path))
            subscribers[-1].subscribe()
        reader.subscribe()
        endpoint = daemon.endpoint()
        before = int(daemon.kernel_says()["VmRSS"].split()[0])
        for line in (1, 2, 3):
            ring(endpoint)
            until(partial(have_woken, daemon, 2000 * line))
        grown = int(daemon.kernel_says()["VmRSS"].split()[0]) - before
        told: dict[str, int] = {}
        while sum(told.values()) < 3 * 2000:
            notification = reader.reply()["notification"]
            told[notification["account"]] = (
                told.get(notification["account"], 0) + notification["count"]
            )
        assert set(told.values()) == {3}, "the one that reads is told of every line, once"
        for subscriber in subscribers:
            subscriber.socket.close()
    # One notification for each account and subscriber would take more than 150 MiB.
    assert grown < 32 * 1024, grown


def have_woken(daemon: Daemon, count: int) -> bool:
    return daemon.status().wakeups >= count


def refused(daemon: Daemon) -> int:
    try:
        return daemon.status().local["refused_user"]
    except TemporaryError:  # the queue of the socket is full
        return 0


def test_a_member_that_connects_again_and_again_is_refused_or_waits(tmp_path: Path) -> None:
    """A new connection has a new limit for its calls. Its user has one for all of them."""
    with started(tmp_path) as daemon, Local(daemon.path) as watcher:
        watcher.subscribe()
        endpoint = daemon.endpoint()
        # At once there are eight for each of the 96 places. Then 16 may wait, and the others
        # are refused.
        members: deque[Local] = deque(maxlen=64)
        with ExitStack() as stack:
            for _ in range(2000):
                member = stack.enter_context(Local(daemon.path))
                with suppress(OSError):
                    member.call("GetStatus")
                if len(members) == members.maxlen:
                    members[0].socket.close()
                members.append(member)
            # These are calls of the same user: they wait for their turn, and get it.
            until(lambda: refused(daemon) > 500)
        # Neither the network nor a subscriber notices.
        ring(endpoint)
        assert watcher.reply()["notification"]["count"] == 1
        assert any("reason=refused_user" in line for line in daemon.lines())


@pytest.mark.unwatched(reason="a watched daemon is asked less than 200 times a second, its limit")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes other users")
def test_a_member_with_thousands_of_numbers_is_refused(tmp_path: Path) -> None:
    """subuid(5): in a user namespace of its own a user has 65,536 numbers."""
    toml = configuration(tmp_path).replace('group = ""', 'group = ""\nsubscribers = 1')
    with started(tmp_path, toml) as daemon, Local(daemon.path) as watcher:
        watcher.subscribe()
        let_in(tmp_path)
        daemon.path.chmod(0o666)

        def attack() -> None:
            members: deque[Local] = deque(maxlen=24)
            for number in range(1500):
                os.seteuid(0)
                os.seteuid(100_000 + number)
                member = Local(daemon.path)
                with suppress(OSError):
                    member.call("GetStatus")
                if len(members) == members.maxlen:
                    members[0].socket.close()
                members.append(member)

        run(attack)
        # Four users may make 528 at once, and then 200 a second. A few wait for their turn.
        until(lambda: refused(daemon) > 100)
        assert daemon.status().subscribers == 1
        ring(daemon.endpoint())
        assert watcher.reply()["notification"]["count"] == 1


def test_all_places_taken_on_many_sockets_exhausts_no_descriptors(tmp_path: Path) -> None:
    limits = '[limits]\nrate = "10000/s"\nburst = 10000\ntotal_rate = "10000/s"\n'
    limits += "connections = 64\nconnections_per_source = 1000"
    hosts = [f"127.0.80.{n}" for n in range(1, 9)]
    toml = configuration(tmp_path, tcp=[f"{host}:0" for host in hosts], more=limits)
    with started(tmp_path, toml) as daemon:
        endpoints = [daemon.endpoint("tcp", host) for host in hosts]
        os.kill(daemon.pid, signal.SIGSTOP)  # all messages wait in the queues
        silent = []
        for endpoint in endpoints:
            for _ in range(40):
                silent.append(socket.create_connection(endpoint))
                silent[-1].sendall(b"nm")
        os.kill(daemon.pid, signal.SIGCONT)
        ring(endpoints[0])
        until(lambda: daemon.counted().get("accepted") == 1)
        until(lambda: daemon.counted().get("too_many_connections") == len(silent) - 64)
        for sock in silent:
            sock.close()
        until(lambda: daemon.status().connections == 0)
        assert not any("accepting_paused" in line for line in daemon.lines())
        assert sum(daemon.counted().values()) == len(silent) + 1

"""Out of file descriptors: accepting pauses and resumes, and nothing else happens."""

import os
import socket
import time
from pathlib import Path

import pytest
from harness.daemon import Daemon, configuration, started, until
from harness.sender import LINE, PATIENCE, sent, unread
from system.support import GENEROUS, Local, cpu_ticks, limit_descriptors, switches

# As many descriptors as the standard streams. The daemon has more already, so every accept
# fails.
NONE_LEFT = 3
PROBES = 8
# What is half sent waits until the test sends the rest.
SLOW = GENEROUS + '[protocol]\ndeadline = "1m"\n'


def require_idle(daemon: Daemon) -> None:
    """It tries again now and then and sleeps in between; it makes no busy loop."""
    ticks, slept = cpu_ticks(daemon.pid), switches(daemon)
    second = os.sysconf("SC_CLK_TCK")
    begin = time.monotonic()
    until(lambda: switches(daemon) >= slept + PROBES or cpu_ticks(daemon.pid) > ticks + second)
    seconds, used = time.monotonic() - begin, (cpu_ticks(daemon.pid) - ticks) / second
    print(f"{PROBES} times awake in {seconds:.1f} s, {used:.2f} s of CPU")
    # Eight attempts take a millisecond; a busy loop would take all of the time.
    assert used <= max(0.1, seconds / 20)
    assert daemon.process.poll() is None


def said(daemon: Daemon, event: str, where: str) -> int:
    return sum(
        line.startswith(f"event=accepting_{event} ") and where in line for line in daemon.lines()
    )


def until_said(daemon: Daemon, event: str, where: str, times: int = 1) -> None:
    until(lambda: said(daemon, event, where) >= times, f"accepting_{event} of {where}")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_network_waits_and_everybody_else_is_served(tmp_path: Path, host: str) -> None:
    endpoint_text = "[::1]:0" if ":" in host else f"{host}:0"
    toml = configuration(tmp_path, tcp=[endpoint_text], more=SLOW)
    with (
        started(tmp_path, toml) as daemon,
        Local(daemon.path) as watcher,
        Local(daemon.path) as ops,
    ):
        endpoint = daemon.endpoint(host=host)
        watcher.subscribe()
        with sent(endpoint, LINE[:5]) as half:
            until(lambda: ops.ask("GetStatus")["status"]["connections"] == 1)
            limit_descriptors(daemon, NONE_LEFT)
            with sent(endpoint, LINE) as waiting:
                until_said(daemon, "paused", "tcp")
                require_idle(daemon)
                # Connections from before are still served.
                half.sendall(LINE[5:])
                assert unread(half) == b""
                assert watcher.reply()["notification"]["count"] == 1
                assert ops.ask("GetStatus")["status"]["outcomes"]["tcp"]["accepted"] == 1
                limit_descriptors(daemon, None)
                assert unread(waiting) == b""
        until(lambda: daemon.counted() == {"accepted": 2})
        assert watcher.reply()["notification"]["count"] == 1
        until_said(daemon, "resumed", "tcp")
        assert (said(daemon, "paused", ""), said(daemon, "resumed", "")) == (1, 1)
        assert "error=EMFILE" in "".join(daemon.lines())


def test_the_local_socket_waits_and_the_network_is_served(tmp_path: Path) -> None:
    toml = configuration(tmp_path, tcp=["127.0.0.1:0"], more=SLOW)
    with started(tmp_path, toml) as daemon, Local(daemon.path) as watcher:
        endpoint = daemon.endpoint()
        watcher.subscribe()
        with sent(endpoint, LINE[:5]) as half:
            until(lambda: daemon.status().connections == 1)
            limit_descriptors(daemon, NONE_LEFT)
            with Local(daemon.path) as late:
                late.call("GetStatus")
                until_said(daemon, "paused", "local socket")
                require_idle(daemon)
                half.sendall(LINE[5:])
                assert watcher.reply()["notification"]["count"] == 1
                limit_descriptors(daemon, None)
                assert late.reply()["status"]["outcomes"]["tcp"]["accepted"] == 1
        until_said(daemon, "resumed", "local socket")
        assert (said(daemon, "paused", ""), said(daemon, "resumed", "")) == (1, 1)


def test_each_pause_is_said_once_however_many_wait(tmp_path: Path) -> None:
    toml = configuration(tmp_path, tcp=["127.0.0.1:0"], more=SLOW)
    with started(tmp_path, toml) as daemon:
        endpoint = daemon.endpoint()
        for times in (1, 2):
            limit_descriptors(daemon, NONE_LEFT)
            waiting = [sent(endpoint, LINE) for _ in range(200)]
            until_said(daemon, "paused", "tcp", times)
            limit_descriptors(daemon, None)
            for sock in waiting:
                assert unread(sock) == b""
                sock.close()
            until_said(daemon, "resumed", "tcp", times)
        until(lambda: daemon.counted() == {"accepted": 400})
        assert (said(daemon, "paused", ""), said(daemon, "resumed", "")) == (2, 2)


def test_a_daemon_without_descriptors_ends_in_order(tmp_path: Path) -> None:
    with (
        started(tmp_path, configuration(tmp_path, tcp=["127.0.0.1:0"])) as daemon,
        socket.create_connection(daemon.endpoint(), PATIENCE) as sock,
    ):
        limit_descriptors(daemon, NONE_LEFT)
        sock.sendall(LINE)
        until_said(daemon, "paused", "tcp")
        assert daemon.stop() == 0

"""Once it is locked in, the daemon needs nothing that it does not have.

It makes no import, file, socket, thread, process or compiled code. The policy would
refuse some of these and kill for others, perhaps only on a certain input. Here the
interpreter itself reports them (`harness.audited`), whatever the policy says.
"""

import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from harness.daemon import Daemon, configuration, started, until
from harness.sender import LINE, PATIENCE, ring, sent, unread
from harness.watch import ALLOWED, AUDITED, TRACEBACK, events, new_report, unexpected
from system.support import LISTENER, Local, limit_descriptors
from system.wrong_calls import WRONG

from mailbell.core.outcome import Outcome

HOSTS = ("127.0.0.1", "127.0.5.1")
CONFIGURATION = """
[protocol]
deadline = "2s"
[sources]
allow = ["127.0.0.0/24", "::1"]
deny = ["127.0.0.9"]
[limits]
burst = 8
connections = 4
connections_per_source = 2
[[account]]
name = "work"
sources = ["127.0.0.2", "::1"]
[[account]]
name = "called"
addresses = ["127.0.5.1"]
[[account]]
name = "faulty"
sources = ["127.0.0.66"]
"""


@contextmanager
def audited(directory: Path, bugs: str = "some", **environ: str) -> Iterator[Daemon]:
    """A daemon with planted bugs and every feature in use, which reports what it does."""
    tcp, udp = [*(f"{host}:0" for host in HOSTS), "[::1]:0"], ["127.0.0.1:0", "[::1]:0"]
    toml = configuration(directory, tcp=tcp, udp=udp, more=CONFIGURATION)
    report = new_report(directory)
    environ |= {"AUDITED_REPORT": str(report), "AUDITED_BUGS": bugs}
    with started(directory, toml, program=AUDITED, environ=environ) as daemon:
        yield daemon


def reported(daemon: Daemon, *allowed: dict[str, str]) -> list[str]:
    """Return what the daemon did and must not do."""
    (report,) = daemon.path.parent.glob("audit-*")
    seen = events(report)
    assert seen, "nothing is reported at all"
    return unexpected(seen, {pattern for each in allowed for pattern in each})


def counted_once_more(daemon: Daemon, before: dict[str, int], outcome: str) -> bool:
    return daemon.counted().get(outcome, 0) > before.get(outcome, 0)


def require_outcome(daemon: Daemon, outcome: str, data: bytes, source: str) -> None:
    before = daemon.counted()
    assert ring(daemon.endpoint(), data, source) == b""
    until(partial(counted_once_more, daemon, before, outcome), outcome)


SIMPLE = {
    "accepted": (LINE, "127.0.0.2"),
    "denied_source": (LINE, "127.0.0.9"),
    "mismatch": (b"\xff\xfe\0garbage\r\n", "127.0.0.10"),
    "bad_terminator": (LINE[:-2] + b"\n", "127.0.0.11"),
    "trailing_data": (LINE + b"\x80", "127.0.0.12"),
    "truncated": (LINE[:3], "127.0.0.13"),
    "finger_query": (b"/W root\r\n", "127.0.0.14"),
    "empty": (b"", "127.0.0.15"),
    "unknown_account": (LINE, "127.0.0.16"),
}


def ring_in_every_way(daemon: Daemon) -> None:
    for outcome, (data, source) in SIMPLE.items():
        require_outcome(daemon, outcome, data, source)
    for _ in range(20):
        assert ring(daemon.endpoint(), LINE, "127.0.0.2") == b""
    assert ring(daemon.endpoint(host="127.0.5.1"), LINE) == b""
    assert ring(daemon.endpoint(host="::1"), LINE) == b""
    assert ring(daemon.endpoint(), LINE, "127.0.0.66") == b""  # the planted bug
    daemon.until_logged('event=failed where="tcp ')
    endpoint = daemon.endpoint()
    with sent(endpoint, LINE[:4], "127.0.0.20") as sock:
        until(lambda: daemon.status().connections == 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: "reset" in daemon.counted())
    with ExitStack() as stack:
        # Two places for each source, four in all. First the one that has waited longest loses
        # its place; the others end at the deadline.
        socks = [
            stack.enter_context(sent(endpoint, LINE[:1], f"127.0.0.{30 + number // 3}"))
            for number in range(9)
        ]
        for sock in socks:
            assert unread(sock) == b""
    # If the kernel filters, it drops sources that are not listed before the daemon sees them.
    never = {Outcome.UNLISTED_SOURCE}
    assert set(daemon.counted()) == {*map(str, Outcome)} - never


def send_in_every_way(daemon: Daemon) -> None:
    """The kernel passes only valid lines to the daemon."""
    sources = ("127.0.0.2", "127.0.0.9", "127.0.0.16", "127.0.0.66", "::1")
    for source in sources:
        host = "::1" if ":" in source else "127.0.0.1"
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, DGRAM) as sock:
            sock.bind((source, 0))
            for data in (b"garbage", LINE):
                sock.sendto(data, daemon.endpoint("udp", host))

    def rate_limited() -> bool:
        with socket.socket(socket.AF_INET, DGRAM) as sock:
            sock.bind(("127.0.0.2", 0))
            sock.sendto(LINE, daemon.endpoint("udp"))
        return "rate_limited" in daemon.counted("udp")

    until(rate_limited)
    outcomes = {"accepted", "denied_source", "unknown_account", "rate_limited"}
    until(lambda: set(daemon.counted("udp")) == outcomes)
    daemon.until_logged('event=failed where="udp ')


DGRAM = socket.SOCK_DGRAM


def use_the_local_socket(daemon: Daemon) -> None:
    with Local(daemon.path) as watcher:
        watcher.subscribe()
        with Local(daemon.path) as local:
            assert "status" in local.ask("GetStatus")
            assert "cursor" in local.ask("Notify", {"account": "called"})
            assert local.ask("Notify", {"account": "nobody"}) == f"{LISTENER}UnknownAccount"
            assert local.ask("Missing") == "org.varlink.service.MethodNotFound"
            assert local.ask("Subscribe") == "org.varlink.service.ExpectedMore"
            for name in ("org.mailbell.Listener", "org.example.None"):
                local.goes_on(
                    b'{"method":"org.varlink.service.GetInterfaceDescription",'
                    b'"parameters":{"interface":"' + name.encode() + b'"}}\0'
                )
                local.reply()
            local.goes_on(b'{"method":"org.varlink.service.GetInfo"}\0')
            assert local.reply()["product"] == "mailbelld"
        with Local(daemon.path) as local:
            local.call("Notify", {"account": "faulty"})  # the planted bug
            assert local.said_before_the_end() == b""
        assert watcher.reply()["notification"]["account"] == "called"
    for data, _ in WRONG.values():
        with Local(daemon.path) as bad:
            bad.goes_on(data)
            bad.said_before_the_end()
    crowd = [Local(daemon.path) for _ in range(120)]
    until(lambda: daemon.status().local["displaced"] > 0)
    for one in crowd:
        one.socket.close()
    counts = daemon.status().local
    assert min(counts[name] for name in ("garbage", "too_long", "bad_call", "failed")) > 0


def run_out_of_descriptors(daemon: Daemon) -> None:
    endpoint = daemon.endpoint()
    limit_descriptors(daemon, 3)
    with sent(endpoint, LINE, "127.0.0.40") as waiting:
        daemon.until_logged("event=accepting_paused")
        limit_descriptors(daemon, None)
        assert unread(waiting) == b""
    daemon.until_logged("event=accepting_resumed")


def test_nothing_is_imported_opened_or_started(tmp_path: Path) -> None:
    with audited(tmp_path, WATCHDOG_USEC="100000") as daemon:
        ring_in_every_way(daemon)
        send_in_every_way(daemon)
        use_the_local_socket(daemon)
        run_out_of_descriptors(daemon)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until_logged("event=reload_ignored")
        assert daemon.told() == b"WATCHDOG=1"
        assert daemon.stop() == 0
        assert reported(daemon, ALLOWED) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nor_when_it_is_told_to_stop_while_busy(tmp_path: Path, number: signal.Signals) -> None:
    with (
        audited(tmp_path) as daemon,
        Local(daemon.path) as watcher,
        sent(daemon.endpoint(), LINE[:1]),
    ):
        watcher.subscribe()
        until(lambda: daemon.status().connections == 1)
        daemon.process.send_signal(number)
        assert daemon.process.wait(PATIENCE) == 0
        assert reported(daemon, ALLOWED) == []


def test_nor_when_it_dies_of_a_bug_but_for_the_traceback(tmp_path: Path) -> None:
    with audited(tmp_path, bugs="fatal") as daemon:
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.process.wait(PATIENCE) == os.EX_SOFTWARE
        assert "this is a bug in mailbelld" in daemon.lines()[-1]
        assert "RuntimeError: a fatal planted bug" in "".join(daemon.lines())
        assert reported(daemon, ALLOWED, TRACEBACK) == []


def test_nor_when_it_is_out_of_memory_and_says_so(tmp_path: Path) -> None:
    with audited(tmp_path, bugs="memory") as daemon, Local(daemon.path) as watcher:
        watcher.subscribe()
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.process.wait(PATIENCE) == os.EX_OSERR
        assert daemon.lines()[-1].startswith("mailbelld: there is no more memory; raise LimitDATA")
        assert "Traceback" not in "".join(daemon.lines())
        assert reported(daemon, ALLOWED) == []

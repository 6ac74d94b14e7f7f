"""The start of mailbelld, step by step, and what its log says of it. Nothing is locked here."""

import os
import signal
import socket
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from harness.daemon import configuration as toml
from harness.in_process import locked, served
from harness.local_client import Client
from harness.sender import LINE
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.core.errors import OperatingSystemError
from mailbell.core.networks import Family
from mailbell.core.notification import Cursor, Transport
from mailbell.core.outcome import Outcome
from mailbell.listener import daemon as module
from mailbell.listener._hub import MANUAL
from mailbell.listener.configuration import Configuration, parse
from mailbell.listener.daemon import Daemon, run
from mailbell.listener.prepare import Prepared, prepare
from mailbell.logs.journal import Journal
from mailbell.serving import lifecycle

LIMITS = """
[limits]
rate = "7/s"
burst = 11
total_rate = "13/s"
connections = 17
connections_per_source = 3
sources = 64
[protocol]
terminators = ["crlf", "lf"]
deadline = "19s"
"""


@pytest.fixture
def configured(tmp_path: Path) -> Configuration:
    return parse(toml(tmp_path, tcp=["127.0.0.1:0"], udp=["127.0.0.1:0"], more=LIMITS).encode())


@pytest.fixture
def prepared(configured: Configuration) -> Iterator[Prepared]:
    found = prepare(configured, {})
    yield found
    for sock in (*found.sockets.tcp, *found.sockets.udp, found.sockets.local):
        sock.close()
    os.close(found.confinement.status_file)


@pytest.fixture
def lines() -> list[str]:
    return []


def daemon(configured: Configuration, prepared: Prepared, lines: list[str]) -> Daemon:
    journal = Journal(lines.append, lambda: 0.0, prefixed=True)
    return Daemon(configured, prepared, locked(prepared.confinement), journal)


async def test_each_part_gets_what_the_configuration_says(
    configured: Configuration, prepared: Prepared, lines: list[str]
) -> None:
    it = daemon(configured, prepared, lines)
    status = it.status()
    assert (status.connections_limit, status.subscribers_limit) == (17, 64)
    assert status.cursor.epoch == prepared.epoch
    tables = {table.name: table.capacity for table in status.tables}
    assert set(tables.values()) == {64}
    assert {name.partition("/")[0] for name in tables} == {"tcp", "udp"}
    (stream,) = it._stream_listeners()
    (datagram,) = it._datagram_listeners()
    assert stream._terminators == datagram._terminators == {"crlf", "lf"}
    assert stream._deadline == 19.0
    assert stream._socket is prepared.sockets.tcp[0]
    assert datagram._intake._socket is prepared.sockets.udp[0]
    assert stream._admission is datagram._admission is it._admission
    journals = (
        stream._journal, stream._waiting._switch._journal, datagram._intake._journal,
        it._local_server._journal, it._admission._journal,
    )  # fmt: skip
    assert all(journal is it._journal for journal in journals)
    gate = it._limiter.gate(Transport.TCP, stream._gate.family)
    assert stream._gate is gate
    visitor = gate.visitor(0xC0000219)
    assert [visitor.admit(0.0) for _ in range(14)] == [True] * 11 + [False] * 3


async def test_without_udp_it_has_no_tables_for_it(
    tmp_path: Path, prepared: Prepared, lines: list[str], configured: Configuration
) -> None:
    sockets = replace(prepared.sockets, udp=())
    it = daemon(configured, replace(prepared, sockets=sockets), lines)
    assert {table.name.partition("/")[0] for table in it.status().tables} == {"tcp"}
    assert it._datagram_listeners() == []


async def test_the_log_of_the_start(
    configured: Configuration, prepared: Prepared, lines: list[str]
) -> None:
    it = daemon(configured, prepared, lines)
    it._log_start()
    tcp, udp = (sock.getsockname()[1] for sock in (*prepared.sockets.tcp, *prepared.sockets.udp))
    assert lines[:2] == [
        f'<6>event=listening on="tcp 127.0.0.1:{tcp}"',
        f'<6>event=listening on="udp 127.0.0.1:{udp}"',
    ]
    assert lines[-1].startswith("<6>event=locked uid=1 gid=2 ")
    assert '<5>event=uncovered what="Landlock: chdir"' in lines


async def test_the_log_says_what_is_not_as_it_was_asked_for(
    configured: Configuration, prepared: Prepared, lines: list[str]
) -> None:
    sockets = replace(
        prepared.sockets, left_out=(("tcp [::]:79", "no IPv6"),), activated=True,
        unfiltered="too old", withheld="mail", descriptors_refused=True, early_descriptors=False,
    )  # fmt: skip
    prepared.notifier.unusable.append("NOTIFY_SOCKET=x: odd")
    it = daemon(configured, replace(prepared, sockets=sockets), lines)
    it._log_start()
    assert lines[2:-1] == [
        '<5>event=left_out on="tcp [::]:79" why="no IPv6"',
        '<6>event=activated ignored="listen.tcp, listen.udp"',
        "<5>event=socket_group_withheld group=mail",
        '<4>event=kernel_filter_missing why="too old"',
        '<4>event=service_manager_unusable what="NOTIFY_SOCKET=x: odd"',
        '<5>event=uncovered what="Landlock: chdir"',
    ]


@pytest.mark.parametrize(
    ("refused", "early", "said"),
    [
        (True, False, ()),
        (True, True, ("descriptors passed by local peers that connected before this start",)),
        (False, False, ("descriptors passed by local peers: closing one can take long",)),
        (False, True, ("descriptors passed by local peers: closing one can take long",)),
    ],
)
async def test_what_local_peers_may_pass_is_uncovered(
    configured: Configuration, prepared: Prepared, lines: list[str],
    refused: bool, early: bool, said: tuple[str, ...],
) -> None:  # fmt: skip
    sockets = replace(prepared.sockets, descriptors_refused=refused, early_descriptors=early)
    it = daemon(configured, replace(prepared, sockets=sockets), lines)
    assert it._uncovered() == ("Landlock: chdir", *said)


async def told(*numbers: signal.Signals) -> AsyncGenerator[signal.Signals, None]:
    for number in numbers:
        await wait_all_tasks_blocked()
        yield number


def _note(said: list[str], what: str) -> bool:
    said.append(what)
    return True


async def test_it_serves_until_it_is_told(
    configured: Configuration,
    prepared: Prepared,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    for name in ("ready", "stopping", "watchdog"):
        fake = staticmethod(partial(_note, said, name))
        monkeypatch.setattr(type(prepared.notifier), name, fake)
    prepared.notifier.watchdog_interval = 1000.0
    it = daemon(configured, prepared, lines)
    signals = told(signal.SIGHUP, signal.SIGTERM)
    with trio.fail_after(60):
        await it.serve(signals)
    await signals.aclose()
    assert sorted(said[:2]) == ["ready", "watchdog"]
    assert said[2:] == ["stopping"]
    assert lines[0].startswith("<6>event=listening ")
    assert lines[-1] == "<5>event=stopping signal=SIGTERM"


async def test_a_line_is_passed_on_and_what_follows_is_held_back_for_the_interval(
    configured: Configuration, prepared: Prepared, lines: list[str], autojump_clock: MockClock
) -> None:
    it = daemon(configured, prepared, lines)

    def wakeups() -> list[str]:
        return [line for line in lines if line.startswith("<6>event=notification ")]

    async def accepted(transport: Transport, count: int) -> None:
        while it._counters.outcomes[transport][Outcome.ACCEPTED] < count:
            await trio.sleep(0.001)

    async def visit() -> None:
        for done in range(1, 3):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(LINE, prepared.sockets.udp[0].getsockname())
                sender.sendto(LINE, prepared.sockets.udp[0].getsockname())
            await accepted(Transport.UDP, 2 * done)
            with socket.create_connection(prepared.sockets.tcp[0].getsockname()) as connection:
                connection.sendall(LINE)
                await accepted(Transport.TCP, done)
            assert len(wakeups()) == 2 * done - 1
            await trio.sleep(1.5 * configured.coalesce.interval)
            assert len(wakeups()) == it.status().wakeups == 2 * done
            await trio.sleep(10 * configured.coalesce.interval)

    await served(it.serve, visit, patience=60.0)
    known = "<6>event=notification account=default cause=network"
    assert wakeups()[:2] == [
        f"{known} count=1 transport=udp source=127.0.0.1",
        f"{known} count=2 transport=tcp source=127.0.0.1",
    ]


async def test_what_is_held_back_before_it_serves_is_passed_on_too(
    configured: Configuration, prepared: Prepared, lines: list[str], autojump_clock: MockClock
) -> None:
    it = daemon(configured, prepared, lines)
    for _ in range(2):
        it._hub.ring("default", MANUAL, trio.current_time(), lifecycle.boottime())
    await served(it.serve, lambda: trio.sleep(1.5 * configured.coalesce.interval))
    assert it.status().wakeups == 2


async def test_a_program_on_the_local_socket_rings_and_is_told_the_status(
    configured: Configuration, prepared: Prepared, lines: list[str]
) -> None:
    it = daemon(configured, prepared, lines)

    async def visit() -> None:
        client = await Client(Path(prepared.sockets.local.getsockname())).connect()
        call = {"method": "org.mailbell.Listener.Notify", "parameters": {"account": "default"}}
        rung = await client.ask(call)
        assert rung["parameters"]["cursor"]["epoch"] == prepared.epoch
        reply = await client.ask({"method": "org.mailbell.Listener.GetStatus"})
        client.socket.close()
        status = reply["parameters"]["status"]
        assert (status["pid"], status["wakeups"]) == (os.getpid(), 1)
        (account,) = status["accounts"]
        assert account["count"] == 1
        assert 0 <= account["age"] < 60_000_000

    await served(it.serve, visit)


async def test_a_service_manager_that_takes_no_message_is_logged(
    configured: Configuration,
    prepared: Prepared,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(prepared.notifier), "ready", lambda _: False)
    monkeypatch.setattr(type(prepared.notifier), "connected", True)
    await served(daemon(configured, prepared, lines).serve, trio.lowlevel.checkpoint)
    assert '<4>event=ready_untold why="NOTIFY_SOCKET takes no message"' in lines


async def test_the_log_says_when_the_places_of_tcp_run_out(
    configured: Configuration, prepared: Prepared, lines: list[str]
) -> None:
    (stream,) = daemon(configured, prepared, lines)._stream_listeners()
    stream._waiting._switch.off("full")
    assert lines == ["<4>event=waiting_paused on=tcp error=full"]


@pytest.mark.parametrize(("chance", "is_admitted"), [(0.0, True), (1.0, False)])
async def test_chance_decides_which_datagrams_over_the_limit_are_admitted(
    configured: Configuration, prepared: Prepared, lines: list[str],
    monkeypatch: pytest.MonkeyPatch, chance: float, is_admitted: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "random", lambda: chance)
    it = daemon(configured, prepared, lines)
    visitor = it._limiter.gate(Transport.UDP, Family.IPV4).visitor(0xC0000219)
    assert [visitor.admit(0.0) for _ in range(12)] == [True] * 11 + [is_admitted]


@pytest.mark.parametrize(("unmatched", "accounts"), [("none", ()), ("all", ("work",))])
async def test_the_configuration_says_who_is_told_of_a_source_that_is_of_no_account(
    tmp_path: Path, prepared: Prepared, lines: list[str], unmatched: str, accounts: tuple[str, ...]
) -> None:
    more = '[[account]]\nname = "work"\nsources = ["192.0.2.25"]\n'
    text = f'unmatched = "{unmatched}"\n' + toml(tmp_path, more=more)
    it = daemon(parse(text.encode()), prepared, lines)
    gate = it._limiter.gate(Transport.TCP, Family.IPV4)
    assert it._admission.meet(gate, 0xC0000219).accounts == ("work",)
    assert it._admission.meet(gate, 0xC000021A).accounts == accounts


def test_the_steps_of_the_start_come_in_their_order(
    configured: Configuration, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[Any, ...]] = []
    unprivileged = locked(prepared.confinement).unprivileged

    class Serving:
        def __init__(self, *given: object) -> None:
            steps.append(("daemon", *given))

        async def serve(self, queue: object) -> None:
            steps.append(("serve", queue))

    def answers(name: str, answer: object) -> Any:
        def note(*given: object) -> object:
            steps.append((name, *given))
            return answer

        return note

    proof = locked(prepared.confinement)
    monkeypatch.setattr(module, "clear_inherited", answers("clear", None))
    monkeypatch.setattr(lifecycle, "make_journal", answers("journal", "log"))
    monkeypatch.setattr(module, "prepare", answers("prepare", prepared))
    monkeypatch.setattr(module, "drop_privileges", answers("drop", unprivileged))
    monkeypatch.setattr(lifecycle, "signal_queue", answers("signals", "queue"))
    monkeypatch.setattr(module, "lock", answers("lock", proof))
    monkeypatch.setattr(module, "Daemon", Serving)
    monkeypatch.setattr(lifecycle, "ignore_signals", answers("ignore", None))
    run(configured)
    assert steps == [
        ("clear",),
        ("journal",),
        ("prepare", configured, os.environ),
        ("drop", prepared.confinement),
        ("signals",),
        ("lock", unprivileged),
        ("daemon", configured, prepared, proof, "log"),
        ("serve", "queue"),
        ("ignore",),
    ]


@pytest.mark.parametrize("part", [(trio, "run"), (lifecycle, "signal_queue")])
def test_an_event_loop_that_does_not_start_names_the_step(
    configured: Configuration, monkeypatch: pytest.MonkeyPatch, part: tuple[object, str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "too many")

    for name in ("clear_inherited", "prepare", "drop_privileges"):
        monkeypatch.setattr(module, name, lambda *_: type("", (), {"confinement": None}))
    monkeypatch.setattr(*part, fail)
    with pytest.raises(OperatingSystemError, match=r"cannot start \(start event loop\): too many"):
        run(configured)


async def test_the_resync_of_a_new_subscriber_has_the_time_of_the_start(
    configured: Configuration, prepared: Prepared, lines: list[str]
) -> None:
    it = daemon(configured, prepared, lines)
    resync = it._hub.subscribe(None, Cursor("another run", 1), lambda: None).take()
    assert resync is not None
    assert abs(resync.time - it._clock.time_of(it._clock.now())) < 60_000_000


async def test_a_listed_source_is_named_also_behind_the_own_translator(
    tmp_path: Path, lines: list[str], prepared: Prepared
) -> None:
    more = '[sources]\nnat64 = ["2001:db8:64::/96"]\n'
    more += '[[account]]\nname = "work"\nsources = ["192.0.2.25"]\n'
    configured = parse(toml(tmp_path, more=more).encode())
    it = daemon(configured, prepared, lines)
    gate = it._limiter.gate(Transport.TCP, Family.IPV6)
    behind = 0x20010DB8_00640000 << 64 | 0xC0000219
    assert gate.names(behind)
    assert not gate.names(behind + 1)
    assert it._admission.meet(gate, behind).accounts == ("work",)

"""The start of mailbelld, step by step, and what its log says of it. Nothing is locked here."""

import os
import signal
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from harness.daemon import configuration as toml
from trio.testing import wait_all_tasks_blocked

from mailbell._sys.landlock import Landlock
from mailbell._sys.proof import ProcessStatus
from mailbell.core.errors import OperatingSystemError
from mailbell.core.networks import Family
from mailbell.core.notification import Cursor, Transport
from mailbell.listener import daemon as module
from mailbell.listener.configuration import Configuration, parse
from mailbell.listener.daemon import Daemon, run
from mailbell.listener.prepare import Prepared, prepare
from mailbell.logs.journal import Journal
from mailbell.sandbox.lock import Locked, Unprivileged
from mailbell.serving import lifecycle

STATUS = ProcessStatus((1,) * 4, (2,) * 4, (), 0, 0, 0, 0, 0, True, 2, 1, 0)
LANDLOCK = Landlock(9, 6, 1, 2, 3, 4, ("chdir",))
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


def locked(prepared: Prepared) -> Locked:
    unprivileged = Unprivileged(prepared.confinement, LANDLOCK, writable_executable_denied=True)
    return Locked(unprivileged, prepared.confinement.policy, STATUS)


def daemon(configured: Configuration, prepared: Prepared, lines: list[str]) -> Daemon:
    journal = Journal(lines.append, lambda: 0.0, prefixed=True)
    return Daemon(configured, prepared, locked(prepared), journal)


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
    assert lines[-1] == "<5>event=stopping signal=SIGTERM"


def test_the_steps_of_the_start_come_in_their_order(
    configured: Configuration, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[Any, ...]] = []
    unprivileged = locked(prepared).unprivileged

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

    proof = locked(prepared)
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


def test_an_event_loop_that_does_not_start_names_the_step(
    configured: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "too many")

    for name in ("clear_inherited", "prepare", "drop_privileges"):
        monkeypatch.setattr(module, name, lambda *_: type("", (), {"confinement": None}))
    monkeypatch.setattr(trio, "run", fail)
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

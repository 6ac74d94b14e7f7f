"""The start of mailbell-sender, and its end, in this process. Nothing is locked here."""

import os
import signal
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from harness.in_process import locked, served
from harness.local_client import Client
from harness.sender import LINE
from sender.support_start import NAMED, Beside, configured, opened
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.cluster import messages
from mailbell.core.errors import OperatingSystemError
from mailbell.core.networks import Address, Network
from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.interfaces.local_event import LocalEvent
from mailbell.logs.journal import Journal
from mailbell.sender import daemon as module
from mailbell.sender._address_rules import Refusal
from mailbell.sender._cluster_client import PATIENCE
from mailbell.sender._local_service import WATCHERS
from mailbell.sender._reception import Reception
from mailbell.sender._store import Store
from mailbell.sender.configuration import Configuration
from mailbell.sender.daemon import PORTION, RETRY, Daemon, run
from mailbell.sender.prepare import Prepared, steady
from mailbell.serving import lifecycle

MORE = """
rate = "13/s"
connections = 17
deadline = "19s"
[last_used]
ttl = "{ttl}"
allow = ["198.51.100.0/24"]
deny = ["198.51.100.8/29"]
[quiet]
folders = ["Bulk"]
"""


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Beside]:
    made = Beside(monkeypatch)
    yield made
    for pair in made.pairs.values():
        pair.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], bool]]:
    """With what the store was closed, in order or not."""
    found: list[tuple[list[str], bool]] = []
    original = Store.close

    def close(store: Store, pending: Any = (), *, finished: bool = True) -> None:
        if store._connection is not None:
            found.append((list(pending), finished))
        original(store, found[-1][0], finished=finished)

    monkeypatch.setattr(Store, "close", close)
    return found


def prepared_for(stack: ExitStack, configuration: Configuration) -> Prepared:
    prepared = stack.enter_context(opened(configuration))
    prepared.keeper.open()
    return prepared


def daemon(configuration: Configuration, prepared: Prepared, lines: list[str]) -> Daemon:
    journal = Journal(lines.append, lambda: 0.0, prefixed=True)
    return Daemon(configuration, prepared, locked(prepared.confinement), journal)


class Ear:
    """A target that takes connections."""

    def __init__(self, stack: ExitStack) -> None:
        self.sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]

    def account(self, name: str = "anna") -> str:
        return f'[[account]]\nname = "{name}"\ntargets = ["127.0.0.1:{self.port}"]\n'

    async def line(self) -> bytes:
        """Return what the next connection says until its end."""
        await trio.lowlevel.wait_readable(self.sock)
        connection, _ = self.sock.accept()
        with connection:
            connection.setblocking(False)
            said = b""
            while True:
                await trio.lowlevel.wait_readable(connection)
                chunk = connection.recv(64)
                if not chunk:
                    return said
                said += chunk


@pytest.fixture
def ear(stack: ExitStack) -> Ear:
    return Ear(stack)


def say(path: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as hook:
        hook.connect(str(path / "hook"))
        hook.sendall(line)


# --- the parts ---------------------------------------------------------------------------


@pytest.mark.parametrize(("ttl", "horizon"), [("2m", 600.0), ("1h", 3600.0)])
async def test_each_part_gets_what_the_configuration_says(
    open_path: Path, stack: ExitStack, lines: list[str], ttl: str, horizon: float
) -> None:
    configuration = configured(open_path, MORE.format(ttl=ttl))
    prepared = prepared_for(stack, configuration)
    prepared = replace(prepared, users={7: "u"}, trusted=frozenset({7}))
    it = daemon(configuration, prepared, lines)
    schedule, dialer, bell, reception = it._schedule, it._dialer, it._bell, it._reception
    assert schedule._interval._delay == 0.01
    for backoff in schedule._backoffs:
        assert (backoff._queues[0]._delay, backoff._queues[-1]._delay) == (30.0, 600.0)
    assert schedule._pace._increment == 1 / 13
    assert (schedule._places._all, schedule._places._deadline) == (17, 19.0)
    assert schedule._horizon == horizon
    assert (schedule._on_ring, schedule._on_due) == (it._on_ring, it._wake_dialer)
    assert schedule._steady is bell._steady is steady
    assert schedule._secret == prepared.secret
    assert dialer._schedule is bell._schedule is schedule
    assert dialer._epoll is prepared.epoll
    assert dialer._most_extra == 17 // 4
    assert dialer._rules is bell._rules
    assert bell._book is prepared.keeper.book
    assert bell._note == prepared.keeper.store.note
    assert bell._on_ring == it._on_ring
    assert reception._bell is it._ringer is bell
    assert reception._accounts is reception._speakers._accounts is it._accounts
    assert reception._counters is it._counters
    assert reception._speakers._users == {7: "u"}
    assert reception._speakers._trusted == {7}
    assert [reception._quiet.contains(name) for name in ("Bulk", "Junk")] == [True, False]
    (hook,) = it._hooks
    assert hook._reception is reception
    assert all(part._journal is it._journal for part in (dialer, reception, hook, it._control))


@pytest.mark.parametrize(
    ("address", "refusal"),
    [
        ("198.51.100.7", None),
        ("198.51.100.9", Refusal.DENIED),
        ("203.0.113.7", Refusal.NOT_ALLOWED),
    ],
)
async def test_which_addresses_are_called_is_what_the_configuration_says(
    open_path: Path, stack: ExitStack, lines: list[str], address: str, refusal: Refusal | None
) -> None:
    configuration = configured(open_path, MORE.format(ttl="2m"))
    it = daemon(configuration, prepared_for(stack, configuration), lines)
    assert it._bell._rules.refusal(Address.parse(address)) is refusal


async def test_what_is_local_to_this_host_is_not_called(
    open_path: Path, stack: ExitStack, lines: list[str]
) -> None:
    configuration = configured(open_path)
    prepared = prepared_for(stack, configuration)
    prepared = replace(prepared, own=(Network.parse("203.0.113.7/32"),))
    it = daemon(configuration, prepared, lines)
    assert it._bell._rules.refusal(Address.parse("203.0.113.7")) is Refusal.OWN
    assert it._bell._rules.refusal(Address.parse("203.0.113.8")) is None


@pytest.mark.parametrize(("hooks", "places"), [(1, 256), (2, 128), (3, 85)])
async def test_the_sockets_for_hooks_share_the_places(
    open_path: Path, stack: ExitStack, lines: list[str], hooks: int, places: int
) -> None:
    configuration = configured(open_path)
    prepared = prepared_for(stack, configuration)
    sockets = replace(prepared.sockets, hooks=prepared.sockets.hooks * hooks)
    it = daemon(configuration, replace(prepared, sockets=sockets), lines)
    assert [hook._most for hook in it._hooks] == [places] * hooks


async def test_the_status_has_what_each_part_says(
    open_path: Path, stack: ExitStack, lines: list[str]
) -> None:
    configuration = configured(open_path, MORE.format(ttl="2m"))
    it = daemon(configuration, prepared_for(stack, configuration), lines)
    status = it.status()
    assert abs(status.started - lifecycle.wall_clock()) < 60_000_000
    assert 0 <= status.uptime < 60_000_000
    assert status.listening == (f"hook {open_path}/hook", f"control {open_path}/control")
    assert (status.watchers, status.watchers_limit) == (0, WATCHERS)
    assert status.sandbox.uid == 1
    assert status.store.failing is None
    assert (status.names, status.cluster, status.companions) == ({}, None, {})


async def test_in_a_cluster_all_is_shared(
    open_path: Path, stack: ExitStack, lines: list[str], beside: Beside
) -> None:
    configuration = configured(open_path, 'rate = "13/s"', in_cluster=True)
    prepared = prepared_for(stack, configuration)
    it = daemon(configuration, prepared, lines)
    client, shared = it._cluster, it._shared
    assert client is not None
    assert shared is not None
    assert client._heard is shared
    assert (client.node, client._rate) == ("mx1", 13.0)
    assert client._companion is prepared.cluster
    assert client._switch._where == "redis://127.0.0.1"
    assert client._journal is it._journal
    assert it._reception._bell is it._ringer is shared
    assert shared._bell is it._bell
    assert shared._book is prepared.keeper.book
    assert shared._accounts is it._accounts
    assert shared._schedule is it._schedule
    assert shared._rules is it._bell._rules
    assert shared._sharer is client
    assert shared._steady is steady
    assert shared._on_ring == it._on_ring
    assert list(beside.pairs) == ["cluster"]


@pytest.mark.parametrize("was_clean", [True, False])
async def test_what_the_engine_has_yet_to_learn(
    open_path: Path,
    stack: ExitStack,
    lines: list[str],
    autojump_clock: MockClock,
    was_clean: bool,
) -> None:
    configuration = configured(open_path, NAMED, in_cluster=True)
    prepared = prepared_for(stack, configuration)
    prepared.keeper.store.was_clean = was_clean
    prepared.keeper.book.see("anna", Address.parse("192.0.2.7"), steady())
    autojump_clock.jump(7.0)
    it = daemon(configuration, prepared, lines)
    assert it._shared is not None
    backlog = it._shared.backlog
    assert [login.account for login in backlog._known()] == ["anna"]
    assert backlog._away == trio.current_time() == 7.0
    assert backlog.is_late(7.0) is not was_clean


# --- what it does ------------------------------------------------------------------------


async def test_whoever_may_speak_is_heard(
    open_path: Path, stack: ExitStack, lines: list[str], beside: Beside, ear: Ear
) -> None:
    listen = f'comsat = ["127.0.0.1:0"]\ncyrus = "{open_path}/cyrus"'
    configuration = configured(open_path, ear.account(), listen=listen)
    prepared = prepared_for(stack, configuration)
    it = daemon(configuration, prepared, lines)
    uri = "imap://vm/user.anna;UIDVALIDITY=1"
    event = f'{{"event":"MessageNew","user":"anna","uri":"{uri}"}}'.encode()

    async def visit() -> None:
        say(open_path, b"new anna\n")
        assert await ear.line() == LINE
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as biff:
            biff.sendto(b"anna@0", prepared.sockets.comsat[0].getsockname())
        assert await ear.line() == LINE
        beside.pairs["cyrus"].send(b"mailbell\0EVENT\0\0\0\x000\0" + event + b"\0")
        assert await ear.line() == LINE
        client = await Client(open_path / "control").connect()
        assert "error" not in await client.ask(call("Ring", account="anna"))
        assert await ear.line() == LINE
        client.socket.close()
        beside.pairs["cyrus"].shutdown(socket.SHUT_WR)

    await served(it.serve, visit)
    assert it._counters.inputs[InputOutcome.ACCEPTED] == 4
    assert it._counters.rings[RingOutcome.SENT] >= 3


async def test_a_bug_that_a_datagram_meets_is_logged(
    open_path: Path, stack: ExitStack, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = configured(open_path, listen='comsat = ["127.0.0.1:0"]')
    prepared = prepared_for(stack, configuration)
    it = daemon(configuration, prepared, lines)
    host, port = prepared.sockets.comsat[0].getsockname()
    line = f'<3>event=failed where="comsat {host}:{port}" error=ZeroDivisionError()'

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async def visit() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as biff:
            biff.sendto(b"anna@0", (host, port))
        while line not in lines:
            await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Reception, "take", fail)
    await served(it.serve, visit)


def call(method: str, **parameters: object) -> dict[str, object]:
    return {"method": f"org.mailbell.Sender.{method}", "parameters": parameters}


async def test_programs_are_answered_on_the_control_socket(
    open_path: Path, stack: ExitStack, lines: list[str], ear: Ear
) -> None:
    configuration = configured(open_path, ear.account())
    it = daemon(configuration, prepared_for(stack, configuration), lines)

    async def visit() -> None:
        client = await Client(open_path / "control").connect()
        status = (await client.ask(call("GetStatus")))["parameters"]["status"]
        assert (status["pid"], status["accounts_listed"]) == (os.getpid(), 1)
        explained = (await client.ask(call("Explain", account="anna")))["parameters"]
        assert [step["verdict"] for step in explained["steps"]] == ["ring"]
        watching = await Client(open_path / "control").connect()
        await watching.ask({**call("Watch"), "more": True})
        assert it.status().watchers == 1
        await client.ask(call("Ring", account="anna"))
        rung = (await watching.reply())["parameters"]["ring"]
        assert (rung["account"], rung["outcome"]) == ("anna", "sent")
        client.socket.close()
        watching.socket.close()

    await served(it.serve, visit)
    assert it._counters.local[LocalEvent.CONNECTED] == 2
    assert any(line.startswith("<6>event=watching pid=") for line in lines)


async def test_names_are_looked_up_by_the_resolver(
    open_path: Path, stack: ExitStack, lines: list[str], beside: Beside
) -> None:
    configuration = configured(open_path, NAMED)
    prepared = prepared_for(stack, configuration)
    it = daemon(configuration, prepared, lines)
    assert it.status().companions == {"resolver": 1}

    async def visit() -> None:
        say(open_path, b"new anna\n")
        await trio.lowlevel.wait_readable(beside.pairs["resolver"])
        assert beside.pairs["resolver"].recv(100) == b"laptop.example.net"
        beside.pairs["resolver"].close()
        await wait_all_tasks_blocked()
        assert it.status().companions == {}

    await served(it.serve, visit)
    assert any(line.startswith("<3>event=companion_ended ") for line in lines)


async def test_a_companion_for_the_cluster_that_has_ended_is_not_named(
    open_path: Path, stack: ExitStack, lines: list[str], beside: Beside
) -> None:
    listen = f'cyrus = "{open_path}/cyrus"'
    configuration = configured(open_path, NAMED, listen=listen, in_cluster=True)
    it = daemon(configuration, prepared_for(stack, configuration), lines)
    assert it._companions() == {"resolver": 1, "cyrus": 2, "cluster": 3}
    assert it._cluster is not None
    it._cluster.is_gone = True
    assert it._companions() == {"resolver": 1, "cyrus": 2}
    assert it._names is not None
    it._names.is_gone = True
    assert it._companions() == {"cyrus": 2}


# --- its start ---------------------------------------------------------------------------


async def test_what_the_last_run_left_is_loaded_and_rung(
    open_path: Path, stack: ExitStack, lines: list[str], ear: Ear
) -> None:
    configuration = configured(open_path, ear.account())
    with opened(configuration) as before:
        before.keeper.open()
        before.keeper.book.see("zoe", Address.parse("192.0.2.7"), steady())
        before.keeper.store.note("zoe", Address.parse("192.0.2.7"))
        before.keeper.store.close(["anna"])
    owner = os.stat(open_path / "book")
    os.chown(open_path / "book" / "state.db", owner.st_uid, owner.st_gid)
    it = daemon(configuration, prepared_for(stack, configuration), lines)

    async def visit() -> None:
        assert await ear.line() == LINE
        assert it.status().book.addresses == 1

    await served(it.serve, visit)
    assert '<5>event=resumed accounts=1 why="rings that waited"' in lines


async def test_the_store_is_tried_again_now_and_then(
    open_path: Path,
    stack: ExitStack,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    tried: list[float] = []
    configuration = configured(open_path)
    it = daemon(configuration, prepared_for(stack, configuration), lines)
    monkeypatch.setattr(it._store, "retry", lambda: tried.append(trio.current_time()))
    await served(it.serve, partial(trio.sleep, 2.5 * RETRY), patience=60.0)
    assert tried[:2] == [RETRY, 2 * RETRY]


class Manager:
    """Notes what the service manager is told, and when."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, prepared: Prepared) -> None:
        self.told: list[tuple[str, float]] = []
        for name in ("ready", "stopping", "watchdog"):
            monkeypatch.setattr(prepared.notifier, name, partial(self._note, name), raising=True)
        prepared.notifier.watchdog_interval = 1000.0

    def _note(self, what: str) -> bool:
        self.told.append((what, trio.current_time()))
        return True


async def signals(*numbers: signal.Signals) -> AsyncGenerator[signal.Signals, None]:
    for number in numbers:
        await wait_all_tasks_blocked()
        yield number


async def test_it_serves_until_it_is_told(
    open_path: Path, stack: ExitStack, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = configured(open_path)
    prepared = prepared_for(stack, configuration)
    manager = Manager(monkeypatch, prepared)
    it = daemon(configuration, prepared, lines)
    told = signals(signal.SIGHUP, signal.SIGTERM)
    with trio.fail_after(60):
        await it.serve(told)
    await told.aclose()
    said = [what for what, _ in manager.told]
    assert sorted(said[:2]) == ["ready", "watchdog"]
    assert said[2:] == ["stopping"]
    assert lines[0].startswith("<6>event=listening ")
    assert lines[-2].startswith("<5>event=reload_ignored ")
    assert lines[-1] == "<5>event=stopping signal=SIGTERM"


async def test_a_service_manager_that_takes_no_message_is_logged(
    open_path: Path, stack: ExitStack, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = configured(open_path)
    prepared = prepared_for(stack, configuration)
    monkeypatch.setattr(type(prepared.notifier), "ready", lambda _: False)
    monkeypatch.setattr(type(prepared.notifier), "connected", True)
    await served(daemon(configuration, prepared, lines).serve, trio.lowlevel.checkpoint)
    assert '<4>event=ready_untold why="NOTIFY_SOCKET takes no message"' in lines


@pytest.mark.parametrize(("state", "waits"), [(None, 0.0), ("no engine", PATIENCE)])
async def test_it_begins_with_the_cluster_or_after_a_while_without(
    open_path: Path,
    stack: ExitStack,
    lines: list[str],
    beside: Beside,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    state: str | None,
    waits: float,
) -> None:
    configuration = configured(open_path, in_cluster=True)
    prepared = prepared_for(stack, configuration)
    manager = Manager(monkeypatch, prepared)
    it = daemon(configuration, prepared, lines)
    beside.pairs["cluster"].send(messages.encode(messages.State(state)))
    await served(it.serve, trio.lowlevel.checkpoint)
    assert ("ready", waits) in manager.told


async def test_the_log_of_the_start(
    open_path: Path, stack: ExitStack, lines: list[str], beside: Beside
) -> None:
    listen = f'comsat = ["127.0.0.1:0"]\ncyrus = "{open_path}/cyrus"'
    configuration = configured(open_path, NAMED, listen=listen)
    prepared = prepared_for(stack, configuration)
    daemon(configuration, prepared, lines)._log_start()
    port = prepared.sockets.comsat[0].getsockname()[1]
    assert lines[:4] == [
        f'<6>event=listening on="hook {open_path}/hook"',
        f'<6>event=listening on="control {open_path}/control"',
        f'<6>event=listening on="comsat 127.0.0.1:{port}"',
        f'<6>event=listening on="cyrus {open_path}/cyrus"',
    ]
    assert '<5>event=uncovered what="Landlock: chdir"' in lines
    assert lines[-3:-1] == [
        "<6>event=companion program=resolver pid=1",
        "<6>event=companion program=cyrus pid=2",
    ]
    assert lines[-1].startswith("<6>event=locked uid=1 gid=2 ")


async def test_the_log_says_what_is_not_as_it_was_asked_for(
    open_path: Path, stack: ExitStack, lines: list[str]
) -> None:
    configuration = configured(open_path)
    prepared = prepared_for(stack, configuration)
    sockets = replace(
        prepared.sockets, activated=("control", "hook"), withheld="mail",
        descriptors_refused=True, early_descriptors=False,
    )  # fmt: skip
    prepared.notifier.unusable.append("NOTIFY_SOCKET=x: odd")
    prepared = replace(prepared, sockets=sockets, missing=("vmail",))
    daemon(configuration, prepared, lines)._log_start()
    assert lines[2:-1] == [
        '<6>event=activated sockets="control, hook"',
        "<5>event=socket_group_withheld group=mail",
        "<4>event=no_such_user name=vmail key=listen.trusted",
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
    open_path: Path, stack: ExitStack, lines: list[str],
    refused: bool, early: bool, said: tuple[str, ...],
) -> None:  # fmt: skip
    configuration = configured(open_path)
    prepared = prepared_for(stack, configuration)
    sockets = replace(prepared.sockets, descriptors_refused=refused, early_descriptors=early)
    it = daemon(configuration, replace(prepared, sockets=sockets), lines)
    assert it._uncovered() == ("Landlock: chdir", *said)


def test_the_steps_of_the_start_come_in_their_order(
    open_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = configured(open_path)
    prepared = prepared_for(stack, configuration)
    proof = locked(prepared.confinement)
    steps: list[tuple[Any, ...]] = []

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

    monkeypatch.setattr(module, "clear_inherited", answers("clear", None))
    monkeypatch.setattr(lifecycle, "make_journal", answers("journal", "log"))
    monkeypatch.setattr(module, "prepare", answers("prepare", prepared))
    monkeypatch.setattr(module, "drop_privileges", answers("drop", proof.unprivileged))
    monkeypatch.setattr(lifecycle, "signal_queue", answers("signals", "queue"))
    monkeypatch.setattr(module, "lock", answers("lock", proof))
    monkeypatch.setattr(module, "Daemon", Serving)
    monkeypatch.setattr(lifecycle, "ignore_signals", answers("ignore", None))
    run(configuration)
    assert steps == [
        ("clear",),
        ("journal",),
        ("prepare", configuration, os.environ, "log"),
        ("drop", prepared.confinement),
        ("signals",),
        ("lock", proof.unprivileged),
        ("daemon", configuration, prepared, proof, "log"),
        ("serve", "queue"),
        ("ignore",),
    ]


@pytest.mark.parametrize("part", [(trio, "run"), (lifecycle, "signal_queue")])
def test_an_event_loop_that_does_not_start_names_the_step(
    open_path: Path, monkeypatch: pytest.MonkeyPatch, part: tuple[object, str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "too many")

    configuration = configured(open_path)
    for name in ("clear_inherited", "prepare", "drop_privileges"):
        monkeypatch.setattr(module, name, lambda *_: type("", (), {"confinement": None}))
    monkeypatch.setattr(*part, fail)
    with pytest.raises(OperatingSystemError, match=r"cannot start \(start event loop\): too many"):
        run(configuration)


# --- its end -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activated", "waiting"), [((), ["anna"]), (("control",), ["anna"]), (("control", "hook"), [])]
)
async def test_what_waits_in_a_queue_that_ends_too_is_kept_for_the_next_run(
    open_path: Path,
    stack: ExitStack,
    lines: list[str],
    ear: Ear,
    closed: list[tuple[list[str], bool]],
    activated: tuple[str, ...],
    waiting: list[str],
) -> None:
    configuration = configured(open_path, ear.account())
    prepared = prepared_for(stack, configuration)
    sockets = replace(prepared.sockets, activated=activated)
    it = daemon(configuration, replace(prepared, sockets=sockets), lines)

    async def visit() -> None:
        say(open_path, b"new anna\n")

    await served(it.serve, visit)
    assert closed == [(waiting, True)]


@pytest.mark.parametrize("has_all", [True, False])
async def test_a_reader_of_cyrus_that_is_lost_leaves_the_run_unfinished(
    open_path: Path,
    stack: ExitStack,
    lines: list[str],
    beside: Beside,
    closed: list[tuple[list[str], bool]],
    has_all: bool,
) -> None:
    configuration = configured(open_path, listen=f'cyrus = "{open_path}/cyrus"')
    it = daemon(configuration, prepared_for(stack, configuration), lines)

    async def visit() -> None:
        cyrus = beside.pairs["cyrus"]
        cyrus.shutdown(socket.SHUT_WR) if has_all else cyrus.close()

    await served(it.serve, visit)
    assert closed == [([], has_all)]


async def test_without_the_reader_of_cyrus_the_sender_ends_too(
    open_path: Path,
    stack: ExitStack,
    lines: list[str],
    beside: Beside,
    closed: list[tuple[list[str], bool]],
) -> None:
    configuration = configured(open_path, listen=f'cyrus = "{open_path}/cyrus"')
    it = daemon(configuration, prepared_for(stack, configuration), lines)

    async def visit() -> None:
        beside.pairs["cyrus"].close()
        await trio.sleep_forever()

    with pytest.raises(OperatingSystemError, match="reads Cyrus's socket has ended"):
        await served(it.serve, visit)
    assert closed == [([], False)]


@pytest.mark.parametrize("is_waited_for", [True, False])
async def test_a_run_that_has_not_rung_everybody_is_unfinished(
    open_path: Path,
    stack: ExitStack,
    lines: list[str],
    ear: Ear,
    autojump_clock: MockClock,
    closed: list[tuple[list[str], bool]],
    is_waited_for: bool,
) -> None:
    accounts = "".join(ear.account(f"user{number}") for number in range(PORTION + 1))
    configuration = configured(open_path, accounts)
    prepared = prepared_for(stack, configuration)
    prepared.keeper.store.was_clean = False
    it = daemon(configuration, prepared, lines)

    async def visit() -> None:
        await trio.sleep(1.0 if is_waited_for else 0.0)

    await served(it.serve, visit)
    assert [finished for _, finished in closed] == [is_waited_for]
    resumed = f'<5>event=resumed accounts={PORTION + 1} why="the last run did not end"'
    assert (resumed in lines) is is_waited_for


class Engine:
    """Stands in for the companion at the end: it has all that the sender says."""

    def __init__(self, pair: socket.socket) -> None:
        self.pair = pair
        self.heard: list[object] = []

    async def serve(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.pair)
            data = self.pair.recv(messages.MAX_MESSAGE)
            if not data:
                return
            message = messages.decode_from_sender(data)
            self.heard.append(message)
            if isinstance(message, messages.Retire):
                self.say(messages.Retired())
            elif isinstance(message, messages.Ring):
                self.say(messages.Answered((message.number,)))
            elif isinstance(message, messages.Leave):
                self.say(messages.Left())

    def say(self, message: messages.FromCompanion) -> None:
        self.pair.send(messages.encode(message))


@pytest.mark.parametrize("is_sweeping", [True, False])
async def test_the_cluster_rings_who_waits_at_the_end_unless_everybody_is_being_rung(
    open_path: Path,
    stack: ExitStack,
    lines: list[str],
    beside: Beside,
    ear: Ear,
    closed: list[tuple[list[str], bool]],
    is_sweeping: bool,
) -> None:
    configuration = configured(open_path, ear.account(), in_cluster=True)
    it = daemon(configuration, prepared_for(stack, configuration), lines)
    engine = Engine(beside.pairs["cluster"])
    engine.say(messages.State(None, is_sweeping=is_sweeping))

    async def visit() -> None:
        engine.heard.clear()
        say(open_path, b"new anna\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.serve)
        await served(it.serve, visit)
        nursery.cancel_scope.cancel()
    if is_sweeping:
        assert closed == [(["anna"], False)]
        assert engine.heard == []
    else:
        assert closed == [([], True)]
        retire, ring, leave = engine.heard
        assert (retire, leave) == (messages.Retire(), messages.Leave())
        assert isinstance(ring, messages.Ring)
        assert ring.account == "anna"

"""A second daemon gets a local socket in a few lines, with its own interface and handlers.

tests/listener/test_local_service.py tries clients that misbehave, with the same server.
"""

import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from harness.without_memory import WithoutMemory
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell._sys.sockets import PeerCredentials
from mailbell.interfaces.local_event import LocalEvent
from mailbell.logs.journal import Journal
from mailbell.serving import varlink_server
from mailbell.serving.varlink_server import USER_RATE, Handlers, VarlinkServer
from mailbell.varlink import Interface, Method, Service, ServiceError


class Add(msgspec.Struct, frozen=True):
    number: int


class Sum(msgspec.Struct, frozen=True):
    sum: int


class Watch(msgspec.Struct, frozen=True):
    pass


class Forgotten(msgspec.Struct, frozen=True):
    pass


SUMS = Interface(
    "org.example.Sums",
    "interface org.example.Sums\n",
    {"Add": Method(Add), "Watch": Method(Watch, more=True), "Forgotten": Method(Forgotten)},
)


class Daemon:
    """Adds up the numbers that it gets, and sends the sum to its watchers."""

    def __init__(self) -> None:
        self.sum = 0
        self.events: list[LocalEvent] = []
        self.lines: list[str] = []
        self.watching: list[Watching] = []

    def add(self, request: Add, _: PeerCredentials) -> Sum:
        if request.number < 0:
            raise ServiceError("org.example.Sums.Negative", {"number": request.number})
        self.sum += request.number
        for each in self.watching:
            each.wake()
        return Sum(self.sum)

    def watch(self, _: Watch, __: PeerCredentials, wake: Callable[[], None]) -> "Watching":
        self.watching.append(Watching(self, wake))
        return self.watching[-1]

    def serve(self, listening: socket.socket) -> VarlinkServer:
        self.server = VarlinkServer(
            listening,
            Service(vendor="v", product="sums", version="1", url="u", interfaces=(SUMS,)),
            Handlers(replies={Add: self.add}, streams={Watch: self.watch}),
            count=self.events.append,
            journal=Journal(self.lines.append, lambda: 0.0),
            connections=4,
            too_fast=ServiceError("org.example.Sums.TooFast", {}),
        )
        return self.server


class Watching:
    def __init__(self, daemon: Daemon, wake: Callable[[], None]) -> None:
        self.daemon, self.wake, self.told = daemon, wake, -1

    @property
    def waiting(self) -> bool:
        return self.told != self.daemon.sum

    def next_reply(self) -> Sum:
        self.told = self.daemon.sum
        return Sum(self.told)

    def close(self) -> None:
        self.daemon.watching.remove(self)


class Caller:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream, self.buffer = stream, b""

    async def call(self, method: str, *, more: bool = False, **parameters: int) -> Any:
        message = {"method": f"org.example.Sums.{method}", "parameters": parameters, "more": more}
        # A server that refuses a connection answers before it gets the call.
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(json.dumps(message).encode() + b"\0")
        return await self.reply()

    async def reply(self) -> Any:
        while b"\0" not in self.buffer:
            chunk = await self.stream.receive_some()
            if not chunk:
                return None
            self.buffer += chunk
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)


Body = Callable[[Daemon, Callable[[], Awaitable[Caller]]], Awaitable[None]]


async def run(path: Path, body: Body) -> Daemon:
    daemon = Daemon()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)

        callers: list[Caller] = []

        async def connect() -> Caller:
            callers.append(Caller(await trio.open_unix_socket(path)))
            return callers[-1]

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(daemon.serve(listening).serve)
                await body(daemon, connect)
                for caller in callers:
                    await caller.stream.aclose()
                nursery.cancel_scope.cancel()
    return daemon


async def test_calls_are_answered_and_errors_are_the_interfaces_own(tmp_path: Path) -> None:
    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        caller = await connect()
        assert await caller.call("Add", number=2) == {"parameters": {"sum": 2}}
        refused = await caller.call("Add", number=-1)
        assert refused == {"error": "org.example.Sums.Negative", "parameters": {"number": -1}}
        assert await caller.call("Add", number=3) == {"parameters": {"sum": 5}}

    daemon = await run(tmp_path / "s", body)
    assert daemon.events[0] is LocalEvent.CONNECTED


async def test_a_stream_tells_what_is_new_and_is_closed(tmp_path: Path) -> None:
    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        watcher, other = await connect(), await connect()
        first = await watcher.call("Watch", more=True)
        assert first == {"parameters": {"sum": 0}, "continues": True}
        await other.call("Add", number=7)
        assert await watcher.reply() == {"parameters": {"sum": 7}, "continues": True}
        assert len(daemon.watching) == 1
        await watcher.stream.aclose()
        while daemon.watching:
            await trio.lowlevel.checkpoint()

    daemon = await run(tmp_path / "s", body)
    assert LocalEvent.DISCONNECTED in daemon.events


async def test_a_method_without_a_handler_ends_one_connection_and_no_other(tmp_path: Path) -> None:
    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        caller, other = await connect(), await connect()
        assert await caller.call("Forgotten") is None
        assert await other.call("Add", number=1) == {"parameters": {"sum": 1}}

    daemon = await run(tmp_path / "s", body)
    assert LocalEvent.FAILED in daemon.events
    assert "no answer to Forgotten" in daemon.lines[0]


@pytest.mark.parametrize("method", ["Watch", "Add"])
async def test_the_types_of_the_interface_hold(tmp_path: Path, method: str) -> None:
    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        caller = await connect()
        answer = await caller.call(method)
        names = {"Watch": "ExpectedMore", "Add": "InvalidParameter"}
        assert answer["error"] == f"org.varlink.service.{names[method]}"

    await run(tmp_path / "s", body)


async def test_a_caller_for_whom_there_is_no_memory_is_the_only_one_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is free again too: the full number of connections is still served."""

    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        first = await connect()
        assert await first.call("Add", number=1) == {"parameters": {"sum": 1}}
        with monkeypatch.context() as patch:
            patch.setattr(daemon.server, "_nursery", WithoutMemory())
            for _ in range(4):
                assert await (await connect()).reply() is None
        assert all("MemoryError" in line for line in daemon.lines)
        more = [await connect() for _ in range(3)]
        for each in (first, *more):
            assert "parameters" in await each.call("Add", number=1)

    await run(tmp_path / "socket", body)


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The users of the next connections; the last one stays."""
    uids = [1000]

    def credentials(_: socket.socket) -> PeerCredentials:
        return PeerCredentials(pid=1, uid=uids.pop(0) if len(uids) > 1 else uids[0], gid=1)

    monkeypatch.setattr(varlink_server, "peer_credentials", credentials)
    return uids


async def test_a_user_that_connects_again_and_again_waits_or_is_refused_and_no_other_user(
    tmp_path: Path, users: list[int], mock_clock: MockClock
) -> None:
    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        # Four places: 32 connections and calls at once, so 16 of each.
        for number in range(1, 17):
            caller = await connect()
            assert await caller.call("Add", number=1) == {"parameters": {"sum": number}}
            await caller.stream.aclose()
        # One of these places may wait for its turn.
        patient = await connect()
        await wait_all_tasks_blocked()
        for _ in range(34):
            answer = await (await connect()).call("Add", number=1)
            assert answer == {"error": "org.example.Sums.TooFast", "parameters": {}}
        assert daemon.sum == 16
        assert daemon.events.count(LocalEvent.REFUSED_USER) == 34
        assert "event=local_refused pid=1 uid=1000 gid=1 reason=refused_user" in daemon.lines

        users[0] = 0
        assert await (await connect()).call("Add", number=1) == {"parameters": {"sum": 17}}

        mock_clock.jump(2 / USER_RATE)
        assert await patient.call("Add", number=1) == {"parameters": {"sum": 18}}

    await run(tmp_path / "s", body)


async def test_pieces_of_a_call_count_as_calls(
    tmp_path: Path, users: list[int], mock_clock: MockClock
) -> None:
    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        caller = await connect()
        for _ in range(32):  # the connection was one of the 32, so the last piece must wait
            await caller.stream.send_all(b" ")
            await wait_all_tasks_blocked()
        other = await connect()
        answer = await other.call("Add", number=1)
        assert answer == {"error": "org.example.Sums.TooFast", "parameters": {}}
        mock_clock.jump(3 / USER_RATE)
        assert await caller.call("Add", number=1) == {"parameters": {"sum": 1}}


async def test_a_call_is_refused_if_another_of_the_user_waits(
    tmp_path: Path, users: list[int], mock_clock: MockClock
) -> None:
    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        caller = await connect()
        for _ in range(31):
            await caller.stream.send_all(b" ")
            await wait_all_tasks_blocked()
        await connect()  # waits
        await wait_all_tasks_blocked()
        await caller.stream.send_all(b" ")
        assert await caller.reply() == {"error": "org.example.Sums.TooFast", "parameters": {}}
        assert await caller.reply() is None
        assert "event=local_closed pid=1 uid=1000 gid=1 reason=user_too_fast" in daemon.lines

    await run(tmp_path / "s", body)


async def test_a_user_is_refused_who_has_gone_already(
    tmp_path: Path, users: list[int], mock_clock: MockClock
) -> None:
    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        for _ in range(50):
            await (await connect()).stream.aclose()
            await wait_all_tasks_blocked()
        assert daemon.events.count(LocalEvent.REFUSED_USER) == 17
        assert not any("failed" in line for line in daemon.lines)

    await run(tmp_path / "s", body)


async def test_a_connection_whose_user_cannot_be_told_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: socket.socket) -> PeerCredentials:
        raise OSError("no credentials")

    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(varlink_server, "peer_credentials", unknown)
            assert await (await connect()).reply() is None
        assert await (await connect()).call("Add", number=1) == {"parameters": {"sum": 1}}

    await run(tmp_path / "s", body)


async def test_a_user_with_thousands_of_numbers_is_held_and_no_other_user(
    tmp_path: Path, users: list[int], mock_clock: MockClock
) -> None:
    """As the user of a user namespace has them, subuid(5)."""

    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        # Each number has a limit, and all together have that of four users: 4 x 32 at once.
        for number in range(4 * 16):
            users[0] = 100_000 + number
            caller = await connect()
            assert await caller.call("Add", number=1) == {"parameters": {"sum": number + 1}}
            await caller.stream.aclose()
        # One of all these users may wait.
        users[0] = 200_000
        patient = await connect()
        await wait_all_tasks_blocked()
        for number in range(200):
            users[0] = 200_001 + number
            answer = await (await connect()).call("Add", number=1)
            assert answer == {"error": "org.example.Sums.TooFast", "parameters": {}}
        assert daemon.events.count(LocalEvent.REFUSED_USER) == 200
        users[0] = 1000
        assert await (await connect()).call("Add", number=1) == {"parameters": {"sum": 65}}
        mock_clock.jump(2 / USER_RATE)
        assert await patient.call("Add", number=1) == {"parameters": {"sum": 66}}

    await run(tmp_path / "s", body)


@pytest.mark.parametrize("crowd", [[1001] * 9, range(100_000, 100_009)], ids=["one", "many"])
async def test_who_holds_most_places_gives_the_next_one(
    tmp_path: Path, users: list[int], mock_clock: MockClock, crowd: Sequence[int]
) -> None:
    """A user that connects again and again takes no place of another user."""

    async def body(daemon: Daemon, connect: Callable[[], Awaitable[Caller]]) -> None:
        users[0] = 1000
        good = [await connect() for _ in range(2)]
        await wait_all_tasks_blocked()
        for uid in crowd:
            users[0] = uid
            await connect()
            await wait_all_tasks_blocked()
        assert daemon.events.count(LocalEvent.DISPLACED) == len(crowd) - 2
        for number, caller in enumerate(good, 1):
            assert await caller.call("Add", number=1) == {"parameters": {"sum": number}}

    await run(tmp_path / "s", body)

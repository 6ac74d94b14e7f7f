"""The local socket with real clients, good and bad, and the test's own clock."""

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from harness.house import House, house
from harness.local_client import Client
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.interfaces.listener import Outcomes, Sandbox, Status
from mailbell.interfaces.local_event import LocalEvent
from mailbell.listener._hub import MANUAL
from mailbell.listener._local_service import LocalService, local_connections
from mailbell.listener._wakeups import Subscriber

SUBSCRIBE = {"method": "org.mailbell.Listener.Subscribe", "more": True}
STATUS = {"method": "org.mailbell.Listener.GetStatus"}


class Desk:
    def __init__(self, it: House, path: Path, subscribers: int) -> None:
        self.house = it
        self.path = path
        self.clients: list[Client] = []
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen(128)
        self.listening.setblocking(False)
        self.service = LocalService(
            it.hub,
            it.counters,
            it.journal,
            status=self.status,
            stamp=lambda: 1234,
            subscribers=subscribers,
        )
        self.server = self.service.server(self.listening)

    def status(self) -> Status:
        return Status(
            version="1",
            pid=1,
            cursor=self.house.hub.cursor,
            started=0,
            listening=(),
            outcomes=Outcomes(tcp={}, udp={}),
            refused_by_total=0,
            leaked=0,
            wakeups=0,
            accounts=(),
            accounts_total=1,
            connections=0,
            connections_limit=1,
            subscribers=self.house.hub.subscribers,
            subscribers_limit=1,
            tables=(),
            local=self.house.counters.snapshot_local(),
            log_suppressed=0,
            sandbox=Sandbox(
                uid=1,
                gid=1,
                groups=(),
                capabilities="0",
                no_new_privs=True,
                seccomp=2,
                threads=1,
                permitted_calls=1,
                landlock_abi=1,
                landlock_uncovered=(),
            ),
        )

    async def client(self) -> Client:
        client = await Client(self.path).connect()
        self.clients.append(client)
        return client

    def ring(self, account: str = "default") -> None:
        self.house.hub.ring(account, MANUAL, trio.current_time(), 1234)

    @property
    def events(self) -> dict[LocalEvent, int]:
        return {event: n for event, n in self.house.counters.local.items() if n}

    async def settled(self, event: LocalEvent, count: int = 1) -> None:
        with trio.fail_after(600):
            while self.events.get(event, 0) < count:
                await trio.sleep(0.001)


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Awaitable[Desk]]:
    async def run(
        body: Callable[[Desk], Awaitable[None]], toml: str = "", subscribers: int = 4
    ) -> Desk:
        desk = Desk(house(toml), tmp_path / "s", subscribers)
        with desk.listening:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.server.serve)
                await body(desk)
                nursery.cancel_scope.cancel()
        for client in desk.clients:
            client.socket.close()
        return desk

    return run


Serve = Callable[..., Awaitable[Desk]]


async def test_a_client_asks_and_is_answered_in_order(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        await client.send(
            {"method": "org.varlink.service.GetInfo"},
            {
                "method": "org.varlink.service.GetInterfaceDescription",
                "parameters": {"interface": "org.mailbell.Listener"},
            },
            STATUS,
        )
        info, text, status = [(await client.reply())["parameters"] for _ in range(3)]
        assert info["interfaces"] == ["org.varlink.service", "org.mailbell.Listener"]
        assert text["description"].rstrip().startswith("#")
        assert status["status"]["accounts_total"] == 1
        client.socket.close()
        await desk.settled(LocalEvent.DISCONNECTED)

    desk = await serve(body)
    assert desk.events == {LocalEvent.CONNECTED: 1, LocalEvent.DISCONNECTED: 1}


async def test_a_subscriber_is_told_at_once_and_from_then_on(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        first = await client.ask(SUBSCRIBE)
        assert first["continues"] is True
        assert first["parameters"]["notification"] is None
        desk.ring()
        told = (await client.reply())["parameters"]
        assert told["notification"]["account"] == "default"
        assert told["cursor"] == {"epoch": "e", "sequence": 1}
        client.socket.close()
        await desk.settled(LocalEvent.DISCONNECTED)
        assert desk.house.hub.subscribers == 0

    await serve(body)


async def test_what_comes_at_the_same_moment_is_not_in_the_first_reply(
    autojump_clock: MockClock, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(desk: Desk) -> None:
        # A notification right after the subscription, before the reply can be written.
        subscribe = desk.house.hub.subscribe

        def subscribe_and_ring(*arguments: Any) -> Subscriber:
            subscriber = subscribe(*arguments)
            trio.lowlevel.current_trio_token().run_sync_soon(desk.ring)
            return subscriber

        monkeypatch.setattr(desk.house.hub, "subscribe", subscribe_and_ring)
        client = await desk.client()
        assert (await client.ask(SUBSCRIBE))["parameters"]["notification"] is None
        assert (await client.reply())["parameters"]["notification"]["account"] == "default"

    await serve(body)


async def test_a_cursor_of_another_run_gets_a_resync(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        after = {"epoch": "before", "sequence": 3}
        reply = await client.ask({**SUBSCRIBE, "parameters": {"after": after}})
        assert reply["parameters"]["notification"]["cause"] == "resync"

    await serve(body)


async def test_ringing_by_hand_reaches_the_subscribers(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(desk: Desk) -> None:
        watcher, hand = await desk.client(), await desk.client()
        await watcher.ask(SUBSCRIBE)
        notify = {"method": "org.mailbell.Listener.Notify", "parameters": {"account": "default"}}
        assert (await hand.ask(notify))["parameters"]["cursor"]["sequence"] == 1
        assert (await watcher.reply())["parameters"]["notification"]["cause"] == "manual"
        # Oneway: the call is carried out, and there is no reply.
        await hand.send({**notify, "oneway": True}, STATUS)
        assert "status" in (await hand.reply())["parameters"]

    desk = await serve(body)
    assert any(line.startswith("event=rung_by_hand pid=") for line in desk.house.lines)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ({"method": "org.example.No"}, "org.varlink.service.InterfaceNotFound"),
        ({"method": "org.mailbell.Listener.No"}, "org.varlink.service.MethodNotFound"),
        ({**SUBSCRIBE, "more": False}, "org.varlink.service.ExpectedMore"),
        (
            {**SUBSCRIBE, "parameters": {"accounts": ["nobody"]}},
            "org.mailbell.Listener.UnknownAccount",
        ),
        (
            {"method": "org.mailbell.Listener.Notify", "parameters": {"account": "nobody"}},
            "org.mailbell.Listener.UnknownAccount",
        ),
    ],
)
async def test_what_cannot_be_had_is_an_error_and_no_more(
    autojump_clock: MockClock, serve: Serve, call: object, error: str
) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        assert (await client.ask(call))["error"] == error
        assert "parameters" in await client.ask(STATUS)

    await serve(body)


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (b"garbage\0", LocalEvent.GARBAGE),
        (b"[" * 4000 + b"\0", LocalEvent.GARBAGE),
        (b'{"method": 5}\0', LocalEvent.GARBAGE),
        (b"\0", LocalEvent.GARBAGE),
        (b"x" * 4097, LocalEvent.TOO_LONG),
        (
            b'{"method":"org.mailbell.Listener.Notify","parameters":{"account":5}}\0',
            LocalEvent.BAD_CALL,
        ),
        (b'{"method":"org.varlink.service.GetInfo"}\0' * 11, LocalEvent.TOO_FAST),
    ],
)
async def test_a_bad_client_loses_its_connection_and_nobody_else_does(
    autojump_clock: MockClock, serve: Serve, data: bytes, event: LocalEvent
) -> None:
    async def body(desk: Desk) -> None:
        good, bad = await desk.client(), await desk.client()
        await good.ask(SUBSCRIBE)
        await bad.send(data)
        while await bad.reply():
            pass
        await desk.settled(event)
        desk.ring()
        assert (await good.reply())["parameters"]["notification"]

    desk = await serve(body)
    assert desk.events[event] == 1


async def test_ten_megabytes_without_an_end_are_cut_off_early(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        sent = 0
        with pytest.raises(OSError, match=r"Broken pipe|reset"):  # noqa: PT012 - until it breaks
            while sent < 10 << 20:
                sent += await client.socket.send(b"x" * 65536)
        assert sent < 1 << 20
        await desk.settled(LocalEvent.TOO_LONG)

    await serve(body)


async def test_a_call_a_second_is_not_too_fast(autojump_clock: MockClock, serve: Serve) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        for _ in range(30):
            assert await client.ask(STATUS)
            await trio.sleep(1.01)

    assert LocalEvent.TOO_FAST not in (await serve(body)).events


async def test_a_client_with_nothing_to_say_is_not_kept(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        assert await client.reply() is None
        assert trio.current_time() - begin >= 59

    begin = trio.current_time()
    assert (await serve(body)).events[LocalEvent.IDLE] == 1


async def test_a_quiet_subscriber_is_kept(autojump_clock: MockClock, serve: Serve) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        await client.ask(SUBSCRIBE)
        await trio.sleep(100_000)
        desk.ring()
        assert (await client.reply())["parameters"]["notification"]

    await serve(body)


async def test_a_subscriber_that_speaks_is_closed(autojump_clock: MockClock, serve: Serve) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        await client.ask(SUBSCRIBE)
        await client.send(STATUS)
        assert await client.reply() is None
        hasty = await desk.client()
        await hasty.send(SUBSCRIBE, STATUS)
        while await hasty.reply():
            pass

    desk = await serve(body)
    assert desk.events[LocalEvent.BAD_CALL] == 2
    assert desk.house.hub.subscribers == 0


async def test_who_does_not_read_gets_one_reply_that_stands_for_many(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        await client.ask(SUBSCRIBE)
        for _ in range(1000):
            desk.ring()
            await trio.sleep(1.5)
        counts: list[int] = []
        while sum(counts) < 1000:
            counts.append((await client.reply())["parameters"]["notification"]["count"])
        # What the kernel's smallest buffer took before it was full (4.5 KiB, of which a message
        # takes 768 bytes at least), one that did not fit, then the rest in one.
        assert len(counts) <= 8
        assert counts[-1] > 990

    await serve(body)


@pytest.mark.uncounted
async def test_who_does_not_read_an_answer_is_closed(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(desk: Desk) -> None:
        client = await desk.client()
        await client.send(*[STATUS] * 10)
        await desk.settled(LocalEvent.UNREAD)

    await serve(body)


async def test_one_subscriber_too_many_is_told_so(autojump_clock: MockClock, serve: Serve) -> None:
    async def body(desk: Desk) -> None:
        first, second = await desk.client(), await desk.client()
        await first.ask(SUBSCRIBE)
        reply = await second.ask(SUBSCRIBE)
        assert reply["error"] == "org.mailbell.Listener.TooManySubscribers"
        assert reply["parameters"] == {"limit": 1}
        first.socket.close()
        await desk.settled(LocalEvent.DISCONNECTED)
        assert "error" not in await second.ask(SUBSCRIBE)

    assert (await serve(body, subscribers=1)).events[LocalEvent.REFUSED_SUBSCRIBER] == 1


async def test_idle_clients_shut_nobody_out(autojump_clock: MockClock, serve: Serve) -> None:
    async def body(desk: Desk) -> None:
        watcher = await desk.client()
        await watcher.ask(SUBSCRIBE)
        idle = []
        for _ in range(100):
            idle.append(await desk.client())
            await wait_all_tasks_blocked()  # a Unix socket's backlog does not wait
        newcomer = await desk.client()
        assert "parameters" in await newcomer.ask(STATUS)
        desk.ring()
        assert (await watcher.reply())["parameters"]["notification"]
        assert len(idle) == 100

    desk = await serve(body)
    assert desk.events[LocalEvent.DISPLACED] >= 100 - local_connections(4)


async def test_subscribers_never_give_way(autojump_clock: MockClock, serve: Serve) -> None:
    async def body(desk: Desk) -> None:
        desk.server._max_connections = 1
        watcher = await desk.client()
        await watcher.ask(SUBSCRIBE)
        assert await (await desk.client()).ask(STATUS) is None
        desk.ring()
        assert (await watcher.reply())["parameters"]["notification"]

    assert (await serve(body)).events[LocalEvent.REFUSED_FULL] == 1


async def test_a_bug_met_by_one_client_does_not_stop_the_others(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(desk: Desk) -> None:
        def broken() -> Status:
            raise ZeroDivisionError

        desk.service._status = broken
        victim, other = await desk.client(), await desk.client()
        assert await victim.ask(STATUS) is None
        assert "parameters" in await other.ask({"method": "org.varlink.service.GetInfo"})

    desk = await serve(body)
    assert desk.events[LocalEvent.FAILED] == 1
    assert any("ZeroDivisionError" in line for line in desk.house.lines)

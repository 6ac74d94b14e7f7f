import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
from harness.fake_daemon import (
    STATUS,
    FakeDaemon,
    Peer,
    Scene,
    answer,
    notification,
    stream,
    told,
)
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.client import (
    DataError,
    MailbellError,
    State,
    TemporaryError,
    UnavailableError,
    UsageError,
)
from mailbell.client.trio import Client, Subscription
from mailbell.core.notification import Cause, Cursor
from mailbell.interfaces.listener import (
    GetStatus,
    GetStatusReply,
    Notify,
    NotifyReply,
    Subscribe,
    too_many_subscribers,
    unknown_account,
)
from mailbell.varlink import encode_reply

RESYNC = notification(cause=Cause.RESYNC)


def leave(peer: Peer) -> None:
    """The daemon dies."""


def send(data: bytes) -> Scene:
    return lambda peer: peer.send(data)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s")


@pytest.fixture
def silent(path: str) -> Iterator[str]:
    """A stopped daemon: the kernel accepts connections for it, and it does not answer."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(4)
        yield path


class Waiting:
    """A `next` that runs in the background while the test moves the clock."""

    def __init__(self, subscription: Subscription, timeout: float | None = None) -> None:
        self._subscription = subscription
        self._timeout = timeout
        self.result: object = None
        self.done = trio.Event()

    async def run(self) -> None:
        try:
            self.result = await self._subscription.next(self._timeout)
        except MailbellError as error:
            self.result = error
        self.done.set()


async def test_calls(path: str) -> None:
    scenes = [
        answer(GetStatus(), GetStatusReply(STATUS)),
        answer(Notify("work"), NotifyReply(Cursor("e1", 4))),
    ]
    with FakeDaemon(path, *scenes):
        async with Client(path) as client:
            assert await client.status() == STATUS
            assert await client.notify("work") == Cursor("e1", 4)


def test_the_default_path_is_used(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILBELL_SOCKET", path)
    assert Client().path == path


CALLS: list[Callable[[Client], Awaitable[object]]] = [
    lambda client: client.status(),
    lambda client: client.notify("work"),
    lambda client: client.subscribe(["work"]),
]


@pytest.mark.parametrize("call", CALLS)
async def test_no_daemon(path: str, call: Callable[[Client], Awaitable[object]]) -> None:
    with pytest.raises(UnavailableError, match=r"no daemon at .*systemctl start"):
        await call(Client(path))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("scene", "error", "message"),
    [
        (leave, UnavailableError, "closed the connection"),
        (send(b"hello\0"), DataError, "not valid JSON"),
        (send(b"x" * (1 << 20) + b"x"), DataError, "a message of more than"),
        (lambda peer: peer.error(unknown_account("w")), UsageError, "account 'w'"),
        (lambda peer: peer.error(too_many_subscribers(1)), TemporaryError, "more than 1 subscr"),
    ],
)
async def test_bad_answers(
    path: str,
    call: Callable[[Client], Awaitable[object]],
    scene: Scene,
    error: type[MailbellError],
    message: str,
) -> None:
    def play(peer: Peer) -> None:
        peer.method()
        scene(peer)

    with FakeDaemon(path, play), pytest.raises(error, match=message):
        await call(Client(path))


@pytest.mark.parametrize("call", CALLS)
async def test_a_daemon_that_does_not_even_listen(
    path: str, call: Callable[[Client], Awaitable[object]]
) -> None:
    gone = pytest.raises(UnavailableError, match="closed the connection")
    with FakeDaemon(path, leave), gone:  # the connection ends before the daemon has read the call
        await call(Client(path))


@pytest.mark.parametrize("call", CALLS)
async def test_no_answer_in_time(
    silent: str, call: Callable[[Client], Awaitable[object]], mock_clock: MockClock
) -> None:
    caught: list[MailbellError] = []

    async def run() -> None:
        with pytest.raises(TemporaryError, match="did not answer within 10 seconds") as error:
            await call(Client(silent))
        caught.append(error.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        mock_clock.jump(9.9)
        await wait_all_tasks_blocked()
        assert caught == []
        mock_clock.jump(0.1)
    assert len(caught) == 1


async def test_a_stream(path: str, mock_clock: MockClock) -> None:
    first, second = notification("a"), notification("b", Cause.MANUAL)
    scene = stream(
        told("e1", 5, RESYNC),
        told("e1", 6, first),
        told("e1", 8, second),
        asked=Subscribe(("a", "b"), Cursor("e0", 2)),
    )
    with FakeDaemon(path, scene):
        async with Client(path) as client:
            subscription = await client.subscribe(["a", "b"], after=Cursor("e0", 2))
            assert subscription.cursor == Cursor("e0", 2)
            assert await anext(subscription) == RESYNC
            assert subscription.cursor == Cursor("e1", 5)
            assert await subscription.next(timeout=5) == first
            assert await subscription.next() == second
            assert subscription.cursor == Cursor("e1", 8)
            async with trio.open_nursery() as nursery:
                waiting = Waiting(subscription, timeout=3)
                nursery.start_soon(waiting.run)
                await wait_all_tasks_blocked()
                mock_clock.jump(3)
            assert isinstance(waiting.result, TemporaryError)


async def test_cancelling_loses_nothing(path: str) -> None:
    scene = stream(told("e1", 5), told("e1", 6, notification()))
    with FakeDaemon(path, scene):
        async with Client(path) as client:
            subscription = await client.subscribe()
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(subscription)
            assert scope.cancelled_caught
            assert subscription.cursor == Cursor("e1", 5)
            assert await anext(subscription) == notification()


async def test_the_daemon_dies_and_comes_back(path: str, mock_clock: MockClock) -> None:
    states: list[State] = []
    lost = trio.Event()

    def on_state(state: State) -> None:
        states.append(state)
        if state is State.LOST:
            lost.set()

    async with Client(path) as client, trio.open_nursery() as nursery:
        with FakeDaemon(path, stream(told("e1", 5), then=leave)):
            subscription = await client.subscribe(["work"], on_state=on_state)
        waiting = Waiting(subscription)
        nursery.start_soon(waiting.run)
        await lost.wait()
        # No daemon listens: attempts after 0.1, 0.2 and 0.4 seconds.
        for delay in (0.1, 0.2, 0.4):
            await wait_all_tasks_blocked()
            mock_clock.jump(delay)
        await wait_all_tasks_blocked()
        scene = stream(told("e2", 0, RESYNC), asked=Subscribe(("work",), Cursor("e1", 5)))
        with FakeDaemon(path, scene):
            mock_clock.jump(0.7)
            await wait_all_tasks_blocked()
            assert not waiting.done.is_set()
            mock_clock.jump(0.1)
            await waiting.done.wait()
            client.close()
    assert waiting.result == RESYNC
    assert states == [State.CONNECTED, State.LOST, State.CONNECTED]


async def test_a_daemon_that_hangs_is_given_up(path: str, mock_clock: MockClock) -> None:
    asked = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def hang(peer: Peer) -> None:
        peer.method()
        token.run_sync_soon(asked.set)
        peer.wait_closed()

    async with Client(path) as client, trio.open_nursery() as nursery:
        with FakeDaemon(path, stream(told("e1", 5), then=leave)):
            subscription = await client.subscribe()
        with FakeDaemon(path, hang, stream(told("e2", 0, RESYNC))):
            waiting = Waiting(subscription)
            nursery.start_soon(waiting.run)
            await wait_all_tasks_blocked()
            mock_clock.jump(0.1)
            await asked.wait()
            await wait_all_tasks_blocked()
            mock_clock.jump(10)  # gives up
            await wait_all_tasks_blocked()
            mock_clock.jump(0.2)
            await waiting.done.wait()
            client.close()
    assert waiting.result == RESYNC


async def test_without_reconnecting_the_end_is_the_end(path: str) -> None:
    with FakeDaemon(path, stream(told("e1", 5), then=leave)):
        async with Client(path) as client:
            subscription = await client.subscribe(reconnect=False)
            with pytest.raises(UnavailableError, match="closed the connection"):
                await anext(subscription)
            assert [one async for one in subscription] == []
            with pytest.raises(UnavailableError, match="subscription is closed"):
                await subscription.next()


async def test_what_one_daemon_said_is_not_held_against_the_next(
    path: str, autojump_clock: MockClock
) -> None:
    good = stream(told("e2", 0, RESYNC), asked=Subscribe(("work",), Cursor("e1", 5)))
    for said in (
        b"garbage\0",
        encode_reply(told("e1", -5, notification()), continues=True),
        encode_reply(told("e" * 5000, 6, notification()), continues=True),
    ):
        autojump_clock.autojump_threshold = 0.02  # the daemon is in a thread
        with FakeDaemon(path, stream(told("e1", 5), then=send(said)), good):
            async with Client(path) as client, await client.subscribe(["work"]) as subscription:
                assert await anext(subscription) == RESYNC
                assert subscription.cursor == Cursor("e2", 0)
                assert subscription.failure is None


async def test_garbage_is_the_end_if_asked_for(path: str) -> None:
    data = encode_reply(told("e1", 6, notification()), continues=True) + b"garbage\0"
    with FakeDaemon(path, stream(told("e1", 5), then=send(data))):
        async with (
            Client(path) as client,
            await client.subscribe(reconnect=False) as subscription,
        ):
            assert await anext(subscription) == notification()
            with pytest.raises(DataError):
                await anext(subscription)
            assert [one async for one in subscription] == []


async def test_a_socket_that_was_never_connected_is_a_daemon_away(silent: str) -> None:
    """unix(7): a non-blocking connect to a full queue fails with EAGAIN."""
    waiting = []
    try:
        for _ in range(5):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect(silent)
        with pytest.raises((UnavailableError, TemporaryError)):
            await Client(silent, timeout=0.01).status()
    finally:
        for one in waiting:
            one.close()

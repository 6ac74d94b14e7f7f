import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
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

from mailbell.client import (
    Client,
    DataError,
    MailbellError,
    State,
    Subscription,
    TemporaryError,
    Timing,
    UnavailableError,
    UsageError,
)
from mailbell.core.notification import Cause, Cursor
from mailbell.interfaces.listener import (
    GetStatus,
    GetStatusReply,
    Notify,
    NotifyReply,
    Subscribe,
    SubscribeReply,
    too_many_subscribers,
    unknown_account,
)
from mailbell.varlink import encode_error, encode_reply
from mailbell.varlink._errors import invalid_parameter

RESYNC = notification(cause=Cause.RESYNC)


def leave(peer: Peer) -> None:
    """The daemon dies."""


def send(data: bytes) -> Scene:
    return lambda peer: peer.send(data)


class FakeTime:
    """A clock that moves only when the client sleeps."""

    def __init__(self, on_sleep: Callable[[int], None] = lambda _: None) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._on_sleep = on_sleep
        self.timing = Timing(lambda: self.now, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds
        self._on_sleep(len(self.slept))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s")


def test_status(path: str) -> None:
    with FakeDaemon(path, answer(GetStatus(), GetStatusReply(STATUS))):
        assert Client(path).status() == STATUS


def test_notify(path: str) -> None:
    with (
        FakeDaemon(path, answer(Notify("work"), NotifyReply(Cursor("e1", 4)))),
        Client(path) as client,
    ):
        assert client.notify("work") == Cursor("e1", 4)


def test_the_default_path_is_used(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILBELL_SOCKET", path)
    assert Client().path == path


def test_an_answer_in_pieces(path: str) -> None:
    whole = encode_reply(GetStatusReply(STATUS))

    def scene(peer: Peer) -> None:
        peer.method()
        for byte in whole:
            peer.send(bytes([byte]))

    with FakeDaemon(path, scene):
        assert Client(path).status() == STATUS


CALLS: list[Callable[[Client], object]] = [
    lambda client: client.status(),
    lambda client: client.notify("work"),
    lambda client: client.subscribe(["work"]),
    lambda client: client.subscribe(reconnect=False),
]


@pytest.mark.parametrize("call", CALLS)
def test_no_daemon(path: str, call: Callable[[Client], object]) -> None:
    with pytest.raises(UnavailableError, match=r"no daemon at .*systemctl start") as caught:
        call(Client(path))
    assert caught.value.exit_code == 69
    Path(path).touch()  # a file that is not a socket
    with pytest.raises(UnavailableError, match="no daemon at"):
        call(Client(path))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("scene", "error", "message"),
    [
        (leave, UnavailableError, "closed the connection"),
        (send(b"hello\0"), DataError, "not valid JSON"),
        (send(b"[]\0"), DataError, "not a JSON object"),
        (send(b"{}\0"), DataError, "member missing"),
        (send(b"x" * (1 << 20) + b"x"), DataError, "a message of more than"),
        (lambda peer: peer.error(unknown_account("w\x1b")), UsageError, r"account 'w\\x1b'"),
        (lambda peer: peer.error(too_many_subscribers(1)), TemporaryError, "more than 1 subscr"),
        (lambda peer: peer.error(invalid_parameter("x")), UsageError, "parameter 'x'"),
    ],
)
def test_bad_answers(
    path: str,
    call: Callable[[Client], object],
    scene: Scene,
    error: type[MailbellError],
    message: str,
) -> None:
    def play(peer: Peer) -> None:
        peer.method()
        scene(peer)

    with FakeDaemon(path, play), Client(path) as client:
        with pytest.raises(error, match=message):
            call(client)
        assert client._subscriptions == set()


@pytest.mark.parametrize("call", CALLS)
def test_a_daemon_that_does_not_even_listen(path: str, call: Callable[[Client], object]) -> None:
    gone = pytest.raises(UnavailableError, match="closed the connection")
    with FakeDaemon(path, leave), gone:  # the connection ends before the daemon has read the call
        call(Client(path))


@pytest.fixture
def silent(path: str) -> Iterator[str]:
    """A stopped daemon: the kernel accepts connections for it, and it does not answer."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(4)
        yield path


@pytest.mark.parametrize("call", CALLS)
def test_no_answer_in_time(silent: str, call: Callable[[Client], object]) -> None:
    hours = count(step=3600)
    client = Client(silent, timing=Timing(lambda: float(next(hours))))
    with pytest.raises(TemporaryError, match="did not answer within 10 seconds") as caught:
        call(client)
    assert caught.value.exit_code == 75


def test_a_daemon_that_talks_without_end_and_says_nothing_ends_in_time(path: str) -> None:
    def scene(peer: Peer) -> None:
        peer.method()
        for _ in range(10_000):  # far more than the client ever reads
            peer.send(encode_reply(SubscribeReply(Cursor("e", 1)), continues=True))

    tenths = count()
    timing = Timing(lambda: next(tenths) / 10)
    with FakeDaemon(path, scene), Client(path, timing=timing) as client:
        subscription = client.subscribe()
        with pytest.raises(TemporaryError, match="no notification came in time"):
            subscription.next(5)


def test_an_error_never_quotes_all_a_daemon_sends(path: str) -> None:
    def scene(peer: Peer) -> None:
        peer.method()
        peer.error(unknown_account("w" * 900_000))

    with FakeDaemon(path, scene), pytest.raises(UsageError) as caught:
        Client(path).notify("work")
    assert len(str(caught.value)) < 200


def test_no_answer_in_time_by_the_real_clock(silent: str) -> None:
    with pytest.raises(TemporaryError, match=r"within 0\.001 seconds"):
        Client(silent, timeout=0.001).status()


def test_a_full_queue_is_a_busy_daemon(silent: str) -> None:
    waiting = []
    try:
        for _ in range(5):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect(silent)
        with pytest.raises(TemporaryError, match="too busy"):
            Client(silent, timeout=0).status()
    finally:
        for one in waiting:
            one.close()


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the path of a socket"):
        Client(str(tmp_path / ("x" * 120))).status()


def test_names_that_cannot_be(path: str) -> None:
    client = Client(path)
    with pytest.raises(TypeError, match="not one name"):
        client.subscribe("work")
    with pytest.raises(UsageError, match="not valid UTF-8"):
        client.notify("\udcff")
    with pytest.raises(UsageError, match="name fewer accounts"):
        client.notify("x" * 5000)


def test_a_stream(path: str) -> None:
    first, second = notification("a"), notification("b", Cause.MANUAL)
    scene = stream(
        told("e1", 5),
        told("e1", 6, first),
        told("e1", 8, second),
        asked=Subscribe(("a", "b"), Cursor("e1", 5)),
    )
    with FakeDaemon(path, scene), Client(path) as client:
        subscription = client.subscribe(["a", "b"], after=Cursor("e1", 5))
        assert subscription.cursor == Cursor("e1", 5)
        assert next(subscription) == first
        assert subscription.cursor == Cursor("e1", 6)
        assert subscription.next(timeout=5) == second
        assert subscription.cursor == Cursor("e1", 8)
        with pytest.raises(TemporaryError, match="no notification came in time"):
            subscription.next(timeout=0)
        with pytest.raises(TemporaryError, match="no notification came in time"):
            subscription.next(timeout=0.001)


def test_the_cursor_moves_when_a_notification_is_handed_over(path: str) -> None:
    scene = stream(told("e2", 9, RESYNC), told("e2", 10, notification()))
    with FakeDaemon(path, scene), Client(path) as client:
        subscription = client.subscribe(after=Cursor("e1", 5))
        # Both have probably arrived. A program that ends here has not got them.
        assert subscription.cursor == Cursor("e1", 5)
        assert next(subscription) == RESYNC
        assert subscription.cursor == Cursor("e2", 9)


def test_the_first_answer_gives_the_first_cursor(path: str) -> None:
    with FakeDaemon(path, stream(told("e1", -1))), Client(path) as client:
        with client.subscribe() as subscription:
            assert subscription.cursor == Cursor("e1", -1)
        assert list(subscription) == []


def test_the_daemon_dies_and_comes_back(path: str) -> None:
    time = FakeTime()
    states: list[State] = []
    scenes = [
        stream(told("e1", 5), told("e1", 6, notification()), then=leave),
        stream(told("e2", 0, RESYNC), asked=Subscribe(("work",), Cursor("e1", 6))),
    ]
    with FakeDaemon(path, *scenes), Client(path, timing=time.timing) as client:
        subscription = client.subscribe(["work"], on_state=states.append)
        assert next(subscription) == notification()
        assert next(subscription) == RESYNC
        assert subscription.cursor == Cursor("e2", 0)
    assert states == [State.CONNECTED, State.LOST, State.CONNECTED]
    assert time.slept == [0.1]


@pytest.mark.parametrize(
    "ending",
    [
        send(b'{"parameters":'),  # the daemon dies in the middle of a message
        lambda peer: peer.reply(told("e1", 6)),  # the daemon ends the stream in order
        lambda peer: peer.error(too_many_subscribers(0)),
    ],
)
def test_other_ways_to_lose_the_daemon(path: str, ending: Scene) -> None:
    time = FakeTime()
    scenes = [stream(told("e1", 5), then=ending), stream(told("e2", 1, RESYNC))]
    with FakeDaemon(path, *scenes), Client(path, timing=time.timing) as client:
        assert next(client.subscribe()) == RESYNC
    assert time.slept == [0.1]


def test_attempts_become_rarer_and_never_end(path: str) -> None:
    daemons: list[FakeDaemon] = []

    def come_back(attempt: int) -> None:
        if attempt == 9:
            daemons.append(FakeDaemon(path, stream(told("e2", 1, RESYNC))).__enter__())

    time = FakeTime(come_back)
    with Client(path, timing=time.timing) as client:
        with FakeDaemon(path, stream(told("e1", 5), then=leave)):
            subscription = client.subscribe()
        assert next(subscription) == RESYNC
    daemons[0].__exit__(None, None, None)
    assert time.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_time_out_while_the_daemon_is_away(path: str) -> None:
    time = FakeTime()
    with Client(path, timing=time.timing) as client:
        with FakeDaemon(path, stream(told("e1", 5), then=leave)):
            subscription = client.subscribe()
        with pytest.raises(TemporaryError, match="daemon is away"):
            subscription.next(timeout=1.0)
        assert time.now == 1001.0
        with pytest.raises(TemporaryError, match="daemon is away"):
            subscription.next(timeout=0)
        assert time.now == 1001.0
        with FakeDaemon(path, stream(told("e2", 0, RESYNC))):
            assert subscription.next(timeout=60) == RESYNC
            client.close()


def test_polling_gets_there_too(path: str) -> None:
    """A time-out of 0 never waits, and still reconnects in the end."""
    time = FakeTime()
    hold = threading.Event()

    def slow(peer: Peer) -> None:
        hold.wait(20)
        stream(told("e2", 0, RESYNC))(peer)

    with Client(path, timing=time.timing) as client:
        with FakeDaemon(path, stream(told("e1", 5), then=leave)):
            subscription = client.subscribe()
        with pytest.raises(TemporaryError):
            subscription.next(timeout=0)
        time.now += 0.1
        with FakeDaemon(path, slow):
            with pytest.raises(TemporaryError, match="no notification came in time"):
                subscription.next(timeout=0)  # the client has connected and subscribed
            hold.set()
            assert subscription.next(timeout=5) == RESYNC
            client.close()
    assert time.slept == []


def test_an_account_that_the_daemon_lacks_is_left_out(path: str) -> None:
    def refuse(peer: Peer) -> None:
        assert peer.method() == Subscribe(("work", "home"))
        peer.error(unknown_account("home"))

    lacks: list[str] = []
    scene = stream(told("e1", 5), told("e1", 6, RESYNC), asked=Subscribe(("work",)))
    with FakeDaemon(path, refuse, scene), Client(path) as client:
        subscription = client.subscribe(["work", "home"], on_unknown=lacks.append)
        assert subscription.next() == RESYNC
    assert lacks == ["home"]


def test_a_daemon_that_hangs_is_given_up(path: str) -> None:
    time = FakeTime()
    silence = threading.Event()

    def hang(peer: Peer) -> None:
        peer.method()
        silence.set()
        peer.wait_closed()

    with Client(path, timing=time.timing) as client:
        with FakeDaemon(path, stream(told("e1", 5), then=leave)):
            subscription = client.subscribe()
        with FakeDaemon(path, hang, stream(told("e2", 0, RESYNC))):
            with pytest.raises(TemporaryError):
                subscription.next(timeout=0.2)  # the connection was lost, and made again after 0.1
            assert silence.wait(20)
            time.now += 10
            assert subscription.next(timeout=60) == RESYNC
            client.close()


def test_without_reconnecting_the_end_is_the_end(path: str) -> None:
    states: list[State] = []
    with FakeDaemon(path, stream(told("e1", 5), then=leave)), Client(path) as client:
        subscription = client.subscribe(reconnect=False, on_state=states.append)
        with pytest.raises(UnavailableError, match="closed the connection"):
            next(subscription)
        with pytest.raises(StopIteration):
            next(subscription)
        with pytest.raises(UnavailableError, match="subscription is closed"):
            subscription.next()
    assert states == [State.CONNECTED]


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        (lambda peer: peer.error(unknown_account("work")), UsageError),
    ],
)
def test_what_reconnecting_does_not_cure(
    path: str, ending: Scene, error: type[MailbellError]
) -> None:
    def later(peer: Peer) -> None:
        peer.method()
        ending(peer)

    time = FakeTime()
    scenes = [stream(told("e1", 5), then=leave), later]
    with FakeDaemon(path, *scenes), Client(path, timing=time.timing) as client:
        subscription = client.subscribe(["work"])
        with pytest.raises(error):
            next(subscription)
        assert list(subscription) == []


BROKEN = [
    b"garbage\0",
    b"x" * ((1 << 20) + 1),
    encode_reply(told("e1", -5, notification()), continues=True),
    encode_reply(told("e" * 5000, 6, notification()), continues=True),
    encode_reply(told("e1", 6, notification("../\n")), continues=True),
    encode_error(invalid_parameter("accounts")),
    encode_error(unknown_account("another")),
]


@pytest.mark.parametrize("said", BROKEN, ids=range(len(BROKEN)))
def test_what_one_daemon_said_is_not_held_against_the_next(path: str, said: bytes) -> None:
    time = FakeTime()
    failures: list[MailbellError | None] = []
    subscription: Subscription | None = None

    def note(_: State) -> None:
        if subscription:
            failures.append(subscription.failure)

    good = stream(told("e2", 0, RESYNC), asked=Subscribe(("work",), Cursor("e1", 5)))
    scenes = [stream(told("e1", 5), then=send(said)), good]
    with FakeDaemon(path, *scenes), Client(path, timing=time.timing) as client:
        subscription = client.subscribe(["work"], on_state=note)
        assert next(subscription) == RESYNC
        assert subscription.cursor == Cursor("e2", 0)
        subscription.close()
    assert [type(failure) for failure in failures] == [DataError, type(None)]


@pytest.mark.parametrize("said", BROKEN, ids=range(len(BROKEN)))
def test_what_another_program_answers_at_once_is_not_held_against_the_next(
    path: str, said: bytes
) -> None:
    time = FakeTime()
    good = stream(told("e2", 0, RESYNC), asked=Subscribe(("work",), Cursor("e1", 5)))
    scenes = [stream(told("e1", 5), then=leave), stream(then=send(said)), good]
    with FakeDaemon(path, *scenes), Client(path, timing=time.timing) as client:
        subscription = client.subscribe(["work"])
        assert next(subscription) == RESYNC
        subscription.close()


def test_what_came_before_the_garbage_counts(path: str) -> None:
    data = encode_reply(told("e1", 6, notification()), continues=True)
    too_long = b"x" * ((1 << 20) + 1)
    scene = stream(told("e1", 5), then=send(data + too_long))
    with FakeDaemon(path, scene), Client(path) as client:
        subscription = client.subscribe(reconnect=False)
        assert next(subscription) == notification()
        with pytest.raises(DataError):
            next(subscription)


def test_closing_the_client_ends_its_subscriptions(path: str) -> None:
    scenes = [stream(told("e1", 5)), stream(told("e1", 5))]
    with FakeDaemon(path, *scenes), Client(path) as client:
        first = client.subscribe()
        first.close()
        second = client.subscribe()
        client.close()
        client.close()
        assert list(second) == []


class Interruption(BaseException):
    """Stands for KeyboardInterrupt, which the test runner keeps for itself."""


@pytest.fixture
def on_signal() -> Iterator[Callable[[Callable[[], None]], None]]:
    def install(action: Callable[[], None]) -> None:
        def handler(_number: int, _frame: FrameType | None) -> None:
            action()

        signal.signal(signal.SIGUSR1, handler)

    before: Any = signal.getsignal(signal.SIGUSR1)
    yield install
    signal.signal(signal.SIGUSR1, before)


def test_an_interruption_leaves_the_subscription_in_order(
    path: str, on_signal: Callable[[Callable[[], None]], None]
) -> None:
    waiting, resumed = threading.Event(), threading.Event()

    def interrupt() -> None:
        raise Interruption

    def then(peer: Peer) -> None:
        waiting.wait(20)
        os.kill(os.getpid(), signal.SIGUSR1)
        resumed.wait(20)
        peer.reply(told("e1", 6, notification()), continues=True)
        peer.wait_closed()

    on_signal(interrupt)
    with FakeDaemon(path, stream(told("e1", 5), then=then)), Client(path) as client:
        subscription = client.subscribe()
        with pytest.raises(Interruption):  # noqa: PT012  the signal may come in either line
            waiting.set()
            next(subscription)
        resumed.set()
        assert next(subscription) == notification()


def test_a_signal_that_is_handled_does_not_end_the_wait(
    path: str, on_signal: Callable[[Callable[[], None]], None]
) -> None:
    handled = threading.Event()

    def then(peer: Peer) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        handled.wait(20)
        peer.reply(told("e1", 6, notification()), continues=True)
        peer.wait_closed()

    on_signal(handled.set)
    with FakeDaemon(path, stream(told("e1", 5), then=then)), Client(path) as client:
        assert client.subscribe().next(timeout=20) == notification()

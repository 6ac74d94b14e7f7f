"""The client of mailbell-sender, blocking and Trio, at the real control socket and at bad ones.

Each test that only asks runs with both clients.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from harness.control import ANNA, TARGET, Control, controlled
from harness.fake_daemon import Peer, Scene
from harness.fake_sender import STATUS, FakeSender, result, watched
from trio.testing import MockClock

from mailbell import sender_client
from mailbell.calling.explain import explain_connect
from mailbell.core.errors import MailbellError, PrivilegeError, TemporaryError
from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.interfaces.sender import (
    SENDER,
    Watch,
    WatchReply,
    not_accepted,
    too_fast,
    too_many_watchers,
    unknown_account,
)
from mailbell.interfaces.sender_reply import WATCH_LIMIT
from mailbell.sender._ring import Ring
from mailbell.sender._watchers import HELD
from mailbell.sender_client import Client, DataError, Timing, UnavailableError, UsageError
from mailbell.sender_client._sender import SENDER_DAEMON
from mailbell.sender_client._watcher import Watcher
from mailbell.sender_client.trio import Client as TrioClient
from mailbell.varlink import ServiceError, encode_reply, invalid_parameter

Ask = Callable[..., Any]


def ask_blocking(path: str, method: str, *arguments: str, **options: Any) -> Any:
    with Client(path, **options) as client:
        return getattr(client, method)(*arguments)


def ask_with_trio(path: str, method: str, *arguments: str, **options: Any) -> Any:
    async def ask() -> Any:
        return await getattr(TrioClient(path, **options), method)(*arguments)

    return trio.run(ask)


both = pytest.mark.parametrize("ask", [ask_blocking, ask_with_trio], ids=["blocking", "trio"])


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s")


@pytest.fixture
def control(path: str) -> Iterator[Control]:
    with controlled(Path(path)) as it:
        yield it


@both
def test_the_calls(control: Control, path: str, ask: Ask) -> None:
    assert ask(path, "ring", "anna") is None
    assert ask(path, "seen", "anna", "192.0.2.7") is None
    explained = ask(path, "explain", "anna")
    assert (explained.account, explained.steps) == (ANNA, control.desk.steps)
    assert ask(path, "status") == STATUS
    uid = os.geteuid()
    assert control.desk.asked == [
        ("ring", "anna", uid),
        ("seen", "anna", "192.0.2.7", uid),
        ("explain", ANNA),
    ]


def error(answer: ServiceError) -> Scene:
    def scene(peer: Peer) -> None:
        peer.method()
        peer.error(answer)

    return scene


WHO = "check that it is mailbell-sender, and has the same version"


@both
@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (
            unknown_account("bob"),
            UsageError,
            (
                "the sender has no account 'bob'; list it in sender.toml, or give `[default]`"
                " targets, and restart the sender"
            ),
        ),
        (
            not_accepted(InputOutcome.DISABLED),
            UsageError,
            "the account is switched off; set its `enabled` to true",
        ),
        (
            not_accepted(InputOutcome.REFUSED_ADDRESS),
            UsageError,
            (
                "the sender never calls this address; permit it with `last_used.allow`, and look at"
                " `deny`"
            ),
        ),
        (
            not_accepted(InputOutcome.MALFORMED),
            UsageError,
            "this is no name of an account, or no numeric address",
        ),
        (
            not_accepted(InputOutcome.NOT_PERMITTED),
            PrivilegeError,
            "you may not speak for this account; add your user to `listen.trusted`",
        ),
        (
            not_accepted(InputOutcome.RATE_LIMITED),
            TemporaryError,
            "the sender takes no more from this user for now; try again later",
        ),
        (
            too_many_watchers(16),
            TemporaryError,
            "the sender accepts no more than 16 watchers; end another one, or try again",
        ),
        (
            too_fast(),
            TemporaryError,
            (
                "the sender refuses more calls of this user for now; try again later, and call less"
                " often"
            ),
        ),
        (invalid_parameter("account"), UsageError, "the sender refuses the parameter 'account'"),
        (
            ServiceError(f"{SENDER}.NotAccepted", {"outcome": "new"}),
            DataError,
            f"the sender answered with the error '{SENDER}.NotAccepted'; {WHO}",
        ),
        (
            ServiceError(f"{SENDER}.Other", {}),
            DataError,
            f"the sender answered with the error '{SENDER}.Other'; {WHO}",
        ),
        (
            ServiceError("org.example.TooFast", {}),
            DataError,
            f"the sender answered with the error 'org.example.TooFast'; {WHO}",
        ),
    ],
)
def test_every_error_is_explained(
    path: str, ask: Ask, answer: ServiceError, kind: type[MailbellError], said: str
) -> None:
    with FakeSender(path, error(answer)), pytest.raises(kind) as caught:
        ask(path, "ring", "bob")
    assert (type(caught.value), str(caught.value)) == (kind, said)


@both
@pytest.mark.parametrize("method", ["status", "watch"])
def test_no_sender(path: str, ask: Ask, method: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        ask(path, method)
    assert f"no sender at {path}" in str(caught.value)
    assert "systemctl start mailbell-sender" in str(caught.value)


def test_a_sender_that_nothing_reaches() -> None:
    path = SENDER_DAEMON.system_path
    dead = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert str(explain_connect({path: dead}, SENDER_DAEMON, {path})) == (
        "the sender runs, but nothing reaches it: its socket /run/mailbell-sender/control was"
        " removed or replaced; `systemctl restart mailbell-sender-control.socket`, or end it and"
        " start it again"
    )


@both
@pytest.mark.parametrize("method", ["status", "watch"])
@pytest.mark.parametrize("sent", [b"x\0", b"{}\0", b'{"parameters":{"ring":{"account":1}}}\0'])
def test_garbage_is_no_answer(path: str, ask: Ask, method: str, sent: bytes) -> None:
    if method == "watch" and sent == b"{}\0":
        sent = b'{"continues":true,"parameters":{"missed":-1}}\0'

    def scene(peer: Peer) -> None:
        peer.method()
        peer.send(sent)

    with FakeSender(path, scene), pytest.raises(DataError, match="mailbell-sender"):
        ask(path, method)


@both
@pytest.mark.parametrize("method", ["status", "watch"])
def test_a_sender_that_does_not_answer(path: str, ask: Ask, method: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(4)
        with pytest.raises(TemporaryError, match="the sender did not answer within"):
            ask(path, method, timeout=0.01)


@both
def test_a_sender_that_leaves(path: str, ask: Ask) -> None:
    with FakeSender(path, lambda _: None), pytest.raises(UnavailableError, match="closed"):
        ask(path, "watch")


@both
def test_a_name_that_no_call_can_hold(path: str, ask: Ask) -> None:
    for name, said in (
        ("\udcff", "^the name of an account is not valid UTF-8$"),
        (
            "a" * 5000,
            "^the call has more than 4096 bytes; an account has at most 254 characters$",
        ),
    ):
        for method in ("ring", "watch"):
            with pytest.raises(UsageError, match=said):
                ask(path, method, name)


def test_the_place(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILBELL_SENDER_SOCKET", raising=False)
    assert Client().path == TrioClient().path == "/run/mailbell-sender/control"
    monkeypatch.setenv("MAILBELL_SENDER_SOCKET", path)
    assert Client().path == TrioClient().path == sender_client.default_path() == path
    assert Client("/x").path == "/x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@both
def test_another_users_process_is_told_nothing(path: str, ask: Ask) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        os.seteuid(12345)
        try:
            listening.listen()
        finally:
            os.seteuid(0)
        with pytest.raises(PrivilegeError) as caught:
            ask(path, "ring", "anna")
        assert "trusted are root, you and mailbell-sender" in str(caught.value)
        assert "if it is your sender, set MAILBELL_SENDER_USER=12345" in str(caught.value)
        peer, _ = listening.accept()
        with peer:
            assert peer.recv(100) == b""


@pytest.mark.parametrize(("length", "refused"), [(WATCH_LIMIT, False), (WATCH_LIMIT + 1, True)])
def test_an_answer_to_a_watcher_is_short(length: int, refused: bool) -> None:
    watcher = Watcher(None)
    watcher.receive_untrusted(b"x" * length)
    assert watcher.ready is refused
    if refused:
        with pytest.raises(DataError, match="more than 16384 bytes"):
            watcher.take_untrusted()


def test_a_watcher_gets_each_ring(control: Control, path: str) -> None:
    with Client(path) as client, client.watch("anna") as watching:
        client.ring("anna")
        ring = watching.next(20)
        assert (ring.account, ring.target) == (ANNA, "192.0.2.7:79")
        assert (ring.outcome, ring.milliseconds) == (RingOutcome.SENT, 0.4)
        assert watching.missed == 0
        with pytest.raises(TemporaryError, match="no ring came in time"):
            watching.next(0)
        control.desk.rings = [Ring(ANNA, None, RingOutcome.NO_TARGET)]
        client.ring("anna")
        assert next(watching).target is None
    with pytest.raises(StopIteration):
        next(watching)
    with pytest.raises(UnavailableError, match="closed"):
        watching.next()
    watching.close()


async def test_a_watcher_of_trio_gets_each_ring(control: Control, path: str) -> None:
    client = TrioClient(path)
    async with await client.watch() as watching:
        await client.ring("anna")
        async for ring in watching:
            assert (ring.account, ring.outcome) == (ANNA, RingOutcome.SENT)
            break
        assert watching.missed == 0
        with pytest.raises(TemporaryError, match="no ring came in time"):
            await watching.next(0)
    assert [ring async for ring in watching] == []
    with pytest.raises(UnavailableError, match="closed"):
        await watching.next()


async def test_a_call_of_trio_may_be_cancelled(path: str, autojump_clock: MockClock) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        for method in ("watch", "status"):
            with trio.move_on_after(5) as scope:
                await getattr(TrioClient(path, timeout=10), method)()
            assert scope.cancelled_caught


def test_a_watcher_that_reads_late_knows_how_many_rings_it_missed(
    control: Control, path: str
) -> None:
    control.desk.rings = [Ring(ANNA, TARGET, RingOutcome.SENT, float(n)) for n in range(HELD * 20)]
    with Client(path) as client, client.watch() as watching:
        client.ring("anna")
        told = 1
        while watching.next(20).milliseconds != HELD * 20 - 1:
            told += 1
        assert watching.missed == HELD * 20 - told > 0


def test_a_ring_is_waited_for_over_answers_without_one(path: str) -> None:
    scene = watched(WatchReply(None, 2), WatchReply(result(), 1), asked=Watch("anna"))
    with FakeSender(path, scene), Client(path) as client, client.watch("anna") as watching:
        assert watching.next(20) == result()
        assert watching.missed == 3


async def test_a_ring_is_awaited_over_answers_without_one(path: str) -> None:
    scene = watched(WatchReply(None, 2), WatchReply(result(), 1))
    with FakeSender(path, scene):
        async with await TrioClient(path).watch() as watching:
            assert await watching.next(20) == result()
            assert watching.missed == 3


@pytest.mark.parametrize("last", [encode_reply(WatchReply(result())), b"{\0", None])
def test_the_end_of_the_watching_is_an_error(path: str, last: bytes | None) -> None:
    def then(peer: Peer) -> None:
        if last is not None:
            peer.send(last)

    with (
        FakeSender(path, watched(then=then)),
        Client(path).watch() as watching,
        pytest.raises((UnavailableError, DataError)),
    ):
        watching.next(20)


def test_a_full_queue_is_waited_for(path: str) -> None:
    waited: list[float] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        held = []
        for _ in range(8):
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            held.append(one)
            try:
                one.connect(path)
            except BlockingIOError:
                break
        clock = iter(x / 10 for x in range(1000))
        timing = Timing(lambda: next(clock), waited.append)
        with pytest.raises(TemporaryError, match="is too busy to answer"):
            Client(path, timing=timing, timeout=1).ring("anna")
        for one in held:
            one.close()
    assert waited

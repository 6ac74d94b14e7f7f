"""The client of mailbell-sender, blocking and Trio, at the real control socket and at bad ones.

Each test that only asks runs with both clients.
"""

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
from mailbell.sender._ring import Ring
from mailbell.sender._watchers import HELD
from mailbell.sender_client import Client, DataError, Timing, UnavailableError, UsageError
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


@both
@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (
            unknown_account("bob"),
            UsageError,
            "no account 'bob'; list it in sender.toml, or give `[default]` targets, and restart",
        ),
        (not_accepted(InputOutcome.DISABLED), UsageError, "switched off; set its `enabled`"),
        (not_accepted(InputOutcome.REFUSED_ADDRESS), UsageError, "`last_used.allow`"),
        (not_accepted(InputOutcome.MALFORMED), UsageError, "no name of an account"),
        (not_accepted(InputOutcome.NOT_PERMITTED), PrivilegeError, "`listen.trusted`"),
        (not_accepted(InputOutcome.RATE_LIMITED), TemporaryError, "try again later"),
        (too_many_watchers(16), TemporaryError, "no more than 16 watchers"),
        (too_fast(), TemporaryError, "call less often"),
        (invalid_parameter("account"), UsageError, "the sender refuses the parameter 'account'"),
        (ServiceError(f"{SENDER}.NotAccepted", {"outcome": "new"}), DataError, "mailbell-sender"),
        (ServiceError(f"{SENDER}.Other", {}), DataError, "check that it is mailbell-sender"),
        (ServiceError("org.example.Other", {}), DataError, "check that it is mailbell-sender"),
    ],
)
def test_every_error_is_explained(
    path: str, ask: Ask, answer: ServiceError, kind: type[MailbellError], said: str
) -> None:
    with FakeSender(path, error(answer)), pytest.raises(kind) as caught:
        ask(path, "ring", "bob")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@both
@pytest.mark.parametrize("method", ["status", "watch"])
def test_no_sender(path: str, ask: Ask, method: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        ask(path, method)
    assert f"no sender at {path}" in str(caught.value)
    assert "systemctl start mailbell-sender" in str(caught.value)


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
    for name, said in (("\udcff", "UTF-8"), ("a" * 5000, "at most 254 characters")):
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

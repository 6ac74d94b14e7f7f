"""`org.varlink.certification`: our codec and connections, and the programs of the package.

First our client passes it with the package's server. Then our server says to the package's
client what that server said to our client, and expects what that server accepted from our
client. So only the package itself decides what is right.

The certification does not cover some cases where we are stricter than the package. They are
a table at the end; docs/embedding.md lists them in words.
"""

import json
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from harness.certification import CERTIFICATION, TEXT, Step, certified, official, official_client
from harness.daemon import PATIENCE

from mailbell._sys.sockets import peer_credentials
from mailbell.interfaces.listener import LISTENER_SERVICE
from mailbell.interfaces.local_event import LocalEvent
from mailbell.serving import _varlink_peer
from mailbell.serving._turns import Turns
from mailbell.serving._varlink_peer import Hangup, VarlinkPeer
from mailbell.varlink import (
    CALL_LIMIT,
    SERVICE,
    Call,
    GetInterfaceDescription,
    GetInterfaceDescriptionReply,
    MessageTooLong,
    ProtocolError,
    ServiceError,
    encode_error,
    encode_reply,
    parse_call_untrusted,
)
from mailbell.varlink._codec import Decoder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The address on which the package's server listens."""
    path = tmp_path_factory.mktemp("certification") / "s"
    with official(path):
        yield path


@pytest.fixture(scope="module")
def said(theirs: Path) -> list[Step]:
    """What the package's server and our client said to each other."""
    return certified(theirs)


def test_our_client_passes(said: list[Step]) -> None:
    assert said[-1].method == "End"
    assert said[-1].replies == [{"all_ok": True}]
    assert [len(step.replies) for step in said] == [1] * 10 + [10, 0, 1]


def test_a_client_that_is_wrong_does_not_pass(theirs: Path, monkeypatch: Any) -> None:
    # The package's server checks the answers. Otherwise the test before would prove nothing.
    monkeypatch.setattr("harness.certification.encode_call", _with_a_number_changed)
    with pytest.raises(Exception, match="CertificationError"):
        certified(theirs)


def _with_a_number_changed(method: str, parameters: dict[str, Any], **flags: bool) -> bytes:
    from mailbell.varlink._message import encode_call

    changed = {name: 2 if value == 1 else value for name, value in parameters.items()}
    return encode_call(method, changed, **flags)


async def _yes() -> bool:
    return True


class Server:
    """Our connection and codec, with the answers of the package's server behind them.

    Args:
        said: the steps, in order.
    """

    def __init__(self, said: list[Step]) -> None:
        self._steps = list(said)
        self.answered = 0

    async def serve(self, connection: socket.socket) -> LocalEvent:
        """Answer one connection. Return how it ended."""
        turns = Turns()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turns.serve)
            with connection:
                caller = peer_credentials(connection)
                event = await self._answer(VarlinkPeer(connection, caller, turns, _yes))
            nursery.cancel_scope.cancel()
        return event

    async def _answer(self, peer: VarlinkPeer) -> LocalEvent:
        try:
            while True:
                call = parse_call_untrusted(await peer.next_call_untrusted())
                for message in self._answers(call):
                    await peer.send(message)
                self.answered += 1
        except Hangup as hangup:
            return hangup.event

    def _answers(self, call: Call) -> list[bytes]:
        try:
            if call.method.startswith(f"{SERVICE}."):
                assert LISTENER_SERVICE.decode_untrusted(call) == GetInterfaceDescription(
                    CERTIFICATION
                )
                return [encode_reply(GetInterfaceDescriptionReply(TEXT))]
            *before, last = self._replies(call)
            more = [encode_reply(reply, continues=True) for reply in before]
            messages = [*more, encode_reply(last)]
        except ServiceError as error:
            messages = [encode_error(error)]
        return [] if call.oneway else messages

    def _replies(self, call: Call) -> list[dict[str, Any]]:
        step = self._steps.pop(0)
        flags = frozenset(name for name in ("oneway", "more", "upgrade") if getattr(call, name))
        wants = (f"{CERTIFICATION}.{step.method}", _bare(step.parameters), step.flags)
        got = (call.method, _bare(call.parameters), flags)
        if got != wants:
            error = {"wants": str(wants), "got": str(got)}
            raise ServiceError(f"{CERTIFICATION}.CertificationError", error)
        return step.replies or [{}]


def _bare(value: Any) -> Any:
    """Return it without null members: a nullable one may be left out."""
    if isinstance(value, dict):
        return {name: _bare(inner) for name, inner in value.items() if inner is not None}
    return [_bare(inner) for inner in value] if isinstance(value, list) else value


async def official_run(
    server: Server, path: Path
) -> tuple[LocalEvent, "subprocess.CompletedProcess[bytes]"]:
    """Serve the package's client. Return how its connection ended, and the client's result."""
    listening = trio.socket.socket(socket.AF_UNIX)
    await listening.bind(str(path))
    listening.listen()
    with listening, trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            run = partial(
                trio.run_process,
                official_client(path),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            ended: list[subprocess.CompletedProcess[bytes]] = []

            async def client() -> None:
                ended.append(await run())

            nursery.start_soon(client)
            connection, _ = await listening.accept()
            event = await server.serve(socket.socket(fileno=connection.detach()))
    return event, ended[0]


async def test_our_server_passes(
    said: list[Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fourteen calls on one connection, more than the daemon admits at once: see below.
    monkeypatch.setattr(_varlink_peer, "CALL_BURST", 14)
    server = Server(said)
    event, client = await official_run(server, tmp_path / "s")
    assert client.returncode == 0, client.stderr.decode()
    assert b"End: {'all_ok': True}\nCertification passed\n" in client.stdout
    assert (event, server.answered) == (LocalEvent.DISCONNECTED, 14)


async def test_a_server_that_is_wrong_does_not_pass(
    said: list[Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_varlink_peer, "CALL_BURST", 14)
    wrong = [
        Step(step.method, step.parameters, [{"float": 1.5}], step.flags)
        if step.method == "Test03"
        else step
        for step in said
    ]
    _, client = await official_run(Server(wrong), tmp_path / "s")
    assert client.returncode == 1
    assert b"CertificationError" in client.stderr


async def test_with_the_daemons_limit_on_calls_it_gets_ten_answers(
    said: list[Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On the slowest machine, too, no eleventh call is admitted.
    monkeypatch.setattr(_varlink_peer, "CALL_RATE", 1e-9)
    server = Server(said)
    event, client = await official_run(server, tmp_path / "s")
    assert (event, client.returncode) == (LocalEvent.TOO_FAST, 1)
    assert server.answered == 10


INFO = b'{"method":"org.varlink.service.GetInfo"%b}'
UNKNOWN = f"{SERVICE}.InterfaceNotFound"
LONG = INFO % b',"x":"%b"' % (b"x" * CALL_LIMIT)

# A call, the answer of the package's server, and ours.
CALLS = {
    "as it should be": (INFO % b"", "answers", "answers"),
    "null for no parameters": (INFO % b',"parameters":null', "answers", "answers"),
    "a member of the call that nobody knows": (INFO % b',"a":1', "answers", "answers"),
    "more, and there is one reply": (INFO % b',"more":true', "answers", "answers"),
    "oneway": (INFO % b',"oneway":true', "is silent", "is silent"),
    "an unknown interface": (b'{"method":"a.b.C"}', UNKNOWN, UNKNOWN),
    "an unknown parameter": (
        INFO % b',"parameters":{"a":1}',
        f"{SERVICE}.InvalidParameter",
        f"{SERVICE}.InvalidParameter",
    ),
    "no JSON": (b"{", "hangs up", "hangs up"),
    # In the rows below, ours is stricter.
    "upgrade": (INFO % b',"upgrade":true', "answers", f"{SERVICE}.MethodNotImplemented"),
    "a key twice": (INFO % b',"a":1,"a":2', "answers", "hangs up"),
    "a flag that is a number": (INFO % b',"more":1', "answers", "hangs up"),
    "a number beyond 64 bits": (INFO % b',"a":9223372036854775808', "answers", "hangs up"),
    "nested deeper than 16": (INFO % b',"a":%b' % (b"[" * 17 + b"]" * 17), "answers", "hangs up"),
    "oneway and more": (INFO % b',"oneway":true,"more":true', "is silent", "hangs up"),
    "more than 4096 bytes": (LONG, "answers", "hangs up"),
    "a parameter of a wrong type": (
        b'{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":1}}',
        f"{SERVICE}.InvalidParameter",
        "hangs up",
    ),
}
# Answered by a reply that no other call gets.
PROBE = b'{"method":"probe.probe.Probe"}'


def their_way(message: bytes, path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(path))
        sock.sendall(message + b"\0" + PROBE + b"\0")
        heard = b""
        while b"probe.probe" not in heard:
            if not (chunk := sock.recv(65536)):
                return "hangs up"
            heard += chunk
    first = json.loads(heard.partition(b"\0")[0])
    if "probe.probe" in str(first):
        return "is silent"
    return str(first.get("error") or "answers")


def our_way(message: bytes) -> str:
    try:
        (whole,) = Decoder(CALL_LIMIT).feed_untrusted(message + b"\0")
        call = parse_call_untrusted(whole)
        LISTENER_SERVICE.decode_untrusted(call)
    except ServiceError as error:
        return error.name
    except (ProtocolError, MessageTooLong):
        return "hangs up"
    return "is silent" if call.oneway else "answers"


@pytest.mark.parametrize("case", CALLS)
def test_where_we_are_stricter_than_the_package(case: str, theirs: Path) -> None:
    message, they, we = CALLS[case]
    assert (their_way(message, theirs), our_way(message)) == (they, we)

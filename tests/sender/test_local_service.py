"""The control socket with real clients, good and bad, and the test's own clock."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from harness.control import ANNA, TARGET, Control
from harness.local_client import Client
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.interfaces.local_event import LocalEvent
from mailbell.sender._local_service import CONTROL_CONNECTIONS
from mailbell.sender._ring import Ring
from mailbell.sender._watchers import HELD

SENDER = "org.mailbell.Sender"
SPEAK = ("Ring", "Explain", "Watch")


def call(method: str, *, more: bool = False, **parameters: object) -> dict[str, object]:
    return {"method": f"{SENDER}.{method}", "parameters": parameters, "more": more}


clients: list[Client] = []


async def connect(control: Control) -> Client:
    clients.append(await Client(control.path).connect())
    return clients[-1]


Serve = Callable[..., Awaitable[None]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    async def run(body: Callable[[Control], Awaitable[None]], watchers: int = 4) -> None:
        control = Control(tmp_path / "s", watchers)
        with control.listening:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(control.server.serve)
                await body(control)
                nursery.cancel_scope.cancel()
        for client in clients:
            client.socket.close()
        clients.clear()

    return run


async def test_the_calls_are_answered(autojump_clock: MockClock, serve: Serve) -> None:
    async def body(control: Control) -> None:
        client = await connect(control)
        assert await client.ask(call("Ring", account="anna")) == {"parameters": {}}
        assert await client.ask(call("Seen", account="anna", address="192.0.2.7")) == {
            "parameters": {}
        }
        explained = (await client.ask(call("Explain", account="anna")))["parameters"]
        assert explained["account"] == ANNA
        assert [step["verdict"] for step in explained["steps"]] == ["ring", "no_address"]
        status = (await client.ask(call("GetStatus")))["parameters"]["status"]
        assert status["rings"]["sent"] == 2
        uid = os.geteuid()
        assert control.desk.asked == [
            ("ring", "anna", uid),
            ("seen", "anna", "192.0.2.7", uid),
            ("explain", ANNA),
        ]

    await serve(body)


@pytest.mark.parametrize("outcome", [o for o in InputOutcome if o is not InputOutcome.ACCEPTED])
async def test_what_is_not_accepted_is_an_error_and_no_more(
    autojump_clock: MockClock, serve: Serve, outcome: InputOutcome
) -> None:
    async def body(control: Control) -> None:
        control.desk.outcome = outcome
        client = await connect(control)
        for asked in (call("Ring", account="x"), call("Seen", account="x", address="::1")):
            reply = await client.ask(asked)
            if outcome is InputOutcome.UNKNOWN_ACCOUNT:
                assert reply["error"] == f"{SENDER}.UnknownAccount"
                assert reply["parameters"] == {"account": "x"}
            else:
                assert reply["error"] == f"{SENDER}.NotAccepted"
                assert reply["parameters"] == {"outcome": outcome.value}
        assert (await client.ask(call("GetStatus")))["parameters"]

    await serve(body)


@pytest.mark.parametrize("method", ["Explain", "Watch"])
async def test_an_unknown_account_is_an_error(
    autojump_clock: MockClock, serve: Serve, method: str
) -> None:
    async def body(control: Control) -> None:
        client = await connect(control)
        reply = await client.ask(call(method, account="who", more=method == "Watch"))
        assert reply["error"] == f"{SENDER}.UnknownAccount"
        assert (await client.ask(call("GetStatus")))["parameters"]

    await serve(body)


LONG = "a" * 255
ADDRESS = "192.0.2.7"


@pytest.mark.parametrize(
    ("method", "parameters", "named"),
    [
        *((method, {"account": name}, "account") for method in SPEAK for name in ("", LONG)),
        *((method, {}, "account") for method in ("Ring", "Explain")),
        *((method, {"account": "a", "other": 1}, "other") for method in SPEAK),
        ("Seen", {"account": "", "address": ADDRESS}, "account"),
        ("Seen", {"account": LONG, "address": ADDRESS}, "account"),
        ("Seen", {"account": "a"}, "address"),
        ("Seen", {"account": "a", "address": ""}, "address"),
        ("Seen", {"account": "a", "address": "1" * 65}, "address"),
    ],
)
async def test_a_parameter_out_of_range_is_named(
    autojump_clock: MockClock,
    serve: Serve,
    method: str,
    parameters: dict[str, Any],
    named: str,
) -> None:
    async def body(control: Control) -> None:
        client = await connect(control)
        reply = await client.ask(call(method, more=method == "Watch", **parameters))
        assert reply["error"] == "org.varlink.service.InvalidParameter"
        assert reply["parameters"] == {"parameter": named}
        assert control.desk.asked == []

    await serve(body)


async def test_a_watcher_is_told_at_once_and_of_each_ring(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(control: Control) -> None:
        client = await connect(control)
        first = await client.ask(call("Watch", more=True))
        assert first == {"parameters": {"ring": None, "missed": 0}, "continues": True}
        control.watchers.tell(Ring(ANNA, TARGET, RingOutcome.SENT, 0.4))
        assert (await client.reply())["parameters"] == {
            "ring": {
                "account": ANNA,
                "target": "192.0.2.7:79",
                "outcome": "sent",
                "milliseconds": 0.4,
            },
            "missed": 0,
        }
        client.socket.close()
        await control.settled(LocalEvent.DISCONNECTED)
        assert len(control.watchers) == 0
        assert [line.split()[0] for line in control.lines] == ["event=watching", "event=unwatched"]

    await serve(body)


async def test_a_watcher_of_one_account_is_told_of_its_rings_by_any_of_its_names(
    autojump_clock: MockClock, serve: Serve
) -> None:
    async def body(control: Control) -> None:
        client = await connect(control)
        await client.ask(call("Watch", account="anna", more=True))
        control.watchers.tell(Ring("bob", TARGET, RingOutcome.SENT))
        control.watchers.tell(Ring(ANNA, None, RingOutcome.NO_TARGET))
        told = (await client.reply())["parameters"]["ring"]
        assert (told["account"], told["target"]) == (ANNA, None)

    await serve(body)


async def test_a_watcher_that_does_not_read_misses_rings_and_delays_nothing(
    autojump_clock: MockClock, serve: Serve
) -> None:
    """`tell` is no coroutine: it cannot wait. What is kept for the watcher is bounded."""

    async def body(control: Control) -> None:
        slow, quick = await connect(control), await connect(control)
        await slow.ask(call("Watch", more=True))
        for number in range(20 * HELD):
            control.watchers.tell(Ring("anna", TARGET, RingOutcome.SENT, float(number)))
            if number % 100 == 0:
                await wait_all_tasks_blocked()
        assert (await quick.ask(call("GetStatus")))["parameters"]
        known = 0
        while known < 20 * HELD:
            told = (await slow.reply())["parameters"]
            known += told["missed"] + 1
            assert told["ring"]["milliseconds"] == known - 1
        assert control.events.count(LocalEvent.UNREAD) == 0

    await serve(body)


async def test_one_watcher_too_many_is_told_so(autojump_clock: MockClock, serve: Serve) -> None:
    async def body(control: Control) -> None:
        first, other = await connect(control), await connect(control)
        await first.ask(call("Watch", more=True))
        reply = await other.ask(call("Watch", more=True))
        assert reply["error"] == f"{SENDER}.TooManyWatchers"
        assert reply["parameters"] == {"limit": 1}
        assert LocalEvent.REFUSED_SUBSCRIBER in control.events
        first.socket.close()
        await control.settled(LocalEvent.DISCONNECTED)
        assert (await other.ask(call("Watch", more=True)))["continues"]

    await serve(body, watchers=1)


@pytest.mark.parametrize(
    "message",
    [b"\0", b"{}\0", b"x" * 5000, b'{"method": "org.mailbell.Sender.Ring",' + b" " * 9000],
)
async def test_a_bad_client_loses_its_connection_and_nobody_else_does(
    autojump_clock: MockClock, serve: Serve, message: bytes
) -> None:
    async def body(control: Control) -> None:
        good, bad = await connect(control), await connect(control)
        await good.ask(call("Watch", more=True))
        assert await bad.ask(message) is None
        control.watchers.tell(Ring("anna", TARGET, RingOutcome.SENT))
        assert (await good.reply())["parameters"]["ring"]["account"] == "anna"

    await serve(body)


@pytest.mark.uncounted
async def test_a_mail_server_may_call_a_thousand_times_a_second(
    autojump_clock: MockClock, serve: Serve
) -> None:
    """Each delivery has a connection of its own, as with the client library."""

    async def body(control: Control) -> None:
        answered, begun = 0, trio.current_time()
        deliveries = CONTROL_CONNECTIONS * 8 + 500
        for _ in range(deliveries):
            client = await connect(control)
            answered += await client.ask(call("Ring", account="anna")) == {"parameters": {}}
            client.socket.close()
            await trio.sleep(0.001)
        assert answered == deliveries
        assert trio.current_time() - begun < 1.2 * deliveries / 1000

    await serve(body)

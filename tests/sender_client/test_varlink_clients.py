"""Varlink clients of other projects at the control socket: `varlink`, `asyncvarlink`."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypedDict

import pytest
from asyncvarlink import (
    GenericVarlinkErrorReply,
    VarlinkClientProtocol,
    VarlinkInterface,
    connect_unix_varlink,
    varlinkmethod,
)
from harness.control import ANNA, Control, controlled

from mailbell.core.sender_outcome import RingOutcome
from mailbell.interfaces.sender import SENDER, SENDER_INTERFACE
from mailbell.sender._ring import Ring

PATIENCE = 60.0
RUNG = 40


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with controlled(tmp_path / "control") as it:
        yield it


def varlink(*words: str) -> str:
    """Run the program of the package `varlink`, and return what it prints, also of errors."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "varlink.cli", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout + done.stderr


def test_varlink_reads_the_text_and_calls_every_method(control: Control) -> None:
    address = f"unix:{control.path}"
    assert "Product: mailbell-sender\n" in varlink("info", address)
    printed = varlink("help", f"{address}/{SENDER}")
    assert printed.strip() == SENDER_INTERFACE.text.strip()

    def call(method: str, parameters: object) -> str:
        return varlink("call", f"{address}/{SENDER}.{method}", json.dumps(parameters))

    call("Ring", {"account": "anna"})
    call("Seen", {"account": "anna", "address": "192.0.2.7"})
    assert [asked[:2] for asked in control.desk.asked] == [("ring", "anna"), ("seen", "anna")]
    explained = json.loads(call("Explain", {"account": "anna"}))
    assert explained["account"] == ANNA
    assert [step["verdict"] for step in explained["steps"]] == ["ring", "no_address"]
    status = json.loads(varlink("call", f"{address}/{SENDER}.GetStatus"))["status"]
    assert status["rings"]["sent"] == 2
    assert "UnknownAccount" in call("Ring", {"account": "nobody"})


# asyncvarlink needs the types of the interface, and checks each reply by them.
class Origin(Enum):
    configured = "configured"
    last_used = "last_used"


Verdict = Enum(  # type: ignore[misc]  # mypy wants the names in place
    "Verdict",
    {
        name: name
        for name in (
            "ring",
            "held_back",
            "in_flight",
            "backing_off",
            "not_allowed",
            "no_address",
            "disabled",
        )
    },
)
Outcome = Enum("Outcome", {one.value: one.value for one in RingOutcome})  # type: ignore[misc]


@dataclass
class Step:
    origin: Origin
    target: str | None
    verdict: Verdict
    reason: str | None
    wait: int | None
    last: Outcome | None
    seen: int | None


@dataclass
class RingResult:
    account: str
    target: str | None
    outcome: Outcome
    milliseconds: float


class Explained(TypedDict):
    account: str
    steps: list[Step]


class Told(TypedDict):
    ring: RingResult | None
    missed: int


class Sender(VarlinkInterface, name=SENDER):
    # These are never called. asyncvarlink reads their types, and that the last one yields.
    @varlinkmethod
    async def Ring(self, *, account: str) -> None:  # noqa: N802  the method's name
        raise NotImplementedError

    @varlinkmethod
    async def Explain(self, *, account: str) -> Explained:  # noqa: N802  the method's name
        raise NotImplementedError

    @varlinkmethod
    async def Watch(  # noqa: N802  the method's name
        self, *, account: str | None = None
    ) -> AsyncIterator[Told]:
        del account
        yield Told(ring=None, missed=0)


async def connected(control: Control) -> tuple[Any, Any]:
    transport, protocol = await connect_unix_varlink(VarlinkClientProtocol, str(control.path))
    return transport, protocol.make_proxy(Sender)


def test_asyncvarlink_watches_rings_and_explains(control: Control) -> None:
    async def body() -> list[Told]:
        watching, watcher = await connected(control)
        told: list[Told] = []
        async with aclosing(watcher.Watch(account="anna")) as stream:
            told.append(await anext(stream))
            for _ in range(RUNG):
                transport, sender = await connected(control)
                await sender.Ring(account="anna")
                transport.close()
                told.append(await anext(stream))
        transport, sender = await connected(control)
        explained = await sender.Explain(account="anna")
        assert [step.verdict.value for step in explained["steps"]] == ["ring", "no_address"]
        with pytest.raises(GenericVarlinkErrorReply, match="UnknownAccount"):
            await sender.Ring(account="nobody")
        transport.close()
        watching.close()
        return told

    control.desk.rings = [Ring(ANNA, None, RingOutcome.NO_TARGET)]
    first, *told = asyncio.run(asyncio.wait_for(body(), PATIENCE))
    assert first["ring"] is None
    for one in told:
        ring = one["ring"]
        assert ring is not None
        assert (ring.account, ring.target, ring.outcome.value) == (ANNA, None, "no_target")
        assert one["missed"] == 0

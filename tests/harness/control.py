"""The real control socket of mailbell-sender, before a sender that does what a test says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from harness.fake_sender import STATUS

from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.core.target import Target
from mailbell.interfaces.local_event import LocalEvent
from mailbell.interfaces.sender import Origin, Step, Verdict
from mailbell.interfaces.sender_status import Status
from mailbell.logs.journal import Journal
from mailbell.sender._local_service import LocalService
from mailbell.sender._ring import Ring
from mailbell.sender._watchers import Watchers

__all__ = ["ANNA", "STEPS", "TARGET", "Control", "Desk", "controlled"]

ANNA = "anna@example.org"
TARGET = Target(Address.parse("192.0.2.7"), 79, Transport.TCP)
STEPS = (
    Step(origin=Origin.CONFIGURED, target="192.0.2.7:79", verdict=Verdict.RING),
    Step(origin=Origin.LAST_USED, verdict=Verdict.NO_ADDRESS),
)


class Desk:
    """A sender that knows anna@example.org, and answers as the test says.

    Attributes:
        outcome: how each notification and login is counted.
        steps: the answer to `Explain`.
        rings: what a notification leads to.
        answer: the status.
        asked: what was asked so far.
        told: gets each ring.
    """

    def __init__(self, told: Watchers) -> None:
        self.outcome = InputOutcome.ACCEPTED
        self.steps: tuple[Step, ...] = STEPS
        self.rings = [Ring(ANNA, TARGET, RingOutcome.SENT, 0.4)]
        self.asked: list[tuple[object, ...]] = []
        self.told = told
        self.answer = STATUS

    def find(self, account: str) -> str | None:
        return ANNA if account in {"anna", ANNA} else None

    def ring(self, account: str, uid: int) -> InputOutcome:
        self.asked.append(("ring", account, uid))
        if self.outcome is InputOutcome.ACCEPTED and self.find(account) is None:
            return InputOutcome.UNKNOWN_ACCOUNT
        if self.outcome is InputOutcome.ACCEPTED:
            for ring in self.rings:
                self.told.tell(ring)
        return self.outcome

    def seen(self, account: str, address: str, uid: int) -> InputOutcome:
        self.asked.append(("seen", account, address, uid))
        return self.outcome

    def explain(self, account: str) -> tuple[Step, ...]:
        self.asked.append(("explain", account))
        return self.steps

    def status(self) -> Status:
        return self.answer


class Control:
    """The control socket of such a sender.

    Args:
        path: where it is made.
        watchers: how many there may be.
    """

    def __init__(self, path: Path, watchers: int = 4) -> None:
        self.path = path
        self.watchers = Watchers(watchers)
        self.desk = Desk(self.watchers)
        self.lines: list[str] = []
        self.events: list[LocalEvent] = []
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen(128)
        self.listening.setblocking(False)
        journal = Journal(self.lines.append, lambda: 0.0)
        self.service = LocalService(self.desk, self.watchers, journal, count=self.events.append)
        self.server = self.service.server(self.listening)

    async def settled(self, event: LocalEvent, count: int = 1) -> None:
        """Wait until an event has happened."""
        with trio.fail_after(600):
            while self.events.count(event) < count:
                await trio.sleep(0.001)


@contextmanager
def controlled(path: Path) -> Iterator[Control]:
    """Serve a control socket in a thread, for clients that are other processes or block."""
    control = Control(path)
    token: list[trio.lowlevel.TrioToken] = []
    scope = trio.CancelScope()
    ready = threading.Event()

    async def serve() -> None:
        token.append(trio.lowlevel.current_trio_token())
        ready.set()
        with scope:
            await control.server.serve()

    thread = threading.Thread(target=trio.run, args=(serve,), daemon=True)
    with control.listening:
        thread.start()
        ready.wait(20)
        try:
            yield control
        finally:
            token[0].run_sync_soon(scope.cancel)
            thread.join(20)
    path.unlink()
    assert not thread.is_alive()

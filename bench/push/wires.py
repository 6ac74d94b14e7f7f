"""Laptops with one user each, to whom nothing happens: what crosses the cable, what wakes them.

They wait for some minutes while other things are measured, on a cable of their own. A packet
socket sees each packet, and /proc how often each listening process ran. At the end each
connection ends its IDLE once and again, and each user gets mails, some seconds apart.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from harness.netns import Pair

from bench.processes import PATIENCE, Failed, end
from bench.push.capture import Capture, bursts, captured, middle
from bench.push.client import Order
from bench.push.crowd import NAMES
from bench.push.laptops import laptops, sender
from bench.push.mailbox import Place
from bench.push.record import Burst, Plan, Wire
from bench.push.server import dovecot
from bench.push.settings import SERVER, Ports, Setup
from bench.push.waiting import Clients, clients, deliver

__all__ = ["ADDRESSES", "CABLE", "Watch", "check", "watched"]

CABLE: Final = "cable0"
_RUNG: Final = "192.0.2.10"
ADDRESSES: Final = tuple(f"192.0.2.{n}" for n in range(10, 23))
_USERS: Final = 8
_BETWEEN: Final = 1.6  # seconds between two things that happen, so that their packets are apart
_FIRST: Final = {("bookworm", False): 1143, ("bookworm", True): 1153,
                 ("trixie", False): 1163, ("trixie", True): 1173}  # fmt: skip


@dataclass(frozen=True)
class _Laptop:
    """One of them.

    Attributes:
        name: for people.
        address: its own.
        tls: whether it uses TLS.
        user: the number of its user.
        port: of LMTP of its user's Dovecot.
        programs: its processes by their names, when it began.
        crowd: its client.
        kind: idle, imap, pop3 or mailbell.
    """

    name: str
    address: str
    tls: bool
    user: int
    port: int
    programs: dict[str, int]
    crowd: Clients
    kind: str


class Watch:
    """The laptops, from the moment at which all of them wait."""

    def __init__(self, plan: Plan, pair: Pair, found: Sequence[_Laptop], capture: Capture) -> None:
        self._plan = plan
        self._pair = pair
        self._laptops = found
        self._capture = capture
        # What their beginning has sent is acknowledged by then.
        time.sleep(_BETWEEN)
        self._ran = {each.address: _runs(each.programs) for each in found}
        self._begun = time.monotonic()

    def finish(self) -> tuple[Wire, ...]:
        """Wait until the time is over; let happen what is to happen; return what was seen."""
        time.sleep(max(0.0, self._begun + self._plan.window - time.monotonic()))
        ran = {each.address: _runs(each.programs) for each in self._laptops}
        ended = time.monotonic()
        time.sleep(_BETWEEN)  # so that nothing of this time is taken for what follows
        again = self._again()
        telling = self._telling()
        found = []
        for each in self._laptops:
            before = self._ran[each.address]
            seen = bursts(self._capture.between(each.address, self._begun, ended))
            begins = [burst[0].at for burst in seen]
            gaps = [later - earlier for earlier, later in pairwise(begins)]
            found.append(
                Wire(
                    each.name, each.tls, ended - self._begun, len(seen),
                    median(gaps) if gaps else 0.0, middle(seen),
                    again.get(each.address), telling.get(each.address),
                    {name: n - before[name] for name, n in ran[each.address].items()},
                )
            )  # fmt: skip
        return tuple(found)

    def _again(self) -> dict[str, Burst | None]:
        begun = time.monotonic()
        idlers = [each for each in self._laptops if each.kind == "idle"]
        for _ in range(self._plan.again):
            for each in idlers:
                each.crowd.again()
            time.sleep(_BETWEEN)
        return self._seen(idlers, begun)

    def _telling(self) -> dict[str, Burst | None]:
        begun = time.monotonic()
        told = [each for each in self._laptops if each.kind in ("idle", "mailbell")]
        for number in range(self._plan.again):
            for each in told:
                deliver(self._pair.server, each.port, each.user)
            for each in told:
                _until_told(each, number + 1)
            time.sleep(_BETWEEN)
        return self._seen(told, begun)

    def _seen(self, found: Sequence[_Laptop], begun: float) -> dict[str, Burst | None]:
        """Return what crossed at each occasion since a moment; signs of life are smaller."""
        now = time.monotonic()
        return {
            each.address: middle(bursts(self._capture.between(each.address, begun, now)))
            for each in found
        }


def _until_told(laptop: _Laptop, count: int) -> None:
    crowd = laptop.crowd
    what = f"{laptop.name}: {count} mails were to be told"
    crowd.until(lambda: crowd.count("told") >= count, what, PATIENCE)


def _runs(programs: dict[str, int]) -> dict[str, int]:
    """Return how often each process went to sleep so far, and with that woke up (proc(5))."""
    return {
        name: sum(
            int(line.split()[1])
            for task in Path(f"/proc/{pid}/task").iterdir()
            for line in (task / "status").read_text().splitlines()
            if line.startswith("voluntary_ctxt_switches")
        )
        for name, pid in programs.items()
    }


@contextmanager
def watched(plan: Plan, pair: Pair, keys: Path) -> Iterator[Watch]:
    """Let all laptops wait until the end of the block.

    Args:
        plan: how long.
        pair: the server and the laptops; the laptops' end has all `ADDRESSES`.
        keys: the folder of the server's certificate.
    """
    for host in (pair.server, pair.client):
        # A packet that is longer than the cable permits would be counted as one.
        host.run("ip", "link", "set", CABLE, "gso_max_segs", "1")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        hook = folder / "sender"
        for place in (folder, hook):
            place.mkdir(exist_ok=True)
            place.chmod(0o755)
        capture = stack.enter_context(captured(pair.server, CABLE, SERVER))
        servers = {each: port for each, port in _FIRST.items() if each[0] in plan.suites}
        for (suite, hibernates), port in servers.items():
            setup = Setup(
                suite, Ports(port), _USERS, min(plan.hibernate, 5) if hibernates else 0,
                plan.keep_alive, rings=not hibernates and suite == "trixie",
            )  # fmt: skip
            stack.enter_context(dovecot(setup, pair.server, hook, keys))
        found = [
            _rung(stack, pair, folder, hook),
            *_waiting(stack, pair, servers),
            *_polling(stack, pair, plan),
        ]
        for each in found:
            if each.kind in ("idle", "mailbell"):
                each.crowd.until_ready(1)
        yield Watch(plan, pair, found, capture)


def _rung(stack: ExitStack, pair: Pair, folder: Path, hook: Path) -> _Laptop:
    """Start the laptop that is rung: with the daemon, the agent, and a program that subscribes."""
    stack.enter_context(sender(hook, [("u0", _RUNG)], pair))
    (daemon,) = stack.enter_context(laptops(folder, [_RUNG], pair))
    ports = Ports(_FIRST["trixie", False])
    order = Order("mailbell", Place(SERVER, ports.imap, _RUNG), (0,), fetches=False,
                  sockets=(daemon.path,))  # fmt: skip
    crowd = stack.enter_context(clients(order, pair.client))
    agent = pair.client.popen(
        [
            str(Path(sys.executable).with_name("mailbell")), "run", "--socket", daemon.path,
            "--no-on-start", "--no-network-up", "--", "true",
        ],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "MAILBELL_DAEMON_USER": "nobody", "XDG_STATE_HOME": str(folder)},
    )  # fmt: skip
    stack.callback(end, agent)
    programs = {"mailbelld": daemon.pid, "mailbell run": agent.pid, "subscriber": crowd.process.pid}
    return _Laptop("mailbell", _RUNG, False, 0, ports.lmtp, programs, crowd, "mailbell")


def _waiting(
    stack: ExitStack, pair: Pair, servers: Mapping[tuple[str, bool], int]
) -> Iterator[_Laptop]:
    """Start those that wait with IDLE, at each Dovecot without TLS and with it."""
    addresses = iter(ADDRESSES[1:9])
    for (suite, hibernates), port in servers.items():
        for tls in (False, True):
            address, ports, user = next(addresses), Ports(port), 2 if tls else 1
            place = Place(SERVER, ports.imaps if tls else ports.imap, address, tls)
            order = Order("idle", place, (user,), fetches=False)
            crowd = stack.enter_context(clients(order, pair.client))
            name = f"IDLE, Dovecot {NAMES[suite]}{', hibernation' if hibernates else ''}"
            programs = {"client": crowd.process.pid}
            yield _Laptop(name, address, tls, user, ports.lmtp, programs, crowd, "idle")


def _polling(stack: ExitStack, pair: Pair, plan: Plan) -> Iterator[_Laptop]:
    """Start those that poll."""
    addresses = iter(ADDRESSES[9:])
    ports = Ports(_FIRST["trixie", False])
    choices = (("imap", ports.imap, ports.imaps), ("pop3", ports.pop3, ports.pop3s))
    for number, (way, plain, with_tls) in enumerate(choices):
        for tls in (False, True):
            address, user = next(addresses), 3 + 2 * number + tls
            place = Place(SERVER, with_tls if tls else plain, address, tls)
            order = Order(way, place, (user,), interval=plan.interval)
            crowd = stack.enter_context(clients(order, pair.client))
            name = f"{way.upper()}, a poll each {plan.interval:.0f} s"
            programs = {"client": crowd.process.pid}
            yield _Laptop(name, address, tls, user, ports.lmtp, programs, crowd, way)


def check(found: Sequence[Wire]) -> None:
    """Refuse what cannot be right.

    Raises:
        Failed: somebody who waits got no sign of life, or somebody who is rung got a packet.
    """
    for each in found:
        if (each.each is None) != (each.name == "mailbell"):
            raise Failed(f"{each.name}: {each.bursts} times packets crossed")

"""What a sign of life to a connection with IDLE costs a real Dovecot.

It runs over a clean Debian, as for docs/push.md, in a network of its own. So this needs root and
mmdebstrap. The server sends nothing but signs of life while it is watched: its packets on the cable
are these.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.kernel import Cpu
from bench.processes import Failed
from bench.section import Plan

if TYPE_CHECKING:
    from harness.netns import Pair

    from bench.push.server import Dovecot

__all__ = ["measure_idle", "sent_packets"]

_CLIENT: Final = "192.0.2.30"
_SUITE: Final = "trixie"  # Dovecot 2.4
_USERS: Final = 1000
_INTERVAL: Final = 2  # seconds between two signs of life
_HIBERNATE: Final = 1  # shorter than the interval, so that no sign of life comes before
_SETTLE: Final = 2.0
_SECONDS: Final = 20.0
_PATIENCE: Final = 180.0  # seconds until all connections are hibernated
_LEFT: Final = 2  # processes that hibernation adds
_TESTS: Final = Path(__file__).resolve().parents[2] / "tests"


def measure_idle(plan: Plan) -> Iterator[tuple[str, float]]:
    """Measure without and with hibernation.

    Args:
        plan: how much.

    Raises:
        Failed: it cannot be measured here.
    """
    if os.geteuid() != 0:
        raise Failed("Dovecot over a clean Debian needs root")
    if str(_TESTS) not in sys.path:  # namespaces and clean roots are those of the tests
        sys.path.append(str(_TESTS))
    for name, hibernates in (("idle_sign", False), ("idle_sign_hibernated", True)):
        try:
            yield name, _sign(plan, hibernates=hibernates)
        except _skipped() as error:
            raise Failed(str(error)) from error


def _skipped() -> type[BaseException]:
    """Return what the harness of the tests raises where something is missing."""
    import pytest

    return pytest.skip.Exception


def _sign(plan: Plan, *, hibernates: bool) -> float:
    """Return the microseconds of all processes of Dovecot for one sign of life."""
    from harness.netns import namespaces

    from bench.push.client import Order
    from bench.push.mailbox import Place
    from bench.push.server import certificate, dovecot
    from bench.push.settings import SERVER, Ports, Setup
    from bench.push.waiting import clients

    users = plan.of(_USERS, 4)
    seconds = max(_SECONDS * plan.scale, 3.0 * _INTERVAL)
    ports = Ports(1143)
    setup = Setup(_SUITE, ports, users + 1, _HIBERNATE if hibernates else 0, keep_alive=_INTERVAL)
    place = Place(SERVER, ports.imap, _CLIENT, False)
    with ExitStack() as stack:
        pair = stack.enter_context(namespaces([f"{SERVER}/24"], [f"{_CLIENT}/24"]))
        keys, hook = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
            for _ in range(2)
        )
        certificate(keys)
        found = stack.enter_context(dovecot(setup, pair.server, hook, keys))
        # Some processes are started by the first login, and stay.
        with clients(Order("imap", place, (users,), interval=_PATIENCE), pair.client) as warm:
            warm.until(lambda: warm.count("looked") == 1, "the first login", _PATIENCE)
        time.sleep(_SETTLE)  # Dovecot does not say when it has come to rest
        alone = len(found.pids())
        idle, _ = _watch(found, pair, seconds)
        order = Order("idle", place, tuple(range(users)))
        crowd = stack.enter_context(clients(order, pair.client))
        crowd.until_ready(users)
        if hibernates:
            _until_hibernated(found, alone)
        time.sleep(_SETTLE)  # what belongs to the logins has ended then
        busy, signs = _watch(found, pair, seconds)
    expected = users * seconds / _INTERVAL
    if not 0.5 * expected < signs < 1.5 * expected:
        raise Failed(f"{signs} signs of life were sent, and {expected:.0f} were to be")
    return (busy - idle) / signs / 1000


def _watch(found: "Dovecot", pair: "Pair", seconds: float) -> tuple[int, int]:
    """Return the nanoseconds of all processes in some time, and the packets that were sent."""
    before, packets = _times(found), _packets(pair)
    time.sleep(seconds)  # what is spent in this time is measured
    after = _times(found)
    return (
        sum(time_of - before.get(pid, 0) for pid, time_of in after.items()),
        _packets(pair) - packets,
    )


def _times(found: "Dovecot") -> dict[int, int]:
    return {pid: Cpu.of(pid).total for pid in found.pids()}


def _packets(pair: "Pair") -> int:
    return sent_packets(Path(f"/proc/{pair.server.pid}/net/dev").read_text())


def sent_packets(text: str) -> int:
    """Return the packets that were sent on the cable. Source: proc(5), /proc/PID/net/dev.

    Args:
        text: of the file.

    Raises:
        Failed: there is no cable.
    """
    found = re.search(r"^\s*cable0:\s*(.*)$", text, re.MULTILINE)
    if found is None:
        raise Failed("the server has no cable")
    return int(found[1].split()[9])  # after eight fields of what was received, and the bytes


def _until_hibernated(found: "Dovecot", alone: int) -> None:
    last = time.monotonic() + _PATIENCE
    while (more := len(found.pids()) - alone) > _LEFT:
        if time.monotonic() > last:
            raise Failed(f"{more} processes are not hibernated: {found.complaints()[:1]}")
        time.sleep(1)  # between two counts

"""What a notification costs mailbell-sender, from a hook's line to the wire.

First part: CPU time beside a bare C program (`c/ring.c`), which reads the same lines, connects,
sends and closes. The lines come on one connection, as from Dovecot, or each on its own, as from
a hook. Each host is rung so seldom that no notification is merged with another.

Second part: half of a thousand targets never answer, and the address book is full. Every target
gets a notification every two seconds with the settings that are the default. `c/sink.c` notes
when each line arrives. The book is filled before, by a hundred thousand logins.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from bench.kernel import Cpu, Resident
from bench.processes import PATIENCE, Failed, build, cores
from bench.ringers import HOSTS, Ringer, Sink, bare, black_hole, mailbell_sender, sink
from bench.section import Plan, Row, Section, Spread, Target

__all__ = ["measure"]

_ACCOUNTS: Final = 1000
# Notifications of a round of the first part, and of the second part.
_ROUND: Final = 10_000
_NOTIFICATIONS: Final = 10_000
# A second, so that each of the thousand targets gets one every two seconds.
_PER_SECOND: Final = 480
_BOOK: Final = 100_000
_ONE: Final = "one connection"
_EACH: Final = "a connection each"
_RATIO: Final = 3.0
_P99: Final = 1.0
_MEMORY: Final = 40.0
_GROWTH: Final = 1.0
# Hosts are told apart by number; those of the book are elsewhere and never rung.
_FAST: Final = '[send]\ninterval = "10ms"\nrate = "1000000/s"\n'


def measure(plan: Plan) -> Section:
    """Measure both parts.

    Args:
        plan: how much.

    Raises:
        Failed: a notification was lost, or it was counted wrongly.
    """
    build()
    costs = _costs(plan)
    delays = _delays(plan)
    return _section(costs, delays)


# --- the cost beside the C program ------------------------------------------------------


class _Costs(NamedTuple):
    """CPU time of a notification in us, a round after another."""

    bare: list[float]
    sender: list[float]


def _costs(plan: Plan) -> dict[str, _Costs]:
    own, load = cores()
    count = plan.of(_ROUND, least=50)
    found = {name: _Costs([], []) for name in (_ONE, _EACH)}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        directory.chmod(0o755)
        hosts = stack.enter_context(sink(load))
        accounts = _accounts(hosts.port, range(_ACCOUNTS))
        sender = stack.enter_context(mailbell_sender(directory, _FAST + accounts, own))
        program = stack.enter_context(bare(directory, hosts.port, own))
        expected = 0
        for number in range(plan.rounds):
            for name, costs in found.items():
                pairs = [(program, costs.bare), (sender, costs.sender)]
                for ringer, values in pairs[:: 1 if number % 2 else -1]:
                    expected += count
                    values.append(_cost(ringer, hosts, count, expected, name))
        rings = {name: n for name, n in sender.status().rings.items() if n}
        if rings != {"sent": 2 * plan.rounds * count}:
            raise Failed(f"the sender counted {rings}")
    return found


def _cost(ringer: Ringer, hosts: Sink, count: int, expected: int, name: str) -> float:
    """Ring; return the CPU time of a notification in us.

    All accounts are rung once, and again when all lines have arrived: so none is merged.
    """
    before = Cpu.settled(ringer.pid)
    arrived = expected - count
    with ExitStack() as stack:
        kept = stack.enter_context(ringer.connect()) if name == _ONE else None
        while arrived < expected:
            lines = [f"new a{n}\n".encode() for n in range(min(_ACCOUNTS, expected - arrived))]
            if kept is not None:
                kept.sendall(b"".join(lines))
            else:
                for line in lines:
                    with ringer.connect() as sock:
                        sock.sendall(line)
            arrived += len(lines)
            hosts.wait_for(arrived)
    return (Cpu.settled(ringer.pid) - before).total / count / 1000


def _accounts(port: int, numbers: Sequence[int]) -> str:
    return "".join(
        f'[[account]]\nname = "a{n}"\ntargets = ["127.1.{n >> 8}.{n & 255}:{port}"]\n'
        for n in numbers
    )


# --- half of the targets never answer -----------------------------------------------------


class _Delays(NamedTuple):
    """What the second part found.

    Attributes:
        seconds: from the line to the wire, for each notification of a host that answers.
        empty: resident MiB with an empty book.
        full: with a full book.
        before: when every target was rung once.
        after: after all notifications.
        outcomes: how the rings ended.
        book: how many accounts the book had.
    """

    seconds: list[float]
    empty: float
    full: float
    before: float
    after: float
    outcomes: dict[str, int]
    book: int


def _delays(plan: Plan) -> _Delays:
    own, load = cores()
    count = plan.of(_NOTIFICATIONS, least=100)
    accounts = min(_ACCOUNTS, count)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        directory.chmod(0o755)
        hosts = stack.enter_context(sink(load))
        dead = stack.enter_context(black_hole())
        toml = _accounts(hosts.port, range(0, accounts, 2))
        toml += _accounts(dead, range(1, accounts, 2))
        toml += '[default]\ntargets = ["last-used"]\n'
        sender = stack.enter_context(mailbell_sender(directory, toml, own))
        empty = _resident(sender)
        _fill_book(sender, plan.of(_BOOK, least=100))
        full = _resident(sender)
        sent = _ring_all(sender, accounts, accounts)
        before = _resident(sender)  # every target has a state now
        sent += _ring_all(sender, count - accounts, accounts)
        answering = [n for n in range(count) if not n % accounts % 2]
        hosts.wait_for(len({n % accounts for n in answering}))
        status = _settled(sender, len(answering))
        after = _resident(sender)
        seconds = list(_matched(sent, hosts.finish(), accounts))
    return _Delays(
        seconds,
        empty,
        full,
        before,
        after,
        {name: n for name, n in status.items() if n},
        plan.of(_BOOK, least=100),
    )


def _resident(sender: Ringer) -> float:
    return Resident.of(sender.pid).now


def _fill_book(sender: Ringer, accounts: int) -> None:
    with sender.connect() as sock:
        for first in range(0, accounts, 1000):
            lines = (
                f"seen u{n} 10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n"
                for n in range(first, min(first + 1000, accounts))
            )
            sock.sendall("".join(lines).encode())
            time.sleep(0.1)  # a user who is trusted may say 10,000 lines a second
    last = time.monotonic() + PATIENCE
    while sender.status().book.accounts < accounts:
        if time.monotonic() > last:
            raise Failed(f"of {accounts} logins {sender.status().book.accounts} were noted")
        time.sleep(0.1)  # between two questions


def _ring_all(sender: Ringer, count: int, accounts: int) -> list[int]:
    """Ring all accounts by turns; return when each line was written, in ns."""
    written = []
    with sender.connect() as sock:
        began = time.monotonic()
        for n in range(count):
            # The load is so many a second.
            time.sleep(max(0.0, began + n / _PER_SECOND - time.monotonic()))
            written.append(time.monotonic_ns())
            sock.sendall(f"new a{n % accounts}\n".encode())
    return written


def _settled(sender: Ringer, answering: int) -> dict[str, int]:
    """Wait until everything is sent to the hosts that answer; return how all rings ended."""
    last = time.monotonic() + PATIENCE
    while True:
        rings = sender.status().rings
        if rings["sent"] + rings["coalesced"] >= answering:
            return rings
        if time.monotonic() > last:
            raise Failed(f"of {answering} notifications {rings['sent']} were sent")
        time.sleep(0.5)  # between two questions, which take processor time from what is measured


def _matched(written: list[int], arrived: list[tuple[int, int]], accounts: int) -> Iterator[float]:
    """Yield for each notification of a host that answers how long its line took, in seconds."""
    times: dict[int, list[int]] = defaultdict(list)
    for when, host in arrived:
        times[host].append(when)
    for earlier, later in pairwise(arrived):
        if later[0] < earlier[0]:
            raise Failed("the hosts' clock runs backwards")
    for n, when in enumerate(written):
        host = n % accounts
        if host % 2:
            continue
        later_ones = [each for each in times[host] if each >= when]
        if not later_ones:
            raise Failed(f"notification {n} for host {HOSTS + host:#x} did not arrive")
        yield (later_ones[0] - when) / 1e9


# --- the results -----------------------------------------------------------------------------


def _section(costs: dict[str, _Costs], delays: _Delays) -> Section:
    rows = []
    targets = []
    for name, found in costs.items():
        ratio = Spread.of(own / c for c, own in zip(found.bare, found.sender, strict=True))
        rows.append(Row(f"bare C program, {name}", Spread.of(found.bare)))
        rows.append(Row(f"mailbell-sender, {name}", Spread.of(found.sender), ratio))
        targets.append(Target(f"mailbell-sender / bare C, {name}", ratio.median, _RATIO))
    ordered = sorted(delays.seconds)
    p99 = ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
    rows.append(Row("hook to wire, half never answers: p50", Spread.of([_at(ordered, 50)])))
    rows.append(Row("hook to wire, half never answers: p99", Spread.of([_at(ordered, 99)])))
    rows.append(Row("hook to wire, half never answers: max", Spread.of([_at(ordered, 100)])))
    targets += [
        Target("p99 from hook to wire, half never answers", p99, _P99, unit="s"),
        Target(
            "memory with a full book, after all notifications", delays.after, _MEMORY, unit="MiB"
        ),
        Target(
            "memory gained after each target was rung once",
            delays.after - delays.before,
            _GROWTH,
            unit="MiB",
        ),
    ]
    outcomes = ", ".join(f"{name} {n}" for name, n in delays.outcomes.items())
    memory = (
        f"memory in MiB: {delays.empty:.1f} at start, {delays.full:.1f} with {delays.book}"
        f" accounts in the book, {delays.before:.1f} when every target was rung once,"
        f" {delays.after:.1f} after all notifications"
    )
    return Section(
        name="sender",
        title="mailbell-sender: CPU time of a notification, and time from hook to wire",
        unit="us",
        rows=tuple(rows),
        against="the bare C program",
        targets=tuple(targets),
        notes=(
            "every notification for a host that answers arrived after its line was written",
            f"{len(delays.seconds)} of these; rings with half of the targets silent: {outcomes}",
            memory,
        ),
    )


def _at(ordered: list[float], percent: int) -> float:
    """Return a percentile in us."""
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] * 1e6

"""What the daemon spends on packets that the kernel's filter refuses: nothing.

The kernel drops a SYN from a source that `sources.allow` does not list, and a datagram that is
not the line, while the sender sends it. The scheduler tells whether this cost the daemon
anything: how long the daemon ran, and how often it got a CPU. The same time with nothing sent
is measured too. The work of the kernel itself is not measured: over loopback it is done in the
sender's time.

For comparison, the cost is measured when the daemon must refuse. Without CAP_NET_ADMIN, which
newer kernels require for the filter of a TCP socket, the daemon applies the list of sources
itself. A datagram that the filter admits and the daemon refuses is a good line from a source
in `sources.deny`, which the filter does not know.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from bench.flood import Flood
from bench.kernel import Cpu
from bench.processes import Daemon, Failed, Load, build, configuration, cores, started
from bench.section import Plan, Row, Section, Spread, Target
from mailbell.core.outcome import Outcome

__all__ = ["measure"]

_HOST: Final = "127.0.0.1"
_SYNS: Final = 30_000
_DATAGRAMS: Final = 100_000
_COMPARED: Final = 20_000
# Source 0 may notify. Source 1 is listed and denied. The next ones are not listed.
_ALLOW: Final = ("127.1.0.0/24", "127.1.1.0/24")
_DENY: Final = ("127.1.1.0/24",)
_DENIED: Final = 1
_UNLISTED: Final = 2
# Good notifications at the end: the filter must not stop listed sources.
_GOOD: Final = 20
_WITHOUT_NET_ADMIN: Final = ("setpriv", "--bounding-set=-net_admin")


class _Ran(NamedTuple):
    """How much the daemon ran.

    Attributes:
        nanoseconds: time on a CPU.
        slices: how often it got a CPU.
    """

    nanoseconds: int
    slices: int

    @classmethod
    def settled(cls, pid: int) -> "_Ran":
        """Read it once the process rests. Source: Documentation/scheduler/sched-stats.rst."""
        Cpu.settled(pid)
        ran, _, slices = map(int, Path(f"/proc/{pid}/schedstat").read_text().split())
        return cls(ran, slices)

    def since(self, earlier: "_Ran") -> "_Ran":
        """Return how much it ran since then."""
        return _Ran(self.nanoseconds - earlier.nanoseconds, self.slices - earlier.slices)


@dataclass
class _Refused:
    """One kind of message that the kernel refuses.

    Attributes:
        name: the name of one message.
        daemon: the daemon that must not notice.
        flood: a flood of such messages.
        dropped: returns how many its socket has dropped so far.
        by_daemon: sends as many for a daemon to refuse, and returns the nanoseconds for one.
        ran: how much the daemon ran during the flood, one for each round.
        idle: the same for the same time with nothing sent.
        compared: what `by_daemon` returned.
    """

    name: str
    daemon: Daemon
    flood: Flood
    dropped: Callable[[], int]
    by_daemon: Callable[[], float] | None
    ran: list[_Ran] = field(default_factory=list)
    idle: list[_Ran] = field(default_factory=list)
    compared: list[float] = field(default_factory=list)

    def round(self) -> None:
        """Measure once."""
        dropped, outcomes = self.dropped(), self.daemon.status().outcomes
        self._measure()
        dropped = self.dropped() - dropped
        if dropped < self.flood.count or self.daemon.status().outcomes != outcomes:
            raise Failed(f"{self.name}: of {self.flood.count} the filter dropped {dropped}")
        if self.by_daemon is not None:
            self.compared.append(self.by_daemon())

    def _measure(self) -> None:
        port = self.daemon.port(self.flood.transport, _HOST)
        before = _Ran.settled(self.daemon.pid)
        began = time.monotonic()
        sent = self.flood.run(_HOST, port, cores()[1])
        between = _Ran.settled(self.daemon.pid)
        time.sleep(time.monotonic() - began)
        after = _Ran.settled(self.daemon.pid)
        if self.flood.transport == "tcp" and sent.sent:
            raise Failed(f"{self.name}: {sent.sent} connected")
        self.ran.append(between.since(before))
        self.idle.append(after.since(between))

    def rows(self) -> Iterator[Row]:
        """The cost of one message, as measured."""
        count = self.flood.count
        yield Row(f"{self.name}, refused by the kernel", _each(self.ran, count))
        yield Row("  nothing sent for the same time", _each(self.idle, count))
        if self.compared:
            yield Row("  the same, refused by the daemon", Spread.of(self.compared))

    def targets(self) -> Iterator[Target]:
        """The target: nothing, up to the difference of two measurements of an idle daemon."""
        ran, idle = _each(self.ran, self.flood.count), _each(self.idle, self.flood.count)
        yield Target(
            what=f"{self.name}: CPU beyond idling, at most what idling varies by",
            value=ran.median - idle.median,
            bound=idle.most - idle.least,
            unit="ns",
        )
        yield Target(
            what=f"{self.name}: times the daemon ran in any round, at most as when idle",
            value=max(ran.slices for ran in self.ran),
            bound=max(ran.slices for ran in self.idle),
        )


def _each(ran: Sequence[_Ran], count: int) -> Spread:
    return Spread.of(each.nanoseconds / count for each in ran)


def measure(plan: Plan) -> Section:
    """Measure what this user is permitted to measure.

    Args:
        plan: how much to measure.

    Raises:
        Failed: a message did not reach the filter, or got past it.
    """
    build()
    with ExitStack() as stack:
        daemon = stack.enter_context(_daemon())
        kinds = [_datagrams(plan, daemon)]
        missing = _why_no_syns(daemon)
        if not missing:
            kinds.insert(0, _syns(plan, daemon, stack))
        for _ in range(plan.rounds):
            for kind in kinds:
                kind.round()
        passed = _pass(daemon)
    return Section(
        name="filtered",
        title="CPU time of the daemon for one message that the kernel's filter refuses",
        unit="ns",
        rows=tuple(row for kind in kinds for row in kind.rows()),
        targets=tuple(target for kind in kinds for target in kind.targets()),
        notes=(
            *(_note(kind) for kind in kinds),
            f"afterwards {passed} of {_GOOD} notifications from a listed source were accepted",
            *missing,
            *(_no_comparison(kind) for kind in kinds if kind.by_daemon is None),
        ),
    )


def _note(kind: _Refused) -> str:
    total = sum(ran.slices for ran in kind.ran)
    sent = len(kind.ran) * kind.flood.count
    return f"{kind.name}: {sent:,} sent, all dropped at the socket; the daemon ran {total} times"


def _no_comparison(kind: _Refused) -> str:
    return f"{kind.name}: not compared, for setpriv or a kernel that wants CAP_NET_ADMIN is missing"


@contextmanager
def _daemon(through: Sequence[str] = ()) -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        toml = configuration(directory, udp=[f"{_HOST}:0"], allow=_ALLOW, deny=_DENY)
        with started(directory, toml, cores()[0], through=through) as daemon:
            yield daemon


def _pass(daemon: Daemon) -> int:
    """Notify from a listed source. Return how many notifications were accepted."""
    before = daemon.outcomes().get("accepted", 0)
    Load(_GOOD, 1, sources=1).run(_HOST, daemon.port("tcp", _HOST), cores()[1])
    return daemon.outcomes().get("accepted", 0) - before


# SYNs


def _why_no_syns(daemon: Daemon) -> tuple[str, ...]:
    unfiltered = daemon.status().unfiltered
    if unfiltered:
        return (f"no SYNs: {unfiltered}",)
    if shutil.which("ss") is None:
        return ("no SYNs: ss (iproute2) is not installed, to tell what the socket drops",)
    return ()


def _syns(plan: Plan, daemon: Daemon, stack: ExitStack) -> _Refused:
    port = daemon.port("tcp", _HOST)
    return _Refused(
        "SYN of a source that is not listed",
        daemon,
        Flood("tcp", "line", plan.of(_SYNS, least=400), first=_UNLISTED),
        dropped=lambda: _dropped_by_listener(port),
        by_daemon=_refuser_of_connections(plan, stack),
    )


def _dropped_by_listener(port: int) -> int:
    """Ask the kernel how many packets a listening socket has dropped (ss(8), skmem)."""
    command = ["ss", "-Htlnm", f"sport = :{port}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"skmem:\(.*,d(\d+)\)", said)
    if found is None:
        raise Failed(f"ss does not tell what port {port} has dropped: {said!r}")
    return int(found[1])


def _refuser_of_connections(plan: Plan, stack: ExitStack) -> Callable[[], float] | None:
    """Start a daemon to which the kernel refuses the filter, if there is a way."""
    if os.geteuid() != 0 or shutil.which(_WITHOUT_NET_ADMIN[0]) is None:
        return None
    daemon = stack.enter_context(_daemon(_WITHOUT_NET_ADMIN))
    if daemon.status().unfiltered is None:
        return None  # an older kernel: no privilege is needed
    flood = Flood("tcp", "line", plan.of(_COMPARED, least=200), first=_UNLISTED)
    return lambda: _refused_by_daemon(daemon, flood, Outcome.UNLISTED_SOURCE)


# Datagrams


def _datagrams(plan: Plan, daemon: Daemon) -> _Refused:
    # Garbage from a listed source: the filter checks the bytes last.
    garbage = Flood("udp", "garbage", plan.of(_DATAGRAMS, least=2000), sources=1)
    denied = Flood("udp", "line", plan.of(_COMPARED, least=200), first=_DENIED, sources=1)
    return _Refused(
        "garbage datagram",
        daemon,
        garbage,
        dropped=lambda: daemon.status().kernel_dropped or 0,
        by_daemon=lambda: _refused_by_daemon(daemon, denied, Outcome.DENIED_SOURCE),
    )


def _refused_by_daemon(daemon: Daemon, flood: Flood, wanted: Outcome) -> float:
    """Return the CPU time of one message that the daemon itself refuses, in nanoseconds.

    Messages that came too fast for the daemon were lost before, and are not counted.
    """
    port = daemon.port(flood.transport, _HOST)
    before = _outcomes(daemon, flood)
    used = Cpu.settled(daemon.pid)
    flood.run(_HOST, port, cores()[1])
    used = Cpu.settled(daemon.pid) - used
    after = _outcomes(daemon, flood)
    counted = {name: n - before[name] for name, n in after.items() if n != before[name]}
    if set(counted) != {wanted}:
        raise Failed(f"only {wanted} was expected, and counted was {counted}")
    return used.total / counted[wanted]


def _outcomes(daemon: Daemon, flood: Flood) -> dict[str, int]:
    outcomes = daemon.status().outcomes
    return outcomes.tcp if flood.transport == "tcp" else outcomes.udp

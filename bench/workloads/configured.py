"""CPU time of a notification over TCP with one network in the configuration, and with 10,000.

All daemons get the same load, and each notification comes from another source. So they differ
in their configuration only. An account may have 256 networks, so 10,000 networks make 40
accounts. With networks of one length, each source finds its own at once. With 24 lengths, most
sources find theirs after nearly all lengths were tried, the longest first.

A wake-up costs more than the rest of a notification, and each account has its own wake-ups. So
the interval is set to an hour. Each account has its one wake-up before the measurement, which
then shows the cost of networks and accounts alone. The last row shows the opposite: every
notification wakes the subscriber.
"""

import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.flood import source
from bench.kernel import Cpu
from bench.processes import (
    PATIENCE,
    Daemon,
    Failed,
    Load,
    build,
    configuration,
    cores,
    pin,
    started,
)
from bench.section import Plan, Row, Section, Spread, Target
from mailbell.core.networks import Family, Network
from mailbell.interfaces.listener import LISTENER_INTERFACE, Subscribe

__all__ = ["measure"]

_HOST: Final = "127.0.0.1"
_COUNT: Final = 6_000  # each from another source
_NETWORKS: Final = 10_000
# A plan with a smaller share only shows that the workload runs, with a tenth of the networks.
_WORTH: Final = 0.05
_LENGTHS: Final = range(9, 33)
# The configuration takes 256 networks in one account or list, and 10,000 accounts.
_TOGETHER: Final = 250
_LISTED: Final = 256
_SEVERAL: Final = 100
# Two intervals that the configuration permits: one without wake-ups, one with a wake-up each.
_NEVER: Final = "1h"
_ALWAYS: Final = "10ms"
_BOUND: Final = 1.2

_ONE: Final = "one network"

_Accounts = Sequence[Sequence[Network]]


@dataclass
class _Case:
    """A configuration.

    Attributes:
        name: its name in the table.
        accounts: the networks of each account.
        promised: whether it may cost little more than one network does.
        listed: whether both lists of sources are full too.
        wakes: whether each notification should wake the subscriber.
        took: nanoseconds of CPU for a notification, one for each round.
    """

    name: str
    accounts: _Accounts
    promised: bool = False
    listed: bool = False
    wakes: bool = False
    took: list[float] = field(default_factory=list)

    def configuration(self, directory: Path) -> str:
        """Return it as TOML."""
        return configuration(
            directory,
            allow=["127.0.0.0/8", *_others(_LISTED - 1, 0)] if self.listed else (),
            deny=_others(_LISTED, 1) if self.listed else (),
            interval=_ALWAYS if self.wakes else _NEVER,
            accounts=_toml(self.accounts),
        )


class _Reader(threading.Thread):
    """Reads what a subscriber is told.

    Attributes:
        told: messages so far.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._sock = sock
        self.told = 0

    def run(self) -> None:
        """Count until the end of the stream. Each message ends in a NUL byte."""
        pin(0, cores()[1])  # of this thread alone
        while data := self._sock.recv(1 << 16):
            self.told += data.count(0)

    def await_told(self, wakeups: int) -> None:
        """Wait until it has read this many. A slow reader would make the daemon's work less."""
        last = time.monotonic() + PATIENCE
        while self.told < wakeups and time.monotonic() < last:
            time.sleep(0.001)
        if self.told != wakeups:
            raise Failed(f"of {wakeups} wake-ups the subscriber was told {self.told}")


@dataclass
class _Driven:
    """A daemon with one of the configurations."""

    case: _Case
    daemon: Daemon
    port: int
    reader: _Reader
    rung: int = 0
    wakeups: int = 0

    def warm_up(self, count: int) -> None:
        """Make each account have its first wake-up, which comes at once."""
        self._load(count)
        self.wakeups = self.daemon.status().wakeups
        self.reader.await_told(self.wakeups)

    def ring(self, count: int) -> float:
        """Notify it. Return the CPU time of one notification, in nanoseconds."""
        used = Cpu.settled(self.daemon.pid)
        self._load(count)
        self.wakeups += count if self.case.wakes else 0
        self.reader.await_told(self.wakeups)
        used = Cpu.settled(self.daemon.pid) - used
        self._check()
        return used.total / count

    def _load(self, count: int) -> None:
        Load(count, sources=count).run(_HOST, self.port, cores()[1])
        self.rung += count

    def _check(self) -> None:
        outcomes, wakeups = self.daemon.outcomes(), self.daemon.status().wakeups
        if outcomes != {"accepted": self.rung} or wakeups != self.wakeups:
            raise Failed(f"{self.case.name}: {self.rung} sent, {outcomes}, {wakeups} wake-ups")

    def note(self) -> str:
        """Describe the result. Without later wake-ups, each account has one wake-up."""
        accepted = f"{self.case.name}: {self.rung:,} accepted"
        if self.case.wakes:
            return f"{accepted}, wake-ups: {self.wakeups:,}"
        return f"{accepted}, accounts rung: {self.wakeups:,} of {len(self.case.accounts):,}"


def measure(plan: Plan) -> Section:
    """Measure all configurations, in turn.

    Args:
        plan: how much to measure.

    Raises:
        Failed: a notification was refused, or woke the wrong subscriber.
    """
    build()
    count = plan.of(_COUNT, least=200)
    cases = _cases(_NETWORKS if plan.scale >= _WORTH else _NETWORKS // 10)
    with ExitStack() as stack:
        driven = [stack.enter_context(_driven(case)) for case in cases]
        for each in driven:
            each.warm_up(count)
        for number in range(plan.rounds):
            for each in driven[:: 1 if number % 2 else -1]:
                each.case.took.append(each.ring(count))
        notes = tuple(each.note() for each in driven)
    base = cases[0]
    return Section(
        name="configured",
        title="CPU time of a notification over TCP, by what is configured",
        unit="ns",
        against=base.name,
        rows=(
            Row(base.name, Spread.of(base.took)),
            *(Row(case.name, Spread.of(case.took), _ratio(case, base)) for case in cases[1:]),
        ),
        targets=tuple(
            Target(what=f"{case.name} / {_ONE}", value=_ratio(case, base).median, bound=_BOUND)
            for case in cases
            if case.promised
        ),
        notes=notes,
    )


def _ratio(case: _Case, base: _Case) -> Spread:
    return Spread.of(ours / theirs for ours, theirs in zip(case.took, base.took, strict=True))


@contextmanager
def _driven(case: _Case) -> Iterator[_Driven]:
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        toml = case.configuration(directory)
        with started(directory, toml, cores()[0]) as daemon, _subscriber(daemon) as reader:
            yield _Driven(case, daemon, daemon.port("tcp", _HOST), reader)


@contextmanager
def _subscriber(daemon: Daemon) -> Iterator[_Reader]:
    """Subscribe to all accounts, and read every message."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(daemon.path)
        sock.sendall(LISTENER_INTERFACE.encode(Subscribe()))
        if not sock.recv(1 << 16).endswith(b"\0"):
            raise Failed("the daemon does not let us subscribe")
        reader = _Reader(sock)
        reader.start()
        try:
            yield reader
        finally:
            sock.shutdown(socket.SHUT_RD)
            reader.join()


# The configurations


def _cases(count: int) -> list[_Case]:
    everybody = [[Network.parse("127.0.0.0/8")]]
    one_length = [_network(source(4, number), 24) for number in range(count)]
    many_lengths = list(_of_all_lengths(count))
    each_alone = [[network] for network in one_length]
    lengths = f"{count:,} networks of {len(_LENGTHS)} lengths"
    return [
        _Case(_ONE, everybody),
        _Case(f"{count:,} networks of one length", _chunks(one_length), promised=True),
        _Case(lengths, _chunks(many_lengths), promised=True),
        _Case(f"one network, {_LISTED} in sources.allow and in deny", everybody, listed=True),
        _Case(f"{_SEVERAL} accounts of one network", [*_wide(_SEVERAL)]),
        _Case(f"{count:,} accounts of one network", each_alone),
        _Case("the same, each notification a wake-up", each_alone, wakes=True),
    ]


def _network(address: int, length: int) -> Network:
    shift = 32 - length
    return Network(Family.IPV4, address >> shift << shift, length)


def _wide(count: int) -> Iterator[list[Network]]:
    """Yield networks that have 128 sources each."""
    first = source(4, 0)
    for number in range(count):
        yield [_network(first + (number << 15), 17)]


def _of_all_lengths(count: int) -> Iterator[Network]:
    """Yield the same number of networks of each length.

    Each of the longest networks has one source. The shorter ones have nearly all the rest.
    They contain each other, and the one that begins with our first network has most.
    """
    each = -(-count // len(_LENGTHS))
    for place in range(count):
        length, number = _LENGTHS[place // each], place % each
        if length >= 24:
            yield _network(source(4, (length - 24) * each + number), length)
        else:
            yield Network(Family.IPV4, 127 << 24 ^ number << (32 - length), length)


def _others(count: int, host: int) -> list[str]:
    """List networks without a source. None is beside another, so that none are merged."""
    return [f"10.{number}.{host}.0/24" for number in range(count)]


def _chunks(networks: Sequence[Network]) -> _Accounts:
    return [networks[at : at + _TOGETHER] for at in range(0, len(networks), _TOGETHER)]


def _toml(accounts: _Accounts) -> str:
    return "".join(_account(number, networks) for number, networks in enumerate(accounts))


def _account(number: int, networks: Iterable[Network]) -> str:
    # Each network on its own line, because the daemon reads no line above 1024 bytes.
    listed = ",\n".join(f'"{network}"' for network in networks)
    return f'[[account]]\nname = "a{number}"\nsources = [{listed}]\n'

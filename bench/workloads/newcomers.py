"""CPU time of a connection over TCP, by who calls: a known source, a new one, one over its limit.

The tables are those that the daemon is shipped with, and are full: each new source takes the place
of another that still lacks tokens. Of a source that calls again the daemon has looked up everything
before, so what matters is how often it calls in a row. A refused connection is not read; it may not
cost more than a good one, or a flood of them would cost more than the mail that it resembles.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.kernel import Cpu
from bench.listeners import HOST
from bench.processes import Daemon, Failed, Load, build, configuration, cores, started
from bench.section import Plan, Row, Section, Spread, Target
from mailbell.client import Client

__all__ = ["measure"]

_KNOWN: Final = 200
_NEW: Final = 60_000  # each in a network of its own
_CONNECTIONS: Final = 20_000
# So slow that a source lacks a token until the end once it was admitted.
_RATE: Final = "1/h"
_PLENTY: Final = "burst = 1000000"
_BOUND: Final = 1.3


class _Kind(NamedTuple):
    """Who calls, and what the daemon answers."""

    name: str
    load: Load
    outcome: str = "accepted"


def measure(plan: Plan) -> Section:
    """Measure all kinds, in turn.

    Args:
        plan: how much to measure.

    Raises:
        Failed: the daemon counted something else than what it was sent.
    """
    build()
    count = plan.of(_CONNECTIONS, least=400)
    base, *others = kinds = _kinds(count)
    with ExitStack() as stack:
        admitting = stack.enter_context(_daemon(_PLENTY))
        refusing = stack.enter_context(_daemon("burst = 1"))
        _drive(admitting, _Kind("to fill the tables", Load(plan.of(_NEW), sources=_NEW)))
        _drive(refusing, _Kind("to use up the tokens", Load(_KNOWN, sources=_KNOWN)))
        took: dict[str, list[float]] = {kind.name: [] for kind in kinds}
        for number in range(plan.rounds):
            for kind in kinds[:: 1 if number % 2 else -1]:
                daemon = refusing if kind.load.refused else admitting
                took[kind.name].append(_drive(daemon, kind))
    ratios = {
        kind.name: Spread.of(a / b for a, b in zip(took[kind.name], took[base.name], strict=True))
        for kind in others
    }
    return Section(
        name="newcomers",
        title="CPU time of a connection over TCP, by who calls",
        unit="us",
        against=base.name,
        rows=(
            Row(base.name, Spread.of(took[base.name])),
            *(Row(kind.name, Spread.of(took[kind.name]), ratios[kind.name]) for kind in others),
        ),
        targets=tuple(
            Target(f"{kind.name} / {base.name}", ratios[kind.name].median, bound)
            for kind, bound in ((others[0], _BOUND), (others[-1], 1.0))
        ),
        notes=(f"{count:,} connections in each of {plan.rounds} rounds, 64 in flight",),
    )


def _kinds(count: int) -> tuple[_Kind, ...]:
    return (
        _Kind("known sources", Load(count, sources=_KNOWN)),
        _Kind("new sources", Load(count, sources=_NEW)),
        _Kind("new sources, each twice in a row", Load(count, sources=_NEW, times=2)),
        _Kind("new sources, each three times in a row", Load(count, sources=_NEW, times=3)),
        _Kind(
            "known sources over their limit",
            Load(count, sources=_KNOWN, refused=True),
            "rate_limited",
        ),
    )


@contextmanager
def _daemon(limits: str) -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        toml = configuration(directory, rate=_RATE, limits=limits)
        with (
            started(directory, toml, cores()[0]) as daemon,
            Client(daemon.path) as client,
            client.subscribe(),
        ):
            yield daemon


def _drive(daemon: Daemon, kind: _Kind) -> float:
    """Send a load; return the CPU time of one connection in microseconds."""
    before = daemon.outcomes()
    used = Cpu.settled(daemon.pid)
    kind.load.run(HOST, daemon.port("tcp", HOST), cores()[1])
    used = Cpu.settled(daemon.pid) - used
    after = daemon.outcomes()
    counted = {name: n - before.get(name, 0) for name, n in after.items()}
    expected = {name: kind.load.count if name == kind.outcome else 0 for name in counted}
    if counted != expected:
        raise Failed(f"{kind.name}: {kind.load.count} sent, counted {counted}")
    return used.total / kind.load.count / 1000

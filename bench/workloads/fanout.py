"""CPU time of a notification that 1, 8 and 64 subscribers are told.

Each notification wakes all subscribers. In a round each notification is for another account,
so that none is held back or merged, even if a subscriber reads late. The daemon's count of
wake-ups and the subscribers' count of messages must confirm it. The subscribers really read,
in one process that shares a core with the load (`subscribers.c`).
"""

import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.kernel import Cpu
from bench.processes import (
    BUILD,
    PATIENCE,
    Daemon,
    Failed,
    Load,
    build,
    configuration,
    cores,
    end,
    pin,
    started,
)
from bench.section import Plan, Row, Section, Spread

__all__ = ["measure"]

_HOST: Final = "127.0.0.1"
_CALL: Final = '{"method":"org.mailbell.Listener.Subscribe","parameters":{},"more":true}'
# Subscribers, and notifications in a round of the full plan. No account occurs twice.
_AMOUNTS: Final = {1: 2000, 8: 1500, 64: 400}
_ACCOUNTS: Final = 2000
# The shortest permitted interval. It is over when the next round begins.
_INTERVAL: Final = "10ms"

# Microseconds of a notification, one for each round, by number of subscribers.
_Times = dict[int, list[float]]


def measure(plan: Plan) -> Section:
    """Measure each number of subscribers in turn, round by round.

    Args:
        plan: how much.

    Raises:
        Failed: a subscriber was not told each notification separately.
    """
    build()
    counts = {number: plan.of(amount, 20) for number, amount in _AMOUNTS.items()}
    times: _Times = {number: [] for number in counts}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        daemon_core, load_core = cores()
        toml = configuration(directory, interval=_INTERVAL, accounts=_accounts())
        daemon = stack.enter_context(started(directory, toml, daemon_core))
        port = daemon.port("tcp", _HOST)
        for number in counts:  # first-time costs
            _round(daemon, port, number, 20, load_core)
        for _ in range(plan.rounds):
            for number, count in counts.items():
                times[number].append(_round(daemon, port, number, count, load_core))
    return _section(times, counts, plan.rounds)


def _accounts() -> str:
    return "".join(
        f'[[account]]\nname = "account{k}"\nsources = ["127.{1 + k // 256}.{k % 256}.1"]\n'
        for k in range(_ACCOUNTS)
    )


def _round(daemon: Daemon, port: int, number: int, count: int, core: int | None) -> float:
    """Notify with this many subscribers. Return the microseconds of one notification."""
    rung = daemon.status().wakeups
    subscribers = _Subscribers(daemon.path, number, count * number, core)
    try:
        before = Cpu.settled(daemon.pid)
        Load(count, sources=_ACCOUNTS).run(_HOST, port, core)
        told = subscribers.told()
        cost = Cpu.settled(daemon.pid) - before
    finally:
        subscribers.stop()
    rung = daemon.status().wakeups - rung
    if (rung, told) != (count, count * number):
        raise Failed(f"{count} notifications: {rung} wake-ups, told {told} times to {number}")
    return cost.total / count / 1000


class _Subscribers:
    """A process with several subscriptions. It ends when it was told the expected number."""

    def __init__(self, path: str, number: int, messages: int, core: int | None) -> None:
        command = [str(BUILD / "subscribers"), path, _CALL, str(number), str(messages)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        pin(self._process.pid, core)
        output = self._process.stdout
        if output is None or output.readline() != "ready\n":
            self.stop()
            raise Failed(f"{number} cannot subscribe")

    def told(self) -> int:
        """Wait until it was told all it expects. Return how much that was."""
        try:
            output, _ = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            output, _ = self._process.communicate()
        return int(output or 0)

    def stop(self) -> None:
        """End the process."""
        end(self._process)
        self._process.communicate()


def _section(times: _Times, counts: dict[int, int], rounds: int) -> Section:
    alone = times[1]
    most = max(times)
    further = [(all_of - one) / (most - 1) for all_of, one in zip(times[most], alone, strict=True)]
    return Section(
        name="fanout",
        title="CPU time of a notification by the number of subscribers, 64 in flight",
        unit="us",
        against="1 subscriber",
        rows=(
            *(
                Row(_subscribers(number), Spread.of(found), Spread.of(_divide(found, alone)))
                for number, found in times.items()
            ),
            Row("each further subscriber", Spread.of(further), Spread.of(_divide(further, alone))),
        ),
        notes=(
            f"notifications in each of {rounds} rounds: "
            + ", ".join(f"{count} to {number}" for number, count in counts.items())
            + "; each was a wake-up, and each subscriber read it",
        ),
    )


def _subscribers(number: int) -> str:
    return f"{number} subscriber{'s' if number > 1 else ''}"


def _divide(values: list[float], by: list[float]) -> list[float]:
    return [value / other for value, other in zip(values, by, strict=True)]

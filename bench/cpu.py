"""Processor time of one notification: the daemon beside the C loop, under the same load."""

import os
import statistics
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.kernel import Cpu
from bench.processes import Daemon, Failed, Load, accept_loop, configuration, started
from mailbell.client import Client

__all__ = ["Comparison", "compare"]

_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the rounds of one load came to.

    Attributes:
        load: sent in each round, to each of the two.
        loop: CPU time of the C loop, one entry a round.
        daemon: of the daemon.
        accepted: what the daemon counted as accepted in these rounds.
        per_second: notifications a second it took, in each round.
    """

    load: Load
    loop: tuple[Cpu, ...]
    daemon: tuple[Cpu, ...]
    accepted: int
    per_second: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """How many times the C loop's time the daemon took, round by round."""
        return [
            ours.total / theirs.total for ours, theirs in zip(self.daemon, self.loop, strict=True)
        ]

    def microseconds(self, rounds: tuple[Cpu, ...]) -> tuple[float, float, float]:
        """Return the time of one notification: all of it (the median), in user, in system mode."""
        total = statistics.median(cpu.total for cpu in rounds) / self.load.count / 1000
        share = sum(cpu.user for cpu in rounds) / sum(cpu.total for cpu in rounds)
        return total, total * share, total * (1 - share)


def compare(loads: Iterable[Load], rounds: int) -> list[Comparison]:
    """Drive both with the same loads, in turn, in one run.

    Args:
        loads: one comparison each.
        rounds: of each load.

    Raises:
        Failed: not every notification was accepted.
    """
    server_core, load_core = _cores()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        loop, loop_port = stack.enter_context(accept_loop(server_core))
        daemon = stack.enter_context(started(directory, configuration(directory), server_core))
        subscriber = stack.enter_context(Client(daemon.path)).subscribe()
        stack.enter_context(subscriber)
        daemon_port = daemon.port("tcp", _HOST)

        def of_loop(load: Load) -> tuple[Cpu, float]:
            return _round(loop, lambda: load.run(_HOST, loop_port, load_core))

        def of_daemon(load: Load) -> tuple[Cpu, float]:
            return _round(daemon.pid, lambda: load.run(_HOST, daemon_port, load_core))

        return [_compare(load, rounds, daemon, of_loop, of_daemon) for load in loads]


def _compare(
    load: Load,
    rounds: int,
    daemon: Daemon,
    of_loop: Callable[[Load], tuple[Cpu, float]],
    of_daemon: Callable[[Load], tuple[Cpu, float]],
) -> Comparison:
    # One round that does not count: first-time costs are those of the start.
    of_loop(load)
    of_daemon(load)
    before = daemon.outcomes()
    loops: list[tuple[Cpu, float]] = []
    daemons: list[tuple[Cpu, float]] = []
    for number in range(rounds):
        # Taking turns at being first: whatever slowly changes on this machine hits both.
        for measure, results in ((of_loop, loops), (of_daemon, daemons))[
            :: 1 if number % 2 else -1
        ]:
            results.append(measure(load))
    after = daemon.outcomes()
    accepted = after["accepted"] - before["accepted"]
    if accepted != rounds * load.count or set(after) != {"accepted"}:
        raise Failed(f"sent {rounds * load.count} notifications, counted {before} and {after}")
    return Comparison(
        load,
        tuple(cpu for cpu, _ in loops),
        tuple(cpu for cpu, _ in daemons),
        accepted,
        tuple(load.count / seconds for _, seconds in daemons),
    )


def _round(pid: int, send: Callable[[], float]) -> tuple[Cpu, float]:
    before = Cpu.settled(pid)
    seconds = send()
    return Cpu.settled(pid) - before, seconds


def _cores() -> tuple[int | None, int | None]:
    """Give the listeners one core and the load another, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)

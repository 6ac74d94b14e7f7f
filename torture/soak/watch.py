"""Measures the processes of a soak, restarts them in turn, and says each minute how it goes."""

import time
from typing import Final

import trio

from mailbell.client.trio import Client as Listener
from mailbell.core.errors import MailbellError
from mailbell.limits.proven import NETWORKS
from mailbell.listener._recent import GENERATION
from mailbell.sender._schedule import REMEMBERED
from mailbell.sender_client.trio import Client as Sender
from torture.soak.house import TIMEOUT, House
from torture.soak.load import Load
from torture.soak.plan import Plan, Sample
from torture.soak.program import Broken, Program
from torture.soak.sample import COUNTED, CPU, Unreadable, of_listener, of_process, of_sender

__all__ = ["Watch"]

# Of what mailbelld remembers of good sources and of callers two generations are kept, and with the
# third one the first is forgotten. A third of the sources or more is of either family.
_BY_TCP: Final = 3 * 3 * max(NETWORKS, GENERATION)
# After so many times what a table can hold it is as full as it will ever be: sources that share a
# place take it from each other, although others are free.
_TIMES: Final = 3 * 5
# The agent remembers nothing that comes slowly. But Trio keeps each deadline until it is over, also
# that of a command that has ended: 1,000 of them at most.
_AGENT: Final = 2 * TIMEOUT
_MINUTE: Final = 60.0
# Seconds after which a program that does not answer counts as hanging. A bound, and not measured.
_PATIENCE: Final = 60.0


class Watch:
    """Everything that is noted about a soak.

    Args:
        plan: how often to measure and to restart.
        house: the programs.

    Attributes:
        samples: in the order of time.
        faults: what must not happen, a line each.
        outcomes: how the programs counted their input, of all lives.
        cpu: CPU seconds of each process, of all lives.
    """

    def __init__(self, plan: Plan, house: House) -> None:
        self._plan = plan
        self._house = house
        self._warm: set[tuple[str, int]] = set()
        self._lives: dict[tuple[str, int], tuple[dict[str, int], dict[str, float]]] = {}
        self._failing: dict[tuple[str, int], int] = {}
        self._begin = 0.0
        self.samples: list[Sample] = []
        self.faults: list[str] = []

    async def serve(self, load: Load) -> float:
        """Measure until the time is over.

        Args:
            load: what is done meanwhile.

        Returns:
            How many seconds it was.
        """
        self._begin = due = trio.current_time()
        spoken = self._begin
        restarts = self._restarts()
        # On a slow machine a restart may take until the end; none is left out.
        while restarts or self._now() < self._plan.seconds:
            now = trio.current_time()
            if restarts and self._now() >= restarts[0][0]:
                await self._restart(restarts.pop(0)[1])
            await self._measure()
            if now - spoken >= _MINUTE:
                spoken += _MINUTE
                self._say(now, load)
            due = max(due + self._plan.every, trio.current_time())
            await trio.sleep_until(due)
        await self._measure()
        return trio.current_time() - self._begin

    @property
    def outcomes(self) -> dict[str, dict[str, int]]:
        """How the programs counted their input, of all lives together."""
        found: dict[str, dict[str, int]] = {}
        for (name, _), (counted, _) in self._lives.items():
            of_program = found.setdefault(name, {})
            for outcome, count in counted.items():
                of_program[outcome] = of_program.get(outcome, 0) + count
        return {name: counted for name, counted in found.items() if counted}

    @property
    def cpu(self) -> dict[str, float]:
        """CPU seconds of each process, as far as they were measured."""
        found: dict[str, float] = {}
        for (name, _), (_, values) in self._lives.items():
            found[name] = found.get(name, 0.0) + values[CPU]
        return found

    def _restarts(self) -> list[tuple[float, Program]]:
        """Return when each program is restarted: one after the other, once in each period."""
        period, programs = self._plan.restart_every, self._house.programs
        found = [
            (begin * period + (number + 0.5) / len(programs) * period, program)
            for begin in range(int(self._plan.seconds / period) + 1)
            for number, program in enumerate(programs)
        ]
        return [(at, program) for at, program in found if at < self._plan.seconds]

    async def _restart(self, program: Program) -> None:
        try:
            await trio.to_thread.run_sync(program.stop)
        except Broken as error:
            self.faults.append(str(error))
        await trio.to_thread.run_sync(program.start)
        print(f"{program.name} was restarted", flush=True)

    async def _measure(self) -> None:
        try:
            for program in self._house.programs:
                _ = program.pid  # it may have ended
            with trio.move_on_after(_PATIENCE) as scope:
                await self._measure_listener()
                await self._measure_sender()
            if scope.cancelled_caught:
                self.faults.append(f"{self._now():.0f} s: no status within {_PATIENCE:.0f} s")
        except MailbellError as error:
            self.faults.append(f"{self._now():.0f} s: no status: {error}")
        except Broken as error:
            await self._resurrect(error)

    async def _resurrect(self, error: Broken) -> None:
        """Note that a program has ended by itself, and start it again."""
        self.faults.append(f"{self._now():.0f} s: {error}")
        for program in self._house.programs:
            try:
                _ = program.pid
            except Broken:
                await trio.to_thread.run_sync(program.start)

    async def _measure_listener(self) -> None:
        house, program = self._house, self._house.listener
        async with Listener(house.path("mailbell.sock")) as client:
            status = await client.status()
        values = of_listener(status)
        key = (program.name, program.life)
        tcp, udp = status.outcomes.tcp["accepted"], status.outcomes.udp["accepted"]
        if tcp >= _BY_TCP and udp >= _TIMES * max(table.capacity for table in status.tables):
            self._warm.add(key)
        wakeups = values.pop("wake-ups")
        counted = {
            f"{outcome} by {way}": count
            for way, found in (("TCP", status.outcomes.tcp), ("UDP", status.outcomes.udp))
            for outcome, count in found.items()
            if count
        }
        self._note(program, program.name, status.pid, values, counted)
        self._expect_no_bug(program, status.local)
        agent = house.agent
        if time.monotonic() - agent.began > _AGENT:
            self._warm.add((agent.name, agent.life))
        self._note(agent, agent.name, agent.pid, {COUNTED: wakeups})

    async def _measure_sender(self) -> None:
        house, program = self._house, self._house.sender
        status = await Sender(house.path("control")).status()
        values = of_sender(status, house.store_bytes())
        names = ("mailbell-sender", *status.companions)
        if status.targets_known >= REMEMBERED:
            self._warm |= {(name, program.life) for name in names}
        counted = {f"input: {name}": count for name, count in status.inputs.items() if count}
        counted |= {f"ring: {name}": count for name, count in status.rings.items() if count}
        counted |= {f"name: {name}": count for name, count in status.names.items() if count}
        self._note(program, program.name, status.pid, values, counted)
        self._expect_no_bug(program, status.local)
        for name, pid in status.companions.items():
            self._note(program, name, pid, {COUNTED: values[COUNTED]})

    def _note(
        self,
        program: Program,
        process: str,
        pid: int,
        values: dict[str, float],
        counted: dict[str, int] | None = None,
    ) -> None:
        _ = program.pid
        key = (process, program.life)
        try:
            values = {**of_process(pid), **values}
        except Unreadable as error:
            self.faults.append(f"{self._now():.0f} s: {process}: {error}")
            return
        self._lives[key] = (counted or {}, values)
        self.samples.append(
            Sample(
                at=self._now(),
                process=process,
                life=program.life,
                age=time.monotonic() - program.began,
                is_warm=key in self._warm,
                values=values,
            )
        )

    def _expect_no_bug(self, program: Program, local: dict[str, int]) -> None:
        """Note when a daemon counts an exception that nobody expected."""
        key = (program.name, program.life)
        count = local["failed"]
        if count > self._failing.get(key, 0):
            self.faults.append(f"{self._now():.0f} s: {program.name} failed at its socket")
        self._failing[key] = count

    def _now(self) -> float:
        return trio.current_time() - self._begin

    def _say(self, now: float, load: Load) -> None:
        parts = [f"{(now - self._begin) / _MINUTE:.0f} min"]
        latest = {sample.process: sample for sample in self.samples[-8:]}
        for name, sample in latest.items():
            memory, opened = sample.values["RSS, KiB"] / 1024, sample.values["descriptors"]
            state = "" if sample.is_warm else ", warming up"
            parts.append(f"{name} {memory:.1f} MiB, {opened:.0f} descriptors{state}")
        done, failed = load.done.total(), load.failed.total()
        parts.append(f"{done} pieces of load, {failed} failed, {len(self.faults)} faults")
        print("; ".join(parts), flush=True)

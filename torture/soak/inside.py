"""A soak within its namespaces: `python -m torture.soak.inside PLAN RECORD FOLDER`.

`torture.soak.run` makes the namespaces. What is printed here are lines of progress.
"""

import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio
from harness.name_server import quick

import mailbell
from torture.soak.callers import STANDING, Callers
from torture.soak.hooks import Hooks
from torture.soak.house import DNS, LAPTOP, NAMES, SILENT, House
from torture.soak.load import Load
from torture.soak.network import KINDS
from torture.soak.plan import Machine, Plan, Record, write
from torture.soak.program import Broken
from torture.soak.sample import shares
from torture.soak.watch import Watch

__all__ = ["main", "soak"]


async def soak(plan: Plan, house: House) -> Record:
    """Run all programs, load them, restart them and measure them.

    Args:
        plan: for how long, and so on.
        house: the programs, which do not run yet.
    """
    hooks, callers = Hooks(house), Callers(house)
    load = Load((*KINDS, *hooks.kinds, *callers.kinds), plan.seed, plan.rate)
    watch = Watch(plan, house)
    began, busy_before = datetime.now(UTC), shares()
    own = time.process_time()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, house.listener.start)
            nursery.start_soon(trio.to_thread.run_sync, house.sender.start)
        await trio.to_thread.run_sync(house.agent.start)
        with _silence():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_answer_names)
                nursery.start_soon(load.serve)
                for _ in range(STANDING):
                    nursery.start_soon(callers.stay)
                lasted = await watch.serve(load)
                nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            watch.faults += await trio.to_thread.run_sync(_stop, house)
    cpu = {**watch.cpu, "the load itself": time.process_time() - own}
    return Record(
        plan=plan,
        machine=_machine(busy_before, sum(cpu.values())),
        version=mailbell.__version__,
        began=began.strftime("%Y-%m-%d %H:%M"),
        lasted=lasted,
        cpu=cpu,
        load={kind: (load.done[kind], load.failed[kind]) for kind in sorted(load.done)},
        outcomes=watch.outcomes,
        samples=watch.samples,
        faults=watch.faults,
    )


def _stop(house: House) -> list[str]:
    faults = []
    for program in reversed(house.programs):
        try:
            program.stop()
        except Broken as error:
            faults.append(str(error))
    return faults


@contextmanager
def _silence() -> Iterator[None]:
    """Make a port at which nobody answers: its queue is full, so the kernel drops each SYN."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("0.0.0.0", SILENT))  # noqa: S104 - a network namespace of our own
        listener.listen(0)
        first.connect((LAPTOP[0], SILENT))
        with socket.socket() as second:
            second.setblocking(False)
            second.connect_ex((LAPTOP[0], SILENT))
            yield


async def _answer_names() -> None:
    """Answer the resolver: one name has addresses, one does not exist, one gets no answer."""
    known, gone, _ = (name.partition(".")[0].encode() for name in NAMES)
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.bind(DNS)
        while True:
            query, whom = await sock.recvfrom(512)
            if known in query:
                await sock.sendto(quick(query, *LAPTOP), whom)
            elif gone in query:  # RFC 1035, 4.1.1: NXDOMAIN
                await sock.sendto(query[:2] + b"\x81\x83" + query[4:], whom)


def _machine(before: tuple[float, float], ours: float) -> Machine:
    busy, idle = (now - then for now, then in zip(shares(), before, strict=True))
    info = Path("/proc/cpuinfo").read_text()
    model = next((line for line in info.splitlines() if line.startswith("model name")), "")
    return Machine(
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        processor=model.partition(": ")[2] or "unknown",
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        others=max(busy - ours, 0.0) / max(busy + idle, 1e-9),
    )


def main() -> None:
    """Read the plan, soak, and write the record."""
    plan_file, record, folder, *listener = sys.argv[1:]
    # The programs are the installed ones, and see nothing of the tests' path.
    os.environ.pop("PYTHONPATH", None)
    # The programs are ended in order also if the soak is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = msgspec.json.decode(Path(plan_file).read_bytes(), type=Plan)
    house = House(Path(folder), *([tuple(listener)] if listener else []))
    write(trio.run(soak, plan, house), Path(record))


if __name__ == "__main__":
    main()

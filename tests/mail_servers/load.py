"""Many deliveries in one run, with and without the hook: what each costs, and what is lost."""

import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Final

from harness.daemon import PATIENCE, until
from harness.machine import Machine
from mail_servers.results import record
from mail_servers.scenario import Way, stopped
from mail_servers.server import MailServer

__all__ = ["Cost", "beside_a_stopped_sender", "compared", "compared_waits", "cpu"]

Kinds = Mapping[str, Callable[[int], AbstractContextManager[object]]]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SINGLE: Final = 5  # mails of a block that come one by one


@dataclass(frozen=True)
class Cost:
    """What one delivery costs, in milliseconds: until it is done, and of all processors."""

    wall: float
    cpu: float


def cpu(machine: Machine) -> float:
    """Return what all processes of a machine have used so far, in seconds.

    A process that has ended counts where its parent waited for it (proc_pid_stat(5)): inside, or
    in this process for what it has run there.
    """
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for stat in machine.path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS + ours.ru_utime + ours.ru_stime


def compared(
    machine: Machine,
    kinds: Kinds,
    order: Sequence[str],
    deliver: Callable[[], None],
    *,
    mails: int,
) -> dict[str, Cost]:
    """Measure kinds of delivery in one run, block by block.

    Args:
        machine: where it happens.
        kinds: for each kind, what makes it so during a block of so many mails.
        order: the kinds of the blocks; a mixture, so that what else happens hits all kinds.
        deliver: delivers the mails of a block, and ends when all are done, with all that they
            have started.
        mails: how many it delivers.

    Returns:
        what one delivery cost in the median block of each kind.
    """
    costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    for kind in order:
        with kinds[kind](mails):
            before, began = cpu(machine), time.monotonic()
            deliver()
            wall, used = time.monotonic() - began, cpu(machine) - before
        costs[kind].append(Cost(1000 * wall / mails, 1000 * used / mails))
    return {
        kind: Cost(median(each.wall for each in found), median(each.cpu for each in found))
        for kind, found in costs.items()
    }


def compared_waits(
    server: MailServer, kinds: Kinds, order: Sequence[str], user: str
) -> dict[str, float]:
    """Measure how long single mails take from another host until they are in a Maildir.

    Args:
        server: where they are delivered.
        kinds: as for `compared`.
        order: the kinds of the blocks.
        user: who gets the mails.

    Returns:
        for each kind the median, in milliseconds.
    """
    folder = server.machine.path(f"/home/{user}/Maildir/new")
    waits: dict[str, list[float]] = {kind: [] for kind in kinds}
    for kind in order:
        with kinds[kind](_SINGLE):
            for _ in range(_SINGLE):
                present = len(os.listdir(folder))
                began = time.monotonic()
                server.deliver("single", user)
                while len(os.listdir(folder)) == present:
                    assert time.monotonic() - began < PATIENCE, "a single mail did not arrive"
                waits[kind].append(1000 * (time.monotonic() - began))
                server.until_settled()
    return {kind: median(found) for kind, found in waits.items()}


def beside_a_stopped_sender(
    server: MailServer,
    way: Way,
    users: Sequence[str],
    deliver: Callable[[], None],
    *,
    each: int,
    blocks: int = 4,
) -> None:
    """While the sender is stopped, no delivery fails or waits, and no notification is lost.

    In the same run, deliveries are made without the hook and with a sender that runs. What each
    costs is noted. A stopped sender may cost no more than one that runs, with a wide margin.

    Args:
        server: with nothing of the recipe in force.
        way: the recipe's way.
        users: who get the mail.
        deliver: delivers so many mails to each user, and ends when all is done.
        each: how many mails a user gets from `deliver`.
        blocks: how many times `deliver` is done with the sender stopped, and without the hook;
            with a running sender half as often.
    """
    before = {user: len(server.arrived(user)) for user in users}
    told = 0

    @contextmanager
    def running(mails: int) -> Iterator[None]:
        nonlocal told
        with server.using(way.name, *users):
            yield
        told += mails
        until(lambda: sum(sender.status().inputs.values()) == told, f"the notification {told}")

    @contextmanager
    def not_running(mails: int) -> Iterator[None]:
        with running(mails), stopped(sender):
            yield

    kinds: Kinds = {"without": nullcontext, "running": running, "stopped": not_running}
    order = ["without", "stopped", "running", "stopped", "without"] * (blocks // 2)
    with server.sending(*map(way.account, users), trusted=way.trusted) as sender:
        costs = compared(server.machine, kinds, order, deliver, mails=each * len(users))
        waits = compared_waits(server, kinds, order, users[0])
        assert sender.status().inputs["accepted"] == told
    for user in users:
        alone = _SINGLE * len(order) if user == users[0] else 0
        assert len(server.arrived(user)) - before[user] == len(order) * each + alone
    assert costs["stopped"].cpu <= 1.5 * costs["running"].cpu
    figures = {f"cpu_ms_{kind}": round(cost.cpu, 2) for kind, cost in costs.items()}
    figures |= {f"time_ms_{kind}": round(cost.wall, 2) for kind, cost in costs.items()}
    figures |= {f"visible_ms_{kind}": round(wait, 2) for kind, wait in waits.items()}
    record(server.name, server.version(), way.name, **figures)

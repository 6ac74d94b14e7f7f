"""What a run has found, as `results.json` keeps it. The table and the picture read these."""

from collections.abc import Iterable
from typing import Self

import msgspec

from bench.push.cost import Cost
from bench.report import Machine

__all__ = ["FULL", "QUICK", "SMOKE", "Burst", "Latency", "Plan", "Run", "Way", "Wire"]


class Plan(msgspec.Struct, frozen=True):
    """How much is measured.

    Attributes:
        name: full or quick.
        users: how many wait for mail.
        mails: how many are delivered to those who wait with IDLE, and to those who are rung.
        pause: seconds from one mail to the next.
        laptops: how many are rung.
        interval: seconds between two polls of a user.
        polled: mails for those who poll.
        window: seconds in which idle laptops are watched, at least.
        keep_alive: seconds between two signs of life of Dovecot; 120 is its default.
        hibernate: seconds until Dovecot hibernates a connection.
        again: how often an IDLE is ended and begun again, and mails told, for their bytes.
        with_tls: whether memory is measured with TLS too.
        settle: seconds until a server counts as at rest.
        suites: the Debians whose Dovecot is measured.
    """

    name: str
    users: int
    mails: int
    pause: float
    laptops: int
    interval: float
    polled: int
    window: float
    keep_alive: int
    hibernate: int
    again: int
    with_tls: bool
    settle: float = 1.5
    suites: tuple[str, ...] = ("bookworm", "trixie")


FULL = Plan("full", 1000, 200, 0.15, 10, 60, 120, 370, 120, 15, 3, with_tls=True)
QUICK = Plan("quick", 60, 30, 0.1, 4, 10, 20, 25, 5, 3, 2, with_tls=True)
# It only shows that everything runs. The test uses it.
SMOKE = Plan(
    "smoke", 4, 2, 0.1, 2, 2, 2, 7, 2, 1, 1, with_tls=False, settle=0.2, suites=("trixie",)
)  # fmt: skip


class Latency(msgspec.Struct, frozen=True):
    """Times of several mails in seconds.

    Attributes:
        count: of how many.
        p50: half of them took no longer.
        p99: of a hundred, one took longer.
        most: the longest.
    """

    count: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Self:
        """Summarise the times; a percentile is the time of a mail, and nothing between two."""
        found = sorted(seconds)
        return cls(len(found), _rank(found, 50), _rank(found, 99), found[-1])


def _rank(found: list[float], percent: int) -> float:
    return found[max(0, -(-len(found) * percent // 100) - 1)]


class Way(msgspec.Struct, frozen=True):
    """A way to learn of mail, with many users.

    Attributes:
        name: for people.
        server: the version of Dovecot.
        users: how many wait.
        idle: what the server takes when nobody waits.
        waiting: what it takes while they wait; of those who poll the median of many samples.
        peak: the most of these samples.
        told: from a mail's last line until the client knows of it.
        has: until the client has the mail; None: its poll does not take it.
        delivery: until Dovecot said that it is in the mailbox.
        notes: what else a reader must know.
    """

    name: str
    server: str
    users: int
    idle: Cost
    waiting: Cost
    peak: Cost
    told: Latency | None = None
    has: Latency | None = None
    delivery: Latency | None = None
    notes: tuple[str, ...] = ()

    @property
    def memory(self) -> float:
        """MiB that the waiting users cost."""
        return self.waiting.mib - self.idle.mib

    @property
    def processes(self) -> int:
        """Processes that they cost."""
        return self.waiting.processes - self.idle.processes


class Burst(msgspec.Struct, frozen=True):
    """What crosses the cable at one occasion, such as a sign of life with its answer.

    Attributes:
        octets: bytes with the headers of IP and TCP, in both directions.
        payload: bytes that TCP carries: with TLS, these are records of TLS.
        arriving: packets that reach the laptop.
    """

    octets: float
    payload: float
    arriving: float


class Wire(msgspec.Struct, frozen=True):
    """A laptop with one user, to whom nothing happens.

    Attributes:
        name: for people.
        tls: whether the connection is encrypted.
        seconds: how long it was watched.
        bursts: occasions in this time at which packets crossed.
        interval: seconds from one to the next, the median; 0: there were fewer than two.
        each: such an occasion, the median; None: there was none.
        again: the end of an IDLE and the beginning of the next one; None: there is none.
        telling: what a mail is told with; None: nothing is told.
        ran: how often each listening process ran in this time.
    """

    name: str
    tls: bool
    seconds: float
    bursts: int
    interval: float
    each: Burst | None
    again: Burst | None
    telling: Burst | None
    ran: dict[str, int]


class Run(msgspec.Struct, frozen=True):
    """All that a run has found.

    Attributes:
        plan: how much was measured.
        machine: where, with the load before the run.
        load: the load average of the last minute at the end, most of it this run's own.
        mailbell: its version.
        ways: with many users.
        wires: with one user each.
    """

    plan: Plan
    machine: Machine
    load: float
    mailbell: str
    ways: tuple[Way, ...]
    wires: tuple[Wire, ...]

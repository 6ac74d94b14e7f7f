"""What the floods have shown, as figures. What must not be is zero."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mailbell.interfaces.listener import Status
from torture.figures import Figure
from torture.floods.good import Tally
from torture.floods.held import Held

__all__ = ["ALLOWANCE", "Found", "Measured"]

ALLOWANCE: Final = 1024
"""KiB by which the daemon's memory may grow once everything bounded was full."""

_SHOWN: Final = 8  # failed connections that are named


class Measured(NamedTuple):
    """What the daemon held during floods, and at rest after them.

    Attributes:
        rest: at rest.
        peak: the most memory until then, in KiB.
        descriptors: the most descriptors that were seen during these floods.
    """

    rest: Held
    peak: int
    descriptors: int


@dataclass
class Found:
    """Everything that was counted and measured.

    Attributes:
        bound: how many descriptors the daemon may ever have.
        tally: what was rung and told.
        begin: what the daemon held before all floods, with the subscriber.
        kernel: what the kernel of the daemon's host has counted of TCP.
        first: after the floods that fill what is bounded.
        last: after those that are measured.
        status: the daemon's own counters at the end.
        code: with which the daemon ended when it was told to.
        attacks: how much each flood has sent.
    """

    bound: int
    tally: Tally
    begin: Held
    kernel: Counter[str]
    first: Measured = field(init=False)
    last: Measured = field(init=False)
    status: Status = field(init=False)
    code: int = field(init=False)
    attacks: Counter[str] = field(default_factory=Counter)

    def failures(self) -> list[str]:
        """Return a line for each thing that should not be, and that no figure names."""
        failed = self.tally.failed
        lines = [f"a good sender's connection: {line}" for line in failed[:_SHOWN]]
        lines += [f"not told of: {account}" for account in sorted(set(self.tally.missing()))]
        if self.tally.ended:
            lines.append(f"the subscription has ended: {self.tally.ended}")
        return lines

    def figures(self) -> Iterator[Figure]:
        """Return the rows of the table."""
        yield from self._delivery()
        yield from self._memory()
        yield from self._descriptors()
        yield from self._heard()
        for name, sent in self.attacks.items():
            yield Figure(f"attack: {name}", sent)
        idle = sum(not sent for sent in self.attacks.values())
        yield Figure("floods that sent nothing", idle, must_be=0)
        yield Figure("the daemon's exit code", self.code, must_be=0)

    def _delivery(self) -> Iterator[Figure]:
        tally = self.tally
        yield Figure("good notifications sent", tally.sent)
        yield Figure("good notifications delivered", tally.delivered)
        yield Figure("good notifications lost", tally.sent - tally.delivered, must_be=0)
        yield Figure("told of, but not sent", tally.more, must_be=0)
        yield Figure("good connections refused", len(tally.failed), must_be=0)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            yield Figure(f"until told, {name}", 1000 * _percentile(tally.seconds, share), "ms")

    def _memory(self) -> Iterator[Figure]:
        for name, first, last in (
            ("at rest", self.first.rest.kib, self.last.rest.kib),
            ("peak", self.first.peak, self.last.peak),
        ):
            grown = last - first
            yield Figure(f"RSS {name}, at the end", last, "KiB")
            yield Figure(f"RSS {name}, growth", grown, "KiB")
            above = max(0, grown - ALLOWANCE)
            yield Figure(f"RSS {name}, growth above {ALLOWANCE} KiB", above, "KiB", must_be=0)

    def _descriptors(self) -> Iterator[Figure]:
        grown = self.last.rest.descriptors - self.begin.descriptors
        most = max(self.first.descriptors, self.last.descriptors)
        yield Figure("descriptors at rest, growth", grown, must_be=0)
        yield Figure("descriptors at most", most)
        yield Figure("descriptors above their bound", max(0, most - self.bound), must_be=0)

    def _heard(self) -> Iterator[Figure]:
        yield Figure("SYN cookies sent", self.kernel["SyncookiesSent"])
        yield Figure("SYNs and ACKs that a full queue refused", self.kernel["ListenDrops"])
        used = [table for table in self.status.tables if table.entries]
        yield Figure("sources remembered", sum(table.entries for table in used))
        yield Figure("sources that may be remembered", sum(table.capacity for table in used))
        outcomes = self.status.outcomes
        for transport, counts in (("TCP", outcomes.tcp), ("UDP", outcomes.udp)):
            for name, number in counts.items():
                if number:
                    yield Figure(f"the daemon counted: {transport} {name}", number)
        yield Figure("datagrams dropped by the kernel", self.status.kernel_dropped or 0)


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")

"""Everything that the daemon counts. Pure: no code here reads a clock or a file."""

from enum import StrEnum
from typing import TypeVar

from mailbell.core.notification import Transport
from mailbell.core.outcome import Outcome
from mailbell.interfaces.listener import Outcomes
from mailbell.interfaces.local_event import LocalEvent

__all__ = ["Counters"]

_Name = TypeVar("_Name", bound=StrEnum)


class Counters:
    """The daemon's counts. Every name exists from the start, with the count zero.

    Attributes:
        outcomes: for each transport, how many connections or datagrams had each outcome.
            `Admission` counts here.
        local: how often each event happened at the local socket.
        wakeups: notifications passed to the subscribers, after coalescing.
    """

    __slots__ = ("local", "outcomes", "wakeups")

    def __init__(self) -> None:
        self.outcomes: dict[Transport, dict[Outcome, int]] = {
            transport: dict.fromkeys(Outcome, 0) for transport in Transport
        }
        self.local: dict[LocalEvent, int] = dict.fromkeys(LocalEvent, 0)
        self.wakeups = 0

    def count_local(self, event: LocalEvent) -> None:
        """Count one event at the local socket.

        Args:
            event: what happened.
        """
        self.local[event] += 1

    def count_wakeup(self) -> None:
        """Count one notification that is passed to the subscribers."""
        self.wakeups += 1

    def snapshot_outcomes(self) -> Outcomes:
        """Copy the outcomes into their record.

        Returns:
            The counts as they are now; later counting does not change them.
        """
        return Outcomes(
            tcp=_by_name(self.outcomes[Transport.TCP]),
            udp=_by_name(self.outcomes[Transport.UDP]),
        )

    def snapshot_local(self) -> dict[str, int]:
        """Copy the local socket's events.

        Returns:
            The counts by name, as they are now; later counting does not change them.
        """
        return _by_name(self.local)


def _by_name(counts: dict[_Name, int]) -> dict[str, int]:
    return {name.value: count for name, count in counts.items()}

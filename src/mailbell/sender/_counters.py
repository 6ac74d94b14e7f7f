"""Everything that the sender counts. Pure: no code here reads a clock or a file."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.interfaces.local_event import LocalEvent

__all__ = ["Counters"]

_Name = TypeVar("_Name", bound=StrEnum)


class Counters:
    """The sender's counts. Every name exists from the start, with the count zero.

    Attributes:
        inputs: how many lines, events and datagrams had each outcome.
        rings: how many rings had each outcome.
        local: how often each event happened at the control socket.
    """

    __slots__ = ("inputs", "local", "rings")

    def __init__(self) -> None:
        self.inputs: dict[InputOutcome, int] = dict.fromkeys(InputOutcome, 0)
        self.rings: dict[RingOutcome, int] = dict.fromkeys(RingOutcome, 0)
        self.local: dict[LocalEvent, int] = dict.fromkeys(LocalEvent, 0)

    def count_input(self, outcome: InputOutcome) -> None:
        """Count the end of one input.

        Args:
            outcome: how it ended.
        """
        self.inputs[outcome] += 1

    def count_ring(self, outcome: RingOutcome) -> None:
        """Count the end of one ring.

        Args:
            outcome: how it ended.
        """
        self.rings[outcome] += 1

    def count_local(self, event: LocalEvent) -> None:
        """Count one event at the control socket.

        Args:
            event: what happened.
        """
        self.local[event] += 1

    def snapshot_inputs(self) -> dict[str, int]:
        """Copy the outcomes of the inputs, by name."""
        return _by_name(self.inputs)

    def snapshot_rings(self) -> dict[str, int]:
        """Copy the outcomes of the rings, by name."""
        return _by_name(self.rings)

    def snapshot_local(self) -> dict[str, int]:
        """Copy the control socket's events, by name."""
        return _by_name(self.local)


def _by_name(counts: Mapping[_Name, int]) -> dict[str, int]:
    return {name.value: count for name, count in counts.items()}

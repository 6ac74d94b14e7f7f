"""What a soak is asked to do, what it measured, and the files that keep both."""

from pathlib import Path
from typing import Final

import msgspec

__all__ = ["HOUR", "Machine", "Plan", "Record", "Sample", "read", "write"]

HOUR: Final = 3600.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done.

    Attributes:
        seconds: how long the load lasts.
        seed: of everything that is chosen at random.
        every: seconds between two samples.
        restart_every: seconds in which each part is restarted once.
        rate: how many times the load is the usual one.
    """

    seconds: float
    seed: int
    every: float = 5.0
    restart_every: float = HOUR
    rate: float = 1.0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One process at one time.

    Attributes:
        at: seconds since the load began.
        process: its name.
        life: which one it is of the processes with this name, from 1.
        age: seconds since this life began.
        is_warm: whether all bounded tables of this life have turned over.
        values: what was measured, by name.
    """

    at: float
    process: str
    life: int
    age: float
    is_warm: bool
    values: dict[str, float]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured.

    Attributes:
        system: name and release of the kernel, and the architecture.
        processor: as the kernel calls it.
        cores: how many this process may use.
        python: version of the interpreter.
        others: share of all cores, 0 to 1, that neither the soak nor idling had meanwhile.
    """

    system: str
    processor: str
    cores: int
    python: str
    others: float


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a soak leaves.

    Attributes:
        plan: what was asked.
        machine: where it was.
        version: of mailbell.
        began: the date, in UTC.
        lasted: seconds of load.
        cpu: CPU seconds of all parts and of the load, by name.
        load: how often each kind of load was made, and how often a connection of it failed.
        outcomes: how the programs counted all of it, by program and outcome.
        samples: in the order of time.
        faults: what no program may do, a line each.
    """

    plan: Plan
    machine: Machine
    version: str
    began: str
    lasted: float
    cpu: dict[str, float]
    load: dict[str, tuple[int, int]]
    outcomes: dict[str, dict[str, int]]
    samples: list[Sample]
    faults: list[str]


def write(record: Record, file: Path) -> None:
    """Write a record, so that a page can be made of it again.

    Args:
        record: the record.
        file: JSON; it is replaced.
    """
    file.write_bytes(msgspec.json.encode(record))


def read(file: Path) -> Record:
    """Read what `write` has written.

    Args:
        file: JSON.

    Raises:
        msgspec.ValidationError: it is of another version.
    """
    return msgspec.json.decode(file.read_bytes(), type=Record)

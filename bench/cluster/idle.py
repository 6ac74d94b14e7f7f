"""What IMAP IDLE costs, by the figures of docs/push.md, for as many users."""

from pathlib import Path
from typing import Final

import msgspec

from bench.cluster.costs import Costs
from bench.cluster.record import Idle

__all__ = ["PUSH", "Waiting", "idle_of", "read_waiting"]

PUSH: Final = Path(__file__).resolve().parents[1] / "push" / "results.json"
_MICRO: Final = 1e-6
_HIBERNATES: Final = "hibernation"


class _Amount(msgspec.Struct, frozen=True):
    mib: float


class _Way(msgspec.Struct, frozen=True):
    name: str
    users: int
    idle: _Amount
    waiting: _Amount


class _Burst(msgspec.Struct, frozen=True):
    octets: float


class _Wire(msgspec.Struct, frozen=True):
    name: str
    tls: bool
    interval: float
    each: _Burst | None


class _Record(msgspec.Struct, frozen=True):
    ways: tuple[_Way, ...]
    wires: tuple[_Wire, ...]


class Waiting(msgspec.Struct, frozen=True):
    """What was measured of one connection with IDLE.

    Attributes:
        name: for people.
        mib: memory of the server for it.
        interval: seconds from one sign of life to the next.
        octets: bytes of one with TLS, and of its answer.
    """

    name: str
    mib: float
    interval: float
    octets: float

    @property
    def hibernates(self) -> bool:
        """Whether one process has all connections that wait."""
        return _HIBERNATES in self.name


def read_waiting(file: Path = PUSH) -> tuple[Waiting, ...]:
    """Return the newest Dovecot, without and with hibernation.

    Args:
        file: the results of bench/push/run.py.

    Raises:
        ValueError: it has no such figures.
    """
    record = msgspec.json.decode(file.read_bytes(), type=_Record)
    found = []
    for way in record.ways:
        wire = next((each for each in record.wires if each.name == way.name and each.tls), None)
        if way.name.startswith("IDLE") and wire is not None and wire.each is not None:
            mib = (way.waiting.mib - way.idle.mib) / way.users
            found.append(Waiting(way.name, mib, wire.interval, wire.each.octets))
    newest = tuple(found[-2:])
    if [each.hibernates for each in newest] != [False, True]:
        raise ValueError(f"{file} has no IDLE with and without hibernation")
    return newest


def idle_of(waiting: Waiting, costs: Costs, connections: float) -> Idle:
    """Return what many connections cost.

    Args:
        waiting: what one costs.
        costs: the processor's time of a sign of life.
        connections: how many.
    """
    each = costs.idle_sign_hibernated if waiting.hibernates else costs.idle_sign
    signs = connections / waiting.interval
    return Idle(
        name=waiting.name,
        connections=connections,
        mib=connections * waiting.mib,
        signs=signs,
        cores=signs * each * _MICRO,
        bits=signs * waiting.octets * 8,
    )

"""The inputs of the simulation: what one node and one engine have been measured to cost."""

from pathlib import Path
from typing import Final

import msgspec

__all__ = ["COSTS", "Costs", "Input", "Inputs", "UnmeasuredError", "costs_of", "read", "unmeasured"]

COSTS: Final = Path(__file__).resolve().parent / "costs.json"


class UnmeasuredError(Exception):
    """Inputs have no value yet. `page.py` and `run.py` write nothing then."""


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cost.

    Attributes:
        value: in `unit`; None: it is not measured yet.
        unit: of the value.
        how: how it is measured.
        when: the day of the measurement; None: it is not measured yet.
    """

    value: float | None
    unit: str
    how: str
    when: str | None


class Inputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file with all inputs.

    Attributes:
        machine: where they were measured; None: nowhere yet.
        inputs: each by its name, which is a field of `Costs`.
    """

    machine: str | None
    inputs: dict[str, Input]


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The values of all inputs. Times are microseconds.

    A node has two processes with one core each: the sender, which mail servers and targets
    know, and its companion, which knows the engine.

    Attributes:
        sender_notification: CPU of the sender to take a notification and to pass it on.
        sender_login: the same for a login.
        sender_call: CPU of the sender from the companion's message to the end of a call.
        sender_welcome: CPU of the sender for "a login came from that target".
        companion_notification: CPU of the companion to look up the addresses of an account.
        companion_login: CPU of the companion to note a login and to put one entry for it.
        companion_put: CPU of the companion to put one entry into an inbox.
        companion_entry: CPU of the companion to take one entry and to pass it on.
        companion_weight: CPU of the companion for the weight of one node for one target.
        round_trip: from a command to the engine until its answer, while the engine is idle.
        engine_exchange: CPU of the engine to read one batch of commands and to answer it.
        engine_zrange: CPU of the engine for a ZRANGE of a book, within a batch.
        engine_zadd: the same for a ZADD.
        engine_zremrangebyrank: the same for a ZREMRANGEBYRANK that removes nothing.
        engine_pexpire: the same for a PEXPIRE.
        engine_xadd: the same for an XADD.
        engine_xread: the same for each entry of an XREAD.
        engine_xdel: the same for each entry of an XDEL.
        engine_scan: the same for each key that a SCAN walks over.
        engine_small: the same for a command of a sign of life.
        engine_operations: commands a second of an engine, one in each exchange.
        book_1: bytes of the engine's memory for an account with one address.
        book_2: with two.
        book_3: with three.
        book_4: with four.
        inbox_entry: bytes of the engine's memory for an entry of an inbox.
        node_memory: MiB of the sender and its companion.
        idle_sign: CPU of an IMAP server for a sign of life to a connection with IDLE.
        idle_sign_hibernated: the same while the connection is hibernated.
    """

    sender_notification: float
    sender_login: float
    sender_call: float
    sender_welcome: float
    companion_notification: float
    companion_login: float
    companion_put: float
    companion_entry: float
    companion_weight: float
    round_trip: float
    engine_exchange: float
    engine_zrange: float
    engine_zadd: float
    engine_zremrangebyrank: float
    engine_pexpire: float
    engine_xadd: float
    engine_xread: float
    engine_xdel: float
    engine_scan: float
    engine_small: float
    engine_operations: float
    book_1: float
    book_2: float
    book_3: float
    book_4: float
    inbox_entry: float
    node_memory: float
    idle_sign: float
    idle_sign_hibernated: float


def read(file: Path = COSTS) -> Inputs:
    """Read the file with the inputs.

    Args:
        file: JSON.

    Raises:
        ValueError: it has not exactly the inputs that are needed.
    """
    found = msgspec.json.decode(file.read_bytes(), type=Inputs)
    wrong = set(found.inputs) ^ set(Costs.__struct_fields__)
    if wrong:
        raise ValueError(f"{file}: missing or unknown: {', '.join(sorted(wrong))}")
    return found


def unmeasured(inputs: Inputs) -> list[str]:
    """Return the names of what has no value, or no day or place of its measurement.

    Args:
        inputs: all inputs.
    """
    names = [] if inputs.machine else ["machine"]
    pairs = inputs.inputs.items()
    return names + [name for name, each in pairs if each.value is None or each.when is None]


def costs_of(inputs: Inputs) -> Costs:
    """Return the values.

    Args:
        inputs: all inputs.

    Raises:
        UnmeasuredError: something is not measured yet.
    """
    names = unmeasured(inputs)
    if names:
        raise UnmeasuredError(f"not measured yet: {', '.join(names)}")
    values = {name: each.value for name, each in inputs.inputs.items()}
    return msgspec.convert(values, Costs)

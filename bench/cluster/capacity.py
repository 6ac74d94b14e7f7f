"""How much of each resource a load uses, and how many machines it needs. Pure."""

from collections.abc import Mapping
from math import ceil
from typing import Final, NamedTuple

from bench.cluster.assumptions import Day, Limits, Machines
from bench.cluster.costs import Costs
from bench.cluster.load import Rates, usual

__all__ = [
    "ENGINE", "NODE", "STATES", "Setting", "Size", "beat_commands", "book_bytes", "commands",
    "engine_uses", "entry_seconds", "growth", "login_seconds", "node_uses", "notification_seconds",
    "size_for", "states", "sweep_seconds", "weight",
]  # fmt: skip

NODE: Final = ("sender CPU", "companion CPU", "send.rate", "send.connections")
ENGINE: Final = ("engine CPU", "engine memory")
STATES: Final = "states of targets"
"""If a node has too many, it gives up the silent targets that it has called most. So no number of
nodes is chosen by it."""
_MICRO: Final = 1e-6
_MIB: Final = 1 << 20
# A sign of life: SET, SADD and SMEMBERS, then EXISTS for each node, XLEN and two for the own name.
_BEAT: Final = 6
_BEAT_EACH: Final = 2
_BEAT_EXCHANGES: Final = 4
_ENTRY_EXCHANGES: Final = 3  # XADD, XREAD, XDEL
_LEAST: Final = 2  # one node is no cluster
_MOST: Final = 100_000


class Setting(NamedTuple):
    """All that does not depend on how many accounts there are."""

    costs: Costs
    day: Day
    limits: Limits
    machines: Machines


class Size(NamedTuple):
    """How large a cluster is.

    Attributes:
        nodes: how many, with the spare one.
        shards: engines.
    """

    nodes: int
    shards: int


def weight(costs: Costs, nodes: int) -> float:
    """Return the microseconds to find the owner of one target.

    Args:
        costs: measured.
        nodes: each of them is weighed.
    """
    return costs.companion_weight * nodes


def node_uses(setting: Setting, rates: Rates, nodes: int) -> dict[str, float]:
    """Return the share of each resource of a node that is used.

    Args:
        setting: costs and limits.
        rates: of all nodes together.
        nodes: those that live.
    """
    costs, day, limits, machines = setting
    retries = min(rates.retries, limits.retry_rate * nodes)
    sender = (
        rates.notifications * costs.sender_notification
        + rates.logins * (costs.sender_login + costs.sender_welcome)
        + (rates.calls + retries) * costs.sender_call
    )
    find = weight(costs, nodes)
    companion = (
        rates.notifications * costs.companion_notification
        + rates.rings * (costs.companion_put + find + costs.companion_entry)
        + rates.logins * (costs.companion_login + find + costs.companion_entry)
    )
    # While others wait, a silent target has to give up its place after `patience`.
    held = (1 - day.silent) * min(machines.answer, limits.deadline) + day.silent * limits.patience
    found = (
        sender * _MICRO, companion * _MICRO, rates.calls / limits.first_rate,
        rates.calls * held / limits.first_places,
    )  # fmt: skip
    return {name: each / nodes for name, each in zip(NODE, found, strict=True)}


def states(setting: Setting, rates: Rates, nodes: int) -> dict[str, float]:
    """Return the share of the states of targets that is used.

    Args:
        setting: costs and limits.
        rates: of all nodes together.
        nodes: those that live.
    """
    limits = setting.limits
    used = rates.silent + rates.calls * limits.interval
    return {STATES: used / nodes / limits.targets}


def beat_commands(nodes: int) -> float:
    """Return the commands a second of the signs of life of all nodes.

    Args:
        nodes: how many there are.
    """
    return nodes * (_BEAT + _BEAT_EACH * nodes)


def commands(rates: Rates, nodes: int) -> float:
    """Return the commands a second that the engine gets, each in an exchange of its own.

    Args:
        rates: of all nodes together.
        nodes: how many there are.
    """
    entries = rates.rings + rates.logins
    return rates.notifications + 3 * rates.logins + 3 * entries + beat_commands(nodes)


def notification_seconds(costs: Costs) -> float:
    """Return the engine's time to look up an account."""
    return (costs.engine_exchange + costs.engine_zrange) * _MICRO


def entry_seconds(costs: Costs) -> float:
    """Return the engine's time for an entry: it is put, read and taken out."""
    each = costs.engine_xadd + costs.engine_xread + costs.engine_xdel
    return (_ENTRY_EXCHANGES * costs.engine_exchange + each) * _MICRO


def login_seconds(costs: Costs) -> float:
    """Return the engine's time for a login, with the entry for its node."""
    note = costs.engine_zadd + costs.engine_zremrangebyrank + costs.engine_pexpire
    return (costs.engine_exchange + note) * _MICRO + entry_seconds(costs)


def book_bytes(costs: Costs, day: Day) -> float:
    """Return the engine's memory for an account that has a login that counts.

    Args:
        costs: measured.
        day: how many addresses the accounts have.
    """
    books = (costs.book_1, costs.book_2, costs.book_3, costs.book_4)
    return sum(share * each for share, each in zip(day.addresses, books, strict=True))


def engine_uses(setting: Setting, rates: Rates, size: Size) -> dict[str, float]:
    """Return the share of each resource of an engine that is used.

    Args:
        setting: costs and limits.
        rates: of all nodes together.
        size: of the cluster.
    """
    costs = setting.costs
    beats = size.nodes * _BEAT_EXCHANGES * costs.engine_exchange
    beats += beat_commands(size.nodes) * costs.engine_small
    busy = (
        rates.notifications * notification_seconds(costs)
        + rates.rings * entry_seconds(costs)
        + rates.logins * login_seconds(costs)
        + beats * _MICRO
    )
    stored = rates.accounts * rates.fresh * book_bytes(costs, setting.day) / _MIB
    found = (busy, stored / setting.machines.shard_memory)
    return {name: each / size.shards for name, each in zip(ENGINE, found, strict=True)}


def size_for(setting: Setting, rates: Rates) -> Size:
    """Return the smallest cluster of which no resource is used above `most`.

    Args:
        setting: costs and limits.
        rates: of the busiest hour.

    Raises:
        OverflowError: no number of nodes is enough, because each weighs all others for a target.
    """
    most, spare = setting.machines.most, setting.machines.spare
    nodes = 1
    while (used := max(node_uses(setting, rates, nodes).values())) > most:
        if nodes > _MOST:
            raise OverflowError(f"{nodes} nodes are not enough")
        # What is used has a part that is the same for any number of nodes, so that this never
        # leads beyond the smallest number that is enough.
        nodes = max(nodes + 1, ceil(nodes * used / most - 1e-9))
    nodes = max(nodes + spare, _LEAST)
    used = max(engine_uses(setting, rates, Size(nodes, 1)).values())
    return Size(nodes, max(1, ceil(used / most - 1e-9)))


def growth(setting: Setting, accounts: float, hour: int, size: Size) -> dict[str, float]:
    """Return for each resource how often the accounts fit until it is used up.

    Args:
        setting: costs and limits.
        accounts: how many there are now.
        hour: in which it is used most.
        size: which stays as it is.
    """
    now, then = (
        _all_uses(setting, usual(setting.day, setting.limits, times * accounts, hour), size)
        for times in (1, 2)
    )
    # All of them are straight lines over the number of accounts, as soon as the calls to silent
    # targets have reached their bound.
    return {name: 1 + (1 - now[name]) / (then[name] - now[name]) for name in now}


def _all_uses(setting: Setting, rates: Rates, size: Size) -> Mapping[str, float]:
    nodes = size.nodes
    found = node_uses(setting, rates, nodes) | engine_uses(setting, rates, size)
    return found | states(setting, rates, nodes)


def sweep_seconds(setting: Setting, rates: Rates, size: Size, sweepers: int) -> dict[str, float]:
    """Return how long each part of the sweep after a node's death would take alone.

    Args:
        setting: costs and limits.
        rates: of the hour in which it dies.
        size: before it dies.
        sweepers: nodes that share the accounts among them.

    Returns:
        Seconds by resource. What takes longest decides, because all go on at the same time.
    """
    costs, day, limits, _ = setting
    living = size.nodes - 1
    books = rates.accounts * rates.fresh
    used, engine = node_uses(setting, rates, living), engine_uses(setting, rates, size)
    target = costs.companion_put + weight(costs, living)
    own = {
        "sender CPU": books * costs.sender_notification * _MICRO,
        "companion CPU": books
        * (costs.companion_notification + day.mean_addresses * target)
        * _MICRO,
    }
    found = {name: each / sweepers / _left(used[name]) for name, each in own.items()}
    found["send.rate"] = (
        books
        * day.mean_addresses
        * (1 - rates.joins)
        / (limits.first_rate * living * _left(used["send.rate"]))
    )
    look = costs.engine_scan * _MICRO + notification_seconds(costs)
    work = books * (look + day.mean_addresses * entry_seconds(costs))
    found["engine CPU"] = work / size.shards / _left(engine["engine CPU"])
    return found


def _left(used: float) -> float:
    """Return the share that is left for something else; a full one gives hardly anything."""
    return max(1 - used, 0.001)

"""A cluster for a number of accounts: its size, a usual day, and what else may happen. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from bench.cluster.assumptions import HOURS
from bench.cluster.capacity import (
    NODE,
    Setting,
    Size,
    book_bytes,
    commands,
    engine_uses,
    growth,
    node_uses,
    size_for,
    states,
    sweep_seconds,
)
from bench.cluster.idle import Waiting, idle_of
from bench.cluster.load import Load, usual
from bench.cluster.model import Kind, Node, simulate
from bench.cluster.record import Cluster, Delay, Hour, Sweep
from bench.cluster.surges import surges

__all__ = ["ACCOUNTS", "carries", "cluster", "simulate_all", "usual_day"]

ACCOUNTS: Final = (10**6, 10**7, 10**8)
_MIB: Final = 1 << 20
_SAMPLE: Final = 15.0  # seconds of each hour of a usual day; the load is the same in all of it


def simulate_all(
    setting: Setting, waiting: tuple[Waiting, ...], numbers: Iterable[int] = ACCOUNTS
) -> tuple[Cluster, ...]:
    """Simulate a cluster for each number of accounts.

    Args:
        setting: costs and limits.
        waiting: what IMAP IDLE costs.
        numbers: of accounts.
    """
    return tuple(cluster(setting, waiting, number) for number in numbers)


def cluster(setting: Setting, waiting: tuple[Waiting, ...], accounts: int) -> Cluster:
    """Choose a cluster for a number of accounts, and simulate it.

    Args:
        setting: costs and limits.
        waiting: what IMAP IDLE costs.
        accounts: how many.
    """
    costs, day, limits, _ = setting
    rates = usual(day, limits, accounts, day.busiest)
    size = size_for(setting, rates)
    of_nodes, of_engines = node_uses(setting, rates, size.nodes), engine_uses(setting, rates, size)
    book = accounts * rates.fresh * book_bytes(costs, day) / _MIB
    busy = size.nodes * (of_nodes[NODE[0]] + of_nodes[NODE[1]])
    return Cluster(
        accounts=accounts,
        nodes=size.nodes,
        shards=size.shards,
        book_mib=book,
        mib=book + size.nodes * costs.node_memory,
        cores=busy + size.shards * of_engines["engine CPU"],
        uses=of_nodes | of_engines | states(setting, rates, size.nodes),
        growth=growth(setting, accounts, day.busiest, size),
        hours=tuple(usual_day(setting, accounts, size)),
        events=tuple(surges(setting, rates, size)),
        sweep=Sweep(
            accounts * rates.fresh,
            sweep_seconds(setting, rates, size, 1),
            sweep_seconds(setting, rates, size, size.nodes - 1),
        ),
        idle=tuple(
            idle_of(each, costs, accounts * rates.fresh * day.mean_addresses) for each in waiting
        ),
    )


def carries(setting: Setting) -> tuple[dict[str, float], dict[str, float]]:
    """Return the accounts that one node and one engine carry at the share that is used at most.

    Args:
        setting: costs and limits.

    Returns:
        By resource: of a node among two, so that it weighs hardly any other, and of an engine.
    """
    day, limits, most = setting.day, setting.limits, setting.machines.most
    probe = 1e6
    rates = usual(day, limits, probe, day.busiest)
    nodes = 2
    of_nodes = node_uses(setting, rates, nodes)
    of_engine = engine_uses(setting, rates, Size(nodes, 1))
    return (
        {name: probe / nodes * most / used for name, used in of_nodes.items()},
        {name: probe * most / used for name, used in of_engine.items()},
    )


def usual_day(setting: Setting, accounts: float, size: Size) -> Iterator[Hour]:
    """Yield the hours of a usual day.

    Args:
        setting: costs and limits.
        accounts: how many.
        size: of the cluster.
    """
    _, day, limits, _ = setting
    node = Node.of(setting, size)
    for hour in range(HOURS):
        rates = usual(day, limits, accounts, hour)
        load = Load.of(rates, size.nodes, day, limits)
        outcome = simulate(node, load, _SAMPLE, seed=hour)
        yield Hour(
            hour=hour,
            notifications=rates.notifications,
            logins=rates.logins,
            calls=rates.calls + load.retries * size.nodes,
            commands=commands(rates, size.nodes),
            fresh=rates.fresh,
            node=max(node_uses(setting, rates, size.nodes).values()),
            engine=max(engine_uses(setting, rates, size).values()),
            delay=Delay.of(call for call in outcome.calls if call.kind is Kind.USUAL),
        )

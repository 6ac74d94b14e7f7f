"""What a notification, a login and a call cost the processes of a node.

There are two nodes. The mail server of A speaks, and B owns all targets: so each process does one
thing only. The load is even and leaves both cores free for most of the time, so that each message
has its exchanges with the engine for itself, as in the simulation.
"""

import timeit
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice, repeat
from typing import Final

from bench.cluster.engine_costs import engine
from bench.cluster.nodes import (
    Node,
    Process,
    addresses_of,
    cluster,
    say_all,
    say_each,
    spends_idle,
    spent,
)
from bench.kernel import Resident
from bench.processes import Failed, build, cores
from bench.ringers import Sink, sink
from bench.section import Plan
from mailbell.cluster.rendezvous import owner

__all__ = ["measure_nodes", "measure_weight"]

_A: Final = "mail1"
_B: Final = "mail2"
_RATE: Final = 400.0  # a second
_SECONDS: Final = 30.0
_IDLE: Final = 10.0
# Each is rung once in more than two seconds, which is the default of `send.interval`.
_ACCOUNTS: Final = 1200
_WEIGHED: Final = 64


def measure_weight(plan: Plan) -> Iterator[tuple[str, float]]:
    """Measure the weight of one node for one target.

    Args:
        plan: how much.
    """
    names = [f"mail{number}" for number in range(_WEIGHED)]
    number = plan.of(20_000, 100)
    work = partial(owner, b"address 203.0.113.79 79 tcp", names)
    yield "companion_weight", min(timeit.repeat(work, number=number)) / number / _WEIGHED * 1e6


def measure_nodes(plan: Plan) -> Iterator[tuple[str, float]]:
    """Measure notifications, logins and calls, one after the other.

    Args:
        plan: how much.

    Raises:
        Failed: something became of a message that was not expected.
    """
    build()
    own, load = cores()
    weight = dict(measure_weight(plan))["companion_weight"]
    with ExitStack() as stack:
        found = stack.enter_context(engine(load))
        hosts = stack.enter_context(sink(load))
        nodes = stack.enter_context(
            cluster((_A, _B), found.port, hosts.port, on=(own, load)),
        )
        scene = _Scene(plan, nodes, hosts)
        notification = scene.notifications()
        yield "sender_notification", notification[_A, "sender"]
        yield "companion_notification", notification[_A, "companion"]
        login = scene.logins()
        yield "sender_login", login[_A, "sender"]
        yield "sender_welcome", login[_B, "sender"]
        # To find the owner of the target is an input of its own.
        find = weight * len(nodes)
        yield "companion_login", login[_A, "companion"] - find
        call = scene.calls()
        yield "sender_call", call[_B, "sender"]
        yield "companion_entry", call[_B, "companion"]
        put = call[_A, "companion"] - notification[_A, "companion"] - find
        yield "companion_put", max(put, 0.0)
        memory = (Resident.of(pid).now for pid in nodes[1].processes.values())
        yield "node_memory", sum(memory)


class _Scene:
    """Two nodes under load. Each method returns microseconds for one message, by process."""

    def __init__(self, plan: Plan, nodes: Sequence[Node], hosts: Sink) -> None:
        self._nodes = nodes
        self._a, self._b = nodes
        self._hosts = hosts
        self._count = plan.of(round(_RATE * _SECONDS), 40)
        self._accounts = plan.of(_ACCOUNTS, 20)
        self._addresses = addresses_of(_B, (_A, _B), hosts.port)
        self._idle = spends_idle(nodes, max(_IDLE * plan.scale, 1.0))

    def notifications(self) -> dict[Process, float]:
        lines = (f"new {_account(number)}" for number in range(self._count))
        before = self._rings(self._a, "no_target")
        costs = self._load(lines)
        self._expect("notifications", self._rings(self._a, "no_target") - before)
        return costs

    def logins(self) -> dict[Process, float]:
        numbers = range(self._accounts, self._accounts + self._count)
        pairs = zip(numbers, self._addresses, strict=False)
        before = self._accepted()
        costs = self._load(f"seen {_account(number)} {address}" for number, address in pairs)
        self._expect("logins", self._accepted() - before)
        return costs

    def calls(self) -> dict[Process, float]:
        accounts = [_account(number) for number in range(self._accounts)]
        places = islice(self._addresses, self._accounts)
        say_all(
            self._a, (f"seen {name} {where}" for name, where in zip(accounts, places, strict=True))
        )
        # Once before it counts: a target that is called again has a state already.
        say_each(self._a, (f"new {name}" for name in accounts), _RATE)
        self._hosts.wait_for(self._accounts)
        before = self._rings(self._b, "sent")
        turns = chain.from_iterable(repeat(accounts))
        costs = self._load(f"new {name}" for name in islice(turns, self._count))
        self._hosts.wait_for(self._accounts + self._count)
        self._expect("calls", self._rings(self._b, "sent") - before)
        return costs

    def _load(self, lines: Iterator[str]) -> dict[Process, float]:
        rates = []
        costs = spent(
            self._nodes, self._idle, lambda: rates.append(say_each(self._a, lines, _RATE))
        )
        if rates[0] < 0.9 * _RATE:
            raise Failed(f"this machine is too busy: {rates[0]:.0f} lines a second were said")
        return {process: each / self._count for process, each in costs.items()}

    def _accepted(self) -> int:
        return self._a.ringer.status().inputs["accepted"]

    def _rings(self, node: Node, outcome: str) -> int:
        return node.ringer.status().rings[outcome]

    def _expect(self, what: str, number: int) -> None:
        alone = self._a.cluster().alone
        if number != self._count or alone:
            raise Failed(f"{number} of {self._count} {what} were counted, {alone} of them alone")


def _account(number: int) -> str:
    return f"u{number:07d}@example.org"

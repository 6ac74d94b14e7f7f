"""How many notifications a second one, two and three nodes share, with one engine.

The hooks are as fast as the nodes: so many notifications are on their way at any time that no
process waits for work, and so few that the nodes share all of them. A notification is on its way
until the node of its target has taken its entry out of the inbox. All targets answer.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from bench.cluster.engine_costs import Engine, benchmark, engine, entry
from bench.cluster.nodes import FAST, Node, addresses_of, cluster, say_all
from bench.cluster.record import Shared
from bench.kernel import Cpu
from bench.processes import BUILD, PATIENCE, Failed, build
from bench.section import Plan

__all__ = ["measure_throughput"]

_NODES: Final = (1, 2, 3)
_ACCOUNTS: Final = 1000  # for each node
_ON_THEIR_WAY: Final = 1024  # for each node; a sender shares no more than 4,096 at a time
_AT_ONCE: Final = 32  # lines
_CONNECTIONS: Final = 16  # of each node's mail server
_WARM: Final = 2.0
_SECONDS: Final = 15.0
_OPERATIONS: Final = 400_000


def measure_throughput(plan: Plan) -> Iterator[dict[str, float] | Shared]:
    """Measure the engine's own benchmark, and then each number of nodes.

    Args:
        plan: how much.

    Raises:
        Failed: it cannot be measured here.
    """
    build()
    yield _benchmark(plan)
    for number in _NODES:
        yield _share(plan, number)


def _benchmark(plan: Plan) -> dict[str, float]:
    count = plan.of(_OPERATIONS, 1000)
    with engine() as found:
        alone = benchmark(found.port, count, "-t", "set,get")
        many = benchmark(found.port, count, "-t", "set,get", "-P", "16")
        words = ("XADD", "bench:inbox", "MAXLEN", "~", "10000", "*", *entry(0))
        (put,) = benchmark(found.port, count, "-P", "16", *words).values()
    return {
        **alone,
        **{f"{name}, 16 in each exchange": rate for name, rate in many.items()},
        "XADD of a ring, 16 in each exchange": put,
    }


def _share(plan: Plan, number: int) -> Shared:
    names = [f"mail{n + 1}" for n in range(number)]
    with ExitStack() as stack:
        found = stack.enter_context(engine())
        port, hosts = stack.enter_context(_hosts())
        nodes = stack.enter_context(cluster(names, found.port, port, send=FAST))
        hooks = _Hooks(nodes, found, port, plan.of(_ACCOUNTS, 20))
        try:
            hooks.run(max(_WARM * plan.scale, 0.3))
            groups = {
                "senders": [node.ringer.pid for node in nodes],
                "companions": [node.companion for node in nodes],
                "engine": [found.pid],
                "hosts": [hosts],
            }
            before, spent, shared = _times(groups), time.process_time_ns(), hooks.shared()
            began = time.monotonic()
            hooks.run(max(_SECONDS * plan.scale, 0.5))
            after, shared = _times(groups), hooks.shared() - shared
            seconds = time.monotonic() - began
            spent = time.process_time_ns() - spent
            hooks.finish()
        finally:
            hooks.close()
        statuses = [node.ringer.status() for node in nodes]
        alone = sum(node.cluster().alone for node in nodes)
    cpu = {name: (after[name] - before[name]) / shared / 1000 for name in groups}
    cpu["hooks"] = spent / shared / 1000
    rings = [status.rings for status in statuses]
    return Shared(
        nodes=number,
        seconds=seconds,
        notifications=shared,
        sent=sum(each["sent"] for each in rings),
        joined=sum(each["coalesced"] for each in rings),
        alone=alone,
        cpu=cpu,
    )


@contextmanager
def _hosts() -> Iterator[tuple[int, int]]:
    """Run the process that answers at all targets; yield their port, and the process."""
    with subprocess.Popen([BUILD / "sink"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - for mypy
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


def _times(groups: dict[str, list[int]]) -> dict[str, int]:
    return {name: Cpu.of(*pids).total for name, pids in groups.items()}


class _Hooks:
    """The mail servers of all nodes: each keeps some connections.

    Args:
        nodes: all nodes.
        engine: which they share.
        port: of the targets.
        accounts: for each node.
    """

    def __init__(self, nodes: Sequence[Node], engine: Engine, port: int, accounts: int) -> None:
        self._nodes = nodes
        self._engine = engine
        self._stack = ExitStack()
        self._said = self._turn = 0
        names = [node.name for node in nodes]
        lines = []
        for node in nodes:
            places = zip(range(accounts), addresses_of(node.name, names, port), strict=False)
            lines += [f"seen {n}@{node.name}.example {address}" for n, address in places]
        say_all(nodes[0], lines)
        self._until(lambda: self._engine.commands("zadd") >= len(lines), "the logins")
        self._accounts = [line.split()[1] for line in lines]
        self._before = self._engine.commands("xadd")  # an entry for each login
        self._connections = [
            [self._stack.enter_context(node.ringer.connect()) for _ in range(_CONNECTIONS)]
            for node in nodes
        ]

    def close(self) -> None:
        """End all connections."""
        self._stack.close()

    def shared(self) -> int:
        """Return how many notifications the nodes have put into inboxes."""
        return self._engine.commands("xadd") - self._before

    def run(self, seconds: float) -> None:
        """Keep the nodes busy.

        Args:
            seconds: for so long.
        """
        last = time.monotonic() + seconds
        most = _ON_THEIR_WAY * len(self._nodes)
        while time.monotonic() < last:
            room = most - self._on_their_way()
            for _ in range(room // (_AT_ONCE * len(self._nodes))):
                self._say()
            time.sleep(0.004)  # until the nodes have taken some

    def finish(self) -> None:
        """Wait until the nodes have done everything."""
        self._until(lambda: not self._waiting() and self._is_at_rest(), "what is on its way")

    def _is_at_rest(self) -> bool:
        before = self.shared()
        time.sleep(
            0.5
        )  # nothing tells when the last notification is shared, and the last call made
        return self.shared() == before

    def _say(self) -> None:
        """Say some lines to each node, on the connection whose turn it is."""
        self._turn += 1
        for connections in self._connections:
            lines = [
                f"new {self._accounts[(self._said + n) % len(self._accounts)]}\n"
                for n in range(_AT_ONCE)
            ]
            connections[self._turn % len(connections)].sendall("".join(lines).encode())
            self._said += len(lines)

    def _on_their_way(self) -> int:
        return self._said - self.shared() + self._waiting()

    def _waiting(self) -> int:
        """Return how many entries are in the inboxes."""
        inboxes = (f"mailbell:inbox:{node.name}" for node in self._nodes)
        return sum(int(self._engine.control.ask("XLEN", inbox)) for inbox in inboxes)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        last = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > last:
                raise Failed(f"the nodes have not done {what}")
            time.sleep(0.05)  # between two questions

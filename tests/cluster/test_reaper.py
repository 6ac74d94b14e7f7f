"""A node that has ended: what others put into its inbox late is not lost."""

from pathlib import Path

import pytest
import trio
from cluster.test_node import LIFE, Cluster, cluster, home, login, ring, until
from harness.engine import engine

from mailbell.cluster import messages as m

pytestmark = pytest.mark.long


async def late_entry(made: Cluster, name: str) -> None:
    """Put a ring into an inbox, as a node does that has not noticed yet."""
    fields = [
        "account", "anna", "target", f"address {home(1)} 79 tcp", "ring", "x/1", "since", "1",
        "until", "inf",
    ]  # fmt: skip
    made.server.ask("XADD", f"mailbell:inbox:{name}", "*", *fields)


@pytest.mark.parametrize("how", ["killed", "left"])
async def test_what_comes_late_is_moved_too(how: str, tmp_path: Path) -> None:
    with engine(tmp_path) as server:
        async with cluster(server) as made:
            a, b = await made.working("a", "b")
            if how == "killed":
                b.scope.cancel()
                await until(lambda: a.of(m.Sweep))
            else:
                await b.node.put(m.Retire())
                await b.node.put(m.Leave())
                await until(lambda: b.of(m.Left))
                await trio.sleep(LIFE / 4)  # nothing tells that nothing more happens
            await late_entry(made, "b")
            await until(lambda: len(a.calls) == 1)
            await until(lambda: len(a.state.nodes) == 1)
            assert bool(a.of(m.Sweep)) == (how == "killed")


async def test_who_comes_back_meanwhile_keeps_its_inbox(tmp_path: Path) -> None:
    with engine(tmp_path) as server:
        async with cluster(server) as made:
            a, b = await made.working("a", "b")
            b.scope.cancel()
            await until(lambda: a.of(m.Sweep))
            again = await made.add("b")
            await until(lambda: again.state.problem is None)
            await trio.sleep(LIFE * 1.5)  # nothing tells that nothing more happens
            assert [node.name for node in a.state.nodes if node.lives] == ["a", "b"]
            assert server.ask("EXISTS", "mailbell:reap:b") == ":0"


async def test_a_sweep_takes_a_part_at_a_time(tmp_path: Path) -> None:
    with engine(tmp_path) as server:
        async with cluster(server) as made:
            a, b = await made.working("a", "b")
            for number in range(80):
                await a.node.put(login(number, f"user{number}", home(number)))
            await until(lambda: len(a.of(m.Welcome)) + len(b.of(m.Welcome)) == 80)
            a.sweeps = False
            b.scope.cancel()
            await until(lambda: a.of(m.Sweep))
            await trio.sleep(0.2)  # nothing tells that nothing more happens
            assert len(a.of(m.Sweep)) == 1, "the sender has not answered yet"
            a.sweeps = True
            await a.node.put(m.Swept(1))
            await until(lambda: len(a.of(m.Sweep)) == 3)
            assert sorted(a.swept) == sorted(f"user{number}" for number in range(80))
            await a.node.put(ring(1, "user1"))

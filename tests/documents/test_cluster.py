"""docs/cluster.md: the configuration, and the engine's user with the rights that it names."""

from pathlib import Path

import pytest
from cluster.test_node import Cluster, cluster, login, ring, until
from documents.blocks import block
from harness.engine import engine, redis_cluster

from mailbell.cluster import messages as m
from mailbell.cluster.clients import Access
from mailbell.sender.configuration import parse

pytestmark = pytest.mark.long


def test_the_configuration_names_the_engine() -> None:
    store = parse(block("docs/cluster.md", "Set up").text.encode()).store
    engine = store.url.engine
    assert engine is not None
    assert (engine.user, engine.hosts) == ("mailbell", (("redis.example.net", 6379),))
    assert store.password_file == "/etc/mailbell/engine.password"


async def test_the_users_rights_are_enough(tmp_path: Path) -> None:
    words = block("docs/cluster.md", "The engine").text.replace("PASSWORD", "secret").split()
    with engine(tmp_path) as server:
        assert server.ask(*words) == "+OK"
        server.ask("ACL", "SETUSER", "default", "off")
        access = Access(
            kind="tcp", hosts=[("127.0.0.1", server.port)], user="mailbell", password="secret"
        )
        async with cluster(server) as made:
            await work(made, access)


async def test_the_users_rights_are_enough_for_a_redis_cluster(tmp_path: Path) -> None:
    words = [
        block("docs/cluster.md", "The engine", ordinal).text.replace("PASSWORD", "secret").split()
        for ordinal in (0, 1)
    ]
    with redis_cluster(tmp_path) as servers:
        for server in servers:
            for command in words:
                assert server.ask(*command) == "+OK"
            server.ask("ACL", "SETUSER", "default", "off")
        access = Access(
            kind="cluster",
            hosts=[("127.0.0.1", servers[0].port)],
            user="mailbell",
            password="secret",
        )
        async with cluster(servers[0]) as made:
            await work(made, access)


async def work(made: Cluster, access: Access) -> None:
    """Do what nodes ever do: log in, ring, die, leave."""
    a, b = await made.add("a", access), await made.add("b", access)
    await until(lambda: len(a.state.nodes) == len(b.state.nodes) == 2)
    for number in range(16):
        await a.node.put(login(number, f"user{number}", f"192.0.2.{number + 1}"))
        await a.node.put(ring(100 + number, f"user{number}"))
    await until(lambda: len(a.calls) + len(b.calls) == 16)
    assert a.state.problem is None
    b.scope.cancel()
    await until(lambda: len(a.swept) == 16 and len(a.state.nodes) == 1)
    await a.node.put(m.Retire())
    await a.node.put(m.Leave())
    await until(lambda: a.of(m.Left))

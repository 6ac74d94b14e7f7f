"""What the nodes keep in a real engine, one exchange after another."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from harness.engine import EngineServer, engine, redis_cluster

from mailbell.cluster.clients import Access, connect
from mailbell.cluster.engine import Claim, Engine, Noted
from mailbell.cluster.report import Report

A, B = Report("a" * 16, 1, 2, 0.5), Report("b" * 16)
LIFE = 60.0
TTL = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    with engine(tmp_path_factory.mktemp("engine")) as made:
        yield made


@pytest.fixture(autouse=True)
def empty(server: EngineServer) -> None:
    server.ask("FLUSHALL")


@asynccontextmanager
async def nodes(server: EngineServer, *names: str) -> AsyncIterator[list[Engine]]:
    access = Access(kind="tcp", hosts=[("127.0.0.1", server.port)])
    async with connect(access) as client:
        yield [Engine(client, name, TTL, 2) for name in names]


async def test_a_node_takes_its_name_once(server: EngineServer) -> None:
    async with nodes(server, "a") as (a,):
        assert await a.claim(A, LIFE) == Claim(False, False, False)
        assert await a.claim(A, LIFE) == Claim(False, False, False), "the answer may be lost"
        await a.beat(A, LIFE)
        assert await a.claim(A, LIFE) == Claim(True, False, False)
        assert await a.claim(B, LIFE) is None


async def test_what_the_engine_knows_of_an_earlier_run(server: EngineServer) -> None:
    async with nodes(server, "a", "b") as (a, b):
        await a.beat(A, LIFE)
        assert await b.is_listed("a")
        await b.bury("a", swept=True)
        assert not await b.is_listed("a")
        assert await a.claim(A, LIFE) == Claim(False, False, True)
        await a.beat(A, LIFE, keep_swept=True)
        assert await a.was_swept("a")
        await a.beat(A, LIFE)
        assert not await a.was_swept("a")
        await b.note_swept("a")
        assert await a.was_swept("a")
        await a.beat(A, LIFE)
        await b.bury("a", swept=False)
        assert await a.claim(A, LIFE) == Claim(False, False, False)


async def test_signs_of_life(server: EngineServer) -> None:
    async with nodes(server, "a", "b") as (a, b):
        await a.beat(A, LIFE)
        await b.send([("a", {"x": "y"})])
        beat = await b.beat(B, LIFE)
        assert (beat.memory, beat.beats) == (A.run, 2)
        assert [tuple(node) for node in beat.nodes] == [("a", A, 1), ("b", B, 0)]
        server.ask("DEL", "mailbell:alive:a")
        assert [node.report for node in (await b.beat(B, LIFE)).nodes] == [None, B]


async def test_what_is_no_node_is_not_one(server: EngineServer) -> None:
    server.ask("SADD", "mailbell:nodes", "no name", "c")
    server.ask("SET", "mailbell:alive:c", "no report")
    async with nodes(server, "a") as (a,):
        assert [tuple(node) for node in (await a.beat(A, LIFE)).nodes] == [
            ("a", A, 0),
            ("c", None, 0),
        ]


async def test_nodes_that_the_engine_has_forgotten(server: EngineServer) -> None:
    async with nodes(server, "a") as (a,):
        await a.remember(["b"])
        beat = await a.beat(A, LIFE)
        assert [(node.name, node.report) for node in beat.nodes] == [("a", A), ("b", None)]


async def test_who_leaves_does_not_live_and_is_looked_after(server: EngineServer) -> None:
    async with nodes(server, "a", "b") as (a, b):
        await a.beat(A, LIFE)
        assert await b.is_alive("a")
        await a.leave()
        assert not await b.is_alive("a")
        assert [node.name for node in (await b.beat(B, LIFE)).nodes] == ["a", "b"]
        assert await b.has_left("a")
        assert not await b.has_left("b")
        assert await a.claim(A, LIFE) == Claim(True, True, False)
        await a.beat(A, LIFE)
        assert not await b.has_left("a")
        await a.leave()
        await b.bury("a", swept=False)
        assert [node.name for node in (await b.beat(B, LIFE)).nodes] == ["b"]


async def test_the_addresses_of_the_last_logins(server: EngineServer) -> None:
    async with nodes(server, "a") as (a,):
        assert await a.note_logins(
            [Noted("anna", "192.0.2.1", 10.0), Noted("bob", "192.0.2.1", 11.0)]
        ) == [True, True]
        assert await a.note_logins(
            [Noted("anna", "192.0.2.1", 9.0), Noted("anna", "192.0.2.2", 12.0)]
        ) == [False, True]
        await a.note_logins([Noted("anna", "192.0.2.3", 11.5)])
        assert await a.logins(["anna", "carl", "bob"]) == [
            (("192.0.2.3", 11.5), ("192.0.2.2", 12.0)),
            (),
            (("192.0.2.1", 11.0),),
        ]
        found = [account async for part in a.accounts() for account in part]
        assert sorted(found) == ["anna", "bob"]
        left = int(server.ask("PTTL", "mailbell:book:anna")[1:])
        assert 0 < left <= TTL * 1000


async def test_a_key_that_is_no_account_is_left_out(server: EngineServer) -> None:
    server.ask("SET", "mailbell:book:" + "x" * 500, "")
    async with nodes(server, "a") as (a,):
        assert [account async for part in a.accounts() for account in part] == []


async def test_an_inbox(server: EngineServer) -> None:
    async with nodes(server, "a", "b") as (a, b):
        assert await a.receive(0.001) == ()
        await b.send([("a", {"n": "1"}), ("a", {"n": "2"})])
        found = await a.receive(1.0)
        assert [each.fields for each in found] == [{"n": "1"}, {"n": "2"}]
        assert await b.inbox_of("a") == found
        await a.take_out("a", found[:1])
        assert await a.receive(1.0) == found[1:]
        await b.take_out("a", found[1:])
        assert await a.receive(0.001) == ()


async def test_one_node_looks_after_a_dead_one(server: EngineServer) -> None:
    async with nodes(server, "a", "b") as (a, b):
        assert await a.may_reap("c", LIFE)
        assert not await b.may_reap("c", LIFE)
        assert await a.may_reap("c", LIFE)
        server.ask("DEL", "mailbell:reap:c")
        assert await b.may_reap("c", LIFE)


async def test_a_unix_socket_and_a_password(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with engine(tmp_path, "--unixsocket", str(path)) as server:
        server.ask("ACL", "SETUSER", "bell", "on", ">secret", "~mailbell:*", "+@all")
        server.ask("ACL", "SETUSER", "default", "off")
        access = Access(kind="unix", path=str(path), user="bell", password="secret")
        async with connect(access) as client:
            beat = await Engine(client, "a", TTL, 2).beat(A, LIFE)
            assert [node.name for node in beat.nodes] == ["a"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EngineServer]]:
    with redis_cluster(tmp_path_factory.mktemp("shards")) as made:
        yield made


@pytest.mark.long
async def test_a_redis_cluster(shards: list[EngineServer]) -> None:
    access = Access(kind="cluster", hosts=[("127.0.0.1", shards[1].port)])
    async with connect(access) as client:
        a, b = Engine(client, "a", TTL, 2), Engine(client, "b", TTL, 2)
        for node, report in ((a, A), (b, B)):
            await node.claim(report, LIFE)
            await node.beat(report, LIFE)
        names = [f"user{number}" for number in range(60)]
        assert all(await a.note_logins([Noted(name, "192.0.2.1", 10.0) for name in names]))
        assert set(await b.logins(names)) == {(("192.0.2.1", 10.0),)}
        assert sorted([name async for part in b.accounts() for name in part]) == sorted(names)
        await a.send([("b", {"n": "1"}), ("a", {"n": "2"})])
        found = await b.receive(1.0)
        assert [each.fields for each in found] == [{"n": "1"}]
        await b.take_out("b", found)
        nodes_known = (await a.beat(A, LIFE)).nodes
        assert [tuple(node) for node in nodes_known] == [("a", A, 1), ("b", B, 0)]
        await b.bury("a", swept=True)
        await b.leave()
        assert all(int(each.ask("DBSIZE")[1:]) for each in shards), "the books are spread"

"""What a node does about an engine that loses, delays or forgets, and about other nodes' ends."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from cluster.test_node import BEAT, LIFE, Cluster, Sender, cluster, home, living, login, ring, until
from harness.engine import EngineServer, engine
from harness.ports import free_port

from mailbell.cluster import messages as m
from mailbell.cluster import reaper
from mailbell.cluster.clients import Access
from mailbell.sender import _node_at_work

pytestmark = pytest.mark.long

TARGET = f"address {home(1)} 79 tcp"
OTHER_RUN = "f" * 16 + " 0 0 0.000"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    with engine(tmp_path_factory.mktemp("engine")) as made:
        yield made


@pytest.fixture
def server(running: EngineServer) -> EngineServer:
    running.ask("FLUSHALL")
    return running


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a node connect anew at once."""
    monkeypatch.setattr(_node_at_work, "_RETRY", BEAT)


class Wire:
    """Lies between nodes and an engine.

    Attributes:
        cuts: how many connections end with the first word.
        delay: seconds that each answer takes.
    """

    def __init__(self, port: int) -> None:
        self.cuts = 0
        self.delay = 0.0
        self.access = Access(kind="tcp")
        self._port = port

    async def carry(self, near: trio.SocketStream) -> None:
        async with near:
            if self.cuts:
                self.cuts -= 1
                await near.receive_some(1)
                return
            far = await trio.open_tcp_stream("127.0.0.1", self._port)
            async with far, trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, near, far, 0.0)
                await self._copy(far, near, self.delay)
                nursery.cancel_scope.cancel()

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream, delay: float) -> None:
        try:
            async for data in source:
                await trio.sleep(delay)  # this is what is tried
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def wired(server: EngineServer) -> AsyncIterator[tuple[Cluster, Wire]]:
    wire = Wire(server.port)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, wire.carry, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        wire.access = Access(kind="tcp", hosts=[("127.0.0.1", port)])
        async with cluster(server) as made:
            yield made, wire
        nursery.cancel_scope.cancel()


def works(sender: Sender) -> bool:
    return sender.state.problem is None


# --- the engine -------------------------------------------------------------------------


async def test_connections_that_are_lost_are_not_used_up(server: EngineServer, soon: None) -> None:
    async with wired(server) as (made, wire):
        wire.cuts = 150
        a = await made.add("a", wire.access)
        await until(lambda: works(a) and not wire.cuts)
        await a.node.put(ring(1, "anna", TARGET))
        await until(lambda: a.calls)


async def test_sentinels_that_are_away_are_asked_again(
    server: EngineServer, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(server) as made:
        port = free_port()
        failures: list[Exception] = []
        a = await made.add("a", Access(kind="sentinel", hosts=[("127.0.0.1", port)], service="x"))
        fail = a.node.fail

        def note(error: Exception) -> None:
            failures.append(error)
            fail(error)

        monkeypatch.setattr(a.node, "fail", note)
        await until(lambda: len(failures) > 150)
        monkeypatch.undo()


async def test_an_engine_that_takes_half_a_second_for_an_answer(server: EngineServer) -> None:
    async with wired(server) as (made, wire):
        wire.delay = 0.5
        a = await made.add("a", wire.access)
        with trio.fail_after(30):
            while not works(a):
                await trio.sleep(BEAT)  # between two looks
        states = len(a.states)
        await a.node.put(login(1, "anna", home(1)))
        await a.node.put(ring(2, "anna"))
        with trio.fail_after(30):
            while not a.calls or len(a.states) < states + 3:
                await trio.sleep(BEAT)  # between two looks
        assert a.of(m.Lost) == []
        assert all(state.problem is None for state in a.states[states:])


async def test_what_others_learnt_late_is_rung_and_then_it_is_quiet(server: EngineServer) -> None:
    async with cluster(server) as made:
        a, b = await made.working("a", "b")
        a.catches_up = b.catches_up = True
        await b.node.put(ring(1, "anna"))
        await until(lambda: b.of(m.Nobody))
        # The engine was away for a, which has noted a login that nobody else could know.
        await a.node.put(login(1, "anna", home(1), age=5))
        await until(lambda: a.of(m.Answered))
        await a.node.put(m.CaughtUp())
        await until(lambda: len(made.calls()) == 1)
        await a.node.put(m.CaughtUp())
        await trio.sleep(20 * BEAT)  # nothing tells that nothing more happens
        assert made.calls().total() == 1
        said = [server.ask("GET", f"mailbell:alive:{name}") for name in "ab"]
        returns = [server.read("GET", f"mailbell:alive:{name}").split()[1] for name in "ab"]
        assert returns == ["1", "0"], said
        assert b.of(m.Forgot) == [], "b has not lost anything"


async def test_an_engine_that_forgets_a_dead_node_is_told(server: EngineServer) -> None:
    async with cluster(server) as made:
        a, b = await made.working("a", "b")
        b.scope.cancel()
        server.ask("FLUSHALL")
        await until(lambda: a.of(m.Sweep))
        await until(lambda: [node.name for node in a.state.nodes] == ["a"])
        assert m.Forgot() in a.heard


async def test_a_user_that_may_not_read_gives_no_sign_of_life(tmp_path: Path) -> None:
    with engine(tmp_path) as server:
        async with cluster(server) as made:
            a, b = await made.working("a", "b")
            server.ask("ACL", "SETUSER", "half", "on", "nopass", "~*", "+@all", "-xread")
            where = [("127.0.0.1", server.port)]
            half = Access(kind="tcp", hosts=where, user="half", password="x")
            c = await made.add("c", half)
            await until(lambda: "xread" in str(c.state.problem))
            await trio.sleep(LIFE * 1.5)  # nothing tells that nothing more happens
            assert living(a) == living(b) == ["a", "b"]


async def test_what_is_no_text_is_no_poison(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        for fields in ((b"account", b"\xff"), (b"\xff\xfe", b"x"), (b"login", b"\xff\xff\xff")):
            server.ask("XADD", "mailbell:inbox:a", "*", *fields)
        server.ask("SADD", "mailbell:nodes", b"\xff")
        server.ask("ZADD", b"mailbell:book:\xff", "1", "192.0.2.1")
        server.ask("ZADD", "mailbell:book:anna", "1", b"\xff\xff")
        await a.node.put(ring(1, "anna", TARGET))
        await until(lambda: a.calls)
        await until(lambda: server.ask("XLEN", "mailbell:inbox:a") == ":0")
        assert works(a)


async def test_a_node_that_taught_nothing_has_nothing_repeated(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        await a.node.put(ring(1, "anna", TARGET))
        await until(lambda: a.calls)
        b = await made.add("b")
        await until(lambda: living(a) == living(b) == ["a", "b"])
        await b.node.put(login(1, "bob", home(2)))
        await until(lambda: b.of(m.Answered))
        await b.node.put(m.CaughtUp())
        await trio.sleep(10 * BEAT)  # nothing tells that nothing more happens
        assert len(a.calls) + len(b.calls) == 1


async def test_a_ring_that_is_lost_with_the_second_engine_is_said_again(tmp_path: Path) -> None:
    """The engine had it each time, and ended before any node took it."""
    with engine(tmp_path) as server:
        async with cluster(server) as made:
            (a,) = await made.working("a")
            a.node._has_retired = True  # so that it takes nothing, and nobody else is there
            await a.node.put(ring(1, "anna", TARGET))
            await until(lambda: a.of(m.Answered))
            for _ in range(2):
                server.kill()
                await until(lambda: not works(a))
                await trio.to_thread.run_sync(server.start)
                await until(lambda: works(a))
                await until(lambda: server.ask("XLEN", "mailbell:inbox:a") == ":1")
            a.node._has_retired = False
            await until(lambda: len(a.calls) == 1)


# --- names ------------------------------------------------------------------------------


async def test_who_was_away_too_long_may_have_lost_its_name(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        server.ask("SET", "mailbell:alive:a", OTHER_RUN)
        await until(lambda: "another node is called a" in str(a.state.problem))
        await a.node.put(ring(1, "anna", TARGET))
        assert a.of(m.Lost) == [m.Lost((1,))]
        await trio.sleep(5 * BEAT)  # nothing tells that nothing more happens
        assert server.read("GET", "mailbell:alive:a") == OTHER_RUN, "it has not written over it"
        server.ask("DEL", "mailbell:alive:a")
        await until(lambda: works(a))


# --- who looks after the dead -------------------------------------------------------------


async def test_one_node_looks_after_a_dead_one_however_long_it_takes(
    server: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_GRACE", 0.5)
    async with cluster(server) as made:
        a, b, c = await made.working("a", "b", "c")
        a.sweeps = b.sweeps = False
        c.scope.cancel()
        await until(lambda: a.of(m.Sweep) or b.of(m.Sweep))
        await trio.sleep(2)  # nothing tells that nothing more happens
        assert len(a.of(m.Sweep)) + len(b.of(m.Sweep)) == 1


async def killed(made: Cluster, server: EngineServer) -> Sender:
    """Kill a node that knows a login, which another one then looks after; start it again."""
    (a,) = await made.working("a")
    await a.node.put(login(1, "anna", home(1)))
    await until(lambda: a.of(m.Welcome))
    a.scope.cancel()
    server.ask("SET", "mailbell:reap:a", "b")
    again = await made.add("a")
    await until(lambda: works(again))
    await trio.sleep(LIFE)  # nothing tells that nothing more happens
    assert again.of(m.Sweep) == []
    assert again.state.is_sweeping
    return again


async def test_who_comes_back_waits_until_another_has_rung_everybody(server: EngineServer) -> None:
    async with cluster(server) as made:
        again = await killed(made, server)
        server.ask("SET", "mailbell:swept:a", "")
        server.ask("DEL", "mailbell:reap:a")
        await until(lambda: not again.state.is_sweeping)
        assert again.of(m.Sweep) == []
        await until(lambda: server.ask("EXISTS", "mailbell:swept:a") == ":0")


async def test_who_comes_back_rings_everybody_if_the_other_ends_first(
    server: EngineServer,
) -> None:
    async with cluster(server) as made:
        again = await killed(made, server)
        server.ask("DEL", "mailbell:reap:a")
        await until(lambda: again.swept == ["anna"])
        await until(lambda: not again.state.is_sweeping)


async def test_an_old_mark_of_a_node_that_came_back_does_not_count(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        server.ask("SET", "mailbell:swept:a", "")
        await until(lambda: server.ask("EXISTS", "mailbell:swept:a") == ":0")
        a.scope.cancel()
        again = await made.add("a")
        await until(lambda: again.of(m.Sweep))


async def test_a_dead_node_is_looked_after_once(server: EngineServer) -> None:
    async with cluster(server) as made:
        nodes = await made.working("a", "b", "c", "d")
        nodes[0].scope.cancel()
        nodes[1].scope.cancel()
        rest = nodes[2:]
        await until(lambda: all(len(each.state.nodes) == 2 for each in rest))
        await trio.sleep(3 * LIFE)  # nothing tells that nothing more happens
        assert sum(len(each.of(m.Sweep)) for each in rest) == 2


async def test_nothing_is_put_into_the_inbox_of_a_node_that_left_meanwhile(
    server: EngineServer,
) -> None:
    async with cluster(server) as made:
        a, b, c = await made.working("a", "b", "c")
        a.node.problem = "away"  # as if the engine were
        a.node._members.update(["a", "b", "c"])
        await b.node.put(m.Retire())
        await b.node.put(m.Leave())
        await until(lambda: b.of(m.Left))
        await until(lambda: [node.name for node in c.state.nodes] == ["a", "c"])
        a.node._members.update(["a", "b", "c"])
        a.node.problem = "away"
        await until(lambda: a.node.problem is None)
        for number in range(30):
            await a.node.put(ring(number, "anna", f"address {home(number)} 79 tcp"))
        await until(lambda: len(a.calls) + len(c.calls) == 30)
        assert server.ask("XLEN", "mailbell:inbox:b") == ":0"


async def test_nodes_that_somebody_invents_do_not_wait_for_ever(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        for turn in range(5):
            server.ask("DEL", "mailbell:nodes")
            server.ask("SADD", "mailbell:nodes", *(f"x{turn}.{n}" for n in range(60)))
            last = a.state
            await until(lambda last=last: a.state is not last)  # type: ignore[misc]
            await trio.sleep(2 * BEAT)  # nothing tells that nothing more happens
        assert len(a.node._reaper._names) <= 66


async def test_an_answer_for_an_earlier_part_of_a_sweep_does_not_count(
    server: EngineServer,
) -> None:
    async with cluster(server) as made:
        a, b = await made.working("a", "b")
        a.sweeps = False
        b.scope.cancel()
        await until(lambda: a.of(m.Sweep))
        await a.node.put(m.Swept(99))
        await trio.sleep(LIFE * 2)  # nothing tells that nothing more happens
        assert [node.name for node in a.state.nodes] == ["a", "b"]
        await a.node.put(m.Swept(1))
        await until(lambda: [node.name for node in a.state.nodes] == ["a"])


async def test_who_left_while_the_engine_came_back_is_not_looked_after(
    server: EngineServer,
) -> None:
    async with cluster(server) as made:
        a, b, c = await made.working("a", "b", "c")
        a.node._grace = trio.current_time() + 3 * LIFE  # as if the engine had just come back
        await b.node.put(m.Retire())
        await b.node.put(m.Leave())
        await until(lambda: b.of(m.Left))
        await until(lambda: [node.name for node in c.state.nodes] == ["a", "c"])
        a.node._grace = trio.current_time()
        await trio.sleep(5 * BEAT)  # nothing tells that nothing more happens
        assert a.of(m.Sweep) == c.of(m.Sweep) == []
        assert [node.name for node in a.state.nodes] == ["a", "c"]


async def test_who_retires_says_when_no_call_follows(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        await a.node.put(m.Retire())
        assert a.of(m.Retired) == [m.Retired()]
        await a.node.put(ring(1, "anna", TARGET))
        await until(lambda: a.of(m.Answered))
        await trio.sleep(5 * BEAT)  # nothing tells that nothing more happens
        assert a.calls == []

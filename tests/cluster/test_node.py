"""Nodes at work with a real engine: who rings whom, and what becomes of it when something ends."""

import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from harness.daemon import PATIENCE
from harness.engine import EngineServer, engine

from mailbell.cluster import messages as m
from mailbell.cluster.clients import Access, connect
from mailbell.cluster.engine import Engine
from mailbell.cluster.node import Node
from mailbell.core.notification import Transport
from mailbell.sender._node_at_work import keep_connected
from mailbell.sender._node_settings import Settings
from mailbell.sender._store_url import EngineUrl, Kind

pytestmark = pytest.mark.long

PLACES = (m.Place(79, Transport.TCP),)
TTL = 60.0
BEAT, LIFE = 0.05, 2.0  # seconds: a busy machine may let a node wait


class Sender:
    """What a node says to its sender, each message in the way it is sent."""

    def __init__(self) -> None:
        self.heard: list[m.FromCompanion] = []
        self.states = [m.State("nothing said yet")]
        self.node: Node
        self.scope = trio.CancelScope()
        self.sweeps = True
        self.catches_up = False

    async def tell(self, message: m.FromCompanion) -> None:
        assert m.decode_from_companion(m.encode(message)) == message
        await trio.lowlevel.checkpoint()
        if isinstance(message, m.State):
            self.states.append(message)
            return
        self.heard.append(message)
        if isinstance(message, m.Sweep) and self.sweeps:
            await self.node.put(m.Swept(message.number))
        if isinstance(message, m.Forgot) and self.catches_up:
            await self.node.put(m.CaughtUp())

    @property
    def state(self) -> m.State:
        return self.states[-1]

    def of(self, kind: type[m.FromCompanion]) -> list[m.FromCompanion]:
        return [each for each in self.heard if isinstance(each, kind)]

    @property
    def calls(self) -> list[m.Call]:
        return [each for each in self.heard if isinstance(each, m.Call)]

    @property
    def swept(self) -> list[str]:
        return [name for each in self.heard if isinstance(each, m.Sweep) for name in each.accounts]


class Cluster:
    """Nodes of one engine, in one process."""

    def __init__(self, server: EngineServer, nursery: trio.Nursery) -> None:
        self.server = server
        self.senders: dict[str, Sender] = {}
        self._nursery = nursery

    async def add(self, name: str, access: Access | None = None, host: str = "0" * 8) -> Sender:
        """Start a node."""
        sender = Sender()
        sender.node = Node(name, sender, TTL, host=host, beat=BEAT, life=LIFE)
        access = access or Access(kind="tcp", hosts=[("127.0.0.1", self.server.port)])
        self._nursery.start_soon(self._run, name, sender, access)
        self.senders[name] = sender
        return sender

    async def _run(self, name: str, sender: Sender, access: Access) -> None:
        settings = Settings(
            url=EngineUrl(Kind.TCP), ports=frozenset(), password=None, certificates=None,
            addresses={}, node=name, state="", ttl=TTL, logins=4,
        )  # fmt: skip
        with sender.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_connected, settings, access, sender.node)
                nursery.start_soon(sender.node.serve)

    async def working(self, *names: str) -> list[Sender]:
        """Start nodes, and wait until each knows all."""
        senders = [await self.add(name) for name in names]
        await until(lambda: all(living(each) == sorted(names) for each in senders))
        return senders

    def calls(self) -> Counter[tuple[str, str]]:
        return Counter(
            (call.account, call.target) for each in self.senders.values() for call in each.calls
        )


def living(sender: Sender) -> list[str]:
    return [node.name for node in sender.state.nodes if node.lives]


async def until(done: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE):
        while not done():
            await trio.sleep(0.01)  # what is waited for happens in another process


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    with engine(tmp_path_factory.mktemp("engine")) as made:
        yield made


@pytest.fixture
def server(running: EngineServer) -> EngineServer:
    running.ask("FLUSHALL")
    return running


@asynccontextmanager
async def cluster(server: EngineServer) -> AsyncIterator[Cluster]:
    async with trio.open_nursery() as nursery:
        yield Cluster(server, nursery)
        nursery.cancel_scope.cancel()


def ring(number: int, name: str, *targets: str) -> m.Ring:
    return m.Ring(number, name, targets, PLACES)


def login(number: int, name: str, address: str, *, age: float = 0, late: bool = False) -> m.Login:
    return m.Login(number, name, address, age, late, (), PLACES)


def home(number: int) -> str:
    return f"192.0.2.{number + 1}"


async def test_a_login_here_and_mail_there_ring_one_node_once(server: EngineServer) -> None:
    async with cluster(server) as made:
        a, b, c = await made.working("a", "b", "c")
        for number in range(30):
            await (a, b, c)[number % 3].node.put(login(number, f"user{number}", home(number)))
        await until(lambda: sum(len(each.of(m.Welcome)) for each in (a, b, c)) == 30)
        for number in range(30):
            await (b, c, a)[number % 3].node.put(ring(100 + number, f"user{number}"))
        await until(lambda: len(made.calls()) == 30)
        assert set(made.calls().values()) == {1}
        assert all(each.calls for each in (a, b, c))
        answered = [n for each in a.of(m.Answered) for n in each.numbers]  # type: ignore[union-attr]
        assert sorted(answered) == sorted([*range(0, 30, 3), *range(102, 130, 3)])
        await until(lambda: sum(node.taken for node in a.state.nodes) == 30)


async def test_who_has_no_target_is_told(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        await a.node.put(ring(1, "anna"))
        await until(lambda: a.of(m.Nobody) == [m.Nobody("anna")])


async def test_what_a_killed_node_had_is_done_by_others(server: EngineServer) -> None:
    async with cluster(server) as made:
        a, b = await made.working("a", "b")
        for number in range(40):
            await a.node.put(login(number, f"user{number}", home(number)))
        await until(lambda: len(a.of(m.Welcome)) + len(b.of(m.Welcome)) == 40)
        b.scope.cancel()
        for number in range(40):
            await a.node.put(ring(100 + number, f"user{number}"))
        await until(lambda: len(made.calls()) == 40)
        assert set(made.calls().values()) == {1}
        await until(lambda: len(a.swept) == 40)
        await until(lambda: living(a) == ["a"] and len(a.state.nodes) == 1)
        assert server.ask("EXISTS", "mailbell:swept:b") == ":1"


async def test_who_comes_back_after_a_kill_has_everybody_rung(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        await a.node.put(login(1, "anna", home(1)))
        await until(lambda: a.of(m.Welcome))
        a.scope.cancel()
        again = await made.add("a")
        await until(lambda: again.swept == ["anna"])
        await until(lambda: again.state.problem is None and again.state.is_swept)


async def test_who_was_looked_after_does_not_have_everybody_rung_again(
    server: EngineServer,
) -> None:
    async with cluster(server) as made:
        a, b = await made.working("a", "b")
        b.scope.cancel()
        await until(lambda: a.of(m.Sweep) and len(a.state.nodes) == 1)
        again = await made.add("b")
        await until(lambda: again.state.problem is None)
        assert again.state.is_swept
        assert again.of(m.Sweep) == []


async def test_who_leaves_hands_its_work_over(server: EngineServer) -> None:
    async with cluster(server) as made:
        a, b = await made.working("a", "b")
        await b.node.put(m.Retire())
        targets = [f"address {home(number)} 79 tcp" for number in range(16)]
        await b.node.put(ring(1, "anna", *targets))
        await until(lambda: len(a.calls) == 16)
        await b.node.put(m.Leave())
        await until(lambda: b.of(m.Left))
        await until(lambda: living(a) == ["a"] and len(a.state.nodes) == 1)
        assert a.of(m.Sweep) == []


async def test_the_last_one_leaves_its_work_for_whoever_comes(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        await a.node.put(m.Retire())
        await trio.sleep(3 * BEAT)  # nothing tells that nothing more happens
        await a.node.put(ring(1, "anna", f"address {home(1)} 79 tcp"))
        await until(lambda: a.of(m.Answered))
        await a.node.put(m.Leave())
        await until(lambda: a.of(m.Left))
        b = await made.add("b")
        await until(lambda: len(b.calls) + len(a.calls) == 1)
        assert b.of(m.Sweep) == []


async def test_one_name_is_one_node(server: EngineServer) -> None:
    async with cluster(server) as made:
        await made.working("a")
        other = Sender()
        other.node = Node("a", other, TTL, host="f" * 8, beat=BEAT, life=LIFE)
        async with connect(Access(kind="tcp", hosts=[("127.0.0.1", server.port)])) as client:
            other.node.engine = Engine(client, "a", TTL, 4)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other.node.serve)
                await until(lambda: "another node is called a" in str(other.state.problem))
                await other.node.put(ring(1, "anna"))
                assert other.of(m.Lost) == [m.Lost((1,))]
                nursery.cancel_scope.cancel()


async def test_what_no_node_wrote_is_passed_over(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        for fields in (["x", "y"], ["login", "nowhere"], ["account", "anna", "target", "x"]):
            server.ask("XADD", "mailbell:inbox:a", "*", *fields)
        await a.node.put(ring(1, "anna", f"address {home(1)} 79 tcp"))
        await until(lambda: a.calls)
        assert [type(each) for each in a.heard] == [m.Answered, m.Call] or [
            type(each) for each in a.heard
        ] == [m.Call, m.Answered]
        await until(lambda: server.ask("XLEN", "mailbell:inbox:a") == ":0")


async def test_a_ring_that_is_said_twice_is_taken_once(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        await a.node.put(ring(1, "anna", f"address {home(1)} 79 tcp"))
        await a.node.put(ring(1, "anna", f"address {home(1)} 79 tcp"))
        await a.node.put(ring(2, "anna", f"address {home(1)} 79 tcp"))
        await until(lambda: len(a.calls) == 2)
        await until(lambda: server.ask("XLEN", "mailbell:inbox:a") == ":0")
        assert len(a.calls) == 2


async def test_a_late_login_that_the_engine_did_not_know_is_rung(server: EngineServer) -> None:
    async with cluster(server) as made:
        (a,) = await made.working("a")
        await a.node.put(login(1, "anna", home(1), age=5.0, late=True))
        await until(lambda: len(a.calls) == 1)
        assert a.calls[0].left == pytest.approx(TTL - 5.0, abs=2.0)
        await a.node.put(login(2, "anna", home(1), age=5.0, late=True))
        await until(lambda: len(a.of(m.Welcome)) == 2)
        assert len(a.calls) == 1


async def test_an_engine_that_is_killed_and_forgets_everything(tmp_path: Path) -> None:
    with engine(tmp_path) as server:
        async with cluster(server) as made:
            a, b = await made.working("a", "b")
            target = f"address {home(1)} 79 tcp"
            await a.node.put(ring(1, "anna", target))
            await until(lambda: a.calls or b.calls)
            server.kill()
            await until(lambda: a.state.problem and b.state.problem)
            await a.node.put(ring(2, "anna", target))
            assert a.of(m.Lost) == [m.Lost((2,))]
            await trio.to_thread.run_sync(server.start)
            await until(lambda: living(a) == living(b) == ["a", "b"])
            await until(lambda: m.Forgot() in a.heard and m.Forgot(60.0) in a.heard)
            await trio.sleep(5 * BEAT)  # nothing tells that nothing more happens
            assert len(a.calls) + len(b.calls) == 1, "the ring was taken before, and is known"


async def test_a_ring_that_the_engine_lost_is_said_again(tmp_path: Path) -> None:
    with engine(tmp_path) as server:
        async with cluster(server) as made:
            (a,) = await made.working("a")
            # It is confirmed, and gone with the engine before any node reads it.
            await a.node.put(ring(1, "anna", "address 192.0.2.9 79 tcp"))
            await until(lambda: a.calls)
            a.node._seen._seen.clear()  # as if it had not been taken
            server.kill()
            await until(lambda: a.state.problem)
            await trio.to_thread.run_sync(server.start)
            await until(lambda: len(a.calls) == 2)


async def test_an_engine_that_stands_still(tmp_path: Path) -> None:
    with engine(tmp_path) as server:
        async with cluster(server) as made:
            (a,) = await made.working("a")
            server.send(signal.SIGSTOP)
            await a.node.put(ring(1, "anna", f"address {home(1)} 79 tcp"))
            await until(lambda: a.of(m.Lost) == [m.Lost((1,))])
            await until(lambda: a.state.problem)
            server.send(signal.SIGCONT)
            await until(lambda: a.state.problem is None)
            await a.node.put(ring(2, "anna", f"address {home(1)} 79 tcp"))
            await until(lambda: len(a.calls) == 1)


async def test_an_engine_without_memory(tmp_path: Path) -> None:
    with engine(tmp_path) as server:
        async with cluster(server) as made:
            (a,) = await made.working("a")
            server.ask("CONFIG", "SET", "maxmemory", "1")
            await until(
                lambda: "OOM" in str(a.state.problem) or "maxmemory" in str(a.state.problem)
            )
            await a.node.put(ring(1, "anna", f"address {home(1)} 79 tcp"))
            await until(lambda: a.of(m.Lost) == [m.Lost((1,))])
            server.ask("CONFIG", "SET", "maxmemory", "0")
            await until(lambda: a.state.problem is None)


async def test_a_wrong_password(tmp_path: Path) -> None:
    with engine(tmp_path, "--requirepass", "secret") as server:
        async with cluster(server) as made:
            where = [("127.0.0.1", server.port)]
            a = await made.add("a", Access(kind="tcp", hosts=where, password="wrong"))
            await until(lambda: "password" in str(a.state.problem))
            b = await made.add("b", Access(kind="tcp", hosts=where, password="secret"))
            await until(lambda: b.state.problem is None)
            assert "wrong" not in str(a.state.problem)


GARBAGE = {
    "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "nothing": b"",
    "a huge length": b"$999999999\r\n",
    "deep": b"*1\r\n" * 5000,
    "binary": bytes(range(256)) * 16,
    "numbers": b":1\r\n" * 100,
    "nulls": b"_\r\n" * 100,
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
async def test_whatever_answers_is_no_harm(server: EngineServer, answer: bytes) -> None:
    async def speak(stream: trio.SocketStream) -> None:
        while await stream.receive_some(4096):
            await stream.send_all(answer)

    async with cluster(server) as made, trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, speak, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        a = await made.add("a", Access(kind="tcp", hosts=[("127.0.0.1", port)]))
        await until(lambda: a.state.problem not in {"nothing said yet", "not connected yet"})
        await a.node.put(ring(1, "anna"))
        await until(lambda: a.of(m.Lost) == [m.Lost((1,))])
        nursery.cancel_scope.cancel()

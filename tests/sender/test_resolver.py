"""The real resolver, locked in, and a name server of the tests' own."""

import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest
import trio
from harness.name_server import NameServer, addresses, answered, quick, refused, truncated
from sender.companions import started

from mailbell.core.networks import Address
from mailbell.logs.journal import Journal
from mailbell.sender import resolver
from mailbell.sender._companion import Companion
from mailbell.sender._names import NameUnknownError, Reason
from mailbell.sender._resolver_client import ResolverClient

ONE = Address.parse("192.0.2.7")
TWO = Address.parse("192.0.2.8")
SIX = Address.parse("2001:db8::7")
BOTH = addresses("192.0.2.7", "2001:db8::7")
# Seconds. What a test waits for comes in milliseconds; this only bounds the wait.
PATIENCE = 60.0


def begin(stack: ExitStack, folder: Path, server: NameServer, *more: str) -> Companion:
    (folder / "hosts").write_text("192.0.2.8 Desk.Example desk\n::1 desk\n")
    machine = resolver.Machine(
        resolv_conf=str(server.configuration(folder, *more)),
        hosts=str(folder / "hosts"),
        port=server.port,
    )
    stack.callback(server.close)
    return stack.enter_context(started(lambda: resolver.start(None, machine)))


@pytest.fixture
def server() -> NameServer:
    return NameServer()


@pytest.fixture
def companion(tmp_path: Path, server: NameServer) -> Iterator[Companion]:
    with ExitStack() as stack:
        yield begin(stack, tmp_path, server)


@asynccontextmanager
async def asked(companion: Companion, *servers: NameServer) -> AsyncIterator[ResolverClient]:
    client = ResolverClient(companion, Journal(lambda _: None, time.monotonic))
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        for server in servers:
            nursery.start_soon(server.serve)
        nursery.start_soon(client.serve)
        stack.callback(nursery.cancel_scope.cancel)
        with trio.fail_after(PATIENCE):
            yield client


async def reason(attempt: Awaitable[object]) -> Reason:
    """Await a look-up that finds nothing; return why."""
    with pytest.raises(NameUnknownError) as raised:
        await attempt
    return raised.value.reason


async def test_both_families_ipv6_first(companion: Companion, server: NameServer) -> None:
    server.answers["laptop.example.net"] = addresses("192.0.2.7", "192.0.2.8", "2001:db8::7")
    async with asked(companion, server) as names:
        assert await names.lookup("laptop.example.net") == (SIX, ONE, TWO)
        assert await names.lookup("laptop.example.net") == (SIX, ONE, TWO)
    assert server.asked == {
        ("laptop.example.net", "A", False): 1, ("laptop.example.net", "AAAA", False): 1,
    }  # fmt: skip


async def test_names_of_this_machine_ask_nobody(companion: Companion, server: NameServer) -> None:
    async with asked(companion, server) as names:
        assert await names.lookup("desk") == (Address.parse("::1"), TWO)
        assert await names.lookup("desk.example") == (TWO,)
    assert not server.asked


async def test_it_goes_on_after_it_was_stopped(companion: Companion, server: NameServer) -> None:
    os.kill(companion.pid, signal.SIGSTOP)
    os.waitpid(companion.pid, os.WUNTRACED)
    os.kill(companion.pid, signal.SIGCONT)
    server.answers["laptop.example.net"] = BOTH
    async with asked(companion, server) as names:
        assert await names.lookup("laptop.example.net") == (SIX, ONE)


async def test_an_alias(companion: Companion, server: NameServer) -> None:
    records = ("a.example. 60 IN CNAME b.test.", "b.test. 60 IN A 192.0.2.7")
    server.answers["a.example"] = lambda query, _: answered(query, *records).to_wire()
    async with asked(companion, server) as names:
        assert await names.lookup("a.example") == (ONE,)


CIRCLE = ("a.example. 60 IN CNAME b.test.", "b.test. 60 IN CNAME a.example.")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (refused(dns.rcode.NXDOMAIN), Reason.NOT_FOUND),
        (refused(dns.rcode.SERVFAIL), Reason.FAILED),
        (refused(dns.rcode.REFUSED), Reason.FAILED),
        (addresses(), Reason.NO_ADDRESS),
        (lambda query, _: answered(query, *CIRCLE).to_wire(), Reason.FAILED),
        (lambda query, _: answered(query).to_wire()[:30] + b"\xc0\x0c" * 900, Reason.NO_ADDRESS),
    ],
    ids=["not found", "failed", "refused", "no address", "circle", "rubbish behind it"],
)
async def test_names_without_an_address(
    companion: Companion,
    server: NameServer,
    answer: Callable[[dns.message.Message, bool], bytes],
    why: Reason,
) -> None:
    server.answers["a.example"] = answer
    async with asked(companion, server) as names:
        assert await reason(names.lookup("a.example")) is why
        before = server.asked.copy()
        assert await reason(names.lookup("a.example")) is why
    assert server.asked == before


async def test_what_is_cut_off_is_asked_by_tcp(companion: Companion, server: NameServer) -> None:
    server.answers["a.example"] = truncated(BOTH)
    async with asked(companion, server) as names:
        assert await names.lookup("a.example") == (SIX, ONE)
    assert server.asked["a.example", "A", True] == 1


async def test_a_huge_answer_by_tcp_is_a_failure(companion: Companion, server: NameServer) -> None:
    many = [f"192.0.2.{n}" for n in range(250)] + [f"198.51.100.{n}" for n in range(250)]
    server.answers["a.example"] = truncated(addresses(*many))
    server.answers["b.example"] = truncated(addresses(*many[:200]))
    async with asked(companion, server) as names:
        assert await reason(names.lookup("a.example")) is Reason.TIMEOUT
        assert len(await names.lookup("b.example")) == 8


async def test_forged_answers_change_nothing(companion: Companion, server: NameServer) -> None:
    """From another port; with other numbers; with the name in other letters."""
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def forge(data: bytes, whom: Any) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name
        forged = bytearray(answered(query, f"{name} 60 IN A 203.0.113.66").to_wire())
        stranger.sendto(forged, whom)
        for number in range(50):
            forged[:2] = (query.id ^ 1 << number % 16).to_bytes(2, "big")
            server.send(bytes(forged), whom)

    server.answers["a.example"] = addresses("192.0.2.7")
    server.raw = forge
    async with asked(companion, server) as names:
        assert await names.lookup("a.example") == (ONE,)
    stranger.close()


async def test_a_name_in_other_letters_is_asked_by_tcp(
    companion: Companion, server: NameServer
) -> None:
    def lower(query: dns.message.Message, by_tcp: bool) -> bytes:
        data = BOTH(query, by_tcp)
        assert data is not None
        return data if by_tcp else data[:12] + data[12:].lower()

    server.answers["abcdefghijkl.example"] = lower
    async with asked(companion, server) as names:
        assert await names.lookup("abcdefghijkl.example") == (SIX, ONE)
    assert server.asked["abcdefghijkl.example", "A", True] == 1


async def test_questions_come_from_many_ports(companion: Companion, server: NameServer) -> None:
    server.otherwise = BOTH
    async with asked(companion, server) as names:
        for number in range(100):
            await names.lookup(f"n{number}.example")
    assert len(server.ports) > 16


async def test_a_dead_name_delays_itself_only(companion: Companion, server: NameServer) -> None:
    """The name server answers nothing about it, as if the server of its zone were dead."""
    server.answers["dead.example"] = lambda *_: None
    server.otherwise = BOTH
    async with asked(companion, server) as names, trio.open_nursery() as nursery:
        nursery.start_soon(names.lookup, "dead.example")
        while not server.asked:
            await trio.sleep(0.001)
        for number in range(50):
            assert await names.lookup(f"n{number}.example") == (SIX, ONE)
        # It is still waiting for that one: its end would be an error here.
        assert server.asked["dead.example", "A", False] >= 1
        nursery.cancel_scope.cancel()


@pytest.mark.uncounted
@pytest.mark.long
async def test_ten_thousand_names_at_once(companion: Companion, server: NameServer) -> None:
    """Every hundredth is dead. All others are found, and the resolver stays small."""
    server.quick = lambda query: (
        None
        if query[11 + query[12] : 13 + query[12]] == b"00"
        else quick(query, str(ONE), str(SIX))
    )
    found: list[str] = []

    async def look(names: ResolverClient, name: str) -> None:
        # On a busy machine a datagram may be lost, and with it one family.
        assert {SIX, ONE}.issuperset(await names.lookup(name))
        found.append(name)

    alive = [number for number in range(10_000) if number % 100 or not number]
    # The resolver is a fork, so it begins with all the memory of the process of the tests.
    before = memory_of(companion.pid, "VmRSS")
    async with asked(companion, server) as names, trio.open_nursery() as nursery:
        for number in range(100, 10_000, 100):
            nursery.start_soon(reason, names.lookup(f"n{number}.example"))
        async with trio.open_nursery() as good:
            for number in alive:
                good.start_soon(look, names, f"n{number}.example")
        most = memory_of(companion.pid, "VmHWM")
        nursery.cancel_scope.cancel()
    assert len(found) == len(alive)
    assert most - before < 32 << 20


def memory_of(pid: int, what: str) -> int:
    """Return a line of /proc/PID/status in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(f"{what}:")[2].split()[0]) << 10


async def test_a_server_that_does_not_listen_is_known_at_once(
    companion: Companion, server: NameServer
) -> None:
    server.close()
    async with asked(companion) as names:
        assert await reason(names.lookup("a.example")) is Reason.TIMEOUT
        assert trio.current_time() > 0


@pytest.fixture
def second(tmp_path: Path) -> Iterator[tuple[Companion, NameServer]]:
    """A resolver whose first name server is dead: nothing listens at 127.0.0.9."""
    server = NameServer()
    with ExitStack() as stack:
        yield begin(stack, tmp_path, server, "127.0.0.9"), server


async def test_the_second_name_server(second: tuple[Companion, NameServer]) -> None:
    companion, server = second
    server.otherwise = BOTH
    async with asked(companion, server) as names:
        for number in range(5):
            assert await names.lookup(f"n{number}.example") == (SIX, ONE)


@pytest.fixture
def by_ipv6(tmp_path: Path) -> Iterator[tuple[Companion, NameServer]]:
    try:
        server = NameServer("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with ExitStack() as stack:
        yield begin(stack, tmp_path, server), server


async def test_a_name_server_with_an_ipv6_address(by_ipv6: tuple[Companion, NameServer]) -> None:
    companion, server = by_ipv6
    server.answers["a.example"] = truncated(BOTH)
    server.otherwise = BOTH
    async with asked(companion, server) as names:
        assert await names.lookup("a.example") == (SIX, ONE)
        assert await names.lookup("b.example") == (SIX, ONE)


@pytest.fixture
def unreachable(tmp_path: Path) -> Iterator[tuple[Companion, NameServer]]:
    """A resolver that reaches no name server by UDP when it starts."""
    server = NameServer()
    original = socket.socket.connect

    def connect(self: socket.socket, where: object) -> None:
        if self.type == socket.SOCK_DGRAM:
            raise OSError(101, "Network is unreachable")
        original(self, where)  # type: ignore[arg-type]

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        companion = begin(stack, tmp_path, server)
        patch.undo()
        yield companion, server


async def test_a_network_that_comes_later(unreachable: tuple[Companion, NameServer]) -> None:
    companion, server = unreachable
    server.otherwise = BOTH
    async with asked(companion, server) as names:
        assert await names.lookup("a.example") == (SIX, ONE)
    assert all(by_tcp for _, _, by_tcp in server.asked)


async def test_what_is_no_name_is_not_asked(companion: Companion, server: NameServer) -> None:
    server.otherwise = BOTH
    async with asked(companion, server) as names:
        for text in (b"A.example", b"\xff", b"x" * 253, b"a b"):
            companion.pair.send(text)
        await names.lookup("a.example")
    assert {name for name, _, _ in server.asked} == {"a.example"}


def test_it_is_locked_in(companion: Companion) -> None:
    status = Path(f"/proc/{companion.pid}/status").read_text()
    assert "Seccomp:\t2\n" in status
    assert "NoNewPrivs:\t1\n" in status
    assert "Threads:\t1\n" in status
    assert "CapEff:\t0000000000000000\n" in status


def test_it_has_no_descriptor_of_the_sender(companion: Companion) -> None:
    if os.geteuid():
        pytest.skip("the descriptors of an undumpable process are shown to root only")
    names = [os.readlink(each) for each in Path(f"/proc/{companion.pid}/fd").iterdir()]
    more = [name for name in names if not name.startswith(("socket:", "anon_inode:[eventpoll]"))]
    assert len(more) == 3  # the standard streams
    # Its end of the pair, the two pairs of the event loop, and those of the name server.
    assert sum(name.startswith("socket:") for name in names) == 1 + 4 + resolver.PORTS


def test_only_the_resolver_loads_dnspython() -> None:
    """Only the resolver imports it: the sender's process never has it."""
    import subprocess
    import sys

    code = (
        "import sys; import mailbell.sender.resolver, mailbell.sender._resolver_client;"
        "print([name for name in sys.modules if name.split('.')[0] == 'dns'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"

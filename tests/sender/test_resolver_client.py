"""The sender's side of the resolver: what it believes, how long it waits, what a death costs."""

import errno
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
from harness.refusing import Refusing
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell.core.networks import Address
from mailbell.logs.journal import Journal
from mailbell.sender._companion import Companion
from mailbell.sender._names import SHORTEST, Answer, NameUnknownError, Reason, encode_answer
from mailbell.sender._resolver_client import MOST_UNASKED, PATIENCE, ResolverClient
from mailbell.serving.intake import PAUSE

ONE = Address.parse("192.0.2.7")
SIX = Address.parse("2001:db8::7")


class Resolver:
    """What stands in for the resolver: the other end of the pair, and the log of the sender."""

    def __init__(self) -> None:
        near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.setblocking(False)
        self.far.setblocking(False)
        self.lines: list[str] = []
        self.client = ResolverClient(
            Companion("mailbell-resolver", 4321, near), Journal(self.lines.append, time.monotonic)
        )

    def asked(self) -> list[str]:
        """Take the names that it was asked for."""
        found = []
        while True:
            try:
                found.append(self.far.recv(1000).decode())
            except BlockingIOError:
                return found

    def say(self, name: str, *addresses: Address, reason: Reason | None = None) -> None:
        self.far.send(encode_answer(Answer(name, addresses, 60, reason)))


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver()
    yield made
    made.far.close()
    made.client._pair.close()


@asynccontextmanager
async def serving(resolver: Resolver) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(resolver.client.serve)
        yield nursery
        nursery.cancel_scope.cancel()


async def look(resolver: Resolver, name: str, found: list[object]) -> None:
    try:
        found.append(await resolver.client.lookup(name))
    except NameUnknownError as error:
        found.append(error.reason)


async def test_many_who_ask_for_one_name_ask_once(resolver: Resolver) -> None:
    found: list[object] = []
    async with serving(resolver) as nursery:
        for _ in range(3):
            nursery.start_soon(look, resolver, "a.example", found)
        await wait_all_tasks_blocked()
        assert resolver.asked() == ["a.example"]
        resolver.say("a.example", ONE, SIX)
        while len(found) < 3:
            await wait_all_tasks_blocked()
        assert found == [(SIX, ONE)] * 3
        assert resolver.client.known == 1
        assert await resolver.client.lookup("a.example") == (SIX, ONE)
        assert resolver.asked() == []


async def test_an_answer_is_kept_for_its_time(
    resolver: Resolver, autojump_clock: MockClock
) -> None:
    found: list[object] = []
    async with serving(resolver) as nursery:
        for reason in (Reason.NOT_FOUND, None):
            nursery.start_soon(look, resolver, "a.example", found)
            await wait_all_tasks_blocked()
            assert resolver.asked() == ["a.example"]
            resolver.say("a.example", *([] if reason else [ONE]), reason=reason)
            await trio.sleep(60)
    assert found == [Reason.NOT_FOUND, (ONE,)]


@pytest.mark.parametrize("name", ["", "A.example", "a b", "a\n", "ü.example", "x" * 300])
async def test_what_is_no_name_is_not_asked_for(resolver: Resolver, name: str) -> None:
    found: list[object] = []
    async with serving(resolver):
        await look(resolver, name, found)
        assert resolver.asked() == []
    assert found == [Reason.NOT_FOUND]


async def test_a_resolver_that_does_not_answer_is_not_waited_for_without_an_end(
    resolver: Resolver, autojump_clock: MockClock
) -> None:
    found: list[object] = []
    async with serving(resolver):
        await look(resolver, "a.example", found)
        assert found == [Reason.TIMEOUT]
        assert trio.current_time() == pytest.approx(PATIENCE)
        await look(resolver, "a.example", found)  # it is not asked again for a while
        assert trio.current_time() == pytest.approx(PATIENCE)
        await trio.sleep(SHORTEST)
        assert resolver.asked() == ["a.example"]
        await look(resolver, "a.example", found)
        assert resolver.asked() == ["a.example"]


async def test_what_was_not_asked_changes_nothing(resolver: Resolver) -> None:
    found: list[object] = []
    async with serving(resolver) as nursery:
        resolver.say("b.example", ONE)
        resolver.far.send(b"rubbish")
        resolver.far.send(b"x" * 60_000)
        nursery.start_soon(look, resolver, "a.example", found)
        await wait_all_tasks_blocked()
        resolver.say("a.example", SIX)
        while not found:
            await wait_all_tasks_blocked()
        assert resolver.client.known == 1
    assert found == [(SIX,)]


async def test_a_resolver_that_talks_without_end_is_given_up(resolver: Resolver) -> None:
    async with serving(resolver) as nursery:
        for number in range(MOST_UNASKED + 200):
            try:
                resolver.say(f"n{number}", ONE)
            except BlockingIOError:
                await wait_all_tasks_blocked()
            except BrokenPipeError:
                break
        while not resolver.client.is_gone:
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(resolver.lines) == 1
    assert "was not asked" in resolver.lines[0]


async def test_a_resolver_that_ends_costs_the_names_and_one_line(resolver: Resolver) -> None:
    found: list[object] = []
    async with serving(resolver) as nursery:
        nursery.start_soon(look, resolver, "known", found)
        await wait_all_tasks_blocked()
        resolver.say("known", ONE)
        nursery.start_soon(look, resolver, "waiting", found)
        await wait_all_tasks_blocked()
        resolver.far.close()
        while not resolver.client.is_gone:
            await wait_all_tasks_blocked()
        await look(resolver, "later", found)
        await look(resolver, "waiting", found)
        await look(resolver, "known", found)
    assert found == [(ONE,), Reason.GONE, Reason.GONE, Reason.GONE, (ONE,)]
    (line,) = resolver.lines
    assert "event=companion_ended program=mailbell-resolver pid=4321" in line


async def test_a_resolver_that_is_stopped_delays_nothing_else(resolver: Resolver) -> None:
    """Names wait, more than its queue holds, and are asked for when it goes on."""
    found: list[object] = []
    async with serving(resolver) as nursery:
        for number in range(2_000):
            nursery.start_soon(look, resolver, f"n{number}", found)
        await wait_all_tasks_blocked()
        asked: list[str] = []
        while len(asked) < 2_000:
            asked += resolver.asked()
            await wait_all_tasks_blocked()
        assert sorted(asked) == sorted(f"n{number}" for number in range(2_000))
        nursery.cancel_scope.cancel()


async def test_names_at_once_have_a_bound(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailbell.sender._resolver_client.MAX_NAMES", 2)
    found: list[object] = []
    async with serving(resolver) as nursery:
        for name in ("a", "b"):
            nursery.start_soon(look, resolver, name, found)
        await wait_all_tasks_blocked()
        await look(resolver, "c", found)
        assert found == [Reason.BUSY]
        nursery.cancel_scope.cancel()


async def test_who_gives_up_waiting_leaves_the_others(resolver: Resolver) -> None:
    found: list[object] = []
    async with serving(resolver) as nursery:
        nursery.start_soon(look, resolver, "a", found)
        with trio.move_on_after(0):
            await resolver.client.lookup("a")
        await wait_all_tasks_blocked()
        resolver.say("a", ONE)
        while not found:
            await wait_all_tasks_blocked()
    assert found == [(ONE,)]


@pytest.mark.parametrize("call", ["send", "recv"])
async def test_what_the_machine_lacks_for_a_while_costs_no_name(
    call: str, resolver: Resolver, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(resolver.client._pair, call, errno.ENOBUFS)
    monkeypatch.setattr(resolver.client, "_pair", refusing)
    found: list[object] = []
    async with serving(resolver) as nursery:
        nursery.start_soon(look, resolver, "a.example", found)
        while not (asked := resolver.asked()):
            await trio.sleep(PAUSE)
        assert asked == ["a.example"]
        resolver.say("a.example", ONE)
        while not found:
            await trio.sleep(PAUSE)
    assert found == [(ONE,)]
    assert refusing.refusals == 0
    assert resolver.lines == []


async def test_a_pair_that_is_closed_costs_the_names(resolver: Resolver) -> None:
    refusing = Refusing(resolver.client._pair, "recv", errno.ECONNRESET)
    resolver.client._pair = refusing  # type: ignore[assignment]  # as far as it is used
    resolver.far.send(b".")
    with trio.fail_after(10):
        await resolver.client.serve()
    assert resolver.client.is_gone

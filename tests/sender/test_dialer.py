"""The dialer with real sockets on loopback, and a clock that jumps over the waits."""

import os
import resource
import select
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from math import inf

import pytest
import trio
import trio.testing
from harness.ports import free_port
from sender.lines import FAMILIES, accepted, black_hole, host, listening, place

from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.rfc4146 import LINE
from mailbell.core.sender_outcome import RingOutcome
from mailbell.core.target import Target
from mailbell.logs.journal import Journal
from mailbell.sender import _dialer, _outgoing
from mailbell.sender._address_rules import AddressRules
from mailbell.sender._call import SECRET
from mailbell.sender._dialer import BATCH, PAUSE, Dialer
from mailbell.sender._named import DELAY
from mailbell.sender._names import NameUnknownError, Reason
from mailbell.sender._ring import Ring
from mailbell.sender._schedule import Schedule

DEADLINE = 2.0
SENT, REFUSED, TIMEOUT, NAME_UNKNOWN, NOT_ALLOWED = (
    RingOutcome.SENT,
    RingOutcome.REFUSED,
    RingOutcome.TIMEOUT,
    RingOutcome.NAME_UNKNOWN,
    RingOutcome.NOT_ALLOWED,
)
NAME = "laptop.example.net"


@pytest.fixture
def patient_clock() -> trio.testing.MockClock:
    """A clock that jumps when nothing has happened for a moment.

    The kernel of a busy machine takes a while for a handshake with itself.
    """
    return trio.testing.MockClock(autojump_threshold=0.05)


class FakeNames:
    """Names whose addresses the test chooses; one without any is never answered."""

    def __init__(self, known: Mapping[str, tuple[str, ...]]) -> None:
        self.known = known

    async def lookup(self, name: str) -> tuple[Address, ...]:
        if name not in self.known:
            raise NameUnknownError(name, Reason.NOT_FOUND)
        if not self.known[name]:
            await trio.sleep_forever()
        return tuple(map(Address.parse, self.known[name]))


class Rules(AddressRules):
    """The real rules, except that loopback is a network like any other."""

    def __init__(self, *, own: bool = True) -> None:
        super().__init__((), (), ())
        self.own = own

    def refusal(self, address: Address) -> None:
        del address

    def permits_own(self, address: Address) -> bool:
        del address
        return self.own


class House:
    """A running dialer."""

    def __init__(self, names: FakeNames | None, rules: AddressRules, connections: int) -> None:
        self.rings: list[tuple[float, Ring]] = []
        self.log: list[str] = []
        self.told = trio.Event()
        self.schedule = Schedule(
            interval=2.0,
            backoff=(30.0, 600.0),
            rate=100_000.0,
            connections=connections,
            deadline=DEADLINE,
            horizon=1800.0,
            on_ring=self.tell,
            on_due=self.wake,
            steady=trio.current_time,
            secret=bytes(SECRET),
        )
        self.epoll = select.epoll()
        self.dialer = Dialer(
            self.schedule,
            epoll=self.epoll,
            rules=rules,
            names=names,
            connections=connections,
            journal=Journal(self.log.append, trio.current_time),
        )

    def wake(self) -> None:
        self.dialer.wake()

    def tell(self, ring: Ring) -> None:
        self.rings.append((trio.current_time(), ring))
        self.told.set()

    def ring(self, target: Target, until: float = inf) -> None:
        self.schedule.ring(target, "anna", trio.current_time(), until)

    async def outcomes(self, count: int) -> list[RingOutcome]:
        """Wait for so many rings; return how they ended."""
        with trio.fail_after(3600):
            while len(self.rings) < count:
                self.told = trio.Event()
                await self.told.wait()
        return [ring.outcome for _, ring in self.rings]

    async def sent(self, count: int) -> dict[Target | None, float]:
        """Wait until so many targets have the line; return when each of them got it."""
        with trio.fail_after(3600):
            while True:
                got = {ring.target: time for time, ring in self.rings if ring.outcome is SENT}
                if len(got) >= count:
                    return got
                self.told = trio.Event()
                await self.told.wait()


@asynccontextmanager
async def house(
    names: FakeNames | None = None, rules: AddressRules | None = None, connections: int = 64
) -> AsyncIterator[House]:
    made = House(names, rules or Rules(), connections)
    with made.epoll:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.dialer.serve)
            yield made
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_target_gets_the_line_and_nothing_else(
    family: int, patient_clock: trio.testing.MockClock
) -> None:
    with listening(family) as sink:
        async with house() as made:
            made.ring(host(sink))
            assert await made.outcomes(1) == [SENT]
            assert accepted(sink) == LINE
            assert made.log == []


async def test_a_target_that_never_reads_is_rung_each_time(
    patient_clock: trio.testing.MockClock,
) -> None:
    with listening() as sink:
        async with house() as made:
            for count in range(1, 9):
                made.ring(host(sink))
                await made.outcomes(count)
                await trio.sleep(2.5)
            assert set(await made.outcomes(8)) == {SENT}


async def test_refused_and_silent_targets(patient_clock: trio.testing.MockClock) -> None:
    with socket.socket() as closed, black_hole() as silent:
        closed.bind(("127.0.0.1", 0))
        async with house() as made:
            began = trio.current_time()
            made.ring(host(closed))
            made.ring(host(silent))
            assert await made.outcomes(2) == [REFUSED, TIMEOUT]
            assert trio.current_time() - began == pytest.approx(DEADLINE, abs=0.1)
            assert made.schedule.backing_off == 2
            assert await made.outcomes(3) == [REFUSED, TIMEOUT, REFUSED]
            assert trio.current_time() - began == pytest.approx(30, abs=0.1)


async def test_a_target_that_comes_back_is_rung_after_its_back_off(
    patient_clock: trio.testing.MockClock,
) -> None:
    with socket.socket() as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(20)
        async with house() as made:
            made.ring(host(sink))
            await made.outcomes(1)
            sink.listen()
            assert await made.outcomes(2) == [REFUSED, SENT]
            assert accepted(sink) == LINE


async def test_not_a_byte_is_read_from_a_target_that_answers_with_a_gibibyte() -> None:
    """Nothing is read, so the kernel's buffers are all that it can fill."""
    written = 0

    def answer(sink: socket.socket) -> None:
        nonlocal written
        connection, _ = sink.accept()
        with connection:
            block = b"\0" * 65536
            try:
                while written < 1 << 30:
                    written += connection.send(block)
            except OSError:  # the connection is closed
                return

    with listening() as sink:
        answering = threading.Thread(target=answer, args=(sink,))
        answering.start()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with house() as made:
            made.ring(host(sink))
            assert await made.outcomes(1) == [SENT]
            await trio.to_thread.run_sync(answering.join)
        assert written < 64 << 20
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


async def test_half_of_the_targets_are_silent_and_delay_no_other(
    patient_clock: trio.testing.MockClock,
) -> None:
    with listening() as sink, black_hole() as silent:
        async with house(connections=32) as made:
            began = trio.current_time()
            reachable = {host(sink, number) for number in range(1, 201)}
            dead = [host(silent, number) for number in range(1, 201)]
            for pair in zip(dead, sorted(reachable), strict=True):
                for target in pair:
                    made.ring(target)
            last = await made.sent(200)
            assert set(last) == reachable
            # 24 places for new ones, and 200 silent ones, each for 0.3 s.
            assert max(last.values()) - began <= 200 / 24 * 0.3 + 0.6
            # From now on these are proven: no number of silent ones can delay them.
            await trio.sleep(5)
            made.rings.clear()
            began = trio.current_time()
            for number in range(201, 601):
                made.ring(host(silent, number))
            for target in reachable:
                made.ring(target)
            last = await made.sent(200)
            assert set(last) == reachable
            assert max(last.values()) - began < 0.1


async def test_more_targets_than_one_turn_takes(patient_clock: trio.testing.MockClock) -> None:
    with listening() as sink:
        async with house(connections=512) as made:
            for number in range(1, 3 * BATCH):
                made.ring(host(sink, number))
            assert await made.outcomes(3 * BATCH - 1) == [SENT] * (3 * BATCH - 1)


async def test_a_datagram(patient_clock: trio.testing.MockClock) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(20)
        async with house() as made:
            made.ring(host(sink))
            assert await made.outcomes(1) == [SENT]
            assert sink.recv(64) == LINE


async def test_an_address_of_this_host_gets_nothing(
    patient_clock: trio.testing.MockClock,
) -> None:
    with listening() as sink:
        async with house(rules=Rules(own=False)) as made:
            made.ring(host(sink), until=trio.current_time() + 60)  # from a login
            assert await made.outcomes(1) == [NOT_ALLOWED]
            assert accepted(sink) == b""
            made.ring(place("127.0.0.1", host(sink).port))  # the operator's own words
            await trio.sleep(2)
            assert (await made.outcomes(2))[-1] is SENT
            assert accepted(sink) == LINE


async def test_who_answered_while_the_sender_was_stopped_gets_the_line(
    mock_clock: trio.testing.MockClock,
) -> None:
    with listening() as sink, black_hole() as silent:
        async with house() as made:
            made.ring(host(sink))
            made.ring(host(silent))
            made.dialer._attend(trio.current_time())
            assert made.schedule.in_flight == 2
            assert select.select([made.epoll], [], [], 20)[0]  # the kernel has made one of them
            mock_clock.jump(DEADLINE + 10)
            made.dialer._attend(trio.current_time())
            assert [ring.outcome for _, ring in made.rings] == [SENT, TIMEOUT]
            assert accepted(sink) == LINE


async def test_without_descriptors_it_pauses_and_goes_on(
    patient_clock: trio.testing.MockClock,
) -> None:
    with listening() as sink:
        async with house() as made:
            await trio.testing.wait_all_tasks_blocked()
            with no_more_descriptors():
                made.ring(host(sink))
                made.ring(host(sink, 2))
                await trio.sleep(PAUSE * 10)
                assert made.rings == []
            began = trio.current_time()
            assert await made.outcomes(2) == [SENT, SENT]
            assert trio.current_time() - began <= PAUSE
            assert made.log == [
                "event=dialing_paused on=targets error=EMFILE",
                "event=dialing_resumed on=targets",
            ]


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("failure", [MemoryError(), ValueError("a bug")])
async def test_one_target_that_meets_a_bug_does_not_stop_the_others(
    failure: Exception,
    monkeypatch: pytest.MonkeyPatch,
    patient_clock: trio.testing.MockClock,
) -> None:
    real = _outgoing.call_address
    failures: Iterator[Exception] = iter([failure])

    def fail_once(*words: object, **named: object) -> object:
        for each in failures:
            raise each
        return real(*words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(_dialer, "call_address", fail_once)
    with listening() as sink:
        async with house() as made:
            made.ring(host(sink))
            made.ring(host(sink, 2))
            await made.outcomes(2)
            await trio.sleep(60)
            outcomes = Counter(await made.outcomes(2))
            assert outcomes[SENT] == 2
            assert outcomes.total() == (2 if isinstance(failure, MemoryError) else 3)
            assert made.log


async def test_when_it_ends_nothing_stays_open(patient_clock: trio.testing.MockClock) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with black_hole() as silent, black_hole(socket.AF_INET6) as silent6:
        names = FakeNames({NAME: ("::1",)})
        while_open = set(os.listdir("/proc/self/fd"))
        async with house(names) as made:
            for number in range(1, 4):
                made.ring(host(silent, number))
            made.ring(Target(NAME, host(silent6).port, Transport.TCP))
            await trio.testing.wait_all_tasks_blocked()
            assert len(os.listdir("/proc/self/fd")) >= len(while_open) + 4
        assert len(os.listdir("/proc/self/fd")) <= len(while_open)
    assert len(os.listdir("/proc/self/fd")) <= len(before)


# --- names ------------------------------------------------------------------------


def named(sink: socket.socket, name: str = NAME) -> Target:
    udp = sink.type == socket.SOCK_DGRAM
    return Target(name, sink.getsockname()[1], Transport.UDP if udp else Transport.TCP)


async def test_the_first_address_that_answers_gets_the_line(
    patient_clock: trio.testing.MockClock,
) -> None:
    with black_hole(socket.AF_INET6) as silent, socket.socket() as sink:
        sink.bind(("127.0.0.1", silent.getsockname()[1]))
        sink.listen()
        sink.settimeout(20)
        async with house(FakeNames({NAME: ("::1", "127.0.0.1")})) as made:
            began = trio.current_time()
            made.ring(named(silent))
            assert await made.outcomes(1) == [SENT]
            assert trio.current_time() - began == pytest.approx(DELAY, abs=0.05)
            assert accepted(sink) == LINE


async def test_after_a_failure_the_next_address_is_tried_at_once(
    patient_clock: trio.testing.MockClock,
) -> None:
    with listening(port=free_port()) as sink:  # and nothing listens on ::1 at this port
        async with house(FakeNames({NAME: ("::1", "127.0.0.1")})) as made:
            began = trio.current_time()
            made.ring(named(sink))
            assert await made.outcomes(1) == [SENT]
            assert trio.current_time() - began < DELAY
            assert accepted(sink) == LINE


async def test_only_one_address_gets_the_line(patient_clock: trio.testing.MockClock) -> None:
    with listening() as sink:
        addresses = tuple(f"127.0.0.{number}" for number in range(1, 9))
        async with house(FakeNames({NAME: addresses})) as made:
            for count in range(1, 4):
                made.ring(named(sink))
                await made.outcomes(count)
                await trio.sleep(3)
        # An address that is tried beside the first one is closed without a byte.
        sink.settimeout(0)
        brought = []
        with suppress(BlockingIOError):
            while True:
                brought.append(accepted(sink))
        assert sorted(brought)[-4:].count(LINE) == brought.count(LINE) == 3


@pytest.mark.parametrize("connections", [1, 64])
async def test_a_name_whose_addresses_are_all_silent(
    connections: int, patient_clock: trio.testing.MockClock
) -> None:
    addresses = tuple(f"127.0.0.{number}" for number in range(1, 13))
    with black_hole() as silent:
        async with house(FakeNames({NAME: addresses}), connections=connections) as made:
            began = trio.current_time()
            made.ring(named(silent))
            before = len(os.listdir("/proc/self/fd"))
            await trio.sleep(DEADLINE - 0.05)
            # One connection beside the first one if there are few, and never more than eight.
            assert len(os.listdir("/proc/self/fd")) - before <= min(connections + 1, 8)
            assert await made.outcomes(1) == [TIMEOUT]
            assert trio.current_time() - began == pytest.approx(DEADLINE, abs=0.1)


async def test_a_name_that_has_no_address_or_is_never_answered(
    patient_clock: trio.testing.MockClock,
) -> None:
    async with house(FakeNames({"never.example.net": ()})) as made:
        began = trio.current_time()
        unknown = Target("unknown.example.net", 79, Transport.TCP)
        never = Target("never.example.net", 79, Transport.TCP)
        made.ring(unknown)
        made.ring(never)
        assert await made.outcomes(2) == [NAME_UNKNOWN, NAME_UNKNOWN]
        assert [ring.target for _, ring in made.rings] == [unknown, never]
        assert trio.current_time() - began == pytest.approx(DEADLINE, abs=0.1)


async def test_a_dead_name_server_delays_its_names_alone(
    patient_clock: trio.testing.MockClock,
) -> None:
    dead = {f"host{number}.example.net": () for number in range(100)}
    with listening() as sink:
        async with house(FakeNames(dead), connections=8) as made:
            began = trio.current_time()
            for name in dead:
                made.ring(named(sink, name))
            made.ring(host(sink))
            last = await made.sent(1)
            assert max(last.values()) - began <= 100 / 6 * 0.3 + 0.6


async def test_a_configuration_without_names_knows_none(
    patient_clock: trio.testing.MockClock,
) -> None:
    async with house() as made:
        made.ring(Target(NAME, 79, Transport.TCP))
        assert await made.outcomes(1) == [NAME_UNKNOWN]


async def test_the_rules_are_asked_about_each_address_of_a_name(
    patient_clock: trio.testing.MockClock,
) -> None:
    with listening() as sink:
        names = FakeNames({NAME: ("127.0.0.1", "::1", "224.0.0.1")})
        async with house(names, AddressRules((), (), ())) as made:
            made.ring(named(sink))
            assert await made.outcomes(1) == [NOT_ALLOWED]
        async with house(names, Rules(own=False)) as made:
            made.ring(named(sink))
            assert await made.outcomes(1) != [SENT]
            assert accepted(sink) == b""


async def test_a_name_by_datagram(patient_clock: trio.testing.MockClock) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(20)
        async with house(FakeNames({NAME: ("127.0.0.1",)})) as made:
            made.ring(named(sink))
            assert await made.outcomes(1) == [SENT]
            assert sink.recv(64) == LINE


async def test_a_name_waits_for_descriptors_too(patient_clock: trio.testing.MockClock) -> None:
    with listening() as sink:
        async with house(FakeNames({NAME: ("127.0.0.1",)})) as made:
            await trio.testing.wait_all_tasks_blocked()
            with no_more_descriptors():
                made.ring(named(sink))
                await trio.sleep(PAUSE * 5)
                assert made.rings == []
            assert await made.outcomes(1) == [SENT]
            assert made.log[0] == "event=dialing_paused on=targets error=EMFILE"


async def test_a_name_that_meets_a_bug_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, patient_clock: trio.testing.MockClock
) -> None:
    class Broken(FakeNames):
        async def lookup(self, name: str) -> tuple[Address, ...]:
            raise ValueError(name)

    with listening() as sink:
        async with house(Broken({})) as made:
            made.ring(named(sink))
            assert await made.outcomes(1) == [RingOutcome.UNREACHABLE]
            made.ring(host(sink))
            assert (await made.outcomes(2))[1] is SENT
            assert "event=failed where=names" in made.log[0]


async def test_a_name_gives_its_place_to_others_that_wait(
    patient_clock: trio.testing.MockClock,
) -> None:
    with black_hole() as silent, listening() as sink:
        async with house(FakeNames({NAME: ("127.0.0.1",)}), connections=1) as made:
            began = trio.current_time()
            made.ring(named(silent))
            made.ring(host(sink))
            assert await made.outcomes(2) == [SENT, TIMEOUT]
            assert made.rings[0][0] - began == pytest.approx(0.3, abs=0.05)

"""Sleeps, by a real bus or real clocks, and addresses, by a real kernel."""

import ctypes
import errno
import os
import socket
import struct
import subprocess
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from agent.bus import LOGIND, MANAGER, Bus, Peer, owner_changed, signal, started
from harness.child import Ended, run, run_as_root
from harness.libseccomp import libseccomp
from harness.lingering import needs_refusal, pass_to
from harness.netns import Namespace, namespaces
from harness.sender import PATIENCE
from jeepney import new_signal
from trio.testing import MockClock, wait_all_tasks_blocked

from mailbell._sys.sockets import kernel_drops
from mailbell.agent import _awake, _logind
from mailbell.agent._awake import addresses, read_clocks, resumed
from mailbell.agent._dbus import Message
from mailbell.agent._sleep import Reading
from mailbell.logs.journal import Journal

NO_BUS = "unix:path=/nonexistent/bus"


class Watch:
    """What was reported and logged, and the clocks of a machine that sleeps when a test says so."""

    def __init__(self) -> None:
        self.told = 0
        self.lines: list[str] = []
        self.journal = Journal(self.lines.append, lambda: 0.0)
        self.slept = 0.0

    def tell(self) -> None:
        self.told += 1

    def clocks(self) -> Reading:
        now = trio.current_time()
        return Reading(now, now + self.slept, now)

    async def until_told(self, count: int) -> None:
        await until(lambda: self.told >= count, f"{count} times told")
        assert self.told == count

    async def until_logged(self, count: int) -> None:
        await until(lambda: len(self.lines) >= count, f"{count} lines")
        assert len(self.lines) == count


async def settled() -> None:
    """Let the other tasks do all that they can do now."""
    await wait_all_tasks_blocked(0.002)


async def until(done: Callable[[], object], what: str) -> None:
    """Let the other tasks run until a condition is true, with a real or a mock clock."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            pytest.fail(f"no {what} within {PATIENCE:.0f} s")
        await settled()


# --- sleep, by the clocks ---------------------------------------------------------


@asynccontextmanager
async def watching(bus: str = NO_BUS, lines: int = 1, **more: float) -> AsyncIterator[Watch]:
    watch = Watch()
    listen = partial(resumed, watch.tell, watch.journal, clocks=watch.clocks, bus=bus, **more)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await watch.until_logged(lines)
        yield watch
        nursery.cancel_scope.cancel()


async def test_the_clocks_tell_of_each_sleep_once_and_soon(autojump_clock: MockClock) -> None:
    async with watching() as watch:
        for count in (1, 2, 3):
            await trio.sleep(1000)
            assert watch.told == count - 1
            watch.slept += 3600
            await trio.sleep(5.1)
            assert watch.told == count
    assert watch.lines == ['event=sleep_watch by=clocks reason="No such file or directory"']


def test_the_clocks_of_this_machine_are_read_in_their_order() -> None:
    reading = read_clocks()
    assert reading.before <= reading.after
    assert reading.least <= reading.most
    assert reading.after <= time.clock_gettime(time.CLOCK_MONOTONIC)
    assert reading.boottime <= time.clock_gettime(time.CLOCK_BOOTTIME)


CLONE_NEWTIME = 0x00000080
CLONE_NEWNET = 0x40000000


def jump(seconds: int) -> None:
    """Let CLOCK_BOOTTIME of this process jump, as in a sleep (time_namespaces(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWTIME):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/timens_offsets").write_text(f"boottime {seconds} 0\n")
    with open("/proc/self/ns/time_for_children") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWTIME):
            raise OSError(ctypes.get_errno(), "setns")


def skip_if_forbidden(ended: Ended) -> None:
    if isinstance(ended.error, PermissionError):
        pytest.skip(f"namespaces cannot be made here: {ended.error}")


def test_the_real_clocks_tell_of_a_jump() -> None:
    async def inside() -> tuple[int, int]:
        watch = Watch()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(resumed, watch.tell, watch.journal, every=0.01, bus=NO_BUS))
            await watch.until_logged(1)
            before = watch.told
            jump(3600)
            await watch.until_told(1)
            nursery.cancel_scope.cancel()
        return before, watch.told

    if not Path("/proc/self/ns/time_for_children").exists():
        pytest.skip("this kernel has no time namespaces")
    ended = run_as_root(lambda: trio.run(inside))
    skip_if_forbidden(ended)
    assert ended.value == (0, 1), ended


# --- sleep, by logind -------------------------------------------------------------


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    with started(tmp_path) as running:
        yield running


@pytest.fixture
def logind(bus: Bus) -> Iterator[Peer]:
    with Peer(bus, LOGIND) as peer:
        yield peer


HEARD = 'event=sleep_watch by="logind and clocks"'


async def test_logind_tells_at_the_end_of_a_sleep(bus: Bus, logind: Peer) -> None:
    async with watching(bus.address) as watch:
        assert watch.lines == [HEARD]
        for count in (1, 2, 3):
            logind.sleep()
            await settled()
            assert watch.told == count - 1
            logind.wake()
            await watch.until_told(count)
    assert watch.lines == [HEARD]


async def test_the_system_bus_is_where_the_environment_says(
    bus: Bus, logind: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    watch = Watch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(resumed, watch.tell, watch.journal)
        await watch.until_logged(1)
        logind.wake()
        await watch.until_told(1)
        nursery.cancel_scope.cancel()
    assert watch.lines == [HEARD]


async def test_what_the_clocks_told_logind_does_not_tell_again(bus: Bus, logind: Peer) -> None:
    async with watching(bus.address, every=0.01) as watch:
        logind.sleep()
        await settled()
        watch.slept += 3600
        await watch.until_told(1)
        logind.wake()
        # The next sleep is announced, and the machine does not sleep after all.
        logind.sleep()
        logind.wake()
        await watch.until_told(2)


async def test_what_logind_told_the_clocks_do_not_tell_again(
    bus: Bus, logind: Peer, mock_clock: MockClock
) -> None:
    async with watching(bus.address) as watch:
        logind.sleep()
        await settled()
        watch.slept += 3600
        logind.wake()
        await watch.until_told(1)
        mock_clock.jump(5)
        await settled()
        assert watch.told == 1
        watch.slept += 3600
        mock_clock.jump(5)
        await watch.until_told(2)


async def test_nobody_else_on_the_bus_can_tell(bus: Bus, logind: Peer) -> None:
    """Every client of the bus can send this connection a signal that looks like logind's."""
    async with watching(bus.address) as watch:
        with Peer(bus) as stranger:
            stranger.wake()
            for other in stranger.others():
                stranger.send(signal(False), to=other)
                # Nor can they forge the owner of logind's name.
                stranger.send(owner_changed(stranger.number), to=other)
                stranger.send(signal(False), to=other)
            await settled()
            assert watch.told == 0
            logind.sleep()
            logind.wake()
            await watch.until_told(1)


async def test_nobody_else_can_answer_for_the_bus(bus: Bus) -> None:
    """An answer is a message as any other. Only the bus itself tells who logind is."""
    with Peer(bus) as stranger:
        async with watching(bus.address) as watch:
            (line,) = watch.lines  # there is no logind
            assert line.startswith("event=sleep_watch by=clocks reason=")
        forged = Message(":1.99", "", "", "", "", 4, (stranger.number,), None)
        assert not _logind._is_answer(forged, 4)
        assert _logind._is_answer(forged._replace(sender="org.freedesktop.DBus"), 4)


class Turns:
    """Counts how often another task got its turn."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.count += 1


@pytest.mark.parametrize("size", [5_000, 31 << 20], ids=["5 kB", "31 MiB"])
async def test_a_long_message_costs_neither_memory_nor_the_other_tasks(
    bus: Bus, logind: Peer, size: int
) -> None:
    """Every local user may send one. It took 13 seconds and 700 MB."""
    async with watching(bus.address) as watch:
        with Peer(bus) as stranger:
            (listener,) = set(stranger.others()) - {logind.number}
            long = new_signal(MANAGER, "PrepareForSleep", "ay", (b"\xff" * size,))
            stranger.send(long, to=listener)
            del long
            logind.wake()
        turns = Turns()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turns.run)
            tracemalloc.start()
            try:
                while not watch.told:
                    await trio.lowlevel.checkpoint()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            nursery.cancel_scope.cancel()
    assert peak < 500_000
    assert turns.count >= size // _logind.READ_SIZE


async def test_a_flood_of_short_messages_leaves_the_other_tasks_their_turns(
    bus: Bus, logind: Peer
) -> None:
    async with watching(bus.address) as watch:
        with Peer(bus) as stranger:
            (listener,) = set(stranger.others()) - {logind.number}
            data = stranger.written(signal(False), to=listener) * 5_000
            stranger.send_raw(data)
            logind.wake()
        turns = Turns()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turns.run)
            while not watch.told:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert watch.told == 1
    assert turns.count >= len(data) // _logind.READ_SIZE


async def test_another_logind_is_heard_and_the_former_is_not(bus: Bus, logind: Peer) -> None:
    async with watching(bus.address) as watch:
        (listener,) = set(logind.others())
        logind.release(LOGIND)
        logind.send(signal(False), to=listener)
        with Peer(bus, LOGIND) as successor:
            logind.send(signal(False), to=listener)
            successor.wake()
            await watch.until_told(1)
            successor.sleep()
            successor.wake()
            await watch.until_told(2)
    assert watch.lines == [HEARD]


async def test_when_the_bus_goes_away_the_clocks_go_on(bus: Bus, logind: Peer) -> None:
    async with watching(bus.address, every=0.01) as watch:
        bus.stop()
        await watch.until_logged(2)
        assert watch.lines[1] == 'event=sleep_watch by=clocks reason="the bus went away"'
        watch.slept += 10
        await watch.until_told(1)
    assert len(watch.lines) == 2


async def test_a_bus_without_logind_is_none(bus: Bus) -> None:
    async with watching(bus.address) as watch:
        (line,) = watch.lines
        assert line.startswith("event=sleep_watch by=clocks reason=")
        assert LOGIND in line


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "ValueError"),
        ("tcp:host=localhost,port=1", "RuntimeError"),
        (NO_BUS, "No such file or directory"),
    ],
)
async def test_an_address_that_leads_nowhere_is_said_once(
    autojump_clock: MockClock, address: str, reason: str
) -> None:
    async with watching(address) as watch:
        watch.slept += 10
        await trio.sleep(5.1)
        assert watch.told == 1
    (line,) = watch.lines
    assert line.startswith(f'event=sleep_watch by=clocks reason="{reason}')


OK = b"OK 0123456789abcdef0123456789abcdef\r\n"


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([], "the bus went away"),
        ([b"REJECTED EXTERNAL\r\n"], "Authentication failed"),
        ([b"x" * 10_000], "Too much data"),
        ([OK], "the bus went away"),
        ([OK, b"\0" * 100], ""),
        ([OK, b"l" + b"\xff" * 99], ""),
    ],
    ids=["nothing", "refusal", "much", "hangs up", "zeros", "nonsense"],
)
async def test_a_bus_that_is_none_is_left(
    tmp_path: Path, answers: list[bytes], reason: str
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                waiting = trio.socket.from_stdlib_socket(listener)
                peer, _ = await waiting.accept()
                with peer:
                    for data in answers:
                        await peer.recv(4096)
                        await peer.send(data)
                    await peer.recv(4096)

            nursery.start_soon(answer)
            async with watching(f"unix:path={tmp_path}/bus") as watch:
                (line,) = watch.lines
                assert line.startswith("event=sleep_watch by=clocks reason=")
                assert reason in line


async def test_a_bus_that_does_not_answer_is_not_waited_for(
    mock_clock: MockClock, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        async with watching(f"unix:path={tmp_path}/bus", lines=0) as watch:
            await settled()
            mock_clock.jump(9.5)
            await settled()
            assert watch.lines == []
            mock_clock.jump(1)
            await watch.until_logged(1)
            watch.slept += 10
            mock_clock.jump(5)
            await watch.until_told(1)
    assert watch.lines == ['event=sleep_watch by=clocks reason="the bus does not answer"']


@needs_refusal
async def test_a_descriptor_on_the_bus_is_refused(tmp_path: Path) -> None:
    """To close it could take hours, in which the agent would start no command."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()
        async with watching(f"unix:path={tmp_path}/bus", lines=0) as watch:
            await settled()
            with listener.accept()[0] as bus:
                assert not pass_to(bus)
            await watch.until_logged(1)


async def test_what_goes_wrong_in_telling_is_not_taken_for_the_bus(bus: Bus, logind: Peer) -> None:
    def fail() -> None:
        raise LookupError

    async def watching() -> None:
        watch = Watch()
        with trio.move_on_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(resumed, fail, watch.journal, bus=bus.address))
                await watch.until_logged(1)
                logind.wake()

    with pytest.raises(ExceptionGroup) as caught:
        await watching()
    assert caught.value.split(LookupError)[1] is None


# --- addresses --------------------------------------------------------------------


@pytest.fixture(scope="module")
def host() -> Iterator[Namespace]:
    with namespaces(server=["192.0.2.1/24"], client=["192.0.2.2/24"]) as pair:
        # Do not wait a second for the check for duplicate addresses.
        quick = "echo 10 > /proc/sys/net/ipv6/neigh/cable0/retrans_time_ms || true"
        pair.server.run("sh", "-c", quick)
        yield pair.server


def ip(host: Namespace, what: str) -> None:
    host.run("ip", "address", *what.split())


@asynccontextmanager
async def listening(host: Namespace) -> AsyncIterator[tuple[Watch, socket.socket]]:
    watch = Watch()
    sock = host.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(addresses, watch.tell, watch.journal, sock=sock))
        await settled()
        assert watch.told == 0, "what is there already does not appear"
        yield watch, sock
        nursery.cancel_scope.cancel()
    assert sock.fileno() == -1
    assert watch.lines == []


async def test_an_address_that_is_added_is_told(host: Namespace) -> None:
    async with listening(host) as (watch, _):
        ip(host, "add 198.51.100.1/24 dev cable0")
        await watch.until_told(1)
        ip(host, "del 198.51.100.1/24 dev cable0")
        ip(host, "add 198.51.100.1/24 dev cable0")
        await watch.until_told(2)
        ip(host, "del 198.51.100.1/24 dev cable0")


async def test_an_ipv6_address_is_told_once_and_when_it_may_be_used(host: Namespace) -> None:
    async with listening(host) as (watch, _):
        ip(host, "add 2001:db8::7/64 dev cable0")
        await watch.until_told(1)
        assert "tentative" not in host.run("ip", "address", "show", "to", "2001:db8::7")
        ip(host, "add 198.51.100.1/24 dev cable0")
        await watch.until_told(2)
        for address in ("2001:db8::7/64", "198.51.100.1/24"):
            ip(host, f"del {address} dev cable0")


async def test_an_address_that_is_prolonged_does_not_appear(host: Namespace) -> None:
    """Renewed leases and router advertisements would otherwise cause very many runs."""
    async with listening(host) as (watch, _):
        for seconds in (1000, 2000, 3000):
            ip(host, f"change 192.0.2.1/24 dev cable0 valid_lft {seconds} preferred_lft {seconds}")
        ip(host, "add 198.51.100.1/24 dev cable0")
        await watch.until_told(1)
        ip(host, "change 198.51.100.1/24 dev cable0 valid_lft 1000 preferred_lft 1000")
        ip(host, "add 198.51.100.2/24 dev cable0")
        await watch.until_told(2)
        for last in (1, 2):  # in this order: the first would remove the second with it
            ip(host, f"del 198.51.100.{3 - last}/24 dev cable0")


async def test_addresses_that_nobody_reaches_us_by_are_not_told(host: Namespace) -> None:
    nobodys = [
        "127.0.0.7/8 dev lo",
        "127.0.0.8/8 dev cable0",
        "169.254.7.7/16 dev cable0",
        "198.51.100.7/24 dev cable0 scope link",
        "fe80::7/64 dev cable0 nodad",
        "2001:db8::8/64 dev cable0 nodad preferred_lft 0",
    ]
    async with listening(host) as (watch, _):
        for address in nobodys:
            ip(host, f"add {address}")
        ip(host, "add 203.0.113.1/24 dev cable0")
        await watch.until_told(1)
        for address in [*nobodys, "203.0.113.1/24 dev cable0"]:
            place, _, device = address.partition(" ")
            ip(host, f"del {place} {' '.join(device.split()[:2])}")


async def test_what_is_lost_is_told_and_then_known(host: Namespace, tmp_path: Path) -> None:
    batch = tmp_path / "batch"
    many = [f"address add 127.7.{n // 250}.{n % 250}/32 dev lo\n" for n in range(500)]
    batch.write_text("".join([*many, "address add 198.51.100.1/24 dev cable0\n"]))
    async with listening(host) as (watch, sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        host.run("ip", "-batch", str(batch))  # the socket is not read meanwhile
        assert kernel_drops(sock), "nothing was lost"
        # On a busy machine even the answer with all addresses overruns this small buffer.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        await until(lambda: watch.told, "overrun told")
        await settled()
        before = watch.told
        ip(host, "change 198.51.100.1/24 dev cable0 valid_lft 1000 preferred_lft 1000")
        ip(host, "add 203.0.113.1/24 dev cable0")
        await watch.until_told(before + 1)
        ip(host, "flush dev lo scope host")
        for address in ("198.51.100.1/24", "203.0.113.1/24"):
            ip(host, f"del {address} dev cable0")


class Overrun:
    """A netlink socket that always reports lost messages."""

    def __init__(self) -> None:
        self.asked = 0

    async def sendto(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()
        self.asked += 1

    async def recvfrom(self, _: int) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))


async def test_what_is_lost_for_good_is_asked_for_once_a_second(autojump_clock: MockClock) -> None:
    watch, netlink = Watch(), Overrun()
    with trio.move_on_after(10.5):
        await _awake._follow(netlink, watch.tell)  # type: ignore[arg-type]  # enough of a socket
    assert (watch.told, netlink.asked) == (12, 12)


async def test_nobody_but_the_kernel_can_tell(host: Namespace) -> None:
    body = struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, 2)
    body += struct.pack("=HH4s", 8, 2, socket.inet_aton("203.0.113.9"))
    forged = struct.pack("=IHHII", 16 + len(body), 20, 0, 0, 0) + body
    async with listening(host) as (watch, sock):
        with host.socket(socket.AF_NETLINK, socket.SOCK_RAW) as stranger:
            stranger.sendto(forged, (sock.getsockname()[0], 0))
        ip(host, "add 198.51.100.1/24 dev cable0")
        await watch.until_told(1)
        ip(host, "del 198.51.100.1/24 dev cable0")


async def once(watch: Watch, happen: Callable[[], object]) -> None:
    """Listen with a socket of the test until something was reported."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(addresses, watch.tell, watch.journal)
        await settled()
        happen()
        await watch.until_told(1)
        nursery.cancel_scope.cancel()


def test_it_has_a_socket_of_its_own() -> None:
    def happen() -> None:
        subprocess.run(["ip", "address", "add", "192.0.2.9/24", "dev", "lo"], check=True)

    def inside() -> tuple[int, list[str]]:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        watch = Watch()
        trio.run(once, watch, happen)
        return watch.told, watch.lines

    ended = run_as_root(inside)
    skip_if_forbidden(ended)
    assert ended.value == (1, []), ended


def test_where_netlink_is_refused_it_says_so_and_ends() -> None:
    """For example with RestrictAddressFamilies= of a service."""

    def inside() -> list[str]:
        refused = libseccomp.SyscallFilter(libseccomp.ALLOW)
        refused.add_rule(
            libseccomp.ERRNO(errno.EAFNOSUPPORT),
            "socket",
            libseccomp.Arg(0, libseccomp.EQ, socket.AF_NETLINK),
        )
        refused.load()
        watch = Watch()
        trio.run(addresses, watch.tell, watch.journal)
        return watch.lines

    ended = run(inside)
    (line,) = ended.value
    reason = os.strerror(errno.EAFNOSUPPORT)
    assert line == f'event=address_watch state=off reason="{reason}"'

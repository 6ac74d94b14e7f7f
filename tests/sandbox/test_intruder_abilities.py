"""Code execution inside: what an intruder can still do.

Each test shows that something works. SECURITY.md lists it. The other tests of an intruder show
that nothing else works.
"""

import mmap
import os
import signal
import socket
import struct
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import LINE, PATIENCE, Daemon, until
from harness.inject import Intruder, intruding
from harness.sender import sent
from harness.tracee import mappings, traced
from sandbox.attacks.aim import number
from sandbox.inside import accepted, broken_into, descriptor_of, ends, errors, said, serves
from system.support import Local

from mailbell._sys import process

MIB: Final = 1 << 20
PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
NOSIGNAL: Final = int(socket.MSG_NOSIGNAL)
ACCOUNT: Final = "a-name-that-is-nowhere-else"
WITH_AN_ACCOUNT: Final = f"""
[[account]]
name = "{ACCOUNT}"
sources = ["127.0.0.2"]
"""
FORGED: Final = (
    b'{"parameters":{"cursor":{"epoch":"x","sequence":7},"notification":{"account":"default",'
    b'"cause":"network","count":3,"transport":"tcp","source":"192.0.2.1","time":1}},'
    b'"continues":true}\0'
)


def send(intruder: Intruder, descriptor: int, data: bytes) -> None:
    sendto = (number("sendto"), descriptor, data, len(data), NOSIGNAL, 0, 0)
    assert intruder.call(*sendto) == len(data)


@traced
def test_it_tells_subscribers_of_what_never_was_as_raw_calls(open_path: Path) -> None:
    with broken_into(open_path) as daemon, Local(daemon.path) as subscriber:
        subscriber.subscribe()
        with intruding(daemon) as intruder:
            send(intruder, descriptor_of(intruder, "subscriber"), FORGED)
        assert subscriber.reply()["notification"]["source"] == "192.0.2.1"
        assert daemon.counted() == {}


@traced
def test_it_tells_subscribers_of_what_never_was_as_python(open_path: Path) -> None:
    source = (
        "import gc\n"
        "hub = next(one for one in gc.get_objects() if type(one).__name__ == 'Hub')\n"
        "origin = type(next(iter(hub.accounts)).origin)('manual', None, None, 0)\n"
        "hub.ring('default', origin, 0.0, 0)\n"
    )
    with broken_into(open_path) as daemon, Local(daemon.path) as subscriber:
        subscriber.subscribe()
        assert said(daemon, source) is None
        daemon.status()  # the event loop sleeps until a connection comes
        assert subscriber.reply()["notification"]["account"] == "default"


@traced
def test_it_writes_to_the_log_what_and_as_much_as_it_likes(open_path: Path) -> None:
    forged = b"event=notification account=default source=192.0.2.1\n"
    with broken_into(open_path) as daemon:
        with intruding(daemon) as intruder:
            for _ in range(100):
                assert intruder.call(number("write"), 2, forged, len(forged)) == len(forged)
        daemon.until_logged(forged.decode().strip(), count=100)
        serves(daemon)


@traced
def test_it_reads_the_memory_of_the_daemon_and_shows_it_to_who_is_connected(
    open_path: Path,
) -> None:
    with (
        broken_into(open_path, WITH_AN_ACCOUNT) as daemon,
        sent(daemon.endpoint(), LINE[:3], "127.0.0.2") as stranger,
    ):
        until(lambda: daemon.status().connections == 1)
        with intruding(daemon) as intruder:
            where = found(daemon, intruder, ACCOUNT.encode())
            descriptor = descriptor_of(intruder, "stranger")
            shown = (number("sendto"), descriptor, where, len(ACCOUNT), NOSIGNAL, 0, 0)
            assert intruder.call(*shown) == len(ACCOUNT)
        assert stranger.recv(64).decode() == ACCOUNT


def found(daemon: Daemon, intruder: Intruder, text: bytes) -> int:
    """The address of a text in the daemon's memory."""
    for mapping in mappings(daemon.pid):
        if mapping.rights.startswith("rw"):
            at = intruder.read(mapping.start, mapping.end - mapping.start).find(text)
            if at >= 0:
                return mapping.start + at
    raise LookupError(text)


@traced
def test_it_learns_who_is_connected(open_path: Path) -> None:
    with broken_into(open_path) as daemon, Local(daemon.path) as subscriber:
        subscriber.subscribe()
        with intruding(daemon) as intruder:
            credentials, length = intruder.place(bytes(12)), struct.pack("<I", 12)
            whose = (int(socket.SOL_SOCKET), int(socket.SO_PEERCRED), credentials, length)
            descriptor = descriptor_of(intruder, "subscriber")
            assert intruder.call(number("getsockopt"), descriptor, *whose) == 0
            pid, uid, gid = struct.unpack("<iii", intruder.read(credentials, 12))
        assert (pid, uid, gid) == (os.getpid(), os.getuid(), os.getgid())


@traced
def test_it_tells_the_service_manager_whatever_a_service_may_say(open_path: Path) -> None:
    messages = (b"STATUS=all is well", b"WATCHDOG=1", b"WATCHDOG_USEC=3600000000", b"STOPPING=1")
    with broken_into(open_path) as daemon:
        with intruding(daemon) as intruder:
            manager = descriptor_of(intruder, "manager")
            for message in messages:
                send(intruder, manager, message)
        assert tuple(daemon.told() for _ in messages) == messages


@traced
def test_it_accepts_and_answers_who_connects(open_path: Path) -> None:
    with broken_into(open_path) as daemon:
        endpoint = daemon.endpoint()
        with intruding(daemon) as intruder:
            listener = descriptor_of(intruder, "tcp")
            with sent(endpoint, LINE) as sender:
                connection, heard = accepted(intruder, listener), intruder.place(bytes(64))
                recvfrom = (number("recvfrom"), connection, heard, 64, 0, 0, 0)
                assert intruder.call(*recvfrom) == len(LINE)
                assert intruder.read(heard, len(LINE)) == LINE
                send(intruder, connection, b"who are you?")
                assert sender.recv(64) == b"who are you?"


@traced
def test_it_stops_listening_and_nobody_notices(open_path: Path) -> None:
    with broken_into(open_path) as daemon:
        endpoint = daemon.endpoint()
        with intruding(daemon) as intruder:
            assert intruder.call(number("close"), descriptor_of(intruder, "tcp")) == 0
        with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
            sock.connect(endpoint)
        assert daemon.process.poll() is None


@pytest.mark.parametrize("status", [0, 3])
@traced
def test_it_ends_the_daemon_with_any_status(open_path: Path, status: int) -> None:
    with (
        broken_into(open_path) as daemon,
        ends(daemon, status),
        intruding(daemon) as intruder,
    ):
        intruder.call(number("exit_group"), status)


@traced
def test_it_aborts_the_daemon(open_path: Path) -> None:
    with (
        broken_into(open_path) as daemon,
        ends(daemon, -signal.SIGABRT),
        intruding(daemon) as intruder,
    ):
        intruder.call(number("tgkill"), daemon.pid, daemon.pid, int(signal.SIGABRT))


@traced
def test_it_outlives_sigterm_and_not_sigkill(open_path: Path) -> None:
    ignore = struct.pack("<QQQQ", int(signal.SIG_IGN), 0, 0, 0)
    with broken_into(open_path) as daemon:
        with intruding(daemon) as intruder:
            assert intruder.call(number("rt_sigaction"), int(signal.SIGTERM), ignore, 0, 8) == 0
        daemon.process.terminate()
        serves(daemon)
        daemon.process.kill()
        assert daemon.process.wait(PATIENCE) == -signal.SIGKILL


@traced
def test_it_takes_memory_up_to_the_limit(open_path: Path) -> None:
    with broken_into(open_path) as daemon:
        step = 16 * MIB
        more = (number("mmap"), 0, step, mmap.PROT_READ | mmap.PROT_WRITE, PRIVATE, -1, 0)
        with intruding(daemon) as intruder:
            # Address space that is not used costs nothing.
            results = [intruder.call(*more) for _ in range(2 * process.MAX_DATA // step)]
        taken = sum(result > 0 for result in results) * step
        assert 0 < taken <= process.MAX_DATA
        assert errors(results[-1]) == "ENOMEM"
        daemon.process.kill()

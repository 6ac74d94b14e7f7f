"""The flood sends the messages that it was asked for, from the right sources."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from harness.sender import LINE, PATIENCE

from bench.flood import NETWORKS, Flood, source
from bench.processes import BUILD, Failed, build
from mailbell.core.networks import Family, format_address

pytestmark = pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "cc")) is None, reason="there is no C compiler"
)

GARBAGE = LINE[:-1] + b"?"


@pytest.fixture(autouse=True, scope="module")
def programs() -> None:
    build()


@pytest.fixture(params=["127.0.0.1", "::1"])
def receiver(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((request.param, 0))
        sock.settimeout(PATIENCE)
        yield sock


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        sock.settimeout(PATIENCE)
        yield sock


def received(sock: socket.socket, count: int) -> tuple[list[str], set[bytes]]:
    """Take this many datagrams. Return the addresses in order, and the different texts."""
    datagrams = [sock.recvfrom(100) for _ in range(count)]
    return [address[0] for _, address in datagrams], {data for data, _ in datagrams}


def said(listener: socket.socket, count: int) -> tuple[set[str], set[bytes]]:
    """Take this many connections. Return their addresses, and what they sent."""
    callers, texts = set(), set()
    for _ in range(count):
        connection, address = listener.accept()
        with connection:
            callers.add(address[0])
            texts.add(connection.recv(100))
    return callers, texts


# In this file a version or a message is often one of a few values that mypy takes for any
# number or text, so `arg-type` is ignored there.


@pytest.mark.parametrize(("message", "text"), [("line", LINE), ("garbage", GARBAGE)])
def test_datagrams_come_from_the_sources_in_turn(
    receiver: socket.socket, message: str, text: bytes
) -> None:
    host, port = receiver.getsockname()[:2]
    version = 6 if ":" in host else 4
    family = Family(version)
    first = NETWORKS - 1  # the next has a network again that was there before
    flood = Flood("udp", message, 5, first=first, sources=3)  # type: ignore[arg-type]
    assert flood.run(host, port)[:2] == (5, 0)
    expected = [
        format_address(family, source(version, first + number))  # type: ignore[arg-type]
        for number in (0, 1, 2, 0, 1)
    ]
    assert received(receiver, 5) == (expected, {text})


def test_the_first_sources_are_in_networks_of_their_own() -> None:
    for version, shift in ((4, 8), (6, 80)):
        networks = {source(version, number) >> shift for number in range(NETWORKS)}  # type: ignore[arg-type]
        assert len(networks) == NETWORKS


def test_no_two_sources_are_the_same_for_a_limiter() -> None:
    for version, shift in ((4, 0), (6, 64)):
        narrow = {source(version, number) >> shift for number in range(2 * NETWORKS)}  # type: ignore[arg-type]
        assert len(narrow) == 2 * NETWORKS


def test_more_datagrams_than_a_batch_are_exactly_so_many(receiver: socket.socket) -> None:
    host, port = receiver.getsockname()[:2]
    assert Flood("udp", "line", 150, per_second=1_000_000).run(host, port)[:2] == (150, 0)
    received(receiver, 150)
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(1)


@pytest.mark.parametrize(("message", "text"), [("line", LINE), ("garbage", GARBAGE)])
def test_connections_say_it_and_are_left(
    listener: socket.socket, message: str, text: bytes
) -> None:
    flood = Flood("tcp", message, 20, first=7, sources=2)  # type: ignore[arg-type]
    assert flood.run(*listener.getsockname())[:2] == (20, 0)
    callers = {format_address(Family.IPV4, source(4, number)) for number in (7, 8)}
    assert said(listener, 20) == (callers, {text})


def test_who_is_refused_has_sent_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert Flood("tcp", "line", 20).run(*unused.getsockname())[:2] == (0, 20)


def test_it_ends_when_it_is_told_to(receiver: socket.socket) -> None:
    host, port = receiver.getsockname()[:2]
    words = ["udp", host, str(port), "0", "1", "0", "300", "line"]
    with subprocess.Popen([BUILD / "flood", *words], stdout=subprocess.PIPE, text=True) as flood:
        receiver.recv(100)
        flood.send_signal(signal.SIGTERM)
        output, _ = flood.communicate(timeout=PATIENCE)
    sent, failed, _ = map(int, output.splitlines()[-1].split())
    assert flood.returncode == 0
    assert sent > 0 == failed


def test_silent_connections_say_nothing(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    words = ["tcp", host, str(port), "0", "1", "3", "10", "silent"]
    done = subprocess.run([BUILD / "flood", *words], check=True, capture_output=True, text=True)
    assert done.stdout.split()[:3] == ["begins", "3", "0"]
    for _ in range(3):
        connection, _ = listener.accept()
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "sctp 127.0.0.1 1 0 1 1 1 line",
        "tcp localhost 1 0 1 1 1 line",
        "tcp 127.0.0.1 0 0 1 1 1 line",
        "tcp 127.0.0.1 1 -1 1 1 1 line",
        "tcp 127.0.0.1 1 0 0 1 1 line",
        "tcp 127.0.0.1 1 0 1 1 1 noise",
        "udp 127.0.0.1 1 0 1 1 1 silent",
        "udp 127.0.0.1 1 0 1 1 1 line 0",
    ],
)
def test_it_refuses_what_it_does_not_understand(words: str) -> None:
    done = subprocess.run([BUILD / "flood", *words.split()], check=False, capture_output=True)
    assert done.returncode == 64


def test_a_flood_that_does_not_run_is_a_failure() -> None:
    with pytest.raises(Failed, match="exit code 64"):
        Flood("udp", "line", 1).run("localhost", 1)

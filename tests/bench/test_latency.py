"""The workload `latency`: one program is sender and subscriber, under all kinds of floods."""

import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from bench.listeners import HOST
from bench.processes import BUILD, Failed, build, configuration, end, started
from bench.section import SMOKE, Section
from bench.workloads import latency

pytestmark = pytest.mark.long

LINE = b"nm_notifyuser\r\n"
PATIENCE = 30.0


@pytest.fixture(scope="module")
def section() -> Section:
    return latency.measure(SMOKE)


def test_each_scene_has_its_percentiles_in_order(section: Section) -> None:
    values = [row.value.median for row in section.rows]
    names = [row.name for row in section.rows]
    for at in range(0, len(names), 3):
        assert [name.rpartition(", ")[2] for name in names[at : at + 3]] == ["p50", "p99", "p99.9"]
        assert 0 < values[at] <= values[at + 1] <= values[at + 2]


def test_every_flood_is_there_for_both_where_both_can(section: Section) -> None:
    ours = {row.name for row in section.rows if row.ratio} | {
        row.name for row in section.rows if "UDP" in row.name
    }
    theirs = {row.name.partition(": ")[2] for row in section.rows if ": " in row.name}
    assert {name.rpartition(", ")[0] for name in ours} == {
        "idle", "TCP flood, one source", "UDP garbage, one source", "UDP flood, 60000 sources",
        "TCP flood, 60000 sources", "silent connections",
    }  # fmt: skip
    assert theirs == {name for name in ours if "UDP" not in name}


def test_the_ratio_is_to_the_same_scene(section: Section) -> None:
    rows = {row.name: row for row in section.rows}
    for name, row in rows.items():
        if row.ratio:
            theirs = rows[f"{section.against}: {name}"]
            assert row.ratio.median == pytest.approx(row.value.median / theirs.value.median)


def test_nothing_is_lost_and_the_promise_is_looked_at(section: Section) -> None:
    promise, _, lost = section.targets
    value = {row.name: row.value.median for row in section.rows}
    assert promise.value == pytest.approx(value["TCP flood, one source, p99"] / value["idle, p99"])
    assert promise.bound == 5.0
    assert lost.value == 0


def test_floods_flood(section: Section) -> None:
    floods = [note for note in section.notes if "flood" in note and "a second" in note]
    rates = [int(note.partition(": flood ")[2].split()[0]) for note in floods]
    assert len(rates) == 8
    assert min(rates) > 0


def test_a_flood_that_does_not_arrive_is_a_failure(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with started(tmp_path, configuration(tmp_path, udp=[f"{HOST}:0"])) as daemon:
        status = daemon.status()
    for scene in latency._SCENES:
        if scene.what:
            with pytest.raises(Failed, match="none arrived"):
                latency._require_flood(scene, status, status, latency._Flooded(0, 0.0))


@contextmanager
def forwarder(path: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    build()
    process = subprocess.Popen([BUILD / "forward", path], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process, int(process.stdout.readline())
    finally:
        end(process)
        process.communicate()


def subscriber(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(path))
    assert sock.recv(1) == b"\0"
    return sock


def send(port: int, data: bytes, source: str) -> None:
    with socket.create_connection((HOST, port), PATIENCE, (source, 0)) as sock:
        sock.sendall(data)
        assert sock.recv(1) == b""


def test_the_forwarder_tells_everybody_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with forwarder(path) as (process, port):
        with subscriber(path) as one, subscriber(path) as other:
            send(port, b"nm_notifyuser\n\r", "127.0.0.2")
            send(port, LINE, "127.0.0.3")
            for sock in (one, other):
                assert sock.recv(100) == b"nm_notifyuser 127.0.0.3\r\n\0"
        process.terminate()
        assert process.communicate(timeout=PATIENCE)[0] == "1 1\n"


class Listener:
    """Acts as the daemon: a TCP socket, and the Unix socket of one subscriber."""

    def __init__(self, path: Path, samples: int, seconds: int = 30) -> None:
        build()
        self.tcp = socket.create_server((HOST, 0))
        local = socket.socket(socket.AF_UNIX)
        local.bind(str(path))
        local.listen()
        port = self.tcp.getsockname()[1]
        words = HOST, port, path, "the call", samples, 0, 1, 0, seconds
        self.process = subprocess.Popen(
            [BUILD / "latency", *map(str, words)], stdout=subprocess.PIPE, text=True
        )
        self.subscriber = local.accept()[0]
        local.close()
        self.subscriber.settimeout(PATIENCE)
        self.tcp.settimeout(PATIENCE)

    def rings(self) -> bool:
        return bool(select.select([self.tcp], [], [], 0.2)[0])

    def ring(self) -> tuple[bytes, str]:
        sock, address = self.tcp.accept()
        with sock:
            sock.settimeout(PATIENCE)
            return sock.recv(100), address[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)
        self.process.communicate()
        self.tcp.close()
        self.subscriber.close()


def test_a_sample_ends_with_the_message_that_names_its_source(tmp_path: Path) -> None:
    with Listener(tmp_path / "socket", samples=2) as listener:
        assert listener.subscriber.recv(100) == b"the call\0"
        assert not listener.rings()  # not before the subscription is answered
        listener.subscriber.send(b"answer\0")
        for _ in range(2):
            assert listener.ring() == (LINE, "127.1.0.1")
            listener.subscriber.send(b"of 127.1.0.12\0 and of 127.2.0.1\0")
            assert not listener.rings()
            listener.subscriber.send(b"of 127.1.0")
            listener.subscriber.send(b".1 it is\0")
        output, _ = listener.process.communicate(timeout=PATIENCE)
        rows = [list(map(int, line.split())) for line in output.splitlines()]
        assert [came for _, _, came in rows] == [1, 1]
        assert min(min(row) for row in rows) > 0


def test_what_does_not_come_is_lost(tmp_path: Path) -> None:
    with Listener(tmp_path / "socket", samples=1, seconds=1) as listener:
        listener.subscriber.send(b"answer\0")
        listener.ring()
        output, _ = listener.process.communicate(timeout=PATIENCE)
        assert output.split()[2] == "0"


def test_an_end_of_the_subscription_is_an_error(tmp_path: Path) -> None:
    with Listener(tmp_path / "socket", samples=1) as listener:
        listener.subscriber.close()
        assert listener.process.wait(PATIENCE) == 71

"""The workload `outcomes`: every outcome is caused and compared with a good message of its kind."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from bench.ends import LINE, Ends
from bench.kernel import Cpu
from bench.processes import PATIENCE, Failed, build
from bench.section import SMOKE, Section
from bench.speakers import Speaker
from bench.workloads import outcomes
from mailbell.core.outcome import Outcome
from mailbell.core.sender_outcome import InputOutcome

# Each row's name after the colon, if it is not that of the outcome.
SAID = {
    "over its limit": "rate_limited",
    "over the total": "rate_limited",
    "accepted in two pieces": "accepted",
}


@pytest.fixture(scope="module")
def section() -> Section:
    if os.geteuid() != 0:
        pytest.skip("needs root, who becomes other users")
    return outcomes.measure(SMOKE)


@pytest.mark.long
def test_every_outcome_is_there(section: Section) -> None:
    found: dict[str, set[str]] = {}
    for row in section.rows:
        transport, _, name = row.name.partition(": ")
        name = SAID.get(name, name.removeprefix("a login, "))
        found.setdefault(transport, set()).add(name)
    filtered = {str(Outcome.UNLISTED_SOURCE)}  # is missing if this kernel lets anyone filter
    assert found["TCP"] | filtered == {*Outcome}
    assert found["hook"] == {*InputOutcome}
    assert {"accepted", "rate_limited", "denied_source"} < found["UDP"]
    assert "refused_user" in found["local"]


@pytest.mark.long
def test_every_row_but_the_good_ones_has_a_target(section: Section) -> None:
    compared = {row.name: row.ratio for row in section.rows if row.ratio is not None}
    assert len(section.rows) - len(compared) == 6
    for target in section.targets:
        name, _, good = target.what.partition(" / ")
        ratio = compared.pop(name)
        assert ratio is not None
        assert target.value == ratio.median
        assert target.bound >= 1
        assert good not in compared
    assert compared == {}


def test_another_outcome_than_the_expected_one_is_a_failure() -> None:
    build()
    with outcomes._daemon() as daemon:
        kind = outcomes._tcp(daemon, "a good one", "mismatch", Ends(20))
        with pytest.raises(Failed, match=r"a good one: 20 sent, counted .'accepted': 20."):
            kind.cost()
        right = outcomes._tcp(daemon, "a good one", "accepted", Ends(20))
        assert right.cost() > 0


def test_too_few_of_the_expected_outcome_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cpu, "settled", Cpu.of)  # this process does not rest
    counted = iter(({"rate_limited": 0}, {"rate_limited": 6, "accepted": 4}))
    kind = outcomes._Kind("it", "rate_limited", os.getpid(), lambda: 10, lambda: next(counted), 0.7)
    with pytest.raises(Failed, match="it: 10 sent"):
        kind.cost()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    build()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(PATIENCE)
        yield sock


def ended(listener: socket.socket, ends: Ends) -> bytes:
    """Return what a connection said until its end; a reset adds an exclamation mark."""
    heard: list[bytes] = []

    def serve() -> None:
        with listener.accept()[0] as sock:
            sock.settimeout(PATIENCE)
            try:
                while said := sock.recv(64):
                    heard.append(said)
                    if ends.end == "wait":
                        break
            except ConnectionResetError:
                heard.append(b"!")

    server = threading.Thread(target=serve)
    server.start()
    ends.run("127.0.0.1", listener.getsockname()[1])
    server.join(PATIENCE)
    return b"".join(heard)


@pytest.mark.parametrize(
    ("ends", "heard"),
    [
        (Ends(1, b"\0x", "fin"), b"\0x"),
        (Ends(1, b"", "fin"), b""),
        (Ends(1, b"nm", "wait"), b"nm"),
        (Ends(1, b"nm_", "late"), LINE),
    ],
)
def test_a_connection_ends_as_it_should(listener: socket.socket, ends: Ends, heard: bytes) -> None:
    assert ended(listener, ends) == heard


def test_a_reset_is_one(listener: socket.socket) -> None:
    assert ended(listener, Ends(1, b"nm", "reset")).endswith(b"!")


def test_what_could_not_connect_is_a_failure() -> None:
    build()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Failed, match="of 3 connections 0 ended well"):
            Ends(3).run("127.0.0.1", unused.getsockname()[1])


def test_a_user_speaks_and_holds_no_more_than_it_may(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = str(tmp_path_factory.mktemp("s") / "s")
    said: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        listening.settimeout(PATIENCE)

        def serve() -> None:
            for _ in range(3):
                with listening.accept()[0] as sock:
                    said.append(sock.recv(64))
                    sock.sendall(b"answer\0")

        server = threading.Thread(target=serve)
        server.start()
        Speaker(3, b"hello\n", os.geteuid(), held=0).run(path)
        server.join(PATIENCE)
    assert said == [b"hello\n"] * 3

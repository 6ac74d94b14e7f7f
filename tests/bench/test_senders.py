"""The workload `senders`: under every flood at once each sender is heard, at its first attempt."""

import socket
import threading
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from bench.callers import GARBAGE, LINE, Called, Caller, Calls, call, run
from bench.namespace import namespace
from bench.processes import PATIENCE, Failed
from bench.section import SMOKE, Section
from bench.workloads import senders

pytestmark = pytest.mark.long

# The smallest plan measures one configuration. tests/system/test_good_senders.py has both.
CONFIGURED = senders._CONFIGURED[:1]


@pytest.fixture(scope="module")
def section() -> Section:
    with namespace() as through:
        if through is None:
            pytest.skip("needs root, who makes a network namespace")
    return senders.measure(SMOKE)


def test_nothing_of_a_configured_sender_is_lost_or_refused(section: Section) -> None:
    assert {target.what: target.value for target in section.targets} == {
        f"{what} configured {named}": 0
        for what in ("notifications lost, senders", "connections of senders refused,")
        for named in CONFIGURED
    }
    assert {target.bound for target in section.targets} == {0}


def test_each_scene_has_its_percentiles(section: Section) -> None:
    scenes = [f"{named}, {scene.name}" for named in CONFIGURED for scene in senders._SCENES]
    names = [f"{scene}: {share}" for scene in scenes for share in ("p50", "p99", "max")]
    assert [row.name for row in section.rows] == names
    assert all(row.value.median > 0 for row in section.rows)
    for p50, p99, most in zip(*[iter(section.rows)] * 3, strict=True):
        assert p50.value.median <= p99.value.median <= most.value.median


def test_every_flood_floods(section: Section) -> None:
    floods = [note for note in section.notes if note.startswith("floods, a second: ")]
    assert len(floods) == 2 * len(CONFIGURED)
    for note in floods:
        rates = [each.rpartition(" ") for each in note.partition(": ")[2].split("; ")]
        assert len(rates) == 9
        assert all(int(rate.replace(",", "")) > 0 for _, _, rate in rates), note


def test_without_a_namespace_there_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "namespace", lambda: nullcontext(None))
    with pytest.raises(Failed, match="needs root"):
        senders.measure(SMOKE)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(PATIENCE)
        yield sock


def test_a_caller_tells_an_orderly_end_from_a_refusal(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    heard: list[tuple[bytes, str]] = []

    def serve() -> None:
        for reads in (True, False):
            sock, address = listener.accept()
            with sock:
                heard.append((sock.recv(16 if reads else 1), address[0]))

    server = threading.Thread(target=serve)
    server.start()
    called = Called()
    for message in (LINE, GARBAGE):
        call(Caller("127.0.0.9", message), port, called)
    server.join(PATIENCE)
    assert heard == [(LINE.encode(), "127.0.0.9"), (GARBAGE.encode()[:1], "127.0.0.9")]
    assert (len(called.milliseconds), called.reset, called.failed) == (1, 1, 0)


def test_who_cannot_connect_has_failed() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        called = Called()
        call(Caller("127.0.0.9"), unused.getsockname()[1], called)
    assert (called.connections, called.failed) == (1, 1)


def test_each_calls_as_often_as_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        callers = (Caller("127.0.0.9", every=0, count=3), Caller("127.0.0.8", every=0, count=2))
        found = run(Calls(port, callers), threading.Event())
    assert [called.connections for called in found] == [3, 2]
    assert capsys.readouterr().out == "begins\n"

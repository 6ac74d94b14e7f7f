"""The benchmark works: its smallest run measures what it says, on the real daemon."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from bench.processes import BUILD, Failed, Load, accept_loop, build
from bench.report import Results, table
from bench.run import Plan, run

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "cc")) is None, reason="there is no C compiler"
)


@pytest.fixture(scope="module")
def results() -> Results:
    loads = (Load(200, 16), Load(100, 1))
    return run(Plan(loads, rounds=2, starts=1, sources=300))


def test_all_of_the_load_is_accepted(results: Results) -> None:
    assert [(work.rounds, work.count, work.accepted) for work in results.work] == [
        (2, 200, 400),
        (2, 100, 200),
    ]


def test_both_cost_something(results: Results) -> None:
    for work in results.work:
        assert min(work.loop[0], work.daemon[0]) > 0
        assert work.loop[0] == pytest.approx(sum(work.loop[1:]))
        assert work.daemon[0] == pytest.approx(sum(work.daemon[1:]))
        assert 0 < work.ratio.least <= work.ratio.median <= work.ratio.most


def test_the_daemon_becomes_ready(results: Results) -> None:
    assert results.ready.median > 0


def test_memory_is_that_of_a_daemon_with_subscribers_and_sources(results: Results) -> None:
    memory = results.memory
    assert 0 < memory.idle.now <= memory.full.peak
    assert memory.full.now <= memory.full.peak
    assert memory.subscribers == 64
    for name in ("tcp/ipv4/32", "tcp/ipv4/24", "udp/ipv4/32", "udp/ipv4/24"):
        entries, capacity = memory.tables[name]
        assert 0 < entries <= 300 < capacity


def test_the_table_says_it_all(results: Results) -> None:
    text = table(results)
    assert text.count("ratio: median") == len(results.work)
    assert text.count("; target") == 3
    assert text.count("; no target") == len(results.work) - 1
    assert "64 subscribers" in text


def test_the_results_can_be_written_and_read(results: Results) -> None:
    assert msgspec.json.decode(msgspec.json.encode(results), type=Results) == results


def test_what_the_listener_does_not_take_is_a_failure() -> None:
    build()
    with accept_loop() as (_, port):
        Load(5, 2).run("127.0.0.1", port)
    with pytest.raises(Failed, match="0 were taken, 5 failed"):
        Load(5, 2).run("127.0.0.1", port)


def test_the_loop_does_not_take_anything_else_for_a_line() -> None:
    build()
    loop = ExitStack()
    _, port = loop.enter_context(accept_loop())
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"nm_notifyuser\n")
        assert sock.recv(1) == b""
    with pytest.raises(Failed, match="0 lines and 1 of something else"):
        loop.close()


def test_it_starts_by_its_path() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "run.py"), "--help"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "--quick" in done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["x", "1", "1", "1", "1", "1"], ["::1", "0"] + ["1"] * 4]
)
def test_the_load_refuses_what_it_does_not_understand(arguments: list[str]) -> None:
    build()
    done = subprocess.run([BUILD / "load", *arguments], check=False, capture_output=True)
    assert done.returncode == 64


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(Failed, match="no C compiler"):
        build()

"""The floods: a small run against the real daemon, and what is wrong is found."""

import mmap
import os
from collections import Counter

import pytest

from bench.processes import Failed
from torture.figures import Report
from torture.floods import run as floods
from torture.floods.attacks import attacks
from torture.floods.good import Tally
from torture.floods.held import Held, at_rest
from torture.floods.hosts import SENDERS
from torture.floods.members import KINDS

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes the attackers' hosts")

ACCOUNT = SENDERS[0].account
# A daemon that serves as always, but now and then it forgets a good sender's ring, rings twice,
# keeps what it could forget, and leaves some connections open.
BROKEN = """
import mailbell.listener._connections as connections
from mailbell.cli.mailbelld import main
from mailbell.core.outcome import Outcome
from mailbell.listener._admission import Admission

real, close, counted, kept = Admission.accept, connections.hang_up, [0], []

def hang_up(descriptor):
    kept.append(bytes(1 << 12))
    if len(kept) % 100 or len(kept) > 1000:
        close(descriptor)

def accept(self, caller, now, local=None):
    if caller.accounts == ("everybody",):
        return real(self, caller, now, local)
    counted[0] += 1
    if counted[0] % 5 == 0:
        return Outcome.ACCEPTED
    if counted[0] % 5 == 1:
        real(self, caller, now, local)
    return real(self, caller, now, local)

Admission.accept, connections.hang_up = accept, hang_up
main()
"""
# One that ends in the midst of it.
ENDS = """
import os
from mailbell.cli.mailbelld import main
from mailbell.listener._admission import Admission

real, counted = Admission.accept, [0]

def accept(self, *words, **more):
    counted[0] += 1
    if counted[0] == 500:
        os._exit(3)
    return real(self, *words, **more)

Admission.accept = accept
main()
"""


def values(report: Report) -> dict[str, float]:
    return {figure.name: figure.value for figure in report.figures}


@needs_root
@pytest.mark.long
def test_all_floods_run_and_every_good_notification_is_delivered() -> None:
    lines: list[str] = []
    report = floods.flood(1, 1, lines.append, warm=0.5)
    assert report.failures == ()
    found = values(report)
    # In so short a time not everything that is bounded is full, so the memory says nothing yet.
    wrong = [each.name for each in report.figures if not each.is_right and "RSS" not in each.name]
    assert wrong == []
    assert found["good notifications delivered"] == found["good notifications sent"] >= 4
    assert sum(name.startswith("attack: ") for name in found) == 12 + 1 + len(KINDS)
    assert found["the daemon counted: TCP accepted"] > found["good notifications sent"]
    assert found["until told, p50"] <= found["until told, p99"] <= found["until told, max"]
    assert any("delivered" in line for line in lines)


@needs_root
@pytest.mark.long
def test_a_daemon_that_forgets_and_leaks_is_found() -> None:
    report = floods.flood(10, 2, print, program=("-c", BROKEN), warm=5)
    assert {figure.name for figure in report.figures if not figure.is_right} == {
        "good notifications lost",
        "told of, but not sent",
        "RSS at rest, growth above 1024 KiB",
        "RSS peak, growth above 1024 KiB",
        "descriptors at rest, growth",
    }
    assert any("not told of" in line for line in report.failures)


@needs_root
@pytest.mark.long
def test_a_daemon_that_ends_is_a_failure() -> None:
    report = floods.flood(5, 3, print, program=("-c", ENDS))
    assert not report.is_right
    assert report.failures
    assert all("--seed 3" in line for line in report.failures)


@needs_root
@pytest.mark.long
def test_with_enough_time_memory_and_descriptors_are_flat() -> None:
    report = floods.flood(30, 4, print, warm=25)
    assert report.failures == ()
    assert [figure for figure in report.figures if not figure.is_right] == []


def test_who_is_not_root_is_told_why_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    report = floods.run(1, 1, print)
    assert "root" in report.skipped
    assert report.is_right


def test_a_daemon_that_does_not_start_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        pytest.fail("mailbelld ended: []")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(floods, "compile_programs", lambda: None)
    monkeypatch.setattr(floods, "_play", fails)
    assert "mailbelld ended" in floods.run(1, 7, print).failures[0]


def test_without_a_compiler_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise Failed("no C compiler")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(floods, "compile_programs", fails)
    report = floods.run(1, 7, print)
    assert not report.is_right
    assert report.failures == ("no C compiler; python -m torture.floods --seconds 1 --seed 7",)


def test_a_ring_is_delivered_when_the_counts_say_so() -> None:
    tally = Tally()
    for _ in range(3):
        tally.ring(ACCOUNT)
    tally.tell(ACCOUNT, 2)
    assert (tally.sent, tally.delivered, tally.more) == (3, 2, 0)
    assert tally.missing() == [ACCOUNT]
    tally.tell(ACCOUNT, 3)
    assert (tally.sent, tally.delivered, tally.more) == (3, 3, 2)
    assert tally.missing() == []


def test_a_seed_says_how_every_flood_begins() -> None:
    first, again, other = (attacks("/path", seed) for seed in (5, 5, 6))
    assert first == again
    names = [flood.name for flood in first]
    assert names == [flood.name for flood in other]
    assert max(Counter(names).values()) == 1
    assert first != other


def test_what_a_process_holds_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Held.by(os.getpid())
    more = os.dup(0)
    # Memory of its own: what Python asks for may be what it had before.
    with mmap.mmap(-1, 4 << 20) as kept:
        for page in range(0, len(kept), mmap.PAGESIZE):
            kept[page] = 1
        monkeypatch.setattr("torture.floods.held._PATIENCE", 0.0)
        after = at_rest(os.getpid(), before.descriptors)
    os.close(more)
    assert after.descriptors == before.descriptors + 1
    assert after.kib >= before.kib + (4 << 10) - 256

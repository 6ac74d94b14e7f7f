"""The workload `filtered`: the packets reach the filter and do not pass it."""

import os
import shutil
from collections.abc import Iterator

import pytest

from bench.flood import Flood
from bench.processes import Daemon, Failed
from bench.section import SMOKE, Section
from bench.workloads import filtered
from mailbell.core.outcome import Outcome

SYN = "SYN of a source that is not listed"
DATAGRAM = "garbage datagram"


@pytest.fixture(scope="module")
def section() -> Section:
    return filtered.measure(SMOKE)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with filtered._daemon() as found:
        yield found


def rows(name: str) -> list[str]:
    return [
        f"{name}, refused by the kernel",
        "  nothing sent for the same time",
        "  the same, refused by the daemon",
    ]


def test_each_kind_stands_beside_idling_and_beside_the_daemon(section: Section) -> None:
    names = [row.name for row in section.rows]
    if os.geteuid() == 0:
        assert names == rows(SYN) + rows(DATAGRAM)
    else:
        assert names[-3:] == rows(DATAGRAM)
        assert names[:-3] or any(note.startswith("no SYNs: ") for note in section.notes)


def test_the_daemon_refuses_for_a_price(section: Section) -> None:
    for row in section.rows[2::3]:
        assert row.value.least > 0


def test_each_kind_is_held_to_nothing_within_measurement(section: Section) -> None:
    assert len(section.targets) == 2 * len(section.rows[::3])
    for target in section.targets:
        assert target.bound >= 0
        assert not target.at_least


def test_the_daemon_does_not_run_for_what_the_kernel_refuses(section: Section) -> None:
    told = [note for note in section.notes if "all dropped at the socket" in note]
    assert len(told) == len(section.rows[::3])
    for note in told:
        assert note.endswith("; the daemon ran 0 times")


def test_all_of_it_was_dropped_and_the_good_ones_pass(section: Section) -> None:
    notes = "\n".join(section.notes)
    assert f"{DATAGRAM}: 2,000 sent, all dropped at the socket" in notes
    assert "20 of 20 notifications from a listed source were accepted" in notes
    if os.geteuid() == 0:
        assert f"{SYN}: 400 sent, all dropped at the socket" in notes


def refused(daemon: Daemon, flood: Flood) -> filtered._Refused:
    def dropped() -> int:
        return daemon.status().kernel_dropped or 0

    return filtered._Refused("it", daemon, flood, dropped, None)


def test_a_datagram_that_passes_the_filter_is_a_failure(daemon: Daemon) -> None:
    with pytest.raises(Failed, match="of 10 the filter dropped 0"):
        refused(daemon, Flood("udp", "line", 10, sources=1)).round()


def test_a_connection_that_passes_the_filter_is_a_failure(daemon: Daemon) -> None:
    with pytest.raises(Failed, match="10 connected"):
        refused(daemon, Flood("tcp", "line", 10, sources=1)).round()


def test_a_message_that_does_not_come_to_the_filter_is_a_failure(daemon: Daemon) -> None:
    kind = refused(daemon, Flood("udp", "garbage", 10, sources=1))
    kind.dropped = lambda: 7
    with pytest.raises(Failed, match="of 10 the filter dropped 0"):
        kind.round()


def test_what_wakes_the_daemon_is_seen(daemon: Daemon) -> None:
    kind = refused(daemon, Flood("udp", "line", 10, sources=1))
    kind._measure()
    assert kind.ran[0].slices > 0
    assert kind.ran[0].nanoseconds > 0
    ran, _ = kind.rows()
    assert ran.value.median == kind.ran[0].nanoseconds / 10


def test_idling_is_what_nothing_is_measured_by(daemon: Daemon) -> None:
    kind = refused(daemon, Flood("udp", "line", 10, sources=1))
    kind.ran = [filtered._Ran(70, 1), filtered._Ran(90, 3), filtered._Ran(80, 0)]
    kind.idle = [filtered._Ran(20, 1), filtered._Ran(50, 2), filtered._Ran(30, 0)]
    cpu, slices = kind.targets()
    assert (cpu.value, cpu.bound) == (8 - 3, 5 - 2)
    assert (slices.value, slices.bound) == (3, 2)
    assert not cpu.met
    assert not slices.met


def test_an_outcome_that_is_not_expected_is_a_failure(daemon: Daemon) -> None:
    flood = Flood("udp", "line", 10, sources=1)
    with pytest.raises(Failed, match="only denied_source was expected"):
        filtered._refused_by_daemon(daemon, flood, Outcome.DENIED_SOURCE)


def test_without_its_programs_it_leaves_out_what_takes_them(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    if daemon.status().unfiltered is None:
        assert filtered._why_no_syns(daemon) == (
            "no SYNs: ss (iproute2) is not installed, to tell what the socket drops",
        )
    else:
        assert "CAP_NET_ADMIN" in filtered._why_no_syns(daemon)[0]

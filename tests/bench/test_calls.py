"""The workload `calls`: each system call is counted under its name."""

import os
import shutil
from functools import partial

import pytest

from bench.section import SMOKE, Section
from bench.workloads import calls

# The output of strace -c: a call with errors, one without, and one that takes no time.
PRINTED = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 44.46    0.012954          25       500           close
 22.48    0.006549           7       846       346 accept4
  0.00    0.000000           0         1           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.029138           9      1347       346 total
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may trace the daemon")


@pytest.fixture(scope="module")
def section() -> Section:
    return calls.measure(SMOKE)


@as_root
def test_each_notification_is_accepted_and_closed(section: Section) -> None:
    found = {row.name: row.value.median for row in section.rows}
    assert found["64 in flight: accept4"] >= 1.0
    assert found["64 in flight: close"] >= 1.0


@as_root
def test_the_names_are_all_there_is(section: Section) -> None:
    found = {row.name: row.value.median for row in section.rows}
    names = [calls for name, calls in found.items() if name.startswith("64 in flight: ")]
    assert "64 in flight: total" not in found
    assert sum(names) == pytest.approx(found["64 in flight, slowed down by strace"])


@as_root
def test_the_promise_is_about_the_count_that_matters(section: Section) -> None:
    (target,) = section.targets
    found = {row.name: row.value.median for row in section.rows}
    without_perf = found["64 in flight, slowed down by strace"]
    assert target.value == found.get("64 in flight", without_perf)
    assert target.bound == 4.0


@as_root
def test_without_perf_it_says_that_it_counts_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", partial(installed, "perf", shutil.which("strace")))
    found = calls.measure(SMOKE)
    assert any("counts too few" in note for note in found.notes)
    (target,) = found.targets
    assert target.value == found.rows[0].value.median > 0


def installed(missing: str, path: str | None, name: str) -> str | None:
    return None if name == missing else path


def test_without_strace_nothing_is_counted_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", partial(installed, "strace", "/bin/true"))
    found = calls.measure(SMOKE)
    assert not found.rows
    assert not found.targets
    assert found.notes == ("not counted: strace is not installed",)


def test_without_privilege_nothing_is_counted_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/true")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    found = calls.measure(SMOKE)
    assert not found.rows
    assert not found.targets
    assert found.notes == ("not counted: only root may trace the daemon",)


def test_what_strace_prints_is_understood() -> None:
    assert calls._COUNTED.findall(PRINTED) == [
        ("500", "close"), ("846", "accept4"), ("1", "write"), ("1347", "total"),
    ]  # fmt: skip

"""The workload `startup`: a daemon that is ready, one that is filled, and its imports."""

import os
import re

import pytest

from bench.section import SMOKE, Section
from bench.workloads import startup


@pytest.fixture(scope="module")
def section() -> Section:
    return startup.measure(SMOKE)


def row(section: Section, name: str) -> float:
    return next(row.value.median for row in section.rows if row.name == name)


def test_it_becomes_ready(section: Section) -> None:
    assert row(section, "ready, in s") > 0


def test_memory_is_that_of_a_daemon_with_subscribers_and_sources(section: Section) -> None:
    assert 0 < row(section, "idle, in MiB") <= row(section, "most since the start, in MiB")
    assert row(section, "full, in MiB") <= row(section, "most since the start, in MiB")
    full = next(note for note in section.notes if note.startswith("full:"))
    found = re.fullmatch(r"full: 64 subscribers, (\d+) of (\d+) sources in 10 of 24 tables", full)
    assert found is not None
    entries, capacity = map(int, found.groups())
    assert 400 <= entries < capacity


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace takes root")
def test_root_fills_the_tables_of_both_families(section: Section) -> None:
    assert not [note for note in section.notes if note.startswith("empty")]


def test_the_modules_are_those_of_the_daemon(section: Section) -> None:
    (modules,) = (note for note in section.notes if note.startswith("modules"))
    assert {"mailbell", "trio", "encodings"} <= set(re.findall(r"\w+", modules))
    counts = re.findall(r"[\w.]+(?: \((\d+)\))?", modules.partition(": ")[2])
    assert sum(int(count or 1) for count in counts) == row(section, "modules imported")


def test_targets_are_those_promised(section: Section) -> None:
    assert [(target.what, target.bound, target.unit) for target in section.targets] == [
        ("ready", 0.3, "s"),
        ("full", 25.0, "MiB"),
    ]

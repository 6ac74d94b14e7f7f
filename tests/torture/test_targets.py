"""The part of a torture that runs the fuzz targets."""

import importlib.util
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec

import pytest

from fuzz.results import Result, Stats
from fuzz.run import TARGETS
from torture.targets import run


def fuzzed(monkeypatch: pytest.MonkeyPatch, findings: int) -> list[tuple[Sequence[str], int]]:
    """Let no target be fuzzed; return what is asked for."""
    asked = []

    def fuzz_all(
        targets: Sequence[str], seconds: int, say: Callable[[str], None], *, measured: bool
    ) -> list[Result]:
        asked.append((targets, seconds))
        return [Result(target, Stats(1000, 300, 5), findings, 0, 0) for target in targets]

    monkeypatch.setattr(run, "fuzz_all", fuzz_all)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    return asked


def test_the_seed_chooses_as_many_targets_as_there_is_time_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = fuzzed(monkeypatch, findings=0)
    for seed in (1, 1, 2):
        report = run.run(24, seed, print)
        assert report.is_right
        assert [figure.value for figure in report.figures] == [4, 4000, 0]
    chosen = [tuple(targets) for targets, _ in asked]
    assert chosen[0] == chosen[1] != chosen[2]
    assert {seconds for _, seconds in asked} == {12}


def test_no_target_is_chosen_twice_and_one_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fuzzed(monkeypatch, findings=0)
    run.run(1, 1, print)
    run.run(100_000, 1, print)
    assert [len(targets) for targets, _ in asked] == [1, len(TARGETS)]


def test_a_finding_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    fuzzed(monkeypatch, findings=1)
    report = run.run(1, 1, print)
    assert not report.is_right
    assert len(report.failures) == 1


def test_without_the_fuzzer_it_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert run.run(1, 1, print).skipped

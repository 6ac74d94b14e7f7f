"""The command runs the workloads it is given, reports its progress, and loses no result."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench import run
from bench.processes import Failed
from bench.report import Results
from bench.section import FULL, QUICK, Plan, Row, Section, Spread

ROOT = Path(__file__).parent.parent.parent


def workload(name: str, seen: list[Plan]) -> Callable[[Plan], Section]:
    def measure(plan: Plan) -> Section:
        seen.append(plan)
        rows = (Row("mailbelld", Spread.of([1.0])),)
        return Section(name=name, title=f"Of {name}", unit="us", rows=rows)

    return measure


def fails(plan: Plan) -> Section:
    raise Failed("it went wrong")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Plan]:
    """The plans that workloads were given. There are two workloads, and other files to write."""
    plans: list[Plan] = []
    names = ("steady", "other")
    monkeypatch.setattr(run, "WORKLOADS", {name: workload(name, plans) for name in names})
    for place in ("HERE", "BUILD"):
        (tmp_path / place).mkdir()
        monkeypatch.setattr(run, place, tmp_path / place)
    return plans


def written(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*.*"))


def test_a_full_run_of_everything_is_the_one_to_keep(
    seen: list[Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([]) == 0
    assert seen == [FULL, FULL]
    assert written(tmp_path) == ["HERE/results.json", "HERE/results.png"]
    found = msgspec.json.decode((tmp_path / "HERE/results.json").read_bytes(), type=Results)
    assert [section.name for section in found.sections] == ["steady", "other"]
    output, errors = capsys.readouterr()
    assert "steady: Of steady" in output
    assert "steady ... 0 s\nother ... 0 s\n" in errors


def test_a_quick_run_leaves_a_clean_tree_clean(seen: list[Plan], tmp_path: Path) -> None:
    assert run.main(["--quick"]) == 0
    assert seen == [QUICK, QUICK]
    assert written(tmp_path) == ["BUILD/results.json", "BUILD/results.png"]


def test_named_workloads_alone_are_not_everything(seen: list[Plan], tmp_path: Path) -> None:
    assert run.main(["other"]) == 0
    assert seen == [FULL]
    assert written(tmp_path) == ["BUILD/results.json"]


def test_a_workload_that_fails_does_not_lose_the_others(
    seen: list[Plan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(run.WORKLOADS, "steady", fails)
    assert run.main([]) == 70
    assert written(tmp_path) == ["BUILD/results.json"]
    output, errors = capsys.readouterr()
    assert "other: Of other" in output
    assert "steady ... could not be measured: it went wrong" in errors


def test_a_name_that_is_none_is_refused(
    seen: list[Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(["stedy"])
    assert ended.value.code == 2
    assert "no such workload: stedy" in capsys.readouterr().err


def test_nothing_runs_without_a_compiler(
    seen: list[Plan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert run.main([]) == 70
    assert "apt-get install gcc" in capsys.readouterr().err


def test_every_workload_is_in_the_table() -> None:
    files = {path.stem for path in (ROOT / "bench" / "workloads").glob("[!_]*.py")}
    assert set(run.WORKLOADS) == files


def test_it_starts_by_its_path() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "run.py"), "--help"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "--quick" in done.stdout

"""`fuzz/run.py`: with a stand-in for the fuzzer, which the tests do not install."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from fuzz.parsers import PARSERS
from fuzz.results import Result, Stats, read_stats, table, totals

HERE: Final = Path(__file__).parent
FUZZ: Final = HERE.parent / "fuzz"
STAND_INS: Final = HERE / "stand_ins"


def run(
    *arguments: str, folder: Path = FUZZ, stand_in: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Run the runner, with the stand-in or without any fuzzer."""
    environ = {**os.environ, "PYTHONPATH": str(STAND_INS)} if stand_in else dict(os.environ)
    code = "" if stand_in else "import importlib.util; importlib.util.find_spec = lambda name: None"
    code += f"\nimport runpy; runpy.run_path({str(folder / 'run.py')!r}, run_name='__main__')"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the fuzzing, in which a test may break a target."""
    ignored = shutil.ignore_patterns("found", "__pycache__")
    return Path(shutil.copytree(FUZZ, tmp_path / "fuzz", ignore=ignored))


def test_without_the_fuzzer_it_says_what_to_do() -> None:
    result = run(stand_in=False)
    assert (result.returncode, result.stdout) == (69, "")
    assert result.stderr == (
        "atheris is missing; run `make fuzz`, or install it with: pip install -e '.[fuzz,test]'\n"
    )


def test_it_knows_its_targets() -> None:
    result = run("nonsense")
    assert result.returncode == 2
    assert "no such target: nonsense; there are " in result.stderr


def test_at_the_end_stands_what_each_target_reaches(copied: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    result = run("--seconds", "1", "--json", str(told), "stream", "comsat", folder=copied)
    assert result.returncode == 0, result.stdout
    *_, head, stream, comsat, last = result.stdout.splitlines()
    assert head.split() == ["target", "inputs", "per", "second", "corpus", "reached", "findings"]
    assert (stream.split()[0], comsat.split()[0]) == ("stream", "comsat")
    numbers = json.loads(told.read_text())
    assert last == f"inputs executed: {numbers['inputs']}, findings: 0"
    assert numbers["inputs"] == sum(each["stats"]["inputs"] for each in numbers["targets"]) > 40
    for each in numbers["targets"]:
        assert 0.5 < each["reached"] / each["all"] <= 1
    assert (
        f"{100 * numbers['targets'][0]['reached'] / numbers['targets'][0]['all']:.1f} %" in stream
    )


def test_an_input_that_breaks_an_invariant_is_kept_and_counts(copied: Path, tmp_path: Path) -> None:
    with open(copied / "fuzz_comsat.py", "a") as file:
        file.write("\n\ndef check(data: bytes) -> None:\n    assert b'@' not in data\n")
    told = tmp_path / "told.json"
    result = run("--seconds", "1", "--json", str(told), "comsat", folder=copied)
    assert result.returncode == 1
    (kept,) = (copied / "found").iterdir()
    assert kept.name.startswith("comsat-crash-")
    assert b"@" in kept.read_bytes()
    assert str(kept) in result.stdout
    assert "AssertionError" in result.stdout
    assert json.loads(told.read_text())["findings"] == 1
    # The next run counts only what is new.
    (copied / "fuzz_comsat.py").write_bytes((FUZZ / "fuzz_comsat.py").read_bytes())
    again = run("--seconds", "1", "comsat", folder=copied)
    assert again.returncode == 0
    assert again.stdout.endswith("findings: 0\n")


def test_a_target_that_cannot_be_loaded_is_a_finding(copied: Path) -> None:
    (copied / "fuzz_comsat.py").write_text("raise SystemExit(3)\n")
    result = run("--seconds", "1", "comsat", folder=copied)
    assert result.returncode == 1
    assert result.stdout.endswith("inputs executed: 0, findings: 1\n")


def test_the_numbers_of_the_fuzzer_are_read() -> None:
    said = (
        "INFO: Seed: 1\nstat::number_of_executed_units: 41\nstat::average_exec_per_sec:     7\n"
        "stat::new_units_added:          4\nstat::slowest_unit_time_sec:    0\n"
    )
    assert read_stats(said) == Stats(41, 7, 4)
    assert read_stats("") == Stats()


def test_a_table_and_totals() -> None:
    results = [
        Result("stream", Stats(1234, 56, 7), 0, 9, 10),
        Result("dns", Stats(6, 5, 4), 2),
    ]
    assert table(results).splitlines() == [
        "target  inputs  per second  corpus  reached  findings",
        "stream   1,234          56       7   90.0 %         0",
        "dns          6           5       4        -         2",
    ]
    told = totals(results)
    assert (told["inputs"], told["findings"]) == (1240, 2)
    assert [each["target"] for each in told["targets"]] == ["stream", "dns"]


def test_the_modules_of_each_target_are_there() -> None:
    import mailbell

    root = Path(mailbell.__file__).parent
    assert [
        path for paths in PARSERS.values() for path in paths if not (root / path).exists()
    ] == []

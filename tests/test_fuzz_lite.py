"""ClusterFuzzLite's build, without its image: the dry run, with a stand-in for the fuzzer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from fuzz.parsers import PARSERS

ROOT: Final = Path(__file__).parent.parent
SCRIPT: Final = Path("fuzz", "clusterfuzzlite_dry_run.py")


def dry_run(*arguments: str, root: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "stand_ins")}
    command = [sys.executable, str(root / SCRIPT), "--runs", "3", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of what is built with one target, which a test may break."""
    for name in ("fuzz", ".clusterfuzzlite"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("found"))
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    for path in (tmp_path / "fuzz").glob("fuzz_*.py"):
        if path.name != "fuzz_comsat.py":
            path.unlink()
    return tmp_path


def test_each_target_is_built_and_some_are_run() -> None:
    result = dry_run("stream", "packet_filter", "varlink_foreign")
    assert result.stderr == ""
    assert result.returncode == 0, result.stdout
    assert result.stdout.splitlines() == [
        "fuzz_stream: right",
        "fuzz_packet_filter: right",
        "fuzz_varlink_foreign: right",
    ]


def test_a_finding_fails_it(copied: Path) -> None:
    with open(copied / "fuzz" / "fuzz_comsat.py", "a") as file:
        file.write("\n\ndef check(data: bytes) -> None:\n    assert b'@' not in data\n")
    result = dry_run(root=copied)
    assert result.returncode == 1
    assert "fuzz_comsat: WRONG" in result.stdout
    assert "AssertionError" in result.stdout


def test_a_target_without_a_dictionary_is_not_built(copied: Path) -> None:
    (copied / "fuzz" / "dictionaries" / "comsat.dict").unlink()
    result = dry_run(root=copied)
    assert result.returncode not in {0, 69}
    assert "comsat.dict" in result.stderr


def test_without_the_fuzzer_it_says_what_to_do() -> None:
    code = (
        "import importlib.util; importlib.util.find_spec = lambda name: None\n"
        f"import runpy; runpy.run_path({str(ROOT / SCRIPT)!r}, run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 69
    assert "make fuzz" in result.stderr


def test_the_image_has_what_the_build_needs() -> None:
    lines = (ROOT / ".clusterfuzzlite" / "Dockerfile").read_text().splitlines()
    assert "FROM ${BASE_IMAGE}" in lines
    assert "COPY .clusterfuzzlite/build.sh $SRC/" in lines
    for name in ("build", "test"):
        assert (ROOT / "requirements" / f"{name}.txt").exists()
        assert any(f"-r requirements/{name}.txt" in line for line in lines)
    assert "language: python" in (ROOT / ".clusterfuzzlite" / "project.yaml").read_text()
    assert len(PARSERS) == len([*(ROOT / "fuzz").glob("fuzz_*.py")])

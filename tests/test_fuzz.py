"""Every fuzz target holds for its seeds, for its regressions, and for some random inputs."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).parent.parent / "fuzz"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.py"))
INPUTS = [
    pytest.param(target, path, id=f"{kind}/{target}/{path.name}")
    for target in TARGETS
    for kind in ("corpus", "regressions")
    for path in sorted((FUZZ / kind / target).glob("[!.]*"))
]


def check_of(target: str) -> Callable[[bytes], None]:
    check: Callable[[bytes], None] = importlib.import_module(f"fuzz.fuzz_{target}").check
    return check


def test_there_are_targets() -> None:
    assert {"stream", "datagram", "limiter"} <= set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_target_has_seeds(target: str) -> None:
    assert any((FUZZ / "corpus" / target).glob("[!.]*")), "write a seed into fuzz/corpus"


def test_every_seed_belongs_to_a_target() -> None:
    for kind in ("corpus", "regressions"):
        assert {path.name for path in (FUZZ / kind).iterdir()} <= set(TARGETS)


@pytest.mark.parametrize(("target", "path"), INPUTS)
def test_seeds_and_regressions(target: str, path: Path) -> None:
    check_of(target)(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_anything(target: str) -> None:
    check = check_of(target)

    @settings(max_examples=60)
    @given(st.binary(max_size=200))
    def holds(data: bytes) -> None:
        check(data)

    holds()


@pytest.mark.parametrize("target", TARGETS)
def test_invariant_is_stated_first(target: str) -> None:
    documentation = importlib.import_module(f"fuzz.fuzz_{target}").__doc__
    assert documentation
    assert documentation.splitlines()[0].endswith(".")


def test_targets_need_neither_fuzzer_nor_trio() -> None:
    code = (
        "import sys, importlib\n"
        f"for name in {TARGETS!r}: importlib.import_module('fuzz.fuzz_' + name)\n"
        "assert not {'atheris', 'trio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FUZZ.parent)


def run(*arguments: str, prelude: str = "") -> "subprocess.CompletedProcess[str]":
    code = (
        f"{prelude}import runpy, sys; runpy.run_path({str(FUZZ / 'run.py')!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_runner_without_fuzzer_says_what_to_do() -> None:
    missing = "import importlib.util; importlib.util.find_spec = lambda name: None\n"
    result = run(prelude=missing)
    assert (result.returncode, result.stdout) == (69, "")
    assert result.stderr == (
        "atheris is missing; run `make fuzz`, or install it with: pip install -e '.[fuzz]'\n"
    )


def test_runner_knows_its_targets() -> None:
    result = run("nonsense")
    assert result.returncode == 2
    assert "no such target: nonsense; there are " in result.stderr

"""In strict mode a skip fails, unless its reason is one of the few that are allowed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = """
import pytest

@pytest.mark.skip(reason="gdb is not installed")
def test_marked(): ...

def test_called():
    pytest.skip("only root can be another user")

@pytest.fixture
def nothing():
    pytest.skip("no IPv6 here")

def test_with_a_fixture(nothing): ...

@pytest.mark.parametrize("value", [])
def test_of_nothing(value): ...

def test_allowed():
    pytest.skip("no MPTCP here: Protocol not available")

@pytest.mark.xfail
def test_expected_to_fail():
    assert False

def test_that_passes(): ...
"""


def outcomes(directory: Path, text: str, *, strict: bool) -> tuple[int, str]:
    """Run these tests under our conftest.py. Return the exit code and the last line."""
    shutil.copy(Path(__file__).parent / "conftest.py", directory)
    (directory / "test_examples.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "."],
        cwd=directory, capture_output=True, text=True, check=False,
        env={**os.environ, "MAILBELL_STRICT": "1" if strict else "0"},
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines()[-1].partition(" in ")[0]


def test_a_skip_is_a_failure_in_strict_mode_only(tmp_path: Path) -> None:
    assert outcomes(tmp_path, EXAMPLES, strict=False) == (0, "1 passed, 5 skipped, 1 xfailed")
    code, summary = outcomes(tmp_path, EXAMPLES, strict=True)
    assert code == pytest.ExitCode.TESTS_FAILED
    # A failure before the test begins is an "error".
    assert summary == "1 failed, 1 passed, 1 skipped, 1 xfailed, 3 errors"


def test_a_file_that_skips_itself_is_one_too(tmp_path: Path) -> None:
    text = 'import pytest\npytest.skip("this kernel is odd", allow_module_level=True)\n'
    code, summary = outcomes(tmp_path, text, strict=True)
    assert code == pytest.ExitCode.INTERRUPTED
    assert "error" in summary

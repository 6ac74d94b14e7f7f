"""Programs of the system: their time and their output are bounded, and they end."""

import os
import time

import pytest

from mailbell.core.errors import OperatingSystemError
from mailbell.installation import _programs
from mailbell.installation._programs import PATH, Ended, find, run, run_or_fail


def test_it_has_neither_input_nor_the_environment_of_the_caller() -> None:
    os.environ["MAILBELL_TEST"] = "1"
    try:
        done = run("env")
    finally:
        del os.environ["MAILBELL_TEST"]
    assert done.code == 0
    assert {line for line in done.said.splitlines() if not line.startswith(("PWD=", "_="))} == {
        f"PATH={PATH}",
        "LC_ALL=C",
    }
    assert run("cat") == Ended(0, "")
    assert "HOME=/" in run("env", environ={"HOME": "/"}).said
    assert run("pwd").said == "/\n"


def test_only_the_systems_folders_are_searched() -> None:
    assert find("sh") in {"/usr/bin/sh", "/bin/sh"}
    assert find("no-such-program") is None
    assert run("no-such-program").code == 127
    assert "/usr/local" not in PATH


def test_both_streams_and_the_code_are_told() -> None:
    done = run("sh", "-c", "echo a; echo b >&2; exit 3")
    assert done == Ended(3, "a\nb\n")
    assert done.why == "b"
    assert run("false").why == "exit code 1"
    assert Ended(1, "x\x1b[0m\n\n").why == "x\\x1b[0m"


def test_output_without_end_is_read_and_thrown_away() -> None:
    done = run("sh", "-c", f"head -c {1 << 20} /dev/zero; exit 4")
    assert (done.code, len(done.said)) == (4, 1 << 16)


@pytest.mark.parametrize(
    "script", ["sleep 1000", "sleep 1000 & exec >&- 2>&-; wait", "trap '' TERM; sleep 1000"]
)
def test_one_that_does_not_end_is_killed(script: str) -> None:
    begun = time.monotonic()
    done = run("sh", "-c", script, patience=0.2)
    assert done.code == 124
    assert done.why == "no end within 0.2 s"
    assert time.monotonic() - begun < 30


def test_one_that_must_succeed() -> None:
    assert run_or_fail("echo", "x", remedy="y") == "x\n"
    with pytest.raises(OperatingSystemError) as caught:
        run_or_fail("sh", "-c", "echo no; exit 1", remedy="do that")
    assert str(caught.value) == "sh failed: no; do that"


def test_a_file_that_is_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_programs, "find", lambda _: "/etc/passwd")
    assert run("x").code == 126

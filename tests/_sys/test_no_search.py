"""The daemon runs no program, not even while its libraries are imported."""

import subprocess
import sys

import pytest

# Python's own word for it (PEP 578); raised, it ends the import.
STARTS = """
import sys
STARTED = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec"}
def hook(event, arguments):
    if event in STARTED:
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(hook)
"""


def said(statement: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", STARTS + statement], check=False, capture_output=True, text=True
    )
    return done.stderr


def test_the_daemon_is_imported_without_starting_a_program() -> None:
    assert said("import mailbell.cli.mailbelld") == ""


@pytest.mark.parametrize("name", ["pthread", "c", "seccomp", "no-such-library"])
def test_nothing_is_searched_any_more(name: str) -> None:
    search = f"import ctypes.util; ctypes.util.find_library({name!r})"
    assert said(f"from mailbell._sys import no_search; {search}") == ""
    assert "subprocess.Popen" in said(search), "else there is nothing to forbid"

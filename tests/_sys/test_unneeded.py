"""The modules that the daemon leaves out, and no others. Each test has a fresh interpreter.

tests/system/test_loaded.py lists what the daemon itself has loaded.
"""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from mailbell._sys.unneeded import EMPTY

LEAVE_OUT = "from mailbell._sys.unneeded import replace_unneeded; replace_unneeded()"
USES = "import ctypes.util, ssl, subprocess; ssl.SSLContext, subprocess.Popen, ctypes.util.test"

# Python's audit event of an import (PEP 578). An exception in its hook ends the import.
STARTS = """
import sys
STARTED = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec"}
def hook(event, arguments):
    if event in STARTED:
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(hook)
"""


def said(statement: str) -> str:
    """Return the last line of a program's standard error."""
    done = subprocess.run(
        [sys.executable, "-c", statement], check=False, capture_output=True, text=True
    )
    return (done.stderr.splitlines() or [""])[-1]


@pytest.mark.parametrize("name", EMPTY)
def test_it_can_be_imported_and_has_nothing(name: str) -> None:
    answer = said(f"{LEAVE_OUT}; import {name}; {name}.anything")
    assert answer.startswith("AttributeError: ")
    assert said(f"{LEAVE_OUT}; from {name} import anything").startswith("ImportError: ")


# One of these modules may not be installed, and older versions of Python or of dnspython do not
# ask for others.
SINCE = {
    "sysconfig": sys.version_info >= (3, 14),
    "importlib.metadata": find_spec("dns._features") is not None,
}
LOADED = [name for name in EMPTY if find_spec(name) and SINCE.get(name, True)]


@pytest.mark.parametrize("name", LOADED)
def test_a_library_would_load_it(name: str) -> None:
    libraries = "dns.name, msgspec, sys, trio"
    assert said(f"import {libraries}; sys.exit(sys.modules[{name!r}].__name__)") == name


def test_what_is_loaded_already_stays() -> None:
    assert said(f"{USES}; {LEAVE_OUT}; {USES}") == ""
    assert said(f"{LEAVE_OUT}; {USES}") != ""


@pytest.mark.parametrize("door", ["mailbell.cli.mailbelld", "mailbell._sys.unneeded"])
def test_who_imports_the_door_loses_nothing(door: str) -> None:
    assert said(f"import {door}; {USES}") == ""


def test_the_daemon_is_imported_without_starting_a_program() -> None:
    assert said(f"{STARTS}\n{LEAVE_OUT}; import mailbell.listener.daemon") == ""


@pytest.mark.parametrize("before", ["", "import ctypes.util"], ids=["", "loaded already"])
@pytest.mark.parametrize("name", ["pthread", "c", "seccomp", "no-such-library"])
def test_nothing_is_searched_any_more(name: str, before: str) -> None:
    search = f"import ctypes.util; ctypes.util.find_library({name!r})"
    assert said(f"{STARTS}\n{before}\n{LEAVE_OUT}; {search}") == ""
    assert "subprocess.Popen" in said(STARTS + search), "else there is nothing to forbid"

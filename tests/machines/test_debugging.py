"""CPython 3.14 executes a file for whoever may write its memory (PEP 768). The units forbid it."""

import pytest
from machines.claim import claim
from machines.guest import Guest
from machines.mail_server import UNIT, Sender
from machines.service import SERVICE, running, status

FILE = "/run/for-the-debugger.py"
SCRIPT = "/run/debugger.py"
DONE = "/run/the-debugger-was-here"
SAID = "root makes no service execute a file through CPython 3.14's way in for debuggers"
VARIABLE = "PYTHON_DISABLE_REMOTE_DEBUG=1"
TURNED_OFF = 3  # the exit code of what follows
ASK = f"""\
import sys
try:
    sys.remote_exec(int(sys.argv[1]), "{FILE}")
except RuntimeError as error:
    print(error)
    sys.exit({TURNED_OFF} if "not enabled" in str(error) else 4)
"""
OTHER = "import time\nwhile True: time.sleep(0.1)"


def ask(pid: int) -> str:
    """Return the command by which root asks the interpreter of a process to execute the file."""
    return f"/opt/mailbell/bin/python3 {SCRIPT} {pid}"


@pytest.fixture
def debugger(guest: Guest) -> Guest:
    """The machine with a file to execute, which another interpreter of root's has executed."""
    if guest.ran("python3 -c 'import sys; sys.remote_exec'").returncode:
        pytest.skip("this Python has no remote debugging")
    guest.write(FILE, f"open('{DONE}', 'w').close()\n")
    guest.write(SCRIPT, ASK)
    python = "systemd-run --quiet --collect --unit=debugged /opt/mailbell/bin/python3"
    guest.run(f"rm -f {DONE}; {python} -c '{OTHER}'")
    try:
        (pid,) = guest.processes("debugged")
        # It is asked again, because at first it may not have begun.
        guest.until(f"test -e {DONE} || {{ {ask(pid)}; false; }}")
    finally:
        guest.ran("systemctl stop debugged")
    guest.run(f"rm {DONE}")
    return guest


def refused(guest: Guest, pid: int) -> bool:
    """Return whether a service's interpreter takes no file, because of its unit's variable."""
    assert VARIABLE in guest.run(f"tr '\\0' '\\n' </proc/{pid}/environ").split()
    return guest.ran(ask(pid)).returncode == TURNED_OFF


@claim(SAID)
def test_mailbelld_takes_no_file(debugger: Guest) -> None:
    pid = running(debugger)
    assert refused(debugger, pid)
    assert status(debugger)
    assert debugger.processes(SERVICE) == [pid]
    assert debugger.ran(f"test -e {DONE}").returncode


@claim(SAID)
def test_the_sender_takes_no_file(debugger: Guest, sender: Sender) -> None:
    pid = sender.pid()
    assert refused(debugger, pid)
    before = sender.rings()
    sender.hook()
    sender.rang(before)
    assert debugger.processes(UNIT) == [pid]
    assert debugger.ran(f"test -e {DONE}").returncode

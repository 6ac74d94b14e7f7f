"""A kernel without Landlock: nothing starts, and each program says in one line why."""

import pytest
from machines.claim import claim
from machines.documents import commands
from machines.guest import Guest

REFUSED = 71  # EX_OSERR of sysexits.h(3)
WHY = "it needs Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK"
TRACE = "/root/trace"
DAEMONS = ("mailbelld", "mailbell-sender")
INSTALLED = {"mailbelld": "sysusers.d/mailbell.conf", "mailbell-sender": "mailbell-sender.conf"}


@pytest.fixture(scope="session")
def refusing(program: Guest) -> Guest:
    """The machine with both services, as docs/service.md installs them; neither can start."""
    for containing in INSTALLED.values():
        *lines, start = commands("docs/service.md", containing)
        program.run("set -e\n" + "\n".join(lines))
        assert program.ran(start).returncode
    return program


@claim("a kernel before 5.13 is refused in one line, with code 71, before a connection is accepted")
@pytest.mark.parametrize(
    "command",
    [
        "mailbelld",
        "/opt/mailbell/bin/mailbell-sender",
        "mailbell check",
        "mailbell sender check",
    ],
)
def test_a_program_refuses(refusing: Guest, command: str) -> None:
    # The service manager tries again and again, and holds the sockets meanwhile.
    refusing.run("systemctl stop 'mailbell*'")
    done = refusing.ran(f"strace -f -o {TRACE} -e trace=/^accept {command}")
    assert done.returncode == REFUSED
    # A finding is broken where the screen ends.
    assert " ".join(done.stdout.split()).count(WHY) == 1
    assert "the kernel offers no Landlock" in done.stdout
    if "check" not in command:
        assert len(done.stdout.splitlines()) == 1
    # Its sockets end with the process, and who called them was never answered. A look afterwards
    # would find nothing.
    trace = refusing.run(f"cat {TRACE}")
    assert "+++ exited with 71 +++" in trace
    assert "accept" not in trace


@claim("on a kernel before 5.13 the log of each service says why it does not run")
@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_service_says_why(refusing: Guest, daemon: str) -> None:
    refusing.ran(f"systemctl start {daemon}.service")
    refusing.until(f"test $(systemctl show -P ExecMainStatus {daemon}.service) = {REFUSED}")
    assert refusing.property(f"{daemon}.service", "ActiveState") != "active"
    assert f"{daemon}: the kernel offers no Landlock" in refusing.journal(daemon)
    assert WHY in refusing.journal(daemon)
    assert "event=listening" not in refusing.journal(daemon)

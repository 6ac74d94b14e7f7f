"""mailbell is there, and none of its services: `mailbell check` names what is missing."""

import pytest
from machines.claim import claim
from machines.guest import USER, Guest

OWN_ALONE = "cannot be used by this user: the socket will be its own alone"
CONFIGURATION = 78  # EX_CONFIG of sysexits.h(3)
MISSING = {
    "check": (
        "FAIL listen.user: there is no user 'mailbell'",
        "FAIL socket.group: there is no group 'mailbell'",
        "FAIL the socket directory /run/mailbell does not exist",
    ),
    "sender check": (
        "warn no account has a target: whatever the mail server says, nobody is rung",
        "FAIL listen.user: there is no user 'mailbell-sender'",
        "FAIL listen.group: there is no group 'mailbell-sender'",
        "FAIL the socket directory /run/mailbell-sender does not exist",
    ),
}
# An ordinary user cannot make all of this, and a daemon of this user needs less.
MISSING_FOR_USER = {
    "check": (
        "FAIL as this user: no permission to bind port 79 of 0.0.0.0",
        "FAIL as this user: no permission to bind port 79 of ::",
        "warn listen.user: there is no user 'mailbell'",
        f"warn the group mailbell {OWN_ALONE}",
        "FAIL the socket directory /run/mailbell does not exist",
    ),
    "sender check": (
        "warn no account has a target: whatever the mail server says, nobody is rung",
        "warn listen.user: there is no user 'mailbell-sender'",
        f"warn the group mailbell-sender {OWN_ALONE}",
        "FAIL the socket directory /run/mailbell-sender does not exist",
        "warn store.url: this user may not write to /var/lib: logins are kept in memory only",
    ),
}


@claim("before the installation check names all that is missing, in one line each with a remedy")
@pytest.mark.parametrize("command", MISSING)
@pytest.mark.parametrize("user", ["root", USER])
def test_what_is_missing_is_named(program: Guest, command: str, user: str) -> None:
    assert "mailbell" not in program.run("ls /etc/systemd/system"), "another claim came first"
    done = program.ran(f"/opt/mailbell/bin/mailbell {command}", user=user)
    lines = done.stdout.splitlines()
    problems = [line for line in lines if line.startswith(("FAIL", "warn"))]
    assert tuple(problems) == (MISSING if user == "root" else MISSING_FOR_USER)[command]
    assert sum(line.startswith("      -> ") for line in lines) == len(problems)
    assert done.returncode == CONFIGURATION

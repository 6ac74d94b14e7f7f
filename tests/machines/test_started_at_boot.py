"""The machine is started anew: what is installed in it runs again, without anybody."""

import pytest
from machines.claim import claim
from machines.guest import USER, Guest
from machines.mail_server import UNIT as SENDER
from machines.mail_server import Sender
from machines.person import UNIT as AGENT
from machines.person import Agent

LOGIN = "10.0.2.2"  # an address that the network of the machine has


@pytest.fixture(scope="module")
def started(lingering: Agent, sender: Sender) -> Guest:
    """The machine, started anew. Before that, joe looked for mail from an address."""
    guest = lingering.guest
    guest.run(f"USER=joe IP={LOGIN} mailbell-hook --login </dev/null", user=USER)
    guest.until(f"mailbell sender test joe | grep -F {LOGIN}")
    lingering.forget()
    guest.reboot()
    guest.wait_for_boot()
    return guest


def logins(guest: Guest) -> list[str]:
    """Return the lines of this boot about a login of the ordinary user by ssh."""
    log = guest.run("journalctl --sync; journalctl --no-pager -b -o short").splitlines()
    return [line for line in log if "sshd" in line and f"session opened for user {USER}" in line]


@claim("mailbell-sender starts at boot, in the time of its unit")
def test_the_sender_starts(started: Guest) -> None:
    started.until(f"systemctl is-active {SENDER}")
    assert started.property(SENDER, "NRestarts") == "0"


@claim("mailbell-sender knows after a boot who has looked for mail from where")
def test_the_sender_knows(started: Guest, sender: Sender) -> None:
    started.until(f"systemctl is-active {SENDER}")
    assert f"{LOGIN}:79 (a login" in started.ran("mailbell sender test joe").stdout


@claim("the agent of a user who lingers starts at boot, before any login")
def test_the_agent_starts(started: Guest, lingering: Agent) -> None:
    # It looks because it starts, and because mailbelld is another one: that is one run.
    lingering.ran(r"\(start\|resync\)")
    started.until(f"journalctl --no-pager -b _SYSTEMD_USER_UNIT={AGENT} | grep event=listening")
    assert not logins(started)
    started.run("true", user=USER)
    assert logins(started)  # so this finds them

"""What `mailbell install` does on a kernel that has AppArmor, and that `uninstall` undoes it."""

from collections.abc import Iterator

import pytest
from machines.claim import claim
from machines.guest import USER, Guest
from machines.service import running, subscribed

MAILBELL = "/opt/mailbell/bin/mailbell"
UNITS = {"listener": "mailbelld.service", "sender": "mailbell-sender.service"}
# What a package of Debian's, or a person, could have put there too.
PLACES = (
    "/etc/systemd/system /etc/sysusers.d /etc/tmpfiles.d /etc/apparmor.d /usr/local/bin"
    " /run /var/lib /etc/passwd /etc/group"
)
PROFILES = "/sys/kernel/security/apparmor/profiles"


@pytest.fixture(scope="module")
def installed(program: Guest) -> Iterator[Guest]:
    """The machine with both services, each installed with one command."""
    # The command makes these links too, and removes them.
    links = program.run(
        "cd /usr/local/bin && ls mailbell mailbelld && rm mailbell mailbelld"
    ).split()
    for service in UNITS:
        program.run(f"{MAILBELL} install --{service} --user {USER}")
    yield program
    program.run(f"{MAILBELL} uninstall")
    program.run(f"cd /usr/local/bin && ln -s {' '.join(f'/opt/mailbell/bin/{x}' for x in links)} .")


@claim("`mailbell install` sets up mailbelld with one command, and a ring is heard")
def test_one_command(installed: Guest) -> None:
    status = installed.run(f"cat /proc/{running(installed)}/status")
    assert "\nSeccomp:\t2\n" in status
    with subscribed(installed) as heard:
        installed.run("mailbell send 127.0.0.1")
        heard.wait_for(cause="network", transport="tcp", source="127.0.0.1")
    installed.run("mailbell status", user=USER)


@claim("AppArmor confines what `mailbell install` has set up, and check says so", smoke=True)
@pytest.mark.parametrize("service", UNITS)
def test_apparmor(installed: Guest, service: str) -> None:
    name = UNITS[service].removesuffix(".service")
    pid = max(int(installed.property(UNITS[service], "MainPID")), 1)
    mode = installed.run(f"cat /proc/{pid}/attr/apparmor/current").strip()
    assert mode == f"{name} (enforce)"
    check = "check" if service == "listener" else "sender check"
    says = f"ok   AppArmor enforces the profile {name} on {UNITS[service]}"
    assert says in installed.ran(f"mailbell {check}").stdout


@claim("`mailbell uninstall` leaves no file, no user and no profile in the kernel")
def test_undone(installed: Guest) -> None:
    traces = (
        f"find {PLACES} -name '*mailbell*' ! -path '/run/*/*' 2>/dev/null;"
        " grep mailbell /etc/passwd /etc/group"
    )
    loaded = f"grep -c mailbell {PROFILES}"
    assert "/etc/systemd/system/mailbelld.service" in installed.ran(traces).stdout
    assert installed.ran(loaded).stdout.strip() == "2"
    installed.run(f"{MAILBELL} uninstall")
    assert installed.ran(traces).stdout == ""
    assert installed.ran(loaded).stdout.strip() == "0"

"""AppArmor of a real kernel enforces the profiles, and denies nothing that the services do."""

from collections.abc import Iterator

import pytest
from machines.claim import claim
from machines.documents import commands
from machines.guest import Guest
from machines.mail_server import CONFIGURATION, FILE, Sender
from machines.person import without_agents
from machines.service import running, running_anew, subscribed

NAMES = ("mailbelld", "mailbell-sender")
POLICY = "/opt/mailbell/lib/python3*/site-packages/mailbell/policy"
NOT_CONFINED = 231  # systemd.exec(5): EXIT_APPARMOR_PROFILE

# The lines that stand in the unit, for the two further sockets of the sender.
INPUTS = """\
[Service]
SocketBindAllow=udp:5512
SystemCallFilter=bind
RuntimeDirectory=mailbell-cyrus
SystemCallFilter=bind chmod chown getxattr removexattr
"""
# A target with a name has the resolver as a companion, and the socket of Cyrus a reader.
WITH_COMPANIONS = """\
[listen]
trusted = ["root"]
comsat = ["127.0.0.1:5512"]
cyrus = "/run/mailbell-cyrus/notify"
[last_used]
allow = ["127.0.0.0/8"]
[send]
interval = "1s"
[[account]]
name = "joe"
targets = ["127.0.0.1", "machine:79", "no-such-name.example.net", "last-used"]
"""
DATAGRAMS = """\
import socket
cyrus = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
cyrus.sendto(b"MAIL\\0INBOX\\0joe\\0INBOX\\0\\0\\0\\0x\\0", "/run/mailbell-cyrus/notify")
biff = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
biff.sendto(b"joe@0\\n", ("127.0.0.1", 5512))
"""

# Each attempt prints its name if it succeeds. The last one replaces the process.
ATTEMPTS = """\
import os, subprocess
def read(path):
    with open(path, "rb") as file:
        file.read(1)
def write(path):
    with open(path, "wb"):
        pass
    os.unlink(path)
attempts = {
    "configuration": lambda: read("/etc/mailbell/some"),
    "passwords": lambda: read("/etc/shadow"),
    "memory": lambda: read("/proc/1/environ"),
    "file": lambda: write("/etc/mailbell/new"),
    "temporary": lambda: write("/tmp/new"),
    "child": lambda: subprocess.run(["/bin/true"], check=True),
    "user": lambda: os.setgroups([0]),
    "execution": lambda: os.execv("/bin/echo", ["echo", "execution"]),
}
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError as error:
        continue
    print(name, flush=True)
"""
ALL = ["configuration", "passwords", "memory", "file", "temporary", "child", "user", "execution"]


def under(guest: Guest, name: str) -> str:
    """Return the profile and the mode of the running service."""
    pid = guest.property(f"{name}.service", "MainPID")
    return guest.run(f"cat /proc/{pid}/attr/apparmor/current").strip()


def denied(guest: Guest, mark: str) -> list[str]:
    """Return what AppArmor has denied to mailbell since a mark, or to systemd on its behalf."""
    return [line for line in guest.denials(mark) if "mailbell" in line]


def require_records(guest: Guest, name: str) -> None:
    """Show that a denial under a profile would be found: a program under it reads a password."""
    mark = guest.kernel_mark()
    assert guest.ran(f"aa-exec -p {name} -- cat /etc/shadow").returncode
    assert any(f'profile="{name}"' in line for line in denied(guest, mark))


@pytest.fixture(scope="module")
def recorded(guest: Guest, sender: Sender) -> Iterator[Guest]:
    """The machine with both services; its kernel leaves out no record."""
    assert sender.guest is guest
    before = guest.run("sysctl -n kernel.printk_ratelimit").strip()
    guest.run("sysctl -q kernel.printk_ratelimit=0")
    with without_agents(guest):  # whose calls would start mailbelld
        yield guest
    guest.run(f"sysctl -q kernel.printk_ratelimit={before}")


@pytest.fixture(scope="module")
def enforced(recorded: Guest) -> Iterator[Guest]:
    """The machine with both profiles, as docs/service.md installs them."""
    for name in NAMES:
        steps = "\n".join(commands("docs/service.md", "apparmor_parser --replace"))
        recorded.run(f"set -e\ncd {POLICY}\n{steps.replace('mailbelld', name)}")
    yield recorded
    for name in NAMES:
        recorded.run(
            f"rm /etc/systemd/system/{name}.service.d/apparmor.conf; systemctl daemon-reload;"
            f" systemctl restart {name}.service; apparmor_parser --remove /etc/apparmor.d/{name};"
            f" rm /etc/apparmor.d/{name}"  # or the next boot would load it
        )


@claim("with its AppArmor profile not loaded a service starts, and the kernel logs no denial")
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_logged_without_the_profile(recorded: Guest, name: str) -> None:
    mark = recorded.kernel_mark()
    recorded.run(f"systemctl restart {name}.service")
    assert under(recorded, name) == "unconfined"
    assert denied(recorded, mark) == []


@claim("AppArmor enforces the profile of mailbelld, and denies nothing that it does", smoke=True)
def test_mailbelld_does_all_it_does_under_its_profile(enforced: Guest) -> None:
    """It starts, is rung in each way, tells a subscriber and its status, is killed, and ends."""
    require_records(enforced, "mailbelld")
    mark = enforced.kernel_mark()
    enforced.run("systemctl stop mailbelld.service mailbelld.socket mailbelld-local.socket")
    enforced.run("systemctl start mailbelld-udp.socket")
    enforced.run("systemctl start mailbelld.service")
    assert under(enforced, "mailbelld") == "mailbelld (enforce)"
    with subscribed(enforced) as heard:
        for address, option, transport in (
            ("127.0.0.1", "", "tcp"), ("::1", "", "tcp"), ("127.0.0.1", "--udp", "udp")
        ):  # fmt: skip
            enforced.run(f"mailbell send {option} {address}")
            heard.wait_for(cause="network", transport=transport, source=address)
    enforced.run("printf 'garbage\\r\\n' | nc -N 127.0.0.1 79; mailbell status")
    before = running(enforced)
    enforced.run("systemctl restart mailbelld.service; mailbell notify")
    before = running_anew(enforced, before)
    enforced.run("systemctl kill --signal KILL mailbelld.service; mailbell send 127.0.0.1")
    running_anew(enforced, before)
    assert under(enforced, "mailbelld") == "mailbelld (enforce)"
    enforced.run("systemctl stop mailbelld.service mailbelld-udp.socket")
    enforced.run("systemctl start mailbelld.service")
    assert denied(enforced, mark) == []


@claim("AppArmor enforces the profile of mailbell-sender, and denies nothing that it does")
def test_the_sender_does_all_it_does_under_its_profile(enforced: Guest, sender: Sender) -> None:
    """It keeps its address book, runs both companions, takes all inputs and calls all targets."""
    require_records(enforced, "mailbell-sender")
    mark = enforced.kernel_mark()
    drop_in = "/etc/systemd/system/mailbell-sender.service.d/inputs.conf"
    enforced.write(drop_in, INPUTS)
    enforced.run("systemctl daemon-reload")
    try:
        sender.configure(WITH_COMPANIONS)
        assert under(enforced, "mailbell-sender") == "mailbell-sender (enforce)"
        assert "event=companion program=mailbell-resolver" in sender.log()
        assert "event=companion program=mailbell-cyrus" in sender.log()
        rings = sender.rings()
        sender.hook()
        sender.rang(rings)
        enforced.run("mailbell sender ring joe; mailbell sender status")
        enforced.run("python3 -", stdin=DATAGRAMS)
        enforced.ran("mailbell sender test joe")
        enforced.until("journalctl -b -u mailbell-sender | grep -q 'event=sent.*machine:79'")
        enforced.run("systemctl restart mailbell-sender.service; mailbell sender ring joe")
        enforced.run("systemctl kill --signal KILL mailbell-sender.service")
        enforced.until("mailbell sender status")
        enforced.run("systemctl stop mailbell-sender.service")
        assert enforced.run("ls /var/lib/mailbell-sender/state.db")
        assert denied(enforced, mark) == []
    finally:
        enforced.run(f"rm {drop_in}; systemctl daemon-reload")
        enforced.write(FILE, CONFIGURATION)
        enforced.run("systemctl restart mailbell-sender.service")


@claim("a process under each AppArmor profile reads no password, writes nothing, executes nothing")
@pytest.mark.parametrize("name", NAMES)
def test_an_intruder_is_refused(enforced: Guest, name: str) -> None:
    enforced.write("/etc/mailbell/some", "x")
    python = "/opt/mailbell/bin/python3 -I -"
    assert enforced.run(python, stdin=ATTEMPTS).split() == ALL  # the counter-test
    mark = enforced.kernel_mark()
    said = enforced.run(f"aa-exec -p {name} -- {python}", stdin=ATTEMPTS)
    assert said.split() == ["configuration"]
    assert any(f'profile="{name}" name="/etc/shadow"' in line for line in denied(enforced, mark))
    enforced.run("rm /etc/mailbell/some")


@claim("a service that asks for its AppArmor profile does not start without it, and check says so")
@pytest.mark.parametrize(("name", "check"), [("mailbelld", "check"),
                                             ("mailbell-sender", "sender check")])  # fmt: skip
def test_it_does_not_start_unconfined(enforced: Guest, name: str, check: str) -> None:
    enforced.run(f"systemctl start {name}.service")
    said = enforced.run(f"mailbell {check}")
    assert f"ok   AppArmor enforces the profile {name} on {name}.service\n" in said
    enforced.run(f"apparmor_parser --remove /etc/apparmor.d/{name}")
    try:
        assert enforced.ran(f"systemctl restart {name}.service").returncode
        assert int(enforced.property(f"{name}.service", "ExecMainStatus")) == NOT_CONFINED
        enforced.run(f"systemctl stop {name}.service")  # it is tried again every five seconds
        done = enforced.ran(f"mailbell {check}")
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
        what = f"AppArmor has no profile {name}, and {name}.service does not start without it"
        assert failed == [f"FAIL {what}"]
        assert done.returncode == 71
    finally:
        enforced.run(f"apparmor_parser --replace /etc/apparmor.d/{name}")
        enforced.run(f"systemctl restart {name}.service")

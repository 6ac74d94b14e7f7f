"""Debian's packages in a clean Debian 13: they serve, are upgraded, and leave nothing behind.

How they are built, and what is in them, is in test_debian_build.py.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from machines.processes import run
from packages.conftest import Boot
from packages.debs import ROOT, SUITE, furniture
from packages.snapshot import BOOTED, PACKAGES, Snapshot, differences, snapshot
from packages.system import System

from mailbell import __version__
from mailbell.installation.service_files import marked, placed

INSTALL: Final = "dpkg --install /root/packages/*.deb"
ALL: Final = "mailbell mailbell-sender python3-mailbell"
SERVICES: Final = ("mailbelld", "mailbell-sender")
ADD_ON: Final = "/usr/share/mozilla/extensions/{3550f703-e582-4d05-9a08-453d09bdfdc6}"
OLD: Final = "0.0.1"
POLICY: Final = ROOT / "policy"

UNLIMITED: Final = """
[limits]
rate = "100000/s"
total_rate = "100000/s"
burst = 100000
"""

# Rings until its standard input ends. mailbelld closes a connection when it has read the line. A
# connection that is closed before that is reset, because there is something to read in it. Prints
# how many were served.
RINGER: Final = """
import select, socket, subprocess, sys
served, lost, hooks = 0, [], 0
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        with socket.create_connection(("127.0.0.1", 79), 60) as ring:
            ring.sendall(b"nm_notifyuser\\r\\n")
            rest = ring.recv(1)
        assert rest == b"", rest
    except Exception as error:
        lost.append(f"{served}: {error!r}")
    served += 1
    if served % 100 == 1:
        hooks += 1
        subprocess.run(["mailbell-hook", "--account=joe"], check=True)
    if served == 20:
        print("begun", flush=True)
print(served, hooks, lost)
"""


@pytest.fixture
def machine(boot: Boot, debs: list[Path]) -> System:
    """A Debian that has what the packages depend on, and the packages as files."""
    system = boot(SUITE, *furniture(debs))
    for each in debs:
        system.put(each, "/root/packages")
    return system


@pytest.fixture
def earlier(debs: list[Path], tmp_path: Path) -> Path:
    """A folder with the packages of an earlier version."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    for number, each in enumerate(debs):
        tree = tmp_path / str(number)
        run("dpkg-deb", "--raw-extract", each, tree)
        control = tree / "DEBIAN" / "control"
        control.write_text(control.read_text().replace(__version__, OLD))
        for code in tree.glob("usr/lib/python3/dist-packages/mailbell/__init__.py"):
            code.write_text(code.read_text().replace(f'"{__version__}"', f'"{OLD}"'))
        run("dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, folder)
        shutil.rmtree(tree)
    return folder


def state(machine: System) -> Snapshot:
    return snapshot(machine.path("/"), BOOTED, PACKAGES)


def active(machine: System) -> dict[str, str]:
    return {name: machine.shows(name)["ActiveState"] for name in SERVICES}


def test_the_services_serve_once_they_are_installed(machine: System) -> None:
    machine.run(INSTALL)
    assert set(active(machine).values()) == {"active"}
    assert {machine.shows(name)["UnitFileState"] for name in SERVICES} == {"enabled"}
    assert machine.shows("mailbelld-udp.socket")["ActiveState"] == "inactive"
    machine.run("mailbell check && mailbell sender check")
    machine.run("mailbell send 127.0.0.1")
    assert '"accepted":1' in machine.run("mailbell status --json").replace(" ", "")
    # A unit that systemd reads with a warning would show it here.
    assert machine.run("systemd-analyze verify mailbelld.service mailbell-sender.service") == ""


def switch_udp_on(machine: System) -> None:
    """Do what the comment at the top of the unit says."""
    machine.run("systemctl enable mailbelld-udp.socket")
    machine.run("systemctl stop mailbelld.service mailbelld.socket mailbelld-local.socket")
    machine.run("systemctl start mailbelld-udp.socket mailbelld.service")


def use(machine: System, person: str) -> None:
    """Leave traces, as people do who use what is installed."""
    machine.run(f"usermod --append --groups mailbell,mailbell-sender {person}")
    machine.write("/etc/mailbell/mailbelld.toml", "unmatched = 'all'\n")
    machine.write("/etc/mailbell/sender.toml", "[default]\ntargets = ['last-used']\n")
    switch_udp_on(machine)
    machine.run("systemctl restart mailbell-sender.service")
    machine.run("mailbell install --thunderbird")
    # What the scripts of the packages run is not this one.
    machine.write("/usr/local/bin/mailbell", "#!/bin/sh\nexit 1\n", 0o755)
    machine.run("mailbell-hook --account=root && /usr/bin/mailbell send 127.0.0.1")
    machine.run("/usr/bin/mailbell --help && /usr/bin/mailbell clients", user=person)


def test_a_removal_keeps_the_configuration_and_a_purge_leaves_nothing(machine: System) -> None:
    person = machine.person()
    before = state(machine)
    machine.run(INSTALL)
    use(machine, person)
    assert differences(before, state(machine))

    machine.run(f"dpkg --remove {ALL}")
    assert set(active(machine).values()) == {"inactive"}
    assert not sockets(machine)
    assert not machine.path(ADD_ON).exists()
    assert machine.path("/etc/mailbell/mailbelld.toml").exists()
    assert machine.path("/var/lib/mailbell-sender/state.db").exists()
    assert "mailbell" in machine.run(f"id {person}")

    machine.run(f"dpkg --purge {ALL}; rm /usr/local/bin/mailbell")
    assert differences(before, state(machine)) == []


def test_a_removal_can_be_taken_back(machine: System) -> None:
    machine.run(INSTALL)
    machine.write("/etc/mailbell/mailbelld.toml", "unmatched = 'all'\n")
    machine.run(f"dpkg --remove {ALL}")
    machine.run(INSTALL)
    assert set(active(machine).values()) == {"active"}
    assert machine.path("/etc/mailbell/mailbelld.toml").exists()


def test_a_purge_of_one_package_leaves_the_other_one_at_work(machine: System) -> None:
    machine.run(INSTALL)
    machine.write("/etc/mailbell/sender.toml", "[default]\ntargets = ['last-used']\n")
    machine.run("dpkg --purge mailbell")
    assert active(machine) == {"mailbelld": "inactive", "mailbell-sender": "active"}
    assert machine.path("/etc/mailbell/sender.toml").exists()
    machine.run(
        "! getent passwd mailbell && getent passwd mailbell-sender && mailbell sender check"
    )


def test_an_upgrade_loses_no_ring(machine: System, earlier: Path) -> None:
    machine.put(earlier, "/root")
    before = state(machine)
    machine.run("dpkg --install /root/earlier/*.deb")
    assert OLD in machine.run("mailbell --version; mailbell status")
    machine.write("/etc/mailbell/mailbelld.toml", UNLIMITED)
    switch_udp_on(machine)
    kept = sockets(machine)
    assert set(kept) == {
        *(f"{kind} {address}:79" for kind in ("tcp", "udp") for address in ("0.0.0.0", "[::]")),
        *(
            f"u_str /run/mailbell{rest}"
            for rest in ("/mailbell.sock", "-sender/control", "-sender/hook")
        ),
    }
    processes = {machine.shows(name)["MainPID"] for name in SERVICES}
    with ringing(machine) as told:
        machine.run(INSTALL)
    served, hooks, lost = told.pop().split(maxsplit=2)
    assert lost == "[]"
    assert int(served) > 100
    assert int(hooks) > 1
    # A hook that fails says so in the log; it never fails a delivery.
    assert "mailbell-hook" not in machine.run("journalctl --no-pager --output=cat -t mailbell-hook")
    # Both services run with the new code, and with the sockets from before.
    assert __version__ in machine.run("mailbell status")
    assert set(active(machine).values()) == {"active"}
    assert processes.isdisjoint(machine.shows(name)["MainPID"] for name in SERVICES)
    assert sockets(machine) == kept
    machine.run(f"dpkg --purge {ALL}")
    assert differences(before, state(machine)) == []


def sockets(machine: System) -> dict[str, str]:
    """Return the number that the kernel gave each socket of the services, by kind and address."""
    said = machine.run("ss --listening --no-header --numeric --tcp --udp --unix --extended")
    found = {}
    for words in map(str.split, said.splitlines()):
        kind, address, number = words[0], words[4], words[5]
        if address.startswith("/run/mailbell") or address.endswith(":79"):
            (inode,) = [each for each in words if each.startswith("ino:")]
            found[f"{kind} {address}"] = number if kind == "u_str" else inode
    return found


def test_what_the_operator_has_stopped_stays_stopped(machine: System, earlier: Path) -> None:
    machine.put(earlier, "/root")
    machine.run("dpkg --install /root/earlier/*.deb")
    units = "mailbelld.service mailbelld.socket mailbelld-local.socket"
    machine.run(f"systemctl disable --now {units}")
    machine.run(INSTALL)
    assert active(machine) == {"mailbelld": "inactive", "mailbell-sender": "active"}
    assert machine.run(f"systemctl is-enabled {units} || true").split() == ["disabled"] * 3
    assert set(sockets(machine)) == {
        f"u_str /run/mailbell-sender/{name}" for name in ("control", "hook")
    }


def test_the_command_finds_the_services_of_the_packages(machine: System) -> None:
    """`mailbell install` lets persons in and starts what the operator has stopped."""
    person = machine.person()
    machine.run("dpkg --install /root/packages/python3-mailbell_*.deb")
    done = machine.ran("mailbell install")
    assert done.code
    assert "apt-get install mailbell" in done.said
    machine.run("dpkg --install /root/packages/mailbell-sender_*.deb")
    machine.run("systemctl disable --now mailbell-sender.service")
    machine.run(f"mailbell install --sender --user {person}")
    assert active(machine)["mailbell-sender"] == "active"
    machine.run("mailbell sender check", user=person)
    before = state(machine)
    assert "apt-get purge mailbell-sender" in machine.run("mailbell uninstall")
    assert differences(before, state(machine)) == []


def test_another_installation_is_not_hidden_behind_the_packages(machine: System) -> None:
    """Its units would be before those of the packages, and start what is not the packages'."""
    place = "/etc/systemd/system/mailbelld.service"
    text = (POLICY / "systemd" / "mailbelld.service").read_text()
    machine.write(place, marked(text))
    done = machine.ran(INSTALL)
    assert done.code
    assert "first run: /opt/mailbell/bin/mailbell uninstall" in done.said
    assert machine.path(place).read_text() == marked(text)
    assert not machine.path("/usr/bin/mailbelld").exists()
    # A unit that the operator has written is the operator's decision.
    machine.write(place, placed(text, programs="/usr/bin", code=["/usr"]))
    machine.run(INSTALL)
    assert active(machine)["mailbelld"] == "active"


@contextmanager
def ringing(machine: System) -> Iterator[list[str]]:
    """Ring during the block; the list then has the last line of the `RINGER`."""
    told: list[str] = []
    pipe = subprocess.PIPE
    ringer = machine.popen("python3", "-c", RINGER, stdin=pipe, stdout=pipe)
    assert ringer.stdin
    assert ringer.stdout
    assert ringer.stdout.readline() == b"begun\n"
    yield told
    rest, _ = ringer.communicate(timeout=60)
    told.append(rest.decode().strip())


def test_an_image_is_made_without_a_service_manager(machine: System) -> None:
    """What makes a container or a disk runs the packages' scripts, and no systemd."""
    machine.run(f"unshare --mount sh -euc 'mount -t tmpfs tmpfs /run/systemd && {INSTALL}'")
    machine.run("systemctl daemon-reload")
    assert set(active(machine).values()) == {"inactive"}
    assert {machine.shows(name)["UnitFileState"] for name in SERVICES} == {"enabled"}
    machine.run("systemctl start mailbelld mailbell-sender && mailbell check")


def test_a_port_that_is_held_fails_the_service_and_not_the_installation(machine: System) -> None:
    hold = "import socket, sys; s = socket.create_server(('0.0.0.0', 79)); print(flush=True)"
    holder = machine.popen(
        "python3", "-c", f"{hold}; sys.stdin.read()", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout
    assert holder.stdout.readline()
    machine.run(INSTALL)
    assert active(machine) == {"mailbelld": "inactive", "mailbell-sender": "active"}
    done = machine.ran("mailbell check")
    assert done.code
    assert "python3" in done.said
    holder.communicate()
    machine.run("systemctl start mailbelld && mailbell check")


# --- AppArmor: the kernel of the tests may have none, so its programs are played --------------

DROP_IN: Final = "/etc/systemd/system/mailbelld.service.d/apparmor.conf"
LOADED: Final = "/sys/kernel/security/apparmor/profiles"


def with_apparmor(machine: System, *, parser: int = 0, loaded: str = "mailbelld (enforce)") -> None:
    """Let AppArmor be on, with a parser that ends with a code, and with loaded profiles."""
    machine.write("/usr/bin/aa-enabled", "#!/bin/sh\nexit 0\n", 0o755)
    machine.write(
        "/usr/sbin/apparmor_parser",
        f'#!/bin/sh\necho "$@" >>/run/parsed\nexit {parser}\n',
        0o755,
    )
    machine.run("mountpoint -q /sys/kernel/security || mount -t tmpfs tmpfs /sys/kernel/security")
    machine.write(LOADED, f"{loaded}\n")


@pytest.mark.parametrize(
    ("parser", "loaded"),
    [(1, "mailbelld (enforce)"), (0, "other (enforce)")],
    ids=["fails", "lost"],
)
def test_no_service_asks_for_a_profile_that_cannot_be_loaded(
    machine: System, parser: int, loaded: str
) -> None:
    """A container of a machine with AppArmor: its programs say that it is on, and load nothing."""
    with_apparmor(machine, parser=parser, loaded=loaded)
    machine.run(INSTALL)
    assert not machine.path(DROP_IN).exists()
    assert active(machine)["mailbelld"] == "active"


def test_a_service_asks_for_its_profile_where_that_is_loaded(machine: System) -> None:
    before = state(machine)
    with_apparmor(machine)
    machine.run(INSTALL)
    assert machine.shows("mailbelld")["AppArmorProfile"] == "mailbelld"
    assert machine.shows("mailbell-sender")["AppArmorProfile"] == ""  # it is not in the list
    machine.run("dpkg --remove mailbell")
    assert not machine.path(DROP_IN).parent.exists()
    assert "--remove /etc/apparmor.d/mailbelld" in machine.path("/run/parsed").read_text()
    machine.run(f"dpkg --purge {ALL}")
    machine.run("rm /usr/bin/aa-enabled /usr/sbin/apparmor_parser /run/parsed")
    machine.run("umount /sys/kernel/security")
    assert differences(before, state(machine)) == []


def test_what_the_operator_decides_about_the_profile_stays(machine: System) -> None:
    with_apparmor(machine)
    machine.write(DROP_IN, "")
    machine.run(INSTALL)
    machine.run("dpkg-reconfigure mailbell")
    assert machine.path(DROP_IN).read_text() == ""
    machine.run("dpkg --remove mailbell")
    assert machine.path(DROP_IN).exists()
    machine.run(f"rm {DROP_IN}; mkdir -p /etc/apparmor.d/disable")
    machine.run("ln -s /etc/apparmor.d/mailbelld /etc/apparmor.d/disable/mailbelld")
    machine.run(INSTALL)
    assert not machine.path(DROP_IN).exists()

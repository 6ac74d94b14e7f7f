"""The installed service under a real service manager, with senders on another host."""

import errno
import os
import re
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import until
from harness.manager import CLIENTS, LOG, SERVER, SOCKET, Manager, managers
from harness.netns import Namespace
from harness.ordinary import NOBODY
from harness.sender import LINE, PATIENCE
from machines.documents import commands
from service_files.units import read

from mailbell.client import Client

ROOT: Final = Path(__file__).parent.parent.parent
SERVICE: Final = "mailbelld.service"
CONFIGURATION: Final = "/etc/mailbell/mailbelld.toml"
FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
ADDRESSES = pytest.mark.parametrize(
    ("family", "address"), [*zip(FAMILIES, SERVER, strict=True)], ids=["ipv4", "ipv6"]
)
# No source is refused because it notifies often.
GENEROUS: Final = '[limits]\nrate = "1000000/s"\nburst = 1000000\ntotal_rate = "1000000/s"\n'
SOMEBODY: Final = 1  # any ordinary user
AT_ONCE: Final = 8
RESTARTS: Final = 5


def documented_steps() -> str:
    """Return the commands of docs/service.md that root runs."""
    return "\n".join(commands("docs/service.md", "sysusers.d/mailbell.conf"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with managers(tmp_path_factory.mktemp("manager")) as manager:
        manager.run("sh", "-ec", documented_steps())
        yield manager


@pytest.fixture
def service(installed: Manager) -> Iterator[Manager]:
    """Yield the installed service, just started, for a test that changes something of it."""
    yield installed
    configured(installed, "")
    installed.change("")
    installed.systemctl("stop", "mailbelld-udp.socket", SERVICE)
    installed.path(LOG).unlink()
    installed.systemctl("start", SERVICE)


def configured(manager: Manager, toml: str) -> None:
    file = manager.path(CONFIGURATION)
    file.parent.mkdir(exist_ok=True)
    file.write_text(toml)


# The other host makes one socket at a time.
making = threading.Lock()


def call(host: Namespace, family: int, address: str) -> str:
    """Notify as a careful sender does; return how it ended: "" if all went well."""
    with making:
        sock = host.socket(family, socket.SOCK_STREAM)
    with sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect((address, 79))
            sock.sendall(LINE)
            return "answered" if sock.recv(1) else ""
        except OSError as error:
            return str(error)


def state(manager: Manager, unit: str = SERVICE) -> str:
    return manager.shows(unit)["ActiveState"]


def test_the_documented_steps_install_all_but_udp(installed: Manager) -> None:
    for unit in (SERVICE, "mailbelld.socket", "mailbelld-local.socket"):
        shown = installed.shows(unit)
        assert (shown["ActiveState"], shown["UnitFileState"]) == ("active", "enabled"), unit
    shown = installed.shows("mailbelld-udp.socket")
    assert (shown["ActiveState"], shown["UnitFileState"]) == ("inactive", "disabled")
    assert installed.status().listening == ("tcp 0.0.0.0:79", "tcp [::]:79")
    assert installed.path("/run/mailbell").stat().st_uid == 0


@ADDRESSES
def test_another_host_rings_and_a_subscriber_hears_it(
    service: Manager, family: int, address: str
) -> None:
    with Client(str(service.path(SOCKET))) as client, client.subscribe() as subscription:
        assert call(service.hosts.client, family, address) == ""
        told = subscription.next(PATIENCE)
        assert (told.account, told.source) == ("default", CLIENTS[FAMILIES.index(family)])
    assert service.counted() == {"accepted": 1}


@ADDRESSES
def test_the_first_call_starts_it_and_is_answered(
    service: Manager, family: int, address: str
) -> None:
    service.systemctl("stop", SERVICE)
    assert state(service) == "inactive"
    assert call(service.hosts.client, family, address) == ""
    assert service.counted() == {"accepted": 1}


def test_a_subscriber_starts_it_too(service: Manager) -> None:
    service.systemctl("stop", SERVICE)
    assert service.status().pid
    assert state(service) == "active"


def test_a_socket_that_was_removed_is_back_after_what_every_command_says(
    service: Manager,
) -> None:
    before = service.status().pid
    service.path(SOCKET).unlink()
    # Inside the namespace, where the system's socket has the path that the message names.
    code = "from mailbell.cli import _group; _group.run(['status'])"
    said = service.run(
        "/opt/mailbell/bin/python3", "-c", f"import sys; sys.stderr = sys.stdout; {code}"
    )
    assert f"nothing reaches it: its socket {SOCKET} was removed or replaced" in said
    (remedy,) = re.findall(r"`systemctl (restart \S+)`", said)
    service.systemctl(*remedy.split())
    assert service.status().pid != before


def test_udp_is_heard_once_it_is_switched_on_as_its_unit_says(service: Manager) -> None:
    text = service.path("/etc/systemd/system/mailbelld-udp.socket").read_text()
    steps: list[str] = re.findall(r"^# {5}(systemctl .*)$", text, re.MULTILINE)
    assert len(steps) == 3
    try:
        service.run("sh", "-ec", "\n".join(steps))
        for family, address in zip(FAMILIES, SERVER, strict=True):
            with service.hosts.client.socket(family, socket.SOCK_DGRAM) as sock:
                sock.sendto(LINE, (address, 79))
        until(lambda: service.counted("udp") == {"accepted": 2})
        assert call(service.hosts.client, FAMILIES[0], SERVER[0]) == ""
        assert service.counted("tcp") == {"accepted": 1}
    finally:
        service.systemctl("disable", "mailbelld-udp.socket")


# --- addresses ---------------------------------------------------------------

SOCKET_DROP_IN: Final = "/etc/systemd/system/mailbelld.socket.d/addresses.conf"
LATER: Final = ("192.0.2.10", "2001:db8::10")


def documented(about: str) -> tuple[list[str], str]:
    """Return what docs/service.md writes into mailbelld.socket, and the command after it."""
    text = (ROOT / "docs" / "service.md").read_text()
    (row,) = (line for line in text.splitlines() if line.startswith("| ") and about in line)
    words = re.findall(r"`([^`]+)`", row)
    restart = [word for word in words if word.startswith("systemctl restart")]
    return [word for word in words if re.match(r"\w+=", word)], (restart or [""])[0]


@pytest.fixture
def addressed(service: Manager) -> Iterator[Manager]:
    """Yield the service, for a test that changes where systemd listens."""
    yield service
    service.path(SOCKET_DROP_IN).unlink()
    service.systemctl("daemon-reload")
    service.systemctl("restart", "mailbelld.socket", SERVICE)


@pytest.mark.parametrize("place", [0, 1], ids=["ipv4", "ipv6"])
def test_an_address_that_comes_later_rings_once_it_is_there(addressed: Manager, place: int) -> None:
    lines, restart = documented("comes later")
    assert lines == ["FreeBind=yes", "ListenStream=", f"ListenStream={LATER[0]}:79"]
    endpoint = f"{LATER[0]}:79" if place == 0 else f"[{LATER[1]}]:79"
    file = addressed.path(SOCKET_DROP_IN)
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(["[Socket]", *lines]).replace(f"{LATER[0]}:79", endpoint))
    addressed.systemctl("daemon-reload")
    addressed.run("sh", "-ec", restart)
    assert addressed.status().listening == (f"tcp {endpoint}",)
    length, *options = ("24",) if place == 0 else ("64", "nodad")
    address = (f"{LATER[place]}/{length}", "dev", "cable0")
    addressed.hosts.server.run("ip", "address", "add", *address, *options)
    try:
        assert call(addressed.hosts.client, FAMILIES[place], LATER[place]) == ""
    finally:
        addressed.hosts.server.run("ip", "address", "delete", *address)
    assert addressed.counted() == {"accepted": 1}


@pytest.mark.parametrize("hidden", [False, True], ids=["a kernel without it", "a sandbox"])
def test_without_ipv6_the_socket_unit_listens_on_ipv4(tmp_path: Path, hidden: bool) -> None:
    """It starts if systemd can see that IPv6 is missing, and else as docs/service.md says."""
    with managers(tmp_path, ipv6="hidden" if hidden else "missing") as manager:
        if hidden:
            lines, _ = documented("without IPv6")
            assert lines == ["ListenStream=", "ListenStream=0.0.0.0:79"]
            file = manager.path(SOCKET_DROP_IN)
            file.parent.mkdir()
            file.write_text("\n".join(["[Socket]", *lines]))
        manager.run("sh", "-ec", documented_steps())
        assert manager.status().listening == ("tcp 0.0.0.0:79",)
        assert call(manager.hosts.client, FAMILIES[0], SERVER[0]) == ""
        assert manager.counted() == {"accepted": 1}


def test_where_systemd_cannot_see_it_the_unit_fails(tmp_path: Path) -> None:
    """The counter-test of the drop-in."""
    with managers(tmp_path, ipv6="hidden") as manager:
        manager.run("sh", "-ec", documented_steps().rpartition("\n")[0])
        failed = manager.run("sh", "-c", "systemctl start mailbelld.socket || echo failed")
        assert failed.strip() == "failed"
        assert state(manager, "mailbelld.socket") == "failed"


# --- what the service may do ----------------------------------------------------


def kernel_says(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_is_nobody_and_can_do_nothing(installed: Manager) -> None:
    pid = installed.daemon()
    says = kernel_says(pid)
    (entry,) = re.findall(
        r"(?m)^mailbell:x:(\d+):(\d+):", installed.path("/etc/passwd").read_text()
    )
    assert set(says["Uid"].split()) == {entry[0]}
    assert set(says["Gid"].split()) == {entry[1]}
    assert set(says["Groups"].split()) <= {entry[1]}
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(says[name], 16) == 0, name
    assert (says["NoNewPrivs"], says["Seccomp"], says["Threads"]) == ("1", "2", "1")
    # mailbelld's own filter is one of them.
    assert int(says["Seccomp_filters"]) > 1
    sandbox = installed.status().sandbox
    assert (sandbox.seccomp, sandbox.no_new_privs, int(sandbox.capabilities, 16)) == (2, True, 0)


def test_it_lives_in_namespaces_of_its_own_and_in_no_network(installed: Manager) -> None:
    pid = installed.daemon()
    for kind in ("net", "mnt", "user", "ipc", "uts"):
        own, outer = (os.readlink(f"/proc/{each}/ns/{kind}") for each in (pid, installed.pid))
        assert own != outer, kind
    links = subprocess.run(
        ["nsenter", "-n", "-t", str(pid), "ip", "-brief", "link"],
        check=True, capture_output=True, text=True, timeout=PATIENCE,
    ).stdout.splitlines()  # fmt: skip
    assert [line.split()[0] for line in links] == ["lo"]


def test_what_the_manager_was_asked_for_is_in_force(installed: Manager) -> None:
    """Ask the manager itself, because it ignores settings that it does not know."""
    shown = installed.shows()
    wanted = {name.partition(".")[2]: value for name, value in read(SERVICE).settings
              if name.startswith("Service.") and value in {"yes", "strict", "invisible", "closed",
                                                           "pid", "private", "native"}}  # fmt: skip
    assert len(wanted) > 20
    assert {name: shown[name] for name in wanted} == wanted
    assert shown["CapabilityBoundingSet"] == shown["AmbientCapabilities"] == ""
    assert shown["RestrictAddressFamilies"] == "AF_UNIX"
    assert set(shown["IPAddressDeny"].split()) == {"0.0.0.0/0", "::/0"}
    assert (shown["TasksMax"], shown["UMask"], shown["User"]) == ("2", "0777", "mailbell")
    assert (shown["Type"], shown["Restart"], shown["WatchdogUSec"]) == ("notify", "always", "30s")


def test_only_the_group_may_connect_locally(installed: Manager) -> None:
    found = installed.path(SOCKET).stat()
    assert stat.S_IMODE(found.st_mode) == 0o660
    (gid,) = re.findall(r"(?m)^mailbell:x:(\d+):", installed.path("/etc/group").read_text())
    assert (found.st_uid, found.st_gid) == (0, int(gid))
    connect = f"import socket; print(socket.socket(socket.AF_UNIX).connect_ex({SOCKET!r}))"
    assert run_as(installed, NOBODY, NOBODY, connect) == str(errno.EACCES)
    assert run_as(installed, NOBODY, int(gid), connect) == "0"


def run_as(manager: Manager, uid: int, gid: int, code: str) -> str:
    """Run Python code as a user, in the manager's namespaces."""
    who = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    return manager.run(*who, "/usr/bin/python3", "-c", code).strip()


def test_the_price_of_a_user_namespace_is_that_the_log_does_not_know_members(
    service: Manager,
) -> None:
    """PrivateUsers=: the kernel shows the daemon no other user, but names the process."""
    ring = """
import os, socket
print(os.getpid())
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("/run/mailbell/mailbell.sock")
    sock.sendall(b'{"method":"org.mailbell.Listener.Notify","parameters":{"account":"default"}}\\0')
    sock.recv(1)
"""
    (gid,) = re.findall(r"(?m)^mailbell:x:(\d+):", service.path("/etc/group").read_text())
    for uid, seen in ((0, 0), (SOMEBODY, NOBODY)):
        pid = run_as(service, uid, int(gid), ring)
        (line,) = (line for line in service.log() if f" pid={pid} " in line)
        assert f" uid={seen} " in line
        assert "event=rung_by_hand" in line


# --- restarts -----------------------------------------------------------------


def test_of_calls_without_end_none_is_lost_while_it_is_restarted(service: Manager) -> None:
    configured(service, GENEROUS)
    service.systemctl("restart", SERVICE)
    ended: list[list[str]] = [[] for _ in range(AT_ONCE)]
    stop = threading.Event()

    def ring_on(results: list[str], family: int, address: str) -> None:
        while not stop.is_set():
            results.append(call(service.hosts.client, family, address))

    callers = [
        threading.Thread(target=ring_on, args=(results, FAMILIES[n % 2], SERVER[n % 2]))
        for n, results in enumerate(ended)
    ]
    for caller in callers:
        caller.start()
    runs = {service.status().cursor.epoch}
    try:
        for _ in range(RESTARTS):
            before = [len(results) for results in ended]
            service.systemctl("restart", SERVICE)
            # All senders have notified this run; those that waited were served.
            until(lambda: all(len(r) > n + 1 for r, n in zip(ended, before, strict=True)))  # noqa: B023
            runs.add(service.status().cursor.epoch)
    finally:
        stop.set()
        for caller in callers:
            caller.join(PATIENCE)
    assert len(runs) == RESTARTS + 1
    assert {end for results in ended for end in results} == {""}
    assert sum(map(len, ended)) > AT_ONCE * RESTARTS


@ADDRESSES
def test_who_calls_a_daemon_that_was_killed_is_served_by_the_next_one(
    service: Manager, family: int, address: str
) -> None:
    service.change("[Service]\nRestartSec=0\n")
    os.kill(service.daemon(), signal.SIGKILL)
    assert call(service.hosts.client, family, address) == ""
    until(lambda: service.counted() == {"accepted": 1})
    assert service.shows()["NRestarts"] != "0"


def test_one_that_hangs_is_ended_and_another_serves(service: Manager) -> None:
    service.change("[Service]\nWatchdogSec=2s\nRestartSec=0\n")
    service.systemctl("restart", SERVICE)
    before = service.status()
    os.kill(service.daemon(), signal.SIGSTOP)
    assert call(service.hosts.client, FAMILIES[0], SERVER[0]) == ""
    after = service.status()
    assert after.cursor.epoch != before.cursor.epoch
    assert after.outcomes.tcp["accepted"] == 1


def test_one_that_is_well_is_left_alone_by_the_watchdog(service: Manager) -> None:
    service.change("[Service]\nWatchdogSec=2s\n")
    service.systemctl("restart", SERVICE)
    fed = service.shows()["WatchdogTimestampMonotonic"]
    for _ in range(3):
        until(lambda: service.shows()["WatchdogTimestampMonotonic"] != fed)  # noqa: B023
        fed = service.shows()["WatchdogTimestampMonotonic"]
    assert service.shows()["NRestarts"] == "0"


def test_a_wrong_configuration_is_tried_until_it_is_right_and_no_call_is_lost(
    service: Manager,
) -> None:
    """It restarts more often than a manager permits by default."""
    service.change("[Service]\nRestartSec=20ms\n")
    configured(service, "wrong = true")
    service.systemctl("--no-block", "restart", SERVICE)
    until(lambda: sum("wrong: " in line for line in service.log()) > 5)
    with service.hosts.client.socket(FAMILIES[0], socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((SERVER[0], 79))
        sock.sendall(LINE)
        assert state(service, "mailbelld.socket") == "active"
        configured(service, "")
        assert sock.recv(1) == b""
    assert service.counted() == {"accepted": 1}


def test_without_a_family_of_addresses_it_could_not_say_that_it_is_ready(service: Manager) -> None:
    """Why the unit has RestrictAddressFamilies=AF_UNIX and not "none"."""
    service.change("[Service]\nRestrictAddressFamilies=none\nRestartSec=20ms\n")
    before = ready(service)
    service.systemctl("--no-block", "restart", SERVICE)
    until(lambda: any("Address family not supported" in line for line in service.log()))
    assert "AF_UNIX" not in service.shows()["RestrictAddressFamilies"]
    # It serves, until the service manager ends it because no message arrived.
    until(lambda: ready(service) > before)
    assert state(service) == "activating"


def ready(manager: Manager) -> int:
    """Return how many daemons have been locked in."""
    return sum("event=locked" in line for line in manager.log())


def test_without_its_sockets_it_is_not_started(service: Manager) -> None:
    """Without passed sockets it would bind by itself, and must not be able to."""
    service.systemctl("stop", "mailbelld.socket")
    assert state(service) == "inactive"
    service.systemctl("start", SERVICE)
    assert state(service, "mailbelld.socket") == "active"
    assert service.status().listening == ("tcp 0.0.0.0:79", "tcp [::]:79")

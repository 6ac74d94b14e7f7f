"""The installed mailbell-sender under a real service manager, with targets on another host."""

import errno
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import until
from harness.manager import CLIENTS, SENDER_DROP_INS, SERVER, Manager, managers
from harness.sender import LINE, PATIENCE
from machines.documents import commands

from mailbell.sender_client import Client

SERVICE: Final = "mailbell-sender.service"
SOCKETS: Final = ("mailbell-sender-hook.socket", "mailbell-sender-control.socket")
CONTROL: Final = "/run/mailbell-sender/control"
HOOK: Final = "/usr/local/bin/mailbell-hook"
# A user of every Debian, who is not trusted.
USER: Final = "daemon"
TOML: Final = f"""
[send]
interval = "10ms"
[[account]]
name = "alice"
targets = ["{CLIENTS[0]}", "[{CLIENTS[1]}]"]
[[account]]
name = "bob"
targets = ["laptop.example.net"]
[[account]]
name = "carol"
targets = ["last-used"]
[[account]]
name = "{USER}"
targets = ["{CLIENTS[0]}"]
"""


def documented_steps() -> str:
    """Return the commands of docs/service.md that root runs for the sender."""
    return "\n".join(commands("docs/service.md", "sysusers.d/mailbell-sender.conf"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with managers(tmp_path_factory.mktemp("manager")) as manager:
        folder = manager.path("/etc/mailbell")
        folder.mkdir(exist_ok=True)
        (folder / "sender.toml").write_text(TOML)
        hosts = manager.path("/etc/hosts").read_text()
        manager.path("/etc/hosts").write_text(f"{hosts}\n{CLIENTS[0]} laptop.example.net\n")
        for place in ("/usr/local/bin", "/var/lib"):
            manager.run("mount", "-t", "tmpfs", "-o", "mode=755", "none", place)
        # Killed, it would come back after five seconds.
        manager.path(f"{SENDER_DROP_INS}/soon.conf").write_text("[Service]\nRestartSec=100ms\n")
        manager.run("sh", "-ec", documented_steps())
        yield manager


@pytest.fixture
def listener(installed: Manager) -> Iterator[socket.socket]:
    """The listener of a user, on another host."""
    with installed.hosts.client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind((CLIENTS[0], 79))
        sock.listen()
        yield sock


def rung(listener: socket.socket) -> str:
    """Wait until the listener is rung; return by whom."""
    connection, (host, _) = listener.accept()
    with connection:
        connection.settimeout(PATIENCE)
        assert b"".join(iter(lambda: connection.recv(100), b"")) == LINE
    return str(host)


def outcomes(manager: Manager) -> dict[str, int]:
    """Return how many inputs ended in which way, without zeros."""
    with Client(str(manager.path(CONTROL))) as client:
        inputs = client.status().inputs
    return {name: count for name, count in inputs.items() if count}


def test_the_documented_steps_install_it(installed: Manager) -> None:
    for unit in (SERVICE, *SOCKETS):
        shown = installed.shows(unit)
        assert (shown["ActiveState"], shown["UnitFileState"]) == ("active", "enabled"), unit
    for name, mode, owner in (
        ("/run/mailbell-sender", 0o755, 0),
        ("/run/mailbell-sender/hook", 0o666, 0),
        ("/run/mailbell-sender/control", 0o660, 0),
    ):
        found = installed.path(name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (mode, owner), name
    uid = int(installed.run("id", "-u", "mailbell-sender"))
    state = installed.path("/var/lib/mailbell-sender")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in (state, *state.iterdir()):
        assert path.stat().st_uid == uid
    assert 0 < uid < 1000


def test_it_has_no_privilege_and_is_locked_in(installed: Manager) -> None:
    group = installed.path(f"/sys/fs/cgroup/system.slice/{SERVICE}/cgroup.procs")
    pids = group.read_text().split()
    assert len(pids) == 2  # it, and the companion that finds names
    for pid in pids:
        text = Path(f"/proc/{pid}/status").read_text()
        said = dict(line.split(":\t", 1) for line in text.splitlines())
        assert said["Seccomp"] == "2"
        assert int(said["Seccomp_filters"]) > 1  # systemd's, and its own
        assert said["NoNewPrivs"] == "1"
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(said[name], 16) == 0


def test_a_delivery_rings_a_user_on_another_host(
    installed: Manager, listener: socket.socket
) -> None:
    installed.run(HOOK, "alice")
    assert rung(listener) == SERVER[0]


def test_a_name_is_found_in_the_machines_own_hosts(
    installed: Manager, listener: socket.socket
) -> None:
    installed.run(HOOK, "bob")
    assert rung(listener) == SERVER[0]


def test_an_ordinary_user_speaks_for_the_own_account_only(
    installed: Manager, listener: socket.socket
) -> None:
    """The kernel tells which user it is, so the unit may not hide users from it."""
    before = outcomes(installed)
    as_user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    installed.run(*as_user, HOOK, "alice")
    until(lambda: outcomes(installed) != before)
    after = outcomes(installed)
    assert after["not_permitted"] == before.get("not_permitted", 0) + 1
    assert after.get("accepted", 0) == before.get("accepted", 0)
    installed.run(*as_user, HOOK, USER)
    assert rung(listener) == SERVER[0]


def test_what_a_login_told_survives_a_restart(installed: Manager, listener: socket.socket) -> None:
    before = outcomes(installed).get("accepted", 0)
    installed.run("env", "USER=carol", f"IP={CLIENTS[0]}", HOOK, "--login")
    until(lambda: outcomes(installed).get("accepted", 0) == before + 1)
    installed.systemctl("restart", SERVICE)
    installed.run(HOOK, "carol")
    assert rung(listener) == SERVER[0]


def test_hooks_that_come_while_it_is_stopped_start_it_and_are_rung(
    installed: Manager, listener: socket.socket
) -> None:
    installed.systemctl("stop", SERVICE)
    assert installed.shows(SERVICE)["ActiveState"] == "inactive"
    installed.run(HOOK, "bob")
    assert rung(listener) == SERVER[0]
    until(lambda: installed.shows(SERVICE)["ActiveState"] == "active")


def test_hooks_that_come_after_it_was_killed_wait_for_the_next_one(
    installed: Manager, listener: socket.socket
) -> None:
    pid = int(installed.shows(SERVICE)["MainPID"])
    installed.run("kill", f"-{signal.SIGSTOP.value}", str(pid))
    installed.run(HOOK, "bob")
    installed.run("kill", f"-{signal.SIGKILL.value}", str(pid))
    assert rung(listener) == SERVER[0]
    assert int(installed.shows(SERVICE)["MainPID"]) != pid


def test_nothing_was_refused_that_it_needs(installed: Manager) -> None:
    """Its log has no error of a system call."""
    log = "\n".join(installed.log())
    assert "event=locked" in log
    for code in (errno.EPERM, errno.EACCES):
        assert os.strerror(code) not in log
    assert "Traceback" not in log

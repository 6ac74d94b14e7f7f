"""`mailbell check` on an installation: a real service manager holds the sockets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import until
from harness.manager import SOCKET, Manager, managers
from service_files.test_service import SERVICE, documented_steps, state

from mailbell.cli import check as check_command

SOCKETS: Final = ("mailbelld.socket", "mailbelld-local.socket")
# A finger daemon, which systemd starts for each connection.
FINGER: Final = {
    "finger.socket": "[Socket]\nListenStream=79\nAccept=yes\n",
    "finger@.service": "[Service]\nExecStart=/bin/true\n",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    with managers(tmp_path_factory.mktemp("manager")) as manager:
        manager.run("sh", "-ec", documented_steps())
        yield manager


@pytest.fixture
def stopped(installed: Manager) -> Iterator[Manager]:
    """Yield an installation that does not run."""
    installed.systemctl("stop", *SOCKETS, SERVICE)
    yield installed
    installed.systemctl("start", *SOCKETS, SERVICE)


def check(manager: Manager) -> tuple[int, list[str]]:
    """Run it as root; return its exit code and its findings without their remedies."""
    line = "/opt/mailbell/bin/python3 -m mailbell check; echo $?"
    *said, code = manager.run("sh", "-c", line).splitlines()
    return int(code), [text for text in said if not text.startswith("      -> ")]


def marks(findings: list[str]) -> set[str]:
    return {finding.split()[0] for finding in findings}


def test_a_healthy_installation_is_all_ok(installed: Manager) -> None:
    code, findings = check(installed)
    assert (code, marks(findings)) == (0, {"ok"}), findings
    status = installed.shows()
    assert f"ok   mailbelld.service is active (process {status['MainPID']})" in findings
    for place in ("tcp 0.0.0.0:79", "tcp [::]:79", SOCKET):
        assert any(f"{place} is held by " in finding for finding in findings), place


def test_the_example_of_its_help_restarts_the_daemon(installed: Manager) -> None:
    before = installed.shows()["MainPID"]
    line = "mailbell check && systemctl restart mailbelld"
    assert f"  {line}" in check_command._EXAMPLES
    run = 'mailbell() { /opt/mailbell/bin/python3 -m mailbell "$@"; }\n'
    installed.run("sh", "-c", run + line)
    assert state(installed) == "active"
    assert installed.shows()["MainPID"] != before
    file = installed.path("/etc/mailbell/mailbelld.toml")
    file.parent.mkdir(exist_ok=True)
    file.write_text("[limits]\nrate = 1\n")
    before = installed.shows()["MainPID"]
    try:
        installed.run("sh", "-c", f"{run}! {{ {line}; }}")
        assert installed.shows()["MainPID"] == before
    finally:
        file.unlink()


def test_a_missing_unit_has_one_line(stopped: Manager) -> None:
    """Its file was not copied. Without it the service cannot start."""
    unit = stopped.path(f"/etc/systemd/system/{SOCKETS[1]}")
    text = unit.read_text()
    unit.unlink()
    stopped.systemctl("daemon-reload")
    try:
        code, findings = check(stopped)
        assert code == 71
        failed = [finding for finding in findings if finding.startswith("FAIL")]
        assert failed == [f"FAIL {SERVICE} needs {SOCKETS[1]}, which is not-found"], findings
    finally:
        unit.write_text(text)
        stopped.systemctl("daemon-reload")


@pytest.mark.parametrize("unit", [SERVICE, SOCKETS[1]])
def test_a_masked_unit_is_no_missing_one(stopped: Manager, unit: str) -> None:
    file = stopped.path(f"/etc/systemd/system/{unit}")
    text = file.read_text()
    file.unlink()
    file.symlink_to("/dev/null")  # so does `systemctl mask`
    stopped.systemctl("daemon-reload")
    try:
        code, findings = check(stopped)
        failed = [finding for finding in findings if finding.startswith("FAIL")]
        who = SERVICE if unit == SERVICE else f"{SERVICE} needs {unit}, which"
        assert (code, failed) == (71, [f"FAIL {who} is masked"]), findings
    finally:
        file.unlink()
        file.write_text(text)
        stopped.systemctl("daemon-reload")


def test_a_setting_with_which_systemd_does_not_start_it_is_said(stopped: Manager) -> None:
    """Whoever adds ExecStart= by `systemctl edit` must empty it first."""
    stopped.change("[Service]\nExecStart=/bin/true\n")
    try:
        code, findings = check(stopped)
        failed = [finding for finding in findings if finding.startswith("FAIL")]
        said = f"systemd cannot start {SERVICE}, which is bad-setting"
        assert (code, failed) == (71, [f"FAIL {said}"]), findings
    finally:
        stopped.change("")


def test_a_user_that_is_missing_has_one_line(stopped: Manager) -> None:
    stopped.change("[Service]\nUser=no-such-user\n")
    try:
        code, findings = check(stopped)
        assert code == 71
        failed = [finding for finding in findings if finding.startswith("FAIL")]
        said = f"{SERVICE} runs as the user no-such-user, whom this machine does not have"
        assert failed == [f"FAIL {said}"], findings
    finally:
        stopped.change("")


def test_what_waits_for_a_call_is_all_ok_and_is_not_started(installed: Manager) -> None:
    installed.systemctl("stop", SERVICE)
    code, findings = check(installed)
    assert (code, marks(findings)) == (0, {"ok"}), findings
    assert "ok   mailbelld.service is inactive, and starts at the first connection" in findings
    assert f"ok   {SOCKET} is held by the service manager for mailbelld ({SOCKETS[1]})" in findings
    assert state(installed) == "inactive"
    installed.systemctl("start", SERVICE)


def test_what_is_enabled_but_stopped_is_said(stopped: Manager) -> None:
    code, findings = check(stopped)
    assert code == 0
    assert "warn mailbelld.service is enabled, but stopped" in findings
    assert "ok   tcp 0.0.0.0:79 is free" in findings


def test_a_service_that_fails_again_and_again_is_said(stopped: Manager) -> None:
    stopped.change("[Service]\nExecStart=\nExecStart=/bin/false\nRestart=no\n")
    try:
        stopped.systemctl("--no-block", "start", SERVICE)
        until(lambda: state(stopped) == "failed", "the failure")
        code, findings = check(stopped)
        assert code == 0
        assert "warn mailbelld.service is failed, result exit-code" in findings
    finally:
        stopped.change("")
        stopped.systemctl("reset-failed", SERVICE)


def test_a_port_that_the_service_manager_holds_for_another_is_taken(stopped: Manager) -> None:
    units = Path("/etc/systemd/system")
    for name, text in FINGER.items():
        stopped.path(str(units / name)).write_text(text)
    stopped.systemctl("daemon-reload")
    stopped.systemctl("start", "finger.socket")
    try:
        code, findings = check(stopped)
        assert code == 71
        taken = [finding for finding in findings if finding.startswith("FAIL")]
        assert taken, findings
        assert all("is taken by systemd, pid 1" in finding for finding in taken)
    finally:
        stopped.systemctl("stop", "finger.socket")


def test_a_daemon_that_was_started_by_hand_is_found(stopped: Manager) -> None:
    by_hand = "/opt/mailbell/bin/mailbelld </dev/null >/dev/null 2>&1 & echo $!"
    pid = stopped.run("sh", "-c", by_hand).strip()
    try:
        until(lambda: stopped.path(SOCKET).exists(), "its socket")
        code, findings = check(stopped)
        assert code == 0, findings
        running = f"mailbelld (process {pid}): it is running"
        held = [finding for finding in findings if running in finding]
        assert len(held) == 3, findings
        assert marks(held) == {"ok"}
        assert "warn mailbelld.service is enabled, but stopped" in findings
    finally:
        stopped.run("sh", "-c", f"kill {pid}; while kill -0 {pid} 2>/dev/null; do :; done")

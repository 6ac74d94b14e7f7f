"""What `mailbell check` says of a service. tests/service_files has a real service manager."""

import pytest

from mailbell.cli import _service
from mailbell.cli._finding import Finding, Mark
from mailbell.cli._units import Units

SERVICE = "mailbelld.service"


@pytest.fixture(autouse=True)
def _no_apparmor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_service, "confinement", lambda *_: iter(()))


def second(units: Units) -> Finding:
    """The finding after the one of the state."""
    _, finding = _service.service_findings(units, SERVICE)
    return finding


@pytest.mark.parametrize(
    ("why", "mark", "code", "what", "remedy"),
    [
        ("not-found", Mark.FAIL, 71, f"{SERVICE} needs x.socket, which is not-found", "install"),
        ("masked", Mark.FAIL, 71, f"{SERVICE} needs x.socket, which is masked", "unmask x.socket"),
        ("failed, result resources", Mark.WARN, 0,
         f"x.socket is failed, result resources, and {SERVICE} needs it",
         "systemctl start x.socket"),
    ],
)  # fmt: skip
def test_a_socket_unit_that_the_service_needs(
    why: str, mark: Mark, code: int, what: str, remedy: str
) -> None:
    found = second(Units("inactive", broken={"x.socket": why}))
    assert (found.mark, found.exit_code, found.what) == (mark, code, what)
    assert remedy in found.remedy


@pytest.mark.parametrize("why", ["bad-setting", "error"])
def test_a_socket_unit_that_cannot_be_read(why: str) -> None:
    found = second(Units("active", broken={"x.socket": why}))
    assert (found.mark, found.exit_code) == (Mark.FAIL, 71)
    assert found.what == f"{SERVICE} needs x.socket, which is {why}"
    assert "systemctl status x.socket" in found.remedy


@pytest.mark.parametrize(
    ("load", "mark", "code", "what", "remedy"),
    [
        ("masked", Mark.FAIL, 71, f"{SERVICE} is masked", f"systemctl unmask {SERVICE}"),
        ("bad-setting", Mark.FAIL, 71, f"systemd cannot start {SERVICE}, which is bad-setting",
         f"systemctl status {SERVICE}"),
        ("error", Mark.FAIL, 71, f"systemd cannot start {SERVICE}, which is error",
         f"systemctl status {SERVICE}"),
        ("", Mark.WARN, 0, f"systemd does not tell the state of {SERVICE}",
         f"systemctl status {SERVICE}"),
    ],
)  # fmt: skip
def test_a_service_that_systemd_cannot_start(
    load: str, mark: Mark, code: int, what: str, remedy: str
) -> None:
    (found,) = _service.service_findings(Units("active", load=load), SERVICE)
    assert (found.mark, found.exit_code, found.what) == (mark, code, what)
    assert remedy in found.remedy


def test_a_user_whom_the_machine_does_not_have() -> None:
    found = second(Units("failed", user="no-such-user"))
    assert (found.mark, found.exit_code) == (Mark.FAIL, 71)
    assert found.what == f"{SERVICE} runs as the user no-such-user, whom this machine does not have"
    assert "systemd-sysusers" in found.remedy


@pytest.mark.parametrize("user", ["daemon", "990"])
def test_a_user_who_exists_or_is_a_number(user: str) -> None:
    assert second(Units("active", user=user)).what == f"the user {user} exists"


def test_a_directory_that_does_not_answer_is_no_missing_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(_service, "in_time", fail)
    found = second(Units("active", user="anna"))
    assert (found.mark, found.exit_code) == (Mark.WARN, 0)
    assert "the user anna takes longer than 10 seconds" in found.what

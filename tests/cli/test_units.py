"""What `mailbell check` learns from a service manager. tests/service_files has a real one."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailbell.cli import _units
from mailbell.cli._units import Units, ask
from mailbell.core.notification import Transport

SERVICE = """\
LoadState=loaded
ActiveState=active
UnitFileState=enabled
MainPID=4711
Result=success
TriggeredBy=mailbelld.socket mailbelld-local.socket mailbelld-udp.socket
"""
SOCKETS = """\
Id=mailbelld.socket
ActiveState=active
Listen=0.0.0.0:79 (Stream)
Listen=[::]:79 (Stream)

Id=mailbelld-local.socket
ActiveState=active
Listen=/run/mailbell/mailbell.sock (Stream)

Id=mailbelld-udp.socket
ActiveState=inactive
Listen=0.0.0.0:79 (Datagram)
"""

Asked = list[Sequence[str]]


@pytest.fixture
def asking(tmp_path: Path) -> Callable[..., tuple[Units | None, Asked]]:
    def asking(*answers: str) -> tuple[Units | None, Asked]:
        rest, asked = [*answers], Asked()

        def systemctl(words: Sequence[str]) -> str:
            asked.append(words)
            return rest.pop(0)

        return ask(systemctl, str(tmp_path)), asked

    return asking


def test_the_units_of_an_installation(asking: Any) -> None:
    units, asked = asking(SERVICE, SOCKETS)
    assert units == Units(
        state="active",
        enabled=True,
        pid=4711,
        result="success",
        ports={(Transport.TCP, 79): "mailbelld.socket"},
        paths={"/run/mailbell/mailbell.sock": "mailbelld-local.socket"},
    )
    assert units.waiting
    first, second = asked
    assert first[-2:] == ["--", "mailbelld.service"]
    assert second[-4:] == [
        "--", "mailbelld.socket", "mailbelld-local.socket", "mailbelld-udp.socket",
    ]  # fmt: skip


NEEDED = """\
Requires=mailbelld-local.socket sysinit.target mailbelld.socket system.slice
User=mailbell
AppArmorProfile=-mailbelld
"""


def test_the_user_and_the_profile_of_the_service(asking: Any) -> None:
    units, _ = asking(SERVICE + NEEDED, SOCKETS)
    assert (units.user, units.profile, units.broken) == ("mailbell", "-mailbelld", {})


@pytest.mark.parametrize("user", ["root", "0", ""])
def test_root_becomes_the_user_of_the_configuration(asking: Any, user: str) -> None:
    units, _ = asking(SERVICE + NEEDED.replace("User=mailbell", f"User={user}"), SOCKETS)
    assert units.user == ""


def test_a_unit_that_is_needed_and_missing_triggers_nothing(asking: Any) -> None:
    service = SERVICE.replace("mailbelld-local.socket ", "")
    sockets = """\
Id=mailbelld.socket
LoadState=loaded
ActiveState=failed
Result=resources

Id=mailbelld-udp.socket
LoadState=loaded
ActiveState=failed
Result=resources

Id=mailbelld-local.socket
LoadState=not-found
ActiveState=inactive
"""
    units, asked = asking(service + NEEDED, sockets)
    assert "mailbelld-local.socket" in asked[1]
    assert units.broken == {
        "mailbelld.socket": "failed, result resources",
        "mailbelld-local.socket": "not-found",
    }


def test_a_datagram_socket_counts_as_one(asking: Any) -> None:
    units, _ = asking(SERVICE, SOCKETS.replace("=inactive", "=active"))
    assert units.ports[Transport.UDP, 79] == "mailbelld-udp.socket"


@pytest.mark.parametrize(
    "listen",
    ["", "@abstract (Stream)", "/dev/fifo (FIFO)", "kobject-uevent 1 (Netlink)", "79 (Strea",
     "x:y (Stream)", "1.2.3.4:123456 (Stream)"],
)  # fmt: skip
def test_what_is_no_port_and_no_path_is_left_out(asking: Any, listen: str) -> None:
    answer = f"Id=mailbelld.socket\nActiveState=active\nListen={listen}\n"
    units, _ = asking(SERVICE, answer)
    assert (units.ports, units.paths) == ({}, {})
    assert not units.waiting


def test_a_service_that_nothing_triggers(asking: Any) -> None:
    answer = "LoadState=loaded\nActiveState=failed\nResult=exit-code\nMainPID=x\nTriggeredBy=\n"
    units, asked = asking(answer)
    assert units == Units(state="failed", result="exit-code")
    assert len(asked) == 1


def test_a_name_that_is_no_socket_unit_is_not_asked_for(asking: Any) -> None:
    answer = SERVICE.replace("mailbelld-udp.socket", "--version x;y.socket a.timer")
    _, asked = asking(answer, SOCKETS)
    assert asked[1][-3:] == ["--", "mailbelld.socket", "mailbelld-local.socket"]


def test_there_is_no_such_service(asking: Any) -> None:
    assert asking("LoadState=not-found\n")[0] is None


@pytest.mark.parametrize("load", ["masked", "bad-setting", "error", "a-new-word"])
def test_a_service_that_cannot_be_started_is_no_missing_one(asking: Any, load: str) -> None:
    units, asked = asking(SERVICE.replace("=loaded", f"={load}"))
    assert units == Units("active", load=load)
    assert len(asked) == 1


@pytest.mark.parametrize("load", ["masked", "bad-setting", "error"])
@pytest.mark.parametrize("state", ["inactive", "active"])
def test_a_socket_unit_that_cannot_be_started(asking: Any, load: str, state: str) -> None:
    """While it is active it listens; the service does not start again all the same."""
    sockets = SOCKETS.replace("socket\n", f"socket\nLoadState={load}\n")
    units, _ = asking(SERVICE + NEEDED, sockets.replace("=active", f"={state}"))
    assert units.broken == {"mailbelld.socket": load, "mailbelld-local.socket": load}
    assert units.waiting is (state == "active")


@pytest.mark.parametrize("answers", [("",), ("nonsense",), (SERVICE, "")])
def test_a_manager_that_breaks_off(asking: Any, answers: tuple[str, ...]) -> None:
    units, _ = asking(*answers)
    assert units.load == ""


def test_where_another_program_manages_services_nothing_is_asked(tmp_path: Path) -> None:
    def never(_: Sequence[str]) -> str:
        raise AssertionError

    assert ask(never, str(tmp_path / "none")) is None


@pytest.mark.parametrize(
    "script", ["exit 1", "echo LoadState=loaded; exit 3", None, "exec sleep 60"]
)
def test_a_manager_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None
) -> None:
    if script is not None:
        program = tmp_path / "systemctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere" if script is None else f"{tmp_path}:/bin")
    monkeypatch.setattr(_units, "_PATIENCE", 0.2 if script == "exec sleep 60" else 30.0)
    assert ask(booted=str(tmp_path)) == Units("", load="")


def test_what_it_says_is_read_in_no_language(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho LoadState=loaded; echo ActiveState=$LC_ALL\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert ask(booted=str(tmp_path)) == Units(state="C")
    assert subprocess.run([str(program)], check=False, capture_output=True).returncode == 0

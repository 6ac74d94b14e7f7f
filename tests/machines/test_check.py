"""`mailbell check` on a machine where all is well, and where something is not."""

from collections.abc import Iterator

import pytest
from machines.claim import claim
from machines.guest import Guest
from machines.mail_server import Sender
from machines.person import without_agents

SERVICES = {
    "mailbelld": ("check", ("mailbelld.socket", "mailbelld-local.socket")),
    "mailbell-sender": (
        "sender check",
        ("mailbell-sender-hook.socket", "mailbell-sender-control.socket"),
    ),
}
# Who looks: root, a user outside of the group, and one in it.
WHO = {
    "root": "{line}",
    "a user": "runuser -u joe -- {line}",
    "a member": "runuser -u joe -G {group} -- {line}",
}


@pytest.fixture(scope="module", autouse=True)
def _alone(guest: Guest) -> Iterator[None]:
    """End the user's agent meanwhile, whose calls would start mailbelld."""
    with without_agents(guest):
        yield


@pytest.fixture
def both(sender: Sender) -> Iterator[Guest]:
    """The machine with both services. They run, also after the test."""
    guest = sender.guest
    start = "systemctl start " + " ".join(f"{name}.service" for name in SERVICES)
    guest.run(start)
    yield guest
    guest.run(start)


def findings(guest: Guest, name: str, who: str = "root") -> tuple[int, list[str]]:
    """Check a service; return the code, and the findings without their remedies."""
    line = f"/opt/mailbell/bin/mailbell {SERVICES[name][0]}"
    group = name.replace("mailbelld", "mailbell")
    done = guest.ran(WHO[who].format(line=line, group=group))
    lines = [text for text in done.stdout.splitlines() if not text.startswith("      -> ")]
    return done.returncode, lines


def failures(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("FAIL")]


def all_ok(lines: list[str]) -> bool:
    return {line.partition(" ")[0] for line in lines} == {"ok"}


@claim("check is all ok, with code 0, for root, for any user and for a member of the group")
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", SERVICES)
def test_a_healthy_machine_is_all_ok(both: Guest, name: str, who: str) -> None:
    code, lines = findings(both, name, who)
    assert (code, all_ok(lines)) == (0, True), "\n".join(lines)
    pid = both.property(f"{name}.service", "MainPID")
    assert f"ok   {name}.service is active (process {pid})" in lines


@claim("check is all ok while a service waits for its first caller, and does not start it")
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_waits_is_all_ok(both: Guest, name: str) -> None:
    both.run(f"systemctl stop {name}.service")
    code, lines = findings(both, name)
    assert (code, all_ok(lines)) == (0, True), "\n".join(lines)
    assert f"ok   {name}.service is inactive, and starts at the first connection" in lines
    assert both.property(f"{name}.service", "ActiveState") == "inactive"


@claim("`check && systemctl restart` restarts a service, and leaves it alone if its file is wrong")
@pytest.mark.parametrize(
    ("name", "file", "wrong"),
    [
        ("mailbelld", "/etc/mailbell/mailbelld.toml", "[limits]\nrate = 1\n"),
        ("mailbell-sender", "/etc/mailbell/sender.toml", "[send]\ninterval = 1\n"),
    ],
)
def test_the_example_of_the_help_works(both: Guest, name: str, file: str, wrong: str) -> None:
    command = SERVICES[name][0]
    line = f"mailbell {command} && systemctl restart {name}"
    assert f"  {line}\n" in both.run(f"mailbell {command} --help")
    before = both.property(name, "MainPID")
    both.run(line)
    now = both.property(name, "MainPID")
    assert now != before
    both.run(f"test ! -e {file} || cp -p {file} /root/kept")
    both.write(file, wrong)
    try:
        assert both.ran(line).returncode == 78
        assert both.property(name, "MainPID") == now
    finally:
        both.run(f"rm {file}; test ! -e /root/kept || mv /root/kept {file}")


@claim("check names in one line each: a port that is held, a missing unit, a missing user")
def test_a_port_that_is_held(both: Guest) -> None:
    both.run("systemctl stop mailbelld.socket mailbelld-local.socket mailbelld.service")
    holder = both.run("nc -l 127.0.0.1 79 </dev/null >/dev/null 2>&1 & echo $!").strip()
    try:
        both.until("ss -Hltn 'sport = :79' | grep -q .")
        code, lines = findings(both, "mailbelld")
        assert failures(lines) == [f"FAIL port 79 of 0.0.0.0 is taken by nc, pid {holder}"], (
            "\n".join(lines)
        )
        assert code == 71
    finally:
        both.run(f"kill {holder}; systemctl start mailbelld.socket mailbelld-local.socket")


@claim("check names in one line each: a port that is held, a missing unit, a missing user")
@pytest.mark.parametrize("name", SERVICES)
def test_a_missing_unit(both: Guest, name: str) -> None:
    sockets = SERVICES[name][1]
    file = f"/etc/systemd/system/{sockets[1]}"
    both.run(f"systemctl stop {' '.join(sockets)} {name}.service; mv {file} /root/unit")
    both.run("systemctl daemon-reload")
    try:
        code, lines = findings(both, name)
        assert failures(lines) == [f"FAIL {name}.service needs {sockets[1]}, which is not-found"]
        assert code == 71
    finally:
        both.run(f"mv /root/unit {file}; systemctl daemon-reload")
        both.run(f"systemctl start {' '.join(sockets)}")


@claim("check names in one line each: a port that is held, a missing unit, a missing user")
@pytest.mark.parametrize("who", ["root", "a user"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_missing_user(both: Guest, name: str, who: str) -> None:
    file = f"/etc/systemd/system/{name}.service.d/user.conf"
    both.write(file, "[Service]\nUser=no-such-user\n")
    both.run("systemctl daemon-reload")
    try:
        code, lines = findings(both, name, who)
        said = f"{name}.service runs as the user no-such-user, whom this machine does not have"
        assert failures(lines) == [f"FAIL {said}"]
        assert code == 71
    finally:
        both.run(f"rm {file}; systemctl daemon-reload")

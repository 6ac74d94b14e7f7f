"""mailbelld cannot start, says why, and serves when the reason is gone."""

import re

from machines.claim import claim
from machines.guest import Guest
from machines.service import (
    CONFIGURATION,
    SERVICE,
    calls,
    log_mark,
    logged_after,
    running,
)

SOCKETS = "mailbelld.socket mailbelld-local.socket"


@claim(
    "port 79 held by another program: `mailbell check` names it, the unit fails, and starts later"
)
def test_a_port_that_is_held(guest: Guest) -> None:
    guest.run(f"systemctl stop {SERVICE} {SOCKETS}")
    mark = log_mark(guest)
    try:
        guest.run(
            "systemd-run --quiet --collect --unit=holder"
            " /usr/bin/python3 -m http.server 79 --bind 0.0.0.0"
        )
        guest.until("ss -Hltn sport = :79 | grep -q .")
        holder = guest.processes("holder.service")[0]
        checked = guest.ran("mailbell check")
        assert checked.returncode == 71
        failed = [line for line in checked.stdout.splitlines() if line.startswith("FAIL")]
        assert len(failed) == 1, checked.stdout
        assert f"port 79 of 0.0.0.0 is taken by python3, pid {holder}" in failed[0]
        started = guest.ran(f"systemctl start {SERVICE}")
        assert started.returncode == 1
        assert "dependency job for mailbelld.service failed" in started.stdout
        # systemd 252 binds in a process of its own, and learns only that this has failed.
        words = r"Address already in use|\(0\.0\.0\.0:79\): Input/output error"
        assert re.search(words, logged_after(guest, mark, "mailbelld.socket"))
    finally:
        guest.ran("systemctl stop holder")
        guest.run(f"systemctl start {SERVICE}")
    running(guest)
    assert guest.run("systemctl list-units --failed --no-legend 'mailbelld*'") == ""


@claim("a wrong configuration: status 78, again and again; a call of that time is served later")
def test_a_wrong_configuration(guest: Guest) -> None:
    running(guest)
    guest.write(CONFIGURATION, "[listen]\nport = 79\n")
    try:
        mark = log_mark(guest)
        assert guest.ran(f"systemctl restart {SERVICE}").returncode == 1
        with calls(guest, number=1) as waiting:
            before = int(guest.property(SERVICE, "NRestarts"))
            guest.until(f"test $(systemctl show -P NRestarts {SERVICE}) -ge {before + 2}")
            log = logged_after(guest, mark)
            assert "status=78/CONFIG" in log
            assert "listen.port" in log
            assert guest.run("mailbell check || echo code $?").rstrip().endswith("code 78")
            guest.run(f"rm {CONFIGURATION}")
            running(guest)
            assert [call.how for call in waiting.all()] == ["served"]
    finally:
        guest.run(f"rm -f {CONFIGURATION}")
        running(guest)

"""What the commands of docs/quickstart.md and docs/service.md leave behind."""

import re

from machines.claim import claim
from machines.guest import Guest
from machines.service import SERVICE, running

SOCKETS = ("mailbelld.socket", "mailbelld-local.socket")


@claim("installed as the documents say: enabled, active, and `mailbell status` is served")
def test_the_units(guest: Guest) -> None:
    running(guest)
    for unit in (SERVICE, *SOCKETS):
        assert guest.run(f"systemctl is-enabled {unit}; systemctl is-active {unit}").split() == [
            "enabled", "active",
        ]  # fmt: skip
    assert guest.ran("systemctl is-enabled mailbelld-udp.socket").stdout.strip() == "disabled"
    shown = guest.run("mailbell status")
    assert "tcp 0.0.0.0:79" in shown
    assert "tcp [::]:79" in shown


@claim("its user is a system user, and its folder and socket belong to root and to its group")
def test_users_and_modes(guest: Guest) -> None:
    uid, shell = guest.run("getent passwd mailbell").strip().split(":")[2::4]
    assert int(uid) < 1000
    assert shell.endswith("nologin")
    (pid,) = guest.processes(SERVICE)
    assert guest.run(f"awk '/^[UG]id/' /proc/{pid}/status | tr -s '\\t' ' '").splitlines() == [
        f"Uid: {uid} {uid} {uid} {uid}",
        "Gid: {0} {0} {0} {0}".format(guest.run("id -g mailbell").strip()),
    ]
    modes = guest.run("stat -c '%U:%G %a' /run/mailbell /run/mailbell/mailbell.sock").splitlines()
    assert modes == ["root:root 755", "root:mailbell 660"]


@claim("`usermod` lets a user in, and a user of no group is refused")
def test_the_group(guest: Guest) -> None:
    runs = "setpriv --reuid=visitor --regid=visitor --init-groups /usr/local/bin/mailbell status"
    guest.run("useradd visitor")
    try:
        assert guest.ran(runs).returncode == 77
        guest.run("usermod --append --groups mailbell visitor")
        guest.run(runs)
    finally:
        guest.run("userdel visitor")


@claim("`systemd-analyze security` rates the unit 0.2 of 10")
def test_the_exposure(guest: Guest) -> None:
    told = guest.run(f"systemd-analyze security --no-pager {SERVICE}")
    (level,) = re.findall(r"Overall exposure level for mailbelld.service: (\S+)", told)
    assert level == "0.2"

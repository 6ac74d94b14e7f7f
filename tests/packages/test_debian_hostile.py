"""Debian's packages on a machine where others have the same names."""

from pathlib import Path

import pytest
from packages.conftest import Boot
from packages.debs import PACKAGES, SUITE, furniture
from packages.system import System

INSTALL = "dpkg --install /root/packages/*.deb"
STATE = "/var/lib/mailbell-sender"


@pytest.fixture
def machine(boot: Boot, debs: list[Path]) -> System:
    """A Debian that has what the packages depend on, and the packages as files."""
    system = boot(SUITE, *furniture(debs))
    for each in debs:
        system.put(each, "/root/packages")
    return system


@pytest.mark.parametrize("user", PACKAGES[1:])
@pytest.mark.parametrize(
    "make",
    ["useradd --create-home", "groupadd --gid 1500", "groupadd --gid 0 --non-unique",
     "useradd --system --gid 0"],
    ids=["a person", "a group of persons", "root's group", "a user of root's group"],
)  # fmt: skip
def test_no_service_gets_the_rights_of_others(machine: System, make: str, user: str) -> None:
    machine.run(f"{make} {user}")
    (package,) = machine.path("/root/packages").glob(f"{user}_*")
    done = machine.ran(f"dpkg --install /root/packages/python3-* /root/packages/{package.name}")
    assert done.code
    assert f"{user}: the user or the group {user} is not one of the system" in done.said
    assert not machine.path(f"/usr/bin/{user.replace('mailbell', 'mailbelld', 1)}").exists()
    listed = machine.run("ss --listening --no-header --tcp --unix")
    assert "mailbell" not in listed


def test_a_purge_leaves_what_another_service_needs(machine: System) -> None:
    """Both packages were removed, and then mailbell was installed in another way."""
    machine.run(f"{INSTALL} && dpkg --remove {' '.join(PACKAGES)}")
    for unit, name in (("mailbelld", "mailbelld"), ("mailbell-sender", "sender")):
        machine.write(f"/etc/mailbell/{name}.toml", "# mine\n")
        machine.write(f"/etc/systemd/system/{unit}.service", "[Service]\nExecStart=/bin/true\n")
    machine.run("dpkg --purge mailbell mailbell-sender")
    machine.run("getent passwd mailbell mailbell-sender")
    assert machine.path("/etc/mailbell/mailbelld.toml").exists()
    assert machine.path("/etc/mailbell/sender.toml").exists()
    assert machine.path(STATE).exists()


def test_a_purge_leaves_a_file_system_of_the_operator(machine: System) -> None:
    machine.run(f"{INSTALL} && systemctl stop mailbell-sender.service")
    machine.run(f"mkdir /srv/book; touch /srv/book/mine; mount --bind /srv/book {STATE}")
    said = machine.run("dpkg --purge mailbell-sender 2>&1")
    assert f"{STATE} is a file system of its own, and stays" in said
    assert machine.path("/srv/book/mine").exists()
    assert machine.ran("getent passwd mailbell-sender").said == ""

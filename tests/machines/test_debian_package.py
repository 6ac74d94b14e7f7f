"""Debian's packages of mailbell on a Debian whose kernel has AppArmor."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from machines.claim import claim
from machines.guest import Guest
from packages.built import built
from packages.debs import debs
from packages.roots import clean_root
from packages.system import booted

ARCHIVES = "/var/cache/apt/archives"
SERVICES = {"mailbelld": "check", "mailbell-sender": "sender check"}


def _downloaded(folder: Path, suite: str) -> None:
    """Put the packages into a folder, with all that a bare machine lacks for them."""
    with booted(clean_root(suite)) as system:
        for each in debs():
            system.put(each, "/root/packages")
        system.run(
            "apt-get install -y --no-install-recommends --download-only /root/packages/*.deb",
            network="host",
        )
        for each in (*system.path(ARCHIVES).glob("*.deb"), *debs()):
            (folder / each.name).write_bytes(each.read_bytes())


@pytest.fixture(scope="module")
def packaged(bare: Guest) -> Iterator[Guest]:
    """The machine with the packages of both services."""
    suite = bare.machine.suite
    if suite == "bookworm":
        pytest.skip("Debian 12 has too old a Trio for the packages")
    if bare.machine.architecture != "amd64":
        pytest.skip("what the packages depend on is fetched for amd64 only")
    found = built(f"machine-{suite}", lambda _, folder: _downloaded(folder, suite))
    for each in found.glob("*.deb"):
        bare.put(each, "/root/packages")
    bare.run("dpkg --install /root/packages/*.deb", timeout=1800)
    yield bare
    bare.run("dpkg --purge mailbell mailbell-sender python3-mailbell", timeout=300)


@claim("the services of Debian's packages start, and AppArmor confines them")
@pytest.mark.parametrize("name", SERVICES)
def test_apparmor(packaged: Guest, name: str) -> None:
    assert packaged.property(f"{name}.service", "ActiveState") == "active"
    pid = packaged.property(f"{name}.service", "MainPID")
    assert packaged.run(f"cat /proc/{pid}/attr/apparmor/current").strip() == f"{name} (enforce)"
    told = packaged.ran(f"/usr/bin/mailbell {SERVICES[name]}").stdout
    assert f"ok   AppArmor enforces the profile {name} on {name}.service" in told
    packaged.run(f"systemctl restart {name}")
    assert packaged.property(f"{name}.service", "ActiveState") == "active"

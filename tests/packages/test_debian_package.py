"""Debian's packages in a clean Debian 13: what installs, serves, is upgraded and leaves nothing."""

from pathlib import Path

import pytest
from packages.conftest import Boot
from packages.debs import SUITE, run_dependencies
from packages.system import System


@pytest.fixture
def machine(boot: Boot, debs: list[Path]) -> System:
    """A Debian that has what the packages depend on, and the packages as files."""
    system = boot(SUITE, *run_dependencies(debs))
    for each in debs:
        system.put(each, "/root/packages")
    return system


def test_the_services_serve_once_they_are_installed(machine: System) -> None:
    machine.run("dpkg --install /root/packages/*.deb")
    for service in ("mailbelld", "mailbell-sender"):
        assert machine.shows(service)["ActiveState"] == "active"
        assert machine.shows(service)["UnitFileState"] == "enabled"
    assert machine.shows("mailbelld-udp.socket")["ActiveState"] == "inactive"
    machine.run("mailbell check && mailbell sender check")
    machine.run("mailbell send 127.0.0.1")
    assert '"accepted"' in machine.run("mailbell status --json")

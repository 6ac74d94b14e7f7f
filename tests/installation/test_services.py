"""The services are described as the files of `policy/` describe them."""

import re

import pytest
from service_files.units import POLICY, SYSTEMD, read

from mailbell.installation.services import ALL, Service


@pytest.mark.parametrize("service", ALL, ids=lambda service: service.name)
def test_its_units_and_its_folders_are_those_that_are_shipped(service: Service) -> None:
    unit = read(service.unit)
    assert sorted(service.units) == sorted(
        path.name for path in SYSTEMD.iterdir() if path.name.startswith(service.name)
    )
    assert sorted(unit.words("Install.Also")) == sorted(service.sockets)
    assert sorted(unit.words("Unit.Requires")) == sorted(service.sockets)
    assert unit.value("Service.User") == service.user
    assert unit.value("Service.ExecStart").endswith(f"/{service.name}")
    state = unit.values("Service.StateDirectory")
    assert ([service.state] if service.state else []) == [f"/var/lib/{name}" for name in state]
    paths = [
        word
        for name in service.sockets
        for word in read(name).words("Socket.ListenStream")
        if word.startswith("/")
    ]
    assert {path.rpartition("/")[0] for path in paths} == {service.run}
    folders = (POLICY / "tmpfiles.d" / service.accounts).read_text()
    assert set(re.findall(r"(?m)^d (\S+)", folders)) == {service.run, service.state} - {""}


@pytest.mark.parametrize("service", ALL, ids=lambda service: service.name)
def test_its_user_is_the_one_that_sysusers_makes(service: Service) -> None:
    text = (POLICY / "sysusers.d" / service.accounts).read_text()
    assert re.findall(r'(?m)^u (\S+) - "(.*)"$', text) == [(service.user, service.about)]


def test_no_name_is_that_of_two() -> None:
    units = [unit for service in ALL for unit in service.units]
    assert len(units) == len(set(units))

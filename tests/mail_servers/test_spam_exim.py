"""Exim with SpamAssassin and ClamAV: an ACL marks spam and viruses, and the mark rings nobody."""

from collections.abc import Iterator
from typing import Final

import pytest
from harness.daemon import until
from harness.machine import machine
from harness.netns import Pair
from mail_servers import filters
from mail_servers.laptop import Laptop
from mail_servers.server import MailServer
from mail_servers.unwanted import rings_for_ham_alone

_TEMPLATE: Final = "/etc/exim4/exim4.conf.template"
_SETTINGS: Final = """
dc_eximconfig_configtype='internet'
dc_other_hostnames='test.example'
dc_local_interfaces=''
dc_minimaldns='false'
dc_use_split_config='false'
dc_localdelivery='maildir_home'
CFILEMODE='644'
"""


class FilteringExim(MailServer):
    """Exim of Debian that asks both filters while it receives a mail."""

    name = "Exim with filters"
    recipe = "spam"
    packages = (*filters.PACKAGES, "exim4-daemon-heavy")
    programs = (*filters.PROGRAMS, "/usr/sbin/exim4", "/usr/sbin/update-exim4.conf")

    def configure(self) -> None:
        self.machine.write("/etc/mailname", "test.example\n")
        self.machine.write("/etc/exim4/update-exim4.conf.conf", _SETTINGS)
        self.machine.run("cp", _TEMPLATE, f"{_TEMPLATE}.debian")

    def start(self) -> None:
        self.machine.run("service", "exim4", "start")
        self.apply("exim", "anna")
        filters.start_filters(self.machine)

    def version(self) -> str:
        return f"Exim {self.machine.run('exim4', '-bV').split()[2]}"

    def ring_by(self, way: str) -> None:
        """Ring in one way of the recipe exim, and in no other one."""
        self.machine.run("cp", f"{_TEMPLATE}.debian", _TEMPLATE)
        self.apply(way, "anna", recipe="exim")
        self.machine.run("service", "exim4", "restart")
        until(lambda: self.listens(25), "the start of Exim")

    def waiting(self) -> int:
        return int(self.machine.run("exim4", "-bpc"))

    def flush(self) -> None:
        self.machine.run("exim4", "-qff")


@pytest.fixture(scope="module")
def exim(hosts: Pair) -> Iterator[FilteringExim]:
    its = FilteringExim
    with machine(its.name, its.packages, programs=its.programs, host=hosts.server) as made:
        server = its(made, hosts.client)
        server.users("berta", "anna")
        server.configure()
        server.start()
        yield server


def test_the_hook_of_a_shadow_transport_reads_the_mark(exim: FilteringExim, laptop: Laptop) -> None:
    exim.ring_by("shadow")
    rings_for_ham_alone(exim, laptop, "anna", junk=False, way="exim")


def test_the_condition_of_the_event_reads_the_mark(exim: FilteringExim, laptop: Laptop) -> None:
    exim.ring_by("event")
    rings_for_ham_alone(exim, laptop, "anna", junk=False, trusted=("root",))

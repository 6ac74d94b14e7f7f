"""Exim sends biff datagrams, and mailbell-sender is in comsat's place."""

from collections.abc import Iterator

import pytest
from harness.machine import machine
from harness.netns import Pair
from mail_servers.laptop import Laptop
from mail_servers.recipe_check import check_sees_it
from mail_servers.scenario import SENDER_FAULTS, Way, delivered_once, rings
from mail_servers.test_exim import Exim

EXIM = Way("exim", listen='comsat = ["127.0.0.1:512"]')


class EximWithBiff(Exim):
    """Exim that delivers into an mbox or a Maildir of each local user."""

    name = recipe = "biff"

    def version(self) -> str:
        return f"Exim {super().version()}"


@pytest.fixture(scope="module")
def exim(hosts: Pair) -> Iterator[EximWithBiff]:
    host = hosts.server
    with machine("Exim", Exim.packages, programs=Exim.programs, host=host) as its:
        server = EximWithBiff(its, hosts.client)
        server.users("berta", "anna", "carol")
        server.configure()
        server.fresh(split=True, mbox=True)
        server.apply("exim", "anna")
        server.start()
        yield server


@pytest.mark.parametrize("mbox", [True, False], ids=["mbox", "Maildir"])
def test_exim_rings(exim: EximWithBiff, laptop: Laptop, mbox: bool) -> None:
    if not mbox:
        exim.fresh(split=True)
        exim.apply("exim", "anna")
        exim.reload()
    rings(exim, EXIM, laptop, "anna")
    check_sees_it(exim, EXIM, "anna")


@pytest.mark.parametrize("fault", SENDER_FAULTS)
def test_exim_delivers_once(exim: EximWithBiff, fault: str) -> None:
    delivered_once(exim, EXIM, fault, "anna", "carol")

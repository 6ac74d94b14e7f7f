"""Postfix with the recipes for it."""

from collections.abc import Iterator

import pytest
from harness.daemon import until
from harness.netns import Pair
from mail_servers.laptop import Laptop
from mail_servers.machine import machine
from mail_servers.scenario import HOOK_FAULTS, SENDER_FAULTS, Way, delivered_once, rings
from mail_servers.server import MailServer


class Postfix(MailServer):
    """Postfix that delivers into Maildirs of local users."""

    name = recipe = "postfix"
    packages = ("postfix", "procmail", "maildrop")
    programs = ("/usr/sbin/postfix",)

    def configure(self) -> None:
        for setting in (
            "myhostname = mail.test.example", "mydestination = test.example",
            # Else the address that `\\anna` means is another host's.
            "myorigin = test.example",
            "mynetworks = 192.0.2.0/24", "inet_interfaces = all", "mailbox_command =",
            "home_mailbox = Maildir/", "compatibility_level = 3.6", "alias_maps =",
            "maillog_file = /var/log/postfix.log",
        ):  # fmt: skip
            self.machine.run("postconf", "-e", setting)

    def start(self) -> None:
        self.machine.run("postfix", "start")
        until(lambda: self.listens(25), "the start of Postfix")

    def reload(self) -> None:
        self.machine.run("postfix", "reload")

    def version(self) -> str:
        return self.machine.run("postconf", "-h", "mail_version").strip()

    def flush(self) -> None:
        self.machine.run("postqueue", "-f")

    def waiting(self) -> int:
        return len(self.machine.run("postqueue", "-j").splitlines())


@pytest.fixture(scope="module")
def postfix(hosts: Pair) -> Iterator[Postfix]:
    host = hosts.server
    with machine("Postfix", Postfix.packages, programs=Postfix.programs, host=host) as its:
        server = Postfix(its, hosts.client)
        server.users("berta", "anna", "carol")
        server.configure()
        server.start()
        yield server


FORWARD = Way("forward")


def test_forward_rings(postfix: Postfix, laptop: Laptop) -> None:
    postfix.apply("forward", "anna", "carol")
    rings(postfix, FORWARD, laptop, "anna")


@pytest.mark.parametrize("fault", [*SENDER_FAULTS, *HOOK_FAULTS])
def test_forward_delivers_once(postfix: Postfix, fault: str) -> None:
    postfix.apply("forward", "anna", "carol")
    delivered_once(postfix, FORWARD, fault, "anna", "carol")

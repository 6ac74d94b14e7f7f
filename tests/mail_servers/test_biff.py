"""Postfix and procmail send biff datagrams, and mailbell-sender is in comsat's place."""

from collections.abc import Iterator

import pytest
from harness.daemon import until
from harness.netns import Pair
from mail_servers import mail
from mail_servers.laptop import Laptop
from mail_servers.machine import machine
from mail_servers.recipe_check import check_sees_it
from mail_servers.scenario import SENDER_FAULTS, Way, delivered_once, rings, subject
from mail_servers.server import MailServer

POSTFIX = Way("postfix", listen='comsat = ["127.0.0.1:512"]')
PROCMAIL = Way("procmail", listen='comsat = ["127.0.0.1:5512"]')


class Postfix(MailServer):
    """Postfix that delivers into an mbox of each local user, itself or by procmail."""

    name = recipe = "biff"
    packages = ("postfix", "procmail")
    programs = ("/usr/sbin/postfix", "/usr/bin/procmail")

    def configure(self) -> None:
        for setting in (
            "myhostname = mail.test.example", "mydestination = test.example",
            "myorigin = test.example", "mynetworks = 192.0.2.0/24", "inet_interfaces = all",
            "mailbox_command =", "home_mailbox =", "compatibility_level = 3.6", "alias_maps =",
            "maillog_file = /var/log/postfix.log",
        ):  # fmt: skip
            self.machine.run("postconf", "-e", setting)

    def start(self) -> None:
        self.machine.run("postfix", "start")
        until(lambda: self.listens(25), "the start of Postfix")

    def version(self) -> str:
        return f"Postfix {self.machine.run('postconf', '-h', 'mail_version').strip()}"

    def flush(self) -> None:
        self.machine.run("postqueue", "-f")

    def waiting(self) -> int:
        return len(self.machine.run("postqueue", "-j").splitlines())

    def arrived(self, user: str) -> list[tuple[str, float]]:
        home = self.machine.path(f"/home/{user}/Maildir")
        return [*mail.mbox_arrivals(self.machine.path(f"/var/mail/{user}")), *mail.arrivals(home)]

    def by_procmail(self, more: str = "") -> None:
        """Let procmail deliver, with these lines in its configuration beside the recipe's."""
        self.machine.run("postconf", "-e", "mailbox_command = /usr/bin/procmail")
        self.machine.run("postfix", "reload")
        self.machine.write("/etc/procmailrc", more)
        self.apply("procmail", "anna")


@pytest.fixture(scope="module")
def postfix(hosts: Pair) -> Iterator[Postfix]:
    host = hosts.server
    with machine("Postfix", Postfix.packages, programs=Postfix.programs, host=host) as its:
        server = Postfix(its, hosts.client)
        server.users("berta", "anna", "carol")
        server.configure()
        server.start()
        yield server


def test_check_sees_that_it_is_in_force(postfix: Postfix) -> None:
    postfix.apply("postfix", "anna")
    check_sees_it(postfix, POSTFIX, "anna")


def test_postfix_rings_for_an_mbox(postfix: Postfix, laptop: Laptop) -> None:
    postfix.apply("postfix", "anna")
    rings(postfix, POSTFIX, laptop, "anna")


@pytest.mark.parametrize("fault", SENDER_FAULTS)
def test_postfix_delivers_once(postfix: Postfix, fault: str) -> None:
    postfix.apply("postfix", "anna")
    delivered_once(postfix, POSTFIX, fault, "anna", "carol")


@pytest.mark.parametrize("lines", ["", "DEFAULT=$HOME/Maildir/\n"], ids=["mbox", "Maildir"])
def test_procmail_rings(postfix: Postfix, laptop: Laptop, lines: str) -> None:
    postfix.by_procmail(lines)
    rings(postfix, PROCMAIL, laptop, "anna", rounds=3)


@pytest.mark.parametrize("fault", SENDER_FAULTS)
def test_procmail_delivers_once(postfix: Postfix, fault: str) -> None:
    postfix.by_procmail("DEFAULT=$HOME/Maildir/\n")
    delivered_once(postfix, PROCMAIL, fault, "anna", "carol")


@pytest.mark.parametrize("folder", ["Maildir/.Junk/", "Mail/Junk/."], ids=["Maildir", "MH"])
def test_mail_that_procmail_files_as_junk_rings_nobody(
    postfix: Postfix, laptop: Laptop, folder: str
) -> None:
    postfix.by_procmail("DEFAULT=$HOME/Maildir/\n")
    postfix.machine.run("rm", "-rf", "/home/anna/Mail")
    postfix.machine.run("mkdir", "/home/anna/Mail", user="anna")
    filed = f":0\n* ^Subject: junk\n{folder}\n"
    postfix.machine.write("/home/anna/.procmailrc", filed, owner="anna")
    laptop.forget()
    try:
        with postfix.sending("anna", listen=PROCMAIL.listen) as sender:
            postfix.deliver(subject("junk"), "anna")
            until(lambda: sender.status().inputs["quiet_folder"] == 1)
            postfix.deliver(subject("ham"), "anna")
            laptop.rung()
            assert sender.status().inputs["accepted"] == 1
    finally:
        postfix.machine.path("/home/anna/.procmailrc").unlink()

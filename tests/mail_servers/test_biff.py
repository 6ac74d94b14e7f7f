"""Postfix and procmail send biff datagrams, and mailbell-sender is in comsat's place."""

from collections.abc import Iterator

import pytest
from harness.daemon import until
from harness.netns import Pair
from mail_servers.laptop import Laptop
from mail_servers.postfix import Postfix, postfix_with
from mail_servers.recipe_check import check_sees_it
from mail_servers.scenario import SENDER_FAULTS, Way, delivered_once, rings, subject

POSTFIX = Way("postfix", listen='comsat = ["127.0.0.1:512"]')
PROCMAIL = Way("procmail", listen='comsat = ["127.0.0.1:5512"]')


class WithMbox(Postfix):
    """Postfix that delivers into an mbox of each local user, itself or by procmail."""

    name = recipe = "biff"
    packages = ("postfix", "procmail")
    programs = ("/usr/sbin/postfix", "/usr/bin/procmail")

    def configure(self) -> None:
        super().configure()
        self.set("home_mailbox =")

    def version(self) -> str:
        return f"Postfix {super().version()}"

    def by_procmail(self, lines: str = "") -> None:
        """Let procmail deliver, with these lines in its configuration and the recipe's."""
        self.set("mailbox_command = procmail")
        self.reload()
        self.machine.write("/etc/procmailrc", lines)
        self.apply("procmail", "anna")


@pytest.fixture(scope="module")
def postfix(hosts: Pair) -> Iterator[WithMbox]:
    with postfix_with(hosts, WithMbox, "anna", "carol") as server:
        yield server


def test_check_sees_that_it_is_in_force(postfix: WithMbox) -> None:
    postfix.apply("postfix", "anna")
    check_sees_it(postfix, POSTFIX, "anna")


def test_postfix_rings_for_an_mbox(postfix: WithMbox, laptop: Laptop) -> None:
    postfix.apply("postfix", "anna")
    rings(postfix, POSTFIX, laptop, "anna")


@pytest.mark.parametrize("fault", SENDER_FAULTS)
def test_postfix_delivers_once(postfix: WithMbox, fault: str) -> None:
    postfix.apply("postfix", "anna")
    delivered_once(postfix, POSTFIX, fault, "anna", "carol")


@pytest.mark.parametrize("lines", ["", "DEFAULT=$HOME/Maildir/\n"], ids=["mbox", "Maildir"])
def test_procmail_rings(postfix: WithMbox, laptop: Laptop, lines: str) -> None:
    postfix.by_procmail(lines)
    rings(postfix, PROCMAIL, laptop, "anna", rounds=3)


@pytest.mark.parametrize("fault", SENDER_FAULTS)
def test_procmail_delivers_once(postfix: WithMbox, fault: str) -> None:
    postfix.by_procmail("DEFAULT=$HOME/Maildir/\n")
    delivered_once(postfix, PROCMAIL, fault, "anna", "carol")


@pytest.mark.parametrize("folder", ["Maildir/.Junk/", "Mail/Junk/."], ids=["Maildir", "MH"])
def test_mail_that_procmail_files_as_junk_rings_nobody(
    postfix: WithMbox, laptop: Laptop, folder: str
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

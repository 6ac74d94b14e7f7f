"""procmail and maildrop below Postfix, with each way of their recipes, Maildir and mbox."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

import pytest
from harness.daemon import until
from harness.machine import machine
from harness.netns import Pair
from mail_servers.laptop import Laptop
from mail_servers.load import beside_a_stopped_sender
from mail_servers.mail import message
from mail_servers.postfix import Postfix
from mail_servers.recipe_check import check_sees_it
from mail_servers.results import record
from mail_servers.scenario import (
    HOOK_FAULTS,
    SENDER_FAULTS,
    Way,
    delivered_once,
    order_at_the_hook,
    rings,
    subject,
)

from mailbell.recipes import load

_RC: Final = """
DEFAULT=$HOME/Maildir/
:0
* ^Subject: junk
$HOME/Maildir/.Junk/
"""

_FILTER: Final = """
DEFAULT="$HOME/Maildir"
if (/^Subject: junk/)
{
  to "$HOME/Maildir/.Junk"
}
"""


class Below(Postfix):
    """Postfix that hands all mail of local users to another program."""

    packages = ("postfix", "procmail", "maildrop")
    programs = ("/usr/sbin/postfix", "/usr/bin/procmail", "/usr/bin/maildrop")
    command: ClassVar[str]

    def hands_over(self) -> None:
        """From now on this program delivers."""
        self.set(f"mailbox_command = {self.command}")
        self.reload()

    def keeps_maildirs(self, *users: str) -> None:
        """Let the program deliver into Maildirs of users, and not into mboxes."""
        raise NotImplementedError


class Procmail(Below):
    """procmail, as Debian's Postfix calls it."""

    name = recipe = "procmail"
    command = 'procmail -a "$EXTENSION"'

    def version(self) -> str:
        return self.machine.run("procmail", "-v").split()[1].lstrip("v")

    def keeps_maildirs(self, *users: str) -> None:
        for user in users:
            self.machine.write(f"/home/{user}/.procmailrc", _RC, owner=user)


class Maildrop(Below):
    """maildrop."""

    name = recipe = "maildrop"
    command = "/usr/bin/maildrop"

    def version(self) -> str:
        return self.machine.run("maildrop", "-v").split()[1]

    def keeps_maildirs(self, *users: str) -> None:
        for user in users:
            for folder in ("Maildir", "Maildir/.Junk"):
                self.machine.run("maildirmake.maildrop", f"/home/{user}/{folder}", user=user)
            text = (
                'DEFAULT="$HOME/Maildir"\nif (/^Subject: junk/)\n{\n  to "$HOME/Maildir/.Junk"\n}\n'
            )
            self.machine.write(f"/home/{user}/.mailfilter", text, mode=0o600, owner=user)


FIVE: Final = ("anna", "carol", "dora", "emil", "fritz")
MBOX: Final = FIVE[-1]
PROGRAMS: Final = {kind.name: kind for kind in (Procmail, Maildrop)}
WAYS: Final = (("procmail", Way("trap")), ("procmail", Way("hic")), ("maildrop", Way("cc")))


@pytest.fixture(scope="module")
def servers(hosts: Pair) -> Iterator[Mapping[str, Below]]:
    """Both programs on one machine; all have Maildirs, only fritz has an mbox."""
    its = Below.packages, Below.programs
    with machine("Postfix", its[0], programs=its[1], host=hosts.server) as made:
        found = {name: kind(made, hosts.client) for name, kind in PROGRAMS.items()}
        first = found["procmail"]
        first.users("berta", *FIVE)
        first.configure()
        first.start()
        for each in found.values():
            each.keeps_maildirs(*FIVE[:-1])
        yield found


Case = tuple[Below, Way]


@pytest.fixture(scope="class", params=WAYS, ids=lambda each: f"{each[0]}-{each[1]}")
def case(request: pytest.FixtureRequest, servers: Mapping[str, Below]) -> Iterator[Case]:
    """A way in force for all users, until its last test."""
    name, way = request.param
    server = servers[name]
    server.hands_over()
    with server.using(way.name, "anna", "carol", MBOX):
        yield server, way


class TestEachWay:
    """What is shown for each way of both recipes."""

    def test_check_sees_that_it_is_in_force(self, case: Case) -> None:
        check_sees_it(*case, "anna")

    def test_the_mails_owner_is_rung(self, case: Case, laptop: Laptop) -> None:
        rings(*case, laptop, "anna")

    def test_the_owner_of_an_mbox_is_rung(self, case: Case, laptop: Laptop) -> None:
        # procmail takes a second for each mail in an mbox.
        rings(*case, laptop, MBOX, rounds=2)

    def test_the_order_is_as_the_recipe_says(self, case: Case) -> None:
        server, way = case
        after = order_at_the_hook(server, way, "anna")
        if load(server.recipe).way(way.name).order == "after":
            assert all(after)
        seen = f"after in {sum(after)} of {len(after)}"
        record(server.name, server.version(), way.name, order=seen)

    @pytest.mark.parametrize("fault", [*SENDER_FAULTS, *HOOK_FAULTS])
    def test_mail_is_delivered_once(self, case: Case, fault: str) -> None:
        delivered_once(*case, fault, "anna", "carol", large=True)

    def test_mail_for_an_mbox_is_delivered_once(self, case: Case) -> None:
        delivered_once(*case, "hook exits with 75", MBOX, "anna")

    def test_mail_that_was_filed_elsewhere_rings_nobody(self, case: Case, laptop: Laptop) -> None:
        server = case[0]
        laptop.forget()
        junk = subject("junk")
        folder = server.machine.path("/home/anna/Maildir/.Junk/new")
        filed = len(list(folder.glob("*")))
        with server.sending("anna") as sender:
            server.deliver(junk, "anna")
            until(lambda: len(list(folder.glob("*"))) == filed + 1, "the mail in its folder")
            server.until_settled()
            server.deliver(subject("ham"), "anna")
            laptop.rung()
            assert sender.status().inputs["accepted"] == 1


def test_a_thousand_deliveries_by_procmail_beside_a_stopped_sender(
    servers: Mapping[str, Below],
) -> None:
    server = servers["procmail"]
    server.hands_over()
    users = FIVE[:-1]
    each = 64
    server.machine.write("/var/tmp/mail", message("one-of-many", to="anna").decode())
    called = "".join(f"{user}\n" for user in users) * each

    def deliver() -> None:
        # Four at once. procmail ends after its hook. The code is not 0 if one of them fails.
        delivery = 'exec procmail -d "$0" </var/tmp/mail'
        server.machine.run("xargs", "-P", "4", "-n", "1", "sh", "-c", delivery, stdin=called)

    beside_a_stopped_sender(server, Way("trap"), users, deliver, each=each)

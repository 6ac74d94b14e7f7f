"""Postfix with each way of its recipe: local and virtual users, Maildir and mbox."""

import os
from collections.abc import Iterator
from typing import Final

import pytest
from harness.daemon import until
from harness.netns import Pair
from mail_servers import mail
from mail_servers.laptop import Laptop
from mail_servers.load import beside_a_stopped_sender
from mail_servers.mail import message, send_copies
from mail_servers.postfix import Postfix, postfix_with
from mail_servers.recipe_check import check_fails, check_sees_it
from mail_servers.results import record
from mail_servers.scenario import (
    HOOK_FAULTS,
    SENDER_FAULTS,
    Way,
    delivered_once,
    hook_replaced,
    order_at_the_hook,
    rings,
    subject,
)

from mailbell.recipes import load

VIRTUAL: Final = "virt.example"
FIVE: Final = ("anna", "carol", "dora", "emil", "fritz")
ZOE: Final = f"zoe@{VIRTUAL}"
MAX: Final = f"max@{VIRTUAL}"

_DOVECOT: Final = """
protocols =
mail_location = maildir:~/Maildir
log_path = /var/log/dovecot.log
ssl = no
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=/srv/mail/%u allow_all_users=yes
}
service auth {
  unix_listener auth-userdb {
    user = vmail
    mode = 0600
  }
}
"""


class WithVirtualUsers(Postfix):
    """Postfix with local users, and with virtual ones whose mail belongs to vmail."""

    packages = ("postfix", "dovecot-core")
    programs = ("/usr/sbin/postfix", "/usr/lib/dovecot/dovecot-lda")

    def configure(self) -> None:
        super().configure()
        self.machine.user("vmail", "--home-dir", "/srv/mail")
        uid, gid = self.machine.ids("vmail")
        self.set(
            f"virtual_mailbox_domains = {VIRTUAL}",
            f"virtual_mailbox_maps = inline:{{ {ZOE}={ZOE}/Maildir/ , {MAX}={MAX}/Maildir/ }}",
            "virtual_mailbox_base = /srv/mail",
            f"virtual_uid_maps = static:{uid}",
            f"virtual_gid_maps = static:{gid}",
        )
        # dovecot-lda runs as each user, and writes this log.
        self.machine.write("/var/log/dovecot.log", "", mode=0o666)
        self.machine.write("/etc/dovecot/dovecot.conf", _DOVECOT)
        # It keeps its output open, so nobody can wait for the end of that.
        self.machine.run("sh", "-c", "exec dovecot >/dev/null 2>&1")

    def arrived(self, user: str) -> list[tuple[str, float]]:
        if "@" in user:
            return mail.arrivals(self.machine.path(f"/srv/mail/{user}/Maildir"))
        return super().arrived(user)


@pytest.fixture(scope="module")
def postfix(hosts: Pair) -> Iterator[Postfix]:
    with postfix_with(hosts, WithVirtualUsers, *FIVE) as server:
        yield server


def _whole(user: str) -> str:
    return user if "@" in user else f"{user}@test.example"


_WAYS: Final = (
    (Way("forward"), "anna", "carol"),
    (Way("dovecot-lda"), "anna", "carol"),
    (Way("virtual", trusted=["vmail"]), ZOE, MAX),
    (Way("bcc", trusted=["mailbell-ring"], account=_whole), "anna", ZOE),
)
Case = tuple[Way, str, str]


@pytest.fixture(scope="class", params=_WAYS, ids=lambda case: str(case[0]))
def case(request: pytest.FixtureRequest, postfix: Postfix) -> Iterator[Case]:
    """A way in force for two users, until its last test."""
    way, user, other = request.param
    with postfix.using(way.name, user, other):
        yield way, user, other


class TestEachWay:
    """What is shown for each way of the recipe."""

    def test_check_sees_that_it_is_in_force(self, postfix: Postfix, case: Case) -> None:
        check_sees_it(postfix, case[0], case[1])

    def test_the_mails_owner_is_rung(self, postfix: Postfix, case: Case, laptop: Laptop) -> None:
        way, user, _ = case
        rings(postfix, way, laptop, user)

    def test_the_order_is_as_the_recipe_says(self, postfix: Postfix, case: Case) -> None:
        way, user, _ = case
        after = order_at_the_hook(postfix, way, user)
        if load("postfix").way(way.name).order == "after":
            assert all(after)
        seen = f"after in {sum(after)} of {len(after)}"
        record(postfix.name, postfix.version(), way.name, order=seen)

    @pytest.mark.parametrize("fault", [*SENDER_FAULTS, *HOOK_FAULTS])
    def test_mail_is_delivered_once(self, postfix: Postfix, case: Case, fault: str) -> None:
        delivered_once(postfix, case[0], fault, *case[1:], large=True)


def test_an_mbox_rings_too(postfix: Postfix, laptop: Laptop) -> None:
    way = Way("forward")
    postfix.set("home_mailbox =")
    postfix.reload()
    try:
        with postfix.using("forward", "dora", "carol"):
            rings(postfix, way, laptop, "dora", rounds=2)
            assert all(order_at_the_hook(postfix, way, "dora", rounds=2))
            delivered_once(postfix, way, "hook exits with 75", "dora", "carol")
    finally:
        postfix.set("home_mailbox = Maildir/")
        postfix.reload()


@pytest.mark.parametrize("name", ["test.example", "elsewhere.example"])
def test_check_reads_the_file_that_myorigin_names(postfix: Postfix, name: str) -> None:
    """Debian's own setting. With another host's name, mail for the mailbox would go there."""
    postfix.machine.write("/etc/mailname", f"{name}\nsecond.example\n")
    postfix.set("myorigin = /etc/mailname", "mydestination = $myhostname, test.example, localhost")
    try:
        with postfix.using("forward", "dora"):
            if name == "test.example":
                check_sees_it(postfix, Way("forward"), "dora")
            else:
                check_fails(postfix, Way("forward"), "dora", "myorigin is not in mydestination")
    finally:
        postfix.set("myorigin = test.example", "mydestination = test.example")


def test_without_true_mail_is_delivered_again(postfix: Postfix) -> None:
    """What the recipe warns of: it is why the line ends with || true."""
    mail = subject("without-true")
    with postfix.using("forward", "emil"), hook_replaced(postfix.machine, "exit 75"):
        line = postfix.machine.path("/home/emil/.forward")
        line.write_text(line.read_text().replace(" || true", ""))
        postfix.deliver(mail, "emil")
        postfix.until_arrived(mail, "emil")
        until(lambda: postfix.waiting() == 1, "the mail that is deferred")
        postfix.flush()
        until(lambda: postfix.subjects("emil").count(mail) == 2, "the second copy")
        line.unlink()
        postfix.until_settled()


def _present(server: Postfix) -> int:
    """Return how many mails the five have, without reading them."""
    folders = (server.machine.path(f"/home/{user}/Maildir/new") for user in FIVE)
    return sum(len(os.listdir(folder)) for folder in folders if folder.exists())


def test_a_thousand_deliveries_beside_a_stopped_sender(postfix: Postfix) -> None:
    addresses = [f"{user}@test.example" for user in FIVE]
    text = message("one-of-many", to=addresses[0])
    done = _present(postfix)

    def deliver() -> None:
        nonlocal done
        done += 50 * len(FIVE)
        send_copies(postfix.laptop, postfix.address, text, *addresses, copies=50)
        until(lambda: _present(postfix) == done, "all mail")
        # A hook is a part of its delivery.
        until(postfix.idle, "the end of all deliveries")

    beside_a_stopped_sender(postfix, Way("forward"), FIVE, deliver, each=50)

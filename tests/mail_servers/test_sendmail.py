"""Sendmail with the recipes for it: procmail as Debian has it, .forward, .forward below smrsh."""

from collections.abc import Iterator

import pytest
from harness.daemon import until
from harness.machine import HOOK, machine
from harness.netns import Pair
from harness.sending import Sender
from mail_servers import mail
from mail_servers.laptop import Laptop
from mail_servers.recipe_check import check_sees_it
from mail_servers.scenario import (
    SENDER_FAULTS,
    Way,
    delivered_once,
    delivered_once_while_hooks_hang,
    faulty,
    order_at_the_hook,
    rings,
    subject,
)
from mail_servers.server import MailServer

from mailbell.recipes import Facts, load

MC = "/etc/mail/sendmail.mc"
SENDMAIL = "/usr/libexec/sendmail/sendmail"
FEATURE = "FEATURE(`smrsh', `/usr/libexec/sendmail/smrsh')dnl\n"

# No name server, and mail from other hosts at once, however busy this machine is.
LINES = """
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch-nodns')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`virtusertable')dnl
"""


class Sendmail(MailServer):
    """Sendmail of Debian, which hands mail to sensible-mda and that to procmail."""

    name = recipe = "sendmail"
    packages = ("sendmail-bin", "sensible-mda", "procmail")
    programs = (SENDMAIL, "/usr/sbin/sensible-mda", "/usr/bin/procmail")

    def configure(self) -> None:
        path = self.machine.path(MC)
        text = path.read_text()
        assert text.count("Addr=127.0.0.1") == 2
        assert "\nMAILER_DEFINITIONS\n" in text
        text = text.replace("Addr=127.0.0.1", "Addr=0.0.0.0").replace(
            "\nMAILER_DEFINITIONS\n", f"{LINES}MAILER_DEFINITIONS\n"
        )
        path.write_text(text)
        self.machine.write("/etc/mail/local-host-names", "test.example\nvirt.example\n")
        self.machine.write("/etc/mail/virtusertable", "info@virt.example anna\n")
        # Debian's table refuses 192.0.2.0/24, pauses, and takes ten connections from a host.
        access = self.machine.path("/etc/mail/access")
        access.write_text(access.read_text().replace("\nConnect:192.0.2 REJECT\n", "\n"))
        for tag, value in (
            ("Connect", "OK"),
            ("GreetPause", 0),
            ("ClientRate", 0),
            ("ClientConn", 0),
        ):
            self.machine.append("/etc/mail/access", f"{tag}:192.0.2.2\t{value}\n")
        for table in ("virtusertable", "access"):
            makemap = f"cd /etc/mail && /usr/libexec/sendmail/makemap hash {table} <{table}"
            self.machine.run("sh", "-c", makemap)

    def smrsh(self, *, on: bool) -> bool:
        """Let smrsh run the programs of .forward, or a shell, as Debian does.

        Returns:
            whether that was changed.
        """
        path = self.machine.path(MC)
        before = path.read_text()
        after = before.replace(FEATURE, "")
        after = after.replace("MAILER_DEFINITIONS\n", f"{FEATURE * on}MAILER_DEFINITIONS\n")
        path.write_text(after)
        return after != before

    def start(self) -> None:
        self.machine.run("make", "-C", "/etc/mail")
        self.machine.run("service", "sendmail", "restart")
        until(lambda: self.listens(25), "the start of Sendmail")

    reload = start

    def version(self) -> str:
        said = self.machine.run(SENDMAIL, "-d0.1", "-bv", "root", check=False)
        return said.split()[1]

    def flush(self) -> None:
        self.machine.run(SENDMAIL, "-qf", check=False)

    def waiting(self) -> int:
        return len(list(self.machine.path("/var/spool/mqueue").glob("[!.]*")))

    def arrived(self, user: str) -> list[tuple[str, float]]:
        maildir = self.machine.path(f"/home/{user}/Maildir")
        if maildir.exists():
            return mail.arrivals(maildir)
        return mail.mbox_arrivals(self.machine.path(f"/var/mail/{user}"))


@pytest.fixture(scope="module")
def sendmail(hosts: Pair) -> Iterator[Sendmail]:
    host = hosts.server
    with machine("Sendmail", Sendmail.packages, programs=Sendmail.programs, host=host) as its:
        server = Sendmail(its, hosts.client)
        server.users("berta", "anna", "carol", "dora")
        # The users' mbox files are in Debian's folder; dora has a Maildir.
        its.write("/home/dora/.procmailrc", "DEFAULT=$HOME/Maildir/\n", owner="dora")
        server.configure()
        server.start()
        yield server


def counted(sender: Sender) -> dict[str, int]:
    """Return how many inputs of a sender ended in which outcome."""
    return {outcome: count for outcome, count in sender.status().inputs.items() if count}


PROCMAIL = Way("procmail")
FORWARD = Way("forward")
SMRSH = Way("smrsh")
USERS = ("anna", "carol", "dora")

# A change from a shell to smrsh, or back, takes seconds. So the tests of smrsh are the last ones.
SHELL = (PROCMAIL, FORWARD)


def prepared(sendmail: Sendmail, way: Way) -> None:
    """Start from Debian's configuration, and do what the recipe says."""
    forwards = [f"/home/{user}/.forward" for user in USERS]
    sendmail.machine.run("rm", "-f", "/etc/procmailrc", *forwards)
    sendmail.apply(way.name, *USERS)
    if sendmail.smrsh(on=way is SMRSH):
        sendmail.reload()


def test_lines_for_procmail_are_those_of_its_recipe() -> None:
    here, there = load("sendmail").way("procmail"), load("procmail").way("trap")
    assert here.steps(Facts()) == there.steps(Facts())


@pytest.mark.parametrize("way", SHELL, ids=str)
@pytest.mark.parametrize("user", ["anna", "dora"], ids=("mbox", "Maildir"))
def test_rings(sendmail: Sendmail, laptop: Laptop, way: Way, user: str) -> None:
    prepared(sendmail, way)
    rings(sendmail, way, laptop, user)
    check_sees_it(sendmail, way, user)


@pytest.mark.parametrize("way", SHELL, ids=str)
def test_delivers_once_whatever_the_hook_does(sendmail: Sendmail, way: Way) -> None:
    prepared(sendmail, way)
    whatever_the_hook_does(sendmail, way)


def whatever_the_hook_does(sendmail: Sendmail, way: Way) -> None:
    for fault in (*SENDER_FAULTS, "hook missing", "hook exits with 75"):
        delivered_once(sendmail, way, fault, "dora", "carol")


def test_two_lines_ring_after_the_delivery_and_one_line_before(sendmail: Sendmail) -> None:
    prepared(sendmail, FORWARD)
    assert all(order_at_the_hook(sendmail, FORWARD, "dora", rounds=3))
    forward = sendmail.machine.path("/home/dora/.forward")
    forward.write_text(forward.read_text().strip().replace("\n", ", ") + "\n")
    # The hook is started first, but nothing makes the delivery wait for it.
    assert not all(order_at_the_hook(sendmail, FORWARD, "dora", rounds=8))


def test_a_name_of_the_virtusertable_rings_its_user(sendmail: Sendmail, laptop: Laptop) -> None:
    prepared(sendmail, FORWARD)
    with sendmail.sending("anna") as sender:
        laptop.forget()
        sendmail.deliver(subject("virtual"), "info@virt.example")
        laptop.rung()
        assert counted(sender) == {"accepted": 1}


def test_mail_that_the_server_calls_spam_rings_nobody(sendmail: Sendmail) -> None:
    prepared(sendmail, FORWARD)
    silent_for_spam(sendmail)


def silent_for_spam(sendmail: Sendmail) -> None:
    with sendmail.sending("dora") as sender:
        for header in ("X-Spam-Flag: YES", "X-Spam-Flag: NO"):
            sendmail.deliver(subject("verdict"), "dora", header=[header])
            sendmail.until_settled()
        assert counted(sender) == {"accepted": 1}


@pytest.mark.parametrize("way", SHELL, ids=str)
def test_large_mail_does_not_break_a_pipe_that_nobody_reads(sendmail: Sendmail, way: Way) -> None:
    prepared(sendmail, way)
    nobody_reads(sendmail, way)


def nobody_reads(sendmail: Sendmail, way: Way) -> None:
    with faulty(sendmail, way, "hook missing", "dora"):
        large = subject("large")
        reports = len(sendmail.arrived("berta"))
        sendmail.deliver(large, "dora", body="0123456789\n" * 30_000)
        sendmail.until_settled()
    assert sendmail.subjects("dora").count(large) == 1
    assert sendmail.arrived("berta")[reports:] == []


def test_delivers_once_while_hooks_hang(sendmail: Sendmail) -> None:
    def turns() -> Iterator[tuple[str, str]]:
        for way in (*SHELL, SMRSH):
            prepared(sendmail, way)
            yield "dora", "carol"

    delivered_once_while_hooks_hang(sendmail, turns())


def test_smrsh_rings(sendmail: Sendmail, laptop: Laptop) -> None:
    prepared(sendmail, SMRSH)
    rings(sendmail, SMRSH, laptop, "anna")
    check_sees_it(sendmail, SMRSH, "anna")
    silent_for_spam(sendmail)


def test_smrsh_rings_after_the_delivery(sendmail: Sendmail) -> None:
    prepared(sendmail, SMRSH)
    assert all(order_at_the_hook(sendmail, SMRSH, "dora", rounds=3))


def test_smrsh_delivers_once_whatever_the_hook_does(sendmail: Sendmail) -> None:
    prepared(sendmail, SMRSH)
    whatever_the_hook_does(sendmail, SMRSH)
    nobody_reads(sendmail, SMRSH)


def test_what_is_not_linked_below_smrsh_is_reported_as_a_failure(sendmail: Sendmail) -> None:
    # What the recipe says of this way, and why it names procmail.
    prepared(sendmail, SMRSH)
    link = sendmail.machine.path("/etc/mail/smrsh/mailbell-forward")
    reports = len(sendmail.arrived("berta"))
    link.unlink()
    missing = subject("missing")
    sendmail.deliver(missing, "anna")
    until(lambda: sendmail.arrived("berta")[reports:], "the report of a failure")
    assert sendmail.subjects("anna").count(missing) == 1


def test_no_program_can_be_run_through_mailbell_forward(sendmail: Sendmail) -> None:
    prepared(sendmail, SMRSH)
    with sendmail.sending("anna", "carol") as sender:
        for arguments in ("-- touch /tmp/owned", "--account=carol", "touch /tmp/owned"):
            line = f'"|mailbell-forward {arguments}"'
            sendmail.machine.write("/home/anna/.forward", f"\\anna\n{line}\n", owner="anna")
            sendmail.deliver(subject("arguments"), "anna")
            sendmail.until_settled()
        # For herself each time, and for nobody else.
        until(lambda: sender.status().accounts, "the end of a ring")
        assert {account.name for account in sender.status().accounts} == {"anna"}
        assert counted(sender) == {"accepted": 3}
    assert not sendmail.machine.path("/tmp/owned").exists()


def test_smrsh_would_run_every_program_through_the_hook(sendmail: Sendmail) -> None:
    # Why the recipe warns of it.
    prepared(sendmail, SMRSH)
    sendmail.machine.run("ln", "-sf", HOOK, "/etc/mail/smrsh/")
    line = '"|mailbell-hook --account=anna -- touch /tmp/owned"'
    sendmail.machine.write("/home/anna/.forward", f"\\anna\n{line}\n", owner="anna")
    sendmail.deliver(subject("owned"), "anna")
    sendmail.until_settled()
    assert sendmail.machine.path("/tmp/owned").exists()

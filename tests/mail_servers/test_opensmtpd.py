"""OpenSMTPD with the recipes for it: local users with Maildir and mbox, and virtual users."""

import re
from collections.abc import Iterator

import pytest
from harness.daemon import until
from harness.machine import HOOK, machine
from harness.netns import Pair
from harness.sending import Sender
from mail_servers import mail
from mail_servers.laptop import Laptop
from mail_servers.recipe_check import check_fails, check_sees_it
from mail_servers.scenario import (
    SENDER_FAULTS,
    Way,
    delivered_once,
    delivered_once_while_hooks_hang,
    faulty,
    hook_replaced,
    order_at_the_hook,
    rings,
    subject,
)
from mail_servers.server import FILES, MailServer

from mailbell.recipes import Facts, FileStep, load

CONF = "/etc/smtpd.conf"

# What an operator adds to Debian's file to get mail from outside.
OUTSIDE = 'match from any for domain "test.example" action "local"\n'
VIRTUAL_USERS = """
table users file:/etc/mail-users
action "virtual" maildir "/srv/mail/%{dest.domain}/%{dest.user:lowercase|strip}" \
virtual <users> wrapper mailbell-virtual
action "all" maildir "/srv/mail/catch.example/all" virtual <users> wrapper mailbell-virtual
match from any for domain "virt.example" action "virtual"
match from any for domain "catch.example" action "all"
"""


class Opensmtpd(MailServer):
    """OpenSMTPD of Debian."""

    name = recipe = "opensmtpd"
    packages = ("opensmtpd",)
    programs = ("/usr/sbin/smtpd", "/etc/smtpd.conf")
    mbox = False

    def configure(self) -> None:
        self.machine.write("/etc/mailname", "test.example\n")
        self.machine.run("cp", CONF, f"{CONF}.debian")

    def fresh(self, *, mbox: bool = False) -> None:
        """Go back to Debian's configuration, for a host that takes mail from others."""
        self.mbox = mbox
        self.machine.run("rm", "-f", "/home/anna/.forward", "/home/carol/.forward")
        debian = self.machine.path(f"{CONF}.debian").read_text()
        assert "\nlisten on localhost\n" in debian
        text = debian.replace("\nlisten on localhost\n", "\nlisten on 0.0.0.0\n") + OUTSIDE
        self.machine.write(CONF, text)

    def start(self) -> None:
        # Debian's script does not wait for the end of the old process: its `restart` may find
        # that process, and start none.
        until(self.ended, "the end of OpenSMTPD")
        self.machine.run("service", "opensmtpd", "start")
        until(lambda: self.listens(25), "the start of OpenSMTPD")

    reload = start

    def ended(self) -> bool:
        """Stop it; return whether no process of it is left."""
        if not self.machine.run("pgrep", "smtpd", check=False):
            return True
        self.machine.run("service", "opensmtpd", "stop", check=False)
        return False

    def version(self) -> str:
        return self.machine.run("smtpd", "-h", check=False).split()[2]

    def flush(self) -> None:
        self.machine.run("smtpctl", "schedule", "all", check=False)

    def waiting(self) -> int:
        return len(self.machine.run("smtpctl", "show", "queue").splitlines())

    def arrived(self, user: str) -> list[tuple[str, float]]:
        if "@" in user:
            name, _, domain = user.partition("@")
            return mail.arrivals(self.machine.path(f"/srv/mail/{domain}/{name}"))
        if not self.mbox:
            return super().arrived(user)
        return mail.mbox_arrivals(self.machine.path(f"/var/mail/{user}"))


@pytest.fixture(scope="module")
def opensmtpd(hosts: Pair) -> Iterator[Opensmtpd]:
    host = hosts.server
    with machine("OpenSMTPD", Opensmtpd.packages, programs=Opensmtpd.programs, host=host) as its:
        server = Opensmtpd(its, hosts.client)
        server.users("berta", "anna", "carol")
        its.user("vmail", "--home-dir", "/srv/mail")
        its.write(
            "/etc/mail-users",
            "anna@virt.example vmail\ncarol@virt.example vmail\n@catch.example vmail\n"
            "info@virt.example anna@virt.example\n",
        )
        server.configure()
        yield server


def counted(sender: Sender) -> dict[str, int]:
    """Return how many inputs of a sender ended in which outcome."""
    return {outcome: count for outcome, count in sender.status().inputs.items() if count}


WRAPPED = Way("wrapper")
VIRTUAL = Way("virtual", trusted=["vmail"])
FORWARD = Way("forward")
WAYS = (WRAPPED, VIRTUAL, FORWARD)


def prepared(opensmtpd: Opensmtpd, way: Way, *, mbox: bool = False) -> None:
    """Start from Debian's configuration, and do what the recipe says."""
    opensmtpd.fresh(mbox=mbox)
    opensmtpd.apply(way.name, "anna", "carol")
    if way is VIRTUAL:
        conf = opensmtpd.machine.path(CONF)
        # Above Debian's rules: its last one takes all mail of this machine, and with it what
        # an alias has become.
        conf.write_text(conf.read_text().replace("\nmatch ", f"{VIRTUAL_USERS}match ", 1))
    if mbox:
        path = opensmtpd.machine.path(CONF)
        text = path.read_text()
        assert text.count('action "local" maildir ') == 1
        path.write_text(text.replace('action "local" maildir ', 'action "local" mbox '))
    opensmtpd.start()


def users(way: Way) -> tuple[str, str]:
    return ("anna@virt.example", "carol@virt.example") if way is VIRTUAL else ("anna", "carol")


@pytest.mark.parametrize("mbox", [False, True], ids=("Maildir", "mbox"))
def test_wrapper_rings(opensmtpd: Opensmtpd, laptop: Laptop, mbox: bool) -> None:
    prepared(opensmtpd, WRAPPED, mbox=mbox)
    rings(opensmtpd, WRAPPED, laptop, "anna")
    if not mbox:  # the recipe's line says maildir
        check_sees_it(opensmtpd, WRAPPED, "anna")


@pytest.mark.parametrize("way", [VIRTUAL, FORWARD], ids=str)
def test_rings(opensmtpd: Opensmtpd, laptop: Laptop, way: Way) -> None:
    prepared(opensmtpd, way)
    rings(opensmtpd, way, laptop, users(way)[0])
    check_sees_it(opensmtpd, way, "anna")


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_delivers_once_whatever_the_hook_does(opensmtpd: Opensmtpd, way: Way) -> None:
    prepared(opensmtpd, way)
    for fault in (*SENDER_FAULTS, "hook missing", "hook exits with 75"):
        delivered_once(opensmtpd, way, fault, *users(way))


def test_delivers_once_while_hooks_hang(opensmtpd: Opensmtpd) -> None:
    # All ways in one configuration: a restart while a hook hangs would deliver the mail again.
    opensmtpd.users("dora")
    opensmtpd.fresh()
    opensmtpd.apply("wrapper", "anna")
    opensmtpd.apply("virtual", "anna")
    opensmtpd.apply("forward", "dora")
    opensmtpd.machine.append(CONF, VIRTUAL_USERS)
    opensmtpd.start()
    turns = [users(WRAPPED), users(VIRTUAL), ("dora", "carol")]
    delivered_once_while_hooks_hang(opensmtpd, turns)


def test_wrapper_rings_after_the_delivery(opensmtpd: Opensmtpd) -> None:
    prepared(opensmtpd, WRAPPED)
    assert all(order_at_the_hook(opensmtpd, WRAPPED, "anna"))


def wrapped(program: str) -> str:
    """Return what OpenSMTPD hands to a shell for a program of anna's."""
    steps = load("opensmtpd").way("wrapper").steps(Facts(hook=HOOK, files=FILES))
    text = "\n".join(step.text for step in steps if isinstance(step, FileStep))
    found = re.search('^mda wrapper mailbell "(.*)"$', text, re.MULTILINE)
    assert found
    return found[1].replace("%{user.username}", "anna").replace("%{mda}", program)


def test_wrapper_ends_as_the_program_that_delivers(opensmtpd: Opensmtpd) -> None:
    def ended(program: str, *before: str) -> int:
        script = f'{" ".join(before)} /bin/sh -c "$0"; echo $?'
        return int(opensmtpd.machine.run("sh", "-c", script, wrapped(program), user="anna")[-4:])

    with hook_replaced(opensmtpd.machine, "echo $# $1 >>/var/log/ran; exit 75"):
        opensmtpd.machine.write("/var/log/ran", "", mode=0o666)
        ran = opensmtpd.machine.path("/var/log/ran")
        for code in (1, 64, 75):
            assert ended(f"sh -c 'exit {code}'") == code
            assert ended(f"exit {code}") == code
        assert ended("/no/such/program") == 127
        assert ended("false && true") == 1
        assert ran.read_text() == ""
        assert ended("/bin/true") == 0
        assert ran.read_text() == "1 --account=anna\n"
    with hook_replaced(opensmtpd.machine, None):
        assert ended("/bin/true") == 0
    # The shell can start no process: the mail stays in the queue.
    assert ended("/bin/true", "prlimit", "--nproc=1") == 75


def test_wrapper_changes_nothing_for_programs_of_forward(opensmtpd: Opensmtpd) -> None:
    # A shell reads the words of .forward, with and without the wrapper.
    prepared(opensmtpd, WRAPPED)
    got = opensmtpd.machine.path("/home/anna/got")
    programs = {
        "if true; then cat >>$HOME/got; fi": 1,
        "true && cat >>$HOME/got || exit 75": 1,
        # The shell is gone when this one has delivered.
        "IFS=' ' && exec tee -a got || exit 75": 0,
    }
    reports = len(opensmtpd.arrived("berta"))
    with opensmtpd.sending("anna") as sender:
        for number, program in enumerate(programs, 1):
            line = f'"|{program}"\n'
            opensmtpd.machine.write("/home/anna/.forward", line, owner="anna")
            opensmtpd.deliver(subject("program"), "anna")
            opensmtpd.until_settled()
            assert got.read_text().count("\nSubject: program-") == number, program
            assert opensmtpd.arrived("berta")[reports:] == []
        assert counted(sender) == {"accepted": sum(programs.values())}


def test_mail_is_delivered_when_mailbell_was_removed(opensmtpd: Opensmtpd) -> None:
    prepared(opensmtpd, WRAPPED)
    reports = len(opensmtpd.arrived("berta"))
    aside = opensmtpd.machine.path(f"{FILES}.aside")
    opensmtpd.machine.path(FILES).rename(aside)
    try:
        with hook_replaced(opensmtpd.machine, None):
            removed = subject("removed")
            opensmtpd.deliver(removed, "anna")
            opensmtpd.until_settled()
    finally:
        aside.rename(opensmtpd.machine.path(FILES))
    assert opensmtpd.subjects("anna").count(removed) == 1
    assert opensmtpd.arrived("berta")[reports:] == []


def test_a_name_that_the_sender_of_a_mail_chooses_says_nothing_else(
    opensmtpd: Opensmtpd, laptop: Laptop
) -> None:
    # A catch-all accepts every name, and a shell reads the line of the wrapper.
    prepared(opensmtpd, VIRTUAL)
    machine = opensmtpd.machine
    names = (
        "a|touch$IFS/tmp/owned", "b`touch$IFS/tmp/owned`", "c&touch$IFS/tmp/owned&", "-", "--",
        "!#$%&'*+-/=?^_`{|}~", "d'x", "e{1}", "~", "f=g", "--socket=/tmp/owned", "*", "?x^y",
    )  # fmt: skip
    machine.write("/var/log/told", "", mode=0o666)
    told = machine.path("/var/log/told")
    with hook_replaced(machine, 'echo "$#:$*" >>/var/log/told'):
        for name in names:
            mail.send(
                opensmtpd.laptop,
                opensmtpd.address,
                mail.message("chosen", to="x@catch.example"),
                f"{name}@catch.example",
            )
        opensmtpd.until_settled()
    lines = told.read_text().splitlines()
    assert len(lines) == len(names) == opensmtpd.subjects("all@catch.example").count("chosen")
    # One argument each: the account.
    assert all(line.startswith("1:--account=") for line in lines), lines
    assert not machine.path("/tmp/owned").exists()


def test_an_address_with_an_extension_rings_its_account(
    opensmtpd: Opensmtpd, laptop: Laptop
) -> None:
    prepared(opensmtpd, VIRTUAL)
    with opensmtpd.sending("anna@virt.example", trusted=VIRTUAL.trusted) as sender:
        laptop.forget()
        opensmtpd.deliver(subject("extension"), "ANNA+Books@virt.example")
        laptop.rung()
        assert counted(sender) == {"accepted": 1}


def test_an_alias_of_the_table_rings_the_account_of_the_mailbox(
    opensmtpd: Opensmtpd, laptop: Laptop
) -> None:
    prepared(opensmtpd, VIRTUAL)
    with opensmtpd.sending("anna@virt.example", trusted=VIRTUAL.trusted) as sender:
        laptop.forget()
        alias = subject("alias")
        opensmtpd.deliver(alias, "info@virt.example")
        opensmtpd.until_arrived(alias, "anna@virt.example")
        opensmtpd.until_settled()
        assert counted(sender) == {"accepted": 1}


def test_check_sees_that_no_action_has_the_wrapper(opensmtpd: Opensmtpd) -> None:
    # The operator writes that word in an action of his own.
    prepared(opensmtpd, VIRTUAL)
    conf = opensmtpd.machine.path(CONF)
    conf.write_text(conf.read_text().replace(" wrapper mailbell-virtual\n", "\n"))
    check_fails(opensmtpd, VIRTUAL, "anna", "no action of /etc/smtpd.conf uses it")


def test_forward_is_silent_for_spam_and_the_wrapper_is_not(
    opensmtpd: Opensmtpd, laptop: Laptop
) -> None:
    for way, rung in ((FORWARD, 1), (WRAPPED, 2)):
        prepared(opensmtpd, way)
        with opensmtpd.sending("anna") as sender:
            for header in ("X-Spam-Flag: YES", "X-Spam-Flag: NO"):
                opensmtpd.deliver(subject("verdict"), "anna", header=[header])
                opensmtpd.until_settled()
            assert counted(sender) == {"accepted": rung}


def test_large_mail_does_not_break_a_pipe_that_nobody_reads(opensmtpd: Opensmtpd) -> None:
    prepared(opensmtpd, FORWARD)
    with faulty(opensmtpd, FORWARD, "hook missing", "anna"):
        large = subject("large")
        opensmtpd.deliver(large, "anna", body="0123456789\n" * 30_000)
        opensmtpd.until_settled()
    assert opensmtpd.subjects("anna").count(large) == 1
    assert opensmtpd.arrived("berta") == []

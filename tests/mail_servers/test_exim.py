"""Exim with the recipes for it, on Debian's configuration: unsplit, split, Maildir, mbox."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness.daemon import until
from harness.machine import machine
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
from mail_servers.server import MailServer

CONF = "/etc/exim4"
TEMPLATE = f"{CONF}/exim4.conf.template"

# What an operator with virtual users has.
ROUTERS = """
virtual:
  driver = accept
  domains = virt.example
  local_parts = lsearch;/etc/exim4/virtual-users
  user = vmail
  transport = virtual_maildir
catch_all:
  driver = accept
  domains = catch.example
  user = vmail
  transport = catch_maildir
"""
TRANSPORTS = """
virtual_maildir:
  driver = appendfile
  directory = /srv/mail/$domain_data/$local_part_data
  maildir_format
  shadow_transport = mailbell_virtual
catch_maildir:
  driver = appendfile
  directory = /srv/mail/catch.example/all
  maildir_format
"""


class Exim(MailServer):
    """Exim of Debian."""

    name = recipe = "exim"
    packages = ("exim4-daemon-light",)
    programs = ("/usr/sbin/exim4", "/usr/sbin/update-exim4.conf")
    mbox = False

    def configure(self) -> None:
        self.machine.write("/etc/mailname", "test.example\n")
        self.machine.run("cp", "-a", CONF, f"{CONF}.debian")

    def fresh(self, *, split: bool = False, mbox: bool = False) -> None:
        """Go back to Debian's configuration, for a host that takes mail from others."""
        self.mbox = mbox
        self.machine.run("rm", "-rf", CONF, "/home/anna/.forward", "/home/carol/.forward")
        self.machine.run("cp", "-a", f"{CONF}.debian", CONF)
        values = {
            "configtype": ("dc_eximconfig_configtype", "internet"),
            "names": ("dc_other_hostnames", "test.example : virt.example : catch.example"),
            "interfaces": ("dc_local_interfaces", ""),
            "delivery": ("dc_localdelivery", "mail_spool" if mbox else "maildir_home"),
            "split": ("dc_use_split_config", "true" if split else "false"),
        }
        file = f"{CONF}/update-exim4.conf.conf"
        kept = self.machine.path(file).read_text().splitlines()
        for key, value in values.values():
            kept = [line for line in kept if not line.startswith(f"{key}=")]
            kept.append(f"{key}='{value}'")
        self.machine.write(file, "\n".join(kept) + "\n")

    def start(self) -> None:
        self.machine.run("service", "exim4", "start")
        until(lambda: self.listens(25), "the start of Exim")

    def reload(self) -> None:
        with self.reloading():
            self.machine.run("service", "exim4", "reload")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Wait until the daemon has begun anew: until then it takes no mail."""
        before = self.begun()
        yield
        until(lambda: self.begun() > before, "the reload of Exim")

    def begun(self) -> int:
        """Return how often the daemon has begun."""
        return self.machine.path("/var/log/exim4/mainlog").read_text().count("daemon started")

    def version(self) -> str:
        return self.machine.run("exim4", "-bV").split()[2]

    def flush(self) -> None:
        self.machine.run("exim4", "-qff")

    def waiting(self) -> int:
        return int(self.machine.run("exim4", "-bpc"))

    def arrived(self, user: str) -> list[tuple[str, float]]:
        if "@" in user:
            name, _, domain = user.partition("@")
            return mail.arrivals(self.machine.path(f"/srv/mail/{domain}/{name}"))
        if not self.mbox:
            return super().arrived(user)
        return mail.mbox_arrivals(self.machine.path(f"/var/mail/{user}"))

    def edit(self, below: str, text: str) -> None:
        """Put lines of the operator's own below a line of the template."""
        before = self.machine.path(TEMPLATE).read_text()
        assert f"\n{below}\n" in before
        self.machine.write(TEMPLATE, before.replace(f"\n{below}\n", f"\n{below}\n{text}", 1))


@pytest.fixture(scope="module")
def exim(hosts: Pair) -> Iterator[Exim]:
    with machine("Exim", Exim.packages, programs=Exim.programs, host=hosts.server) as its:
        server = Exim(its, hosts.client)
        server.users("berta", "anna", "carol")
        server.configure()
        server.fresh()
        server.start()
        yield server


SHADOW = Way("shadow")
SPLIT = Way("shadow-split")
EVENT = Way("event", trusted=["root"])
FORWARD = Way("forward")
PIPE = Way("pipe")
VIRTUAL = Way("virtual", trusted=["vmail"])


def counted(sender: Sender) -> dict[str, int]:
    """Return how many inputs of a sender ended in which outcome."""
    return {outcome: count for outcome, count in sender.status().inputs.items() if count}


def prepared(exim: Exim, way: Way, *, mbox: bool = False) -> None:
    """Start from Debian's configuration, and do what the recipe says."""
    exim.fresh(split=way is SPLIT, mbox=mbox)
    if way is VIRTUAL:
        exim.machine.user("vmail", "--home-dir", "/srv/mail")
        exim.machine.write(f"{CONF}/virtual-users", "anna: anna\ncarol: carol\n")
        exim.edit("begin routers", ROUTERS)
        exim.edit("begin transports", TRANSPORTS)
    exim.reload()
    if way is FORWARD:
        exim.apply(way.name, "anna", "carol")
    else:
        with exim.reloading():
            exim.apply(way.name, "anna", "carol")


@pytest.mark.parametrize(
    ("way", "mbox"),
    [(SHADOW, False), (SHADOW, True), (SPLIT, False), (SPLIT, True), (EVENT, False), (EVENT, True),
     (FORWARD, False), (PIPE, False)],
    ids=lambda value: ("Maildir", "mbox")[value] if isinstance(value, bool) else str(value),
)  # fmt: skip
def test_rings(exim: Exim, laptop: Laptop, way: Way, mbox: bool) -> None:
    prepared(exim, way, mbox=mbox)
    rings(exim, way, laptop, "anna")
    check_sees_it(exim, way, "anna")


def test_virtual_users_ring(exim: Exim, laptop: Laptop) -> None:
    prepared(exim, VIRTUAL)
    rings(exim, VIRTUAL, laptop, "anna@virt.example")
    check_sees_it(exim, VIRTUAL, "anna")


def test_check_sees_that_no_transport_uses_it(exim: Exim) -> None:
    # The operator writes that line in a transport of his own.
    prepared(exim, VIRTUAL)
    template = exim.machine.path(TEMPLATE)
    template.write_text(template.read_text().replace("  shadow_transport = mailbell_virtual\n", ""))
    exim.reload()
    check_fails(exim, VIRTUAL, "anna", "no transport uses it")


@pytest.mark.parametrize("way", [SHADOW, SPLIT, FORWARD, PIPE], ids=str)
def test_hook_runs_after_the_delivery(exim: Exim, way: Way) -> None:
    prepared(exim, way)
    assert all(order_at_the_hook(exim, way, "anna", rounds=3))


def test_event_comes_after_the_delivery(exim: Exim) -> None:
    prepared(exim, EVENT)
    path = exim.machine.shared / "hook"
    with socket.socket(socket.AF_UNIX) as listener:
        path.unlink(missing_ok=True)
        listener.settimeout(60)
        listener.bind(str(path))
        try:
            listener.listen()
            for _ in range(3):
                event = subject("event")
                exim.deliver(event, "anna")
                peer, _ = listener.accept()
                with peer:
                    # Exim waits for an answer: nothing more happens meanwhile.
                    assert event in exim.subjects("anna")
                    assert peer.recv(100) == b"new anna\n"
                exim.until_settled()
        finally:
            path.unlink()


HOOKED = (SHADOW, FORWARD, PIPE, VIRTUAL)


def users(way: Way) -> tuple[str, str]:
    return ("anna@virt.example", "carol@virt.example") if way is VIRTUAL else ("anna", "carol")


@pytest.mark.parametrize("way", HOOKED, ids=str)
def test_delivers_once_whatever_the_hook_does(exim: Exim, way: Way) -> None:
    prepared(exim, way)
    for fault in (*SENDER_FAULTS, "hook missing", "hook exits with 75"):
        delivered_once(exim, way, fault, *users(way))


def test_split_configuration_delivers_once(exim: Exim) -> None:
    prepared(exim, SPLIT)
    for fault in ("sender stopped", "hook missing", "hook exits with 75"):
        delivered_once(exim, SPLIT, fault, "anna", "carol")


def test_forward_delivers_once_where_exim_reports_each_output(exim: Exim) -> None:
    # As Exim has it by default. Debian's transport reports only the output of failures.
    prepared(exim, FORWARD)
    template = exim.machine.path(TEMPLATE)
    debian, upstream = "\naddress_pipe:", "\n  return_output\n"
    head, below = template.read_text().split(debian)
    below = below.replace("\n  return_fail_output\n", upstream, 1)
    assert below.index(upstream) < below.index("driver = ", below.index("driver = ") + 1)
    template.write_text(f"{head}{debian}{below}")
    exim.reload()
    delivered_once(exim, FORWARD, "hook missing", "anna", "carol")
    reports = len(exim.arrived("berta"))
    with hook_replaced(exim.machine, "echo out; echo wrong >&2; kill -KILL $$"):
        killed = subject("killed")
        exim.deliver(killed, "anna")
        exim.until_settled()
    assert exim.subjects("anna").count(killed) == 1
    assert exim.arrived("berta")[reports:] == []


def test_delivers_once_while_hooks_hang(exim: Exim) -> None:
    def turns() -> Iterator[tuple[str, str]]:
        for way in HOOKED:
            prepared(exim, way)
            yield users(way)

    delivered_once_while_hooks_hang(exim, turns())


def test_event_delivers_once_whatever_the_sender_does(exim: Exim) -> None:
    prepared(exim, EVENT)
    for fault in SENDER_FAULTS:
        delivered_once(exim, EVENT, fault, "anna", "carol")
    # Nothing that Debian would mail to root.
    assert not exim.machine.path("/var/log/exim4/paniclog").exists()


@pytest.mark.parametrize(("way", "seconds"), [(EVENT, 1.0), (SHADOW, 0.0)], ids=str)
def test_what_a_stopped_sender_costs(exim: Exim, way: Way, seconds: float) -> None:
    # Exim delivers to one recipient of a mail after the other.
    prepared(exim, way)
    with faulty(exim, way, "sender stopped", "anna", "carol"):
        both = subject("both")
        exim.deliver(both, "anna", "carol")
        first, second = sorted(exim.until_arrived(both, user) for user in ("anna", "carol"))
        if seconds:
            assert second - first >= seconds
        exim.until_settled()


def test_a_name_that_the_sender_of_a_mail_chooses_says_nothing_else(
    exim: Exim, laptop: Laptop
) -> None:
    # A catch-all accepts every name. The line is the recipe's, as its text says for virtual users.
    prepared(exim, VIRTUAL)
    with exim.reloading():
        exim.apply("event", "anna")
    template = exim.machine.path(TEMPLATE).read_text()
    line = next(each for each in template.splitlines() if "event_action" in each)
    assert line.count("$local_part") == 2
    exim.edit("catch_maildir:", line.replace("$local_part", "$local_part@$domain") + "\n")
    exim.reload()
    names = (
        '"anna junk"',
        '"new carol"',
        '"a\tb"',
        '"anna\nnew carol"',
        '"\nnew carol\n"',
        '"c\r"',
    )
    with exim.sending("carol", "junk", "good@catch.example", trusted=["root"]) as sender:
        laptop.forget()
        for name in (*names, "good"):
            letter = mail.message("chosen", to="x@catch.example").decode().replace("\r\n", "\n")
            exim.machine.run(
                "exim4", "-odi", f"{name}@catch.example", stdin=letter, user="berta", check=False
            )
        laptop.rung()
        assert counted(sender) == {"accepted": 1}
    assert exim.subjects("all@catch.example").count("chosen") >= 4
    exim.until_settled()


def test_mail_that_the_server_calls_spam_rings_nobody(exim: Exim, laptop: Laptop) -> None:
    spam = ("X-Spam-Flag: YES", "X-Spam-Status: Yes, score=7", "X-Virus-Status: Infected (EICAR)")
    prepared(exim, SHADOW)
    with exim.reloading():
        exim.apply("event", "anna")
    with exim.sending("anna", trusted=EVENT.trusted) as sender:
        for header in (*spam, "X-Spam-Status: No"):
            exim.deliver(subject("verdict"), "anna", header=[header])
            exim.until_settled()
        # One of the hook, one of the event.
        assert counted(sender) == {"accepted": 2}


def test_large_mail_does_not_break_a_pipe_that_nobody_reads(exim: Exim) -> None:
    for way in (SHADOW, FORWARD, PIPE):
        prepared(exim, way)
        with faulty(exim, way, "hook missing", "anna"):
            large = subject("large")
            reports = len(exim.arrived("berta"))
            exim.deliver(large, "anna", body="0123456789\n" * 30_000)
            exim.until_settled()
        assert exim.subjects("anna").count(large) == 1
        assert exim.arrived("berta")[reports:] == [], str(way)

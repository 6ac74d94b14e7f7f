"""Courier with the recipes for it: its MTA, its IMAP server and its POP3 server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.daemon import until
from harness.machine import machine
from harness.netns import Pair
from mail_servers import mail
from mail_servers.laptop import Laptop
from mail_servers.logins import IMAP, POP3, PROTOCOLS, log_in
from mail_servers.recipe_check import check_sees_it
from mail_servers.scenario import (
    HOOK_FAULTS,
    SENDER_FAULTS,
    Way,
    delivered_once,
    faulty,
    hanging,
    logins_are_followed,
    order_at_the_hook,
    rings,
    subject,
)
from mail_servers.server import MailServer

from mailbell.recipes import Facts

PASSWORD = "secret"
# Virtual users: the user vmail delivers for them, and they have the whole address as their name.
CAROL, ERNA, IDA = (f"{name}@virtual.example" for name in ("carol", "erna", "ida"))
LOCAL = ("berta", "anna", "dora", "gina", "karla")
COURIERD = "/etc/courier/courierd"


class Courier(MailServer):
    """Courier with local users and virtual ones."""

    name = recipe = "courier"
    packages = ("courier-mta", "courier-imap", "courier-pop", "courier-authlib-userdb")
    programs = ("/usr/sbin/courier", "/usr/sbin/imapd", "/usr/sbin/pop3d", "/usr/sbin/userdb")

    def configure(self) -> None:
        write = self.machine.write
        write("/etc/courier/me", "mail.test.example\n")
        write("/etc/courier/locals", "localhost\ntest.example\n")
        write("/etc/courier/hosteddomains/default", "virtual.example\n")
        write("/etc/courier/esmtpacceptmailfor.dir/default", "test.example\nvirtual.example\n")
        # There is no name server to ask for the sender's domain.
        self.machine.append("/etc/courier/esmtpd", "BOFHCHECKDNS=0\n")
        self.machine.append("/etc/courier/authdaemonrc", 'authmodulelist="authuserdb authpam"\n')
        # Of one address more logins at the same time than a person makes.
        self.machine.append("/etc/courier/pop3d", "MAXPERIP=40\n")
        self.users(*LOCAL)
        self.machine.run("chpasswd", stdin="".join(f"{name}:{PASSWORD}\n" for name in LOCAL))
        self.machine.user("vmail", "--home-dir", "/srv/mail", "--system")
        for name in LOCAL:
            self._maildir(name, f"/home/{name}")
        for name in (CAROL, ERNA, IDA):
            self._maildir("vmail", self.home(name))
        self._virtual(CAROL, ERNA)
        # The entry names a mailbox, so that DEFAULTDELIVERY is not used.
        self._virtual(IDA, more=f"|mail={self.home(IDA)}/Maildir")
        self.machine.run("makeuserdb")
        for program in ("makeacceptmailfor", "makealiases", "makesmtpaccess", "makehosteddomains"):
            self.machine.run(program)

    def _maildir(self, user: str, home: str) -> None:
        self.machine.run("mkdir", "-p", home)
        self.machine.run("chown", user, home)
        self.machine.run("maildirmake.courier", f"{home}/Maildir", user=user)

    def _virtual(self, *names: str, more: str = "") -> None:
        uid, gid = self.machine.ids("vmail")
        hashed = self.machine.run("openssl", "passwd", "-6", PASSWORD).strip()
        entries = "".join(
            f"{name}\tuid={uid}|gid={gid}|home={self.home(name)}|systempw={hashed}{more}\n"
            for name in names
        )
        self.machine.append("/etc/courier/userdb", entries)
        self.machine.path("/etc/courier/userdb").chmod(0o600)

    def start(self) -> None:
        for program in ("authdaemond", "courier", "esmtpd", "imapd", "pop3d"):
            self.machine.run(program, "start")
        until(lambda: all(map(self.listens, (25, 143, 110))), "the start of Courier")

    def reload(self) -> None:
        self.machine.run("courier", "stop")
        until(lambda: not self._runs(), "the end of courierd")
        self.machine.run("courier", "start")
        until(self._runs, "the start of courierd")

    def _runs(self) -> bool:
        return bool(self.machine.run("pgrep", "-r", "S,R,D", "-x", "courierlocal", check=False))

    def version(self) -> str:
        return self.machine.run("courier", "--version").split()[1]

    def flush(self) -> None:
        self.machine.run("courier", "flush")

    def waiting(self) -> int:
        return int(self.machine.run("mailq").splitlines()[-1].split()[0])

    def home(self, user: str) -> str:
        return f"/srv/mail/{user}" if "@" in user else f"/home/{user}"

    def arrived(self, user: str) -> list[tuple[str, float]]:
        home = self.machine.path(self.home(user))
        return [*mail.arrivals(home / "Maildir"), *mail.mbox_arrivals(home / "Mailbox")]

    def facts(self, user: str) -> Facts:
        if "@" not in user:
            return super().facts(user)
        mine = super().facts("vmail")
        return Facts(mine.hook, mine.socket, mine.cyrus, mine.files, "vmail", self.home(user))


@pytest.fixture(scope="module")
def courier(hosts: Pair) -> Iterator[Courier]:
    host = hosts.server
    with machine("Courier", Courier.packages, programs=Courier.programs, host=host) as its:
        server = Courier(its, hosts.client)
        server.configure()
        server.apply("default-delivery", "anna")
        server.start()
        yield server


DEFAULT = Way("default-delivery", trusted=["vmail"])
DOT = Way("dot-courier", trusted=["vmail"])
LOGINS = Way("loginexec", trusted=["vmail"])


@pytest.mark.parametrize("user", ["anna", CAROL])
def test_default_delivery_rings(courier: Courier, laptop: Laptop, user: str) -> None:
    rings(courier, DEFAULT, laptop, user)


@pytest.mark.parametrize("fault", [*SENDER_FAULTS, "hook missing", "hook exits with 75"])
def test_default_delivery_delivers_once(courier: Courier, fault: str) -> None:
    delivered_once(courier, DEFAULT, fault, "anna", CAROL, large=True)


def test_hooks_that_hang_hold_up_nobody(courier: Courier) -> None:
    """More of them than Courier makes deliveries at the same time (MAXDELS is 10)."""
    mails = [subject("hang") for _ in range(6)]
    reports = courier.arrived("berta")
    with faulty(courier, DEFAULT, "hook hangs", "anna", CAROL) as lasting:
        for each in mails:
            courier.deliver(each, "anna", "karla")
        for each in mails:
            courier.until_arrived(each, "anna")
            courier.until_arrived(each, "karla")
        until(lambda: courier.waiting() == 0, "the end of Courier's queue")
        assert lasting(), "Courier waited for the hooks"
        until(lambda: not hanging(courier.machine), "the end of the hooks")
    for each in mails:
        assert courier.subjects("anna").count(each) == 1
        assert courier.subjects("karla").count(each) == 1
    assert courier.arrived("berta") == reports


@contextmanager
def delivering(courier: Courier, line: str) -> Iterator[None]:
    """Let this line be Debian's own in courierd during the block; the recipe's lines stay."""
    before = courier.machine.path(COURIERD).read_text()
    assert "\nDEFAULTDELIVERY=./Maildir\n" in before
    after = before.replace("\nDEFAULTDELIVERY=./Maildir\n", f"\n{line}\n")
    courier.machine.write(COURIERD, after)
    courier.reload()
    try:
        yield
    finally:
        courier.machine.write(COURIERD, before)
        courier.reload()


def test_default_delivery_rings_for_an_mbox(courier: Courier, laptop: Laptop) -> None:
    with delivering(courier, "DEFAULTDELIVERY=./Mailbox"):
        rings(courier, DEFAULT, laptop, "gina")
        assert (Path(courier.machine.path("/home/gina")) / "Mailbox").stat().st_size > 0


@pytest.mark.parametrize("line", ["#DEFAULTDELIVERY=./Maildir", "DEFAULTDELIVERY="])
def test_default_delivery_delivers_where_courierd_names_no_mailbox(
    courier: Courier, laptop: Laptop, line: str
) -> None:
    with delivering(courier, line):
        rings(courier, DEFAULT, laptop, "gina", rounds=1)


@pytest.mark.parametrize(("way", "user"), [(DEFAULT, "anna"), (DEFAULT, CAROL), (DOT, IDA)])
def test_the_hook_begins_after_the_mail_is_visible(courier: Courier, way: Way, user: str) -> None:
    courier.apply(way.name, user)
    assert all(order_at_the_hook(courier, way, user))


def test_dot_courier_rings_a_user_whose_entry_names_a_mailbox(
    courier: Courier, laptop: Laptop
) -> None:
    """DEFAULTDELIVERY, which is in force, does not ring for this user."""
    courier.withdraw("dot-courier", IDA)
    with courier.sending(IDA, trusted=["vmail"]) as sender:
        courier.deliver(subject("silent"), IDA)
        courier.until_settled()
        courier.deliver(subject("heard"), CAROL)
        until(lambda: sender.status().inputs["unknown_account"] == 1)  # CAROL's
        assert sender.status().inputs["accepted"] == 0
    courier.apply("dot-courier", IDA)
    rings(courier, DOT, laptop, IDA)


@pytest.mark.parametrize("fault", [*SENDER_FAULTS, *HOOK_FAULTS])
def test_dot_courier_delivers_once(courier: Courier, fault: str) -> None:
    courier.apply("dot-courier", IDA, "karla")
    delivered_once(courier, DOT, fault, IDA, "karla", large=True)


def test_a_login_says_where_and_the_next_mail_rings_there(courier: Courier, laptop: Laptop) -> None:
    logins = {
        "anna": (IMAP, "IPv4"), CAROL: (IMAP, "IPv6"), "dora": (POP3, "IPv6"), ERNA: (POP3, "IPv4"),
    }  # fmt: skip
    courier.apply("loginexec", *logins, "gina")
    logins_are_followed(courier, LOGINS, laptop, logins, refused="gina", password=PASSWORD)


@pytest.mark.parametrize("fault", [*SENDER_FAULTS, *HOOK_FAULTS])
def test_a_login_goes_on_whatever_is_wrong(courier: Courier, laptop: Laptop, fault: str) -> None:
    courier.apply("loginexec", "anna", CAROL)
    with faulty(courier, LOGINS, fault, "anna", CAROL) as lasting:
        for protocol in PROTOCOLS:
            for user in ("anna", CAROL):
                assert log_in(laptop.host, "192.0.2.1", protocol, user, PASSWORD)
        # A hook that hangs is seen no more if the logins have waited for its end.
        until(lasting, f"{fault}, for real")
        until(lambda: not hanging(courier.machine), "the end of the hooks")
    for user in ("anna", CAROL):
        link = courier.machine.path(f"{courier.home(user)}/Maildir/loginexec")
        assert link.is_symlink(), "Courier has removed it"


@pytest.mark.parametrize(
    ("way", "user"), [(DEFAULT, "anna"), (DOT, IDA), (LOGINS, "anna"), (LOGINS, CAROL)]
)
def test_check_sees_that_it_is_in_force(courier: Courier, way: Way, user: str) -> None:
    courier.apply(way.name, user)
    check_sees_it(courier, way, user)


def test_it_is_undone_as_the_recipe_says(courier: Courier) -> None:
    courier.apply("loginexec", "anna")
    courier.withdraw("loginexec", "anna")
    courier.withdraw("default-delivery", "anna")
    assert not courier.machine.path("/home/anna/Maildir/loginexec").is_symlink()
    courierd = courier.machine.path(COURIERD).read_text()
    assert "mailbell" not in courierd
    assert courierd.count("\nDEFAULTDELIVERY=") == 1

"""Dovecot 2.3 and 2.4: what their tests have in common."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import DEVNULL
from typing import ClassVar, Final

from harness.daemon import until
from harness.machine import Machine
from harness.netns import Namespace
from harness.sender import PATIENCE
from mail_servers.mail import arrivals, mbox_subjects, message, send
from mail_servers.server import FILES, MailServer

from mailbell.recipes import FileStep, load

__all__ = [
    "LUA",
    "MANY",
    "PASSWORD",
    "PLAIN",
    "POSTLOGIN",
    "USERS",
    "Dovecot",
    "User",
    "replaced",
    "through_postfix",
    "whole_addresses",
]

LUA: Final = f"{FILES}/mailbell.lua"
POSTLOGIN: Final = f"{FILES}/mailbell-postlogin"
PASSWORD: Final = "secret"  # of every user


MANY: Final = "many"
PLAIN: Final = "plain"
"""Two users who get 1,000 mails each, on a disk. The mail of the second one is delivered by another
Dovecot, which does not know of mailbell: `Dovecot.beside`."""


@dataclass(frozen=True)
class User:
    """Somebody who gets mail.

    Attributes:
        name: with which the user logs in.
        mbox: whether the mailbox is an mbox; else it is a Maildir.
        virtual: whether the mail belongs to the user vmail; else to a user of this name.
    """

    name: str
    mbox: bool = False
    virtual: bool = False

    @property
    def home(self) -> str:
        return f"/srv/mail/{self.name}" if self.virtual else f"/home/{self.name}"

    @property
    def owner(self) -> str:
        return "vmail" if self.virtual else self.name


USERS: Final = (
    User("berta"),
    User("anna"),
    User("carol"),
    User("mark", mbox=True),
    User("vera", virtual=True),
    User("victor", mbox=True, virtual=True),
    User("whole@test.example", virtual=True),
    *(User(name) for name in ("imap4", "imap6", "pop4", "pop6", "nobodys", MANY, PLAIN)),
)


class Dovecot(MailServer):
    """Dovecot with local and virtual users, with Maildirs and mboxes, Sieve and Lua.

    It takes mail itself, by LMTP, or gets it from Postfix.

    Attributes:
        by_postfix: whether `deliver` hands mail to Postfix.
    """

    settings: ClassVar[str]
    """The configuration without mailbell."""
    whole: ClassVar[tuple[str, str]]
    """Two settings: names are local parts, or whole addresses."""
    mbox_fields: ClassVar[str]
    """The fields of a user whose mailbox is an mbox."""

    def __init__(self, machine: Machine, laptop: Namespace, *, by_postfix: bool = False) -> None:
        super().__init__(machine, laptop)
        self.by_postfix = by_postfix

    def users(self, *names: str) -> None:
        """Make the users of USERS, among whom must be all that a test names."""
        assert {*names} <= {each.name for each in USERS}
        self.machine.user("vmail")
        for each in USERS:
            if not each.virtual:
                self.machine.user(each.name)
        self.machine.write("/etc/dovecot/users", "".join(map(self._line, USERS)))
        self.machine.write("/srv/mail/readme", "Virtual users.\n", owner="vmail")
        for name in (MANY, PLAIN):
            self.machine.write(f"{self.machine.shared}/disk/{name}/readme", "Mail.\n", owner=name)
        self._spool_on_disk()

    def _spool_on_disk(self) -> None:
        spool, disk = "/var/spool/postfix", f"{self.machine.shared}/spool"
        self.machine.run("cp", "-a", spool, disk)
        self.machine.run("mount", "--bind", disk, spool)

    def _line(self, user: User) -> str:
        uid, gid = self.machine.ids(user.owner)
        more = self.mbox_fields if user.mbox else ""
        return f"{user.name}:{{PLAIN}}{PASSWORD}:{uid}:{gid}::{self.home(user.name)}::{more}\n"

    def home(self, name: str) -> str:
        """Return the home folder of a user, inside."""
        if name in (MANY, PLAIN):
            return f"{self.machine.shared}/disk/{name}"
        return next(each.home for each in USERS if each.name == name)

    def configure(self) -> None:
        self.machine.write("/etc/dovecot/dovecot.conf", self.settings)
        for setting in (
            "myhostname = mail.test.example", "mydestination = test.example",
            "myorigin = test.example", "mynetworks = 192.0.2.0/24", "inet_interfaces = all",
            "alias_maps =", "alias_database =", "local_recipient_maps =",
            "local_transport = lmtp:unix:private/dovecot-lmtp",
            f"transport_maps = inline:{{{PLAIN}@test.example=lmtp:unix:private/plain-lmtp}}",
            "maillog_file = /var/log/postfix.log",
        ):  # fmt: skip
            self.machine.run("postconf", "-e", setting)

    def start(self) -> None:
        # Dovecot makes a socket in a folder that Postfix makes.
        self.machine.run("postfix", "start")
        until(lambda: self.listens(25), "the start of Postfix")
        self._launch("dovecot")

    def restart(self) -> None:
        """Let nothing of an earlier configuration be left."""
        self.machine.run("doveadm", "stop")
        self._launch("dovecot")

    def _launch(self, *command: str) -> None:
        # It goes into the background with the descriptors that it has.
        started = self.machine.popen(*command, stdout=DEVNULL, stderr=DEVNULL)
        assert started.wait(PATIENCE) == 0, self.machine.run("doveconf", "-n", check=False)
        until(lambda: all(map(self.listens, (24, 110, 143))), "the start of Dovecot")

    def version(self) -> str:
        return self.machine.run("dovecot", "--version").split()[0]

    def flush(self) -> None:
        self.machine.run("postqueue", "-f")

    def waiting(self) -> int:
        return len(self.machine.run("postqueue", "-j").splitlines())

    def arrived(self, user: str) -> list[tuple[str, float]]:
        who = next(each for each in USERS if each.name == user)
        if not who.mbox:
            return arrivals(self.machine.path(f"{self.home(user)}/Maildir"))
        path = self.machine.path(f"{who.home}/inbox")
        # An mbox has one time for all of its mails. Dovecot sets the mtime to whole seconds.
        return [(subject, path.stat().st_ctime) for subject in mbox_subjects(path)]

    def deliver(
        self, subject: str, *users: str, body: str = "Hello.", header: Sequence[str] = ()
    ) -> None:
        """Send one mail to users, from another host."""
        recipients = [user if "@" in user else f"{user}@test.example" for user in users]
        text = message(subject, to=recipients[0], body=body, header=header)
        address = ("192.0.2.1", 25 if self.by_postfix else 24)
        send(self.laptop, address, text, *recipients, lmtp=not self.by_postfix)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Run a second Dovecot, without mailbell, for the user PLAIN during the block."""
        file = "/etc/dovecot/plain.conf"
        text = self.settings.replace("private/dovecot-lmtp", "private/plain-lmtp")
        text = text.replace("port = 24\n", "port = 2400\n").replace("imap pop3 lmtp", "lmtp")
        text = "".join(line for line in text.splitlines(True) if "!include" not in line)
        self.machine.write(file, f"{text}base_dir = /run/plain\ninstance_name = plain\n")
        started = self.machine.popen("dovecot", "-c", file, stdout=DEVNULL, stderr=DEVNULL)
        assert started.wait(PATIENCE) == 0
        until(lambda: self.listens(2400), "the start of the second Dovecot")
        try:
            yield
        finally:
            self.machine.run("doveadm", "-c", file, "stop")

    @contextmanager
    def telling(self, way: str) -> Iterator[None]:
        """Let the recipe be in force during the block."""
        self.apply(way, "anna")
        self.restart()
        try:
            yield
        finally:
            for step in load(self.recipe).way(way).steps(self.facts("anna")):
                if isinstance(step, FileStep):
                    self.machine.path(step.path).unlink()
            self.restart()


@contextmanager
def through_postfix(server: Dovecot) -> Iterator[None]:
    """Let Postfix take the mail, and give it to Dovecot, during the block."""
    server.by_postfix = True
    try:
        yield
    finally:
        server.by_postfix = False


@contextmanager
def whole_addresses(server: Dovecot) -> Iterator[None]:
    """Let users log in with whole addresses during the block."""
    path = server.machine.path("/etc/dovecot/dovecot.conf")
    text = path.read_text()
    assert server.whole[0] in text
    path.write_text(text.replace(*server.whole))
    server.restart()
    try:
        yield
    finally:
        path.write_text(text)
        server.restart()


@contextmanager
def replaced(server: MailServer, path: str, text: str | None) -> Iterator[None]:
    """Let a file of the machine have another text, or be missing, during the block."""
    real, aside = server.machine.path(path), server.machine.path(f"{path}.aside")
    mode = real.stat().st_mode & 0o777
    real.rename(aside)
    try:
        if text is not None:
            server.machine.write(path, text, mode=mode)
        yield
    finally:
        aside.replace(real)

"""Postfix as a mail server under test, and in front of what delivers for it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Final, TypeVar

from harness.daemon import until
from harness.machine import machine
from harness.netns import Pair
from mail_servers import mail
from mail_servers.server import MailServer

__all__ = ["Postfix", "postfix_with"]

_SETTINGS: Final = (
    "myhostname = mail.test.example",
    "mydestination = test.example",
    # Else the address that `\\anna` means is another host's.
    "myorigin = test.example",
    "mynetworks = 192.0.2.0/24",
    "inet_interfaces = all",
    "mailbox_command =",
    "home_mailbox = Maildir/",
    "compatibility_level = 3.6",
    "alias_maps =",
    "maillog_file = /var/log/postfix.log",
)


class Postfix(MailServer):
    """Postfix that delivers into Maildirs or mboxes of local users."""

    name = recipe = "postfix"
    packages: ClassVar[Sequence[str]] = ("postfix",)
    programs: ClassVar[Sequence[str]] = ("/usr/sbin/postfix",)

    def configure(self) -> None:
        self.set(*_SETTINGS)

    def set(self, *settings: str) -> None:
        """Write settings into main.cf. They count after `reload`."""
        self.change("postconf", "-e", *settings)

    def change(self, *command: str) -> None:
        super().change(*command)
        # Each program of Postfix waits until such a file has not changed for a second.
        for file in ("main.cf", "master.cf"):
            os.utime(self.machine.path(f"/etc/postfix/{file}"), (1_000_000_000, 1_000_000_000))

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

    def idle(self) -> bool:
        """Return whether its queue is empty, without a program that would take time."""
        queue = self.machine.path("/var/spool/postfix")
        return not any(
            each.is_file()
            for folder in ("maildrop", "incoming", "active", "deferred")
            for each in (queue / folder).rglob("*")
        )

    def arrived(self, user: str) -> list[tuple[str, float]]:
        return super().arrived(user) + mail.mbox_arrivals(self.machine.path(f"/var/mail/{user}"))


_Kind = TypeVar("_Kind", bound=Postfix)


@contextmanager
def postfix_with(hosts: Pair, kind: type[_Kind], *users: str) -> Iterator[_Kind]:
    """Run a machine with Postfix and users until the end of the block.

    Args:
        hosts: the server's host and the user's.
        kind: what the server is.
        users: who get mail; berta is made in any case.
    """
    with machine("Postfix", kind.packages, programs=kind.programs, host=hosts.server) as its:
        server = kind(its, hosts.client)
        server.users("berta", *users)
        server.configure()
        server.start()
        yield server

"""A desk with Thunderbird: its machine, a mail server that cannot push, a mailbelld, accounts."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final

from cli.support import words
from harness.daemon import until
from harness.machine import Machine, machine
from harness.sender import PATIENCE
from mail_programs.post import Bell, Post, posts
from mail_programs.profile import Account
from mail_programs.results import record
from mail_programs.thunderbird import OWNER, Thunderbird, thunderbirds

__all__ = [
    "DEBIAN_12",
    "DEBIAN_12_OLDER",
    "DEBIAN_13",
    "SOON",
    "Desk",
    "Version",
    "desks",
    "until_has",
    "until_quiet",
]  # fmt: skip


@dataclass(frozen=True)
class Version:
    """Which Thunderbird.

    Attributes:
        debian: what the results say of it.
        packages: what has it.
        suite: the Debian that is unpacked for it; "-": this host's own.
    """

    debian: str
    packages: Sequence[str]
    suite: str = "-"


DEBIAN_12: Final = Version("Debian 12", ["thunderbird"])
DEBIAN_12_OLDER: Final = Version("Debian 12", ["thunderbird=1:140.*"])
DEBIAN_13: Final = Version(
    "Debian 13", ["thunderbird", "passwd", "util-linux", "python3"], "trixie"
)

SOON: Final = 3.0
"""Seconds from the ring to the message."""

_FASTER: Final = {"extensions.mailbell.gap": 1000, "extensions.mailbell.log": True}


@dataclass(frozen=True)
class Desk:
    """All that stands on it; Thunderbird does not run yet.

    Attributes:
        machine: where Thunderbird is installed.
        debian: what the results say.
        post: the mail server.
        bell: mailbelld, which does not run yet.
        imap: an account, which mailbelld calls `work`.
        pop3: an account, which mailbelld calls `club`.
    """

    machine: Machine
    debian: str
    post: Post
    bell: Bell
    imap: Account
    pop3: Account

    @property
    def both(self) -> tuple[Account, Account]:
        """The two accounts."""
        return self.imap, self.pop3

    @contextmanager
    def thunderbird(
        self,
        *more: Account,
        environ: Mapping[str, str] | None = None,
    ) -> Iterator[Thunderbird]:
        """Run Thunderbird until the end of the block, with further accounts."""
        with thunderbirds(
            self.machine, [*self.both, *more],
            environ={"MAILBELL_SOCKET": str(self.bell.path), **(environ or {})},
            preferences=_FASTER,
        ) as program:  # fmt: skip
            yield program

    def deliver(self, subject: str, *accounts: Account) -> None:
        """Deliver a message to each account."""
        for account in accounts:
            self.post.deliver(subject, account.user)

    def seconds_to_message(self, thunderbird: Thunderbird, account: Account, subject: str) -> float:
        """Deliver a message, ring for its account, and return how long the message then takes."""
        self.deliver(subject, account)
        assert not thunderbird.has(account, subject)
        begun = monotonic()
        self.bell.ring(account.name)
        until_has(thunderbird, subject, account)
        return monotonic() - begun

    def note(self, thunderbird: Thunderbird, account: Account, seconds: float) -> None:
        """Have a time from the ring to the message in the documents."""
        version = f"{self.debian}, {thunderbird.version()}"
        record("thunderbird", version, account.kind.upper(), seconds)

    def asked(self) -> dict[str, int]:
        """How often each account was looked at, by the kind of account."""
        return {one.kind: self.post.asked(one.kind, one.user) for one in self.both}


def until_has(thunderbird: Thunderbird, subject: str, *accounts: Account) -> None:
    """Wait for a message in the own stores of accounts."""
    for account in accounts:
        until(partial(thunderbird.has, account, subject), f"{subject} in {account.name}")


def until_quiet(thunderbird: Thunderbird, *accounts: Account) -> Any:
    """Wait until nothing is fetched and nothing waits to be, and return the status."""
    keys = {account.key for account in accounts}
    found: list[Any] = []

    def quiet() -> bool:
        found[:] = [thunderbird.status()]
        states = [one["state"] for one in found[0]["accounts"] if one["key"] in keys]
        return len(states) == len(keys) and not {"waiting", "fetching"} & set(states)

    until(quiet, "the end of all fetches")
    return found[0]


def mailbell(machine: Machine, *arguments: str) -> None:
    """Run `mailbell` of this host as root of the machine, whose /usr/share it sees."""
    root = machine.beside[-1]
    script = 'mount --bind "$0/usr/share" /usr/share && exec "$@"'
    line = [*machine.beside, "sh", "-c", script, root, *words("mailbell", *arguments)]
    subprocess.run(line, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)


@contextmanager
def desks(version: Version) -> Iterator[Desk]:
    """Set up a desk until the end of the block."""
    with machine(
        "Thunderbird", version.packages, programs=["/usr/bin/thunderbird"], host=None,
        suite=version.suite, stage="programs",
    ) as its, posts() as post:  # fmt: skip
        its.user(OWNER, "--groups", "users")
        mailbell(its, "install", "--thunderbird")
        bell = Bell(its.shared / "mailbelld")
        accounts = (
            Account("server1", "work", "imap", "wanda", post.server.imap),
            Account("server2", "club", "pop3", "conny", post.server.pop3),
        )
        post.watch(accounts[0].user)
        try:
            yield Desk(its, version.debian, post, bell, *accounts)
        finally:
            bell.stop()
        mailbell(its, "uninstall", "--thunderbird")
        assert not its.path("/usr/share/mozilla").exists()

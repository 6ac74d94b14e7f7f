"""A laptop of the first topology: mailbelld under its sockets, `mailbell run` with mbsync."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from end_to_end.mx import PASSWORD, SUITE
from end_to_end.recipes import PROGRAMS
from end_to_end.wire import Host, Wire
from packages.environments import put_environment
from packages.roots import clean_root

__all__ = ["ADDRESSES", "PACKAGES", "PERSON", "Account", "Laptop", "boot_laptop", "laptop_root"]

PACKAGES: Final = ("isync", "neomutt", "tmux", "python3")
ADDRESSES: Final = ("192.0.2.7", "2001:db8::7")
PERSON: Final = "anna"

_MBSYNC: Final = """\
IMAPAccount {name}
Host {server}
User {user}
Pass {password}
AuthMechs LOGIN
TLSType None

IMAPStore {name}-far
Account {name}

MaildirStore {name}-near
Inbox ~/Mail/{name}

Channel {name}
Far :{name}-far:
Near :{name}-near:
Create Near

"""
# A line of the agent's log.
_FETCHED: Final = "event=ran job={} .* code=0$"
_JOB: Final = """\
[[job]]
name = "{name}"
accounts = ["{name}"]
client = "mbsync"
args = ["{name}"]
"""


@dataclass(frozen=True)
class Account:
    """A mail account of a person.

    Attributes:
        name: what mailbelld, the agent and the Maildir call it.
        user: the login at the mail server.
        server: the mail server's name or address.
        match: how mailbelld knows a ring for it: keys of `[[account]]`.
    """

    name: str
    user: str
    server: str
    match: str


@dataclass(frozen=True)
class Laptop:
    """A laptop at work.

    Attributes:
        host: where it runs.
    """

    host: Host

    def mails(self, account: str) -> list[str]:
        """Return all messages in the Maildir of an account, whole."""
        found = []
        for folder in ("new", "cur"):
            place = self.host.path(f"/home/{PERSON}/Mail/{account}/{folder}")
            if place.exists():
                found += [each.read_text() for each in sorted(place.iterdir())]
        return found

    def has(self, account: str, subject: str, body: str) -> bool:
        """Tell whether a message is in the Maildir of an account, once and whole."""
        found = [each for each in self.mails(account) if f"\nSubject: {subject}\n" in each]
        return len(found) == 1 and found[0].rstrip().endswith(f"\n\n{body}")

    def agent(self) -> list[str]:
        """Return the log of the person's agent."""
        command = "journalctl --sync; journalctl --no-pager -o cat _SYSTEMD_USER_UNIT="
        return self.host.run(f"{command}mailbell-agent.service").splitlines()

    def fetched(self, account: str) -> int:
        """Return how many fetches of an account have ended well."""
        ended = re.compile(_FETCHED.format(account))
        return sum(ended.match(line) is not None for line in self.agent())

    def mailbell(self, words: str) -> str:
        """Run `mailbell` with words, as root; return what it prints."""
        return self.host.run(f"{PROGRAMS}/mailbell {words}")


def laptop_root(*more: str) -> Path:
    """Return the root directory of a laptop, made once.

    Args:
        more: further packages.
    """
    return clean_root(SUITE, *PACKAGES, *more)


def boot_laptop(
    wire: Wire,
    accounts: Sequence[Account],
    names: Sequence[str],
    *,
    name: str = "laptop",
    addresses: Sequence[str] = ADDRESSES,
    root: Path | None = None,
    more: str = "",
) -> Laptop:
    """Boot a laptop, and wait until its agent listens and has fetched what there is.

    Args:
        wire: where it is to be.
        accounts: of mail. One without `match` is the only one of mailbelld, `default`.
        names: of the mail servers: lines of hosts(5).
        name: of the host.
        addresses: IPv4 and IPv6.
        root: its root directory; None: that of `laptop_root`.
        more: further tables for mailbelld.toml.
    """
    cards = [f"{each}/{64 if ':' in each else 24}" for each in addresses]
    host = wire.host(name, root or laptop_root(), *cards)
    host.person(PERSON)
    with host.path("/etc/hosts").open("a") as file:
        file.writelines(f"{line}\n" for line in names)
    matched = "".join(
        f'[[account]]\nname = "{each.name}"\n{each.match}\n' for each in accounts if each.match
    )
    host.write("/etc/mailbell/mailbelld.toml", f"{more}\n{matched}")
    put_environment(host)
    host.run(f"{PROGRAMS}/mailbell install --user {PERSON}")
    _configure(host, accounts)
    host.run(f"loginctl enable-linger {PERSON}")
    host.run("mailbell run --install-unit --yes", user=PERSON)
    laptop = Laptop(host)
    state = "systemctl --user show -P StatusText mailbell-agent.service"
    host.until(f"runuser -l {PERSON} -c 'test \"$({state})\" = listening'", "the agent")
    for each in accounts:
        fetched = _FETCHED.format(each.name)
        host.until(
            f"journalctl --no-pager -o cat | grep -q '{fetched}'", f"{each.name}'s first fetch"
        )
    return laptop


def _configure(host: Host, accounts: Sequence[Account]) -> None:
    """Write the person's own files."""
    home = f"/home/{PERSON}"
    mbsync = "".join(
        _MBSYNC.format(name=each.name, server=each.server, user=each.user, password=PASSWORD)
        for each in accounts
    )
    jobs = "".join(_JOB.format(name=each.name) for each in accounts)
    host.write(f"{home}/.mbsyncrc", mbsync, 0o600)
    host.write(f"{home}/.config/mailbell/agent.toml", f'[defaults]\nmin_gap = "1s"\n{jobs}')
    host.run(f"mkdir -p {home}/Mail && chown -R {PERSON}: {home}")

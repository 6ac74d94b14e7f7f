"""A laptop of the first topology: mailbelld under its sockets, `mailbell run` with mbsync."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from end_to_end.mx import PASSWORD, SUITE
from end_to_end.recipes import PROGRAMS
from end_to_end.wire import Host, Wire
from harness.daemon import until
from packages.environments import put_environment
from packages.roots import clean_root
from packages.system import PATIENCE

__all__ = ["ADDRESSES", "PACKAGES", "PERSON", "Account", "Laptop", "boot_laptop", "laptop_root"]

PACKAGES: Final = ("isync", "neomutt", "tmux", "python3")
ADDRESSES: Final = ("192.0.2.7/24", "2001:db8::7/64")
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
_UDP: Final = """\
systemctl enable mailbelld-udp.socket
systemctl stop mailbelld.service mailbelld.socket mailbelld-local.socket
systemctl start mailbelld-udp.socket mailbelld.service
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

    def until_has(self, account: str, subject: str, body: str = "Hello.") -> None:
        """Wait until a message is in the Maildir of an account; it may not be there twice."""
        until(lambda: self.has(account, subject, body), f"{subject} in {account}", PATIENCE)

    def agent(self) -> list[str]:
        """Return the log of the person's agent."""
        command = "journalctl --sync; journalctl --no-pager -o cat _SYSTEMD_USER_UNIT="
        return self.host.run(f"{command}mailbell-agent.service").splitlines()

    def fetched(self, account: str) -> int:
        """Return how many fetches of an account have ended well."""
        ended = re.compile(_FETCHED.format(account))
        return sum(ended.match(line) is not None for line in self.agent())

    def rung(self, account: str) -> int:
        """Return how many fetches of an account were begun because the mail server rang."""
        return sum(f"event=run job={account} cause=network " in line for line in self.agent())

    def status(self) -> Any:
        """Return what `mailbell status` knows."""
        return json.loads(self.mailbell("status --json"))

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
    udp: bool = False,
) -> Laptop:
    """Boot a laptop, and wait until its agent listens and has fetched what there is.

    Args:
        wire: where it is to be.
        accounts: of mail. One without `match` is the only one of mailbelld, `default`.
        names: of the mail servers: lines of hosts(5).
        name: of the host.
        addresses: as in `Host.addresses`.
        root: its root directory; None: that of `laptop_root`.
        udp: whether mailbelld listens on UDP too, as the comment in its unit tells.
    """
    host = wire.host(name, root or laptop_root(), *addresses)
    host.person(PERSON)
    with host.path("/etc/hosts").open("a") as file:
        file.writelines(f"{line}\n" for line in names)
    matched = "".join(
        f'[[account]]\nname = "{each.name}"\n{each.match}\n' for each in accounts if each.match
    )
    host.write("/etc/mailbell/mailbelld.toml", matched)
    put_environment(host)
    host.run(f"{PROGRAMS}/mailbell install --user {PERSON}")
    if udp:
        host.run(_UDP)
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

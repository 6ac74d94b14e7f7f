"""The laptops of the second and third topologies, which fetch by POP3.

The second: fetchmail stays in the background, as Debian's unit starts it, and the agent wakes it.
It hands the mail to the laptop's own Exim, which puts it into an mbox. The third: the agent runs
getmail, which puts the mail into a Maildir.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from end_to_end.laptop import PERSON, Laptop
from end_to_end.mx import DOMAIN, PASSWORD
from end_to_end.pop3_servers import exim_root, sendmail_root
from end_to_end.recipes import PROGRAMS
from end_to_end.wire import Host, Wire
from packages.environments import put_environment

__all__ = ["ACCOUNT", "TARGET", "Pop3Laptop", "boot_fetchmail", "boot_getmail"]

ACCOUNT: Final = "home"
"""What the person calls the mail account."""

TARGET: Final = "[2001:db8::7]:79"
"""Where it is rung: it fetches by IPv6."""

_CARDS: Final = ("192.0.2.7/24", "2001:db8::7/64")
# The certificates of both servers are those that Debian makes, which nobody has signed. Exim
# puts all mail of a connection behind the tenth into its queue, for up to half an hour.
_FETCHMAILRC: Final = f"""\
poll {DOMAIN} protocol pop3
  username {PERSON} password {PASSWORD} no sslcertck
  batchlimit 9
"""
# Debian's unit looks every 300 s. Here nothing but a ring may wake it.
_ONCE_A_DAY: Final = "[Service]\nExecStart=\nExecStart=fetchmail --nodetach --daemon 86400\n"
# A fetch that the laptop leaves with its network ends soon, and the next one can begin.
_GETMAILRC: Final = f"""\
[retriever]
type = SimplePOP3SSLRetriever
server = {DOMAIN}
timeout = 10
username = {PERSON}
password_command = ("cat", "/home/{PERSON}/.password")

[destination]
type = Maildir
path = ~/Mail/{ACCOUNT}/

[options]
read_all = false
"""
# A fetch is over before fetchmail is woken again: what wakes it while it fetches, it forgets.
_PACE: Final = "--min-gap 5s"
# See _Getmail.
_SOON_AGAIN: Final = "--backoff 1s..2s --timeout 20s"


@dataclass(frozen=True)
class Pop3Laptop(Laptop):
    """A laptop whose agent has one job, for all accounts."""

    fetches_once: ClassVar[bool] = True  # whether one fetch brings all that waits

    def runs(self, cause: str = r"\w+") -> int:
        """Return how often the agent has run its job, for a cause or for any."""
        began = re.compile(f"event=run job=\\S+ cause={cause} ")
        return sum(began.match(line) is not None for line in self.agent())

    def failures(self) -> int:
        """Return how often the job has failed: each time the agent plans to repeat it."""
        return sum(line.startswith("event=retry ") for line in self.agent())


@dataclass(frozen=True)
class _Mbox(Pop3Laptop):
    """One whose mail is in Debian's mbox."""

    def mails(self, account: str) -> list[str]:
        assert account == ACCOUNT
        path = self.host.path(f"/var/mail/{PERSON}")
        text = path.read_text() if path.exists() else ""
        return [f"\n{each}" for each in re.split(r"(?m)^From .*\n", text)[1:]]


@dataclass(frozen=True)
class _Getmail(Pop3Laptop):
    """One with Debian 13's getmail.

    getmail starts a process for each message. If that ends very soon, getmail fails with an
    AttributeError (`childpid`) or hangs, although the message is delivered, and fetches it again.
    So how often it fetches is left to chance, and is not compared.
    """

    fetches_once: ClassVar[bool] = False

    def has(self, account: str, subject: str, body: str) -> bool:
        found = [each for each in self.mails(account) if f"\nSubject: {subject}\n" in each]
        return bool(found) and all(each.rstrip().endswith(f"\n\n{body}") for each in found)


def boot_fetchmail(wire: Wire, names: Sequence[str]) -> Pop3Laptop:
    """Boot the laptop of the second topology, and wait until its agent listens.

    Args:
        wire: where it is to be.
        names: of the mail servers: lines of hosts(5).
    """
    # It has the packages of the server too. What of them is not of a laptop does not run.
    host = _boot(wire, exim_root(), names, "courier-authdaemon", "courier-pop", "courier-imap")
    home = f"/home/{PERSON}"
    host.write(f"{home}/.fetchmailrc", _FETCHMAILRC, 0o600)
    host.write(f"{home}/.config/systemd/user/fetchmail.service.d/rare.conf", _ONCE_A_DAY)
    host.run(f"chown -R {PERSON}: {home}")
    host.run("systemctl --user enable --now fetchmail", user=PERSON)
    _start_agent(host, "fetchmail-daemon")
    return _Mbox(host)


def boot_getmail(wire: Wire, names: Sequence[str]) -> Pop3Laptop:
    """Boot the laptop of the third topology, and wait until its agent listens and has fetched.

    Args:
        wire: where it is to be.
        names: of the mail servers: lines of hosts(5).
    """
    host = _boot(wire, sendmail_root(), names, "dovecot")
    home = f"/home/{PERSON}"
    host.write(f"{home}/.password", PASSWORD, 0o600)
    host.write(f"{home}/.config/getmail/getmailrc", _GETMAILRC, 0o600)
    host.run(f"cd {home} && mkdir -p Mail/{ACCOUNT}/cur Mail/{ACCOUNT}/new Mail/{ACCOUNT}/tmp")
    host.run(f"chown -R {PERSON}: {home}")
    _start_agent(host, f"getmail {_SOON_AGAIN}")
    return _Getmail(host)


def _boot(wire: Wire, root: Path, names: Sequence[str], *stopped: str) -> Host:
    host = wire.host("laptop", root, *_CARDS)
    host.run(f"systemctl disable -q --now {' '.join(stopped)}")
    with host.path("/etc/hosts").open("a") as file:
        file.writelines(f"{line}\n" for line in names)
    host.person(PERSON)
    put_environment(host)
    host.run(f"{PROGRAMS}/mailbell install --user {PERSON}")
    host.run(f"loginctl enable-linger {PERSON}")
    return host


def _start_agent(host: Host, client: str) -> None:
    host.run(f"mailbell run --client {client} {_PACE} --install-unit --yes", user=PERSON)
    state = "systemctl --user show -P StatusText mailbell-agent.service"
    host.until(f"runuser -l {PERSON} -c 'test \"$({state})\" = listening'", "the agent")
    ended = f"event=ran job={client.split(maxsplit=1)[0]} .* code=0"
    host.until(f"journalctl --no-pager -o cat | grep -q '{ended}'", "the agent's first run")

"""What the two machines run: their configuration, and the start of each program.

The mail server: Postfix takes mail and gives it to Dovecot by LMTP; Sieve files it; Lua tells
mailbell-sender of it. The laptop: mailbelld is rung, and `mailbell run` starts mbsync, which fills
the Maildir that NeoMutt reads. No service manager is there: one needs a control group in which it
may write, which an ordinary user seldom has. The settings are those of docs/servers/dovecot-2.4.md.
"""

import shutil
import sysconfig
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mailbell
from mailbell.recipes import Facts, FileStep, load
from scripts.show.ears import Ears
from scripts.show.hosts import Host, Wire
from scripts.show.reader import listed

__all__ = [
    "FETCH", "LAPTOP", "PACKAGES", "PERSON", "SERVER", "STRANGER", "SUITE", "Machines", "start",
]  # fmt: skip

SUITE: Final = "trixie"
PACKAGES: Final = (
    "postfix", "dovecot-imapd", "dovecot-lmtpd", "dovecot-sieve", "lua-socket", "isync", "neomutt",
    "iproute2", "python3", "python3-trio", "python3-click", "python3-rich", "python3-msgspec",
    "python3-jeepney", "python3-dnspython", "python3-seccomp",
)  # fmt: skip
SERVER: Final = ("192.0.2.1", "2001:db8::1")
LAPTOP: Final = ("192.0.2.7", "2001:db8::7")
STRANGER: Final = ("192.0.2.66", "2001:db8::66")
_OUTSIDE: Final = ("192.0.2.50", "2001:db8::50")
PERSON: Final = "anna"
_MAILDIR: Final = f"/home/{PERSON}/Mail"
FETCH: Final = (
    "mailbell",
    "run",
    "--settle",
    "100ms",
    "--min-gap",
    "1s",
    "--",
    "mbsync",
    "-q",
    "-a",
)
_PASSWORD: Final = "kept-in-memory"  # noqa: S105 (of a mail server that lives for a minute)
_FILES: Final = "/usr/share/mailbell/servers"

_MAIN_CF: Final = """\
compatibility_level = 3.6
maillog_file = /dev/stdout
myhostname = mail.example.org
mydestination = example.org
mynetworks = 127.0.0.0/8
inet_interfaces = all
alias_maps =
alias_database =
smtpd_peername_lookup = no
biff = no
local_transport = lmtp:unix:private/dovecot-lmtp
local_recipient_maps =
"""
_DOVECOT: Final = """\
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
protocols = imap lmtp
log_path = /dev/stderr
ssl = no
auth_allow_cleartext = yes
auth_username_format = %{user | username | lower}
mail_driver = maildir
mail_path = ~/Maildir
mail_inbox_path = ~/Maildir
namespace inbox {
  inbox = yes
}
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
userdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0666
  }
}
protocol lmtp {
  mail_plugins {
    sieve = yes
  }
}
sieve_script spam {
  type = before
  path = /etc/dovecot/spam.sieve
}
!include_try conf.d/95-*.conf
"""
_SIEVE: Final = """\
require ["fileinto", "mailbox"];
if header :is "X-Spam-Flag" "YES" {
  fileinto :create "Junk";
  stop;
}
"""
_SENDER: Final = f"""\
[listen]
trusted = ["dovecot"]

[[account]]
name = "{PERSON}"
targets = ["last-used"]
"""
_MAILBELLD: Final = f"""\
[listen]
udp = ["0.0.0.0:79", "[::]:79"]

[[account]]
name = "{PERSON}"
sources = ["192.0.2.1", "2001:db8::1"]
"""
_MBSYNC: Final = f"""\
IMAPAccount mail
Host 192.0.2.1
User {PERSON}
Pass {_PASSWORD}
AuthMechs LOGIN
TLSType None

IMAPStore far
Account mail

MaildirStore near
Inbox {_MAILDIR}/

Channel mail
Far :far:
Near :near:
Create Near
"""
_SCRIPT: Final = """\
#!/usr/bin/python3
from mailbell.cli{module} import main

main()
"""


@dataclass(frozen=True)
class Machines:
    """All that is on the wire.

    Attributes:
        server: the mail server.
        laptop: of the person who gets the mail.
        outside: from where mail comes.
        stranger: whom nobody knows.
        listener: the process of mailbelld.
    """

    server: Host
    laptop: Host
    outside: Host
    stranger: Host
    listener: int

    def connections(self) -> int:
        """Return how many TCP connections the laptop has with another host now."""
        return len(self.laptop.run("ss", "-Htn", "state", "established").splitlines())

    def listed(self, subjects: Collection[str]) -> list[str]:
        """Return which of these subjects NeoMutt lists."""
        return listed(self.laptop, PERSON, _MAILDIR, subjects)

    def mails(self) -> int:
        """Return how many mails are in the laptop's Maildir."""
        inbox = self.laptop.path / _MAILDIR.lstrip("/")
        return sum(1 for folder in ("new", "cur") for _ in (inbox / folder).iterdir())


def start(stack: ExitStack, root: Path, hold: Path, ears: Ears) -> Machines:
    """Start all hosts and their programs.

    Args:
        stack: ends the hosts.
        root: the root directory, in which nothing is written.
        hold: a folder in memory.
        ears: hear the programs.
    """
    _layer(hold / "mailbell")
    wire = Wire(stack, hold)
    roots = f"{hold}/mailbell:{root}"
    server = wire.host("mail", roots, *_cards(SERVER))
    laptop = wire.host("laptop", roots, *_cards(LAPTOP))
    outside = wire.host("outside", roots, *_cards(_OUTSIDE))
    stranger = wire.host("stranger", roots, *_cards(STRANGER))
    _write_server(server)
    _write_laptop(laptop)
    listener = laptop.start("mailbelld")
    ears.hear("mailbelld", listener)
    ears.hear("mailbell-sender", server.start("mailbell-sender"))
    ears.hear("dovecot", server.start("dovecot", "-F"))
    ears.hear("postfix", server.start("postfix", "start-fg"))
    _wait(laptop, "/run/mailbell/mailbell.sock")
    ears.watch(laptop.path / _MAILDIR.lstrip("/"))
    ears.hear("mailbell watch", laptop.start("mailbell", "watch", "--json", user=PERSON))
    ears.hear("mailbell run", laptop.start(*FETCH, user=PERSON))
    return Machines(server, laptop, outside, stranger, listener.pid)


def _cards(addresses: tuple[str, str]) -> tuple[str, str]:
    return f"{addresses[0]}/24", f"{addresses[1]}/64"


def _layer(root: Path) -> None:
    """Put this tree's mailbell into a folder that becomes part of all root directories."""
    package = Path(mailbell.__file__).parent
    libraries = root / "usr/lib/python3/dist-packages"
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, libraries / "mailbell", ignore=no_caches)
    programs = root / "usr/bin"
    programs.mkdir(parents=True)
    for name, module in (
        ("mailbell", ""), ("mailbelld", ".mailbelld"), ("mailbell-sender", ".mailbell_sender"),
    ):  # fmt: skip
        (programs / name).write_text(_SCRIPT.format(module=module))
        (programs / name).chmod(0o755)
    shared = Path(sysconfig.get_path("data")) / "share/mailbell/servers"
    shutil.copytree(shared, root / _FILES.lstrip("/"))


def _write_server(host: Host) -> None:
    """Write what the mail server's programs read."""
    host.run("useradd", "--system", "--home-dir", "/", "mailbell-sender")
    host.run("useradd", "--create-home", PERSON)
    uid, gid = (host.run("id", option, PERSON).strip() for option in ("-u", "-g"))
    host.write("/etc/postfix/main.cf", _MAIN_CF)
    host.write("/etc/dovecot/dovecot.conf", _DOVECOT)
    account = f"{PERSON}:{{PLAIN}}{_PASSWORD}:{uid}:{gid}::/home/{PERSON}::\n"
    host.write("/etc/dovecot/users", account)
    host.write("/etc/dovecot/spam.sieve", _SIEVE)
    for inside, text in _recipe("lua", "login-events"):
        host.write(inside, text)
    host.write("/etc/mailbell/sender.toml", _SENDER)
    host.run("mkdir", "/run/mailbell-sender", "/run/dovecot")
    host.run("install", "-d", "-o", "mailbell-sender", "-m", "700", "/var/lib/mailbell-sender")
    host.run("install", "-d", "-o", "postfix", "-m", "700", "/var/spool/postfix/private")
    host.run("sievec", "/etc/dovecot/spam.sieve")


def _write_laptop(host: Host) -> None:
    """Write what the laptop's programs read."""
    host.run("useradd", "--system", "--home-dir", "/", "mailbell")
    host.run("useradd", "--create-home", "--groups", "mailbell", PERSON)
    host.write("/etc/mailbell/mailbelld.toml", _MAILBELLD)
    host.write(f"/home/{PERSON}/.mbsyncrc", _MBSYNC, 0o600)
    host.run("mkdir", "/run/mailbell", _MAILDIR)
    host.run("chown", "-R", f"{PERSON}:{PERSON}", f"/home/{PERSON}")


def _wait(host: Host, socket: str) -> None:
    """Wait until a program of a host has made its socket."""
    host.run("sh", "-c", f"timeout 60 sh -c 'until test -S {socket}; do sleep 0.05; done'")


def _recipe(*ways: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a recipe of mailbell's, with their text."""
    home = f"/home/{PERSON}"
    facts = Facts(hook="/usr/bin/mailbell-hook", files=_FILES, user=PERSON, home=home)
    for way in ways:
        for step in load("dovecot-2.4").way(way).steps(facts):
            if isinstance(step, FileStep) and step.path.startswith("/etc/dovecot"):
                yield step.path, step.applied("")

"""The mail servers of the second and third topologies, from which people fetch by POP3.

The second: Exim, which delivers into Maildirs, and Courier's POP3 server. Exim runs the hook as a
shadow transport, and Courier tells of each login. The third: Sendmail, which hands mail to
procmail, and Dovecot's POP3 server, all with Maildirs. procmail runs the hook, and Dovecot's event
exporter tells of each login.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from end_to_end.laptop import PERSON
from end_to_end.mx import ADDRESSES, DOMAIN, PASSWORD, SUITE, Mx
from end_to_end.recipes import follow, install_sender
from end_to_end.wire import Host, Wire
from mail_servers.mail import message, send
from packages.roots import clean_root

__all__ = [
    "JUNK",
    "OTHER",
    "Pop3Server",
    "boot_exim",
    "boot_sendmail",
    "exim_root",
    "sendmail_root",
]

JUNK: Final = "X-Spam-Flag: YES"
"""What a filter writes above a mail that it takes for junk."""

OTHER: Final = "berta"
"""A user who gets mail, and does not fetch."""

_EXIM: Final = ("exim4-daemon-light", "courier-imap", "courier-pop", "fetchmail", "python3")
_SENDMAIL: Final = ("sendmail-bin", "sensible-mda", "procmail", "dovecot-pop3d", "getmail6",
                    "python3")  # fmt: skip
# The second one logs in nowhere, so her machine is named.
_ACCOUNTS: Final = f"""\
[[account]]
name = "{PERSON}"
targets = ["last-used"]

[[account]]
name = "{OTHER}"
targets = ["192.0.2.7"]
"""

# What a person answers to `dpkg-reconfigure exim4-config`.
_ANSWERS: Final = {
    "dc_eximconfig_configtype": "internet",
    "dc_other_hostnames": DOMAIN,
    "dc_local_interfaces": "",
    "dc_localdelivery": "maildir_home",
}

# There is no name server here, and Sendmail refuses and delays mail when the machine is busy.
_MC: Final = """\
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch-nodns')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
"""
_EVERYWHERE: Final = "Family=inet6, Name=MTA-v6, Port=smtp, Addr=::"
# Debian's table refuses the network of these tests, pauses, and takes ten mails in a minute.
_ACCESS: Final = {
    r"^Connect:192\.0\.2 REJECT$": "Connect:192.0.2 OK",
    r"^(GreetPause|ClientRate|ClientConn):\s+\d+$": r"\1:\t0",
}
_PROCMAILRC: Final = """\
DEFAULT=$HOME/Maildir/
:0
* ^X-Spam-Flag: YES
$HOME/Maildir/.junk/
"""
# procmail does not wait for a fetch that hangs, as it may where both lock an mbox.
_DOVECOT: Final = """\
mail_driver = maildir
mail_path = ~/Maildir
mail_inbox_path = ~/Maildir
"""


@dataclass(frozen=True)
class Pop3Server(Mx):
    """A mail server at work.

    Attributes:
        services: what is restarted with the server.
        logged: matches the line of its log for a login, with the user's name in place of {}.
    """

    services: Sequence[str]
    logged: str

    def junk(self, subject: str, user: str) -> None:
        """Send a mail that a filter has marked."""
        to = f"{user}@{self.domain}"
        text = message(subject, to=to, header=[JUNK])
        send(self.wire.outside, (ADDRESSES[0], 25), text, to)

    def logins(self, user: str) -> int:
        """Return how often a user has fetched."""
        said = self.host.run("journalctl --sync; journalctl --no-pager -o cat")
        return len(re.findall(self.logged.format(user), said))

    def knows(self, user: str) -> bool:
        """Tell whether the sender was told of a mail of a user."""
        return any(each["name"] == user for each in self.status()["accounts"])

    def rung(self, target: str) -> int:
        """Return how often a target was rung, such as `192.0.2.7:79`."""
        return sum(each["sent"] for each in self.status()["targets"] if each["target"] == target)

    def restart(self) -> None:
        """Restart the mail server's programs and the sender, and wait until they are ready."""
        self.host.run(f"systemctl restart mailbell-sender {' '.join(self.services)}")
        self.until_ready()

    def until_ready(self) -> None:
        """Wait until it takes mail and logins."""
        for port in (25, 110, 995):
            self.host.until(f"ss -Hltn sport = :{port} | grep -q .", f"port {port} of the server")


def exim_root() -> Path:
    """Return the root directory of both machines of the second topology, made once."""
    return clean_root(SUITE, *_EXIM)


def sendmail_root() -> Path:
    """Return the root directory of both machines of the third topology, made once."""
    return clean_root(SUITE, *_SENDMAIL)


def boot_exim(wire: Wire) -> Pop3Server:
    """Boot the mail server of the second topology, and wait until it takes mail and rings."""
    host = _boot(wire, exim_root())
    conf = host.path("/etc/exim4/update-exim4.conf.conf")
    kept = [line for line in conf.read_text().splitlines() if line.split("=")[0] not in _ANSWERS]
    answers = [f"{key}='{value}'" for key, value in _ANSWERS.items()]
    host.write("/etc/exim4/update-exim4.conf.conf", "\n".join([*kept, *answers]) + "\n")
    host.write("/etc/mailname", f"{DOMAIN}\n")
    host.run("maildirmake.courier Maildir", user=PERSON)
    host.run("update-exim4.conf && systemctl restart exim4")
    follow(host, "exim", "shadow", PERSON)
    follow(host, "courier", "loginexec", PERSON)
    _in_force(host, {"exim": "shadow", "courier": "loginexec"})
    services = ("exim4", "courier-authdaemon", "courier-pop", "courier-pop-ssl")
    server = Pop3Server(host, DOMAIN, ADDRESSES, wire, services, "LOGIN, user={},")
    server.until_ready()
    return server


def boot_sendmail(wire: Wire) -> Pop3Server:
    """Boot the mail server of the third topology, and wait until it takes mail and rings."""
    host = _boot(wire, sendmail_root(), 'trusted = ["dovecot"]\n')
    mc = host.path("/etc/mail/sendmail.mc").read_text()
    # On Linux a socket for IPv6 takes IPv4 too, and beside it there is no place for another one.
    mc = mc.replace("Family=inet,  Name=MTA-v4, Port=smtp, Addr=127.0.0.1", _EVERYWHERE)
    assert _EVERYWHERE in mc, mc
    head, mark, tail = mc.partition("MAILER_DEFINITIONS\n")
    assert mark, mc
    host.write("/etc/mail/sendmail.mc", head + _MC + mark + tail)
    # Without a name with a dot Sendmail waits a minute at each start.
    host.write("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{ADDRESSES[0]} {DOMAIN} mx\n")
    host.write("/etc/mail/local-host-names", f"{DOMAIN}\n")
    access = host.path("/etc/mail/access").read_text()
    for pattern, text in _ACCESS.items():
        access = re.sub(pattern, text, access, flags=re.MULTILINE)
    host.write("/etc/mail/access", access)
    host.run("make -C /etc/mail && systemctl enable --now sendmail")
    host.write("/etc/dovecot/conf.d/90-test.conf", _DOVECOT)
    host.run("systemctl restart dovecot")
    for user in (PERSON, OTHER):
        host.run("cat >.procmailrc", user=user, data=_PROCMAILRC)
        host.run("mkdir -p Maildir/cur Maildir/new Maildir/tmp", user=user)
    follow(host, "sendmail", "procmail", PERSON)
    follow(host, "dovecot-2.4", "login-events", PERSON)
    _in_force(host, {"sendmail": "procmail", "dovecot-2.4": "login-events"})
    server = Pop3Server(
        host, DOMAIN, ADDRESSES, wire, ("sendmail", "dovecot"), "Logged in: user=<{}>"
    )
    server.until_ready()
    return server


def _boot(wire: Wire, root: Path, listen: str = "") -> Host:
    cards = [f"{each}/{64 if ':' in each else 24}" for each in ADDRESSES]
    host = wire.host("mx", root, *cards)
    for user in (PERSON, OTHER):
        host.person(user)
    host.run("chpasswd", data=f"{PERSON}:{PASSWORD}\n")
    install_sender(host, f"[listen]\n{listen}\n{_ACCOUNTS}")
    return host


def _in_force(host: Host, ways: dict[str, str]) -> None:
    """Let mailbell itself say that its recipes are followed."""
    for recipe, way in ways.items():
        host.run(f"mailbell sender recipe {recipe} --way {way} --check")

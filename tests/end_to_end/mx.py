"""The mail server of the first topology: Postfix, SpamAssassin, Dovecot, mailbell-sender.

Postfix takes mail by SMTP and asks SpamAssassin (spamass-milter). It gives the mail to Dovecot by
LMTP, and Sieve files what is marked in Junk. Lua tells mailbell-sender of each mail, and Dovecot's
event exporter tells it of each login. People fetch with IMAP and POP3.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from end_to_end.recipes import PROGRAMS, follow, install_sender
from end_to_end.wire import Host, Wire
from harness.daemon import until
from mail_servers.filters import SPAM
from mail_servers.mail import message, send
from packages.roots import clean_root
from packages.system import PATIENCE

__all__ = [
    "ADDRESSES",
    "DOMAIN",
    "PACKAGES",
    "PASSWORD",
    "SPAM",
    "SUITE",
    "Mx",
    "boot_mx",
    "mx_root",
]

SUITE: Final = "trixie"
PACKAGES: Final = (
    "postfix", "dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd", "dovecot-sieve", "lua-socket",
    "spamd", "spamc", "spamass-milter", "python3",
)  # fmt: skip
ADDRESSES: Final = ("192.0.2.1", "2001:db8::1")
DOMAIN: Final = "mx.example"
PASSWORD: Final = "kept-in-a-test"  # of every user

_POSTFIX: Final = (
    "myorigin = {domain}", "mydestination = {domain}", "myhostname = {domain}",
    "inet_interfaces = all", "inet_protocols = all", "mynetworks = 127.0.0.0/8",
    "alias_maps =", "alias_database =", "local_recipient_maps = proxy:unix:passwd.byname",
    "mailbox_transport = lmtp:unix:private/dovecot-lmtp",
    "smtpd_milters = unix:spamass/spamass.sock",
)  # fmt: skip

_DOVECOT: Final = """\
protocols = imap pop3 lmtp
ssl = no
auth_allow_cleartext = yes
mail_driver = maildir
mail_path = ~/Maildir
mail_inbox_path = ~/Maildir
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    user = postfix
    group = postfix
    mode = 0600
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
"""
_SIEVE: Final = """\
require ["fileinto", "mailbox"];
if header :matches "X-Spam-Flag" "YES*" {
  fileinto :create "Junk";
  stop;
}
"""
# Only GTUBE is spam here: old dates and the addresses of documentation look like spam too.
_SPAMASSASSIN: Final = "required_score 100\nuse_bayes 0\nskip_rbl_checks 1\n"


@dataclass(frozen=True)
class Mx:
    """A mail server at work.

    Attributes:
        host: where it runs.
        domain: of its mail addresses.
        addresses: IPv4 and IPv6.
        wire: from where mail comes.
    """

    host: Host
    domain: str
    addresses: Sequence[str]
    wire: Wire

    def mail(self, subject: str, user: str, body: str = "Hello.", address: str = "") -> None:
        """Send a mail to a user by SMTP, from another host.

        Args:
            subject: one word, by which the mail is known.
            user: who gets it.
            body: its text.
            address: of the mail server, of either family; "": its first one.
        """
        to = f"{user}@{self.domain}"
        send(
            self.wire.outside,
            (address or self.addresses[0], 25),
            message(subject, to=to, body=body),
            to,
        )

    def subjects(self, user: str, folder: str = "") -> list[str]:
        """Return the subjects in a folder of a user's mailbox; "": the inbox."""
        where = f"/home/{user}/Maildir/{f'.{folder}' if folder else ''}"
        said = self.host.ran(f"cat {where}/new/* {where}/cur/* 2>/dev/null").said
        lines = (line for line in said.splitlines() if line.startswith("Subject: "))
        return [line.partition(": ")[2] for line in lines]

    def until_delivered(self, subject: str, user: str, folder: str = "") -> None:
        """Wait until a mail is in a folder of a user's mailbox; "": the inbox."""
        until(lambda: subject in self.subjects(user, folder), f"{subject} for {user}", PATIENCE)

    def status(self) -> Any:
        """Return what `mailbell sender status` knows."""
        return json.loads(self.sender("status --json"))

    def sender(self, words: str) -> str:
        """Run `mailbell sender` with words; return what it prints."""
        return self.host.run(f"{PROGRAMS}/mailbell sender {words}")


def mx_root() -> Path:
    """Return the root directory of a mail server, made once."""
    return clean_root(SUITE, *PACKAGES)


def boot_mx(
    wire: Wire,
    targets: Mapping[str, Sequence[str]],
    *,
    name: str = "mx",
    domain: str = DOMAIN,
    addresses: Sequence[str] = ADDRESSES,
    more: str = "",
) -> Mx:
    """Boot a mail server, and wait until it takes mail and rings.

    Args:
        wire: where it is to be.
        targets: who gets mail, and is rung where.
        name: of the host.
        domain: of its mail addresses.
        addresses: IPv4 and IPv6.
        more: further tables for sender.toml.
    """
    cards = [f"{each}/{64 if ':' in each else 24}" for each in addresses]
    host = wire.host(name, mx_root(), *cards)
    for user in targets:
        host.person(user)
    host.run("chpasswd", data="".join(f"{user}:{PASSWORD}\n" for user in targets))
    settings = " ".join(f"'{each.format(domain=domain)}'" for each in _POSTFIX)
    host.run(f"postconf -e {settings}")
    host.write("/etc/dovecot/conf.d/90-test.conf", _DOVECOT)
    host.write("/etc/dovecot/spam.sieve", _SIEVE)
    host.write("/etc/spamassassin/local.cf", _SPAMASSASSIN)
    host.write("/etc/default/spamd", 'OPTIONS="--local --max-children 1"\n')
    accounts = "".join(
        f'[[account]]\nname = "{user}"\ntargets = {list(where)}\n'
        for user, where in targets.items()
    )
    install_sender(host, f'[listen]\ntrusted = ["dovecot"]\n{more}\n{accounts}')
    host.run("sievec /etc/dovecot/spam.sieve")
    host.run("systemctl restart dovecot postfix spamd spamass-milter")
    follow(host, "dovecot-2.4", "lua", next(iter(targets)))
    follow(host, "dovecot-2.4", "login-events", next(iter(targets)))
    host.until(
        "ss -Hltn sport = :25 | grep -q . && ss -Hltn sport = :143 | grep -q .", "the servers"
    )
    host.until("test -S /var/spool/postfix/spamass/spamass.sock && spamc -K", "the filter")
    return Mx(host, domain, addresses, wire)

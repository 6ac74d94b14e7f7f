"""docs/quickstart.md: from a mail server and a laptop without mailbell to the first pushed mail."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from documents.blocks import Block, block, is_printed, steps
from documents.walk import Walk
from end_to_end.laptop import PACKAGES as LAPTOP
from end_to_end.mx import PACKAGES as MX
from end_to_end.wire import Host, Wire, wire
from machines.wheels import source_tree
from packages.offers import ENVIRONMENT, offer
from packages.roots import clean_root, require_roots

PAGE = "docs/quickstart.md"
PERSON = "anna"
PASSWORD = "kept-in-a-test"
ROOTS = {
    "trixie": (MX, LAPTOP),
    "bookworm": 2 * (("postfix", "dovecot-imapd", "isync", "python3"),),
}
# What the mail server and the laptop have before mailbell: a Maildir, and a way to fetch from it.
DOVECOT = {
    "trixie": "mail_driver = maildir\nmail_path = ~/Maildir\nmail_inbox_path = ~/Maildir\n"
    "auth_allow_cleartext = yes\n",
    "bookworm": "mail_location = maildir:~/Maildir\ndisable_plaintext_auth = no\n",
}
MBSYNCRC = f"""\
IMAPStore far
Host 192.0.2.1
User {PERSON}
Pass {PASSWORD}
AuthMechs LOGIN
{{tls}}

MaildirStore near
Inbox ~/Mail

Channel mail
Far :far:
Near :near:
"""
TLS = {"trixie": "TLSType None", "bookworm": "SSLType None"}
MAIL = "Subject: pushed\n\nThis came by itself.\n"
AGENT = "systemctl --user show -P StatusText mailbell-agent.service"


@pytest.fixture
def street() -> Iterator[Wire]:
    require_roots(stages="`documents`")
    with wire() as made:
        yield made


def page(heading: str, ordinal: int = 0) -> Block:
    return block(PAGE, heading, ordinal)


@pytest.mark.parametrize("suite", ROOTS)
def test_from_bare_machines_to_the_first_pushed_mail(
    street: Wire, suite: str, tmp_path: Path
) -> None:
    of_mx, of_laptop = (clean_root(suite, *packages) for packages in ROOTS[suite])
    mx = street.host("mx", of_mx, "192.0.2.1/24")
    laptop = street.host("laptop", of_laptop, "192.0.2.7/24")
    serves_mail(mx, suite)
    fetches_mail(laptop, suite)
    tree = source_tree(tmp_path)
    walks = {}
    for host in (mx, laptop):
        offer(host, suite)
        host.put(tree, "/root")
        walks[host.name] = Walk(host, PERSON, "/root/mailbell", ENVIRONMENT)
        walks[host.name].follow(page("Both machines: get mailbell"))

    walks["laptop"].follow(page("The laptop: three commands"))
    walks["mx"].follow(page("The mail server: three commands"))
    mx.run(f"mailbell sender recipe postfix --check --user {PERSON}")
    laptop.until(f"runuser -l {PERSON} -c 'test \"$({AGENT})\" = listening'", "the agent")
    laptop.until("journalctl --no-pager -o cat | grep -q 'event=ran job=mbsync'", "the first run")

    walks["mx"].follow(page("Try it"))
    mx.run(f"sendmail {PERSON}", data=MAIL)
    arrived = f"grep -rlx 'This came by itself.' /home/{PERSON}/Mail"
    laptop.until(arrived, "the first pushed mail")
    (look,) = steps(page("Try it", 1).text)
    shown = f"runuser -l {PERSON} -c '{look.command}'"
    laptop.until(f"{shown} | tail -1 | grep -q code=0", "the end of the run")
    said = laptop.run(look.command, user=PERSON)
    assert is_printed(look.printed, said), said


def serves_mail(mx: Host, suite: str) -> None:
    """Postfix delivers into Maildirs, and Dovecot serves them."""
    mx.person(PERSON)
    mx.run("chpasswd", data=f"{PERSON}:{PASSWORD}\n")
    mx.run("postconf -e home_mailbox=Maildir/ inet_interfaces=loopback-only; postfix reload")
    mx.write("/etc/dovecot/conf.d/99-mail.conf", f"ssl = no\n{DOVECOT[suite]}")
    mx.run("systemctl restart dovecot")
    if suite == "bookworm":
        # docs/clients.md has lines for this Dovecot too. test_desk.py uses those for the next one.
        own = block("docs/clients.md", "A store of your own: Geary, Outlook, telephones", 1).text
        mx.write("/root/own.conf", own)
        shown = mx.run("doveconf -c /root/own.conf -n")
        assert set(own.splitlines()) <= {line.replace('" "', ", ") for line in shown.splitlines()}


def fetches_mail(laptop: Host, suite: str) -> None:
    """The person's mbsync fetches from that server."""
    laptop.person(PERSON)
    laptop.write(f"/home/{PERSON}/.mbsyncrc", MBSYNCRC.format(tls=TLS[suite]), 0o600)
    laptop.run(f"chown {PERSON}: /home/{PERSON}/.mbsyncrc")
    laptop.run("mkdir Mail", user=PERSON)

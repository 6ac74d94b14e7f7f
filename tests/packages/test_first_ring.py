"""From bare systems to the first ring, and to the first mail that rings: docs/install.md.

Two hosts on one cable. One of them is the system; the other one is what it rings, or is rung by.
"""

import socket
import time
from contextlib import ExitStack
from pathlib import Path

from harness.daemon import until
from harness.netns import Namespace, namespaces
from packages.offers import offer
from packages.roots import clean_root, require_roots
from packages.system import PATIENCE, booted
from packages.walk import Walk, note, notifications

from mailbell import __version__

SUITE = "trixie"
MACHINE, MAIL_SERVER = "192.0.2.7", "192.0.2.1"
NOTIFICATION = b"nm_notifyuser\r\n"

# mbsync fetches from one folder into another, as it does from a server.
MBSYNCRC = """\
MaildirStore far
Inbox ~/far

MaildirStore near
Inbox ~/near

Channel mail
Far :far:
Near :near:
"""


def test_from_a_bare_debian_13_to_the_first_ring_and_to_an_agent() -> None:
    require_roots()
    with ExitStack() as stack:
        hosts = stack.enter_context(namespaces([f"{MACHINE}/24"], [f"{MAIL_SERVER}/24"]))
        system = stack.enter_context(booted(clean_root(SUITE), hosts.server))
        offer(system, SUITE)
        person = system.person("anna")
        walk = Walk(system, SUITE, person)

        begun = time.monotonic()
        walk.follow("first ring")
        ring(hosts.client)
        until(lambda: notifications(system, __version__) == 1, "the first ring")
        note("first ring", "the first ring is counted", time.monotonic() - begun, end=True)

        # She has a mail program already.
        system.run("apt-get install -qq -y --no-install-recommends isync", network="host")
        system.write(f"/home/{person}/.mbsyncrc", MBSYNCRC)
        system.run("mkdir -p far/cur far/new far/tmp near/cur near/new near/tmp", user=person)
        # This system has no polkitd. So root does it.
        assert "denied" in system.ran("loginctl enable-linger", user=person).said
        begun = time.monotonic()
        walk.follow("agent")
        state = "systemctl --user show -P StatusText mailbell-agent.service"
        system.until(f"runuser -l {person} -c 'test \"$({state})\" = listening'")
        note("agent", "the agent hears mailbelld", time.monotonic() - begun, end=True)

        # The agent has looked when it started. What comes now it learns from a ring alone.
        system.until("journalctl --no-pager -o cat | grep -q 'event=ran job=mbsync'")
        system.run("printf 'Subject: new\\n\\n' >far/new/1.1.machine", user=person)
        ring(hosts.client)
        system.until(f'test -n "$(ls /home/{person}/near/new)"', "the first mail")


def test_from_a_bare_mail_server_to_the_first_mail_that_rings(debs: list[Path]) -> None:
    require_roots()
    with ExitStack() as stack:
        hosts = stack.enter_context(namespaces([f"{MACHINE}/24"], [f"{MAIL_SERVER}/24"]))
        machine = stack.enter_context(hosts.server.socket(socket.AF_INET, socket.SOCK_STREAM))
        machine.bind((MACHINE, 79))
        machine.listen()
        machine.settimeout(PATIENCE)
        system = stack.enter_context(booted(clean_root(SUITE, "postfix"), hosts.client))
        for deb in debs:
            system.put(deb, "/root")
        person = system.person("alice")

        begun = time.monotonic()
        Walk(system, SUITE, person).follow("mail server")
        system.run("sendmail alice", data="Subject: hello\n\nHello.\n")
        with machine.accept()[0] as connection:
            connection.settimeout(PATIENCE)
            with connection.makefile("rb") as stream:
                assert stream.read() == NOTIFICATION
        note("mail server", "the first mail rings", time.monotonic() - begun, end=True)
        assert "Hello." in system.run("cat /var/mail/alice")


def ring(host: Namespace) -> None:
    """Ring the machine, as its mail server does."""
    with host.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect((MACHINE, 79))
        connection.sendall(NOTIFICATION)

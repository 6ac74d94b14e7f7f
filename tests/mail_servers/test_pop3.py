"""POP3 alone: from LMTP through Dovecot's Lua to the Maildir on the user's own machine."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import until
from harness.machine import machine
from harness.mailserver import PASSWORD
from harness.mailserver import MailServer as Served
from harness.netns import Pair
from mail_programs.fetchers import FETCHERS
from mail_programs.support import Mailbox, agents, homes, needs, subjects
from mail_servers.laptop import Laptop
from mail_servers.scenario import subject
from mail_servers.server import MailServer

_DOVECOT: Final = f"""
protocols = pop3 lmtp
ssl = no
disable_plaintext_auth = no
log_path = /var/log/dovecot.log
mail_location = maildir:~/Maildir
auth_username_format = %Ln
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = passwd
}}
service lmtp {{
  inet_listener lmtp {{
    port = 24
  }}
}}
!include_try conf.d/95-mailbell.conf
"""


class DovecotWithPop3(MailServer):
    """Dovecot that takes mail by LMTP, and serves it by POP3 and nothing else."""

    name = "Dovecot with POP3 alone"
    recipe = "dovecot-2.3"
    packages = ("dovecot-pop3d", "dovecot-lmtpd", "lua-socket")
    programs = ("/usr/lib/dovecot/pop3", "/usr/lib/dovecot/lmtp", "/usr/share/lua/5.4/socket.lua")
    address = ("192.0.2.1", 24)
    lmtp = True

    def configure(self) -> None:
        self.machine.write("/etc/dovecot/dovecot.conf", _DOVECOT)

    def start(self) -> None:
        # It keeps its output open.
        self.machine.run("sh", "-c", "dovecot >/dev/null 2>&1")
        until(lambda: self.listens(24) and self.listens(110), "the start of Dovecot")


@pytest.fixture(scope="module")
def dovecot(hosts: Pair) -> Iterator[DovecotWithPop3]:
    its = DovecotWithPop3
    with machine(its.name, its.packages, programs=its.programs, host=hosts.server) as made:
        server = its(made, hosts.client)
        server.users("anna", "carol")
        server.configure()
        server.start()
        server.apply("lua", "anna")
        yield server


@pytest.mark.parametrize(("program", "user"), [("getmail", "anna"), ("fetchmail", "carol")])
def test_mail_comes_to_the_users_machine_by_pop3(
    dovecot: DovecotWithPop3, laptop: Laptop, program: str, user: str
) -> None:
    needs(program)
    assert not dovecot.listens(143)
    served = Served(imap=0, pop3=110, base=dovecot.machine.shared, host=dovecot.address[0])
    first, second = subject(program), subject(program)
    with dovecot.sending(user), homes() as home:
        folder = FETCHERS[program](home, Mailbox(served, user))
        visit = laptop.host.visit
        with agents(home, laptop.daemon.path, [program], through=visit) as agent:
            for known in ([first], [first, second]):
                dovecot.deliver(known[-1], user)
                until(partial(_has, folder, known), "the mail")
            agent.until_logged("event=ran", "code=0")
            assert not any("event=retry" in line for line in agent.lines())


def _has(folder: Path, known: list[str]) -> bool:
    return sorted(subjects(folder)) == sorted(known)

"""Postfix with SpamAssassin and ClamAV: spam and viruses ring nobody, whatever delivers mail."""

from collections.abc import Iterator

import pytest
from harness.daemon import until
from harness.machine import machine
from harness.netns import Pair
from mail_servers import filters
from mail_servers.laptop import Laptop
from mail_servers.server import MailServer
from mail_servers.unwanted import rings_for_ham_alone

_MILTERS = (
    "/var/spool/postfix/clamav/clamav-milter.ctl",
    "/var/spool/postfix/spamass/spamass.sock",
)
_DOVECOT = """
mail_location = maildir:~/Maildir
auth_username_format = %Ln
log_path = /var/log/dovecot.log
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    user = postfix
    group = postfix
    mode = 0600
  }
}
"""


class FilteringPostfix(MailServer):
    """Postfix that delivers into Maildirs, by itself or by another program."""

    name = "Postfix with filters"
    recipe = "spam"
    packages = (
        *filters.PACKAGES, "postfix", "spamass-milter", "clamav-milter", "procmail", "maildrop",
        "dovecot-lmtpd", "dovecot-sieve", "lua-socket",
    )  # fmt: skip
    programs = (
        *filters.PROGRAMS, "/usr/sbin/postfix", "/usr/sbin/spamass-milter",
        "/usr/sbin/clamav-milter", "/usr/bin/procmail", "/usr/bin/maildrop", "/usr/bin/sievec",
    )  # fmt: skip

    def version(self) -> str:
        return f"Postfix {self.machine.run('postconf', '-h', 'mail_version').strip()}"

    def configure(self) -> None:
        self.set(
            "myhostname = mail.test.example", "mydestination = test.example",
            "myorigin = test.example", "inet_interfaces = all", "mailbox_command =",
            "home_mailbox = Maildir/", "compatibility_level = 3.6", "alias_maps =",
        )  # fmt: skip
        self.machine.write("/etc/dovecot/conf.d/10-ssl.conf", "ssl = no\n")
        self.machine.write("/etc/dovecot/conf.d/91-test.conf", _DOVECOT)

    def start(self) -> None:
        self.machine.run("postfix", "start")
        until(lambda: self.listens(25), "the start of Postfix")
        filters.start_filters(self.machine)

    def start_milters(self) -> None:
        """Start the milters, if they do not run yet."""
        if all(self.machine.path(name).exists() for name in _MILTERS):
            return
        self.machine.run("clamav-milter")
        self.machine.run("/etc/init.d/spamass-milter", "start")
        until(lambda: all(self.machine.path(name).exists() for name in _MILTERS), "the milters")

    def set(self, *settings: str) -> None:
        for setting in settings:
            self.machine.run("postconf", "-e", setting)

    def route(self, setting: str) -> None:
        """Let Postfix hand on the mail as a setting says."""
        self.set(setting)
        self.machine.run("postfix", "reload")

    def waiting(self) -> int:
        return len(self.machine.run("postqueue", "-j").splitlines())

    def flush(self) -> None:
        self.machine.run("postqueue", "-f")


@pytest.fixture(scope="module")
def postfix(hosts: Pair) -> Iterator[FilteringPostfix]:
    its = FilteringPostfix
    with machine(its.name, its.packages, programs=its.programs, host=hosts.server) as made:
        server = its(made, hosts.client)
        server.users("berta", "anna", "carol", "dora", "emma", "fred")
        server.configure()
        server.start()
        yield server


def test_procmail_files_it_before_it_rings(postfix: FilteringPostfix, laptop: Laptop) -> None:
    postfix.apply("procmail", "anna")
    postfix.machine.append("/etc/procmailrc", "DEFAULT=$HOME/Maildir/")
    postfix.apply("trap", "anna", recipe="procmail")
    postfix.route('mailbox_command = /usr/bin/procmail -a "$EXTENSION"')
    rings_for_ham_alone(postfix, laptop, "anna", junk=True, way="procmail")


def test_maildrop_files_it_before_it_rings(postfix: FilteringPostfix, laptop: Laptop) -> None:
    postfix.machine.append("/etc/maildroprc", 'DEFAULT="$HOME/Maildir"')
    postfix.apply("maildrop", "carol")
    postfix.apply("cc", "carol", recipe="maildrop")
    postfix.route("mailbox_command = /usr/bin/maildrop")
    rings_for_ham_alone(postfix, laptop, "carol", junk=True, way="maildrop")


def test_milters_mark_it_and_the_hook_in_forward_reads_the_mark(
    postfix: FilteringPostfix, laptop: Laptop
) -> None:
    postfix.apply("postfix-milters", "dora")
    postfix.start_milters()
    postfix.apply("forward", "dora", recipe="postfix")
    postfix.route("mailbox_command =")
    rings_for_ham_alone(postfix, laptop, "dora", junk=False, way="postfix-milters")


def test_a_mark_suffices_where_procmail_and_maildrop_file_nothing(
    postfix: FilteringPostfix, laptop: Laptop
) -> None:
    postfix.apply("postfix-milters", "fred")
    postfix.start_milters()
    postfix.machine.write("/etc/procmailrc", "DEFAULT=$HOME/Maildir/\n")
    postfix.apply("trap", "fred", recipe="procmail")
    postfix.route("mailbox_command = /usr/bin/procmail")
    rings_for_ham_alone(postfix, laptop, "fred", junk=False)
    postfix.machine.write("/etc/procmailrc", "DEFAULT=$HOME/Maildir/\n")
    postfix.apply("hic", "fred", recipe="procmail")
    rings_for_ham_alone(postfix, laptop, "fred", junk=False)
    postfix.machine.write("/etc/maildroprc", 'DEFAULT="$HOME/Maildir"\n')
    postfix.apply("cc", "fred", recipe="maildrop")
    postfix.route("mailbox_command = /usr/bin/maildrop")
    rings_for_ham_alone(postfix, laptop, "fred", junk=False)


def test_sieve_files_what_milters_have_marked_and_lua_names_the_folder(
    postfix: FilteringPostfix, laptop: Laptop
) -> None:
    postfix.machine.run("sh", "-c", "dovecot >/dev/null 2>&1")
    postfix.apply("dovecot-sieve", "emma")
    postfix.apply("lua", "emma", recipe="dovecot-2.3")
    postfix.route("mailbox_transport = lmtp:unix:private/dovecot-lmtp")
    rings_for_ham_alone(postfix, laptop, "emma", junk=True, quiet=2, way="dovecot-sieve")

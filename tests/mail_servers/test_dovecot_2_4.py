"""Dovecot 2.4 with the recipes for it: Lua and the event exporter; a post-login script."""

from collections.abc import Iterator

import pytest
from harness.machine import machine
from harness.netns import Pair
from mail_servers.dovecot import Dovecot, through_postfix, whole_addresses
from mail_servers.dovecot_scenario import (
    BROKEN_LUA,
    delivered_with,
    folders,
    ignores_a_users_module,
    learns,
    login_goes_on,
    login_is_refused,
    many,
)
from mail_servers.laptop import Laptop
from mail_servers.recipe_check import check_misses_it, check_sees_it
from mail_servers.scenario import (
    HOOK_FAULTS,
    SENDER_FAULTS,
    Way,
    delivered_once,
    order_at_the_socket,
    rings,
    subject,
)


class Dovecot24(Dovecot):
    """Dovecot 2.4 of Debian 13, which is unpacked only: what its packages do is done here."""

    name = "Dovecot 2.4"
    recipe = "dovecot-2.4"
    packages = (
        "dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd", "dovecot-sieve", "lua-socket", "postfix",
        "python3-minimal", "passwd", "util-linux", "mount", "findutils", "diffutils", "sed",
        "grep", "procps", "hostname",
    )  # fmt: skip
    whole = ("%{user | username | lower}", "%{user | lower}")
    mbox_fields = "userdb_mail_driver=mbox userdb_mail_path=~/mail userdb_mail_inbox_path=~/inbox"
    settings = """\
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
protocols = imap pop3 lmtp
ssl = no
auth_allow_cleartext = yes
auth_failure_delay = 0
lmtp_user_concurrency_limit = unlimited
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
  inet_listener lmtp {
    port = 24
  }
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0666
  }
}
protocol lmtp {
  mail_plugins {
    sieve = yes
  }
}
!include_try conf.d/95-*.conf
"""

    def configure(self) -> None:
        run = self.machine.run
        for user in ("dovecot", "dovenull", "postfix"):
            run("useradd", "--system", "--no-create-home", user)
        run("groupadd", "--system", "postdrop")
        for file in ("main.cf", "master.cf"):
            run("cp", f"/etc/postfix/{file}.proto", f"/etc/postfix/{file}")
        run("cp", "/usr/share/postfix/dynamicmaps.cf", "/etc/postfix/")
        run("chown", "postfix", "/var/lib/postfix")
        super().configure()


@pytest.fixture(scope="module")
def dovecot(hosts: Pair) -> Iterator[Dovecot24]:
    packages, host = Dovecot24.packages, hosts.server
    with machine("Dovecot 2.4", packages, programs=(), host=host, suite="trixie") as its:
        server = Dovecot24(its, hosts.client)
        server.users()
        server.configure()
        server.start()
        yield server


LUA = Way("lua", trusted=["vmail"])
EVENTS = Way("events", trusted=["dovecot"])
LOGIN_EVENTS = Way("login-events", trusted=["dovecot"])
POST_LOGIN = Way("post-login", trusted=["dovecot"])


@pytest.fixture(scope="class")
def lua(dovecot: Dovecot24) -> Iterator[None]:
    with dovecot.telling("lua"):
        yield


@pytest.mark.usefixtures("lua")
class TestLua:
    """Lua for mail, and each way for logins."""

    @pytest.mark.parametrize("user", ["anna", "mark", "vera", "victor"])
    def test_it_rings(self, dovecot: Dovecot24, laptop: Laptop, user: str) -> None:
        """Local users with a Maildir and with an mbox; virtual users with both."""
        rings(dovecot, LUA, laptop, user)

    def test_check_sees_it(self, dovecot: Dovecot24) -> None:
        check_sees_it(dovecot, LUA, "anna")
        check_misses_it(dovecot, EVENTS, "anna")

    @pytest.mark.parametrize("user", ["anna", "victor"])
    def test_it_tells_of_a_mail_after_it_is_visible(self, dovecot: Dovecot24, user: str) -> None:
        assert all(order_at_the_socket(dovecot, user))

    def test_it_rings_for_mail_from_postfix(self, dovecot: Dovecot24, laptop: Laptop) -> None:
        with through_postfix(dovecot):
            rings(dovecot, LUA, laptop, "carol")

    def test_the_name_may_be_a_whole_address(self, dovecot: Dovecot24, laptop: Laptop) -> None:
        with whole_addresses(dovecot):
            rings(dovecot, LUA, laptop, "whole@test.example")

    def test_it_names_the_folder(self, dovecot: Dovecot24, laptop: Laptop) -> None:
        folders(dovecot, LUA, laptop)

    def test_it_ignores_a_users_module(self, dovecot: Dovecot24) -> None:
        ignores_a_users_module(dovecot, LUA)

    @pytest.mark.parametrize("fault", SENDER_FAULTS)
    def test_mail_is_delivered_once(self, dovecot: Dovecot24, fault: str) -> None:
        with through_postfix(dovecot):
            delivered_once(dovecot, LUA, fault, "anna", "carol")

    @pytest.mark.parametrize("fault", BROKEN_LUA)
    def test_a_broken_file_delivers_once(self, dovecot: Dovecot24, fault: str) -> None:
        with through_postfix(dovecot):
            delivered_with(dovecot, LUA, fault)

    @pytest.mark.parametrize("way", [LOGIN_EVENTS, POST_LOGIN], ids=str)
    def test_a_login_is_where_the_next_mail_rings(
        self, dovecot: Dovecot24, laptop: Laptop, way: Way
    ) -> None:
        with dovecot.telling(way.name):
            check_sees_it(dovecot, way, "anna")
            learns(dovecot, way, LUA, laptop)


@pytest.fixture(scope="class")
def events(dovecot: Dovecot24) -> Iterator[None]:
    with dovecot.telling("events"):
        yield


@pytest.mark.usefixtures("events")
class TestEvents:
    """The event exporter alone."""

    @pytest.mark.parametrize("user", ["anna", "victor"])
    def test_they_ring(self, dovecot: Dovecot24, laptop: Laptop, user: str) -> None:
        dovecot.restart()
        rings(dovecot, EVENTS, laptop, user)

    def test_check_sees_them(self, dovecot: Dovecot24) -> None:
        check_sees_it(dovecot, EVENTS, "anna")
        check_misses_it(dovecot, LUA, "anna")

    def test_they_tell_of_a_mail_after_it_is_visible(self, dovecot: Dovecot24) -> None:
        dovecot.restart()
        assert all(order_at_the_socket(dovecot, "anna", word=b"mail_delivery_finished"))

    def test_the_first_one_is_lost_after_a_restart_of_the_sender(
        self, dovecot: Dovecot24, laptop: Laptop
    ) -> None:
        """Dovecot finds its connection closed when it writes, and connects for the next event."""
        dovecot.restart()
        rings(dovecot, EVENTS, laptop, "carol", rounds=1)
        with dovecot.sending("carol", trusted=EVENTS.trusted) as sender:
            for mail in (subject("lost"), subject("rings")):
                dovecot.deliver(mail, "carol")
                dovecot.until_arrived(mail, "carol")
            laptop.rung()
            assert sender.status().inputs["accepted"] == 1

    @pytest.mark.parametrize("fault", SENDER_FAULTS)
    def test_mail_is_delivered_once(self, dovecot: Dovecot24, fault: str) -> None:
        with through_postfix(dovecot):
            delivered_once(dovecot, EVENTS, fault, "anna", "carol")

    def test_a_login_is_where_the_next_mail_rings(self, dovecot: Dovecot24, laptop: Laptop) -> None:
        dovecot.restart()
        learns(dovecot, EVENTS, EVENTS, laptop)

    @pytest.mark.parametrize("fault", SENDER_FAULTS)
    def test_a_login_goes_on(self, dovecot: Dovecot24, fault: str, laptop: Laptop) -> None:
        login_goes_on(dovecot, EVENTS, fault, laptop)

    def test_a_thousand_mails_are_delivered(self, dovecot: Dovecot24) -> None:
        many(dovecot, EVENTS)


@pytest.fixture(scope="class")
def post_login(dovecot: Dovecot24) -> Iterator[None]:
    with dovecot.telling("post-login"):
        yield


@pytest.mark.usefixtures("post_login")
class TestPostLogin:
    """The script after a login."""

    @pytest.mark.parametrize("fault", [*SENDER_FAULTS, *HOOK_FAULTS])
    def test_a_login_goes_on(self, dovecot: Dovecot24, fault: str, laptop: Laptop) -> None:
        login_goes_on(dovecot, POST_LOGIN, fault, laptop)

    @pytest.mark.parametrize("script", [None, "#!/bin/sh\nexit 1\n"], ids=["missing", "fails"])
    def test_a_wrong_script_refuses_logins(
        self, dovecot: Dovecot24, script: str | None, laptop: Laptop
    ) -> None:
        login_is_refused(dovecot, script, laptop)

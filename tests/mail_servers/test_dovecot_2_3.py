"""Dovecot 2.3 with the recipes for it: Lua for mail, a post-login script for logins."""

from collections.abc import Iterator

import pytest
from harness.machine import machine
from harness.netns import Pair
from mail_servers.dovecot import PASSWORD, Dovecot, through_postfix, whole_addresses
from mail_servers.dovecot_scenario import (
    BROKEN_LUA,
    delivered_with,
    folders,
    ignores_a_users_module,
    learns,
    login_goes_on,
    login_is_refused,
    login_waits,
    many,
    masters_teach_nothing,
)
from mail_servers.laptop import Laptop
from mail_servers.recipe_check import check_fails, check_misses_it, check_sees_it
from mail_servers.scenario import (
    HOOK_FAULTS,
    SENDER_FAULTS,
    Way,
    delivered_once,
    order_at_the_socket,
    rings,
)


class Dovecot23(Dovecot):
    """Dovecot 2.3 of Debian 12."""

    name = "Dovecot 2.3"
    recipe = "dovecot-2.3"
    packages = (
        "dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd", "dovecot-sieve", "lua-socket", "postfix",
    )  # fmt: skip
    programs = (
        "/usr/lib/dovecot/lmtp", "/usr/lib/dovecot/imap", "/usr/lib/dovecot/pop3",
        "/usr/bin/sievec", "/usr/share/lua/5.4/socket.lua", "/usr/sbin/postfix",
    )  # fmt: skip
    whole = ("auth_username_format = %Ln", "auth_username_format = %Lu")
    mbox_fields = "userdb_mail=mbox:~/mail:INBOX=~/inbox"
    settings = """\
protocols = imap pop3 lmtp
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
auth_username_format = %Ln
mail_location = maildir:~/Maildir
namespace inbox {
  inbox = yes
}
auth_master_user_separator = *
passdb {
  driver = passwd-file
  master = yes
  args = /etc/dovecot/masters
}
passdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
service lmtp {
  inet_listener lmtp {
    port = 24
  }
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0666
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
protocol lmtp {
  mail_plugins = $mail_plugins sieve
}
!include_try conf.d/95-*.conf
"""

    def configure(self) -> None:
        super().configure()
        self.machine.write("/etc/dovecot/masters", f"admin:{{PLAIN}}{PASSWORD}\n")


@pytest.fixture(scope="module")
def dovecot(hosts: Pair) -> Iterator[Dovecot23]:
    packages, programs, host = Dovecot23.packages, Dovecot23.programs, hosts.server
    with machine("Dovecot 2.3", packages, programs=programs, host=host) as its:
        server = Dovecot23(its, hosts.client)
        server.users()
        server.configure()
        server.start()
        yield server


LUA_WAY = Way("lua", trusted=["vmail"])
LOGINS = Way("post-login", trusted=["dovecot"])


@pytest.fixture(scope="module")
def lua(dovecot: Dovecot23) -> Iterator[Dovecot23]:
    with dovecot.telling("lua"):
        yield dovecot


@pytest.mark.parametrize("user", ["anna", "mark", "vera", "victor"])
def test_lua_rings(lua: Dovecot23, laptop: Laptop, user: str) -> None:
    """Local users with a Maildir and with an mbox; virtual users with both."""
    rings(lua, LUA_WAY, laptop, user)


def test_check_sees_lua(lua: Dovecot23) -> None:
    check_sees_it(lua, LUA_WAY, "anna")


def test_check_sees_logins_until_they_are_taken_back(lua: Dovecot23) -> None:
    with lua.telling("post-login"):
        check_sees_it(lua, LOGINS, "anna")
    check_misses_it(lua, LOGINS, "anna")


def test_check_sees_a_file_that_dovecot_overrides(lua: Dovecot23) -> None:
    """The lines of the recipe are all there. Only Dovecot knows that they do not count."""
    later = "/etc/dovecot/conf.d/95-other.conf"
    lua.machine.write(later, "protocol lmtp {\n  mail_plugins = sieve\n}\n")
    check_fails(lua, LUA_WAY, "anna", "the plugins are not in force for LMTP")
    lua.machine.path(later).unlink()
    check_sees_it(lua, LUA_WAY, "anna")


@pytest.mark.parametrize("user", ["anna", "victor"])
def test_lua_tells_of_a_mail_after_it_is_visible(lua: Dovecot23, user: str) -> None:
    assert all(order_at_the_socket(lua, user))


def test_lua_rings_for_mail_from_postfix(lua: Dovecot23, laptop: Laptop) -> None:
    with through_postfix(lua):
        rings(lua, LUA_WAY, laptop, "carol")


def test_lua_rings_with_a_whole_address_as_the_name(lua: Dovecot23, laptop: Laptop) -> None:
    with whole_addresses(lua):
        rings(lua, LUA_WAY, laptop, "whole@test.example")


def test_lua_names_the_folder(lua: Dovecot23, laptop: Laptop) -> None:
    folders(lua, LUA_WAY, laptop)


def test_lua_ignores_a_users_module(lua: Dovecot23) -> None:
    ignores_a_users_module(lua, LUA_WAY)


@pytest.mark.parametrize("fault", SENDER_FAULTS)
def test_lua_delivers_once(lua: Dovecot23, fault: str) -> None:
    with through_postfix(lua):
        delivered_once(lua, LUA_WAY, fault, "anna", "carol")


@pytest.mark.parametrize("fault", BROKEN_LUA)
def test_a_broken_file_delivers_once(lua: Dovecot23, fault: str) -> None:
    with through_postfix(lua):
        delivered_with(lua, LUA_WAY, fault)


def test_a_login_is_where_the_next_mail_rings(lua: Dovecot23, laptop: Laptop) -> None:
    with lua.telling("post-login"):
        learns(lua, LOGINS, LUA_WAY, laptop)


@pytest.fixture(scope="module")
def logins(dovecot: Dovecot23) -> Iterator[Dovecot23]:
    with dovecot.telling("post-login"):
        yield dovecot


def test_a_login_of_a_master_user_teaches_nothing(logins: Dovecot23, laptop: Laptop) -> None:
    masters_teach_nothing(logins, LOGINS, laptop)


@pytest.mark.parametrize("fault", [*SENDER_FAULTS, *HOOK_FAULTS])
def test_a_login_goes_on(logins: Dovecot23, fault: str, laptop: Laptop) -> None:
    login_goes_on(logins, LOGINS, fault, laptop)


@pytest.mark.parametrize("script", [None, "#!/bin/sh\nexit 1\n"], ids=["missing", "fails"])
def test_a_wrong_script_refuses_logins(
    logins: Dovecot23, script: str | None, laptop: Laptop
) -> None:
    login_is_refused(logins, script, laptop)


def test_a_script_that_hangs_holds_logins_up(logins: Dovecot23, laptop: Laptop) -> None:
    login_waits(logins, laptop)


def test_a_thousand_mails_are_delivered(lua: Dovecot23) -> None:
    many(lua, LUA_WAY)

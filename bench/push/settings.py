"""Dovecot's configuration, 2.3 and 2.4: what a mail server has, and nothing that makes it slow."""

from dataclasses import dataclass
from typing import Final

__all__ = ["OWNER", "PASSWORD", "SERVER", "Ports", "Setup", "configuration", "user_lines"]

PASSWORD: Final = "secret"  # noqa: S105  of every user, and of nobody else
SERVER: Final = "192.0.2.1"
OWNER: Final = 8
"""The user `mail` of Debian: whose mail it is where one user of the machine has that of all."""

# Each user has a number of their own, unless Lua is to speak for all of them. Nobody else's is
# so high. Inotify is limited for each number (fs.inotify.max_user_instances, 128 by default).
_FIRST_USER: Final = 200_000


@dataclass(frozen=True)
class Ports:
    """Where a Dovecot listens. Several can be beside each other.

    Attributes:
        first: the lowest one.
    """

    first: int

    @property
    def imap(self) -> int:
        """IMAP without TLS."""
        return self.first

    @property
    def imaps(self) -> int:
        """IMAP with TLS."""
        return self.first + 1

    @property
    def pop3(self) -> int:
        """POP3 without TLS."""
        return self.first + 2

    @property
    def pop3s(self) -> int:
        """POP3 with TLS."""
        return self.first + 3

    @property
    def lmtp(self) -> int:
        """LMTP."""
        return self.first + 4


@dataclass(frozen=True)
class Setup:
    """One Dovecot.

    Attributes:
        suite: Debian 12 (bookworm) has 2.3, Debian 13 (trixie) has 2.4.
        ports: where it listens.
        users: how many there are: u0, u1 and so on.
        hibernate: after so many seconds of IDLE a connection is handed to imap-hibernate; 0: never,
            which is the default of both versions.
        keep_alive: seconds between two "Still here"; Dovecot's default is 120.
        rings: whether LMTP tells mailbell-sender, by Lua. Then all mail belongs to one user.
        many_tls: whether 1,000 users may stay with TLS, each with a process for TLS.
    """

    suite: str
    ports: Ports
    users: int
    hibernate: int = 0
    keep_alive: int = 120
    rings: bool = False
    many_tls: bool = False

    @property
    def is_new(self) -> bool:
        """Whether it is Dovecot 2.4."""
        return self.suite == "trixie"


def user_lines(setup: Setup) -> str:
    """Return the passwd-file of its users."""
    return "".join(
        f"u{n}:{{PLAIN}}{PASSWORD}:{number}:{number}::/srv/mail/u{n}::\n"
        for n in range(setup.users)
        for number in [OWNER if setup.rings else _FIRST_USER + n]
    )


def configuration(setup: Setup) -> str:
    """Return dovecot.conf.

    More connections are permitted than by default (1,000), and one process for LMTP always
    stays, so that it is counted with and without users. The rest is as Debian has it.
    """
    parts = [_NEW if setup.is_new else _OLD, _BOTH]
    if setup.hibernate:
        parts.append(_HIBERNATION)
    if setup.rings:
        parts.append(_LUA_NEW if setup.is_new else _LUA_OLD)
    text = "".join(parts)
    ports = setup.ports
    for name, value in {
        "SERVER": SERVER, "OWNER": OWNER, "KEEP_ALIVE": setup.keep_alive,
        "HIBERNATE": setup.hibernate, "LOGINS": 3000 if setup.many_tls else 100,
        "IMAPS": ports.imaps, "IMAP": ports.imap, "POP3S": ports.pop3s, "POP3": ports.pop3,
        "LMTP": ports.lmtp,
    }.items():  # fmt: skip
        text = text.replace(f"@{name}@", str(value))
    return text


_OLD: Final = """\
disable_plaintext_auth = no
auth_username_format = %Ln
mail_location = maildir:~/Maildir
ssl_cert = </etc/dovecot/cert.pem
ssl_key = </etc/dovecot/key.pem
passdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
"""

_NEW: Final = """\
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
auth_allow_cleartext = yes
auth_username_format = %{user | username | lower}
mail_driver = maildir
mail_path = ~/Maildir
mail_inbox_path = ~/Maildir
ssl_server_cert_file = /etc/dovecot/cert.pem
ssl_server_key_file = /etc/dovecot/key.pem
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
userdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
"""

_BOTH: Final = """\
protocols = imap pop3 lmtp
listen = @SERVER@
ssl = yes
log_path = /etc/dovecot/log
first_valid_uid = @OWNER@
first_valid_gid = @OWNER@
default_client_limit = 4096
imap_idle_notify_interval = @KEEP_ALIVE@s
imap_hibernate_timeout = @HIBERNATE@s
namespace inbox {
  inbox = yes
}
service imap {
  process_limit = 3000
}
service imap-login {
  process_limit = @LOGINS@
  inet_listener imap {
    port = @IMAP@
  }
  inet_listener imaps {
    port = @IMAPS@
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = @POP3@
  }
  inet_listener pop3s {
    port = @POP3S@
    ssl = yes
  }
}
service lmtp {
  process_min_avail = 1
  inet_listener lmtp {
    port = @LMTP@
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
"""

# imap-hibernate gives a connection back through this socket.
_HIBERNATION: Final = """\
service imap {
  unix_listener imap-master {
    user = dovecot
  }
}
"""

_LUA_OLD: Final = """\
protocol lmtp {
  mail_plugins = $mail_plugins mail_lua notify push_notification push_notification_lua
}
plugin {
  push_notification_driver = lua:file=/etc/dovecot/mailbell.lua
}
"""

_LUA_NEW: Final = """\
protocol lmtp {
  mail_plugins {
    mail_lua = yes
    notify = yes
    push_notification = yes
    push_notification_lua = yes
  }
}
push_notification mailbell {
  driver = lua
  lua_file = /etc/dovecot/mailbell.lua
}
"""

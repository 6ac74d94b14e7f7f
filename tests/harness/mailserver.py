"""A real mail server: Dovecot, which takes mail by LMTP and serves it by IMAP and POP3.

It listens on loopback and on a Unix socket, runs as an ordinary user, keeps
everything in a folder of its own, and ends with the test.
"""

import grp
import os
import pwd
import shutil
import smtplib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import until
from harness.ordinary import NOBODY
from harness.sender import PATIENCE

__all__ = ["HOST", "PASSWORD", "MailServer", "mail_servers", "message"]

HOST: Final = "127.0.0.1"
PASSWORD: Final = "kept-in-a-test"

# {user} owns everything, so nothing can be chrooted, and nobody needs to be kept out: wrong
# passwords cost no time (auth_failure_delay, anvil-auth-penalty).
_CONFIGURATION: Final = """
base_dir = {base}/run
state_dir = {base}/run
log_path = {base}/log
protocols = imap pop3 lmtp
listen = {host}
auth_failure_delay = 0
ssl = no
disable_plaintext_auth = no
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
auth_username_format = %n
mail_location = maildir:{base}/mail/%u
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={base}/home/%u
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service lmtp {{
  user =
  unix_listener {base}/lmtp {{
    mode = 0600
  }}
}}
"""


@dataclass(frozen=True)
class MailServer:
    """A mail server that takes connections; every user has the same password.

    Attributes:
        imap: the port on `host`.
        pop3: the port on `host`.
        base: the folder of its files.
        host: its address.
    """

    imap: int
    pop3: int
    base: Path
    host: str = HOST

    def deliver(self, subject: str, user: str) -> None:
        """Deliver a message, as the last of the mail servers on its way does."""
        with smtplib.LMTP(str(self.base / "lmtp"), timeout=PATIENCE) as lmtp:
            lmtp.sendmail("berta@example.org", [f"{user}@example.org"], message(subject))


def message(subject: str) -> str:
    """A whole message; its subject is what tests know it by."""
    return (
        f"From: Berta <berta@example.org>\nTo: Anna <anna@example.org>\nSubject: {subject}\n"
        f"Date: Mon, 2 Mar 2026 10:00:00 +0000\nMessage-ID: <{subject}@example.org>\n\nHello.\n"
    )


@contextmanager
def mail_servers(more: str = "") -> Iterator[MailServer]:
    """Run a mail server until the end of the block.

    The test is skipped, with the reason, where Dovecot is not installed or cannot run.

    Args:
        more: further settings.
    """
    program = shutil.which("dovecot", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("dovecot is not installed")
    owner = _owner()
    with ExitStack() as stack:
        # The path of its socket has to be short, and its user comes in from outside.
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        os.chown(base, owner.pw_uid, owner.pw_gid)
        imap, pop3 = (stack.enter_context(_reserved_port()) for _ in range(2))
        server = MailServer(_port(imap), _port(pop3), base)
        (base / "dovecot.conf").write_text(
            _CONFIGURATION.format(
                base=base, host=HOST, password=PASSWORD, imap=server.imap, pop3=server.pop3,
                user=owner.pw_name, uid=owner.pw_uid, gid=owner.pw_gid,
                group=grp.getgrgid(owner.pw_gid).gr_name,
            )
            + more
        )  # fmt: skip
        stack.enter_context(_running([program, "-F", "-c", str(base / "dovecot.conf")], owner))
        for port in (imap, pop3):
            until(partial(_listening, port), "the start of Dovecot")
        yield server


def _owner() -> pwd.struct_passwd:
    """Return the user that Dovecot runs as. It does not serve root's mail, and needs a name."""
    uid = os.getuid() or NOBODY
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        pytest.skip(f"uid {uid} has no name, and Dovecot knows users by name only")


@contextmanager
def _reserved_port() -> Iterator[socket.socket]:
    """Keep a free port: the kernel gives it to no other process, but Dovecot may listen on it.

    Both sockets have SO_REUSEADDR, and this one does not listen.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, 0))
        yield sock


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def _listening(sock: socket.socket) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(sock.getsockname()) == 0


@contextmanager
def _running(command: list[str], owner: pwd.struct_passwd) -> Iterator[None]:
    as_root = os.getuid() == 0
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        user=owner.pw_uid if as_root else None,
        group=owner.pw_gid if as_root else None,
        extra_groups=[] if as_root else None,
        cwd="/",
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

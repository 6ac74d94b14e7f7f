"""A mail server that cannot push and counts what it is asked, and a mailbelld with accounts."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cli.support import words
from harness.daemon import Daemon, started
from harness.mailserver import MailServer, mail_servers
from harness.sender import PATIENCE

__all__ = ["Bell", "Post", "posts"]

# What Dovecot offers without it, but not IDLE. It notes each line of an IMAP client where the
# folder for that exists.
_NO_PUSH: Final = """
protocol imap {
  imap_capability = IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE LITERAL+ UIDPLUS CONDSTORE
  rawlog_dir = %h/raw
}
"""

# What an IMAP client says to learn of new mail, after the number of the command: NOOP in an open
# connection, and the other in a new one.
_LOOKS: Final = re.compile(r'(?mi)^(?:\S+ )?\S+ (?:noop|select "INBOX")')

# Each account has an address that senders call.
_ADDRESSES: Final = {"work": "127.0.0.2", "club": "127.0.0.3", "other": "127.0.0.4"}

_BELL: Final = """
[listen]
tcp = {tcp}
udp = []
user = "nobody"
[socket]
path = "{path}"
group = "users"
[limits]
rate = "1000/s"
burst = 1000
"""


@dataclass(frozen=True)
class Post:
    """A mail server that offers no IDLE."""

    server: MailServer

    def deliver(self, subject: str, user: str) -> None:
        """Deliver a message by LMTP."""
        self.server.deliver(subject, user)

    def asked(self, kind: str, user: str) -> int:
        """How often a client has looked for mail: by a login with POP3."""
        if kind == "pop3":
            return self._logins("pop3", user)
        return len(_LOOKS.findall(self._imap(user)))

    def watch(self, user: str) -> None:
        """Have what IMAP clients of a user say noted."""
        folder = self._raw(user)
        folder.mkdir(parents=True)
        for path in (folder.parent, folder):
            path.chmod(0o777)

    def _raw(self, user: str) -> Path:
        return self.server.base / "home" / user / "raw"

    def _imap(self, user: str) -> str:
        files = sorted(self._raw(user).glob("*.in"))
        return "".join(file.read_text(errors="replace") for file in files)

    def _logins(self, kind: str, user: str) -> int:
        text = (self.server.base / "log").read_text()
        return text.count(f"{kind}-login: Info: Login: user=<{user}>")


@contextmanager
def posts() -> Iterator[Post]:
    """Run a mail server until the end of the block."""
    with mail_servers(_NO_PUSH) as server:
        (server.base / "home").mkdir(exist_ok=True)
        (server.base / "home").chmod(0o777)
        yield Post(server)


@dataclass
class Bell:
    """A mailbelld that starts and stops, and senders that ring for one account or another.

    Args:
        folder: for its socket, a path that Thunderbird knows too.
    """

    folder: Path
    _running: ExitStack = field(default_factory=ExitStack)
    _daemon: Daemon | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.folder.chmod(0o755)

    @property
    def path(self) -> Path:
        """Its local socket, which the group `users` may use."""
        return self.folder / "mailbell.sock"

    def start(self) -> None:
        """Start it."""
        tcp = [f"{address}:0" for address in _ADDRESSES.values()]
        accounts = (
            f'[[account]]\nname = "{name}"\naddresses = ["{address}"]\n'
            for name, address in _ADDRESSES.items()
        )
        toml = _BELL.format(tcp=tcp, path=self.path) + "".join(accounts)
        self._daemon = self._running.enter_context(started(self.folder, toml))

    def stop(self) -> None:
        """End it in order."""
        self._running.close()
        self._daemon = None

    def kill(self) -> None:
        """End it without a chance to remove its socket."""
        assert self._daemon
        self._daemon.process.kill()
        self.stop()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it do nothing until the end of the block. Its connections stay."""
        assert self._daemon
        self._daemon.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._daemon.process.send_signal(signal.SIGCONT)

    def ring(self, account: str) -> None:
        """Ring as a mail server does, at the address of an account of mailbelld."""
        assert self._daemon
        host, port = self._daemon.endpoint(host=_ADDRESSES[account])
        subprocess.run(words("mailbell", "send", f"{host}:{port}"), check=True, timeout=PATIENCE)

    def subscribers(self) -> int:
        """How many subscribers it has."""
        assert self._daemon
        return self._daemon.status().subscribers

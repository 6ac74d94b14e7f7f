"""The clients of a run and what they say; and mail that is handed to Dovecot."""

import random
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from harness.netns import Namespace

from bench.processes import PATIENCE, Failed
from bench.push.client import Order
from bench.push.settings import SERVER

__all__ = ["Clients", "Mail", "clients", "deliver", "spread"]

_ROOT: Final = Path(__file__).resolve().parents[2]
_LOGINS: Final = 240.0  # seconds until a thousand users have logged in, on a busy machine
_TEXT: Final = "From: a@test.example\r\nTo: u@test.example\r\nSubject: news\r\n\r\n" + 20 * (
    "A mail of usual length has some lines, and this one has twenty.\r\n"
)


class Clients:
    """A process with clients, and the times of what they have said."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._times: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101  for mypy
        for line in self.process.stdout:
            name, user, when = line.split()
            with self._changed:
                self._times[name.decode()][int(user)].append(float(when))
                self._changed.notify_all()

    def times(self, name: str, user: int) -> list[float]:
        """Return when an event has come to a user."""
        with self._changed:
            return list(self._times[name][user])

    def count(self, name: str) -> int:
        """Return how often an event has come, to all users."""
        with self._changed:
            return sum(map(len, self._times[name].values()))

    def until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for a condition, which a further event makes true.

        Raises:
            Failed: it did not become true, or the process has ended.
        """
        last = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > last:
                raise Failed(f"{what}: {dict(self._counts())}")
            with self._changed:
                self._changed.wait(0.5)

    def until_ready(self, users: int) -> None:
        """Wait until so many of them wait for mail."""
        self.until(lambda: self.count("ready") >= users, f"{users} users were to wait", _LOGINS)

    def again(self) -> None:
        """Let each one end its IDLE, and begin another one."""
        assert self.process.stdin is not None  # noqa: S101  for mypy
        self.process.stdin.write(b"again\n")
        self.process.stdin.flush()

    def _counts(self) -> Iterator[tuple[str, int]]:
        with self._changed:
            names = list(self._times)
        for name in names:
            yield name, self.count(name)

    def end(self) -> None:
        """End them all."""
        assert self.process.stdin is not None  # noqa: S101  for mypy
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None  # noqa: S101  for mypy
        self.process.stdout.close()


@contextmanager
def clients(order: Order, host: Namespace) -> Iterator[Clients]:
    """Run clients until the end of the block.

    Args:
        order: what they do.
        host: their network.
    """
    process = host.popen(
        [sys.executable, "-m", "bench.push.client", msgspec.json.encode(order).decode()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT,
    )  # fmt: skip
    found = Clients(process)
    try:
        yield found
    finally:
        found.end()


class Mail(msgspec.Struct, frozen=True):
    """One mail that was delivered.

    Attributes:
        user: whose it is.
        handed: when its last line was sent, a time of CLOCK_MONOTONIC.
        taken: when Dovecot had said that it is in the mailbox.
    """

    user: int
    handed: float
    taken: float


class _Lmtp(smtplib.LMTP):
    """LMTP from within a namespace: as the mail server on the same machine."""

    def __init__(self, host: Namespace, port: int) -> None:
        self._origin = host
        super().__init__(SERVER, port, local_hostname="mail.test.example", timeout=PATIENCE)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = self._origin.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((host, port))
        return sock


def deliver(host: Namespace, port: int, user: int) -> Mail:
    """Hand a mail to Dovecot over a new connection, as Postfix does.

    Args:
        host: the server's network.
        port: of LMTP.
        user: whose mail it is.

    Raises:
        Failed: it was not taken.
    """
    with _Lmtp(host, port) as lmtp:
        lmtp.ehlo()
        for command in ("MAIL FROM:<a@test.example>", f"RCPT TO:<u{user}@test.example>", "DATA"):
            code, said = lmtp.docmd(command)
            if code not in (250, 354):
                raise Failed(f"Dovecot does not take a mail for u{user}: {code} {said!r}")
        handed = time.monotonic()
        lmtp.send(f"{_TEXT}.\r\n")
        code, said = lmtp.getreply()
        taken = time.monotonic()
    if code != 250:
        raise Failed(f"Dovecot does not deliver a mail for u{user}: {code} {said!r}")
    return Mail(user, handed, taken)


def spread(
    host: Namespace, port: int, users: Sequence[int], seconds: float, *, seed: int = 79
) -> list[Mail]:
    """Deliver mails, each at a random moment of its share of a time.

    Args:
        host: the server's network.
        port: of LMTP.
        users: whose each mail is, in their order.
        seconds: how long all of it takes.
        seed: of the moments, so that each run has the same.
    """
    moments = random.Random(seed)  # noqa: S311  nothing secret
    begun = time.monotonic()
    mails = []
    for number, user in enumerate(users):
        moment = begun + (number + moments.random()) * seconds / len(users)
        time.sleep(max(0.0, moment - time.monotonic()))  # that moment is the load
        mails.append(deliver(host, port, user))
    return mails

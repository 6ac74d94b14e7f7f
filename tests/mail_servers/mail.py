"""Mail as a mail server gets it and keeps it: SMTP and LMTP from another host, mailboxes."""

import os
import re
import smtplib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.header import Header
from pathlib import Path
from typing import Final

from harness.netns import Namespace
from harness.sender import PATIENCE

__all__ = [
    "BERTA", "arrivals", "connected", "mbox_arrivals", "mbox_subjects", "message", "send",
    "send_copies",
]  # fmt: skip

BERTA: Final = "berta@test.example"
"""Who sends all mail: a user of the server, who would get every report of a failure."""


class _FromAHost:
    """For smtplib: its connection begins at a host of the test."""

    host_from: Namespace

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = self.host_from.socket(
            socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM
        )
        sock.settimeout(timeout)
        sock.connect((host, port))
        return sock


class _Smtp(_FromAHost, smtplib.SMTP):
    """SMTP from a host of the test."""


class _Lmtp(_FromAHost, smtplib.LMTP):
    """LMTP from a host of the test."""


def message(subject: str, *, to: str, body: str = "Hello.", header: Sequence[str] = ()) -> bytes:
    """Return a whole message; its subject is what tests know it by."""
    lines = [
        f"From: Berta <{BERTA}>",
        f"To: <{to}>",
        f"Subject: {Header(subject)}",
        "Date: Mon, 2 Mar 2026 10:00:00 +0000",
        f"Message-ID: <{subject}.{to}>",
        *header,
        "",
        *body.splitlines(),
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def send(
    origin: Namespace,
    server: tuple[str, int],
    mail: bytes,
    *recipients: str,
    lmtp: bool = False,
    sender: str = BERTA,
) -> None:
    """Hand a message to a mail server, which accepts it for each recipient.

    Args:
        origin: the host that it comes from.
        server: address and port.
        mail: the message.
        recipients: their addresses.
        lmtp: whether the server speaks LMTP (RFC 2033).
        sender: of the envelope.
    """
    with connected(origin, server, lmtp=lmtp) as client:
        refused = client.sendmail(sender, recipients, mail)
        assert not refused, refused


@contextmanager
def connected(
    origin: Namespace, server: tuple[str, int], *, lmtp: bool = False
) -> Iterator[smtplib.SMTP]:
    """Keep a connection to a mail server until the end of the block.

    Args:
        origin: the host that it comes from.
        server: address and port.
        lmtp: whether the server speaks LMTP (RFC 2033).
    """
    kind = _Lmtp if lmtp else _Smtp
    client = kind(timeout=2 * PATIENCE, local_hostname="laptop.test.example")
    client.host_from = origin
    client.connect(*server)
    with client:
        yield client


def send_copies(
    origin: Namespace, server: tuple[str, int], mail: bytes, *recipients: str, copies: int
) -> None:
    """Hand copies of a message to a mail server by SMTP, on one connection."""
    with connected(origin, server) as client:
        for _ in range(copies):
            assert client.sendmail(BERTA, recipients, mail) == {}


def arrivals(maildir: Path) -> list[tuple[str, float]]:
    """Return the subjects in a Maildir, and when each became visible, in seconds since 1970.

    A message becomes visible when its file is linked or renamed into `new`, which changes its
    ctime (inode(7)). Whoever reads the mail moves it: ask before that.
    """
    found = []
    for folder in ("new", "cur"):
        try:
            names = os.listdir(maildir / folder)
        except FileNotFoundError:
            continue
        for name in names:
            path = maildir / folder / name
            found.append((_subject(path.read_bytes()), path.stat().st_ctime))
    return sorted(found, key=lambda each: each[1])


def mbox_subjects(path: Path) -> list[str]:
    """Return the subjects in an mbox, in their order."""
    if not path.exists():
        return []
    # maildrop puts its own line above that of Postfix, and mailbox.mbox then finds no header.
    messages = re.split(rb"(?m)^From ", path.read_bytes())[1:]
    return [_subject(each) for each in messages]


def mbox_arrivals(path: Path) -> list[tuple[str, float]]:
    """Return the subjects in an mbox, and when the last of them became visible.

    An mbox keeps one time only, that of its last change, and this is given for all of them.
    """
    subjects = mbox_subjects(path)
    # Exim sets the mtime, to whole seconds; nobody can set the ctime (inode(7)).
    return [(subject, path.stat().st_ctime) for subject in subjects]


def _subject(mail: bytes) -> str:
    for line in mail.splitlines():
        if line.lower().startswith(b"subject:"):
            return line.partition(b":")[2].strip().decode()
    return ""

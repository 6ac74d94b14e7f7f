"""The fetchers of the tests, each configured for one mailbox as its manual says."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from harness.mailserver import PASSWORD
from harness.ordinary import NOBODY
from mail_programs.gate import Gate
from mail_programs.support import Home, Mailbox

__all__ = ["FETCHERS", "fetchmail", "getmail", "mbsync", "mpop", "offlineimap"]


def mbsync(home: Home, mailbox: Mailbox, password: str = f"Pass {PASSWORD}") -> Path:
    """Configure the program; return the folder of the mail."""
    folder = home.path / "Mail" / "INBOX"
    folder.parent.mkdir()
    home.write(
        ".mbsyncrc",
        f"IMAPStore remote\nHost {mailbox.server.host}\n"
        f"Port {mailbox.server.imap}\nUser {mailbox.user}\n"
        f"SSLType None\nAuthMechs LOGIN\n{password}\n\n"
        f"MaildirStore local\nPath {folder.parent}/\nInbox {folder}\n\n"
        "Channel work\nFar :remote:\nNear :local:\nCreate Near\nSyncState *\n",
    )
    return folder


def getmail(
    home: Home,
    mailbox: Mailbox,
    password: str = f"password = {PASSWORD}",
    *,
    mbox: str = "",
    gate: Gate | None = None,
) -> Path:
    """Configure the program; return the folder of the mail, or the mbox.

    Args:
        home: the home of the person.
        mailbox: the mailbox to fetch from.
        password: the setting with the password.
        mbox: the name of the mbox in the home that the mail goes into; "": it goes into a Maildir.
        gate: receives the mail instead.
    """
    if mbox:
        folder = home.write(mbox, "", 0o660)
        destination = f"type = Mboxrd\npath = {folder}"
    else:
        folder = home.maildir("Mail")
        destination = f"type = Maildir\npath = {folder}/"
    if os.getuid() == 0:
        # getmail refuses to deliver as root, so another user delivers.
        destination += "\nuser = nobody"
        for path in (folder, *folder.glob("*")):
            # Nobody's group may write into an mbox: bsd-mailx reads only what its user owns.
            os.chown(path, 0 if mbox else NOBODY, NOBODY)
    if gate is not None:
        folder = gate.folder
        destination = f"type = MDA_external\npath = {gate.program}\nallow_root_commands = true"
    home.write(
        ".config/getmail/getmailrc",
        f"[retriever]\ntype = SimplePOP3Retriever\nserver = {mailbox.server.host}\n"
        f"port = {mailbox.server.pop3}\n"
        f"username = {mailbox.user}\n{password}\n"
        f"[destination]\n{destination}\n[options]\nread_all = false\n",
    )
    return folder


def fetchmail(
    home: Home,
    mailbox: Mailbox,
    password: str = f"password {PASSWORD}",
    *,
    first: str = "",
    gate: Gate | None = None,
) -> Path:
    """Configure the program; return the folder of the mail.

    Args:
        home: the home of the person.
        mailbox: the mailbox to fetch from.
        password: the setting with the password.
        first: the beginning of the file.
        gate: receives the mail; None: the mail goes into a folder.
    """
    folder = home.path / "Mail"
    folder.mkdir()
    agent = home.write("deliver", f'#!/bin/sh\nexec cat >"{folder}/$$"\n', 0o700)
    if gate is not None:
        folder, agent = gate.folder, gate.program
    # The file of root would be that of the machine.
    pid = f'set pidfile "{home.path}/fetchmail.pid"'
    home.write(
        "fetchmailrc",
        f"{pid}\n{first}\npoll {mailbox.server.host} "
        f"protocol pop3 port {mailbox.server.pop3} uidl auth password\n"
        f"  username {mailbox.user} {password} keep sslproto '' mda \"{agent}\"\n",
    )
    return folder


def offlineimap(
    home: Home, mailbox: Mailbox, password: str = f"remotepass = {PASSWORD}", *, account: str = ""
) -> Path:
    """Configure the program; return the folder of the mail.

    Args:
        home: the home of the person.
        mailbox: the mailbox to fetch from.
        password: the setting with the password.
        account: more settings of the account.
    """
    home.write(
        ".offlineimaprc",
        "[general]\naccounts = work\n"
        "[Account work]\nlocalrepository = local\nremoterepository = remote\n"
        f"autorefresh = 60\n{account}\n"
        f"[Repository local]\ntype = Maildir\nlocalfolders = {home.path}/Mail\n"
        f"[Repository remote]\ntype = IMAP\nremotehost = {mailbox.server.host}\n"
        f"remoteport = {mailbox.server.imap}\nremoteuser = {mailbox.user}\n{password}\n"
        "ssl = no\nstarttls = no\n",
    )
    return home.path / "Mail" / "INBOX"


def mpop(home: Home, mailbox: Mailbox, password: str = f"password {PASSWORD}", *,
         gate: Gate | None = None) -> Path:  # fmt: skip
    """Configure the program; return the folder of the mail.

    Args:
        home: the home of the person.
        mailbox: the mailbox to fetch from.
        password: the setting with the password.
        gate: receives the mail; None: the mail goes into a Maildir.
    """
    folder = home.maildir("Mail")
    delivery = f"maildir {folder}"
    if gate is not None:
        folder, delivery = gate.folder, f"mda {gate.program}"
    home.write(
        ".mpoprc",
        f"account work\nhost {mailbox.server.host}\nport {mailbox.server.pop3}\n"
        f"user {mailbox.user}\n{password}\ntls off\nauth user\nkeep on\ndelivery {delivery}\n",
    )
    return folder


FETCHERS: Final[Mapping[str, Callable[..., Path]]] = {
    "mbsync": mbsync,
    "getmail": getmail,
    "fetchmail": fetchmail,
    "offlineimap": offlineimap,
    "mpop": mpop,
}

"""What is shown for both versions of Dovecot, besides what is shown for every mail server."""

import os
import select
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.daemon import until
from harness.sending import Sender
from mail_servers import mail
from mail_servers.dovecot import LUA, MANY, PASSWORD, PLAIN, POSTLOGIN, Dovecot, replaced
from mail_servers.laptop import Laptop
from mail_servers.logins import IMAP, POP3, PROTOCOLS, log_in
from mail_servers.results import record
from mail_servers.scenario import Way, delivered_once, faulty, stopped, subject

__all__ = [
    "BROKEN_LUA",
    "delivered_with",
    "folders",
    "ignores_a_users_module",
    "learns",
    "login_goes_on",
    "login_is_refused",
    "login_waits",
    "many",
    "masters_teach_nothing",
]

MAILS: Final = 1000
_BLOCK: Final = 50
_BODY: Final = f"{'Hello. ' * 10}\n" * 285  # 20 kB
HANGS: Final = 20  # seconds

BROKEN_LUA: Final[dict[str, str | None]] = {
    "Lua missing": None,
    "Lua broken": "function (",
    "lua-socket missing": 'require("socket.nowhere")',
    "Lua raises": """
function dovecot_lua_notify_begin_txn(user) error("75") end
function dovecot_lua_notify_end_txn(mails, success) error("75") end
""",
    "Lua hangs": f"""
function dovecot_lua_notify_begin_txn(user) return {{}} end
function dovecot_lua_notify_event_message_new(mails, event) end
function dovecot_lua_notify_end_txn(mails, success) require("socket").sleep({HANGS}) end
""",
}
"""What may be wrong with mailbell.lua, and the text that it then has."""

V4: Final = "192.0.2.1"
V6: Final = "2001:db8::1"


def delivered_with(server: Dovecot, way: Way, fault: str) -> None:
    """With a wrong file, mail that comes through Postfix is delivered exactly once."""
    with replaced(server, LUA, BROKEN_LUA[fault]):
        delivered_once(server, way, fault, "anna", "carol")


def folders(server: Dovecot, way: Way, laptop: Laptop) -> None:
    """Mail that Sieve puts in a quiet folder rings nobody, in another folder it rings."""
    server.machine.write(
        "/home/carol/.dovecot.sieve",
        """require ["fileinto", "mailbox"];
if header :is "X-Folder" "junk" { fileinto :create "Junk"; }
elsif header :is "X-Folder" "lists" { fileinto :create "Lists"; }
""",
        owner="carol",
    )
    with server.sending("carol", trusted=way.trusted) as sender:
        before = laptop.count()
        server.deliver(subject("junk"), "carol", header=["X-Folder: junk"])
        until(lambda: sender.status().inputs["quiet_folder"] == 1, "mail for Junk")
        assert laptop.count() == before
        server.deliver(subject("lists"), "carol", header=["X-Folder: lists"])
        until(lambda: laptop.count() == before + 1, "the ring for Lists")


def learns(server: Dovecot, way: Way, lua: Way, laptop: Laptop) -> None:
    """A login by IMAP or POP3, over IPv4 or IPv6, is where the next mail rings.

    A login that fails teaches nothing. `way` tells of logins, and `lua` of mail.
    """
    trusted = sorted({*way.trusted, *lua.trusted})
    places = {"imap4": (IMAP, V4), "imap6": (IMAP, V6), "pop4": (POP3, V4), "pop6": (POP3, V6)}
    users = (*places, "nobodys")
    laptop.forget()
    before = laptop.count()
    with server.sending(*users, targets=("last-used",), trusted=trusted) as sender:
        for protocol in PROTOCOLS:
            assert not log_in(laptop.host, V4, protocol, "nobodys", "wrong")
        for user, (protocol, address) in places.items():
            assert log_in(laptop.host, address, protocol, user, PASSWORD)
            _until_learned(sender, user)
            server.deliver(subject(user), user)
            told, _ = laptop.rung()
            assert told["source"] == address, sender.lines()
        server.deliver(subject("nobodys"), "nobodys")
        until(lambda: sender.status().rings.get("no_target"), "that nobody is rung")
        assert laptop.count() == before + len(places)
    record(server.name, server.version(), way.name, logins="IMAP and POP3 over IPv4 and IPv6")


def masters_teach_nothing(server: Dovecot, way: Way, laptop: Laptop) -> None:
    """Whoever logs in as a user with the master's password is not that user."""
    with server.sending("anna", "carol", targets=("last-used",), trusted=way.trusted) as sender:
        for protocol in PROTOCOLS:
            assert log_in(laptop.host, V4, protocol, "anna*admin", PASSWORD)
        assert log_in(laptop.host, V4, IMAP, "carol", PASSWORD)
        _until_learned(sender, "carol")
        assert sender.status().inputs["accepted"] == 1, sender.lines()


def _until_learned(sender: Sender, user: str) -> None:
    def learned() -> bool:
        with sender.client() as client:
            return any(step.target for step in client.explain(user).steps)

    until(learned, f"the address of {user}")


def login_goes_on(server: Dovecot, way: Way, fault: str, laptop: Laptop) -> None:
    """With a fault of the hook or of the sender, a login succeeds, and does not wait for it."""
    with faulty(server, way, fault, "anna") as lasting:
        assert log_in(laptop.host, V4, IMAP, "anna", PASSWORD)
        assert log_in(laptop.host, V6, POP3, "anna", PASSWORD)
        until(lasting, f"{fault}, for real")


def login_is_refused(server: Dovecot, script: str | None, laptop: Laptop) -> None:
    """With a script that is missing or fails nobody can log in; mail is delivered all the same."""
    sent = subject("refused")
    with replaced(server, POSTLOGIN, script):
        for protocol in PROTOCOLS:
            assert not log_in(laptop.host, V4, protocol, "anna", PASSWORD)
        server.deliver(sent, "anna")
        server.until_arrived(sent, "anna")
    assert log_in(laptop.host, V4, IMAP, "anna", PASSWORD)


def login_waits(server: Dovecot, laptop: Laptop) -> None:
    """A script that hangs holds a login up as long as it hangs, and no other user's delivery."""
    sent = subject("waits")
    with replaced(server, POSTLOGIN, '#!/bin/sh\nsleep 2\nexec "$@"\n'):
        begun = time.monotonic()
        assert log_in(laptop.host, V4, IMAP, "anna", PASSWORD)
        assert time.monotonic() - begun >= 2
        server.deliver(sent, "carol")
        server.until_arrived(sent, "carol")


def ignores_a_users_module(server: Dovecot, way: Way) -> None:
    """Lua loads no module from the working directory, which may be a user's home.

    It tells of mail from dovecot-lda too.
    """
    planted = 'local file = io.open("/tmp/planted", "w") file:write("!") file:close() error("!")'
    for user in ("anna", "carol"):
        server.machine.write(f"/home/{user}/socket/unix.lua", planted, owner=user)
    command = 'cd /home/carol && exec /usr/lib/dovecot/dovecot-lda -d "$1"'
    sent = subject("lda")
    text = mail.message(sent, to="anna@test.example").decode()
    with server.sending("anna", trusted=way.trusted) as sender:
        server.machine.run("sh", "-c", command, "-", "anna", stdin=text)
        assert sent in server.subjects("anna")
        until(lambda: sender.status().inputs["accepted"] == 1, "the word of dovecot-lda")
    assert not server.machine.path("/tmp/planted").exists()


def many(server: Dovecot, way: Way) -> None:
    """With a stopped sender, 1,000 mails through Postfix are delivered, and hardly later.

    Blocks with and without the hook take turns, so that what else the machine does meets both.
    The queue and the mailboxes are on a disk, as a mail server has them. The figure is the
    median of the blocks in pairs. It is recorded; what fails the test is far above it, because
    other tests run at the same time.
    """
    times: dict[str, list[float]] = {MANY: [], PLAIN: []}
    with server.beside(), server.sending(MANY, trusted=way.trusted) as sender, stopped(sender):
        for user in times:
            _block(server, user, 1)  # it makes the mailbox
        for number in range(MAILS // _BLOCK):
            for user in (MANY, PLAIN) if number % 2 else (PLAIN, MANY):
                times[user].append(_block(server, user, _BLOCK))
        server.until_settled()
    told, plain = (sorted(times[user]) for user in (MANY, PLAIN))
    record(
        server.name, server.version(), way.name, deliveries=str(MAILS), fault="sender stopped",
        seconds=sum(told), seconds_without=sum(plain), ratio=_middle(told) / _middle(plain),
    )  # fmt: skip
    assert told[0] <= 2 * plain[0], times


def _middle(ordered: Sequence[float]) -> float:
    return ordered[len(ordered) // 2]


def _block(server: Dovecot, user: str, count: int) -> float:
    """Deliver mails to a user; return the seconds until the last one is in the mailbox."""
    folder = server.machine.path(f"{server.home(user)}/Maildir/new")
    before = _files(folder)
    begun = time.monotonic()
    address = f"{user}@test.example"
    text = mail.message("many", to=address, body=_BODY)
    with mail.connected(server.laptop, (V4, 25)) as client:
        for _ in range(count):
            client.sendmail(mail.BERTA, [address], text)
    while (found := _files(folder)) < before + count:
        assert time.monotonic() < begun + 60, f"{found - before} of {count} mails for {user}"
        select.select([], [], [], 0.002)
    return time.monotonic() - begun


def _files(folder: Path) -> int:
    return len(os.listdir(folder)) if folder.exists() else 0

"""Mail servers who tell mailbell-sender of mail and logins, well and badly."""

import json
import random
import socket
from typing import Final

import trio

from torture.soak.house import ACCOUNTS, COMSAT, House
from torture.soak.load import Kind
from torture.soak.network import newcomer

__all__ = ["Hooks"]

_FOLDERS: Final = ("", "", "", " INBOX", " Junk", " INBOX/Lists", " Trash/2026")
_BAD: Final = (
    b"hello\n", b"new\n", b"new  anna\n", b"seen anna\n", b"seen anna nowhere\n", b"\n",
    b"new \xff\xfe\n", b"new anna\r\n", b"seen anna 127.0.0.1\n", b"seen anna 224.0.0.1\n",
    b"{}\n", b'{"event": 1}\n', b"[" * 400 + b"\n", b"new anna", b"new hans\n",
)  # fmt: skip
_LONG: Final = (b"new " + b"x" * 600 + b"\n", b'{"event": "' + b"x" * 20_000 + b'"}\n')
_CYRUS: Final = b"mailbell\0EVENT\0\0\0\x000\0%s\0"
# New accounts whose users log in all the time. Their addresses expire.
_PEOPLE: Final = 1_000_000


class Hooks:
    """What mail servers on this machine do.

    Args:
        house: where the sender listens.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._exporter: trio.socket.SocketType | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """All kinds of work."""
        return (
            Kind("login and mail of a new account", 12, self._newcomer),
            Kind("mail of a listed account", 3, self._mail),
            Kind("login of a listed account", 1, self._login),
            Kind("bad line of a hook", 2, self._bad),
            Kind("line too long", 0.3, self._long),
            Kind("slow hook", 0.2, self._slow),
            Kind("event of Dovecot, one connection", 2, self._event),
            Kind("biff datagram", 1, self._comsat),
            Kind("event of Cyrus", 1, self._cyrus),
            Kind("mailbell-hook", 0.1, self._program),
        )

    async def _say(self, *parts: bytes, pause: float = 0.0) -> None:
        with trio.socket.socket(socket.AF_UNIX) as sock:
            await sock.connect(self._house.path("hook"))
            for number, part in enumerate(parts):
                if number:
                    await trio.sleep(pause)
                await sock.send(part)

    async def _newcomer(self, chance: random.Random) -> None:
        name, version = f"user{chance.randrange(_PEOPLE)}", 6 if chance.random() < 0.1 else 4
        where = newcomer(chance, version)
        if chance.random() < 0.1:
            where = f"198.51.100.{chance.randrange(1, 255)}"  # it cannot be reached
        await self._say(f"seen {name} {where}\nnew {name}\n".encode())

    async def _mail(self, chance: random.Random) -> None:
        line = f"new {chance.choice(ACCOUNTS)}{chance.choice(_FOLDERS)}\n"
        await self._say(line.encode() * chance.choice((1, 1, 1, 5)))

    async def _login(self, chance: random.Random) -> None:
        await self._say(f"seen {chance.choice(('bob', 'ida'))} {newcomer(chance)}\n".encode())

    async def _bad(self, chance: random.Random) -> None:
        await self._say(chance.choice(_BAD))

    async def _long(self, chance: random.Random) -> None:
        await self._say(chance.choice(_LONG))

    async def _slow(self, chance: random.Random) -> None:
        await self._say(b"new an", b"na\n", pause=chance.uniform(0.5, 8))

    async def _event(self, chance: random.Random) -> None:
        """Write an event on the one connection that Dovecot has for all."""
        if self._exporter is None:
            exporter = trio.socket.socket(socket.AF_UNIX)
            try:
                await exporter.connect(self._house.path("hook"))
            except OSError:
                exporter.close()
                raise
            self._exporter = exporter
        fields = {
            "user": chance.choice(ACCOUNTS), "success": "yes", "protocol": "imap",
            "remote_ip": newcomer(chance),
        }  # fmt: skip
        kind = chance.choice(("auth_request_finished", "mail_delivery_finished", "other"))
        event = json.dumps({"event": kind, "categories": ["lmtp"], "fields": fields})
        sock = self._exporter
        try:
            await sock.send(event.encode() + b"\n")
        except OSError:
            self._exporter = None
            sock.close()
            raise

    async def _comsat(self, chance: random.Random) -> None:
        words = (b"anna@12345", b"bob@1:/var/mail/bob", b"nobody@1", b"@", b"\xff", b"x" * 600)
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await sock.sendto(chance.choice(words), COMSAT)

    async def _cyrus(self, chance: random.Random) -> None:
        events = (
            {"event": "MessageNew", "user": "anna", "uri": "imap://vm/user.anna;UIDVALIDITY=7"},
            {"event": "Login", "user": "bob", "clientIP": newcomer(chance)},
            {"event": "Logout", "user": "bob"},
        )
        texts = [*(json.dumps(event).encode() for event in events), b"{", b"x" * 9000]
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            await sock.connect(self._house.path("cyrus"))
            await sock.send(_CYRUS % chance.choice(texts))

    async def _program(self, chance: random.Random) -> None:
        if self._house.hook_program is None:
            return
        words = ["--socket=" + self._house.path("hook"), chance.choice(ACCOUNTS)]
        await trio.run_process([self._house.hook_program, *words], check=False)

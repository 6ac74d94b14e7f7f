"""IMAP and POP3 as a mail program speaks them, for clients with a thousand connections."""

import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from bench.push.settings import PASSWORD

__all__ = ["Imap", "Place", "Talk", "connected", "imap_look", "imap_newest", "pop3_look"]

_LITERAL: Final = re.compile(rb"\{(\d+)\}$")
_EXISTS: Final = re.compile(rb"\* (\d+) EXISTS$")
_NEXT: Final = re.compile(rb"UIDNEXT (\d+)")


class Place(msgspec.Struct, frozen=True):
    """Where a server is, and from which address it is called.

    Attributes:
        host: numeric.
        port: of IMAP or POP3.
        source: the client's own address.
        tls: whether TLS begins at once.
    """

    host: str
    port: int
    source: str
    tls: bool = False


class Talk:
    """A connection on which lines come and go."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def say(self, line: bytes) -> None:
        """Send a line, without its end."""
        await self._stream.send_all(line + b"\r\n")

    async def line(self) -> bytes:
        """Return the next line without its end.

        Raises:
            EOFError: the server has closed.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            await self._more()
        found = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return found

    async def octets(self, count: int) -> bytes:
        """Return so many bytes."""
        while len(self._buffer) < count:
            await self._more()
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    async def _more(self) -> None:
        data = await self._stream.receive_some(65536)
        if not data:
            raise EOFError("the server has closed the connection")
        self._buffer += data


@asynccontextmanager
async def connected(place: Place) -> AsyncIterator[Talk]:
    """Connect for the block."""
    with trio.socket.socket() as sock:
        sock.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        await sock.bind((place.source, 0))
        await sock.connect((place.host, place.port))
        stream: trio.abc.Stream = trio.SocketStream(sock)
        if place.tls:
            # The server's certificate is one of this run. Its price is the same.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            stream = trio.SSLStream(stream, context, https_compatible=True)
        yield Talk(stream)


class Imap:
    """One IMAP connection after its greeting."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._number = 0

    @classmethod
    async def begun(cls, talk: Talk, user: str) -> "Imap":
        """Read the greeting, and log in."""
        await talk.line()
        imap = cls(talk)
        await imap.ask(f"LOGIN {user} {PASSWORD}")
        return imap

    async def ask(self, command: str) -> list[bytes]:
        """Send a command; return the untagged answers, each with its literals.

        Raises:
            RuntimeError: the server says no.
        """
        self._number += 1
        tag = b"a%d" % self._number
        await self._talk.say(tag + b" " + command.encode())
        return await self._until(tag)

    async def _until(self, tag: bytes) -> list[bytes]:
        found = []
        while not (line := await self._whole()).startswith(tag + b" "):
            found.append(line)
        if not line.startswith(tag + b" OK"):
            raise RuntimeError(line.decode(errors="replace"))
        return found

    async def _whole(self) -> bytes:
        line = await self._talk.line()
        while literal := _LITERAL.search(line):
            line += await self._talk.octets(int(literal[1])) + await self._talk.line()
        return line

    async def idle(self) -> None:
        """Begin to wait; returns when the server waits too."""
        self._number += 1
        await self._talk.say(b"a%d IDLE" % self._number)
        while not (await self._talk.line()).startswith(b"+"):
            pass

    async def told(self) -> int:
        """Return how many mails there are, when the server says so the next time."""
        while not (found := _EXISTS.match(await self._talk.line())):
            pass
        return int(found[1])

    async def done(self) -> None:
        """End the waiting."""
        await self._talk.say(b"DONE")
        await self._until(b"a%d" % self._number)


async def imap_look(place: Place, user: str) -> int:
    """Log in, ask whether there is new mail, log out; return a number that grows with new mail."""
    async with connected(place) as talk:
        imap = await Imap.begun(talk, user)
        number = _number(_NEXT, await imap.ask("STATUS INBOX (UIDNEXT UNSEEN)"))
        await imap.ask("LOGOUT")
        return number


async def imap_newest(place: Place, user: str) -> None:
    """Log in, and take the newest mail of the inbox."""
    async with connected(place) as talk:
        imap = await Imap.begun(talk, user)
        await imap.ask("SELECT INBOX")
        await imap.ask("FETCH * BODY.PEEK[]")
        await imap.ask("LOGOUT")


async def pop3_look(place: Place, user: str) -> int:
    """Log in, ask how many mails there are, log out; return the number."""
    async with connected(place) as talk:
        await talk.line()
        for command in (f"USER {user}", f"PASS {PASSWORD}", "STAT", "QUIT"):
            await talk.say(command.encode())
            answer = await talk.line()
            if not answer.startswith(b"+OK"):
                raise RuntimeError(answer.decode(errors="replace"))
            if command == "STAT":
                number = int(answer.split()[1])
        return number


def _number(pattern: "re.Pattern[bytes]", lines: Sequence[bytes]) -> int:
    for line in lines:
        if found := pattern.search(line):
            return int(found[1])
    raise RuntimeError(f"no answer with {pattern.pattern!r}: {lines!r}")

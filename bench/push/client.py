"""Clients that wait for mail, all in one process: `python -m bench.push.client ORDER`.

ORDER is JSON. What happens is written to standard output, a line for each event: its name, the
user's number, and the time of CLOCK_MONOTONIC, which is the same in all processes of a machine.
The process ends with its standard input. A line "again" lets a connection end its IDLE and begin
another one, as RFC 2177 wants it every 29 minutes.
"""

import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio

from bench.push.mailbox import Imap, Place, connected, imap_look, imap_newest, pop3_look
from mailbell.client.trio import Client

__all__ = ["Order"]


class Order(msgspec.Struct, frozen=True):
    """What the clients do.

    Attributes:
        way: idle, imap, pop3 (these two poll) or mailbell.
        place: the mail server.
        users: their numbers.
        interval: seconds from one poll of a user to the next.
        fetches: whether a client that is told takes the mail.
        sockets: where the mailbelld of each user is heard.
        at_once: how many log in at the same time.
    """

    way: str
    place: Place
    users: tuple[int, ...]
    interval: float = 60.0
    fetches: bool = True
    sockets: tuple[str, ...] = ()
    at_once: int = 8


def _event(name: str, user: int) -> None:
    sys.stdout.write(f"{name} {user} {time.monotonic():.6f}\n")
    sys.stdout.flush()


class _Idler:
    """One connection that waits with IDLE."""

    def __init__(self, order: Order, user: int, logins: trio.CapacityLimiter) -> None:
        self._order = order
        self._user = user
        self._logins = logins
        self._again = trio.Event()

    def again(self) -> None:
        """End the IDLE, and begin another one."""
        self._again.set()

    async def run(self) -> None:
        """Wait until cancelled."""
        # Dovecot has 100 processes for connections that have not logged in.
        await self._logins.acquire()
        async with connected(self._order.place) as talk:
            imap = await Imap.begun(talk, f"u{self._user}")
            await imap.ask("SELECT INBOX")
            await imap.idle()
            self._logins.release()
            _event("ready", self._user)
            while True:
                number = await self._told(imap)
                await imap.done()
                if number:
                    await imap.ask(f"FETCH {number} BODY.PEEK[]")
                    _event("has", self._user)
                await imap.idle()
                _event("idle", self._user)

    async def _told(self, imap: Imap) -> int:
        """Wait until the IDLE is to end; return the mail that is to be fetched, or 0."""
        self._again = trio.Event()
        number = 0
        async with trio.open_nursery() as nursery:

            async def until_again() -> None:
                await self._again.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_again)
            while not number:
                found = await imap.told()
                _event("told", self._user)
                number = found if self._order.fetches else 0
            nursery.cancel_scope.cancel()
        return number


async def _idle(order: Order, nursery: trio.Nursery) -> list[_Idler]:
    logins = trio.CapacityLimiter(order.at_once)
    idlers = [_Idler(order, user, logins) for user in order.users]
    for idler in idlers:
        nursery.start_soon(idler.run)
    return idlers


async def _poll(order: Order, user: int, first: float) -> None:
    """Look each interval, from a first moment on."""
    look: Callable[[Place, str], Awaitable[int]]
    look = imap_look if order.way == "imap" else pop3_look
    known = 1 if order.way == "imap" else 0  # of an empty mailbox
    number = 0
    while True:
        await trio.sleep_until(first + number * order.interval)
        if (found := await look(order.place, f"u{user}")) > known:
            _event("told", user)
        known = found
        _event("looked", user)
        number += 1


async def _hear(order: Order, user: int, path: str) -> None:
    """Subscribe at a mailbelld as any program does, and look when it rings."""
    async with Client(path, daemon_user="nobody") as client:
        subscription = await client.subscribe()
        _event("ready", user)
        async for _ in subscription:
            _event("told", user)
            if order.fetches:
                await imap_newest(order.place, f"u{user}")
                _event("has", user)


async def _run(order: Order) -> None:
    async with trio.open_nursery() as nursery:
        idlers: list[_Idler] = []
        if order.way == "idle":
            idlers = await _idle(order, nursery)
        elif order.way == "mailbell":
            for user, path in zip(order.users, order.sockets, strict=True):
                nursery.start_soon(_hear, order, user, path)
        else:
            # Their first look is spread over the interval, and so is each later one.
            begin = trio.current_time()
            for place, user in enumerate(order.users):
                first = begin + order.interval * place / len(order.users)
                nursery.start_soon(_poll, order, user, first)
        async for line in trio.lowlevel.FdStream(0):
            for _ in range(line.count(b"again")):
                for idler in idlers:
                    idler.again()
        nursery.cancel_scope.cancel()


_USAGE: Final = "usage: python -m bench.push.client ORDER"

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(_USAGE)
    trio.run(_run, msgspec.json.decode(sys.argv[1], type=Order))

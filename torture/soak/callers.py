"""Programs at the local sockets: subscribers that come and go, watchers, good and bad calls."""

import random
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from mailbell.client.trio import Client as Listener
from mailbell.core.errors import TemporaryError
from mailbell.sender_client.trio import Client as Sender
from torture.soak.house import ACCOUNTS, House
from torture.soak.load import Kind

__all__ = ["Callers"]

STANDING: Final = 4
"""Subscribers that stay, whatever happens."""
_WRONG: Final = (
    bytes(range(1, 256)) + b"\0", b"root\r\n\0", b"\0", b'{"method":\0', b"[]\0",
    b'{"method":"\xff\xfe"}\0', b"[" * 2000 + b"\0", b'{"method":1}\0', b"x" * 70_000,
    b'{"method":"org.varlink.service.GetInfo"}\0' * 11,
    b'{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":1}}\0',
    b'{"method":"org.mailbell.Listener.Notify","parameters":{"account":1}}\0',
    b'{"method":"org.mailbell.Sender.Ring","parameters":{"account":null}}\0',
    b'{"method":"org.mailbell.None.Such"}\0',
)  # fmt: skip


class Callers:
    """What programs of this machine's users do.

    Args:
        house: where the sockets are.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self.heard = 0

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """All kinds of work."""
        return (
            Kind("subscriber that comes and goes", 0.5, self._subscriber),
            Kind("notification by hand", 0.5, self._notify),
            Kind("status of mailbelld", 0.3, self._status),
            Kind("bad call of mailbelld", 0.5, self._wrong("mailbell.sock")),
            Kind("ring by hand", 0.5, self._ring),
            Kind("login by hand", 0.3, self._seen),
            Kind("watcher that comes and goes", 0.2, self._watcher),
            Kind("explanation", 0.2, self._explain),
            Kind("bad call of mailbell-sender", 0.5, self._wrong("control")),
        )

    def _listener(self) -> Listener:
        return Listener(self._house.path("mailbell.sock"))

    def _sender(self) -> Sender:
        return Sender(self._house.path("control"))

    async def stay(self) -> None:
        """Subscribe for ever, also while the daemon is restarted."""
        async with (
            self._listener() as client,
            await client.subscribe(retry=lambda _: True) as subscription,
        ):
            async for _ in subscription:
                self.heard += 1

    async def _subscriber(self, chance: random.Random) -> None:
        accounts = chance.choice(((), ("work",), ("home", "club")))
        async with (
            self._listener() as client,
            await client.subscribe(accounts, reconnect=False) as subscription,
        ):
            with trio.move_on_after(chance.expovariate(0.2)):
                async for _ in subscription:
                    self.heard += 1

    async def _notify(self, chance: random.Random) -> None:
        async with self._listener() as client:
            await client.notify(chance.choice(("work", "home", "club")))

    async def _status(self, _: random.Random) -> None:
        async with self._listener() as client:
            await client.status()

    async def _ring(self, chance: random.Random) -> None:
        await self._sender().ring(chance.choice(("anna", "bob", "carl", "emil", "ida")))

    async def _seen(self, chance: random.Random) -> None:
        await self._sender().seen("bob", f"198.18.2.{chance.randrange(1, 255)}")

    async def _explain(self, chance: random.Random) -> None:
        await self._sender().explain(chance.choice(ACCOUNTS))

    async def _watcher(self, chance: random.Random) -> None:
        async with await self._sender().watch() as watching:
            end = trio.current_time() + chance.expovariate(0.2)
            while (left := end - trio.current_time()) > 0:
                try:
                    await watching.next(left)
                except TemporaryError:
                    return

    def _wrong(self, name: str) -> Callable[[random.Random], Awaitable[None]]:
        async def do(chance: random.Random) -> None:
            with trio.socket.socket(socket.AF_UNIX) as sock:
                await sock.connect(self._house.path(name))
                await sock.send(chance.choice(_WRONG))
                with trio.move_on_after(5):
                    while await sock.recv(65_536):
                        pass

        return do

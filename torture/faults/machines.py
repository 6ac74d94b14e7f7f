"""What stands around mailbell-sender: machines that are rung, and a name server."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import dns.message
import trio
from harness.name_server import NameServer, addresses, quick
from harness.rung import Rung

__all__ = ["Datagrams", "Names", "address_of", "machines"]

_NET: Final = "127.9"
_NAME: Final = 12  # where the name in a query begins: RFC 1035, section 4.1.1
_ANSWER: Final = b"\x81\x80"
_CUT_OFF: Final = b"\x83\x80"


def address_of(number: int) -> str:
    """Return the address of a machine, on loopback.

    Args:
        number: from 0 to 60,000.
    """
    return f"{_NET}.{number // 250}.{number % 250 + 1}"


def machines() -> Rung:
    """Return all machines that are rung by TCP, at one port."""
    return Rung()


class Datagrams:
    """One machine that is rung by UDP.

    Args:
        host: its address.
    """

    def __init__(self, host: str) -> None:
        self._sock = socket.socket(type=socket.SOCK_DGRAM)
        self._sock.bind((host, 0))
        self._sock.setblocking(False)
        self.port: int = self._sock.getsockname()[1]

    def close(self) -> None:
        """Rung no more."""
        self._sock.close()

    def was_rung(self) -> bool:
        """Tell whether it was rung since the last look."""
        found = False
        with suppress(BlockingIOError):
            while self._sock.recv(64):
                found = True
        return found


class Names:
    """A name server at the port of name servers, on an address of loopback of its own.

    The name N.test has the address of the machine N. If N is odd, the answer is so long that it
    must be asked for by TCP.

    Args:
        host: its address.
    """

    def __init__(self, host: str) -> None:
        self._server = NameServer(host, 53)
        self._server.otherwise = self._answer
        self._server.quick = _datagram
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), daemon=True)
        self._began = threading.Event()
        self._scope: trio.CancelScope
        self._token: trio.lowlevel.TrioToken

    def __enter__(self) -> Self:
        self._thread.start()
        self._began.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()
        self._server.close()

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        while True:
            with suppress(OSError, EOFError), trio.CancelScope() as self._scope:
                self._began.set()
                await self._server.serve()
            if self._scope.cancel_called:
                return

    @staticmethod
    def _answer(query: dns.message.Message, by_tcp: bool) -> bytes | None:
        number = int(query.question[0].name.labels[0])
        return addresses(address_of(number))(query, by_tcp)


def _datagram(query: bytes) -> bytes:
    """Answer by UDP, at the cost of a few operations: a sender that was killed asks for all."""
    number = int(query[_NAME + 1 : _NAME + 1 + query[_NAME]])
    is_ipv4 = query[-3] == 1
    if number % 2:
        return query[:2] + _CUT_OFF + query[4:]
    if not is_ipv4:
        return query[:2] + _ANSWER + query[4:]
    return quick(query, address_of(number), "::")

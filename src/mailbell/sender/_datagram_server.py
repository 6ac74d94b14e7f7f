"""Takes datagrams: biff ones from comsat's port, and those of Cyrus IMAP from their reader.

A datagram is one whole input or nothing.
"""

import socket
from functools import partial
from typing import Final, NoReturn

import trio

from mailbell.core.errors import OperatingSystemError
from mailbell.logs.journal import Journal
from mailbell.sender import _comsat, _cyrus_event
from mailbell.sender._reception import Reception
from mailbell.sender._speakers import Origin, Speaker
from mailbell.serving.intake import Intake

__all__ = ["LAST_WAIT", "ComsatServer", "CyrusServer"]

# Datagrams taken before other tasks run, and seconds until more are taken after as many. A forged
# flood must not delay the hook's socket.
BATCH: Final = 16
REST: Final = 0.001

LAST_WAIT: Final = 2.0
"""Seconds for the rest of what the reader holds, at the end of the sender."""
_THE_REST: Final = b"\0"

_COMSAT: Final = Speaker(None, Origin.COMSAT)
_CYRUS: Final = Speaker(None, Origin.CYRUS)


class ComsatServer:
    """Receives biff datagrams on one UDP socket.

    Args:
        sock: a bound socket, non-blocking.
        reception: decides about each datagram.
        journal: logs changes of state, and bugs.
    """

    def __init__(self, sock: socket.socket, reception: Reception, journal: Journal) -> None:
        self._reception = reception
        host, port = sock.getsockname()[:2]
        self._intake = Intake(
            sock,
            partial(sock.recv, _comsat.MAX_DATAGRAM + 1),
            batch=BATCH,
            journal=journal,
            what="receiving",
            where=f"comsat [{host}]:{port}" if ":" in host else f"comsat {host}:{port}",
            rest=REST,
        )

    async def serve(self) -> NoReturn:
        """Receive for ever."""
        await self._intake.serve(self._take_untrusted)

    def _take_untrusted(self, data: bytes, now: float) -> None:
        self._reception.take(_comsat.parse_datagram_untrusted(data), _COMSAT, now)


class CyrusServer:
    """Receives what the reader of Cyrus's socket passes on.

    Args:
        pair: this process's end of a pair (SOCK_SEQPACKET), non-blocking.
        reception: decides about each datagram.
        journal: logs changes of state, and bugs.
    """

    def __init__(self, pair: socket.socket, reception: Reception, journal: Journal) -> None:
        self._pair = pair
        self._reception = reception
        self._intake = Intake(
            pair,
            self._receive_untrusted,
            batch=BATCH,
            journal=journal,
            what="receiving",
            where="cyrus",
        )

    async def serve(self) -> NoReturn:
        """Receive until the reader has ended.

        Raises:
            OperatingSystemError: the reader has ended. The sender cannot start another one, so
                it must end too. A service manager starts both again.
        """
        await self._intake.serve(self._take_untrusted)

    async def drain(self) -> bool:
        """Take all that the reader still holds, at the end of the sender. It ends the reader.

        Returns:
            Whether that was all. False: the reader did not say so in time.
        """
        with trio.move_on_after(LAST_WAIT):
            try:
                self._pair.send(_THE_REST)
                await self.serve()
            except OSError:
                return False
            except OperatingSystemError:
                return True
        return False

    def _receive_untrusted(self) -> bytes:
        data = self._pair.recv(_cyrus_event.MAX_DATAGRAM + 1)
        if data:
            return data
        # Not an OSError, which the intake would take for an error of one datagram.
        raise OperatingSystemError("the process that reads Cyrus's socket has ended", "restart")

    def _take_untrusted(self, data: bytes, now: float) -> None:
        self._reception.take(_cyrus_event.parse_datagram_untrusted(data), _CYRUS, now)

"""mailbelld, with mail servers that ring by TCP and UDP, and with two subscribers."""

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.activation import listening
from harness.daemon import LINE, configuration

from torture.faults.follower import Follower, ask
from torture.faults.house import House
from torture.faults.life import Door

__all__ = ["Listener"]

SETTINGS: Final = """
[limits]
rate = "1000000/s"
burst = 1000000
total_rate = "1000000/s"
connections = 1024
connections_per_source = 1024
[coalesce]
interval = "10ms"
"""
_SHORT: Final = 0.2  # seconds until a connection of a round counts as failed
_EVERY: Final = 4  # rounds until the signal comes once more
_HALF: Final = 5  # bytes of a line that is on its way
_RETURNS: Final = 3  # the subscriber may have to come back so often
_SETTLING: Final = 0.03  # seconds: more than `coalesce.interval`
_MANY: Final = 400  # connections that wait at once, so that the daemon needs memory for them


class Listener(House):
    """See `House`. A service manager holds its sockets for the network.

    Args:
        folder: for its files.
        holds: whether the sockets are held; else the daemon binds its own at each start.
        command: what the interpreter runs instead of the daemon: for tests.
    """

    program = "mailbelld"

    def __init__(self, folder: Path, *, holds: bool = True, command: tuple[str, ...] = ()) -> None:
        super().__init__(folder)
        self._command = command
        self._stack = ExitStack()
        tcp, udp = (self._bound(kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
        self._tcp, self._udp = tcp.getsockname(), udp.getsockname()
        self._held = (("tcp", tcp), ("udp", udp)) if holds else ()
        if not holds:
            self._stack.close()
        self._file = folder / "mailbelld.toml"
        endpoints = [f"{host}:{port}" for host, port in (self._tcp, self._udp)]
        self._file.write_text(
            configuration(folder, tcp=endpoints[:1], udp=endpoints[1:], more=SETTINGS)
        )
        self._path = folder / "mailbell.sock"
        self._here, self._away = Follower(self._path), Follower(self._path)
        self._owed = self._resyncs = 0
        self._place = self._here.place

    def _bound(self, kind: int) -> socket.socket:
        return self._stack.enter_context(listening(socket.AF_INET, kind, ("127.0.0.1", 0)))

    def door(self) -> Door:
        """See `House.door`."""
        return Door("mailbelld", self._file, self._held, command=self._command)

    def close(self) -> None:
        """See `House.close`."""
        self._here.leave()
        self._away.leave()
        self._stack.close()

    def owe(self) -> str:
        """See `House.owe`."""
        if not self.until(self._here.is_there) or not self.until(self._away.is_there):
            return "nobody can subscribe"
        count = self._settled()
        self._here.look()
        self._away.look()
        self._away.leave()
        self._resyncs = self._away.resyncs
        self._place = self._here.place
        self._owed = 0 if count is None else count - self._here.told
        self._here.transports.clear()
        self._ring_by_tcp()
        is_told = self.until(lambda: self._is_told("tcp"))
        return "" if is_told else "the notification before the fault was not accepted"

    def exercise(self, number: int) -> None:
        """See `House.exercise`."""
        if not number % _EVERY and not self.life.supervisor.injected:
            # It would kill a daemon that is about to end.
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGHUP)
        self._here.look()
        with suppress(OSError), self._connection() as sock:
            sock.sendall(LINE)
            sock.recv(1)
        with suppress(OSError), self._connection() as sock:
            sock.sendall(LINE[:_HALF])
            self._ring_by_udp()
            self._status()
            sock.sendall(LINE[_HALF:])
            sock.recv(1)
        if not number % _EVERY:
            self._away_and_back()
        self._here.look()

    def _away_and_back(self) -> None:
        other = Follower(self._path)
        other.look()
        other.leave()

    def grow(self) -> None:
        """See `House.grow`."""
        waiting = []
        with suppress(OSError):
            for _ in range(_MANY):
                waiting.append(self._connection())
                waiting[-1].sendall(LINE[:_HALF])
        self._status()
        for sock in waiting:
            with suppress(OSError):
                sock.sendall(LINE[_HALF:])
            sock.close()

    def lacks(self) -> str:
        """See `House.lacks`."""
        if not self.until(self._here.is_there):
            return "nobody can subscribe"
        for name, ring in (("tcp", self._ring_by_tcp), ("udp", self._ring_by_udp)):
            if not self._hears(name, ring):
                return f"a ring by {name} is not served"
        return "" if self.until(self._status) else "the status is not told"

    def _hears(self, name: str, ring: Callable[[], None]) -> bool:
        """Tell whether a ring is told to the subscriber, which may have to come back first."""
        for _ in range(_RETURNS):
            place = self._here.place
            self._here.transports.clear()
            ring()
            self.until(partial(self._is_told_or_back, name, place))
            if self._is_told(name) or self.has_ended():
                break
        return self._is_told(name)

    def lost(self) -> str:
        """See `House.lost`.

        The subscriber that was away must be told to look. The one that stayed must be told of
        each notification that is counted, or to look, if it had to connect again.
        """
        if not self.until(self._away.is_there):
            return "the subscriber cannot come back"
        if not self.until(self._is_resynced):
            return "the subscriber that comes back is not told to look"
        return "" if self.until(self._knows_all) else self._difference()

    def _is_resynced(self) -> bool:
        self._away.look()
        return self._away.resyncs > self._resyncs

    def _knows_all(self) -> bool:
        self._here.look()
        return self._here.place != self._place or self._count() == self._owed + self._here.told

    def _difference(self) -> str:
        return f"accepted since the start {self._count()}, told {self._owed + self._here.told}"

    def _is_told_or_back(self, transport: str, place: tuple[str, int]) -> bool:
        return self._is_told(transport) or self._here.place != place

    def _is_told(self, transport: str) -> bool:
        self._here.look()
        return transport in self._here.transports

    def _connection(self) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(_SHORT)
        try:
            sock.connect(self._tcp)
        except OSError:
            sock.close()
            raise
        return sock

    def _ring_by_tcp(self) -> None:
        # It does not wait for the daemon to hang up: the daemon may have ended.
        with suppress(OSError), self._connection() as sock:
            sock.sendall(LINE)

    def _ring_by_udp(self) -> None:
        with suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(LINE, self._udp)

    def _settled(self) -> int | None:
        """Wait until no earlier notification is on its way; return how many were accepted."""
        counts: list[int | None] = [None]

        def is_settled() -> bool:
            # The daemon waits this long at most before it tells what it has accepted.
            select.select([], [], [], _SETTLING)
            counts.append(self._count())
            return counts[-1] is not None and counts[-1] == counts[-2]

        self.until(is_settled)
        return counts[-1]

    def _status(self) -> dict[str, Any] | None:
        reply = ask(self._path, "org.mailbell.Listener.GetStatus")
        return None if reply is None else reply["status"]

    def _count(self) -> int | None:
        status = self._status()
        return None if status is None else int(status["accounts"][0]["count"])

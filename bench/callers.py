"""Hosts that connect again and again, each from its own address: `python callers.py`.

It reads one JSON object from standard input: the port, and callers as in `Caller`. It prints
"begins", and at the end a line with the `Called` of each caller. SIGTERM ends it early.
Each caller has a thread, so a slow connection delays no other caller.
"""

import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = ["GARBAGE", "LINE", "PATIENCE", "Called", "Caller", "Calls", "call"]

LINE: Final = "nm_notifyuser\r\n"
GARBAGE: Final = "x\r\n"
# Seconds for a whole connection. TCP sends a first packet again after 1, 3, 7 and 15 seconds.
PATIENCE: Final = 40.0
_TARGETS: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "2001:db8::1"}
_IPV6_FREEBIND: Final = 78  # linux/in6.h


class Caller(msgspec.Struct, frozen=True):
    """One host.

    Attributes:
        source: its address. The interface need not have it, if a route makes it local.
        message: what it sends.
        every: seconds from the start of one connection to the next.
        first: seconds until its first connection.
        count: how often it connects; 0: until SIGTERM.
    """

    source: str
    message: str = LINE
    every: float = 1.0
    first: float = 0.0
    count: int = 0


class Calls(msgspec.Struct, frozen=True):
    """The standard input of this program: the port, and the callers."""

    port: int
    callers: tuple[Caller, ...]


class Called(msgspec.Struct):
    """What became of a caller's connections.

    Attributes:
        milliseconds: from connect() until the other end closed, of those that were closed in
            order.
        reset: how many were reset, which is how the daemon refuses to read.
        failed: how many did not end in time, or could not be made.
    """

    milliseconds: list[float] = msgspec.field(default_factory=list)
    reset: int = 0
    failed: int = 0

    @property
    def connections(self) -> int:
        """How many connections there were."""
        return len(self.milliseconds) + self.reset + self.failed


def call(caller: Caller, port: int, called: Called) -> None:
    """Connect once, and note how it ended."""
    family = socket.AF_INET6 if ":" in caller.source else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(PATIENCE)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        began = time.monotonic()
        try:
            sock.bind((caller.source, 0))
            sock.connect((_TARGETS[family], port))
            sock.sendall(caller.message.encode())
            while sock.recv(16):
                pass
        except ConnectionResetError:
            called.reset += 1
        except OSError:
            called.failed += 1
        else:
            called.milliseconds.append((time.monotonic() - began) * 1000)


def _follow(caller: Caller, port: int, called: Called, stop: threading.Event) -> None:
    due = time.monotonic() + caller.first
    while not stop.wait(max(0.0, due - time.monotonic())):
        call(caller, port, called)
        if called.connections == caller.count:
            return
        # A caller that was held up does not make up for it.
        due = max(due + caller.every, time.monotonic())


def run(calls: Calls, stop: threading.Event) -> Sequence[Called]:
    """Let all call until they have called often enough, or are told to stop."""
    found = [Called() for _ in calls.callers]
    threads = [
        threading.Thread(target=_follow, args=(caller, calls.port, called, stop))
        for caller, called in zip(calls.callers, found, strict=True)
    ]
    for thread in threads:
        thread.start()
    print("begins", flush=True)
    for thread in threads:
        thread.join()
    return found


def main() -> None:
    """Read the callers, and let them call."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    calls = msgspec.json.decode(sys.stdin.buffer.read(), type=Calls)
    print(msgspec.json.encode(run(calls, stop)).decode())


if __name__ == "__main__":
    main()

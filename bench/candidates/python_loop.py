"""What accept_loop.c does, in Python: the least that an interpreter needs for the same calls.

    python_loop.py epoll|trio

It waits with epoll as the C loop does, or in a task of Trio as the daemon does. The difference to
the C loop is the cost of CPython, and of Trio. The difference of mailbelld to this program is the
cost of everything that mailbelld does more: this has no limits, no accounts, no subscribers, no
sandbox and no deadline.

It prints its port. After SIGTERM it prints how many lines it took and how many other inputs.
"""

import contextlib
import os
import select
import signal
import socket
import sys
from typing import NoReturn

import trio

LINE = b"nm_notifyuser\r\n"
BACKLOG = 4096

counts = {"lines": 0, "others": 0}


def listen() -> socket.socket:
    """Listen on loopback, with the options of the daemon's socket."""
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(BACKLOG)
    sock.setblocking(False)
    print(sock.getsockname()[1], flush=True)
    return sock


def take_all(sock: socket.socket) -> None:
    """Take every connection that waits."""
    accept = sock._accept  # type: ignore[attr-defined]  # noqa: SLF001 - as the daemon does
    buffer = bytearray(len(LINE) + 1)
    into = [buffer]
    with contextlib.suppress(BlockingIOError):
        while True:
            descriptor, _ = accept()
            got = os.preadv(descriptor, into, -1, os.RWF_NOWAIT)
            counts["lines" if got == len(LINE) and buffer.startswith(LINE) else "others"] += 1
            os.close(descriptor)


def stop(*_: object) -> NoReturn:
    """End with the counts."""
    print(counts["lines"], counts["others"], flush=True)
    os._exit(0)


def wait_with_epoll(sock: socket.socket) -> NoReturn:
    """Serve until SIGTERM."""
    poll = select.epoll()
    poll.register(sock, select.EPOLLIN)
    while True:
        poll.poll()
        take_all(sock)


async def wait_with_trio(sock: socket.socket) -> NoReturn:
    """Serve until SIGTERM."""
    while True:
        await trio.lowlevel.wait_readable(sock)
        take_all(sock)


def main(how: str) -> None:
    """Serve until SIGTERM, which ends the process.

    Args:
        how: what waits for connections.
    """
    signal.signal(signal.SIGTERM, stop)
    with listen() as sock:
        if how == "trio":
            trio.run(wait_with_trio, sock)
        wait_with_epoll(sock)


if __name__ == "__main__":
    main(sys.argv[1])

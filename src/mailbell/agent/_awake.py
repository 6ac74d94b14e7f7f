"""Notices when the machine wakes from sleep and when it gets a new address.

A mail server may ring while the machine sleeps, or ring an address that the machine no
longer has. The daemon does not receive such a notification. So the agent looks for mail
after each sleep and with each new address.
"""

import errno
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol

import trio

from mailbell.agent._logind import SYSTEM, BusError, connect
from mailbell.agent._rtnetlink import GROUPS, LIST_ADDRESSES, Addresses
from mailbell.agent._sleep import Reading, Sleep
from mailbell.logs.journal import Level

__all__ = ["addresses", "read_clocks", "resumed"]

_EVERY: Final = 5.0  # seconds between two looks at the clocks
_DATAGRAM: Final = 65536  # bytes; the kernel's datagrams are shorter
_OVERRUN: Final = 1.0  # seconds until the agent asks for the addresses again
_KERNEL: Final = 0  # the kernel's number as a sender, netlink(7)


class Log(Protocol):
    """Writes the log. `mailbell.logs.journal.Journal` is one."""

    def log(self, level: Level, event: str, **fields: object) -> None:
        """Write one line."""


def read_clocks() -> Reading:
    """Return the times of this machine's clocks."""
    return Reading(
        time.clock_gettime(time.CLOCK_MONOTONIC),
        time.clock_gettime(time.CLOCK_BOOTTIME),
        time.clock_gettime(time.CLOCK_MONOTONIC),
    )


async def resumed(
    tell: Callable[[], None],
    log: Log,
    *,
    clocks: Callable[[], Reading] = read_clocks,
    every: float = _EVERY,
    bus: str = SYSTEM,
) -> None:
    """Tell of each sleep of the machine when it is over. This runs until it is cancelled.

    If there is a logind, it announces sleeps. The clocks are compared as well: they also
    show a sleep that logind does not know of, and they still work after logind has ended.

    Args:
        tell: called once for each sleep.
        log: records how sleeps are noticed.
        clocks: reads the clocks.
        every: the time between two looks at the clocks, in seconds.
        bus: the address of the system bus.
    """
    sleep = Sleep(clocks())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_ask_clocks, sleep, tell, clocks, every)
        nursery.start_soon(_hear_logind, sleep, tell, log, clocks, bus)


async def _ask_clocks(
    sleep: Sleep, tell: Callable[[], None], clocks: Callable[[], Reading], every: float
) -> None:
    while True:
        await trio.sleep(every)
        if sleep.look(clocks()):
            tell()


async def _hear_logind(
    sleep: Sleep, tell: Callable[[], None], log: Log, clocks: Callable[[], Reading], bus: str
) -> None:
    """Listen to logind until the connection to it ends."""
    try:
        with await connect(bus) as logind:
            log.log(Level.INFO, "sleep_watch", by="logind and clocks")
            while True:
                if await logind.falls_asleep():
                    sleep.falling_asleep()
                elif sleep.awake(clocks()):
                    tell()
    except BusError as error:
        log.log(Level.NOTICE, "sleep_watch", by="clocks", reason=error)


async def addresses(
    tell: Callable[[], None], log: Log, *, sock: socket.socket | None = None
) -> None:
    """Tell of each address that the machine gets, until cancelled or until the kernel refuses.

    Args:
        tell: called once for all addresses of one datagram.
        log: records that the kernel refuses to tell.
        sock: a netlink socket that is not bound yet; None: make one. It is closed at the end.
    """
    try:
        with _bound(sock) as netlink:
            await _follow(netlink, tell)
    except OSError as error:
        # For example, a service may not use AF_NETLINK. The agent goes on without this.
        log.log(Level.NOTICE, "address_watch", state="off", reason=error.strerror)


def _bound(sock: socket.socket | None) -> trio.socket.SocketType:
    sock = sock or socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, GROUPS))
    except OSError:
        sock.close()
        raise
    return trio.socket.from_stdlib_socket(sock)


async def _follow(netlink: trio.socket.SocketType, tell: Callable[[], None]) -> None:
    known = Addresses()
    is_lost = False
    await _ask_for_all(netlink)
    while True:
        try:
            data, (sender, _) = await netlink.recvfrom(_DATAGRAM)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            # The kernel dropped messages, because this process read too slowly (netlink(7)).
            # A new address may have been in them, and the list of known ones is out of date.
            known.forget()
            tell()
            if is_lost:  # messages are lost again: to ask again at once would not help
                await trio.sleep(_OVERRUN)
            is_lost = True
            await _ask_for_all(netlink)
            continue
        is_lost = False
        if sender == _KERNEL and known.receive(data):
            tell()


async def _ask_for_all(netlink: trio.socket.SocketType) -> None:
    await netlink.sendto(LIST_ADDRESSES, (_KERNEL, 0))

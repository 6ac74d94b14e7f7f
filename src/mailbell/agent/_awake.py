"""When to look for mail without being rung: after a sleep, and with a new address.

A mail server that rang while the machine slept, or at an address it does not have
any more, rang in vain. Nothing of that reaches the daemon, so the agent notices by
itself.
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

_EVERY: Final = 5.0  # seconds; the clocks notice a sleep so long after it at most
_DATAGRAM: Final = 65536  # the kernel's are shorter
_OVERRUN: Final = 1.0  # seconds until the addresses are asked for again
_KERNEL: Final = 0  # as a sender, netlink(7)


class Log(Protocol):
    """Where it is said. `mailbell.logs.journal.Journal` is one."""

    def log(self, level: Level, event: str, **fields: object) -> None:
        """Write one line."""


def read_clocks() -> Reading:
    """Return what the clocks of this machine say."""
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
    """Tell of each sleep of the machine when it is over, for ever.

    logind tells where there is one. The clocks are looked at as well: they also
    notice a sleep that logind knows nothing of, and when logind goes away.

    Args:
        tell: called once for each sleep.
        log: says how sleeps are noticed.
        clocks: reads them.
        every: how often to look at them, in seconds.
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
    """Hear logind as long as it can be heard."""
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
    """Tell of each address that the machine gets, for ever, or as long as the kernel tells us.

    Args:
        tell: called once for what came at once.
        log: says if the kernel refuses to tell.
        sock: a netlink socket that is not bound yet; None: one of our own. It is closed.
    """
    try:
        with _bound(sock) as netlink:
            await _follow(netlink, tell)
    except OSError as error:
        # As in a service that may not use AF_NETLINK. What is then noticed is all the rest.
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
            # There was more than we were quick enough to read (netlink(7)): an address may
            # have been in it, and what is known is not true any more.
            known.forget()
            tell()
            if is_lost:  # the kernel says nothing else any more: asking at once is no use
                await trio.sleep(_OVERRUN)
            is_lost = True
            await _ask_for_all(netlink)
            continue
        is_lost = False
        if sender == _KERNEL and known.receive(data):
            tell()


async def _ask_for_all(netlink: trio.socket.SocketType) -> None:
    await netlink.sendto(LIST_ADDRESSES, (_KERNEL, 0))

"""What every daemon does from its start to its end: log lines, signals, the service manager."""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from mailbell._sys import signals
from mailbell._sys.signal_queue import SignalQueue
from mailbell._sys.systemd import Notifier
from mailbell.core.errors import OperatingSystemError
from mailbell.logs.journal import Journal, Level

__all__ = [
    "boottime",
    "feed_watchdog",
    "ignore_signals",
    "make_journal",
    "run_event_loop",
    "say_ready",
    "signal_queue",
    "until_told",
    "wall_clock",
]

# Seconds between two signs of life at least. With a shorter time, which a unit may ask for,
# a daemon would do nothing else.
SHORTEST_WATCHDOG = 0.01


def make_journal() -> Journal:
    """Make the log of a daemon, on standard error.

    It has no level prefixes (sd-daemon(3)): the unit forbids journald to read them, because an
    intruder would write "<0>". journald shows such lines on every terminal of the machine.
    """
    return Journal(_write_line, time.monotonic)


def boottime() -> int:
    """Return the time since the machine started, in microseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def wall_clock() -> int:
    """Return the time since 1970 as the clock is set now, in microseconds."""
    return time.time_ns() // 1000


def signal_queue() -> SignalQueue:
    """Make the queue of the signals that a daemon answers.

    Make it before the lock: it sets signal handlers, and the filter forbids to set new ones.
    """
    return SignalQueue({*signals.ending_signals(), signal.SIGHUP})


def run_event_loop(serve: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Run the event loop until the daemon in it ends.

    A task of the daemon raises an exception group. So an `OSError` is one of the loop itself.

    Args:
        serve: the daemon.
        arguments: what it is called with.

    Raises:
        OSError: the loop could not start.
        OperatingSystemError: the kernel refused the running loop something.
    """
    has_begun = False

    async def main() -> None:
        nonlocal has_begun
        has_begun = True
        await serve(*arguments)

    try:
        trio.run(main)
    except OSError as error:
        if not has_begun:
            raise
        # The tasks are left behind in the middle of what they did. What they say of that when
        # they are collected, with tracebacks, would hide the reason.
        sys.unraisablehook = lambda _: None
        raise OperatingSystemError(
            f"the event loop failed: {error.strerror or error}",
            "see what the system lacks; a service manager starts the daemon again",
        ) from error


def ignore_signals() -> None:
    """Ignore the ending signals from now on: the daemon ends already.

    CPython restores the default actions before it ends. A second signal at that moment
    would end the daemon with another exit status. The policy permits these three calls.
    """
    ending = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    signals.replace_handlers(dict.fromkeys(ending, signal.SIG_IGN))


async def until_told(told: AsyncIterator[signal.Signals], journal: Journal) -> None:
    """Wait until a signal ends the daemon.

    Args:
        told: signals; SIGHUP is logged, any other ends the daemon.
        journal: the daemon's log.
    """
    async for number in told:
        if number != signal.SIGHUP:
            journal.log(Level.NOTICE, "stopping", signal=number.name)
            return
        journal.log(
            Level.NOTICE,
            "reload_ignored",
            signal=number.name,
            reason="locked in: restart to change",
        )


async def feed_watchdog(notifier: Notifier) -> None:
    """Tell the service manager that the daemon is alive, for as long as it asks for it.

    Args:
        notifier: the connection to the service manager.
    """
    if notifier.watchdog_interval is None:
        return
    while True:
        notifier.watchdog()
        await trio.sleep(max(notifier.watchdog_interval, SHORTEST_WATCHDOG))


def say_ready(notifier: Notifier, journal: Journal) -> None:
    """Tell the service manager that the daemon serves.

    Args:
        notifier: the connection to the service manager.
        journal: the daemon's log.
    """
    if not notifier.ready() and notifier.connected:
        # The daemon works and must not end for this. But a service manager that waits
        # for the message will end it, so the log names the reason.
        journal.log(Level.WARNING, "ready_untold", why="NOTIFY_SOCKET takes no message")


def _write_line(line: str) -> bool:
    """Write one line to standard error; return whether it went. An error must not stop the daemon.

    Others share the file. If one of them has set O_NONBLOCK, a full pipe loses lines.
    """
    data = line.encode() + b"\n"
    try:
        return os.write(2, data) == len(data)
    except OSError:
        return False

"""Finds the processes that descend from this one, and ends them, also those that run away.

A process can start a child and end, and the child can do the same, each in a group or a
session of its own. Such a chain is faster than a look through /proc, so one look may miss
it. But it cannot get away from a process that adopts orphans: each link becomes a child
of that process, and stays in its table until that process reaps it. So wait(2) tells for
certain whether a descendant is left, and looks are repeated until it tells that none is.
The kernel also tells which number it gave last, and a look reads the newest processes
first and signals a child as soon as it has read it. So few looks are needed.

Descendants can also restart each other. So all of them are stopped before one is killed.
"""

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Final

from mailbell.agent._processes import Process, children, newest, processes, read

__all__ = ["Descendants"]

# Seconds in which looks only stop processes, before one kills. On a busy machine a process
# stops late; if it waits for a dead file server, it does not stop.
_STOPS_WITHIN: Final = 1.0
# Attempts to catch the newest process, before a look through all.
_MOST_CATCHES: Final = 100


class Descendants:
    """The descendants of this process. It must adopt orphans, and only it may reap them.

    Args:
        spared: children of this process that do not count, with their descendants.
        since: children that began earlier do not count either: clock ticks from the start
            of the machine.
        session: if this process may adopt what other programs leave, only children in this
            session count, with their descendants; None: it adopts nothing else.
    """

    def __init__(
        self, spared: Collection[int] = (), since: int = 0, session: int | None = None
    ) -> None:
        self._root = os.getpid()
        self._spared = spared
        self._since = since
        self._session = session
        self._kills_at: float | None = None  # by time.monotonic

    def ask(self, asked: set[tuple[int, int]]) -> bool:
        """Send SIGTERM once to each descendant that one look finds, also to stopped ones.

        Args:
            asked: the descendants that were asked before; those of this look are added.

        Returns:
            Whether the look found one that was not asked before.
        """
        found = {(each.began, each.number): each for each in self.look()}
        new = sorted(found.keys() - asked)
        # The oldest first: a script ends before it notices that its program has ended.
        for key in new:
            self._send(found[key], signal.SIGTERM)
            self._send(found[key], signal.SIGCONT)
        asked.update(new)
        return bool(new)

    def end(self) -> bool:
        """Stop or kill each descendant that one look finds. Call it again until none is left.

        Returns:
            Whether the look found one.
        """
        now = time.monotonic()
        if self._kills_at is None:
            self._kills_at = now + _STOPS_WITHIN
        kill = now >= self._kills_at
        self._catch(signal.SIGKILL if kill else signal.SIGSTOP)
        found, running = [], False
        for process in self.look():
            found.append(process)
            running = running or process.runs
            self._send(process, signal.SIGKILL if kill else signal.SIGSTOP)
        if kill or not running:
            self._kills_at = None
        if not running:
            for process in found:
                self._send(process, signal.SIGKILL)
        return bool(found)

    def look(self) -> Iterator[Process]:
        """Yield each descendant that lives: first the children, as soon as one is read."""
        seen: dict[int, Process] = {}
        # Whether a process is a descendant.
        known = {0: False, **dict.fromkeys(self._spared, False), self._root: True}
        for process in processes():
            seen[process.number] = process
            if process.parent == self._root:
                known[process.number] = self._counts(process)
                if process.lives and known[process.number]:
                    yield process
        for number, process in seen.items():
            is_deeper = self._root not in {process.parent, number}
            if is_deeper and process.lives and _descends(number, seen, known):
                yield process
        yield from self._hidden(seen)

    def _hidden(self, seen: Collection[int]) -> Iterator[Process]:
        """Yield each child that the table does not show: only its number is known."""
        if self._session is not None:
            return
        for number in children() or ():
            if number not in seen and number not in self._spared:
                yield Process(number, self._root, 0, 0, lives=True, runs=False)

    def _catch(self, number: signal.Signals) -> None:
        """Signal descendants that were started just now, as long as others are started."""
        before = 0
        for _ in range(_MOST_CATCHES):
            last = newest()
            if last == before:
                return
            before = last
            process = read(last)
            if process and process.runs and self._is_close(process):
                self._send(process, number)

    def _is_close(self, process: Process) -> bool:
        """Tell whether it is a child, or a child's child: the link before it may not have ended."""
        if process.parent == self._root:
            return self._counts(process)
        parent = read(process.parent)
        return parent is not None and parent.parent == self._root and self._counts(parent)

    def _counts(self, child: Process) -> bool:
        """Tell whether a child, and so what descends from it, is to be ended."""
        return (
            child.number not in self._spared
            and child.began >= self._since
            and self._session in {None, child.session}
        )

    def _send(self, process: Process, number: signal.Signals) -> None:
        # The process has ended, or belongs to another user, such as a program under sudo.
        with suppress(OSError):
            if process.parent == self._root:
                # Only this process reaps it, so no other process has its number.
                os.kill(process.number, number)
            else:
                _signal_exactly(process, number)


def _descends(number: int, seen: dict[int, Process], known: dict[int, bool]) -> bool:
    """Follow the parents of a process up to a known one, and note all on the way."""
    way = []
    while number not in known:
        way.append(number)
        known[number] = False  # the table was read in parts, so parents may form a circle
        process = seen.get(number)
        number = process.parent if process else 0
    known.update(dict.fromkeys(way, known[number]))
    return known[number]


def _signal_exactly(process: Process, number: signal.Signals) -> None:
    """Send a signal to this process, and never to a later one with the same number."""
    descriptor = os.pidfd_open(process.number)
    try:
        now = read(process.number)
        if now is not None and now.began == process.began:
            signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)

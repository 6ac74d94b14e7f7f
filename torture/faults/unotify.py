"""Answers system calls of another process: seccomp_unotify(2).

The answer is an error, or that the kernel may carry the call out. What is answered may change at
any time.
"""

import errno
import fcntl
import os
import select
import struct
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.answering import (
    CONTINUE,
    NOTIFICATION,
    RECEIVE,
    RESPONSE,
    SEND,
    call_name,
    was_opened,
)

__all__ = ["BECOMES", "FIRST", "OTHERS", "Fault", "Supervisor"]

FIRST: Final = -1
OTHERS: Final = -2

# linux/seccomp.h: SECCOMP_IOCTL_NOTIF_ADDFD, SECCOMP_ADDFD_FLAG_SETFD, struct seccomp_notif_addfd
_ADD: Final = 0x40182103
_IN_ITS_PLACE: Final = 1
_ADDED: Final = struct.Struct("=QIIII")
_NOT_NOW: Final = {errno.ENOENT, errno.EINTR}  # what asked has been interrupted, or has ended
BECOMES: Final = "execve"


@dataclass(frozen=True, slots=True)
class Fault:
    """Calls that fail.

    Attributes:
        calls: their names.
        code: the error.
        first: of the calls from now on, the first one that fails; from 1.
        times: how many fail; 0: all from then on.
        step: every so many of them fails.
        pid: of this process only; `FIRST`: of the program's first process; `OTHERS`: of those
            that it has made.
        when_read: count only after the configuration was opened.
    """

    calls: frozenset[str]
    code: int
    first: int = 1
    times: int = 1
    step: int = 1
    pid: int = FIRST
    when_read: bool = False

    def hits(self, name: str, pid: int, first: int) -> bool:
        """Tell whether it is about a call.

        Args:
            name: of the call.
            pid: of the process that makes it.
            first: the program's first process.
        """
        which = {FIRST: pid == first, OTHERS: pid != first}
        return name in self.calls and which.get(self.pid, pid == self.pid)

    def fails(self, number: int) -> bool:
        """Tell whether one of the calls that it is about fails.

        Args:
            number: of the call among them, from 1.
        """
        since = number - self.first
        return since >= 0 and not since % self.step and (not self.times or since < self.times)


class Supervisor(threading.Thread):
    """Answers what a program asks, until it and all its children have ended.

    Args:
        listener: where the questions arrive. It is closed at the end.
        pid: the program's first process.
        watch: tells when the configuration is opened; -1: it counts as opened.
        fault: the calls that fail from the first one on; None: none.

    Attributes:
        made: how often each process has made each call.
        order: the process and the name of each call, in their order, if there is a watch.
        read_at: how many of these were made before the configuration was opened.
        injected: how many calls have failed since the last fault was set.
    """

    def __init__(self, listener: int, pid: int, watch: int, fault: Fault | None) -> None:
        super().__init__(name=f"supervisor of {pid}", daemon=True)
        self.made: Counter[tuple[int, str]] = Counter()
        self.order: list[tuple[int, str]] = []
        self.read_at = 0
        self.injected = 0
        self._listener = listener
        self._pid = pid
        self._watch = watch
        self._keeps_order = watch >= 0
        self._is_read = watch < 0
        self._fault = fault
        self._seen = 0
        self._breaks: dict[int, int] = {}
        self._nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._question = bytearray(NOTIFICATION.size)

    def set(self, fault: Fault | None) -> None:
        """Say which calls fail from now on; None: none."""
        self._fault = None
        self._seen = self.injected = 0
        self._fault = fault

    def run(self) -> None:
        """Answer until no process is left that asks."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        try:
            while all(events & select.POLLIN for _, events in poll.poll()):
                self._answer_one()
        finally:
            os.close(self._listener)
            os.close(self._nothing)
            if self._watch >= 0:
                os.close(self._watch)

    def _answer_one(self) -> None:
        try:
            self._question[:] = bytes(NOTIFICATION.size)  # the kernel wants zeroes
            fcntl.ioctl(self._listener, RECEIVE, self._question)
            number, pid, _, call, _, _, *arguments = NOTIFICATION.unpack(self._question)
            name = call_name(call)
            answer = self._decide(pid, name, arguments)
            if name == "close" and answer is not None:
                self._close(number, arguments[0])
            flags = CONTINUE if answer is None else 0
            result = answer or 0
            reply = RESPONSE.pack(number, max(result, 0), min(result, 0), flags)
            fcntl.ioctl(self._listener, SEND, reply)
        except OSError as error:
            if error.errno not in _NOT_NOW:
                raise

    def _close(self, number: int, descriptor: int) -> None:
        """Close what a process wants to close: close(2) does that, even if it returns an error.

        Only the number stays taken, by something that nobody reads.
        """
        request = _ADDED.pack(number, _IN_ITS_PLACE, self._nothing, descriptor, os.O_CLOEXEC)
        with suppress(OSError):  # before Linux 5.9, or the descriptor is none
            fcntl.ioctl(self._listener, _ADD, request)

    def _decide(self, pid: int, name: str, arguments: Sequence[int]) -> int | None:
        """Return what the call returns; None: the kernel carries it out."""
        if not self._is_read and was_opened(self._watch):
            self._is_read, self.read_at = True, len(self.order)
        if name == BECOMES:  # what was before is none of the program's
            self.made.clear()
            self.order.clear()
            self._seen = self.injected = 0
            return None
        self.made[pid, name] += 1
        if self._keeps_order:
            self.order.append((pid, name))
        fault = self._fault
        if fault is not None and self._fails(fault, name, pid):
            return self._failure(pid, name, arguments, fault)
        if name == "brk" and arguments[0]:
            self._breaks[pid] = arguments[0]
        return None

    def _fails(self, fault: Fault, name: str, pid: int) -> bool:
        if fault.when_read and not self._is_read:
            return False
        if not fault.hits(name, pid, self._pid):
            return False
        self._seen += 1
        return fault.fails(self._seen)

    def _failure(self, pid: int, name: str, arguments: Sequence[int], fault: Fault) -> int | None:
        if name != "brk":
            self.injected += 1
            return -fault.code
        # brk(2), "C library/kernel differences": a call that fails returns the present break.
        if not arguments[0]:
            return None
        self.injected += 1
        return self._breaks.get(pid) or self._breaks.get(self._pid) or _start_of_heap(pid)


def _start_of_heap(pid: int) -> int:
    # proc_pid_stat(5): the field start_brk is the 47th; the name, which may have blanks, the 2nd.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[44])

"""Run the test's code inside the running, unmodified daemon, as an intruder would.

The product has no hook for this. The test stops the daemon while it sleeps in
epoll_wait(2). Then it makes the daemon's own thread, with its memory and descriptors,
execute a system call by its number, any instruction, or Python in its interpreter. Then
the thread gets its registers back and goes on.
"""

import ctypes
import mmap
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from harness.daemon import Running, until
from harness.libseccomp import libseccomp
from harness.registers import HERE, Registers
from harness.tracee import Gone, Tracee, mappings

__all__ = ["Gone", "Intruder", "intruding"]

MMAP, MUNMAP, SLEEPS = (
    int(libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, name))
    for name in ("mmap", "munmap", HERE.sleeps)
)
EINTR: Final = -4  # of a call that was interrupted

PAGE: Final = mmap.PAGESIZE
ROOM: Final = 1024 * PAGE


class Intruder:
    """Controls a stopped daemon; `intruding` makes it.

    Where bytes are passed as an argument, what is passed is the address of fresh,
    writable memory, a page or more, that begins with them.
    """

    def __init__(self, tracee: Tracee, own: Registers) -> None:
        self._tracee = tracee
        self._own = own.but(**HERE.at_rest)
        self._room = range(0)
        self.read, self.write = tracee.read, tracee.write

    @property
    def door(self) -> int:
        """Return the address of an instruction that makes a call: the daemon sleeps with it."""
        return self._own.next - len(HERE.instruction)

    def call(self, number: int, *arguments: int | bytes) -> int:
        """Make a raw system call.

        Returns:
            What the kernel says: a negative number is an error.

        Raises:
            Gone: it was the last.
        """
        unused = (0,) * (len(HERE.arguments) - len(arguments))
        passed = self._passed(HERE.arguments, (*arguments, *unused))
        return self.step(next=self.door, number=number, **passed).result

    def step(self, **registers: int) -> Registers:
        """Execute one instruction, with some registers changed; return what comes of it.

        Raises:
            Gone: it was the last.
        """
        self._tracee.change(self._own.but(**registers))
        return self.next_step()

    def next_step(self) -> Registers:
        """Execute the instruction that comes after the last one; as `step`."""
        return self._tracee.step()

    def python(self, source: str) -> None:
        """Execute Python, which must not raise anything.

        Raises:
            Gone: the daemon did not come to the end of it.
        """
        # A thread that sleeps in epoll_wait does not hold Python's lock.
        state = self.function("PyGILState_Ensure")
        result = self.function("PyRun_SimpleString", source.encode() + b"\0")
        self.function("PyGILState_Release", state)
        assert ctypes.c_int(result).value == 0, "an exception; its traceback is in the log"

    def function(self, name: str, *arguments: int | bytes) -> int:
        """Call a function of Python's C API; as `call`."""
        changed = {**self._to_nowhere(), **self._passed(HERE.parameters, arguments)}
        self._tracee.change(self._own.but(next=self._address(name), **changed))
        number = 0
        while True:
            number = self._tracee.go_on(number)
            registers = self._tracee.registers()
            if number == signal.SIGSEGV and not registers.next:
                return registers.result

    def place(self, data: bytes) -> int:
        """Put something into fresh memory of the daemon; return the address."""
        size = (len(data) // PAGE + 1) * PAGE
        assert len(self._room) > size, "more room is needed"
        address, self._room = self._room[0], self._room[size:]
        self.write(address, data)
        return address

    def enter(self) -> None:
        """Take fresh memory. The daemon may always do that."""
        rights, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        address = self.call(MMAP, 0, ROOM, rights, kind, -1, 0)
        assert address > 0, os.strerror(-address)
        self._room = range(address, address + ROOM)

    def leave(self) -> None:
        """Restore the registers and let the daemon go on."""
        self.call(MUNMAP, self._room.stop - ROOM, ROOM)
        self._tracee.change(self._own)
        self._tracee.detach()

    def _to_nowhere(self) -> dict[str, int]:
        """Return what a function needs to be called: it returns to where nothing is."""
        stack = (self._own.stack - HERE.red_zone) & -16
        if HERE.back:
            return {"stack": stack, "back": 0}
        self.write(stack - 8, bytes(8))
        return {"stack": stack - 8}

    def _passed(self, names: tuple[str, ...], values: tuple[int | bytes, ...]) -> dict[str, int]:
        numbers = (each if isinstance(each, int) else self.place(each) for each in values)
        return dict(zip(names, numbers, strict=False))

    def _address(self, name: str) -> int:
        """Return the address of a Python function in the daemon, which runs the same files."""
        function = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
        assert function
        (ours,) = (m for m in mappings("self") if m.start <= function < m.end)
        same = (ours.path, ours.offset, ours.rights)
        (its,) = (m for m in mappings(self._tracee.pid) if (m.path, m.offset, m.rights) == same)
        return its.start + function - ours.start


@contextmanager
def intruding(daemon: Running) -> Iterator[Intruder]:
    """Control the daemon until the end of the block. Then it goes on, if it still can.

    Raises:
        Gone: it died, of whatever was done in the block.
    """
    tracee = Tracee(daemon.pid)
    intruder = Intruder(tracee, _asleep(tracee))
    intruder.enter()
    try:
        yield intruder
    except Gone:
        raise
    except BaseException:  # it is raised again
        with suppress(OSError, Gone):  # the test has failed already
            intruder.leave()
        raise
    intruder.leave()


def _asleep(tracee: Tracee) -> Registers:
    """Stop the daemon in epoll_wait. Python calls it again afterwards (PEP 475)."""
    found = Registers()

    def sleeps() -> bool:
        nonlocal found
        found = tracee.interrupt()
        if found.called == SLEEPS and found.result == EINTR:
            return True
        tracee.release()
        return False

    until(sleeps, "sleep")
    return found

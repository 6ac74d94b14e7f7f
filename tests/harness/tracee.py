"""A process under ptrace(2): its registers, its memory, and how it ends.

Only root may trace an undumpable process; an ordinary user may do so in a user namespace
in which that process was started.
"""

import ctypes
import functools
import os
import platform
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, ParamSpec

import pytest
from harness import child
from harness.daemon import until
from harness.registers import ARCHITECTURES, Registers

__all__ = [
    "Gone",
    "Mapping",
    "Tracee",
    "mappings",
    "read_memory",
    "require_tracing",
    "traced",
]

# linux/ptrace.h
CONT, SINGLESTEP, DETACH = 7, 9, 17
GETREGSET, SETREGSET, SEIZE, INTERRUPT = 0x4204, 0x4205, 0x4206, 0x4207
NT_PRSTATUS: Final = 1  # linux/elf.h: the general registers
OPTION_TRACEEXIT: Final = 0x40
EXITS, INTERRUPTED = signal.SIGTRAP | 6 << 8, signal.SIGTRAP | 128 << 8

GLANCES: Final = 500  # looks without a wait: most stops take microseconds

Parameters = ParamSpec("Parameters")

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long


class Gone(Exception):  # noqa: N818 - what is to be shown, rarely an error
    """The process has ended.

    Attributes:
        last: its registers at the end, with the call in them that it died of.
    """

    def __init__(self, last: Registers) -> None:
        super().__init__(f"of call {last.called}")
        self.last = last


@dataclass(frozen=True, slots=True)
class Mapping:
    """A line of `/proc/PID/maps`."""

    start: int
    end: int
    rights: str
    offset: int
    path: str


def mappings(pid: int | str) -> list[Mapping]:
    """What a process has in its memory, see proc_pid_maps(5)."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        place, rights, offset, _, _, *path = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in place.split("-"))
        found.append(Mapping(start, end, rights, int(offset, 16), "".join(path)))
    return found


class Tracee:
    """A child of ours that we trace. While it is stopped it can be looked at and changed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ptrace(SEIZE, OPTION_TRACEEXIT)

    def interrupt(self) -> Registers:
        """Stop it, wherever it is."""
        self._ptrace(INTERRUPT)
        assert self._stopped() == INTERRUPTED
        return self.registers()

    def go_on(self, number: int = 0) -> int:
        """Let it run, with a signal; return that with which it stops again."""
        self._ptrace(CONT, number)
        return self._stopped()

    def release(self) -> None:
        """Let it run, stopped no more; it can be interrupted."""
        self._ptrace(CONT)

    def step(self) -> Registers:
        """Let it execute one instruction. It gets the signals that arrive meanwhile."""
        number = 0
        while number != signal.SIGTRAP:
            self._ptrace(SINGLESTEP, number)
            number = self._stopped()
        return self.registers()

    def detach(self) -> None:
        """Let it run, as if it had never been traced."""
        self._ptrace(DETACH)

    def registers(self) -> Registers:
        found = Registers()
        held = _Vector(ctypes.addressof(found), ctypes.sizeof(found))
        self._ptrace(GETREGSET, ctypes.addressof(held), NT_PRSTATUS)
        assert held.length == ctypes.sizeof(found), "the kernel has other registers"
        return found

    def change(self, registers: Registers) -> None:
        held = _Vector(ctypes.addressof(registers), ctypes.sizeof(registers))
        self._ptrace(SETREGSET, ctypes.addressof(held), NT_PRSTATUS)

    def read(self, address: int, length: int) -> bytes:
        """Look into its memory."""
        return read_memory(self.pid, address, length)

    def write(self, address: int, data: bytes) -> None:
        """Change its memory, where it could do that itself."""
        ours = ctypes.create_string_buffer(data)
        _copy(_libc.process_vm_writev, self.pid, ours, address, len(data))

    def _stopped(self) -> int:
        """Wait until it stops; return the signal, with the event where it is one."""
        self._until(os.WSTOPPED)
        stop = os.waitid(os.P_PID, self.pid, os.WSTOPPED)
        assert stop
        if stop.si_status == EXITS:
            last = self.registers()
            self._ptrace(CONT)
            # The code that started the process collects its end.
            self._until(os.WEXITED)
            raise Gone(last)
        return stop.si_status

    def _until(self, what: int) -> None:
        def happened() -> bool:
            os.sched_yield()
            return os.waitid(os.P_PID, self.pid, what | os.WNOWAIT | os.WNOHANG) is not None

        if not any(happened() for _ in range(GLANCES)):
            until(happened, "a stop")

    def _ptrace(self, request: int, data: int = 0, address: int = 0) -> None:
        passed = ctypes.c_void_p(address), ctypes.c_void_p(data)
        if _libc.ptrace(request, self.pid, *passed) == -1:
            number = ctypes.get_errno()
            raise OSError(number, f"ptrace({request:#x}): {os.strerror(number)}")


class _Vector(ctypes.Structure):
    """`struct iovec`, sys/uio.h."""

    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def read_memory(pid: int, address: int, length: int) -> bytes:
    """Return what is in the memory of a process that we may trace.

    /proc/PID/mem cannot be opened in a user namespace: the file of an undumpable process
    belongs to a user that the namespace does not have.
    """
    buffer = ctypes.create_string_buffer(length)
    _copy(_libc.process_vm_readv, pid, buffer, address, length)
    return buffer.raw


def _copy(how: Any, pid: int, ours: Any, address: int, length: int) -> None:
    near, far = _Vector(ctypes.addressof(ours), length), _Vector(address, length)
    done = how(pid, ctypes.byref(near), 1, ctypes.byref(far), 1, 0)
    if done != length:
        raise OSError(ctypes.get_errno(), f"{done} of {length} bytes at {address:#x}")


def require_tracing() -> None:
    """Skip the test if `traced` tests are skipped."""
    if platform.machine() not in ARCHITECTURES:
        pytest.skip("of x86-64 and aarch64 only")
    if os.geteuid() != 0 and child.run(_enter_user_namespace).error is not None:
        pytest.skip("needs root, or a user namespace, which this system does not grant")


def traced(test: Callable[Parameters, object]) -> Callable[Parameters, None]:
    """Run a test in a process that may trace what it starts.

    As an ordinary user it is a child that runs it, and nothing comes back but its failure.
    """

    @functools.wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        require_tracing()
        if os.geteuid() == 0:
            test(*args, **kwargs)
            return

        def inside() -> None:
            _enter_user_namespace()
            test(*args, **kwargs)

        ended = child.run(inside, seconds=120)
        if ended.error is not None:
            raise ended.error

    return run


def _enter_user_namespace() -> None:
    """Get every capability over the processes that are started from now on.

    Who we are stays: the daemon could not become another user there.
    """
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(child.CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    texts = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    for name, text in texts.items():
        Path(f"/proc/self/{name}").write_text(text)

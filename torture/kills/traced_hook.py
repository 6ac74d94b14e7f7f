"""mailbell-hook, killed between two system calls: so we know whether it had written its line.

A hook that is killed may have written its line before or not. Only its system calls tell. What
it does between two of them nobody else can see. So to kill it at a random system call is to kill
it at a random moment, and to know what the kernel had of it.
"""

import ctypes
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.libseccomp import libseccomp
from harness.sending import HOOK
from harness.tracee import INTERRUPT, SEIZE, read_memory

__all__ = ["Life", "Moment", "hook_words", "live"]

# sys/ptrace.h, linux/ptrace.h, linux/wait.h
_SYSCALL: Final = 24
_GET_SYSCALL_INFO: Final = 0x420E
_TRACESYSGOOD: Final = 1
_ENTRY, _EXIT = 1, 2
_AT_SYSCALL: Final = signal.SIGTRAP | 0x80
_WALL: Final = 0x40000000

_SOCKET, _CONNECT, _SENDTO = (
    int(libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, name))
    for name in ("socket", "connect", "sendto")
)
_FAMILY: Final = 2  # bytes before the path, in struct sockaddr_un
# Whoever traces it must come before its first call. It waits for the end of its standard input.
_GATE: Final = 'read -r gate; exec "$@" </dev/null'

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class _Call(ctypes.Structure):
    """`struct ptrace_syscall_info`, of a system call that begins."""

    _fields_ = [
        ("op", ctypes.c_uint8),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    ]

    @property
    def result(self) -> int:
        """What the call has returned, if it has ended: it stands where the number stood."""
        return ctypes.c_int64(self.number).value


@dataclass(frozen=True, slots=True)
class Moment:
    """When a hook is killed.

    Attributes:
        stop: at which stop.
        is_late: stops count from its first socket on, and not from its start.
    """

    stop: int
    is_late: bool = False

    def has_come(self, life: "Life") -> bool:
        """Tell whether a hook is there."""
        if not self.is_late:
            return life.stops >= self.stop
        return life.first_socket > 0 and life.stops - life.first_socket >= self.stop


@dataclass(slots=True)
class Life:
    """What a hook has done.

    Attributes:
        stops: how often it stopped: before each system call, and after it.
        first_socket: at which stop it made its first socket; 0: never.
        sent: whether the kernel had its line.
        killed: whether it was killed, and did not end before.
    """

    stops: int = 0
    first_socket: int = 0
    sent: bool = False
    killed: bool = False
    _connected: set[int] = field(default_factory=set)


def hook_words(socket: Path, account: str) -> list[str]:
    """Return the command line of a hook.

    Args:
        socket: of the sender, for hooks.
        account: whose mail it tells of.
    """
    return [*HOOK, f"--socket={socket}", f"--account={account}"]


def live(socket: Path, account: str, moment: Moment | None) -> Life:
    """Run a hook, and kill it.

    Args:
        socket: of the sender, for hooks.
        account: whose mail it tells of.
        moment: when it is killed; None: it lives to its end.

    Raises:
        OSError: this machine does not let us trace our own child.
    """
    gate, ours = os.pipe()
    pid = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _GATE, "sh", *hook_words(socket, account)],
        dict(os.environ),
        file_actions=[(os.POSIX_SPAWN_DUP2, gate, 0)],
    )
    os.close(gate)
    try:
        _ptrace(SEIZE, pid, 0, _TRACESYSGOOD)
        _ptrace(INTERRUPT, pid)
        os.waitpid(pid, _WALL)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(ours)
    return _follow(pid, os.fsencode(socket), moment)


def _follow(pid: int, path: bytes, moment: Moment | None) -> Life:
    life, begun, number = Life(), _Call(), 0
    while True:
        _ptrace(_SYSCALL, pid, 0, number)
        _, status = os.waitpid(pid, _WALL)
        if not os.WIFSTOPPED(status):
            return life
        stopped = os.WSTOPSIG(status)
        is_call = stopped == _AT_SYSCALL
        # An event of the tracing itself is no signal that the hook must get.
        number = 0 if is_call or status >> 16 else stopped
        if is_call:
            life.stops += 1
            begun = _note(life, begun, _looked(pid), path, pid)
        if moment is not None and moment.has_come(life):
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, _WALL)
            life.killed = os.WIFSIGNALED(status)
            return life


def _note(life: Life, begun: _Call, call: _Call, path: bytes, pid: int) -> _Call:
    """Take what a stop says; return the call that goes on."""
    if call.op == _ENTRY:
        if call.number == _SOCKET and not life.first_socket:
            life.first_socket = life.stops
        return call
    descriptor = begun.arguments[0]
    if begun.number == _CONNECT and call.result == 0:
        length = begun.arguments[2] - _FAMILY
        if read_memory(pid, begun.arguments[1] + _FAMILY, length).rstrip(b"\0") == path:
            life._connected.add(descriptor)  # noqa: SLF001  of this module
    elif begun.number == _SENDTO and call.result > 0 and descriptor in life._connected:  # noqa: SLF001  of this module
        life.sent = True
    return call


def _looked(pid: int) -> _Call:
    call = _Call()
    _ptrace(_GET_SYSCALL_INFO, pid, ctypes.sizeof(call), ctypes.addressof(call))
    return call


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, pid, ctypes.c_void_p(address), ctypes.c_void_p(data)) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace({request:#x}): {os.strerror(number)}")

"""An attack, its targets, and how it becomes system calls or Python.

`aimed` fills in the targets. `laid_out` turns the calls into numbers and one piece of memory
that they point into. So the calls can be made by ctypes in a child, or by a debugger in the
daemon.
"""

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from harness.libseccomp import libseccomp

__all__ = [
    "SLOT",
    "Attack",
    "Call",
    "Given",
    "Layout",
    "Pointer",
    "RawCall",
    "Result",
    "Struct",
    "Targets",
    "aimed",
    "laid_out",
    "number",
]

UNIX, INET, INET6 = int(socket.AF_UNIX), int(socket.AF_INET), int(socket.AF_INET6)
# Each pointer points to this much room: a page.
SLOT: Final = 4096


@dataclass(frozen=True)
class Result:
    """The result of an earlier call of the attack.

    Attributes:
        of: the number of that call, counted from 0.
    """

    of: int


@dataclass(frozen=True)
class Given:
    """A field of `Targets`, in the form that the kernel takes: a number, a path or an address.

    Attributes:
        name: the name of the field.
        length: whether its length is meant instead.
        socket: whether a path is the address of a Unix socket.
    """

    name: str
    length: bool = False
    socket: bool = False


@dataclass(frozen=True)
class Pointer:
    """A pointer, in a structure, to these bytes."""

    to: bytes


@dataclass(frozen=True)
class Struct:
    """A structure in memory that contains pointers or values that are known later."""

    parts: tuple[bytes | Pointer | Given, ...]


Argument = int | bytes | Result | Given | Struct


@dataclass(frozen=True)
class Call:
    """A system call.

    Attributes:
        name: as in syscalls(2).
        args: bytes and structures are passed as pointers to writable memory.
    """

    name: str
    args: tuple[Argument, ...]


@dataclass(frozen=True)
class Attack:
    """An attack.

    Attributes:
        name: a name in simple words.
        calls: the calls in order. The attack has succeeded if the last one returns 0 or more,
            see `succeeded`. It has failed as soon as one does not.
        python: the same as source for exec(). It imports only modules that the daemon has
            imported already, sets `got`, and raises if it is refused. It may be empty before
            the attack is `aimed`: the calls are then translated.
        control_needs: the user that would succeed without any layer: "nobody", which means
            any user, or "root".
        granted: errors that show that the kernel permitted the call and only then found
            its arguments useless.
        never_returns: whether the process becomes another program, which exits with 0.
        may_be_off: why some kernels or settings refuse it to every user, even root.
    """

    name: str
    calls: tuple[Call, ...]
    python: str = ""
    control_needs: str = "nobody"
    granted: tuple[str, ...] = ()
    never_returns: bool = False
    may_be_off: str = ""

    def succeeded(self, result: int) -> bool:
        """Judge the result of the last call. As in the kernel, an error is negative."""
        return result >= 0 or errno.errorcode.get(-result) in self.granted

    def aims_at(self, target: str) -> bool:
        """Tell whether a field of `Targets` is an argument of a call, or is in a structure."""
        arguments = (argument for call in self.calls for argument in call.args)
        parts = (
            part
            for argument in arguments
            for part in (argument.parts if isinstance(argument, Struct) else (argument,))
        )
        return any(isinstance(part, Given) and part.name == target for part in parts)


@dataclass(frozen=True)
class Targets:
    """The targets of the attacks.

    Attributes:
        readable: a file that every user may read.
        secret: a file that only root may read.
        writable: a file that every user may write.
        own: a file of the attacking user.
        others: a file of another user.
        folder: a folder where every user may make files.
        program: a program to execute.
        tcp4: host and port of a listener.
        tcp6: the same for IPv6.
        udp4: host and port of a process that receives datagrams.
        udp6: the same for IPv6.
        unix: the path of a listening socket to which every user may connect.
        abstract: the name of an abstract socket, without the leading zero byte.
        victim: a process of the same user, not a child, that may be traced.
        victim_memory: an address in it from which 8 bytes can be read.
        stranger: a process of another user.
        listener: a descriptor of the attacker: a listening TCP socket.
        datagrams: another: a UDP socket.
        terminal: another: its terminal, if there is one, or any other descriptor.
        thread_exit: the address of code that ends a thread, where a new thread starts.
    """

    readable: str
    secret: str
    writable: str
    own: str
    others: str
    folder: str
    program: str
    tcp4: tuple[str, int]
    tcp6: tuple[str, int]
    udp4: tuple[str, int]
    udp6: tuple[str, int]
    unix: str
    abstract: str
    victim: int
    victim_memory: int
    stranger: int
    listener: int
    datagrams: int
    terminal: int
    thread_exit: int = 0

    @property
    def new_file(self) -> str:
        return self.folder + "/new"

    @property
    def new_folder(self) -> str:
        return self.folder + "/folder"


@dataclass(frozen=True)
class RawCall:
    """A call in the form that the kernel takes.

    Attributes:
        number: the number of the call; negative if the architecture lacks it.
        args: at most six; a result is replaced by the value that the call returned.
    """

    number: int
    args: tuple[int | Result, ...]


@dataclass(frozen=True)
class Layout:
    """An attack that can be made.

    Attributes:
        memory: the bytes for the address that `laid_out` was given.
        calls: the calls in order.
    """

    memory: bytes
    calls: tuple[RawCall, ...]


@cache
def number(name: str) -> int:
    """Return the number of a call on this machine; negative if it has none."""
    return int(libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, name))


def aimed(attack: Attack, targets: Targets) -> Attack:
    """Fill in the targets of an attack.

    Returns:
        The attack. Its calls contain only numbers, bytes, structures and results, and its
        Python is complete.
    """
    calls = tuple(
        Call(call.name, tuple(_filled(argument, targets) for argument in call.args))
        for call in attack.calls
    )
    names = [name for name in dir(targets) if not name.startswith("_")]
    givens = "".join(f"{name} = {getattr(targets, name)!r}\n" for name in names)
    return replace(attack, calls=calls, python=givens + (attack.python or _translated(calls)))


def laid_out(attack: Attack, base: int) -> Layout:
    """Turn an aimed attack into numbers.

    Args:
        attack: as `aimed` returns it.
        base: the address of readable and writable memory for `Layout.memory`: a slot for
            each pointer.
    """
    memory = _Memory(base)
    calls = tuple(
        RawCall(number(call.name), tuple(memory.argument(each) for each in call.args))
        for call in attack.calls
    )
    return Layout(b"".join(memory.slots), calls)


class _Memory:
    """The memory that the calls point to, slot by slot."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.slots: list[bytes] = []

    def argument(self, value: Argument) -> int | Result:
        match value:
            case bytes():
                return self._address(value)
            case Struct(parts):
                return self._address(b"".join(map(self._part, parts)))
            case Given(name):
                raise ValueError(f"{name} is not filled in")
        return value

    def _part(self, value: bytes | Pointer | Given) -> bytes:
        match value:
            case Pointer(to):
                return struct.pack("<Q", self._address(to))
            case Given(name):
                raise ValueError(f"{name} is not filled in")
        return value

    def _address(self, content: bytes) -> int:
        self.slots.append(content.ljust(SLOT, b"\0"))
        return self.base + (len(self.slots) - 1) * SLOT


def _filled(argument: Argument, targets: Targets) -> Argument:
    match argument:
        case Given():
            return _value(argument, targets)
        case Struct(parts):
            return Struct(tuple(_filled_part(part, targets) for part in parts))
    return argument


def _filled_part(part: bytes | Pointer | Given, targets: Targets) -> bytes | Pointer:
    if not isinstance(part, Given):
        return part
    value = _value(part, targets)
    return value if isinstance(value, bytes) else struct.pack("<Q", value)


def _value(given: Given, targets: Targets) -> int | bytes:
    found = getattr(targets, given.name)
    if isinstance(found, int):
        return found
    if given.name == "abstract":
        encoded = struct.pack("<H", UNIX) + b"\0" + found.encode()
    elif given.socket:
        encoded = struct.pack("<H", UNIX) + found.encode() + b"\0"
    elif isinstance(found, str):
        encoded = found.encode() + b"\0"
    else:
        encoded = _internet(*found)
    return len(encoded) if given.length else encoded


def _internet(host: str, port: int) -> bytes:
    if ":" in host:
        address = socket.inet_pton(socket.AF_INET6, host)
        return struct.pack("<H", INET6) + struct.pack(">HI16sI", port, 0, address, 0)
    return struct.pack("<H", INET) + struct.pack(">H4s8x", port, socket.inet_aton(host))


_PREAMBLE: Final = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
kept = []
def pointer(content):
    kept.append(ctypes.create_string_buffer(content, 4096))
    return ctypes.addressof(kept[-1])
def packed(content):
    return pointer(content).to_bytes(8, "little")
def call(*numbers):
    result = libc.syscall(*map(ctypes.c_long, numbers))
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
results = []
"""


def _translated(calls: Sequence[Call]) -> str:
    """Write calls for which Python's library has no function, as Python."""
    lines = [
        f"results.append(call({', '.join([str(number(call.name)), *_sources(call)])}))"
        for call in calls
    ]
    return _PREAMBLE + "\n".join([*lines, "got = results[-1]"]) + "\n"


def _sources(call: Call) -> Iterator[str]:
    for argument in call.args:
        match argument:
            case Result(of):
                yield f"results[{of}]"
            case bytes():
                yield f"pointer({argument!r})"
            case Struct(parts):
                pieces = (
                    f"packed({part.to!r})" if isinstance(part, Pointer) else repr(part)
                    for part in parts
                )
                yield f"pointer(b''.join([{', '.join(pieces)}]))"
            case _:
                yield str(argument)

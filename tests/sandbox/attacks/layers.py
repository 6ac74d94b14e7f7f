"""The daemon's layers one by one, put in force by the functions that the daemon itself uses.

These are the four steps of `mailbell.sandbox.lock.drop_privileges` and `lock`, and the lock on
the packet filters of its sockets, which are attached earlier. Of the filter it is the program
that the daemon's code makes; that the daemon loads it is shown by `test_every_rule`.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from socket import SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket
from typing import Final

from sandbox.attacks.catalogue import number

from mailbell._sys import bpf, credentials, landlock, process, seccomp
from mailbell._sys._libc import syscall
from mailbell._sys.undumpable import make_undumpable
from mailbell.core.errors import PrivilegeError
from mailbell.sandbox.policy_file import FOLDER
from mailbell.syscalls.policy import Numbers, Policy
from mailbell.syscalls.policy_toml import parse

__all__ = [
    "ALL",
    "KILLED",
    "LIMIT_OF_FILES",
    "LOGGING",
    "MAILBELLD",
    "NOBODY",
    "NONE",
    "ROOT",
    "RUNS",
    "SENDER",
    "Guarded",
    "Layer",
    "Run",
    "compile_filters",
    "enter",
    "policy_of",
]

NOBODY: Final = credentials.Identity("nobody", 65534, 65534)
KILLED: Final = "killed"
LIMIT_OF_FILES: Final = 64
BPF_RETURN: Final = 0x06
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
SECCOMP_RET_ALLOW, SECCOMP_RET_LOG = 0x7FFF0000, 0x7FFC0000


def _is_root() -> bool:
    """Whether this process may become the user nobody; root of a user namespace may not."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    ranges = (map(int, line.split()) for line in lines)
    known = any(first <= NOBODY.uid < first + count for first, _, count in ranges)
    return os.geteuid() == 0 and known


ROOT: Final = _is_root()


class Layer(StrEnum):
    """The layers between an intruder and the machine."""

    FILTER = "filter"
    USER = "user"
    LANDLOCK = "Landlock"
    MEMORY = "memory"
    LIMITS = "limits"
    SOCKETS = "locked sockets"


@dataclass(frozen=True)
class Run:
    """A set of layers that are in force together.

    Attributes:
        name: for the reader of a failure.
        layers: the layers in force.
        logs: whether the filter is there in addition, but only logs.
    """

    name: str
    layers: frozenset[Layer]
    logs: bool = False


@dataclass(frozen=True)
class Guarded:
    """What the layers of one program have of their own.

    Attributes:
        program: its name.
        numbers: what the placeholders of its policy mean. SELF is no process, because no attack
            is on the attacker itself.
        connect_to: the TCP ports that it may connect to.
    """

    program: str
    numbers: tuple[tuple[str, Numbers], ...]
    connect_to: frozenset[int] = frozenset()


MAILBELLD: Final = Guarded(
    "mailbelld", (("SELF", 0), ("STATUS", 99), ("WAKEUP", 2), ("SHARED", range(3)))
)
# Every descriptor of an attacker here was opened before the layers are in force.
SENDER: Final = Guarded(
    "mailbell-sender",
    (
        ("SELF", 0), ("STATUS", 99), ("WAKEUP", 2), ("SHARED", range(3)),
        ("EARLY", range(LIMIT_OF_FILES)), ("STORE", (98,)),
        ("CALLED", (int(SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC),)),
    ),
    frozenset({79}),
)  # fmt: skip

_ALL: Final = frozenset(Layer)
NONE: Final = Run("none", frozenset())
LOGGING: Final = Run("all, but the filter only logs", _ALL - {Layer.FILTER}, logs=True)
ALL: Final = Run("all", _ALL)
RUNS: Final = (
    NONE,
    *(Run(f"{layer} alone", frozenset({layer})) for layer in Layer),
    LOGGING,
    Run("all but Landlock", _ALL - {Layer.LANDLOCK}),
    ALL,
)


def enter(run: Run, sockets: Sequence[socket], guarded: Guarded = MAILBELLD) -> None:
    """Put the layers of a run in force, in the daemon's order, for good.

    Args:
        run: the layers.
        sockets: the sockets on which the daemon would listen, each with a packet filter.
        guarded: the program whose layers they are.
    """
    steps: dict[Layer, Callable[[], object]] = {
        Layer.SOCKETS: lambda: _lock(sockets),
        Layer.USER: _become_the_user,
        Layer.MEMORY: process.deny_writable_executable,
        Layer.LIMITS: _limit,
        Layer.LANDLOCK: lambda: _enter_landlock(guarded.connect_to),
        # libseccomp would write the program once more in each child, which takes long.
        Layer.FILTER: lambda: _load(_compiled(guarded).program),
    }
    for layer, step in steps.items():
        if layer in run.layers:
            step()
    if run.logs:
        _load(_logging_program(guarded))


def _lock(sockets: Sequence[socket]) -> None:
    for sock in sockets:
        bpf.lock(sock)


def _become_the_user() -> None:
    if ROOT:
        credentials.empty_bounding_set()
        credentials.become(NOBODY)
    credentials.clear_capabilities()
    process.no_new_privileges()
    make_undumpable()


def _limit() -> None:
    # Alone it does not bind a root that has CAP_SYS_RESOURCE, and logs that.
    with suppress(PrivilegeError):
        process.limit_resources(LIMIT_OF_FILES)


def _enter_landlock(connect_to: frozenset[int]) -> None:
    process.no_new_privileges()  # without it the kernel grants Landlock to root only
    landlock.restrict(connect_to=connect_to)


def compile_filters(guarded: Guarded = MAILBELLD) -> None:
    """Do once what each child would otherwise do itself."""
    _compiled(guarded)
    _logging_program(guarded)


def policy_of(guarded: Guarded) -> Policy:
    """Return the policy of a program as it is in force here."""
    text = Path(FOLDER, f"{guarded.program}.toml").read_bytes()
    return parse(text).bind(dict(guarded.numbers))


@cache
def _compiled(guarded: Guarded) -> seccomp.Filter:
    return seccomp.compile_policy(policy_of(guarded))


@cache
def _logging_program(guarded: Guarded) -> bytes:
    """The filter of a program, with each answer except "allow" replaced by "log and go on"."""
    changed = bytearray()
    for code, jump, otherwise, value in struct.iter_unpack("=HBBI", _compiled(guarded).program):
        refuses = code == BPF_RETURN and value != SECCOMP_RET_ALLOW
        answer = SECCOMP_RET_LOG if refuses else value
        changed += struct.pack("=HBBI", code, jump, otherwise, answer)
    return bytes(changed)


def _load(program: bytes) -> None:
    process.no_new_privileges()  # as libseccomp does
    memory = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(memory))
    syscall(
        number("seccomp"),
        ctypes.c_uint(SECCOMP_SET_MODE_FILTER),
        ctypes.c_uint(SECCOMP_FILTER_FLAG_TSYNC),
        ctypes.c_char_p(fprog),
    )

"""Code execution inside: what an intruder can do with each open descriptor of the daemon.

`GOOD_FOR` is the complete list. For every other call, the policy or the kernel refuses the
descriptor, or the whole process is killed.
"""

import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import Daemon, until
from harness.inject import Intruder, intruding
from harness.kernel import reads_sockets_without_waiting
from harness.sender import sent
from harness.tracee import traced
from sandbox.attacks.aim import number
from sandbox.inside import (
    accepted,
    broken_into,
    descriptor_of,
    descriptors,
    errors,
    is_killed,
    policy_of,
    registers,
    serves,
)
from system.support import Local

from mailbell.syscalls.policy import ALLOW, KILL, Policy

SOL_SOCKET: Final = int(socket.SOL_SOCKET)
SOCK_CLOEXEC: Final = int(socket.SOCK_CLOEXEC)
# asm-generic/ioctls.h, asm-generic/socket.h
FIONREAD, FIONBIO, TIOCSTI = 0x541B, 0x5421, 0x5412
SO_SNDBUF, SO_PEERCRED, SO_GET_FILTER, SO_DETACH_FILTER, SO_PEERPIDFD = 7, 17, 26, 27, 77
NEXT: Final = (1 << 64) - 1  # preadv2(2): not at an offset
YES: Final = struct.pack("<I", 1)

# The arguments after the descriptor; a list is an iovec. A text after the name of the call tells
# two forms of the same call apart.
CALLS: Final[dict[str, tuple[int | bytes | list[bytes], ...]]] = {
    "read": (bytes(64), 64),
    "preadv2": ([bytes(64)], 1, NEXT, 0, int(os.RWF_NOWAIT)),
    "write": (b"x", 1),
    "preadv2: at an offset": ([bytes(64)], 1, 0, 0, int(os.RWF_NOWAIT)),
    "sendto": (b"x", 1, int(socket.MSG_NOSIGNAL), 0, 0),
    "recvfrom": (bytes(64), 64, int(socket.MSG_DONTWAIT), 0, 0),
    "accept4": (0, 0, SOCK_CLOEXEC),
    "getsockname": (bytes(128), struct.pack("<I", 128)),
    "ioctl: do not block": (FIONBIO, YES),
    "ioctl: how much is there": (FIONREAD, bytes(4)),
    "ioctl: type": (TIOCSTI, b"x"),
    "getsockopt: whose": (SOL_SOCKET, SO_PEERCRED, bytes(12), struct.pack("<I", 12)),
    "getsockopt: a process": (SOL_SOCKET, SO_PEERPIDFD, bytes(4), struct.pack("<I", 4)),
    "getsockopt: the filter": (SOL_SOCKET, SO_GET_FILTER, bytes(4096), struct.pack("<I", 100)),
    "setsockopt: the buffer": (SOL_SOCKET, SO_SNDBUF, struct.pack("<I", 4096), 4),
    "setsockopt: no filter": (SOL_SOCKET, SO_DETACH_FILTER, YES, 4),
    "setsockopt: signs of life": (SOL_SOCKET, int(socket.SO_KEEPALIVE), YES, 4),
    "setsockopt: TCP": (int(socket.SOL_TCP), int(socket.TCP_NODELAY), YES, 4),
}

ANY: Final = {"ioctl: do not block"}
# What other processes may share cannot be changed: that would outlive the daemon.
SHARED: Final = {"getsockname", "getsockopt: whose"}
SOCKET: Final = SHARED | ANY | {"setsockopt: the buffer"}
GOOD_FOR: Final[dict[str, set[str]]] = {
    "nothing": {"preadv2"},  # it reads nothing
    "log": {"write"},
    "event loop": ANY,
    "tcp": SHARED | {"accept4"},
    "udp": SHARED | {"recvfrom", "preadv2"},
    "local": SHARED | {"accept4"},
    "manager": SOCKET | {"sendto", "recvfrom", "preadv2"},
    "wake-up": SOCKET | {"sendto", "recvfrom", "preadv2"},
    # The one to which the handlers of signals write.
    "wake-up by signals": SOCKET | {"sendto", "recvfrom", "preadv2", "write"},
    "subscriber": SOCKET | {"sendto", "recvfrom", "preadv2"},
    "stranger": SOCKET | {"sendto", "recvfrom", "preadv2"},
    # It has the number of the file that was read for the proof and then closed.
    "whoever came first": SOCKET | {"sendto", "recvfrom", "preadv2", "read"},
}
DEADLY: Final = [
    (kind, call)
    for call in ("read", "write")
    for kind, uses in GOOD_FOR.items()
    if call not in uses
]
# Whoever shares the log or a passed socket would have to live with such a change.
OUTLIVES: Final = [
    ("log", "ioctl: do not block"), ("tcp", "ioctl: do not block"),
    ("local", "setsockopt: the buffer"), ("log", "preadv2"), ("log", "recvfrom"),
]  # fmt: skip


@contextmanager
def busy(directory: Path) -> Iterator[Daemon]:
    """A daemon that has a descriptor of every kind."""
    with broken_into(directory) as daemon, Local(daemon.path), Local(daemon.path) as subscriber:
        subscriber.subscribe()
        with sent(daemon.endpoint(), b"nm_"):
            until(lambda: daemon.status().connections == 1)
            yield daemon


def kinds(intruder: Intruder, policy: Policy) -> dict[int, str]:
    """What is open, with a note for some numbers."""
    found = descriptors(intruder)
    for descriptor, kind in found.items():
        if kind == "wake-up" and policy.answer("write", registers([descriptor])) == ALLOW:
            found[descriptor] = "wake-up by signals"
        if policy.answer("read", registers([descriptor])) == ALLOW:
            found[descriptor] = "whoever came first"
    return found


def placed(intruder: Intruder, argument: int | bytes | list[bytes]) -> int:
    """Return the value of an argument in a register."""
    if isinstance(argument, int):
        return argument
    if isinstance(argument, list):
        pairs = (struct.pack("<QQ", intruder.place(buffer), len(buffer)) for buffer in argument)
        return intruder.place(b"".join(pairs))
    return intruder.place(argument)


def works(intruder: Intruder, policy: Policy, descriptor: int, call: str) -> bool:
    """Make a call that does not kill. Tell whether it succeeds, or would with more input there."""
    name = call.partition(":")[0]
    passed = (descriptor, *(placed(intruder, argument) for argument in CALLS[call]))
    action = policy.answer(name, registers(passed))
    if action == KILL:
        return False
    result = intruder.call(number(name), *passed)
    if action != ALLOW:
        assert -result == action.errno, (descriptor, call)
    return errors(result) in {"", "EAGAIN"}


@traced
def test_a_descriptor_is_good_for_what_is_documented_and_nothing_else(open_path: Path) -> None:
    with busy(open_path) as daemon:
        policy = policy_of(daemon)
        with intruding(daemon) as intruder:
            found = {
                (descriptor, kind): {c for c in CALLS if works(intruder, policy, descriptor, c)}
                for descriptor, kind in kinds(intruder, policy).items()
            }
        several = {"nothing": 2, "wake-up": 3}  # standard input and output; two pairs of sockets
        assert Counter(kind for _, kind in found) == {k: several.get(k, 1) for k in GOOD_FOR}
        missing = set() if reads_sockets_without_waiting() else {"preadv2"}
        assert found == {
            (number, kind): GOOD_FOR[kind] - (missing if kind != "nothing" else set())
            for number, kind in found
        }
        serves(daemon)


@pytest.mark.parametrize(("kind", "call"), [*DEADLY, *OUTLIVES])
@traced
def test_reading_writing_and_what_outlives_the_daemon_kill(
    open_path: Path, kind: str, call: str
) -> None:
    with busy(open_path) as daemon:
        policy = policy_of(daemon)
        with is_killed(daemon), intruding(daemon) as intruder:
            descriptor = min(d for d, k in kinds(intruder, policy).items() if k == kind)
            name = call.partition(":")[0]
            intruder.call(number(name), descriptor, *(placed(intruder, a) for a in CALLS[call]))


@traced
def test_a_number_stands_for_whatever_has_it_and_wins_nothing(open_path: Path) -> None:
    """A connection can take the place of the log: an intruder could send what the log gets."""
    with broken_into(open_path) as daemon:
        endpoint = daemon.endpoint()
        with intruding(daemon) as intruder:
            listener = descriptor_of(intruder, "tcp")
            assert intruder.call(number("close"), 2) == 0
            with sent(endpoint, b"nm_") as stranger:
                assert accepted(intruder, listener) == 2
                assert intruder.call(number("write"), 2, b"to the log", 10) == 10
                assert stranger.recv(64) == b"to the log"

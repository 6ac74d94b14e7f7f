"""What an intruder learns about the daemon it is in, and what happens to the daemon."""

import ast
import errno
import signal
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from harness.inject import Gone, Intruder, intruding
from harness.libseccomp import libseccomp
from sandbox.attacks.aim import number

from mailbell.sandbox.policy_file import read_policy
from mailbell.syscalls.policy import ALL_BITS, ARGUMENTS, KILL, Policy

__all__ = [
    "POLICY",
    "accepted",
    "broken_into",
    "descriptor_of",
    "descriptors",
    "ends",
    "errors",
    "is_killed",
    "policy_of",
    "registers",
    "said",
    "serves",
]

POLICY: Final = read_policy("mailbelld")

EPOLL_CTL_DEL: Final = 2
MANY: Final = 64  # more descriptors than the daemon has in these tests

# The number has two names. Which one is reported depends on the version of Python.
_ERRORS: Final = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}

# The names of the sockets, by their family and the report of accept4(2).
_NAMES: Final = {
    (socket.AF_INET, "EAGAIN"): "tcp",
    (socket.AF_INET, "EOPNOTSUPP"): "udp",
    (socket.AF_INET, "EINVAL"): "stranger",
    (socket.AF_UNIX, "EAGAIN"): "local",
    (socket.AF_UNIX, "EOPNOTSUPP"): "manager",
}

_PLACEHOLDERS: Final = """
import gc
policy = next(one for one in gc.get_objects() if type(one).__name__ == "Locked").policy
values = [v for entry in policy.entries for c in entry.conditions for v in c.values]
outcome = {v.text: v.number for v in values if v.text in policy.placeholders and v.number}
outcome["SHARED"] = tuple({v.number for v in values if v.text == "SHARED"})
"""

# Everything stays referenced, because a socket object that is freed closes the daemon's descriptor.
_REPORTED: Final = """
def report():
    import builtins, os
    names = {{}}
    builtins.__dict__.setdefault("kept", []).append(names)
    try:
        exec({source!r}, names)
        outcome = names.get("outcome")
    except BaseException as error:
        names["error"] = error
        outcome = type(error).__name__, getattr(error, "errno", None), str(error)
    os.write(2, b"outcome " + ascii(outcome).encode() + b"\\n")
report()
"""


@contextmanager
def broken_into(directory: Path, more: str = "") -> Iterator[Daemon]:
    """A daemon with one socket of each kind."""
    toml = configuration(directory, tcp=["127.0.0.1:0"], udp=["127.0.0.1:0"], more=more)
    with started(directory, toml) as daemon:
        yield daemon


def registers(args: Sequence[int]) -> list[int]:
    """The arguments of a call as a filter sees them."""
    return [arg & ALL_BITS for arg in (*args, *(0,) * (ARGUMENTS - len(args)))]


def errors(result: int) -> str:
    """The name of the error that a raw call returned, "" for success."""
    return _ERRORS[-result] if result < 0 else ""


def said(daemon: Daemon, source: str) -> object:
    """Execute Python in the daemon. Return its `outcome`, or the exception it raised.

    An exception is returned as a tuple: its name, its number, its text.

    Raises:
        Gone: the daemon ended before the code did.
    """
    before = len(daemon.lines())
    with intruding(daemon) as intruder:
        intruder.python(_REPORTED.format(source=source))
    (line,) = [line for line in daemon.lines()[before:] if line.startswith("outcome ")]
    return ast.literal_eval(line.removeprefix("outcome "))


def policy_of(daemon: Daemon) -> Policy:
    """The policy with the numbers that its placeholders have in this daemon."""
    found = said(daemon, _PLACEHOLDERS)
    assert isinstance(found, dict), found
    return POLICY.bind({"SELF": daemon.pid, **found})


def descriptors(intruder: Intruder) -> dict[int, str]:
    """Return what is open, found with permitted calls only."""
    kinds = ((descriptor, _kind(intruder, descriptor)) for descriptor in range(MANY))
    return {descriptor: kind for descriptor, kind in kinds if kind}


def descriptor_of(intruder: Intruder, kind: str) -> int:
    """Return the one descriptor of a kind."""
    (found,) = [number for number, its in descriptors(intruder).items() if its == kind]
    return found


def accepted(intruder: Intruder, listener: int) -> int:
    """Accept a connection that will come soon. Return its descriptor."""
    results: list[int] = []

    def comes() -> bool:
        results.append(intruder.call(number("accept4"), listener, 0, 0, int(socket.SOCK_CLOEXEC)))
        return results[-1] >= 0

    until(comes, "a connection")
    return results[-1]


def _kind(intruder: Intruder, descriptor: int) -> str:
    length, address = struct.pack("<I", 128), intruder.place(bytes(128))
    failed = errors(intruder.call(number("getsockname"), descriptor, address, length))
    if failed == "ENOTSOCK":
        return _kind_of_file(intruder, descriptor)
    if failed:
        assert failed == "EBADF"
        return ""
    (family,) = struct.unpack("<H", intruder.read(address, 2))
    accept = (number("accept4"), descriptor, 0, 0, int(socket.SOCK_CLOEXEC))
    answer = errors(intruder.call(*accept))
    if family == socket.AF_UNIX and answer == "EINVAL":
        # Accepted sockets have the name of the listener.
        return "subscriber" if any(intruder.read(address + 2, 8)) else "wake-up"
    return _NAMES[family, answer]


def _kind_of_file(intruder: Intruder, descriptor: int) -> str:
    # An event loop alone can tell that something is not in it.
    asked = intruder.call(number("epoll_ctl"), descriptor, EPOLL_CTL_DEL, 2, 0)
    if errors(asked) == "ENOENT":
        return "event loop"
    return "log" if descriptor == 2 else "nothing"


def serves(daemon: Daemon) -> None:
    """Require that the daemon goes on as if nothing had happened."""
    before = daemon.counted().get("accepted", 0)
    assert ring(daemon.endpoint()) == b""
    until(lambda: daemon.counted().get("accepted", 0) == before + 1)


@contextmanager
def ends(daemon: Daemon, status: int) -> Iterator[None]:
    """Require that the code in the block ends the whole daemon.

    Args:
        status: how the daemon ends: an exit status, or a signal as a negative number.
    """
    endpoint = daemon.endpoint()
    with pytest.raises(Gone):
        yield
    assert daemon.process.wait(PATIENCE) == status
    assert not Path(f"/proc/{daemon.pid}").exists()
    for family, address in ((socket.AF_INET, endpoint), (socket.AF_UNIX, str(daemon.path))):
        with socket.socket(family) as sock, pytest.raises(ConnectionRefusedError):
            sock.connect(address)


@contextmanager
def is_killed(daemon: Daemon) -> Iterator[None]:
    """Require that a call in the block kills the daemon, as the policy says of this call."""
    policy = policy_of(daemon)
    with ends(daemon, -signal.SIGSYS):
        with pytest.raises(Gone) as caught:
            yield
        last = caught.value.last
        name = libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, last.called).decode()
        assert policy.answer(name, last.arguments) == KILL, name
        raise caught.value

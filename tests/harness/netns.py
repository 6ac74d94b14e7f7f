"""Network namespaces with a cable between them, for tests that need real hosts.

A socket always belongs to the namespace in which it was made. So the test itself can
run outside: an agent in each namespace makes sockets and passes them to the test, which
binds and connects them. `Namespace.run` and `Namespace.popen` run a whole program inside.

The namespaces have no names and leave nothing behind: they exist as long as their agents,
and these end with the test, even if it is killed.
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest

__all__ = ["Namespace", "Pair", "another_host", "lone_host", "namespaces"]

_PATIENCE: Final = 20.0
_ASKING: Final = threading.Lock()  # an agent answers one thread at a time

_AGENT: Final = """
import socket, sys
control = socket.socket(fileno=int(sys.argv[1]))
control.send(b".")
while request := control.recv(64):
    family, kind = map(int, request.split())
    with socket.socket(family, kind) as made:
        socket.send_fds(control, [b"."], [made.fileno()])
"""


@dataclass(frozen=True)
class Namespace:
    """One network namespace.

    Attributes:
        agent: a process that lives in it.
        control: how the agent is told to make sockets.
        enter: what to run a program through so that it may set up the network:
            as root, if only in a user namespace.
        visit: the same for a program that is to be who the tests are: root, or an
            ordinary user, who then has no privilege in the namespace either.
    """

    agent: "subprocess.Popen[bytes]"
    control: socket.socket
    enter: tuple[str, ...]
    visit: tuple[str, ...]

    @property
    def pid(self) -> int:
        """A process that lives in it."""
        return self.agent.pid

    def socket(self, family: int, kind: int) -> socket.socket:
        """Make a socket that is in this namespace wherever it is used."""
        with _ASKING:
            self.control.send(f"{int(family)} {int(kind)}".encode())
            _, descriptors, _, _ = socket.recv_fds(self.control, 1, 1)
        return socket.socket(fileno=descriptors[0])

    def run(self, *command: str) -> str:
        """Run a program inside; return what it prints."""
        done = subprocess.run(
            [*self.enter, *command],
            check=False, capture_output=True, text=True, timeout=_PATIENCE,
        )  # fmt: skip
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def popen(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program inside. Whoever starts it ends it."""
        return subprocess.Popen([*self.enter, *command], **options)


@dataclass(frozen=True)
class Pair:
    """Two hosts on one cable."""

    server: Namespace
    client: Namespace


@contextmanager
def namespaces(server: Sequence[str], client: Sequence[str]) -> Iterator[Pair]:
    """Make two namespaces and connect them.

    Args:
        server: addresses with prefix length, as in "192.0.2.1/24".
        client: addresses of the other end.

    Yields:
        Both, ready to talk; the test is skipped, with the reason, where the
        machine does not let us make them.
    """
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with ExitStack() as stack:
        try:
            pair = _make(stack)
            _connect(pair, server, client)
        except OSError as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        yield pair


@contextmanager
def another_host(server: Namespace, near: Sequence[str], far: Sequence[str]) -> Iterator[Namespace]:
    """Connect one more host to a server, with a cable of its own (`cable1` at both ends).

    Args:
        server: a host that has only one cable so far.
        near: addresses of the server at this cable, with prefix length.
        far: addresses of the other end.

    Yields:
        The host. It reaches all addresses of the server through the first ones of `near`.
        The server takes every packet from it, whatever its source: it is not filtered.
    """
    with ExitStack() as stack:
        host = _start_beside(stack, server)
        _connect(Pair(server, host), near, far, "cable1")
        for address in near:
            family = "-6" if ":" in address else "-4"
            host.run("ip", family, "route", "add", "default", "via", address.partition("/")[0])
        # The kernel can drop packets whose source is behind another cable, and some
        # distributions switch that on (rp_filter, ip-sysctl.rst).
        server.run("sh", "-c", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done")
        yield host


@contextmanager
def lone_host(beside: Namespace | None = None) -> Iterator[Namespace]:
    """Make a namespace without a cable.

    Args:
        beside: a host whose user namespace it shares, so that a cable can join the two.

    Raises:
        OSError: the machine does not let us make it.
    """
    with ExitStack() as stack:
        yield _start_beside(stack, beside) if beside else _start_first(stack)


def _make(stack: ExitStack) -> Pair:
    first = _start_first(stack)
    return Pair(first, _start_beside(stack, first))


def _start_first(stack: ExitStack) -> Namespace:
    # An ordinary user is root in a user namespace of their own, which all hosts share.
    ordinary = os.geteuid() != 0
    return _start(stack, (), ("-U", "-r") if ordinary else (), ordinary=ordinary)


def _start_beside(stack: ExitStack, host: Namespace) -> Namespace:
    ordinary = os.geteuid() != 0
    outer = ("nsenter", "--preserve-credentials", "-U", "-t", str(host.pid)) if ordinary else ()
    return _start(stack, outer, (), ordinary=ordinary)


def _start(
    stack: ExitStack, outer: Sequence[str], options: Sequence[str], *, ordinary: bool
) -> Namespace:
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    ours.settimeout(_PATIENCE)
    with theirs:
        agent = subprocess.Popen(
            [
                *outer, "unshare", *options, "-n",
                sys.executable, "-I", "-c", _AGENT, str(theirs.fileno()),
            ],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
    stack.callback(_end, agent, ours)
    if ours.recv(1) != b".":
        assert agent.stderr is not None
        raise OSError(agent.stderr.read().decode().strip())
    user = ("-U", "--preserve-credentials") if ordinary else ()
    enter = ("nsenter", *user, "-n", "-t", str(agent.pid))
    # In one more user namespace the user has their own number again, not root's.
    ids = (f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}")
    return Namespace(agent, ours, enter, (*enter, "unshare", *ids) if ordinary else enter)


def _end(agent: "subprocess.Popen[bytes]", control: socket.socket) -> None:
    control.close()  # the agent reads the end of the stream, and ends
    try:
        agent.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.communicate()


def _connect(
    pair: Pair, server: Sequence[str], client: Sequence[str], cable: str = "cable0"
) -> None:
    pair.server.run(
        "ip", "link", "add", "name", cable, "type", "veth",
        "peer", "name", cable, "netns", str(pair.client.pid),
    )  # fmt: skip
    for namespace, addresses in ((pair.server, server), (pair.client, client)):
        for address in addresses:
            # nodad: without it an IPv6 address cannot be used for one second.
            options = ("nodad",) if ":" in address else ()
            namespace.run("ip", "address", "add", address, "dev", cable, *options)
        namespace.run("ip", "link", "set", "lo", "up")
        namespace.run("ip", "link", "set", cable, "up")

"""Nodes of a cluster on one machine: real senders with their companions, and what they spend."""

import os
import pwd
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from bench.kernel import Cpu
from bench.processes import PATIENCE, Failed, end, pin
from bench.ringers import Ringer
from mailbell.cluster.members import Members
from mailbell.cluster.messages import write_target
from mailbell.core.networks import Address
from mailbell.core.notification import Transport
from mailbell.core.target import Target
from mailbell.interfaces.sender_status import Cluster

__all__ = [
    "COMPANION",
    "FAST",
    "Node",
    "Process",
    "addresses_of",
    "cluster",
    "say_all",
    "say_each",
    "spends_idle",
    "spent",
]

COMPANION: Final = "mailbell-cluster"
FAST: Final = 'interval = "10ms"\nrate = "1000000/s"\n'
"""Keys of [send] with which every notification is a call, or joins one."""

_FIRST: Final = 0x7F100000  # 127.16.0.0
_LAST: Final = 0x7FFF0000

Process = tuple[str, str]
"""A node, and "sender" or "companion"."""


@dataclass(frozen=True)
class Node:
    """One node that is ready.

    Attributes:
        name: its name.
        ringer: its sender.
        companion: the process that shares its work.
    """

    name: str
    ringer: Ringer
    companion: int

    @property
    def processes(self) -> dict[Process, int]:
        """Both processes, by what they are."""
        return {(self.name, "sender"): self.ringer.pid, (self.name, "companion"): self.companion}

    def cluster(self) -> Cluster:
        """Return what the node knows of the cluster."""
        found = self.ringer.status().cluster
        if found is None:
            raise Failed(f"{self.name} is no node of a cluster")
        return found


def addresses_of(owner: str, nodes: Iterable[str], port: int) -> Iterator[str]:
    """Yield addresses of loopback whose target belongs to a node.

    Args:
        owner: the name of the node.
        nodes: the names of all nodes.
        port: of the targets, which are called by TCP.
    """
    members = Members(owner)
    members.update(nodes)
    for number in range(_FIRST, _LAST):
        text = ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
        target = Target(Address.parse(text), port, Transport.TCP)
        if members.owner(write_target(target)) == owner:
            yield text


# --- how they are started ---------------------------------------------------------------------


@contextmanager
def cluster(
    names: Sequence[str],
    engine_port: int,
    hosts_port: int,
    *,
    send: str = "",
    on: Sequence[int | None] = (),
) -> Iterator[list[Node]]:
    """Run nodes until the end of the block. They know each other.

    Args:
        names: of the nodes.
        engine_port: of the engine, on loopback.
        hosts_port: of all targets.
        send: further keys of [send].
        on: the core of each node; none: any.

    Raises:
        Failed: one of them does not start, or does not see the others.
    """
    with ExitStack() as stack:
        nodes = []
        for name, core in zip(names, on or [None] * len(names), strict=True):
            folder = Path(stack.enter_context(_folder()))
            toml = _configuration(folder, name, engine_port, hosts_port, send)
            ringer = stack.enter_context(_sender(folder, toml, core))
            companion = ringer.status().companions.get(COMPANION)
            if companion is None:
                log = (folder / "log").read_text().strip()
                raise Failed(f"{name} has no companion for the cluster: {log}")
            nodes.append(Node(name, ringer, companion))
        for node in nodes:
            _until_complete(node, names)
        yield nodes


@contextmanager
def _folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        Path(name).chmod(0o755)
        state = Path(name) / "state"
        state.mkdir(mode=0o700)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(state, nobody.pw_uid, nobody.pw_gid)
        yield name


def _configuration(folder: Path, name: str, engine_port: int, hosts_port: int, send: str) -> str:
    return f"""\
[listen]
hook = "{folder}/hook"
control = "{folder}/control"
user = "nobody"
group = ""
trusted = ["{pwd.getpwuid(os.geteuid()).pw_name}"]
[store]
url = "redis://127.0.0.1:{engine_port}"
file = "sqlite://{folder}/state/state.db"
node = "{name}"
[send]
port = {hosts_port}
{send}
[last_used]
allow = ["127.0.0.0/8"]
[default]
targets = ["last-used"]
"""


@contextmanager
def _sender(folder: Path, toml: str, core: int | None) -> Iterator[Ringer]:
    file, log, notify_path = folder / "sender.toml", folder / "log", folder / "notify"
    file.write_text(toml)
    command = [sys.executable, "-m", "mailbell.cli.mailbell_sender", "--config", str(file)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, log.open("wb") as stderr:
        notify.bind(str(notify_path))
        notify_path.chmod(0o666)  # the sender may run as another user
        environ = {**os.environ, "NOTIFY_SOCKET": str(notify_path)}
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stderr=stderr)
        try:
            pin(process.pid, core)  # the companion gets the same core when it is forked
            if not _is_ready(notify, process):
                raise Failed(f"mailbell-sender does not start: {log.read_text().strip()}")
            yield Ringer(process.pid, folder / "hook", folder / "control")
        finally:
            end(process)


def _is_ready(notify: socket.socket, process: "subprocess.Popen[bytes]") -> bool:
    ended = os.pidfd_open(process.pid)
    try:
        readable, _, _ = select.select([notify.fileno(), ended], [], [], PATIENCE)
        return notify.fileno() in readable and b"READY=1" in notify.recv(4096)
    finally:
        os.close(ended)


def _until_complete(node: Node, names: Sequence[str]) -> None:
    last = time.monotonic() + PATIENCE
    while True:
        found = node.cluster()
        lives = sorted(each.name for each in found.nodes if each.lives)
        if found.failing is None and lives == sorted(names):
            return
        if time.monotonic() > last:
            raise Failed(f"{node.name} sees {lives}: {found.failing}")
        time.sleep(0.3)  # between two questions; a node gives a sign of life once a second


# --- what they are told, and what they spend --------------------------------------------------


def say_each(node: Node, lines: Iterable[str], rate: float) -> float:
    """Say lines at an even rate, each on a connection of its own, as a hook does.

    Args:
        node: who hears them.
        lines: without LF.
        rate: of lines a second.

    Returns:
        How many lines a second were said; fewer than wanted if this process was late.
    """
    began = time.monotonic()
    number = 0
    for number, line in enumerate(lines, 1):
        time.sleep(max(0.0, began + (number - 1) / rate - time.monotonic()))
        with node.ringer.connect() as sock:
            sock.sendall(f"{line}\n".encode())
    return number / max(time.monotonic() - began, 1e-9)


def say_all(node: Node, lines: Iterable[str]) -> None:
    """Say lines on one connection, so slowly that the engine learns each in time.

    Args:
        node: who hears them.
        lines: without LF.
    """
    source = iter(lines)
    with node.ringer.connect() as sock:
        while batch := list(islice(source, 500)):
            sock.sendall("".join(f"{line}\n" for line in batch).encode())
            time.sleep(0.4)  # the engine learns them meanwhile


def spends_idle(nodes: Sequence[Node], seconds: float) -> dict[Process, float]:
    """Return the nanoseconds a second of each process while nothing is said.

    Args:
        nodes: all nodes.
        seconds: how long to look.
    """
    before, began = _settled(nodes), time.monotonic()
    time.sleep(seconds)  # what they spend in this time is measured
    after = _times(nodes)
    passed = time.monotonic() - began
    return {process: (after[process] - before[process]) / passed for process in after}


def spent(
    nodes: Sequence[Node], idle: dict[Process, float], work: Callable[[], None]
) -> dict[Process, float]:
    """Return the microseconds of each process for some work, less what it spends without.

    Args:
        nodes: all nodes.
        idle: what `spends_idle` has found.
        work: says something to the nodes.
    """
    before, began = _settled(nodes), time.monotonic()
    work()
    after = _settled(nodes)
    passed = time.monotonic() - began
    return {
        process: max(after[process] - before[process] - idle[process] * passed, 0.0) / 1000
        for process in after
    }


def _times(nodes: Sequence[Node]) -> dict[Process, int]:
    return {process: Cpu.of(pid).total for node in nodes for process, pid in node.processes.items()}


def _settled(nodes: Sequence[Node]) -> dict[Process, int]:
    Cpu.settled(*(pid for node in nodes for pid in node.processes.values()))
    return _times(nodes)

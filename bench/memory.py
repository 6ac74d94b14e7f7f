"""Memory of the daemon when everything that can fill is full.

Full means: 64 subscribers, and every table of the limiter with as many sources as it
holds: TCP and UDP, IPv4 and IPv6, narrow and wide prefix. IPv4 has 127.0.0.0/8 on every
machine. For as many IPv6 sources a network namespace is made, where all of
2001:db8::/32 is local; that takes root. Without, the IPv6 tables stay empty, and the
result says so.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bench.kernel import Resident
from bench.processes import PATIENCE, Daemon, Failed, Load, configuration, started
from mailbell.client import Client

__all__ = ["Memory", "measure"]

SUBSCRIBERS: Final = 64
# More than twice what a table holds: a source goes into one of many small sets, and
# the last of these is full long after the average one.
SOURCES: Final = 20_000
# Datagrams at once; a receive buffer of default size holds some 270 of them.
GULP: Final = 64
PASSES: Final = 5

_ROOT: Final = Path(__file__).resolve().parent.parent
_HOSTS: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "2001:db8::1"}
_IPV6_FREEBIND: Final = 78  # linux/in6.h; the socket module does not name it
_NAMESPACE: Final = """
ip link set lo up &&
ip -6 address add 2001:db8::1/128 dev lo nodad &&
ip -6 route add local 2001:db8::/32 dev lo &&
exec "$@"
"""
_ENTER: Final = ("unshare", "-n", "sh", "-c", _NAMESPACE, "sh")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the daemon.

    Attributes:
        idle: once it is ready.
        full: with full tables and all subscribers.
        subscribers: how many there were.
        tables: entries and capacity of each table at the end.
    """

    idle: Resident
    full: Resident
    subscribers: int
    tables: dict[str, tuple[int, int]]


def measure(sources: int = SOURCES) -> Memory:
    """Measure in a process of its own, in a network namespace where that can be made.

    Args:
        sources: how many addresses notify, over each transport and in each family.

    Raises:
        Failed: it could not be measured.
    """
    command = [sys.executable, "-m", "bench.memory", str(sources)]
    if _has_namespaces():
        command = [*_ENTER, *command, "6"]
    done = subprocess.run(
        command, cwd=_ROOT, stdout=subprocess.PIPE, check=False, timeout=5 * PATIENCE
    )
    if done.returncode:
        raise Failed("the memory of the daemon could not be measured")
    return msgspec.json.decode(done.stdout, type=Memory)


def _has_namespaces() -> bool:
    """Try it: not even root may everywhere, and not every machine has IPv6."""
    # An ordinary user could, in a user namespace, where the daemon could not drop to another.
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run([*_ENTER, "true"], capture_output=True, check=False).returncode == 0


def _measure(families: list[socket.AddressFamily], sources: int) -> Memory:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        directory.chmod(0o755)  # the daemon drops to a user who must reach its socket
        hosts = [_in_brackets(_HOSTS[family]) for family in families]
        endpoints = [f"{host}:0" for host in hosts]
        toml = configuration(directory, tcp=endpoints, udp=endpoints)
        daemon = stack.enter_context(started(directory, toml))
        idle = Resident.of(daemon.pid)
        for _ in range(SUBSCRIBERS):
            client = stack.enter_context(Client(daemon.path))
            stack.enter_context(client.subscribe())
        for family in families:
            _fill(daemon, family, sources)
        status, full = daemon.status(), Resident.of(daemon.pid)
        return Memory(
            idle=idle,
            full=full,
            subscribers=status.subscribers,
            tables={table.name: (table.entries, table.capacity) for table in status.tables},
        )


def _fill(daemon: Daemon, family: socket.AddressFamily, sources: int) -> None:
    """Notify from each source, over TCP and over UDP."""
    host = _HOSTS[family]
    in_brackets = _in_brackets(host)
    Load(sources, parallel=256, sources=sources).run(host, daemon.port("tcp", in_brackets))
    target = host, daemon.port("udp", in_brackets)
    # UDP says nothing of what it lost, so on a busy machine once may not be enough.
    for _ in range(PASSES):
        _send_datagrams(family, sources, target)
        if _is_full(daemon, "ipv4" if family == socket.AF_INET else "ipv6"):
            return


def _is_full(daemon: Daemon, family: str) -> bool:
    tables = [table for table in daemon.status().tables if family in table.name]
    return all(table.entries == table.capacity for table in tables)


def _send_datagrams(family: socket.AddressFamily, sources: int, target: tuple[str, int]) -> None:
    for number in range(sources):
        _send_datagram(family, _source(family, number), target)
        if number % GULP == GULP - 1:
            time.sleep(0.004)  # in which the daemon, given a core, takes as many


def _send_datagram(family: socket.AddressFamily, source: str, target: tuple[str, int]) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        sock.bind((source, 0))
        sock.sendto(b"nm_notifyuser\r\n", target)


def _source(family: socket.AddressFamily, number: int) -> str:
    """Name the address that bench/load.c has under this number."""
    if family == socket.AF_INET:
        return f"127.{1 + number // 256}.{number % 256}.1"
    return f"2001:db8:{number + 1:x}::1"


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _main() -> None:
    families = [socket.AF_INET]
    if sys.argv[2:] == ["6"]:
        families.append(socket.AF_INET6)
    sys.stdout.buffer.write(msgspec.json.encode(_measure(families, int(sys.argv[1]))))


if __name__ == "__main__":
    _main()

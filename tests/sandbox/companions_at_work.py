"""Has one companion do everything that it ever does, while it is watched.

    companions_at_work.py resolver|cyrus|cluster FOLDER

It runs under strace, and reports what Python does once the companion is locked in
(`harness.audited`) in the file `audit` of the folder.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import dns.rcode
import trio
from harness.audited import Hook, Report
from harness.daemon import until
from harness.engine import engine
from harness.name_server import NameServer, addresses, refused, truncated
from harness.traced import hide_the_tracer

from mailbell.cluster import messages as m
from mailbell.core.notification import Transport
from mailbell.logs.journal import Journal
from mailbell.sender import cluster_node, cyrus_reader, resolver
from mailbell.sender._companion import Companion
from mailbell.sender._cyrus_queue import CyrusQueue
from mailbell.sender._names import NameUnknownError
from mailbell.sender._node_settings import Settings
from mailbell.sender._resolver_client import ResolverClient
from mailbell.sender._store_url import EngineUrl, Kind

BOTH = addresses("192.0.2.7", "2001:db8::7")
MAIL = b'mailbell\0EVENT\0\0\0\x000\0{"event":"MessageNew","user":"%d","uri":"imap://vm/user.%d"}\0'


def start_resolver(folder: Path, server: NameServer) -> Companion:
    """Start it with two name servers, one of which does not listen."""
    hosts = folder / "hosts"
    hosts.write_text("192.0.2.8 desk\n")
    conf = server.configuration(folder, "127.0.0.9", "::1")
    return resolver.start(None, resolver.Machine(str(conf), str(hosts), server.port))


async def ask(companion: Companion, *servers: NameServer) -> None:
    """Ask for names of every kind: by UDP, by TCP, of this machine, unknown, and many."""
    client = ResolverClient(companion, Journal(lambda _: None, time.monotonic))
    async with trio.open_nursery() as nursery:
        for server in servers:
            nursery.start_soon(server.serve)
        nursery.start_soon(client.serve)
        assert await client.lookup("good.example")
        assert await client.lookup("desk")
        assert await client.lookup("long.example")
        assert await client.lookup("other.example")
        with suppress(NameUnknownError):
            await client.lookup("unknown.example")
        async with trio.open_nursery() as many:
            for number in range(300):
                many.start_soon(client.lookup, f"n{number}.good")
        nursery.cancel_scope.cancel()


def resolve(folder: Path) -> Companion:
    """Have the resolver at work."""
    server = NameServer()
    second = NameServer("::1", server.port)
    for each in (server, second):
        each.answers = {"good.example": BOTH, "long.example": truncated(BOTH)}
        each.answers.update({f"n{number}.good": BOTH for number in range(300)})
    # The server with the IPv6 address is asked first, and does not know this one.
    second.answers["other.example"] = refused(dns.rcode.SERVFAIL)
    server.answers["other.example"] = truncated(BOTH)
    companion = start_resolver(folder, server)
    trio.run(ask, companion, server, second)
    return companion


def read(folder: Path) -> Companion:
    """Have the reader of Cyrus's events at work: also while the sender does not read."""
    # Fewer than really, because strace takes its time.
    defaults: Any = CyrusQueue.__init__.__kwdefaults__
    defaults["events"] = 400
    cyrus = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    cyrus.bind(str(folder / "cyrus"))
    companion = cyrus_reader.start(cyrus, None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(str(folder / "cyrus"))
        for number in range(1_000):
            client.send(MAIL % (number, number))
        companion.pair.settimeout(20)
        for _ in range(400):
            companion.pair.recv(20_000)
        stop_and_go_on(companion.pid)
        client.send(MAIL % (0, 0))
        companion.pair.recv(20_000)
    return companion


def share(folder: Path) -> Companion:
    """Have a node of a cluster at work: with an engine, without it, and with it again."""
    with engine(folder, "--requirepass", "secret") as server:
        companion = cluster_node.start(
            None,
            lambda: Settings(
                url=EngineUrl(Kind.TCP, hosts=(("localhost", server.port),)), ports=frozenset(),
                password="secret", certificates=None, addresses={"localhost": ("127.0.0.1",)},
                node="a", state="/state", ttl=60.0, logins=4,
            ),
        )  # fmt: skip
        pair = companion.pair
        pair.settimeout(20)
        until_told(pair, lambda message: isinstance(message, m.State) and message.problem is None)
        place = (m.Place(79, Transport.TCP),)
        pair.send(m.encode(m.Login(1, "anna", "192.0.2.7", 0.0, False, (), place)))
        until_told(pair, lambda message: isinstance(message, m.Welcome))
        pair.send(m.encode(m.Ring(2, "anna", (), place)))
        until_told(pair, lambda message: isinstance(message, m.Call))
        server.kill()
        until_told(pair, lambda message: isinstance(message, m.State) and bool(message.problem))
        server.start()
        until_told(pair, lambda message: isinstance(message, m.State) and message.problem is None)
        pair.send(m.encode(m.Retire()))
        pair.send(m.encode(m.Leave()))
        until_told(pair, lambda message: isinstance(message, m.Left))
    return companion


def until_told(pair: socket.socket, what: Callable[[m.FromCompanion], bool]) -> None:
    """Read what the companion says until it says something."""
    while (message := m.decode_from_companion(pair.recv(m.MAX_MESSAGE))) is None or not what(
        message
    ):
        pass


def stop_and_go_on(pid: int) -> None:
    """Stop a child while it waits, and let it go on: the kernel then restarts what waits."""
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("S"))
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    os.kill(pid, signal.SIGCONT)


def main() -> None:
    """Run the companion, end it by closing its pair, and wait for its end."""
    which, name = sys.argv[1:]
    folder = Path(name)
    hide_the_tracer()
    sys.addaudithook(Hook(Report(str(folder / "audit"))))
    companion = {"resolver": resolve, "cyrus": read, "cluster": share}[which](folder)
    companion.pair.close()
    assert os.waitpid(companion.pid, 0)[1] == 0


if __name__ == "__main__":
    main()

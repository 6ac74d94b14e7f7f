"""What the companion for the cluster does once it is locked in. It loads coredis."""

import os
import socket
import ssl
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import trio

from mailbell.cluster import messages as m
from mailbell.cluster.clients import Access, connect
from mailbell.cluster.engine import Engine
from mailbell.cluster.node import Node
from mailbell.cluster.report import HOST
from mailbell.core.errors import ConfigurationError
from mailbell.sender._node_settings import Settings
from mailbell.sender._pair import receive, until_sendable

__all__ = ["KnownNames", "Pair", "access", "host_of", "keep_connected", "work"]

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_LONGEST_ID: Final = 64  # bytes
_RETRY: Final = 1.0  # seconds until a Redis Cluster that could not be reached is tried again


class KnownNames(trio.abc.HostnameResolver):
    """Knows the names of the configuration only. A locked process can look up no other.

    Args:
        addresses: of each name.
    """

    def __init__(self, addresses: Mapping[str, tuple[str, ...]]) -> None:
        self._addresses = addresses

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name that Trio gives
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Return the addresses of a name, as socket.getaddrinfo does."""
        del type, proto, flags
        name = (host or b"").decode("ascii", "replace")
        found = []
        for address in self._addresses.get(name, ()):
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            where = (address, port, 0, 0) if kind is socket.AF_INET6 else (address, port)
            if family in {0, kind}:
                found.append((kind, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where))
        if not found:
            raise socket.gaierror(
                socket.EAI_NONAME, f"{name} is no name of store.url, and no other is looked up"
            )
        return found

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """Refuse: nothing here asks for the name of an address."""
        del sockaddr, flags
        raise socket.gaierror(socket.EAI_NONAME, "names are not looked up")


class Pair:
    """The other end of the pair.

    Args:
        far: the companion's own end.
    """

    def __init__(self, far: socket.socket) -> None:
        self._far = far
        self._turn = trio.Lock()

    async def tell(self, message: m.FromCompanion) -> None:
        """Pass a message on; wait while the sender is busy.

        Any number of tasks may do so. What comes first goes first.
        """
        data = m.encode(message)
        if m.decode_from_companion(data) is None:
            return  # what the engine says has no place in a message; the sender would mistrust it
        async with self._turn:
            while True:
                try:
                    self._far.send(data)
                except OSError as error:
                    await until_sendable(self._far, error)
                else:
                    return

    async def hear(self, node: Node) -> None:
        """Pass on what the sender says, until it ends."""
        while found := await receive(self._far, m.MAX_MESSAGE):
            for message in map(m.decode_from_sender, found):
                if message is not None:
                    await node.put(message)


async def work(settings: Settings, access: Access, host: str, far: socket.socket) -> None:
    """Be one node of the cluster until the sender ends. The process ends then.

    Args:
        settings: of the node.
        access: how the engine is reached.
        host: names this machine and its state.
        far: the companion's end of the pair, non-blocking.
    """
    trio.socket.set_custom_hostname_resolver(KnownNames(settings.addresses))
    sender = Pair(far)
    node = Node(settings.node, sender, settings.ttl, host=host)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.serve)
        nursery.start_soon(keep_connected, settings, access, node)
        await sender.hear(node)
        # Nothing is left that must end in order. coredis would wait for its engine first, and for
        # ever if the kernel refuses its calls.
        os._exit(os.EX_OK)


async def keep_connected(settings: Settings, access: Access, node: Node) -> None:
    """Connect a node to its engine as often as it must, until it is cancelled.

    Args:
        settings: of the node.
        access: how the engine is reached.
        node: the node.
    """
    while True:
        try:
            async with connect(access) as client:
                node.engine = Engine(client, settings.node, settings.ttl, settings.logins)
                node.failed = trio.Event()
                # A pool of coredis does not get back each connection that is lost: a new client
                # after each failure has all of them.
                await node.failed.wait()
                node.engine = None
        except Exception as error:  # whatever coredis meets when it connects
            node.engine = None
            node.fail(error)
        await trio.sleep(_RETRY)


def host_of(settings: Settings) -> str:
    """Name this machine since its boot, and its state. Call it before the lock: it reads a file.

    Args:
        settings: of the node.

    Returns:
        8 hexadecimal digits. Of two nodes with the same only one can live.
    """
    with open(_BOOT_ID, "rb") as file:
        boot = file.read(_LONGEST_ID)
    return blake2b(boot + os.fsencode(settings.state), digest_size=HOST // 2).hexdigest()


def access(settings: Settings) -> Access:
    """Return how the engine is reached. Call it before the lock: it may read tables of TLS.

    Args:
        settings: of the node.

    Raises:
        ConfigurationError: the certificates are none.
    """
    url = settings.url
    return Access(
        kind=url.kind.name.lower(),
        hosts=[(str(host), port) for host, port in url.hosts],
        path=url.path,
        service=url.service,
        database=url.database,
        user=url.user,
        password=settings.password,
        tls=None if settings.certificates is None else _context(settings.certificates),
    )


def _context(certificates: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=certificates)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"store.ca_file: {error.reason or error}", "name a file of certificates in PEM"
        ) from error
    return context

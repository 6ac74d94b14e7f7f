"""The connection to an engine, however it is reached."""

import logging
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio._backends._trio  # noqa: F401 - anyio would load it when it connects, as coredis the other
import coredis
import coredis.patterns.pipeline
from coredis.connection import TCPLocation
from coredis.retry import NoRetryPolicy

__all__ = ["Access", "connect"]

# What it would log is what it raises, and it would log without a limit.
logging.getLogger("coredis").disabled = True

_ANSWER: Final = 2.0  # seconds for an answer of the engine
_CONNECT: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How an engine is reached.

    Attributes:
        kind: "tcp", "unix", "sentinel" or "cluster".
        hosts: with their ports: the engine, or the sentinels, or some nodes of the cluster.
        path: of the Unix socket.
        service: the name that the sentinels know it by.
        database: its number.
        user: the name of an ACL; None: the engine's default user.
        password: None: it wants none.
        tls: checks its certificate; None: no TLS.
    """

    kind: str
    hosts: Sequence[tuple[str, int]] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    user: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None


@asynccontextmanager
async def connect(access: Access) -> AsyncIterator[Any]:
    """Yield a client of coredis, which connects when it must and as often as it must.

    A client of a Redis Cluster connects at once.

    Args:
        access: how the engine is reached.

    Raises:
        Exception: no node of the Redis Cluster can be reached, or whatever coredis meets.
    """
    # What the engine does not answer is not asked again: the node decides what becomes of it.
    common: dict[str, Any] = {
        "stream_timeout": _ANSWER,
        "connect_timeout": _CONNECT,
        "ssl_context": access.tls,
        "decode_responses": True,
        "retry_policy": NoRetryPolicy(),
    }
    login: dict[str, Any] = {"username": access.user, "password": access.password}
    locations = [TCPLocation(host, port) for host, port in access.hosts]
    if access.kind == "cluster":
        # Whether all slots have a node shows where they are needed; a look ahead asks for more
        # than the user of an ACL may be permitted.
        cluster: Any = coredis.RedisCluster(
            startup_nodes=locations, skip_full_coverage_check=True, **common, **login
        )
        async with cluster:
            yield cluster
    elif access.kind == "sentinel":
        async with _sentinel(access, locations, common, login) as primary:
            yield primary
    else:
        place: dict[str, Any] = (
            {"unix_socket_path": access.path}
            if access.kind == "unix"
            else {"host": locations[0].host, "port": locations[0].port}
        )
        client: Any = coredis.Redis(**place, db=access.database, **common, **login)
        async with client:
            yield client


@asynccontextmanager
async def _sentinel(
    access: Access,
    locations: Sequence[TCPLocation],
    common: Mapping[str, Any],
    login: Mapping[str, Any],
) -> AsyncIterator[Any]:
    asked = {key: common[key] for key in ("stream_timeout", "connect_timeout", "ssl_context")}
    sentinel: Any = coredis.Sentinel(
        locations, sentinel_kwargs=asked, **common, **login, db=access.database
    )
    async with sentinel, sentinel.primary_for(access.service) as primary:
        yield primary

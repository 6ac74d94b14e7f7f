"""Runs code in a process that a companion's own code has locked in."""

import signal
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.child import Ended, run
from harness.locked import _forget_the_tests
from sandbox.attacks.layers import NOBODY, ROOT
from sandbox.rules import Inside, numbers_in

from mailbell._sys.companion import keep_descriptors
from mailbell._sys.process import MAX_DATA, _data
from mailbell.sandbox.lock import Locked, Unprivileged
from mailbell.sender import cluster_node, cyrus_reader, resolver
from mailbell.sender._node_settings import Settings
from mailbell.sender._store_url import EngineUrl, Kind

__all__ = ["locked_cluster", "locked_cyrus_reader", "locked_resolver"]

IDENTITY: Final = NOBODY if ROOT else None
SPARE: Final = 900  # descriptors, for the sockets that probes make


def locked_resolver(
    function: Inside, *, port: int = 53, before: Callable[[], object] = int
) -> Ended:
    """Run a function in a process that is locked in as the resolver is.

    Args:
        function: what to run.
        port: of the name servers, which are 127.0.0.1 and 127.0.0.2.
        before: called before the process is locked in.
    """
    with tempfile.TemporaryDirectory(prefix="mailbell-") as directory:
        conf = Path(directory, "resolv.conf")
        conf.write_text("nameserver 127.0.0.1\nnameserver 127.0.0.2\n")
        hosts = str(Path(directory, "hosts"))  # there is none
        machine = resolver.Machine(resolv_conf=str(conf), hosts=hosts, port=port)
        return run(partial(_resolver, function, machine, before))


def _resolver(function: Inside, machine: resolver.Machine, before: Callable[[], object]) -> object:
    returned: list[object] = []
    proven = _begin(resolver, before)

    async def instead(_: Any) -> None:
        returned.append(function(numbers_in(proven[0].policy, "CONNECTED")))

    # It is this child's only.
    resolver._Resolver.serve = instead  # type: ignore[method-assign, assignment]
    resolver._SPARE_DESCRIPTORS = SPARE  # type: ignore[misc]
    resolver._run(IDENTITY, machine, _far())
    return returned[0]


def locked_cyrus_reader(function: Inside, *, before: Callable[[], object] = int) -> Ended:
    """Run a function in a process that is locked in as the reader of Cyrus's events is.

    Args:
        function: what to run.
        before: called before the process is locked in.
    """
    with tempfile.TemporaryDirectory(prefix="mailbell-") as directory:
        return run(partial(_cyrus_reader, function, Path(directory, "cyrus"), before))


def _cyrus_reader(function: Inside, path: Path, before: Callable[[], object]) -> object:
    returned: list[object] = []
    proven = _begin(cyrus_reader, before)

    def instead(_: Any) -> None:
        returned.append(function(numbers_in(proven[0].policy)))

    # It is this child's only.
    cyrus_reader._Reader.serve = instead  # type: ignore[method-assign, assignment]
    cyrus = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    cyrus.bind(str(path))
    _kept.append(cyrus)
    cyrus_reader._run(IDENTITY, cyrus, _far())
    return returned[0]


def locked_cluster(
    function: Inside,
    *,
    port: int = 6379,
    path: Path | None = None,
    before: Callable[[], object] = int,
) -> Ended:
    """Run a function in a process that is locked in as the companion for the cluster is.

    Args:
        function: what to run.
        port: of the engine.
        path: of the engine's Unix socket; None: it is reached by TCP.
        before: called before the process is locked in.
    """
    url = (
        EngineUrl(Kind.TCP, hosts=(("127.0.0.1", port),))
        if path is None
        else EngineUrl(Kind.UNIX, path=str(path))
    )
    if path is not None:
        path.parent.mkdir(exist_ok=True)
    settings = Settings(
        url=url, ports=frozenset(), password=None, certificates=None, addresses={}, node="a",
        state="/state", ttl=60.0, logins=4,
    )  # fmt: skip
    return run(partial(_cluster, function, settings, before))


def _cluster(function: Inside, settings: Settings, before: Callable[[], object]) -> object:
    returned: list[object] = []
    proven = _begin(cluster_node, before)

    async def instead(*_: Any) -> None:
        returned.append(function(numbers_in(proven[0].policy, "FAMILIES")))

    # It is this child's only. It begins with the memory of all tests that ran before.
    from mailbell.sender import _node_at_work

    _node_at_work.work = instead  # type: ignore[assignment]
    cluster_node._SPARE_DESCRIPTORS = SPARE  # type: ignore[misc]
    cluster_node._MOST_MEMORY = _data() + MAX_DATA // 2  # type: ignore[misc]
    cluster_node._run(IDENTITY, lambda: settings, _far())
    return returned[0]


def _begin(module: Any, before: Callable[[], object]) -> list[Locked]:
    """Make the process one that a companion could be; keep the proof of its lock."""
    _forget_the_tests()
    keep_descriptors(())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    before()
    proven: list[Locked] = []
    lock = module.lock

    def and_keep(unprivileged: Unprivileged) -> Locked:
        proven.append(lock(unprivileged))
        return proven[0]

    module.lock = and_keep
    return proven


# A locked reader may not close them, as would happen with their objects.
_kept: list[socket.socket] = []


def _far() -> socket.socket:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    _kept.extend((near, far))
    return far

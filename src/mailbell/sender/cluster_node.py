"""Shares the sender's work with other nodes through an engine, in a process of its own.

Only this process loads coredis, and only it speaks to the engine. It knows the engine's addresses
before its lock, opens no file and looks up no name afterwards, and reaches by TCP the ports of the
engine alone. It connects anew as often as it must.
"""

import resource
import socket
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio

from mailbell._sys.credentials import Identity
from mailbell._sys.unneeded import permit_again
from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.sandbox.lock import Unprivileged, lock
from mailbell.sender import _companion
from mailbell.sender._companion import Companion, confine, import_nothing_more, say_ready
from mailbell.sender._node_settings import Settings
from mailbell.sender._store_url import Kind

__all__ = ["PROGRAM", "start"]

PROGRAM: Final = "mailbell-cluster"
_SPARE_DESCRIPTORS: Final = 64  # connections, epoll, wake-up, the pair, standard streams
_MOST_MEMORY: Final = 256 << 20  # bytes: an engine's answer has no bound of its own


def start(identity: Identity | None, collect: Callable[[], Settings]) -> Companion:
    """Start the companion. Call it before the event loop and before the lock.

    Args:
        identity: the user of the sender; None: this process has no privilege to change its user.
        collect: returns how the engine is reached. Only the companion calls it, so only it has
            the password.

    Returns:
        The companion, for `ClusterClient`.

    Raises:
        MailbellError: it could not start.
    """
    return _companion.start(PROGRAM, partial(_run, identity, collect))


def _run(identity: Identity | None, collect: Callable[[], Settings], far: socket.socket) -> None:
    """Be the companion until the sender ends."""
    settings = collect()
    node_at_work = _load(settings)
    far.setblocking(False)
    unix = settings.url.kind is Kind.UNIX
    unprivileged = confine(
        PROGRAM,
        identity,
        open_files=_SPARE_DESCRIPTORS + far.fileno(),
        descriptors={"FAMILIES": (socket.AF_UNIX,) if unix else (socket.AF_INET, socket.AF_INET6)},
        connect_to=frozenset() if unix else settings.connect_to,
        connect_within=(settings.url.path.rpartition("/")[0] or "/",) if unix else (),
    )
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    trio.run(_serve, partial(node_at_work, far), unprivileged, far)


def _load(settings: Settings) -> Any:
    """Load what only this process needs, and what it would load later."""
    permit_again()
    try:
        from mailbell.sender import _node_at_work
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"store.url: the engine of a cluster needs {error.name}",
            "install mailbell with the extra: pip install 'mailbell[cluster]'",
        ) from error
    except ImportError as error:
        raise OperatingSystemError(
            f"what speaks to the engine of a cluster cannot be loaded: {error}",
            "see what the system lacks",
        ) from error
    # To show one Python would open the source, and coredis has some for what an engine says.
    warnings.simplefilter("ignore")
    "".encode("idna")  # the name of a host is written so, and Python loads how to
    access, host = _node_at_work.access(settings), _node_at_work.host_of(settings)
    return partial(_node_at_work.work, settings, access, host)


async def _serve(work: Any, unprivileged: Unprivileged, far: socket.socket) -> None:
    lock(unprivileged)
    import_nothing_more()
    say_ready(far)
    await work()

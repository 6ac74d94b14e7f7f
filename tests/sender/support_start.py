"""What the tests of the sender's start share: everything opened, without the companions."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness.ringer import settings

from mailbell.logs.journal import Journal
from mailbell.sender import cluster_node, cyrus_reader, resolver
from mailbell.sender._companion import Companion
from mailbell.sender.configuration import Configuration, parse
from mailbell.sender.prepare import Prepared, prepare

__all__ = ["NAMED", "Beside", "configured", "opened"]

NAMED = '[[account]]\nname = "anna"\ntargets = ["laptop.example.net"]\n'
"""An account that needs the resolver."""


class Beside:
    """Stands in for the companions.

    Attributes:
        started: with what each was started, in their order.
        pairs: the companions' ends.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: dict[str, tuple[Any, ...]] = {}
        self.pairs: dict[str, socket.socket] = {}
        for module, program in (
            (resolver, "resolver"),
            (cyrus_reader, "cyrus"),
            (cluster_node, "cluster"),
        ):
            monkeypatch.setattr(module, "start", partial(self._start, program))

    def _start(self, program: str, *given: object) -> Companion:
        near, self.pairs[program] = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.setblocking(False)
        self.pairs[program].setblocking(False)
        self.started[program] = given
        return Companion(program, len(self.started), near)


def configured(
    folder: Path, more: str = "", *, listen: str = "", in_cluster: bool = False
) -> Configuration:
    """Return a configuration that tests can use.

    Args:
        folder: as for `settings`.
        more: as for `settings`.
        listen: as for `settings`.
        in_cluster: whether it shares its work, as node `mx1`.
    """
    text = settings(folder, more, listen=listen)
    if in_cluster:
        engine = 'node = "mx1"\nurl = "redis://127.0.0.1"\nfile = '
        text = text.replace("[store]\nurl = ", f"[store]\n{engine}")
    return parse(text.encode())


@contextmanager
def opened(
    configuration: Configuration,
    environ: dict[str, str] | None = None,
    journal: Journal | None = None,
) -> Iterator[Prepared]:
    """Open everything, and close it at the end. A test replaces the companions before.

    Args:
        configuration: what is opened.
        environ: of the service manager.
        journal: the log.
    """
    quiet = Journal(lambda _: None, lambda: 0.0)
    prepared = prepare(configuration, {} if environ is None else environ, journal or quiet)
    sockets, notifier = prepared.sockets, prepared.notifier
    with ExitStack() as stack:
        for sock in (*sockets.hooks, sockets.control, *sockets.comsat, sockets.cyrus):
            if sock is not None:
                stack.callback(sock.close)
        for companion in prepared.companions:
            stack.callback(companion.pair.close)
        if notifier._sock is not None:
            stack.callback(notifier._sock.close)
        stack.callback(prepared.epoll.close)
        stack.callback(os.close, prepared.confinement.status_file)
        yield prepared
        if hasattr(prepared.keeper, "store"):
            prepared.keeper.store.close()

"""Helpers that the tests of the command line share."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from mailbell.core.notification import Cursor, Transport
from mailbell.core.outcome import Outcome
from mailbell.interfaces.listener import Account, Sandbox, Status, Table
from mailbell.listener._counters import Counters

_LISTENER = "org.mailbell.Listener."

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]


def words(program: str, *arguments: str) -> list[str]:
    """The command line of `mailbell` or `mailbelld` in this interpreter."""
    door = "mailbell.cli" if program == "mailbell" else f"mailbell.cli.{program}"
    return [sys.executable, "-c", f"from {door} import main; main()", *arguments]


def a_status() -> Status:
    counters = Counters()
    counters.outcomes[Transport.TCP][Outcome.ACCEPTED] += 1
    counters.outcomes[Transport.UDP][Outcome.MISMATCH] += 1
    return Status(
        version="1.2.3",
        pid=4711,
        cursor=Cursor("e", 1),
        started=1_700_000_000_000_000,
        uptime=93_784_000_000,
        listening=("tcp 127.0.0.1:79", "udp [::1]:79"),
        outcomes=counters.snapshot_outcomes(),
        refused_by_total=0,
        leaked=0,
        kernel_dropped=5,
        wakeups=1,
        accounts=(
            Account(name="work", count=1, time=1_700_000_000_000_000, age=93_784_000_000),
            Account(name="private", count=0, time=None),
        ),
        accounts_total=2,
        connections=0,
        connections_limit=256,
        subscribers=0,
        subscribers_limit=64,
        tables=(Table(name="tcp/ipv4/32", entries=1, capacity=8192, evicted=3),),
        local=counters.snapshot_local() | {"garbage": 2},
        log_suppressed=0,
        sandbox=Sandbox(
            uid=65534,
            gid=65534,
            groups=(),
            capabilities="0" * 16,
            no_new_privs=True,
            seccomp=2,
            threads=1,
            permitted_calls=43,
            landlock_abi=10,
            landlock_used=10,
            landlock_uncovered=("other protocols than TCP and UDP",),
        ),
    )


def a_notification(**changes: Any) -> dict[str, Any]:
    return {
        "account": "work",
        "cause": "network",
        "count": 1,
        "transport": "tcp",
        "source": "192.0.2.25",
        "time": 1_700_000_000_999_999,
    } | changes


class FakeDaemon:
    """Speaks Varlink from a script, without any code of mailbell.

    Attributes:
        scripts: the notifications for each coming subscription. After a script the
            connection ends if another script is left. The last one stays open.
        status: the answer to GetStatus.
        calls: the method and the parameters of every call.
        subscribed: set when a subscription has got its script.
    """

    def __init__(self, path: str) -> None:
        self.scripts: list[list[dict[str, Any]]] = [[]]
        self.status: dict[str, Any] = msgspec.to_builtins(a_status())
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.subscribed = threading.Event()
        self._epoch = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in self._connections:
            connection.close()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        """Answer one call. A subscription stays open unless more scripts follow."""
        data = b""
        while not data.endswith(b"\0"):
            if not (more := connection.recv(4096)):
                return
            data += more
        call = json.loads(data[:-1])
        method, given = call["method"].removeprefix(_LISTENER), call.get("parameters") or {}
        self.calls.append((method, given))
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has what it wants
            for reply in getattr(self, f"_{method}")(given):
                connection.sendall(json.dumps(reply).encode() + b"\0")
        if method == "Subscribe":
            self.subscribed.set()
            if self.scripts:
                connection.shutdown(socket.SHUT_RDWR)

    def _cursor(self, sequence: int) -> dict[str, Any]:
        return {"epoch": f"run{self._epoch}", "sequence": sequence}

    def _GetStatus(self, _: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: N802 (the method's name)
        return [{"parameters": {"status": self.status}}]

    def _Notify(self, given: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: N802 (the method's name)
        if given["account"] not in {"work", "default"}:
            return [{"error": _LISTENER + "UnknownAccount", "parameters": given}]
        return [{"parameters": {"cursor": self._cursor(1)}}]

    def _Subscribe(self, given: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: N802 (the method's name)
        self._epoch += 1
        missed = given.get("after") is not None
        resync = a_notification(cause="resync", count=0, transport=None, source=None)
        replies = [(0, resync if missed else None), *enumerate(self.scripts.pop(0), 1)]
        return [
            {
                "parameters": {"cursor": self._cursor(sequence), "notification": notification},
                "continues": True,
            }
            for sequence, notification in replies
        ]

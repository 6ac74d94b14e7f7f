"""mailbell-sender, with hooks that tell of mail and machines that are rung."""

import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.activation import listening
from harness.ports import free_port
from harness.sending import sender_configuration, state_folder

from torture.faults.follower import ask, call
from torture.faults.house import House
from torture.faults.life import Door
from torture.faults.machines import Datagrams, address_of, machines

__all__ = ["ANNA", "BERT", "WHILE", "Sender"]

SEND: Final = """
[send]
interval = "100ms"
rate = "100000/s"
backoff = "1s..1s"
deadline = "500ms"
[last_used]
allow = ["127.0.0.0/8"]
"""
_METHOD: Final = "org.mailbell.Sender."
_SHORT: Final = 0.2
_EVERY: Final = 4
_MANY: Final = 240  # connections of hooks at once
_PART: Final = 12_000  # bytes of an event that is on its way
_KEPT, WHILE, ANNA, BERT, _ULLA = range(5)  # the accounts


class Sender(House):
    """See `House`. A service manager holds the socket of the hooks.

    Args:
        folder: for its files.
        holds: whether the socket is held; else the sender binds its own at each start.
        command: what the interpreter runs instead of the sender: for tests.
    """

    program = "mailbell-sender"

    def __init__(self, folder: Path, *, holds: bool = True, command: tuple[str, ...] = ()) -> None:
        super().__init__(folder)
        self._command = command
        self._stack = ExitStack()
        self._rung = self._stack.enter_context(machines())
        self._datagrams = Datagrams(address_of(_ULLA))
        self._stack.callback(self._datagrams.close)
        self._hook, self._control = folder / "hook", folder / "control"
        self._comsat = ("127.0.0.1", free_port())
        self._held = self._holding() if holds else ()
        self._owed: dict[int, float] = {}
        self._watching: socket.socket | None = None
        state_folder(folder)
        self._file = folder / "mailbell-sender.toml"
        self._file.write_text(
            sender_configuration(
                folder, SEND + self._accounts(), listen=self._listen(), store=self._store()
            )
        )

    def _holding(self) -> tuple[tuple[str, socket.socket], ...]:
        hook = listening(socket.AF_UNIX, socket.SOCK_STREAM, str(self._hook))
        self._hook.chmod(0o666)
        return (("hook", self._stack.enter_context(hook)),)

    def _listen(self) -> str:
        host, port = self._comsat
        return f'comsat = ["{host}:{port}"]'

    def _store(self) -> str:
        """Return further keys of [store]."""
        return ""

    def _accounts(self) -> str:
        """Return the accounts of the configuration."""
        found = [
            f'[[account]]\nname = "user{n}"\ntargets = ["{address_of(n)}:{self._rung.port}"]\n'
            for n in (_KEPT, WHILE, ANNA, BERT)
        ]
        udp = f"{address_of(_ULLA)}:{self._datagrams.port}"
        found.append(f'[[account]]\nname = "user{_ULLA}"\ntransport = "udp"\ntargets = ["{udp}"]\n')
        return "".join(found)

    def door(self) -> Door:
        """See `House.door`."""
        return Door("mailbell-sender", self._file, self._held, command=self._command)

    def close(self) -> None:
        """See `House.close`."""
        self._watch_no_more()
        self._stack.close()

    def owe(self) -> str:
        """See `House.owe`.

        The second notification waits for the interval of its target, while calls fail already.
        """
        self._owed.clear()
        for _ in range(2):
            if not self.until(lambda: self._accepts(_KEPT)):
                return "the sender does not accept a notification"
        return ""

    def exercise(self, number: int) -> None:
        """See `House.exercise`."""
        if not number % _EVERY and not self.life.supervisor.injected:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGHUP)
        self._watch()
        self._tell(f"new user{ANNA}\nseen user{ANNA} {address_of(100 + number)}\n")
        self._tell(f"new user{_ULLA}\n")
        self._biff(BERT)
        self._accepts(WHILE)
        self._status()

    def grow(self) -> None:
        """See `House.grow`."""
        hooks = []
        with suppress(OSError):
            for _ in range(_MANY):
                hooks.append(self._connected())
                hooks[-1].sendall(b"{" + b" " * _PART)
        self._status()
        for sock in hooks:
            sock.close()

    def lacks(self) -> str:
        """See `House.lacks`."""
        began = time.monotonic()
        self._tell(f"new user{ANNA}\n")
        self._biff(BERT)
        for number, way in ((ANNA, "a hook"), (BERT, "biff")):
            if not self.until(partial(self._was_rung, number, began)):
                return f"what {way} says is not rung"
        self._datagrams.was_rung()
        self._tell(f"new user{_ULLA}\n")
        if not self.until(self._datagrams.was_rung):
            return "no datagram is sent"
        return "" if self.until(self._status) else "the status is not told"

    def lost(self) -> str:
        """See `House.lost`."""
        for number, when in self._owed.items():
            if not self.until(partial(self._was_rung, number, when)):
                return f"user{number} was accepted and is not rung"
        return ""

    def _was_rung(self, number: int, since: float) -> bool:
        return self._rung.last.get(address_of(number), 0.0) >= since

    def _accepts(self, number: int) -> bool:
        """Say that mail has come, and note it if the sender says that it has accepted it."""
        began = time.monotonic()
        if ask(self._control, _METHOD + "Ring", account=f"user{number}") is None:
            return False
        self._owed[number] = began
        return True

    def _tell(self, lines: str) -> None:
        with suppress(OSError), self._connected() as sock:
            sock.sendall(lines.encode())

    def _connected(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(_SHORT)
        try:
            sock.connect(str(self._hook))
        except OSError:
            sock.close()
            raise
        return sock

    def _biff(self, number: int) -> None:
        with suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(f"user{number}@1\n".encode(), self._comsat)

    def _watch(self) -> None:
        """Be a program that watches all rings, and that connects again."""
        try:
            if self._watching is None:
                message = {"method": _METHOD + "Watch", "parameters": {}, "more": True}
                self._watching = call(self._control, message)
                self._watching.setblocking(False)
            while self._watching.recv(65_536):
                continue
            self._watch_no_more()
        except BlockingIOError:
            return
        except OSError:
            self._watch_no_more()

    def _watch_no_more(self) -> None:
        if self._watching is not None:
            self._watching.close()
            self._watching = None

    def _status(self) -> dict[str, Any] | None:
        reply = ask(self._control, _METHOD + "GetStatus")
        return None if reply is None else reply["status"]

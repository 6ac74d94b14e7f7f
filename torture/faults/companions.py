"""The companions of mailbell-sender: their calls fail, and those of the sender do not."""

import json
import os
import select
import shutil
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from harness.engine import EngineServer

from torture.faults.follower import ask
from torture.faults.life import LOOK, Door, Life, wait_for
from torture.faults.machines import Names, address_of
from torture.faults.sender import ANNA, BERT, WHILE, Sender

__all__ = ["ClusterNode", "CyrusReader", "Resolver"]

_SHORT: Final = 0.2  # seconds until Cyrus gives up
_MANY: Final = 240  # datagrams while the sender is stopped
_NAMES: Final = 40  # that are looked up at once
_HANG_UP: Final = 6  # rounds from one end of all connections to the engine to the next
_AGAIN: Final = 2.5  # seconds: the companion connects again after one


class _Companion(Sender):
    """A companion of the sender: its calls fail, and those of the sender do not."""

    _found = 0

    @property
    def pid(self) -> int:
        """See `House.pid`."""
        return self._found

    def begin(self, *args: Any, **more: Any) -> Life:
        """See `House.begin`."""
        life = super().begin(*args, **more)
        self._found = 0
        return life

    def owe(self) -> str:
        """See `House.owe`."""
        if not self._found and not wait_for(self._find):
            return "the sender does not name its companion"
        return super().owe()

    def _find(self) -> int:
        status = self._status()
        self._found = 0 if status is None else status["companions"].get(self.program, 0)
        return self._found


class CyrusReader(_Companion):
    """The reader of the datagrams of Cyrus IMAP. If it ends, the sender ends too."""

    program = "mailbell-cyrus"

    def _listen(self) -> str:
        return f'{super()._listen()}\ncyrus = "{self.folder}/cyrus"'

    def exercise(self, number: int) -> None:
        """See `House.exercise`."""
        self._deliver(BERT if number % 2 else ANNA)
        self._accepts(WHILE)

    def grow(self) -> None:
        """See `House.grow`. While the sender is stopped, the reader keeps what comes."""
        os.kill(self.life.pid, signal.SIGSTOP)
        try:
            for _ in range(_MANY):
                self._deliver(ANNA)
        finally:
            os.kill(self.life.pid, signal.SIGCONT)

    def lacks(self) -> str:
        """See `House.lacks`."""
        began = time.monotonic()
        self._deliver(ANNA)
        if not self.until(lambda: self._was_rung(ANNA, began)):
            return "what Cyrus says is not rung"
        return super().lacks()

    def _deliver(self, number: int) -> None:
        user = f"user{number}"
        event = {"event": "MessageNew", "user": user, "uri": f"imap://vm/user.{user}"}
        data = b"mailbell\0EVENT\0\0\0\x000\0" + json.dumps(event).encode() + b"\0"
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_SHORT)
            sock.connect(f"{self.folder}/cyrus")
            sock.send(data)


class _Spare(_Companion):
    """A companion without which the sender goes on."""

    def has_ended(self) -> bool:
        """See `House.has_ended`: the companion has ended, or the sender."""
        return super().has_ended() or bool(self.goes_on_without())

    def goes_on_without(self) -> str:
        """See `House.goes_on_without`: the sender cannot start another one."""
        if super().has_ended():
            return ""
        said = (line for line in self.life.lines() if line.startswith("event=companion_ended "))
        return next(said, "")


class Resolver(_Spare):
    """The process that looks up names. The sender keeps answers, so each name is used once."""

    program = "mailbell-resolver"
    NAMES: Final = 1000
    """Names that one life may use. A new life rings those that the last ones did not find."""
    ENOUGH: Final = 600
    """Names that one fault may use: twelve rounds of `exercise` and `grow`."""
    BLOCKS: Final = 6
    _FIRST: Final = 1_000

    def __init__(self, folder: Path, *, holds: bool = True, command: tuple[str, ...] = ()) -> None:
        super().__init__(folder, holds=holds, command=command)
        own = os.getpid()
        host = f"127.53.{own >> 8 & 255}.{own & 255}"
        self._stack.enter_context(Names(host))
        self._block = 0
        self._next = self._FIRST
        self._conf = folder / "resolv.conf"
        self._conf.write_text(f"nameserver {host}\n")

    def _accounts(self) -> str:
        named = "".join(
            f'[[account]]\nname = "user{n}"\ntargets = ["{n}.test:{self._rung.port}"]\n'
            for n in range(self._FIRST, self._FIRST + self.BLOCKS * self.NAMES)
        )
        return super()._accounts() + named

    def door(self) -> Door:
        """See `House.door`."""
        mount = f'mount --bind {self._conf} /etc/resolv.conf && exec "$@"'
        view = (str(shutil.which("unshare")), "--mount", "sh", "-c", mount, "sh")
        return Door("mailbell-sender", self._file, self._held, view=view, command=self._command)

    def begin(self, *args: Any, **more: Any) -> Life:
        """See `House.begin`."""
        self._block = (self._block + 1) % self.BLOCKS
        self._next = self._FIRST + self._block * self.NAMES
        return super().begin(*args, **more)

    def owe(self) -> str:
        """See `House.owe`."""
        if self._next > self._FIRST + (self._block + 1) * self.NAMES - self.ENOUGH:
            life = self.begin()
            if not life.until_ready_or_ended() or life.has_ended():
                return f"it does not start: {life.lines()[-1:]}"
        return super().owe()

    def exercise(self, number: int) -> None:
        """See `House.exercise`."""
        for _ in range(1 + number % 2):
            self._accepts(self._name())

    def grow(self) -> None:
        """See `House.grow`."""
        self._tell("".join(f"new user{self._name()}\n" for _ in range(_NAMES)))

    def lacks(self) -> str:
        """See `House.lacks`."""
        for way, is_odd in (("UDP", False), ("TCP", True)):
            self._next += self._next % 2 != is_odd
            number, began = self._name(), time.monotonic()
            self._tell(f"new user{number}\n")
            if not self.until(partial(self._was_rung, number, began)):
                return f"a name is not found, by {way}"
        return super().lacks()

    def lost(self) -> str:
        """See `House.lost`.

        The sender keeps for a while that a name was not found. So a ring may still be owed then.
        """
        return "" if self.until(self._is_rung_or_owed) else super().lost()

    def _is_rung_or_owed(self) -> bool:
        unrung = [n for n, when in self._owed.items() if not self._was_rung(n, when)]
        status = self._status()
        return status is not None and (
            status["pending"] >= len(unrung) and all(map(self._is_tried_again, unrung))
        )

    def _is_tried_again(self, number: int) -> bool:
        told = ask(self._control, "org.mailbell.Sender.Explain", account=f"user{number}")
        return told is not None and told["steps"][0]["verdict"] == "backing_off"

    def _name(self) -> int:
        self._next += 1
        return self._next - 1


class ClusterNode(_Spare):
    """The process that speaks to the engine of a cluster: Redis or Valkey."""

    program = "mailbell-cluster"
    needs = ("redis-server",)

    def _store(self) -> str:
        """Start the engine; it is for this sender alone."""
        server = EngineServer(self.folder)
        self._stack.callback(server.kill)
        server.start()
        self._engine = server
        return f'url = "{server.url}"'

    def owe(self) -> str:
        """See `House.owe`."""
        return super().owe() if self.until(self._shares) else "the engine is not used"

    def exercise(self, number: int) -> None:
        """See `House.exercise`. Now and then the engine hangs up."""
        self._tell(f"new user{ANNA}\nseen user{ANNA} {address_of(100 + number)}\n")
        self._accepts(WHILE)
        if number % _HANG_UP == 1:
            self._connect_again()

    def _connect_again(self) -> None:
        """Have the engine hang up; wait until the companion connects, or a call of it fails."""
        supervisor = self.life.supervisor
        before, end = supervisor.made[self.pid, "connect"], time.monotonic() + _AGAIN
        with suppress(OSError):
            self._engine.ask("CLIENT", "KILL", "TYPE", "normal")
        while (
            supervisor.made[self.pid, "connect"] == before
            and not supervisor.injected
            and time.monotonic() < end
        ):
            select.select([], [], [], LOOK)

    def grow(self) -> None:
        """See `House.grow`."""
        self._tell("".join(f"seen user{n} {address_of(n)}\n" for n in range(_MANY)))

    def lacks(self) -> str:
        """See `House.lacks`."""
        if not self.until(self._shares):
            return "the engine is not used"
        return super().lacks()

    def _shares(self) -> bool:
        status = self._status()
        return status is not None and status["cluster"]["failing"] is None

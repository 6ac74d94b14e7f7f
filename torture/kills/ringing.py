"""Tells of new mail in each way that there is, and notes who is owed a look for it."""

import socket
import subprocess
import time
from contextlib import suppress
from typing import Final

from harness.sender import LINE, PATIENCE

from torture.kills.ledger import Ledger
from torture.kills.plan import HookKill, Way
from torture.kills.programs import UNKNOWN, Place, address_of
from torture.kills.traced_hook import Life, Moment, hook_words, live

__all__ = ["Mail"]

_NOBODY: Final = "nobody-knows-this-account"


class Mail:
    """Mail that comes.

    Args:
        place: where the programs meet.
        ledger: where it is noted who is owed a look.
    """

    def __init__(self, place: Place, ledger: Ledger) -> None:
        self._place = place
        self._ledger = ledger
        self._whole: Life | None = None

    def come(self, way: Way, account: str) -> None:
        """Tell of mail. If that fails, nobody is owed anything.

        Args:
            way: how.
            account: whose mail.
        """
        since = time.time_ns()
        if _tell[way](self._place, account):
            self._ledger.owe(account, since, way)

    def come_and_be_killed(self, kill: HookKill) -> Life:
        """Start a hook, and kill it. If it had written its line, its account is owed a look.

        Args:
            kill: when.

        Returns:
            What it had done. It may have ended before the moment came.
        """
        if self._whole is None:
            self._whole = live(self._place.hook, _NOBODY, None)
        span = self._whole.stops - (self._whole.first_socket if kill.is_late else 0)
        since = time.time_ns()
        life = live(self._place.hook, kill.account, Moment(int(kill.share * span), kill.is_late))
        if life.sent:
            self._ledger.owe(kill.account, since, "a hook that was killed later")
        return life

    def load(self) -> None:
        """Tell of mail of an account that neither the sender nor the listener knows."""
        _tell_by_line(self._place, _NOBODY)
        _ring((UNKNOWN, self._place.port))


def _tell_by_line(place: Place, account: str) -> bool:
    # The sender may end between the two calls. Then mailbell-hook says it once more too.
    return _say(place, account) or _say(place, account)


def _say(place: Place, account: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock, suppress(OSError):
        sock.setblocking(False)  # as mailbell-hook: it never waits
        sock.connect(str(place.hook))
        sock.send(f"new {account}\n".encode())
        return True
    return False


def _tell_by_hook(place: Place, account: str) -> bool:
    done = subprocess.run(
        hook_words(place.hook, account), check=False, stdin=subprocess.DEVNULL, timeout=PATIENCE
    )
    return done.returncode == 0


def _tell_directly(place: Place, account: str) -> bool:
    return _ring((address_of(account), place.port))


def _ring(endpoint: tuple[str, int]) -> bool:
    """Ring a listener as a mail server does; return whether its kernel has the line."""
    with socket.socket(socket.AF_INET) as sock, suppress(OSError):
        sock.settimeout(PATIENCE)
        sock.connect(endpoint)
        sock.sendall(LINE)
        return True
    return False


_tell: Final = {
    Way.LINE: _tell_by_line,
    Way.HOOK: _tell_by_hook,
    Way.DIRECT: _tell_directly,
}

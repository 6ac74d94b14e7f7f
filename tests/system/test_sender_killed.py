"""mailbell-sender is killed again and again, while hooks come: nobody goes without a ring.

A service manager holds the socket of the hooks meanwhile, as mailbell-sender-hook.socket does.
A sender that is killed may have read lines that it had not sent. So the next one rings all.
"""

import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from harness.activation import passing
from harness.daemon import PATIENCE, until
from harness.rung import Rung, hook_socket, user_name
from harness.sending import Sender, sender_configuration, sending

pytestmark = pytest.mark.unwatched(reason="a killed daemon does nothing that another does not do")

# `.ci/run killed` has 100, for each of two senders at the same time.
ROUNDS: Final = int(os.environ.get("MAILBELL_ROUNDS", "2"))
RATE: Final = 200.0  # hooks a second
ACCOUNTS: Final = 40


class Hooks(threading.Thread):
    """Says again and again that mail has arrived, and notes when each line was taken."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.taken: dict[int, float] = {}
        self.lost: list[str] = []
        self.end = threading.Event()
        self._path = str(path)

    def run(self) -> None:
        number = 0
        while not self.end.wait(1 / RATE):
            account = number % ACCOUNTS
            number += 1
            before = time.monotonic()
            try:
                try:
                    self._say(account)
                except (BrokenPipeError, ConnectionResetError):
                    self._say(account)
            except OSError as error:
                self.lost.append(repr(error))
            else:
                self.taken[account] = before

    def _say(self, account: int) -> None:
        """Do as mailbell-hook does: it never waits, and tries once more if the sender ends."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            sock.connect(self._path)
            sock.send(b"new user%d\n" % account)


def address_of(account: int) -> str:
    return f"127.9.0.{account + 1}"


def toml(directory: Path, port: int) -> str:
    accounts = "".join(
        f'[[account]]\nname = "user{n}"\ntargets = ["{address_of(n)}:{port}"]\n'
        for n in range(ACCOUNTS)
    )
    uid = os.getuid()
    return sender_configuration(
        directory,
        '[send]\ninterval = "100ms"\nrate = "100000/s"\nbackoff = "1s..2s"\n' + accounts,
        listen="" if uid == 0 else f'trusted = ["{user_name(uid)}"]',
    )


@contextmanager
def one_life(directory: Path, text: str, held: socket.socket) -> Iterator[Sender]:
    command, descriptors = passing({"hook": [held]})
    with sending(directory, text, command=command, descriptors=descriptors) as sender:
        yield sender


@pytest.mark.parametrize("which", ["one", "another"])
def test_no_hook_is_lost_however_often_it_is_killed(which: str, open_path: Path) -> None:
    del which
    seed = random.randrange(1 << 32)
    print(f"seed {seed}, {ROUNDS} rounds")
    moments = random.Random(seed)
    with Rung() as rung, hook_socket(open_path) as held:
        text = toml(open_path, rung.port)
        hooks = Hooks(open_path / "hook")
        hooks.start()
        try:
            for _ in range(ROUNDS):
                with one_life(open_path, text, held) as sender:
                    hooks.end.wait(moments.uniform(0, 0.3))
                    sender.kill()
            with one_life(open_path, text, held):
                hooks.end.set()
                hooks.join(PATIENCE)
                assert hooks.lost == []
                assert len(hooks.taken) == ACCOUNTS
                until(lambda: not unrung(rung, hooks), f"a ring for {unrung(rung, hooks)}")
        finally:
            hooks.end.set()
            hooks.join(PATIENCE)


def unrung(rung: Rung, hooks: Hooks) -> list[int]:
    """Return the accounts that were not rung after their last hook."""
    return [n for n, when in hooks.taken.items() if rung.last.get(address_of(n), 0.0) < when]

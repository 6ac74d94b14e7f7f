"""The real mailbell-sender in its own process: unmodified, locked in, as operators run it."""

import json
import os
import pwd
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from harness.daemon import PATIENCE, Running, launched, until
from harness.sending import say_all
from harness.watch import watched

__all__ = ["Ringer", "ringing", "settings"]

SENDER: Final = "org.mailbell.Sender."


def settings(directory: Path, more: str = "", *, listen: str = "", port: int = 79) -> str:
    """Return a configuration that tests can use: TOML.

    Args:
        directory: for its sockets and its address book.
        more: further tables.
        listen: further lines of `[listen]`. Without `trusted`, it is the user of the tests.
        port: of all targets that name none.
    """
    if "trusted" not in listen:
        listen += f'\ntrusted = ["{pwd.getpwuid(os.geteuid()).pw_name}"]'
    return f"""
[listen]
hook = "{directory}/hook"
control = "{directory}/control"
user = "nobody"
group = ""
{listen}
[store]
url = "sqlite://{_private(directory)}/state.db"
[send]
port = {port}
interval = "10ms"
{more}
"""


def _private(directory: Path) -> Path:
    """Make the folder of the address book, which belongs to the sender's user."""
    folder = directory / "book"
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


class Ringer(Running):
    """A mailbell-sender that has said that it is ready. `path` is the folder of its sockets."""

    def say(self, *lines: str) -> None:
        """Say something on the hook's socket, as a hook does, and wait until it is read."""
        with self.connected() as hook:
            say_all(hook, *lines)

    def connected(self) -> socket.socket:
        """Return a connection to the hook's socket."""
        hook = socket.socket(socket.AF_UNIX)
        hook.settimeout(PATIENCE)
        hook.connect(str(self.path / "hook"))
        return hook

    def ask(self, method: str, **parameters: object) -> Any:
        """Call a method on the control socket; return the reply, or the name of the error."""
        call = {"method": SENDER + method, "parameters": parameters}
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self.path / "control"))
            sock.sendall(json.dumps(call).encode() + b"\0")
            held = b""
            while not held.endswith(b"\0"):
                chunk = sock.recv(65536)
                assert chunk, f"it hung up: {self.lines()}"
                held += chunk
        reply = json.loads(held[:-1])
        return reply.get("error") or reply["parameters"]

    def status(self) -> dict[str, Any]:
        """Return the status."""
        status: dict[str, Any] = self.ask("GetStatus")["status"]
        return status

    def inputs(self) -> dict[str, int]:
        """Return how many inputs ended how, without the zeroes."""
        return {name: count for name, count in self.status()["inputs"].items() if count}

    def rings(self) -> dict[str, int]:
        """Return how many rings ended how, without the zeroes."""
        return {name: count for name, count in self.status()["rings"].items() if count}

    def until_rung(self, count: int = 1) -> None:
        until(lambda: self.rings().get("sent", 0) >= count, f"{count} rings")

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)


@contextmanager
def ringing(
    directory: Path,
    toml: str | None = None,
    *,
    command: Sequence[str] = (),
    environ: dict[str, str] | None = None,
    descriptors: Sequence[int] = (),
    program: Sequence[str] = (),
) -> Iterator[Ringer]:
    """Run a mailbell-sender until the end of the block.

    Args:
        directory: for its files; not used by another sender at the time.
        toml: its configuration; without accounts by default.
        command: as for `harness.daemon.started`.
        environ: as for `harness.daemon.started`.
        descriptors: as for `harness.daemon.started`.
        program: as for `harness.daemon.started`.
    """
    file = directory / "mailbell-sender.toml"
    file.write_text(settings(directory) if toml is None else toml)
    running = launched(
        watched("mailbell-sender"), file,
        command=command, environ=environ, descriptors=descriptors, program=program,
    )  # fmt: skip
    with running as (process, notify):
        yield Ringer(process, directory, notify)

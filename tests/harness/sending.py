"""The real mailbell-sender in its own process: unmodified, locked in, as an operator runs it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, until
from harness.ordinary import NOBODY

from mailbell.sender_client import Client, Status

__all__ = [
    "DOOR", "HOOK", "Sender", "say_all", "sender_configuration", "sending", "state_folder",
]  # fmt: skip

DOOR: Final = ("-m", "mailbell.cli.mailbell_sender")
HOOK: Final = (str(Path(sys.executable).with_name("mailbell-hook")),)
"""The installed command."""


def sender_configuration(
    directory: Path, more: str = "", *, listen: str = "", group: str = "", store: str = ""
) -> str:
    """Return a configuration with all its files in a folder: TOML.

    Args:
        directory: for the sockets; the state is in a folder in it.
        more: further tables.
        listen: further keys of [listen].
        group: the group of the sockets; "": the sender's own.
        store: further keys of [store], with the URL of an engine.
    """
    kept = f"sqlite://{directory}/state/state.db"
    return f"""
[listen]
hook = "{directory}/hook"
control = "{directory}/control"
user = "nobody"
group = "{group}"
{listen}
[store]
{"file" if store else "url"} = "{kept}"
{store}
{more}
"""


def state_folder(directory: Path) -> Path:
    """Make the folder of the state, as the user that mailbell-sender becomes."""
    folder = directory / "state"
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    return folder


def say_all(hook: socket.socket, *lines: str) -> None:
    """Say lines to a sender, and wait until it has read them and closes.

    Lines of two connections have no order: whoever needs one waits before the second.

    Args:
        hook: connected to the socket of the hooks.
        lines: each without its end.
    """
    hook.sendall("".join(f"{line}\n" for line in lines).encode())
    hook.shutdown(socket.SHUT_WR)
    with suppress(ConnectionResetError):  # it has closed with bytes unread
        assert hook.recv(1) == b""


@dataclass
class Sender:
    """A mailbell-sender that has said that it is ready."""

    process: "subprocess.Popen[bytes]"
    directory: Path
    notify: socket.socket
    log: Path
    outcomes: dict[str, int] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def hook(self) -> Path:
        return self.directory / "hook"

    @property
    def control(self) -> Path:
        return self.directory / "control"

    def client(self) -> Client:
        # Root's tests start it as the user nobody, who is not the one who asks.
        return Client(str(self.control), daemon_user=str(NOBODY))

    def status(self) -> Status:
        with self.client() as client:
            return client.status()

    def say(self, *lines: str) -> None:
        """Say lines to the socket of the hooks, as any script may, and wait until it has them."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self.hook))
            say_all(sock, *lines)

    def lines(self) -> list[str]:
        """Return the log so far."""
        return self.log.read_text().splitlines()

    def until_logged(self, text: str, count: int = 1) -> None:
        until(lambda: sum(text in line for line in self.lines()) >= count, f"log line {text!r}")

    def kill(self) -> None:
        """End it at once, and its companions with it."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> int:
        """End it in order; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def sending(
    directory: Path,
    toml: str | None = None,
    *,
    command: Sequence[str] = (),
    environ: dict[str, str] | None = None,
    descriptors: Sequence[int] = (),
    program: Sequence[str] = DOOR,
) -> Iterator[Sender]:
    """Run a mailbell-sender until the end of the block.

    Args:
        directory: for its files; not used by another sender at the time.
        toml: its configuration; no accounts by default.
        command: what to run it through, as in `nsenter ...`.
        environ: added to its environment.
        descriptors: passed on to it.
        program: what the interpreter runs instead.
    """
    state_folder(directory)
    file = directory / "sender.toml"
    file.write_text(sender_configuration(directory) if toml is None else toml)
    notify_path = directory / "sender-notify"
    notify_path.unlink(missing_ok=True)
    log = directory / "sender.log"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
        log.open("ab") as stderr,
    ):
        notify.bind(str(notify_path))
        notify_path.chmod(0o666)  # the sender may run as another user
        process = subprocess.Popen(
            [*command, sys.executable, *program, "--config", str(file)],
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "NOTIFY_SOCKET": str(notify_path), **(environ or {})},
            pass_fds=tuple(descriptors),
        )
        sender = Sender(process, directory, notify, log)
        try:
            _await_ready(sender)
            yield sender
        finally:
            sender.stop()


def _await_ready(sender: Sender) -> None:
    sender.notify.setblocking(False)

    def ready() -> bool:
        if sender.process.poll() is not None:
            pytest.fail(f"mailbell-sender ended: {sender.lines()}")
        try:
            return b"READY=1" in sender.notify.recv(4096)
        except BlockingIOError:
            return False

    until(ready, "the start of mailbell-sender")

"""What the tests of the whole daemon share."""

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from harness import child
from harness.daemon import Daemon, until
from harness.sender import PATIENCE, unread

__all__ = [
    "GENEROUS",
    "LISTENER",
    "Local",
    "cpu_ticks",
    "limit_descriptors",
    "loopback",
    "program",
    "rss",
    "switches",
]

LISTENER: Final = "org.mailbell.Listener."

# No source is refused because it notifies often: for tests of what happens after that check.
GENEROUS: Final = """
[limits]
rate = "1000000/s"
burst = 1000000
total_rate = "1000000/s"
"""


class Local:
    """A client of the local socket that can also send what no Varlink client sends."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        # Without a time-out: with one it would fail while the queue is full.
        self.socket.connect(str(path))
        self.socket.settimeout(PATIENCE)
        self._held = b""

    def __enter__(self) -> "Local":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def call(self, method: str, parameters: object = None, **more: object) -> None:
        call = {"method": LISTENER + method, "parameters": parameters or {}, **more}
        self.socket.sendall(json.dumps(call).encode() + b"\0")

    def reply(self) -> Any:
        """The parameters of the next reply, or the name of the error."""
        while b"\0" not in self._held:
            chunk = self.socket.recv(65536)
            assert chunk, "the daemon hung up"
            self._held += chunk
        message, _, self._held = self._held.partition(b"\0")
        reply = json.loads(message)
        return reply.get("error") or reply["parameters"]

    def ask(self, method: str, parameters: object = None) -> Any:
        self.call(method, parameters)
        return self.reply()

    def subscribe(self) -> dict[str, Any]:
        """Subscribe to everything; return the first reply."""
        self.call("Subscribe", more=True)
        first: dict[str, Any] = self.reply()
        assert first.get("notification") is None
        return first

    def goes_on(self, data: bytes) -> None:
        """Send as much as the daemon takes."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def said_before_the_end(self) -> bytes:
        """Return everything that the daemon sends until it hangs up."""
        return unread(self.socket)


def cpu_ticks(pid: int) -> int:
    """Processor time of a process, in clock ticks (proc_pid_stat(5): utime, stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def switches(daemon: Daemon) -> int:
    """Return how often the daemon has given up the processor to wait."""
    return int(daemon.kernel_says()["voluntary_ctxt_switches"])


def rss(daemon: Daemon) -> int:
    """Memory of the daemon, in KiB."""
    return int(daemon.kernel_says()["VmRSS"].split()[0])


def opened_by(process: "subprocess.Popen[bytes]", pipe: Path) -> int:
    """Wait until a process, or its child, opens a pipe to read; return our descriptor to write.

    Nobody but root may look which files an undumpable process has open.
    """
    found: list[int] = []

    def opens() -> bool:
        assert process.poll() is None, process.stderr and process.stderr.read()
        try:
            found.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # ENXIO: nobody reads
            return False
        return True

    until(opens, "the reading of the configuration")
    return found[0]


def limit_descriptors(daemon: Daemon, soft: int | None) -> None:
    """Lower the daemon's limit of descriptors from outside, or (None) restore it.

    prlimit(2) permits this to a process with the same ids as the daemon.
    """
    says = daemon.kernel_says()
    uid, gid = int(says["Uid"].split()[0]), int(says["Gid"].split()[0])

    def as_the_daemon() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)[1]
        wanted = hard if soft is None else soft
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (wanted, hard))

    ended = child.run(as_the_daemon)
    assert ended.error is None, ended


def loopback(first: int = 1) -> list[str]:
    """Return 250 loopback addresses of one /24, but not of the /24 of 127.0.0.1."""
    return [f"127.0.{first}.{last}" for last in range(1, 251)]


def program(name: str, *words: str) -> list[str]:
    """The command line of `mailbelld` or `mailbell` in this interpreter."""
    door = {"mailbelld": "mailbell.cli.mailbelld", "mailbell": "mailbell.cli"}[name]
    return [sys.executable, "-c", f"from {door} import main; main()", *words]

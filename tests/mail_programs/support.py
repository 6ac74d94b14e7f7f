"""A person's home with mail programs in it, and the whole way of a message into it.

A mail server accepts the mail by LMTP, `mailbell send` rings, and `mailbell run` starts the
program. All of these are the real programs.
"""

import email
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from cli.support import words
from harness.daemon import until
from harness.mailserver import MailServer
from harness.sender import PATIENCE

from mailbell.agent.preset import Preset
from mailbell.cli._agent_file import presets

__all__ = ["PRESETS", "Agent", "Home", "Mailbox", "agents", "ended", "homes", "needs",
           "preset_words", "subjects"]  # fmt: skip

PRESETS: Final = presets()

# The job runs only for a notification, and soon: so only a notification causes a fetch.
_ONLY_THE_RING: Final = ("--settle=100ms", "--min-gap=100ms", "--poll=0", "--no-on-start",
                         "--no-network-up")  # fmt: skip


# The variables that a program gets. None of them is of the person who runs the tests.
_KEPT: Final = ("LD_LIBRARY_PATH", "PATH", "PYTHONPATH")


def needs(*programs: str) -> None:
    """Skip the test if one of the programs is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def preset_words(name: str, *args: str) -> list[str]:
    """The words that the agent runs for a preset, so that the test tries the preset itself."""
    preset: Preset = PRESETS[name]
    needs(*preset.needs)
    return [*preset.command, *(args or preset.args)]


def subjects(*folders: Path) -> list[str]:
    """The subjects of the messages in folders, or in Maildirs."""
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            # Programs move messages from new/ to cur/ during this loop.
            with suppress(FileNotFoundError):
                if path.is_file() and not path.name.startswith("."):
                    found.append(str(email.message_from_bytes(path.read_bytes())["Subject"]))
    return [subject for subject in found if subject != "None"]


@dataclass(frozen=True)
class Mailbox:
    """A mailbox on the mail server that no other test uses."""

    server: MailServer
    user: str

    def deliver(self, subject: str) -> None:
        self.server.deliver(subject, self.user)


@dataclass
class Home:
    """An empty home on a short path, because some programs make sockets below it."""

    path: Path
    environ: dict[str, str]

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """Write a file, and make its folders."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def maildir(self, name: str) -> Path:
        """Make an empty Maildir."""
        for part in ("cur", "new", "tmp"):
            (self.path / name / part).mkdir(parents=True)
        return self.path / name

    def run(self, *line: str) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end, without a terminal for questions."""
        return subprocess.run(
            line, env=self.environ, cwd=self.path, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip

    @contextmanager
    def running(
        self, *line: str, stdin: int = subprocess.DEVNULL
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a program until the end of the block, then end it and all that it started.

        What it says is in `said`. Its end is to be awaited with `ended`, not otherwise.
        """
        with (self.path / "said").open("wb") as said:
            process = subprocess.Popen(
                line, env=self.environ, cwd=self.path, stdin=stdin,
                stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            # The kernel reuses the number of the process and of its group only after the wait.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    @property
    def said(self) -> str:
        """The output of the programs of `running`, since the last one began."""
        return (self.path / "said").read_text()


@contextmanager
def homes() -> Iterator[Home]:
    """Make an empty home until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        # getmail of root becomes another user.
        os.chmod(name, 0o755)
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        made = {"XDG_RUNTIME_DIR": f"{name}/run", "TMPDIR": f"{name}/tmp"}
        for folder in made.values():
            os.mkdir(folder, 0o700)
        own = {"HOME": name, "FETCHMAILHOME": name, "LC_ALL": "C.UTF-8", **made}
        yield Home(Path(name), kept | own)


def ended(process: "subprocess.Popen[bytes]") -> int:
    """Wait for the end of a program without reaping it, so that its group can still be ended.

    Returns:
        The exit code, or the negative number of a signal, as `Popen.returncode`.
    """
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    until(lambda: os.waitid(os.P_PID, process.pid, how), "the end of a program")
    info = os.waitid(os.P_PID, process.pid, how)
    assert info
    return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


@dataclass
class Agent:
    """`mailbell run`, and its log."""

    process: "subprocess.Popen[bytes]"
    log: bytearray = field(default_factory=bytearray)

    def lines(self) -> list[str]:
        assert self.process.stderr
        descriptor = self.process.stderr.fileno()
        while select.select([descriptor], [], [], 0)[0]:
            chunk = os.read(descriptor, 65536)
            if not chunk:
                break
            self.log += chunk
        return self.log.decode().splitlines()

    def until_logged(self, *parts: str) -> None:
        """Wait for a line that contains all of these."""

        def logged() -> bool:
            assert self.process.poll() is None, self.lines()
            return any(all(part in line for part in parts) for line in self.lines())

        until(logged, f"{parts} in the log")


@contextmanager
def agents(
    home: Home, socket: Path, line: Sequence[str], *, through: Sequence[str] = ()
) -> Iterator[Agent]:
    """Run an agent until the end of the block. The block begins when the agent listens.

    Args:
        home: whose agent it is.
        socket: of the daemon.
        line: what it is to run, as on its command line.
        through: what to run it through, as in `nsenter ...`.
    """
    program = ["--client", line[0], "--", *line[1:]] if line[0] in PRESETS else line
    process = subprocess.Popen(
        [*through, *words("mailbell", "run", *_ONLY_THE_RING, *program)],
        env=home.environ | {"MAILBELL_SOCKET": str(socket)},
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr
    with process.stderr:
        agent = Agent(process)
        try:
            agent.until_logged("event=listening")
            yield agent
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise

"""Run the installed mailbell-hook as a mail server does, and be the sender that it tells."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from harness.sender import PATIENCE

__all__ = [
    "HOOK",
    "INTERPRETERS",
    "LOGGED",
    "PATH",
    "Listening",
    "Log",
    "listening",
    "logging",
    "private",
    "run",
    "start",
]

# As pip installed it.
HOOK: Final = str(Path(sys.prefix) / "bin" / "mailbell-hook")
# What the commands of a mail server find, and what unshare(1) needs.
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
OLDEST: Final = (3, 9)

# Arguments: a folder, the paths of a log's and of a sender's socket, either empty, then "proc" or
# "no-proc". The program sees its own /dev, and its own /run.
_VIEW: Final = """
set -e
hold=$1 log=$2 sender=$3 proc=$4
shift 4
mount -t tmpfs none "$hold"
mkdir "$hold/dev" "$hold/run" "$hold/run/mailbell-sender"
: >"$hold/dev/null"
mount --bind /dev/null "$hold/dev/null"
if [ "$log" ]; then : >"$hold/dev/log"; mount --bind "$log" "$hold/dev/log"; fi
if [ "$sender" ]; then
  : >"$hold/run/mailbell-sender/hook"
  mount --bind "$sender" "$hold/run/mailbell-sender/hook"
fi
mount --rbind "$hold/dev" /dev
mount --rbind "$hold/run" /run
[ "$proc" = proc ] || mount -t tmpfs none /proc
exec "$@"
"""


def _version(python: Path) -> tuple[int, int] | None:
    try:
        done = subprocess.run(
            [python, "-IS", "-c", "import sys; print(*sys.version_info[:2])"],
            check=True, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor = map(int, done.stdout.split())
    return major, minor


def _interpreters() -> dict[str, Path]:
    """Return one interpreter for each version of CPython that is installed here."""
    folders = [Path("/usr/bin"), Path("/usr/local/bin"), Path(sys.base_prefix) / "bin"]
    folders += sorted(Path(sys.base_prefix).parent.glob("3.*/bin"))
    names = ["python3", *(f"python3.{minor}" for minor in range(OLDEST[1], 20))]
    found: dict[str, Path] = {}
    for path in (folder / name for folder in folders for name in names):
        if path.exists() and (version := _version(path)) is not None and version >= OLDEST:
            found.setdefault(".".join(map(str, version)), path)
    return found


# The first line of the program names the first one.
INTERPRETERS: Final = _interpreters()


class Listening:
    """A stand-in for mailbell-sender: it listens, and reads when it is asked to."""

    def __init__(self, path: Path, backlog: int = 4096) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        path.chmod(0o666)
        self.socket.listen(backlog)
        self.socket.settimeout(PATIENCE)

    def next(self) -> bytes:
        """Wait for a connection; return what came on it before its end."""
        return _told(self.socket.accept()[0])

    def all(self) -> list[bytes]:
        """Return what came on each connection that waits now."""
        self.socket.setblocking(False)
        found = []
        while True:
            try:
                found.append(_told(self.socket.accept()[0]))
            except BlockingIOError:
                break
        self.socket.settimeout(PATIENCE)
        return found


def _told(connection: socket.socket) -> bytes:
    with connection:
        connection.settimeout(PATIENCE)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def listening(path: Path, backlog: int = 4096) -> Iterator[Listening]:
    """Be the sender."""
    sender = Listening(path, backlog)
    with sender.socket:
        yield sender


class Hook(subprocess.Popen[bytes]):
    """A hook that has started. At the end of a `with` block it is ended, if it still runs."""

    def __exit__(self, *error: object) -> None:
        if self.poll() is None:
            self.kill()
        super().__exit__(*error)  # type: ignore[arg-type]


Words = Sequence[str | bytes | Path]
Environment = Mapping[str, str] | Mapping[bytes, bytes]


def start(
    *words: str | bytes | Path, env: Environment | None = None, through: Words = (), **options: Any
) -> Hook:
    """Start the hook with an environment of its own, and pipes for what it prints."""
    options = {"stdin": subprocess.DEVNULL, **options}
    return Hook(
        [*through, HOOK, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={} if env is None else dict(env),
        **options,
    )  # fmt: skip


def run(
    *words: str | bytes | Path,
    env: Environment | None = None,
    through: Words = (),
    code: int = 0,
    **options: Any,
) -> None:
    """Run the hook. It must end with this code, and print nothing."""
    with start(*words, env=env, through=through, **options) as process:
        output = process.communicate(timeout=PATIENCE)
    assert (process.returncode, *output) == (code, b"", b"")


@cache
def _namespace() -> tuple[str, ...]:
    command = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
    if shutil.which("unshare", path=PATH) is None:
        pytest.skip("unshare is not installed")
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("needs root, or a user namespace, which this system does not grant")
    return command


def private(
    hold: Path, *, log: Path | None = None, sender: Path | None = None, proc: bool = True
) -> list[str]:
    """Return the beginning of a command line whose program sees a machine of its own.

    Args:
        hold: an empty folder.
        log: the socket that the program sees as /dev/log.
        sender: the socket that it sees where mailbell-sender listens.
        proc: whether it sees /proc.
    """
    paths = [str(hold), str(log or ""), str(sender or ""), "proc" if proc else "no-proc"]
    command = [shutil.which("env") or "env", f"PATH={PATH}", *_namespace()]
    return [*command, "sh", "-c", _VIEW, "sh", *paths]


LOGGED: Final = re.compile(
    rb"<20>[A-Z][a-z]{2} [ 1-3][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} mailbell-hook\[[0-9]+\]: ([ -~]+)"
)


class Log:
    """A stand-in for the system's log."""

    def __init__(self, path: Path, kind: socket.SocketKind = socket.SOCK_DGRAM) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, kind)
        self.socket.bind(str(path))
        path.chmod(0o666)
        if kind == socket.SOCK_STREAM:
            self.socket.listen()
        self.socket.setblocking(False)

    def lines(self) -> list[str]:
        """Return the messages that wait, each without what stands before its text."""
        found: list[str] = []
        while True:
            try:
                line = self.socket.recv(65536)
            except BlockingIOError:
                return found
            match = LOGGED.fullmatch(line)
            assert match, line
            found.append(match[1].decode())


@contextmanager
def logging(path: Path, kind: socket.SocketKind = socket.SOCK_DGRAM) -> Iterator[Log]:
    """Be the system's log."""
    log = Log(path, kind)
    with log.socket:
        yield log

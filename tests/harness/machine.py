"""A machine for a mail server or a mail program: real packages, users, processes, a network.

Mail servers exclude each other, and each wants all of a machine; mail programs with windows
need hundreds of packages. So each gets a root directory over this host's own one (`root.sh`), in
memory, and namespaces for mounts, processes, the host's name and the network. All of it ends
with the test, even if the test is killed: nothing has a name outside, and the first process of
the machine ends when the test's end of a pipe closes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import pytest
from harness.daemon import until
from harness.netns import Namespace

__all__ = ["HOOK", "Machine", "machine"]

HERE: Final = Path(__file__).parent
INSTALLS: Final = os.environ.get("MAILBELL_ROOTS") == "1"
"""Whether roots get packages. Some stages of `.ci/run` say so; it takes minutes."""

HOOK: Final = "/usr/bin/mailbell-hook"
_BUILD: Final = 600.0  # seconds for apt on a slow machine
_PATIENCE: Final = 120.0  # seconds for a program in the machine

_START: Final = """
root=$1 shared=$2
hostname mail.test.example
mount -t proc proc "$root/proc"
mkdir -p "$root/run/mailbell-sender" "$root$shared"
mount --bind "$shared" "$root/run/mailbell-sender"
mount --bind "$shared" "$root$shared"
exec "$3" -I "$4" "$shared/mail.log" "$root/dev/log"
"""

# The sender runs beside the mail server, with this host's Python, and knows the machine's users.
_BESIDE: Final = """
root=$1
shift
for file in passwd group; do mount --bind "$root/etc/$file" "/etc/$file"; done
exec "$@"
"""


@dataclass(frozen=True)
class Machine:
    """A machine that runs.

    Attributes:
        root: the machine's root directory, as a path that this process can use.
        shared: a folder that has this same path outside and inside, and is
            `/run/mailbell-sender` inside.
        enter: what to run a program through, as root, in the machine.
        beside: the same with this host's files and the machine's users and network; the
            program gets the process id that the caller sees.
    """

    root: Path
    shared: Path
    enter: tuple[str, ...]
    beside: tuple[str, ...]

    @property
    def log(self) -> Path:
        """What the programs of the machine sent to the system's log."""
        return self.shared / "mail.log"

    def path(self, inside: str) -> Path:
        """Return how this process reaches a file of the machine.

        Symbolic links in it must be relative.
        """
        return self.root / inside.lstrip("/")

    def run(
        self, *command: str, stdin: str = "", user: str | None = None, check: bool = True
    ) -> str:
        """Run a program inside to its end; return all that it prints.

        Args:
            command: the program and its arguments.
            stdin: what it reads.
            user: who runs it; root by default.
            check: whether another exit code than 0 fails the test.
        """
        done = subprocess.run(
            [*self._as(user), *command],
            input=stdin, check=False, text=True, errors="replace", timeout=_PATIENCE, cwd="/",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_ENVIRONMENT,
        )  # fmt: skip
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)}: code {done.returncode}: {done.stdout.strip()}")
        return done.stdout

    def popen(
        self, *command: str, user: str | None = None, **options: Any
    ) -> "subprocess.Popen[bytes]":
        """Start a program inside that stays. It ends with the machine at the latest."""
        options = {"stdin": subprocess.DEVNULL, "cwd": "/", "env": _ENVIRONMENT, **options}
        return subprocess.Popen([*self._as(user), *command], **options)

    def write(self, inside: str, text: str, *, mode: int = 0o644, owner: str = "root") -> None:
        """Write a file of the machine; missing folders are made."""
        path = self.path(inside)
        self._folder(path.parent, owner)
        path.unlink(missing_ok=True)
        path.write_text(text)
        self._belongs(path, mode, owner)

    def append(self, inside: str, text: str) -> None:
        """Add lines at the end of a file of the machine."""
        path = self.path(inside)
        before = path.read_text() if path.exists() else ""
        path.write_text(before + ("\n" if before and not before.endswith("\n") else "") + text)

    def install(self, source: Path, inside: str, mode: int = 0o755) -> None:
        """Copy a file of this host into the machine."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        path.chmod(mode)

    def user(self, name: str, *options: str) -> None:
        """Make an ordinary user with a home folder, if there is none yet."""
        if f"\n{name}:" not in self.path("/etc/passwd").read_text():
            self.run("useradd", "--create-home", "--shell", "/bin/sh", *options, name)

    def ids(self, user: str) -> tuple[int, int]:
        """Return the number of a user of the machine, and of the user's group."""
        for line in self.path("/etc/passwd").read_text().splitlines():
            fields = line.split(":")
            if fields[0] == user:
                return int(fields[2]), int(fields[3])
        raise LookupError(user)

    def _as(self, user: str | None) -> tuple[str, ...]:
        return (*self.enter, "runuser", "-u", user, "--") if user else self.enter

    def _folder(self, path: Path, owner: str) -> None:
        if not path.exists():
            self._folder(path.parent, owner)
            path.mkdir()
            self._belongs(path, 0o755, owner)

    def _belongs(self, path: Path, mode: int, owner: str) -> None:
        os.chown(path, *self.ids(owner))
        path.chmod(mode)


# Nothing of the tests' environment reaches a mail server.
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


@contextmanager
def machine(
    name: str,
    packages: Sequence[str],
    *,
    programs: Sequence[str],
    host: Namespace | None,
    suite: str = "-",
    stage: str = "servers",
) -> Iterator[Machine]:
    """Run a machine until the end of the block.

    The test is skipped, with the reason, for another user than root, and where the programs are
    not installed and may not be.

    Args:
        name: of the mail server or program, for messages.
        packages: what Debian packages it needs.
        programs: what these packages install, as paths: with all of them on this host, nothing
            needs to be installed.
        host: whose network it has; None: the network of this process.
        suite: the Debian that is unpacked for it; "-": this host's own.
        stage: the stage of `.ci/run` that installs the packages.
    """
    if os.geteuid() != 0:
        pytest.skip("packages and other users need root")
    missing = suite != "-" or not all(Path(program).exists() for program in programs)
    if missing and not INSTALLS:
        pytest.skip(f"{name} is not installed; the stage `{stage}` of .ci/run installs it")
    with ExitStack() as stack:
        folder, shared = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
            for _ in range(2)
        )
        shared.chmod(0o755)
        keeper = _started(
            stack,
            ["unshare", "--mount", "--propagation", "private", "--",
             str(HERE / "root.sh"), str(folder), suite, *(packages if missing else ())],
            b"made\n",
        )  # fmt: skip
        spaces = [
            f"--mount=/proc/{keeper.pid}/ns/mnt",
            f"--net=/proc/{host.pid if host else 'self'}/ns/net",
        ]
        root = folder / "root"
        outer = _started(
            stack,
            ["nsenter", *spaces, "--",
             "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--",
             "bash", "-euc", _START, "-", str(root), str(shared),
             sys.executable, str(HERE / "first_process.py")],
            b"started\n",
        )  # fmt: skip
        first = _child(outer.pid)
        inside = ("nsenter", "-t", first, "-m", "-u", "-i", "-n")
        yield Machine(
            Path(f"/proc/{first}/root{root}"),
            shared,
            (*inside, "-p", "chroot", str(root)),
            (*inside, "unshare", "-m", "bash", "-euc", _BESIDE, "-", str(root)),
        )


def _started(stack: ExitStack, command: Sequence[str], word: bytes) -> "subprocess.Popen[bytes]":
    """Start a process that says a word and then stays until its standard input ends."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
    stack.callback(_end, process)
    assert process.stdout
    heard = process.stdout.readline()
    if heard != word:
        pytest.fail(f"{command[-1]}: {(heard + _rest(process.stdout)).decode(errors='replace')}")
    return process


def _rest(stream: IO[bytes]) -> bytes:
    return stream.read(65536)


def _end(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin
    assert process.stdout
    process.stdin.close()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _child(pid: int) -> str:
    """Return the only child of a process."""
    found: list[str] = []

    def look() -> bool:
        found[:] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return len(found) == 1

    until(look, "the first process of the machine")
    return found[0]

"""A Dovecot that runs: over a clean Debian, with processes and mounts of its own.

All its files lie in memory, also the mail. It ends with the block, even if this process is
killed: the kernel ends the first process, and with it all others of its namespace.
"""

import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.netns import Namespace
from packages.roots import clean_root

from bench.processes import PATIENCE, Failed, end
from bench.push.settings import SERVER, Setup, configuration, user_lines

__all__ = ["PACKAGES", "Dovecot", "certificate", "dovecot"]

PACKAGES: Final = ("dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd", "lua-socket")
_LUA: Final = Path(__file__).resolve().parents[2] / "servers" / "mailbell.lua"

# Arguments: a root directory, an empty folder, the folder that becomes /etc/dovecot, the one that
# becomes /run/mailbell-sender.
_BOOT: Final = """
root=$2/root
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$2"
mkdir "$2/upper" "$2/work" "$root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in full null random urandom zero; do
  touch "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir -p "$root/srv/mail" "$root/run/dovecot" "$root/run/mailbell-sender"
mount -t tmpfs -o mode=1777 tmpfs "$root/srv/mail"
mount --bind "$3" "$root/etc/dovecot"
mount --bind "$4" "$root/run/mailbell-sender"
exec chroot "$root" /usr/sbin/dovecot -F
"""


@dataclass(frozen=True)
class Dovecot:
    """One that takes connections.

    Attributes:
        setup: what it is like.
        pid: its first process.
        log: what it says.
        version: of the program.
    """

    setup: Setup
    pid: int
    log: Path
    version: str

    def pids(self) -> list[int]:
        """Return its processes: all that have its namespace."""
        own = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdecimal():
                try:
                    if (path / "ns" / "pid").readlink() == own:
                        found.append(int(path.name))
                except OSError:
                    continue  # it has ended meanwhile
        return found

    def complaints(self) -> list[str]:
        """Return what it says of errors and limits."""
        words = ("Error:", "Fatal:", "Panic:", "Warning:")
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(word in line for word in words)]


@contextmanager
def dovecot(setup: Setup, host: Namespace, hook: Path, keys: Path) -> Iterator[Dovecot]:
    """Run a Dovecot until the end of the block.

    Args:
        setup: what it is like.
        host: whose network it has.
        hook: the folder of mailbell-sender's socket.
        keys: a folder with a certificate and its key.

    Raises:
        Failed: it does not start.
    """
    root = clean_root(setup.suite, *PACKAGES)
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        hold, etc = Path(name) / "hold", Path(name) / "etc"
        hold.mkdir()
        shutil.copytree(keys, etc)
        (etc / "dovecot.conf").write_text(configuration(setup))
        (etc / "users").write_text(user_lines(setup))
        shutil.copy(_LUA, etc)
        Path(name).chmod(0o755)
        etc.chmod(0o755)
        process = host.popen(
            [
                "setpriv", "--pdeathsig=KILL",
                "unshare", "-m", "-p", "-u", "-i", "--fork", "--kill-child", "--",
                "sh", "-euc", _BOOT, "-", str(root), str(hold), str(etc), str(hook),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        first = None
        try:
            _await(setup, host, process)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            pid = int(children.split()[0])
            first = os.pidfd_open(pid)
            yield Dovecot(setup, pid, etc / "log", _version(root))
        finally:
            process.kill()
            end(process)
            if first is not None:
                # The kernel ends all processes of a namespace before its first one has ended.
                select.select([first], [], [], PATIENCE)
                os.close(first)
            if process.stdout is not None:
                process.stdout.close()


def _version(root: Path) -> str:
    done = subprocess.run(
        ["chroot", root, "dovecot", "--version"], check=True, capture_output=True, text=True
    )
    return done.stdout.split()[0]


def _await(setup: Setup, host: Namespace, process: "subprocess.Popen[bytes]") -> None:
    last = time.monotonic() + PATIENCE
    while True:
        with host.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            if not sock.connect_ex((SERVER, setup.ports.lmtp)):
                return
        if process.poll() is not None or time.monotonic() > last:
            process.kill()
            said = process.stdout.read().decode(errors="replace") if process.stdout else ""
            raise Failed(f"Dovecot of {setup.suite} does not start: {said.strip()}")
        time.sleep(0.05)  # between two attempts; nothing tells when it listens


def certificate(folder: Path) -> None:
    """Make a certificate that signs itself (P-256), and its key.

    Args:
        folder: for `cert.pem` and `key.pem`; it must exist.
    """
    done = subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=mail.test.example",
            "-keyout", folder / "key.pem", "-out", folder / "cert.pem",
        ],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise Failed(f"openssl makes no certificate: {done.stderr.strip()}")

"""The hosts of the demonstration: a mail server, a laptop and a stranger on one bridge.

Each is a set of namespaces. The mail server and the laptop have a root directory of their own over
the one that was made: what they write lies in memory. `scripts/demo.py` starts this process in
namespaces too, in which it is root, so an ordinary user can do the same. All hosts end with it.
"""

import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

__all__ = ["CARD", "ENVIRONMENT", "Host", "Wire"]

CARD: Final = "wire0"
"""The network card of each host."""

_BRIDGE: Final = "bridge0"
_PATIENCE: Final = 60.0  # seconds for a command of the set-up
ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
}
"""Of every program on a host."""

# Arguments: a folder in memory, the lower folders of the root directory, the host's name. In the
# end `sleep` keeps the namespaces.
_BOOT: Final = """
set -eu
hold=$1 lower=$2 name=$3
mount --make-rprivate /
mkdir -p "$hold/upper" "$hold/work" "$hold/root"
root=$hold/root
mount -t overlay -o "lowerdir=$lower,upperdir=$hold/upper,workdir=$hold/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/shm" "$root/run/lock"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
for file in full null random tty urandom zero; do
  touch "$root/dev/$file"
  mount --bind "/dev/$file" "$root/dev/$file"
done
rm -f "$root/etc/hostname" "$root/etc/resolv.conf" # never through a link to what this host has
echo "$name" >"$root/etc/hostname"
: >"$root/etc/resolv.conf"
hostname "$name"
ip link set lo up
cd "$root"
mkdir run/old
pivot_root . run/old
exec env -i PATH="$PATH" sh -c '
  umount -l /run/old && rmdir /run/old && echo up && exec sleep infinity'
"""


@dataclass(frozen=True)
class Host:
    """A host that is up.

    Attributes:
        name: of the host.
        pid: the process that keeps its namespaces.
        enter: the command that runs another one there.
        path: its root directory, for this process.
    """

    name: str
    pid: int
    enter: tuple[str, ...]
    path: Path

    def run(self, *command: str, data: str = "") -> str:
        """Run a program there to its end; return what it printed.

        Raises:
            RuntimeError: it failed; with its last words.
        """
        done = subprocess.run(  # noqa: S603 (our own words, and no shell)
            [*self.enter, *command], input=data, check=False, text=True, timeout=_PATIENCE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT, cwd="/",
        )  # fmt: skip
        if done.returncode:
            words = " ".join(command)
            raise RuntimeError(f"{self.name}: {words}: {done.stdout.strip()[-1000:]}")
        return done.stdout

    def start(
        self, *command: str, user: str = "", env: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a program there that stays, with both of its streams in one pipe.

        Args:
            command: the program and its arguments.
            user: who runs it, in the home folder; "": root.
            env: variables beside those of every program here.
        """
        words = ("runuser", "-u", user, "--", *command) if user else command
        home = {"HOME": f"/home/{user}"} if user else {}
        return subprocess.Popen(  # noqa: S603 (our own words, and no shell)
            [*self.enter, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**ENVIRONMENT, **home, **(env or {})}, cwd="/",
        )  # fmt: skip

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root's; missing folders are made."""
        path = self.path / inside.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def cable(self, *, plugged: bool) -> None:
        """Let it lose its network with all addresses, or have the network again without any."""
        self.run("ip", "link", "set", CARD, "up" if plugged else "down")
        if not plugged:
            self.run("ip", "address", "flush", "dev", CARD)

    def addresses(self, *addresses: str) -> None:
        """Give its card addresses, with prefix lengths."""
        for each in addresses:
            # Without nodad an IPv6 address cannot be used for a second.
            options = ("nodad",) if ":" in each else ()
            self.run("ip", "address", "add", each, "dev", CARD, *options)


class Wire:
    """The bridge, in the network of this process, and the hosts on it.

    Args:
        stack: ends the hosts.
        hold: an empty folder in memory.
    """

    def __init__(self, stack: ExitStack, hold: Path) -> None:
        self._stack = stack
        self._hold = hold
        # Without a querier, a bridge that snoops would lose IPv6's neighbour solicitations.
        _run("ip", "link", "add", _BRIDGE, "type", "bridge", "mcast_snooping", "0")
        _run("ip", "link", "set", _BRIDGE, "up")

    def host(self, name: str, roots: str, *addresses: str) -> Host:
        """Start a host.

        Args:
            name: of the host.
            roots: the folders of its root directory, the uppermost first, in which nothing is
                written. They are separated by colons.
            addresses: with prefix lengths.

        Raises:
            RuntimeError: it does not come up; with the reason.
        """
        hold = self._hold / name
        hold.mkdir()
        keeper = subprocess.Popen(  # noqa: S603 (our own words)
            ["unshare", "-m", "-n", "-u", "-i", "sh", "-c", _BOOT, "sh", hold, roots, name],  # noqa: S607 (the person's own PATH)
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._stack.callback(_end, keeper)
        if not _said(keeper.stdout):
            raise RuntimeError(f"{name} does not come up: {_said(keeper.stderr)}")
        pid = keeper.pid
        enter = ("nsenter", "-t", str(pid), "-m", "-n", "-u", "-i", "-r", "-w")
        host = Host(name, pid, enter, Path(f"/proc/{pid}/root"))
        port = f"port{pid}"
        _run("ip", "link", "add", port, "type", "veth", "peer", "name", CARD, "netns", str(pid))
        _run("ip", "link", "set", port, "master", _BRIDGE, "up")
        host.cable(plugged=True)
        host.addresses(*addresses)
        return host


def _said(stream: IO[bytes] | None) -> str:
    return stream.readline().decode().strip() if stream else ""


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_PATIENCE)  # noqa: S603 (our own words)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()

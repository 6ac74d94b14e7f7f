"""A system: a clean Debian that has booted, with systemd as its first process.

It has namespaces of its own for mounts, processes, the host's name, IPC, control groups and the
network, over a root directory that stays as it is: what is written lies in memory. All of it
ends with the test, even if the test is killed. The kernel, and so its Landlock and seccomp, is
this host's.

The network of a system has no way out. A command may be run in the network of this host, to
download something: all that it asks systemd to start is in the system's own network all the same.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from harness.daemon import until
from harness.manager import control_group
from harness.netns import Namespace

__all__ = ["PATIENCE", "Ran", "System", "booted"]

PATIENCE: Final = 300.0  # seconds for a command that downloads nothing, beside five others
_DOWNLOADS: Final = 400.0  # seconds for one that does

ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
}

# What a package's own installation would do to the kernel, or for longer than a test lasts.
_MASKED: Final = (
    "systemd-sysctl.service", "systemd-modules-load.service", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount", "dev-hugepages.mount",
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "man-db.timer",
    "e2scrub_all.timer", "fstrim.timer", "ldconfig.service",
)  # fmt: skip

# Arguments: a root directory, an empty folder, the name, the masked units. The kernel's settings
# are those of this host, so they cannot be written, except those of the network, which are the
# system's.
_BOOT: Final = """
set -eu
lower=$1 hold=$2 name=$3
shift 3
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$hold"
mkdir "$hold/upper" "$hold/work" "$hold/root"
root=$hold/root
mount -t overlay -o "lowerdir=$lower,upperdir=$hold/upper,workdir=$hold/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount --bind /proc/sys/net "$root/proc/sys/net" 2>/dev/null || :
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,mode=620,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
for name in full null random tty urandom zero; do
  touch "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir -p "$root/run/systemd/system"
for unit; do ln -s /dev/null "$root/run/systemd/system/$unit"; done
echo "$name" >"$root/etc/hostname"
echo "127.0.0.1 localhost $name" >"$root/etc/hosts"
echo "::1 localhost" >>"$root/etc/hosts"
rm -f "$root/etc/resolv.conf"
cat /etc/resolv.conf >"$root/etc/resolv.conf"
hostname "$name"
ip link set lo up
cd "$root"
mkdir -p run/old
pivot_root . run/old
exec env -i container=test PATH="$PATH" sh -c '
  umount -l /run/old && rmdir /run/old
  exec /sbin/init --log-target=journal --show-status=no' <&- >&- 2>&-
"""


@dataclass(frozen=True)
class Ran:
    """A command that has ended: its code, and what it printed on both streams together."""

    code: int
    said: str


@dataclass(frozen=True)
class System:
    """A system that has booted.

    Attributes:
        pid: its first process, seen from outside.
    """

    pid: int

    def run(self, command: str, **options: Any) -> str:
        """Run a command as `ran` does; return what it printed, if its code is 0."""
        done = self.ran(command, **options)
        if done.code:
            pytest.fail(f"{command}: code {done.code}: {done.said.strip()[-4000:]}")
        return done.said

    def ran(
        self,
        command: str,
        *,
        user: str = "root",
        network: str = "own",
        seconds: float = 0.0,
        data: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Ran:
        """Run a command to its end, as a person does who types it.

        Args:
            command: a line, or several, for the system's shell.
            user: who types it. Another user than root logs in for it, and so has a service
                manager, as long as the command lasts, or longer with `loginctl enable-linger`.
            network: "own", or "host" for a command that downloads.
            seconds: how long it may take; 0: as long as such a command usually does.
            data: what it reads.
            env: variables beside those of a login.
        """
        words = ["sh", "-euc", command]
        if user != "root":
            setting = "".join(
                f"export {name}={shlex.quote(text)}\n" for name, text in (env or {}).items()
            )
            words = ["runuser", "-l", user, "-c", setting + command]
        done = subprocess.run(
            [*self._enter(network), *words],
            input=data, check=False, text=True, errors="replace", cwd="/",
            timeout=seconds or (_DOWNLOADS if network == "host" else PATIENCE),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**ENVIRONMENT, **(env or {})},
        )  # fmt: skip
        return Ran(done.returncode, done.stdout)

    def popen(self, *command: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program as root that stays. It ends with the system at the latest."""
        options = {"stdin": subprocess.DEVNULL, "cwd": "/", "env": ENVIRONMENT, **options}
        return subprocess.Popen([*self._enter("own"), *command], **options)

    def until(self, command: str, what: str = "") -> None:
        """Wait until a command ends with code 0."""
        until(lambda: self.ran(command).code == 0, what or command, PATIENCE)

    def path(self, inside: str) -> Path:
        """Return how this process reaches a file of the system; links in it must be relative."""
        return Path(f"/proc/{self.pid}/root") / inside.lstrip("/")

    def put(self, source: Path, folder: str) -> None:
        """Copy a file or a folder of this host into a folder of the system."""
        target = self.path(folder)
        target.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target / source.name, symlinks=True)
        else:
            shutil.copy2(source, target / source.name)
            os.chown(target / source.name, 0, 0)

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root's; missing folders are made."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def person(self, name: str = "joe") -> str:
        """Make an ordinary user with a home; return the name."""
        self.run(f"useradd --create-home --shell /bin/bash {name}")
        return name

    def shows(self, unit: str) -> dict[str, str]:
        """Return the properties of a unit."""
        lines = self.run(f"systemctl show --all {unit}").splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def journal(self, unit: str) -> str:
        """Return what was logged by a unit and about it."""
        return self.run(f"journalctl --sync; journalctl --no-pager -o cat -u {unit}")

    def _enter(self, network: str) -> tuple[str, ...]:
        enter = ("nsenter", "-t", str(self.pid), "-r", "-w", "-m", "-p", "-u", "-i", "-C")
        return enter if network == "host" else (*enter, "-n")


@contextmanager
def booted(root: Path, host: Namespace | None = None, name: str = "machine") -> Iterator[System]:
    """Boot a system over a root directory; it ends with the block.

    Args:
        root: the root directory. What the system writes is not written there.
        host: whose network it has; None: one of its own, with a loopback interface alone.
        name: of the host.
    """
    with ExitStack() as stack:
        group = stack.enter_context(control_group())
        group.chmod(0o755)  # users have service managers too
        hold = stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-"))
        join = f'echo $$ >{group}/cgroup.procs && exec "$@"'
        command = [
            *(host.enter if host else ()),
            "setpriv", "--pdeathsig=KILL", "sh", "-c", join, "sh",
            "unshare", "-m", "-p", "-u", "-i", "-C", *(() if host else ("-n",)),
            "--fork", "--kill-child", "sh", "-c", _BOOT, "sh", str(root), hold, name, *_MASKED,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        stack.callback(_end, process)
        yield System(_until_up(process, group / "init.scope" / "cgroup.procs"))


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()


def _until_up(process: "subprocess.Popen[bytes]", first: Path) -> int:
    """Wait until everything is started that starts at boot; return the first process."""

    def answers() -> bool:
        if process.poll() is not None:
            assert process.stdout
            said = process.stdout.read().decode().strip()
            pytest.fail(f"the system does not boot: {said}")
        if not first.exists() or not (pids := first.read_text().split()):
            return False
        asked = System(int(pids[0])).ran("systemctl is-system-running; test $? -le 1")
        return any(word in asked.said for word in ("running", "degraded"))

    until(answers, "the boot of the system", PATIENCE)
    system = System(int(first.read_text().split()[0]))
    failed = system.run("systemctl list-units --failed --plain --no-legend")
    assert not failed, failed
    return system.pid

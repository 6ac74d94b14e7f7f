"""A real service manager: systemd as the first process of its own namespaces.

It sees the file system of this machine, but some folders are its own: /etc, with
accounts and units; /opt, with mailbell as docs/quickstart.md installs it; /run, /tmp and its
control groups. It is one of two hosts on a cable, and starts only what is installed
there. It ends with the test, even if the test is killed, and so does all that it started.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import until
from harness.netns import Namespace, Pair, namespaces
from harness.sender import PATIENCE

import mailbell
from mailbell.client import Client
from mailbell.interfaces.listener import Status

__all__ = [
    "CLIENTS", "LOG", "SENDER_DROP_INS", "SERVER", "SOCKET", "Manager", "control_group", "managers",
]  # fmt: skip

SERVER: Final = ("192.0.2.1", "2001:db8::1")
CLIENTS: Final = ("192.0.2.2", "2001:db8::2")
SOCKET: Final = "/run/mailbell/mailbell.sock"
SYSTEMD: Final = Path("/lib/systemd/systemd")
LOG: Final = "/run/mailbelld.log"
DROP_INS: Final = "/etc/systemd/system/mailbelld.service.d"
SENDER_DROP_INS: Final = "/etc/systemd/system/mailbell-sender.service.d"

# Arguments: a folder of the test's; the interpreter's folder, its name, its libraries;
# this package. Units are looked for where root puts them, and then among the few that
# are taken from the machine's own.
_BOOT: Final = """
set -eu
hold=$1 base=$2 python=$3 libraries=$4 package=$5 ipv6=$6
mount --make-rprivate /
mount -t proc none /proc
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none "$hold"
mkdir "$hold/etc" "$hold/etc.work" "$hold/site" "$hold/site.work"
mount -t overlay -o "lowerdir=/etc,upperdir=$hold/etc,workdir=$hold/etc.work" none /etc
mkdir -p /etc/systemd/system
mount -t tmpfs -o mode=755 none /etc/systemd/system
cp -rL "$package" "$hold/site/mailbell"
mount -t tmpfs -o mode=755 none /opt
site=/opt/mailbell/lib/$python/site-packages
mkdir -p "$site" /opt/mailbell/bin
mount -t overlay -o "lowerdir=$libraries,upperdir=$hold/site,workdir=$hold/site.work" none "$site"
if [ "$base" != /usr ]; then
  mkdir /opt/python
  mount --bind "$base" /opt/python
  base=/opt/python
fi
echo "home = $base/bin" >/opt/mailbell/pyvenv.cfg
ln -s "$base/bin/$python" /opt/mailbell/bin/python3
for program in mailbelld mailbell_sender; do
  cat >"/opt/mailbell/bin/$(echo $program | tr _ -)" <<end
#!/opt/mailbell/bin/python3
from mailbell.cli.$program import main
main()
end
done
cp "$site/mailbell/hook.py" /opt/mailbell/bin/mailbell-hook
chmod 755 /opt/mailbell/bin/mailbell*
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=1777 none /var/tmp
mount -t tmpfs -o mode=1777 none /tmp
mkdir /run/few
for unit in basic multi-user shutdown slices sockets sysinit; do
  cp "/lib/systemd/system/$unit.target" /run/few
done
ip link set lo up
if [ "$ipv6" = missing ]; then
  mkdir /run/net
  mount --bind /run/net /proc/$$/net
fi
export container=test SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/few
export SYSTEMD_GENERATOR_PATH=/run/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/none
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=null --show-status=no
"""

# What `ipv6.disable=1` on the kernel's command line does to a program: it can make no such
# socket (here: EAFNOSUPPORT, for all that is started from here on), and /proc/net/if_inet6,
# by which systemd tells, is not there (see above).
_NO_IPV6: Final = """
import errno, os, pyseccomp, socket, sys
refuse = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
refuse.set_attr(pyseccomp.Attr.CTL_NNP, 0)
without = pyseccomp.Arg(0, pyseccomp.EQ, socket.AF_INET6)
refuse.add_rule(pyseccomp.ERRNO(errno.EAFNOSUPPORT), "socket", without)
refuse.load()
os.execvp(sys.argv[1], sys.argv[1:])
"""

# There is no journal.
_TEST: Final = f"""
[Service]
StandardError=append:{LOG}
"""
# An interpreter that is not the machine's own may lie in a home, which the unit closes;
# and its libraries look for each other where it was built to be.
_ELSEWHERE: Final = """
ExecPaths=/opt/python
Environment=LD_LIBRARY_PATH=/opt/python/lib
"""


@dataclass(frozen=True)
class Manager:
    """A service manager that has started.

    Attributes:
        pid: of it, seen from outside.
        hosts: it is the server; beside it is a client.
    """

    pid: int
    hosts: Pair

    def run(self, *command: str) -> str:
        """Run a program as root where the manager is; return what it prints."""
        inside = ("nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-u", "-i", "-C", "--wd=/")
        done = subprocess.run(
            [*inside, *command], check=False, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr, self.log())
        return done.stdout

    def systemctl(self, *words: str) -> str:
        return self.run("systemctl", *words)

    def path(self, inside: str) -> Path:
        """The same file, seen from outside."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def shows(self, unit: str = "mailbelld.service") -> dict[str, str]:
        """The properties of a unit."""
        lines = self.systemctl("show", "--all", unit).splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def daemon(self) -> int:
        """The one process of the service, seen from outside."""
        place = self.path("/sys/fs/cgroup/system.slice/mailbelld.service/cgroup.procs")
        (pid,) = place.read_text().split()
        return int(pid)

    def log(self) -> list[str]:
        """What mailbelld has said, in all its runs."""
        log = self.path(LOG)
        return log.read_text().splitlines() if log.exists() else []

    def change(self, text: str) -> None:
        """Change settings of the service's unit for its next start; "": change nothing any more."""
        file = self.path(f"{DROP_INS}/more.conf")
        if text != (file.read_text() if file.exists() else ""):
            file.write_text(text)
            self.systemctl("daemon-reload")

    def status(self) -> Status:
        """Return mailbelld's status. The question itself starts mailbelld."""
        with Client(str(self.path(SOCKET)), timeout=PATIENCE) as client:
            return client.status()

    def counted(self, transport: str = "tcp") -> dict[str, int]:
        """Return the outcomes that are not zero."""
        return {name: n for name, n in getattr(self.status().outcomes, transport).items() if n}


@contextmanager
def managers(directory: Path, *, ipv6: str = "there") -> Iterator[Manager]:
    """Start a service manager; the test is skipped, with the reason, where that cannot be.

    Args:
        directory: for its files, not used otherwise.
        ipv6: "there"; "missing", as with `ipv6.disable=1`; or "hidden": no program can make
            such a socket, and nothing in /proc says so.

    Yields:
        It, with mailbell in /opt/mailbell and nothing installed of its service.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root: a service manager is the first process of a machine")
    if not SYSTEMD.exists():
        pytest.skip("systemd is not installed")
    with (
        control_group() as group,
        namespaces(
            [f"{SERVER[0]}/24", f"{SERVER[1]}/64"], [f"{CLIENTS[0]}/24", f"{CLIENTS[1]}/64"]
        ) as hosts,
        _booted(directory, group, hosts.server, ipv6=ipv6) as pid,
    ):
        manager = Manager(pid, hosts)
        own = sys.base_prefix == "/usr"
        for folder in (DROP_INS, SENDER_DROP_INS):
            drop_ins = manager.path(folder)
            drop_ins.mkdir()
            (drop_ins / "test.conf").write_text(_TEST if own else _TEST + _ELSEWHERE)
        yield manager


@contextmanager
def control_group() -> Iterator[Path]:
    """Make a control group of version 2, in which it makes its own."""
    mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    places = [left.split()[4] for left, right in mounts if right.startswith("cgroup2 ")]
    if not places:
        pytest.skip("no control groups of version 2 are mounted")
    (own,) = (
        line.removeprefix("0::/")
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::/")
    )
    try:
        group = Path(tempfile.mkdtemp(prefix="mailbell-", dir=Path(places[0], own)))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield group
    finally:
        until(lambda: _removed(group), "the end of everything that was started")


def _removed(group: Path) -> bool:
    """Remove the group and its children, when no process runs there any more."""
    folders = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
    try:
        for folder in (*folders, group):
            folder.rmdir()
    except OSError:
        return False
    return True


@contextmanager
def _booted(directory: Path, group: Path, host: Namespace, *, ipv6: str) -> Iterator[int]:
    arguments = (
        directory, sys.base_prefix, f"python3.{sys.version_info.minor}",
        sysconfig.get_path("purelib"), Path(mailbell.__file__).parent, ipv6,
    )  # fmt: skip
    join = f'echo $$ >{group}/cgroup.procs && exec "$@"'
    process = host.popen(
        [
            "setpriv", "--pdeathsig=KILL", "sh", "-c", join, "sh",
            "unshare", "-m", "-p", "-u", "-i", "-C", "--fork", "--kill-child",
            *(() if ipv6 == "there" else (sys.executable, "-c", _NO_IPV6)),
            "sh", "-c", _BOOT, "sh", *map(str, arguments),
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield _until_up(process, group / "init.scope" / "cgroup.procs", host)
    finally:
        process.kill()
        process.communicate()


def _until_up(process: "subprocess.Popen[bytes]", first: Path, host: Namespace) -> int:
    """Wait for the basic system; return the first process, seen from outside."""

    def answers() -> bool:
        if process.poll() is not None:
            assert process.stdout
            said = process.stdout.read().decode().strip()
            pytest.skip(f"no service manager can be started here: {said}")
        if not first.exists() or not (pids := first.read_text().split()):
            return False
        inside = ("nsenter", "-t", pids[0], "-m", "-p", "-C")
        asked = subprocess.run(
            [*inside, "systemctl", "is-active", "multi-user.target"],
            check=False, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
        return asked.returncode == 0

    until(answers, "the start of systemd")
    return int(first.read_text().split()[0])

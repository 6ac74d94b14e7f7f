"""The disk of a machine: Debian without a kernel, a user, and keys to log in with.

It does not depend on mailbell, so it is made once for all: it is kept by a hash of what it is
made from.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from machines.books import source
from machines.cache import kept, whole
from machines.description import Machine
from machines.processes import ALONE, run

__all__ = ["PACKAGES", "Keys", "Userland", "make_keys", "make_userland"]

# systemd and what a person's session needs; the ways in; what docs/service.md wants; AppArmor;
# programs with which the claims look at the machine.
PACKAGES: Final = (
    "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "udev", "kmod", "procps",
    "openssh-server", "iproute2", "netcat-openbsd", "python3-venv", "libseccomp2",
    "apparmor", "strace", "busybox-static",
)  # fmt: skip

USER: Final = "joe"

# To be counted up when disks that were made before are to be made anew, for another reason than
# that one of the lists has changed.
_VERSION: Final = 1

_FILES: Final = {
    "etc/hostname": "machine\n",
    "etc/hosts": "127.0.0.1 localhost machine\n::1 localhost\n",
    "etc/fstab": "/dev/vda / ext4 defaults 0 0\n",
    "etc/systemd/network/80-machine.network": (
        "[Match]\nName=en* eth*\n[Network]\nAddress=10.0.2.15/24\nAddress=fec0::15/64\n"
        "IPv6AcceptRA=no\n"
    ),
    "etc/ssh/sshd_config.d/machine.conf": (
        "HostKey /etc/ssh/ssh_host_ed25519_key\nUseDNS no\nMaxSessions 100\nMaxStartups 100\n"
    ),
}
# Their results are not looked at here, and in emulation each takes seconds of the boot.
_MASKED: Final = (
    "systemd-networkd-wait-online.service", "apt-daily.timer", "apt-daily-upgrade.timer",
    "man-db.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
    "dpkg-db-backup.timer", "systemd-networkd.socket", "ssh.socket", "ldconfig.service",
    # The kernel's module for them is not loaded.
    "proc-sys-fs-binfmt_misc.automount", "proc-sys-fs-binfmt_misc.mount", "systemd-binfmt.service",
)  # fmt: skip

# mmdebstrap sees emulators of the whole host only. Emulated, udev would make its table of hardware
# for half a minute, and links to certificates of authorities as long. Nobody asks for either.
_EMULATED: Final = (
    "--skip=check/qemu", "--dpkgopt=path-exclude=/usr/lib/udev/hwdb.d/*",
    "--dpkgopt=path-exclude=/usr/share/ca-certificates/mozilla/*",
)  # fmt: skip


@dataclass(frozen=True)
class Keys:
    """Keys of ssh(1): who may log in, and how the machine shows that it is the one."""

    client: Path
    host: Path


@dataclass(frozen=True)
class Userland:
    """A disk that can be booted, and what its initial file system needs of it."""

    disk: Path
    busybox: Path


def make_keys(folder: Path) -> Keys:
    """Make the keys of all machines, if there are none yet."""
    whole(folder, _generate)
    return Keys(folder / "client", folder / "host")


def _generate(folder: Path) -> None:
    for name in ("client", "host"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "machine", "-f", folder / name)


def make_userland(
    machine: Machine, keys: Keys, folder: Path, through: Callable[[], list[str]]
) -> Userland:
    """Make the disk of a machine, if there is none yet of the same packages and files.

    Args:
        machine: the machine.
        keys: the keys of all machines.
        folder: where to keep disks.
        through: returns what to put before a command so that it can run the machine's programs;
            nothing if this host runs them.
    """
    made_of = (_VERSION, PACKAGES, _FILES, _MASKED, keys.client.read_text())
    name = f"{machine.suite}-{machine.architecture}"
    place = kept(folder, name, made_of, lambda new: _fill(new, machine, keys, through()))
    return Userland(place / "disk", place / "busybox")


def _fill(place: Path, machine: Machine, keys: Keys, through: list[str]) -> None:
    root = place / "root"
    root.mkdir()
    _install(machine, root, through)
    _prepare(root, keys)
    shutil.copy(root / "bin/busybox", place / "busybox")
    run("mke2fs", "-q", "-t", "ext4", "-d", root, place / "disk", "4G")
    shutil.rmtree(root)


def _install(machine: Machine, root: Path, through: list[str]) -> None:
    run(
        *(through or ALONE), "mmdebstrap", "--quiet", "--variant=minbase",
        f"--architectures={machine.architecture}", "--include", ",".join(PACKAGES),
        "--format=directory", '--aptopt=Acquire::Retries "10"',
        "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--skip=cleanup/apt/lists",
        *(_EMULATED if through else ()), machine.suite, root, source(machine.suite),
        seconds=3600,
    )  # fmt: skip


def _prepare(root: Path, keys: Keys) -> None:
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "etc/ssh/ssh_host_ed25519_key").unlink(missing_ok=True)
    _copy(keys.host, root / "etc/ssh/ssh_host_ed25519_key", 0o600)
    run("useradd", "--root", root, "--create-home", "--shell", "/bin/bash", USER)
    for user, home in (("root", "root"), (USER, f"home/{USER}")):
        folder = root / home / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        _copy(keys.client.with_suffix(".pub"), folder / "authorized_keys", 0o600)
        if user != "root":
            run("chown", "-R", "1000:1000", folder)
    (root / "var/log/journal").mkdir(exist_ok=True)
    # AppArmor's package has a profile for each of some hundred programs that are not here. To
    # compile them at each boot takes half a minute in emulation.
    for path in (root / "etc/apparmor.d").iterdir():
        if path.is_file():
            path.unlink()
    # The package of ssh has enabled it. Its script of SysV would need a program of the root.
    run("systemctl", "--root", root, "--quiet", "enable", "systemd-networkd.service")
    run("systemctl", "--root", root, "--quiet", "mask", *_MASKED)


def _copy(source_: Path, target: Path, mode: int) -> None:
    shutil.copy(source_, target)
    target.chmod(mode)
    os.chown(target, 0, 0)

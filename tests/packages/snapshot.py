"""What a file system is like, and what has changed in it since.

An installation that is undone must leave nothing. A test compares the whole file system before the
installation with that after the removal: each path, its kind, mode, owner and content. What a
machine changes by itself is not compared; each such path is listed here with the reason.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["BOOTED", "PACKAGES", "Entry", "Snapshot", "differences", "snapshot"]

# A path that is no part of what is compared, as a regular expression of all of it from the root
# on, and the reason. What is below such a path is not compared either.
BOOTED: Final[Mapping[str, str]] = {
    r"/(proc|sys|dev)": "the kernel's, not on a disk",
    r"/run/(systemd|log|udev|dbus|lock|utmp|user|credentials|sudo|initctl|mount)": (
        "what services that run keep there; the next boot finds none of it"
    ),
    r"/run/(agetty\.reload|motd\.dynamic|host|shm|tmpfiles\.d|blkid|console-setup)": "of the boot",
    r"/(var/)?tmp/systemd-private-[^/]*": "PrivateTmp= of services that run",
    r"/(var/)?tmp/\.(X11|ICE|font|XIM|Test)-unix": "systemd makes them at each boot",
    r"/var/log/(journal|wtmp|btmp|lastlog|README|private)": "the log of the machine",
    r"/var/lib/systemd/(random-seed|timers|timesync|catalog)": "of systemd's services",
    r"/var/lib/systemd/(coredump|pstore)": "of systemd's services",
    r"/var/lib/systemd/(ephemeral-trees|linger)": "of systemd's services",
    r"/var/lib/(private|lastlog|logrotate)": "the state of services of the machine",
    r"/var/cache/(private|ldconfig|man)": "made anew at any time",
    r"/etc/(machine-id|resolv\.conf|hostname|hosts|mtab|\.updated)": "of the boot",
    r"/var/\.updated": "of the boot",
    # lckpwdf(3) makes an empty file at the first change of an account, and passwd(5)'s programs
    # keep the last state. None of them removes these.
    r"/etc/\.pwd\.lock": "the lock of the list of users, which stays",
    r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-": "the list before its last change",
}
PACKAGES: Final[Mapping[str, str]] = {
    r"/var/lib/dpkg/(status-old|available(-old)?|diversions-old|statoverride-old)": (
        "what dpkg knew before its last run"
    ),
    r"/var/lib/dpkg/(lock|lock-frontend|triggers/.*|updates)": "dpkg works with it while it runs",
    r"/var/lib/apt/.*": "the lists of packages, and what apt installed by itself",
    r"/var/cache/apt/.*": "packages that were fetched",
    r"/var/cache/debconf/.*": "debconf's, which installs nothing of ours",
    r"/var/log/(dpkg\.log|alternatives\.log|apt/.*|apt)": "logs of dpkg and apt",
}

_BLOCK: Final = 1 << 20
_read: Final[dict[tuple[int, int, int], str]] = {}
_USERS: Final = frozenset({"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One path.

    Attributes:
        kind: the letter that ls(1) prints, and the mode, as in `-rw-r--r--`.
        owner: the numbers of user and group.
        content: of a file: a hash, and the lines if it is a list of users; of a link: its target.
    """

    kind: str
    owner: tuple[int, int]
    content: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.owner[0]}:{self.owner[1]} {self.content}".rstrip()


Snapshot = Mapping[str, Entry]
"""Each path from the root on, such as `/etc/mailbell`."""


def snapshot(root: str | Path, *volatile: Mapping[str, str]) -> Snapshot:
    """Look at a whole file system.

    Args:
        root: its root, seen from here; `/proc/PID/root` for that of another namespace.
        volatile: paths that are left out, such as `BOOTED` and `PACKAGES`.

    Returns:
        Each path below the root, and the root itself as `/`.
    """
    top = os.fspath(root).rstrip("/")
    out = re.compile("|".join(f"(?:{each})" for part in volatile for each in part) or r"(?!)")
    return dict(_walk(top, "", out))


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Compare two snapshots.

    Args:
        before: the first.
        after: the second.

    Returns:
        A line for each path that is new, gone or another, in the order of the paths.
    """
    lines = []
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old is None:
            lines.append(f"new: {path}: {new}")
        elif new is None:
            lines.append(f"gone: {path}: {old}")
        elif old != new:
            lines.append(f"changed: {path}: {_change(old, new)}")
    return lines


def _change(old: Entry, new: Entry) -> str:
    """Show what is different; of a list of users its lines alone."""
    if old.content.count("\n") and (old.kind, old.owner) == (new.kind, new.owner):
        gone, come = (set(entry.content.splitlines()) for entry in (old, new))
        words = [f"-{line}" for line in sorted(gone - come)]
        return " ".join([*words, *(f"+{line}" for line in sorted(come - gone))]) or "another order"
    return f"{old} -> {new}"


def _walk(top: str, path: str, out: re.Pattern[str]) -> Iterator[tuple[str, Entry]]:
    """Yield a folder and all below it. What vanishes meanwhile is left out."""
    yield path or "/", _entry(f"{top}{path}/.", path)
    for name in _names(f"{top}{path}/"):
        below = f"{path}/{name}"
        if out.fullmatch(below):
            continue
        try:
            entry = _entry(top + below, below)
        except FileNotFoundError:
            continue
        if entry.kind.startswith("d"):
            yield from _walk(top, below, out)
        else:
            yield below, entry


def _names(folder: str) -> Iterable[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return ()


def _entry(path: str, name: str) -> Entry:
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(found.st_mode):
        content = _text(path) if name in _USERS else _hashed(path, found)
    else:
        content = ""
    return Entry(stat.filemode(found.st_mode), (found.st_uid, found.st_gid), content)


def _hashed(path: str, found: os.stat_result) -> str:
    """Return a hash of a file. It is read again only if its inode has changed in any way."""
    # Nobody can set the time of the last change of an inode, inode(7). Two inodes of this number,
    # size and time in nanoseconds are one, seen through the overlays of two systems.
    inode = (found.st_ino, found.st_size, found.st_ctime_ns)
    if inode not in _read:
        _read[inode] = _hash(path)
    return _read[inode]


def _hash(path: str) -> str:
    counted = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            counted.update(block)
    return counted.hexdigest()


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(_BLOCK)

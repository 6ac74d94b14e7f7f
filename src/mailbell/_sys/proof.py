"""What the kernel says about this process, and whether that is locked.

`/proc/self/status` is opened before the lock and read after it: the last word
is the kernel's, not ours. Source: proc_pid_status(5).
"""

from dataclasses import dataclass
from typing import Final

from mailbell._sys.credentials import Identity
from mailbell.core.errors import InternalError

__all__ = ["ProcessStatus", "parse_status", "require_locked"]

# linux/seccomp.h: SECCOMP_MODE_FILTER
SECCOMP_FILTER: Final = 2


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """The lines of `/proc/PID/status` that matter here.

    Attributes:
        uids: real, effective, saved and file system user id.
        gids: the same of the group.
        groups: supplementary groups.
        inheritable: capability sets as bits, this one and the next four.
        permitted: see above.
        effective: see above.
        bounding: see above.
        ambient: see above.
        no_new_privs: whether execve(2) can grant nothing any more.
        seccomp: 0 none, 1 strict, 2 filter.
        threads: how many there are.
    """

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    inheritable: int
    permitted: int
    effective: int
    bounding: int
    ambient: int
    no_new_privs: bool
    seccomp: int
    threads: int

    @property
    def capabilities(self) -> int:
        """All sets but the bounding one, joined."""
        return self.inheritable | self.permitted | self.effective | self.ambient


def parse_status(text: bytes) -> ProcessStatus:
    """Read the text of `/proc/PID/status`.

    Args:
        text: all of it.

    Returns:
        The lines that matter here.

    Raises:
        InternalError: a line is missing or is not what the kernel writes.
    """
    lines = dict(line.split(b":", 1) for line in text.splitlines() if b":" in line)

    def numbers(key: str) -> tuple[int, ...]:
        return tuple(map(int, lines[key.encode()].split()))

    def bits(key: str) -> int:
        return int(lines[key.encode()], 16)

    try:
        return ProcessStatus(
            uids=numbers("Uid"),
            gids=numbers("Gid"),
            groups=numbers("Groups"),
            inheritable=bits("CapInh"),
            permitted=bits("CapPrm"),
            effective=bits("CapEff"),
            bounding=bits("CapBnd"),
            ambient=bits("CapAmb"),
            no_new_privs=bool(int(lines[b"NoNewPrivs"])),
            seccomp=int(lines[b"Seccomp"]),
            threads=int(lines[b"Threads"]),
        )
    except (KeyError, ValueError) as error:
        raise InternalError(f"/proc/self/status is not understood: {error!r}") from error


def require_locked(status: ProcessStatus, identity: Identity, *, dropped: bool) -> None:
    """Make sure that the kernel agrees that this process is locked.

    Args:
        status: what the kernel says.
        identity: who the process must be.
        dropped: it was started as root and became `identity`. Then it must be
            in no group and its bounding set empty; an ordinary user who
            started it cannot change either.

    Raises:
        InternalError: naming everything that is not as it must be.
    """
    wrong = [
        f"{what} is {found}, not {wanted}"
        for what, found, wanted in (
            ("uids", status.uids, (identity.uid,) * 4),
            ("gids", status.gids, (identity.gid,) * 4),
            ("capabilities", f"{status.capabilities:#x}", "0x0"),
            ("no_new_privs", status.no_new_privs, True),
            ("seccomp", status.seccomp, SECCOMP_FILTER),
            ("threads", status.threads, 1),
            ("groups", status.groups if dropped else (), ()),
            ("bounding set", f"{status.bounding if dropped else 0:#x}", "0x0"),
        )
        if found != wanted
    ]
    if wrong:
        raise InternalError(f"the process is not locked: {'; '.join(wrong)}")

"""Checks by what the kernel says that this process is locked.

`/proc/self/status` is opened before the lock and read after it. The check believes the
kernel and not our own code. Source: proc_pid_status(5).
"""

from dataclasses import dataclass
from typing import Final

from mailbell._sys.credentials import Identity
from mailbell.core.errors import InternalError, OperatingSystemError

__all__ = ["ProcessStatus", "parse_status", "require_locked", "require_untraced"]

# linux/seccomp.h: SECCOMP_MODE_FILTER
SECCOMP_FILTER: Final = 2


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """The lines of `/proc/PID/status` that the check needs.

    Attributes:
        uids: real, effective, saved and file system user id.
        gids: the same four ids of the group.
        groups: supplementary groups.
        inheritable: a capability set as bits, like the next four.
        permitted: a capability set as bits.
        effective: a capability set as bits.
        bounding: a capability set as bits.
        ambient: a capability set as bits.
        no_new_privs: whether execve(2) can grant no privilege any more.
        seccomp: 0 none, 1 strict, 2 filter.
        threads: how many threads the process has.
        tracer: the process that traces this one; 0: none that this one could know of.
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
    tracer: int

    @property
    def capabilities(self) -> int:
        """The capabilities that are in any set but the bounding set, as bits."""
        return self.inheritable | self.permitted | self.effective | self.ambient


def parse_status(text: bytes) -> ProcessStatus:
    """Read the text of `/proc/PID/status`.

    Args:
        text: the whole text.

    Returns:
        The lines that the check needs.

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
            tracer=int(lines[b"TracerPid"]),
        )
    except (KeyError, ValueError) as error:
        raise InternalError(f"/proc/self/status is not understood: {error!r}") from error


def require_locked(status: ProcessStatus, identity: Identity, *, dropped: bool) -> None:
    """Make sure that this process is locked, by what the kernel says.

    Args:
        status: what the kernel says.
        identity: the user that the process must run as.
        dropped: whether the process was started as root and became `identity`. Then it
            must be in no group and its bounding set must be empty. A process that an
            ordinary user starts can change neither.

    Raises:
        InternalError: the process is not locked. The message names every wrong value.
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


def require_untraced(status: ProcessStatus) -> None:
    """Make sure that no process has attached to this one.

    A tracer reads and changes everything in its process, also after the lock. A process that
    is not dumpable gets no new tracer, so the answer stays true.

    Args:
        status: what the kernel says, read after the process became undumpable.

    Raises:
        OperatingSystemError: a process has attached, and could control the locked program.
    """
    if status.tracer:
        raise OperatingSystemError(
            f"process {status.tracer} traces this one and would control it, also when it is locked",
            "start it without strace or a debugger; to keep all other processes of its user out,"
            " start it as root or by a service manager",
        )

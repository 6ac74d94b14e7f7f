"""Says what the sandbox of this process is like: for the status and for the log."""

from mailbell.interfaces.sandbox import Sandbox
from mailbell.logs.journal import Journal, Level
from mailbell.sandbox.lock import Locked, Unprivileged

__all__ = ["describe_sandbox", "log_locked", "uncovered"]


def describe_sandbox(locked: Locked) -> Sandbox:
    """Return the state of the sandbox, for a status.

    Args:
        locked: the proof that this process is locked in.
    """
    status, landlock = locked.status, locked.unprivileged.landlock
    return Sandbox(
        uid=status.uids[0],
        gid=status.gids[0],
        groups=status.groups,
        capabilities=f"{status.capabilities:016x}",
        no_new_privs=status.no_new_privs,
        seccomp=status.seccomp,
        threads=status.threads,
        permitted_calls=len(locked.policy.permitted),
        landlock_abi=landlock.abi,
        landlock_used=landlock.used,
        landlock_uncovered=landlock.uncovered,
    )


def log_locked(locked: Locked, journal: Journal) -> None:
    """Log that the daemon is locked in.

    Args:
        locked: the proof.
        journal: the daemon's log.
    """
    status, landlock = locked.status, locked.unprivileged.landlock
    journal.log(
        Level.INFO,
        "locked",
        uid=status.uids[0],
        gid=status.gids[0],
        seccomp=status.seccomp,
        landlock_abi=landlock.used,
        landlock_of_kernel=landlock.abi,
    )


def uncovered(unprivileged: Unprivileged) -> tuple[str, ...]:
    """Return what no second layer of this kernel forbids.

    Args:
        unprivileged: the privileges are gone and Landlock is in force.
    """
    memory = "memory that is writable and executable: the filter alone forbids it"
    return (
        *(f"Landlock: {what}" for what in unprivileged.landlock.uncovered),
        *(() if unprivileged.writable_executable_denied else (memory,)),
    )

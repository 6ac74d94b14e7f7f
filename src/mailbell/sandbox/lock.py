"""Locks this process in, one irreversible step after another.

The caller says in a `Confinement` what its program may do. `drop_privileges` drops the
privileges, `lock` loads the filter and proves the result. The records are the
order itself: what one step returns is what the next step needs, and only `lock`
makes a `Locked`. A step that fails ends the process; there is no "carry on
without".

The order and its reasons are in docs/architecture.md, "The lock".
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from mailbell._sys import credentials, landlock, process, seccomp
from mailbell._sys.proof import ProcessStatus, parse_status, require_locked
from mailbell.core.errors import InternalError, OperatingSystemError
from mailbell.syscalls.policy import Policy

__all__ = [
    "Confinement",
    "Locked",
    "Unprivileged",
    "drop_privileges",
    "lock",
    "open_status",
    "step",
]

REFUSED = "see what the system lacks, or which other sandbox is around this process"
MAX_STATUS = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a program brings to be locked in; all its privileges are still held.

    Attributes:
        policy: what the filter will permit.
        identity: the user that the process becomes; None: it has no privilege to
            change its user.
        open_files: how many descriptors the program may need at once.
        status_file: `/proc/self/status`, opened by `open_status`. It is read once,
            after the lock, and closed.
        descriptors: numbers of further descriptors that the conditions of the policy
            name. The policy must declare each name. `STATUS` and `WAKEUP` are
            added here.
        connect_to: TCP ports that the program may connect to. None else is left,
            where Landlock knows TCP (version 4 and later).
        started_as: the user this process is now.
    """

    policy: Policy
    identity: credentials.Identity | None
    open_files: int
    status_file: int
    descriptors: Mapping[str, int] = field(default_factory=dict)
    connect_to: frozenset[int] = frozenset()
    started_as: credentials.Identity = field(default_factory=credentials.current_identity)


@dataclass(frozen=True, slots=True)
class Unprivileged:
    """Privileges are gone and Landlock is in force; the system call filter is yet to come.

    Attributes:
        confinement: what the program brought.
        landlock: what Landlock covers on this kernel.
        writable_executable_denied: whether the kernel forbids memory that is both.
    """

    confinement: Confinement
    landlock: landlock.Landlock
    writable_executable_denied: bool


@dataclass(frozen=True, slots=True)
class Locked:
    """The proof that this process is locked in, read back from the kernel.

    Attributes:
        unprivileged: the step before, with what Landlock covers.
        policy: what the filter permits.
        status: what the kernel says of this process.
    """

    unprivileged: Unprivileged
    policy: Policy
    status: ProcessStatus


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say in which step the system refused what it does not refuse elsewhere.

    What can be foreseen has a message of its own, with a better remedy.

    Args:
        name: of the step, as in docs/architecture.md, "The lock".

    Raises:
        OperatingSystemError: for any OSError.
    """
    try:
        yield
    except OSError as error:
        file = f": {error.filename}" if error.filename else ""
        raise OperatingSystemError(
            f"cannot start ({name}): {error.strerror or error}{file}", REFUSED
        ) from error


def open_status() -> int:
    """Open what the kernel says of this process, to be read after the lock.

    Returns:
        The descriptor, for `Confinement.status_file`.

    Raises:
        OSError: there is no /proc.
    """
    return os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)


@step("drop privileges")
def drop_privileges(confinement: Confinement) -> Unprivileged:
    """Drop every privilege and enter Landlock. No way back.

    Args:
        confinement: with the event loop not yet running and no second thread.

    Raises:
        MailbellError: a step failed, or could be undone.
    """
    process.preload_libgcc()
    if confinement.identity is not None:
        credentials.empty_bounding_set()
        credentials.drop_to(confinement.identity)
    credentials.clear_capabilities()
    process.no_new_privileges()
    process.make_undumpable()  # after the change of user, which resets it
    writable_executable_denied = process.deny_writable_executable()
    process.limit_resources(open_files=confinement.open_files)
    process.require_single_task()
    restricted = landlock.restrict(connect_to=confinement.connect_to)
    return Unprivileged(confinement, restricted, writable_executable_denied)


@step("lock")
def lock(unprivileged: Unprivileged) -> Locked:
    """Load the system call filter and prove that the process is locked and can work.

    Args:
        unprivileged: with the event loop running: its descriptors exist, and
            no further ones will be made.

    Raises:
        MailbellError: the filter does not load, the proof fails, or the allocator does not
            work under the filter.
    """
    confinement = unprivileged.confinement
    named = {"STATUS": confinement.status_file, "WAKEUP": _wakeup_descriptor()}
    policy = confinement.policy.bind({**confinement.descriptors, **named})
    compiled = seccomp.compile_policy(policy)
    compiled.load()
    process.require_memory_can_grow()
    return Locked(unprivileged, policy, _prove(confinement))


def _wakeup_descriptor() -> int:
    """Return what the C signal handler writes to, so that the filter permits just that."""
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)  # as Trio had it
    return descriptor


def _prove(confinement: Confinement) -> ProcessStatus:
    """Read the kernel's own account of this process, and try what is forbidden."""
    status = parse_status(os.read(confinement.status_file, MAX_STATUS))
    os.close(confinement.status_file)
    dropped = confinement.identity is not None
    require_locked(status, confinement.identity or confinement.started_as, dropped=dropped)
    # Landlock has been proven and knows neither of these: the filter alone refuses.
    _require_refused("opened", lambda: os.close(os.open("/", os.O_PATH)))
    _require_refused("looked at", lambda: os.stat("/"))
    return status


def _require_refused(what: str, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except OSError as error:
        if error.errno == errno.EACCES:  # what the policy says; other sandboxes say EPERM
            return
        raise
    raise InternalError(f"the sandbox is in force, and yet a file could be {what}")

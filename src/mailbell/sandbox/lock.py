"""Locks this process in, one irreversible step after another.

The caller says in a `Confinement` what its program may do. `drop_privileges` drops the
privileges. `lock` loads the system call filter and proves the result. The types keep the
order: each step needs the record that the step before it returns, and only `lock`
makes a `Locked`. A step that fails raises, and the program must end: a program that is
locked in only partly must not serve.

The order and its reasons are in docs/architecture.md, "The lock".
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from mailbell._sys import credentials, landlock, process, seccomp
from mailbell._sys.environment import forget_environment
from mailbell._sys.inheritance import close_inherited, reset_attributes
from mailbell._sys.interpreter import require_lockable
from mailbell._sys.proof import ProcessStatus, parse_status, require_locked, require_untraced
from mailbell._sys.signals import prepare_signals
from mailbell._sys.undumpable import make_undumpable
from mailbell.core.errors import InternalError, OperatingSystemError
from mailbell.syscalls.policy import Numbers, Policy

__all__ = [
    "Confinement",
    "Locked",
    "Unprivileged",
    "clear_inherited",
    "drop_privileges",
    "lock",
    "open_status",
    "step",
]

REFUSED = "see what the system lacks, or which other sandbox is around this process"
MAX_STATUS = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a program may do once it is locked in. The process still has all its privileges.

    Attributes:
        policy: the system calls that the filter will permit.
        identity: the user that the process becomes; None: the process has no privilege
            to change its user.
        open_files: how many descriptors the program may need at once.
        status_file: `/proc/self/status`, opened by `open_status`. `lock` reads it once,
            after the filter is loaded, and closes it.
        descriptors: numbers of further descriptors, one or several, by the names that the
            conditions of the policy use. The policy must declare each name. `lock` adds
            `STATUS`, and `WAKEUP` if the policy declares it.
        connect_to: TCP ports that the program may connect to. Landlock forbids all
            other ports from version 4 on; earlier versions do not know TCP.
        send_to: UDP ports that the program may send to. Landlock forbids all other ports from
            version 10 on; earlier versions do not know UDP.
        connect_within: folders in which the program may connect to Unix sockets. Landlock forbids
            all others from version 9 on; earlier versions do not know these.
        open_last: opens the files that root must not open, because another user can change
            them. It runs as `identity`, without any privilege, before Landlock. It returns
            descriptors as `descriptors` has them; None: there are no such files.
        open_within: the folder of these files. A first layer of Landlock then forbids all other
            files, because what reads a hostile file may be taken over by it. None: `open_last`
            opens no file.
        readable: further files that `open_last` may read.
        started_as: the user that this process runs as now.
    """

    policy: Policy
    identity: credentials.Identity | None
    open_files: int
    status_file: int
    descriptors: Mapping[str, Numbers] = field(default_factory=dict)
    connect_to: frozenset[int] = frozenset()
    send_to: frozenset[int] = frozenset()
    connect_within: tuple[str, ...] = ()
    open_last: Callable[[], Mapping[str, Numbers]] | None = None
    open_within: str | None = None
    readable: tuple[str, ...] = ()
    started_as: credentials.Identity = field(default_factory=credentials.current_identity)


@dataclass(frozen=True, slots=True)
class Unprivileged:
    """The privileges are gone and Landlock is in force; the filter is not loaded yet.

    Attributes:
        confinement: what the program may do.
        landlock: what Landlock covers on this kernel.
        writable_executable_denied: whether the kernel forbids memory that is both
            writable and executable.
        opened: the descriptors that `open_last` returned.
    """

    confinement: Confinement
    landlock: landlock.Landlock
    writable_executable_denied: bool
    opened: Mapping[str, Numbers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Locked:
    """The proof that this process is locked in, read back from the kernel.

    Attributes:
        unprivileged: the result of the step before, with what Landlock covers.
        policy: the system calls that the filter permits.
        status: what the kernel says about this process.
    """

    unprivileged: Unprivileged
    policy: Policy
    status: ProcessStatus


@contextmanager
def step(name: str) -> Iterator[None]:
    """Name the step in the message of an error that no code foresaw.

    Errors that can be foreseen have messages of their own, with a better remedy.

    Args:
        name: the name of the step, as in docs/architecture.md, "The lock".

    Raises:
        OperatingSystemError: the step raised an OSError.
    """
    try:
        yield
    except OSError as error:
        file = f": {error.filename}" if error.filename else ""
        raise OperatingSystemError(
            f"cannot start ({name}): {error.strerror or error}{file}", REFUSED
        ) from error


def open_status() -> int:
    """Open `/proc/self/status`. `lock` reads it when no file can be opened any more.

    Returns:
        The descriptor, for `Confinement.status_file`.

    Raises:
        OSError: /proc is not mounted.
    """
    return os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)


@step("close inherited")
def clear_inherited() -> None:
    """Close and reset what this process inherited: descriptors, attributes, signals.

    Raises:
        MailbellError: this interpreter cannot be locked in, or a step failed.
    """
    require_lockable(os.environ)
    close_inherited(os.environ, os.getpid())
    reset_attributes()
    prepare_signals()


@step("drop privileges")
def drop_privileges(confinement: Confinement) -> Unprivileged:
    """Drop every privilege and enter Landlock. This cannot be undone.

    Call it before the event loop runs, and with a single thread.

    Args:
        confinement: what the program may do.

    Raises:
        MailbellError: a step failed, or it could be undone.
    """
    process.preload_libgcc()
    forget_environment()
    if confinement.identity is not None:
        credentials.empty_bounding_set()
        credentials.become(confinement.identity)
    credentials.clear_capabilities()
    process.no_new_privileges()
    make_undumpable()  # once more, for a process that had nothing to become
    writable_executable_denied = process.deny_writable_executable()
    process.limit_resources(open_files=confinement.open_files)
    process.require_single_task()
    witness = landlock.WITNESS
    if confinement.open_within is not None:
        witness = confinement.open_within
        landlock.confine_files(witness, confinement.readable)
    opened = confinement.open_last() if confinement.open_last is not None else {}
    restricted = landlock.restrict(
        connect_to=confinement.connect_to,
        send_to=confinement.send_to,
        connect_within=confinement.connect_within,
        witness=witness,
    )
    return Unprivileged(confinement, restricted, writable_executable_denied, opened)


@step("lock")
def lock(unprivileged: Unprivileged) -> Locked:
    """Load the system call filter and prove that the process is locked and can work.

    Call it while the event loop runs: its descriptors must exist, because the filter
    permits no new ones.

    Args:
        unprivileged: the result of `drop_privileges`.

    Raises:
        MailbellError: the filter does not load, the proof fails, or the allocator does not
            work under the filter.
    """
    confinement = unprivileged.confinement
    named = {"STATUS": confinement.status_file}
    if "WAKEUP" in confinement.policy.placeholders:
        named["WAKEUP"] = _wakeup_descriptor()
    opened = unprivileged.opened
    policy = confinement.policy.bind({**confinement.descriptors, **opened, **named})
    compiled = seccomp.compile_policy(policy, measured=False)
    compiled.load()
    process.require_memory_can_grow()
    return Locked(unprivileged, policy, _prove(confinement))


def _wakeup_descriptor() -> int:
    """Return the descriptor that Python's C signal handler writes to, for the filter."""
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)  # the value that Trio sets
    return descriptor


def _prove(confinement: Confinement) -> ProcessStatus:
    """Read what the kernel says about this process, and try what must be forbidden."""
    status = parse_status(os.read(confinement.status_file, MAX_STATUS))
    os.close(confinement.status_file)
    require_untraced(status)
    dropped = confinement.identity is not None
    require_locked(status, confinement.identity or confinement.started_as, dropped=dropped)
    # Landlock is proven already. It does not cover these two: only the filter refuses them.
    _require_refused("opened", lambda: os.close(os.open("/", os.O_PATH)))
    _require_refused("looked at", lambda: os.stat("/"))
    return status


def _require_refused(what: str, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except OSError as error:
        if error.errno == errno.EACCES:  # our policy's error; other sandboxes answer EPERM
            return
        raise
    raise InternalError(f"the sandbox is in force, but a file could still be {what}")

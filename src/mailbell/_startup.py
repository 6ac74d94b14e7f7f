"""Start-up: from a configuration to a locked process, one irreversible step after another.

The three records of this module are the order itself: what a step returns is
what the next one needs, `Locked` is made nowhere but at the end, and
`mailbell._daemon` serves nothing without it. A step that fails ends the
process; there is no "carry on without".

The order and its reasons are in docs/architecture.md, "The lock".
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass

from mailbell._binding import Sockets, open_sockets
from mailbell._config import Configuration
from mailbell._errors import (
    ConfigurationError,
    InternalError,
    OperatingSystemError,
)
from mailbell._policy import Policy
from mailbell._policy_toml import parse as parse_policy
from mailbell._service import BATCH, local_connections
from mailbell._sys import credentials, landlock, process, seccomp, systemd
from mailbell._sys.proof import ProcessStatus, parse_status, require_locked

__all__ = [
    "Locked",
    "Prepared",
    "Unprivileged",
    "descriptors_needed",
    "give_up",
    "lock",
    "prepare",
    "step",
]

POLICY = os.path.join(os.path.dirname(__file__), "policy", "mailbelld.toml")
REINSTALL = "install mailbell again: this file came with it"
REFUSED = "see what the system lacks, or which other sandbox is around this process"
MAX_POLICY = 64 * 1024
MAX_STATUS = 16 * 1024
# Descriptors beyond the places of connections: standard streams, epoll, wake-up
# sockets, the proof, the service manager, a connection that is being served at
# once, and local ones that were displaced and are about to be closed.
SPARE_DESCRIPTORS = 24 + BATCH


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything opened that will ever be opened; all privileges still held.

    Attributes:
        sockets: what is listened on.
        started_as: who this process is.
        identity: whom it will become; None: it has no privilege to change that.
        policy: what the filter will permit.
        notifier: the connection to the service manager.
        watchdog: seconds between signs of life; None: nobody asks for any.
        descriptors: how many this process may need at once.
        epoch: names this run; unguessable only as a side effect.
        seed: of the limiter, 64 secret bits.
        status_file: `/proc/self/status`, to be read once, after the lock.
    """

    sockets: Sockets
    started_as: credentials.Identity
    identity: credentials.Identity | None
    policy: Policy
    notifier: systemd.Notifier
    watchdog: float | None
    descriptors: int
    epoch: str
    seed: int
    status_file: int


@dataclass(frozen=True, slots=True)
class Unprivileged:
    """Privileges gone and Landlock in force; the system call filter is yet to come.

    Attributes:
        prepared: what was opened before.
        landlock: what it covers on this kernel.
        writable_executable_denied: whether the kernel forbids memory that is both.
    """

    prepared: Prepared
    landlock: landlock.Landlock
    writable_executable_denied: bool


@dataclass(frozen=True, slots=True)
class Locked:
    """The proof that this process is locked in, read back from the kernel.

    Attributes:
        unprivileged: all there is to serve with, and what Landlock covers.
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


@step("prepare")
def prepare(configuration: Configuration, environ: MutableMapping[str, str]) -> Prepared:
    """Open all there is to open.

    Args:
        configuration: valid, but not yet held against this machine.
        environ: the environment; what a service manager passes in it is taken out.

    Returns:
        The sockets and everything the later steps need.

    Raises:
        MailbellError: something is missing or not allowed; the message has the remedy.
    """
    identity = None
    if os.geteuid() == 0:
        identity = credentials.resolve_user(configuration.listen.user)
    policy = _read_policy()
    bound = open_sockets(configuration, environ, identity)
    return Prepared(
        sockets=bound,
        started_as=credentials.Identity("the user it was started as", os.getuid(), os.getgid()),
        identity=identity,
        policy=policy,
        notifier=systemd.Notifier(environ),
        watchdog=systemd.watchdog_interval(environ, os.getpid()),
        descriptors=descriptors_needed(configuration, len(bound.tcp) + len(bound.udp)),
        epoch=os.urandom(8).hex(),
        seed=int.from_bytes(os.urandom(8), "big"),
        status_file=os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC),
    )


def descriptors_needed(configuration: Configuration, listening: int) -> int:
    """Return how many descriptors the daemon may need at once.

    Args:
        configuration: for how many connections it may hold.
        listening: sockets it listens on, the local one not counted.
    """
    local = local_connections(configuration.socket.subscribers)
    return SPARE_DESCRIPTORS + listening + 1 + configuration.limits.connections + local


@step("give_up")
def give_up(prepared: Prepared) -> Unprivileged:
    """Drop every privilege and enter Landlock. No way back.

    Args:
        prepared: with the event loop not yet running and no second thread.

    Raises:
        MailbellError: a step failed, or could be undone.
    """
    process.preload_libgcc()
    if prepared.identity is not None:
        credentials.empty_bounding_set()
        credentials.drop_to(prepared.identity)
    credentials.clear_capabilities()
    process.no_new_privileges()
    process.make_undumpable()  # after the change of user, which resets it
    writable_executable_denied = process.deny_writable_executable()
    process.limit_resources(open_files=prepared.descriptors)
    process.require_single_task()
    return Unprivileged(prepared, landlock.restrict(), writable_executable_denied)


@step("lock")
def lock(unprivileged: Unprivileged) -> Locked:
    """Load the system call filter and prove that the process is locked.

    Args:
        unprivileged: with the event loop running: its descriptors exist, and
            no further ones will be made.

    Raises:
        MailbellError: the filter does not load, or the proof fails.
    """
    prepared = unprivileged.prepared
    policy = prepared.policy.bind({"STATUS": prepared.status_file, "WAKEUP": _wakeup_descriptor()})
    compiled = seccomp.compile_policy(policy)
    compiled.load()
    return Locked(unprivileged, policy, _prove(prepared))


def _wakeup_descriptor() -> int:
    """Return what the C signal handler writes to, so that the filter permits just that."""
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)  # as Trio had it
    return descriptor


def _prove(prepared: Prepared) -> ProcessStatus:
    """Read the kernel's own account of this process, and try what is forbidden."""
    status = parse_status(os.read(prepared.status_file, MAX_STATUS))
    os.close(prepared.status_file)
    dropped = prepared.identity is not None
    require_locked(status, prepared.identity or prepared.started_as, dropped=dropped)
    # Landlock, which has been proven, knows neither of these: the filter alone refuses.
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


def _read_policy() -> Policy:
    try:
        with open(POLICY, "rb") as file:
            data = file.read(MAX_POLICY + 1)
    except OSError as error:
        raise OperatingSystemError(f"{POLICY}: {error.strerror}", REINSTALL) from error
    try:
        return parse_policy(data)
    except ConfigurationError as error:
        raise ConfigurationError(f"{POLICY}: {error.what}", REINSTALL) from error

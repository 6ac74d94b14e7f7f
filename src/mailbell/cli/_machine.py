"""What `mailbell check` looks at: is this machine ready for this configuration?

Nothing is changed and nothing is kept: a port is tried by binding it without
listening, which no sender can notice.
"""

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mailbell._config import Configuration
from mailbell._config_values import Endpoint
from mailbell._errors import MailbellError
from mailbell._events import Family, Transport
from mailbell._sys import credentials, landlock, seccomp
from mailbell._sys.port_holder import holder
from mailbell.cli.policy import load_policy

__all__ = ["Finding", "Mark", "findings"]

_PROGRAM = "mailbelld"

# Which answers of a filter this kernel knows, as seccomp(2) describes the file.
_ACTIONS = "/proc/sys/kernel/seccomp/actions_avail"


class Mark(StrEnum):
    """How bad a finding is; the word itself is shown."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        mark: how bad it is.
        what: what was found.
        remedy: what to do about it; empty when there is nothing to do.
        exit_code: the daemon's, if it were started now; 0 unless it would fail.
    """

    mark: Mark
    what: str
    remedy: str = ""
    exit_code: int = 0


def _ok(what: str) -> Finding:
    return Finding(Mark.OK, what)


def _failed(error: MailbellError) -> Finding:
    return Finding(Mark.FAIL, error.what, error.remedy, error.exit_code)


def findings(configuration: Configuration) -> Iterator[Finding]:
    """Hold a configuration against this machine.

    Args:
        configuration: a valid one.

    Yields:
        One finding after the other; all of them, whatever was found before.
    """
    listen = configuration.listen
    for endpoint in listen.tcp:
        yield _endpoint(endpoint, Transport.TCP)
    for endpoint in listen.udp:
        yield _endpoint(endpoint, Transport.UDP)
    yield _landlock()
    yield _kernel_filter()
    yield _compiled()
    yield _identity("user", listen.user, credentials.resolve_user)
    if configuration.socket.group:
        yield _identity("group", configuration.socket.group, credentials.resolve_group)
    yield _directory(os.path.dirname(configuration.socket.path) or ".")


def _endpoint(endpoint: Endpoint, transport: Transport) -> Finding:
    where = f"{transport} {endpoint}"
    try:
        _try_bind(endpoint, transport)
    except OSError as error:
        return _refused(error, where, endpoint, transport)
    return _ok(f"{where} is free")


def _try_bind(endpoint: Endpoint, transport: Transport) -> None:
    family = socket.AF_INET if endpoint.family is Family.IPV4 else socket.AF_INET6
    kind = socket.SOCK_STREAM if transport is Transport.TCP else socket.SOCK_DGRAM
    with socket.socket(family, kind) as probe:
        if transport is Transport.TCP:
            # As the daemon does: connections that linger after a restart do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind((endpoint.host, endpoint.port))


def _refused(error: OSError, where: str, endpoint: Endpoint, transport: Transport) -> Finding:
    if error.errno == errno.EADDRINUSE:
        return _held(where, endpoint, transport)
    if error.errno in {errno.EACCES, errno.EPERM}:
        remedy = (
            "start the daemon as root (it drops to its user), by socket activation, "
            "or with CAP_NET_BIND_SERVICE"
        )
        return Finding(Mark.WARN, f"{where} may not be bound by this user", remedy)
    if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        remedy = "remove it from listen, or give this machine that address"
        return Finding(Mark.FAIL, f"{where} is not on this machine", remedy, 71)
    return Finding(Mark.FAIL, f"{where}: {error.strerror}", "check the system", 71)


def _held(where: str, endpoint: Endpoint, transport: Transport) -> Finding:
    process = holder(endpoint.family, endpoint.port, transport)
    if process is None:
        remedy = "run this check as root to see whose it is"
        return Finding(Mark.FAIL, f"{where} is taken by a process this user cannot see", remedy, 71)
    by = f"{process.name} (process {process.pid})"
    if process.name == _PROGRAM:
        return _ok(f"{where} is held by {by}: it is running")
    remedy = f"stop {process.name}: no other program may use this port (RFC 4146, section 2)"
    return Finding(Mark.FAIL, f"{where} is taken by {by}", remedy, 71)


def _landlock() -> Finding:
    try:
        abi = landlock.abi()
    except MailbellError as error:
        return _failed(error)
    older = f"; {landlock.PINNED} would cover more" if abi < landlock.PINNED else ""
    return _ok(f"the kernel has Landlock, ABI {abi}{older}")


def _kernel_filter() -> Finding:
    try:
        actions = Path(_ACTIONS).read_text(encoding="ascii").split()
    except OSError:
        actions = []
    if "kill_process" in actions:
        return _ok("the kernel has seccomp, and can kill a process")
    remedy = "use Linux 4.14 or later, built with CONFIG_SECCOMP_FILTER"
    return Finding(Mark.FAIL, "the kernel cannot filter system calls", remedy, 71)


def _compiled() -> Finding:
    try:
        policy = load_policy(_PROGRAM)
        # Any numbers will do for what only the running daemon knows.
        seccomp.compile_policy(policy.bind({n: i for i, n in enumerate(policy.unbound, 3)}))
    except MailbellError as error:
        return _failed(error)
    return _ok(f"libseccomp compiles the policy: {len(policy.permitted)} calls permitted")


def _identity(kind: str, name: str, resolve: Callable[[str], object]) -> Finding:
    try:
        resolve(name)
    except MailbellError as error:
        if os.geteuid() == 0:
            return _failed(error)
        # Only a daemon started as root needs it; this user may mean to run its own.
        return Finding(Mark.WARN, error.what, error.remedy)
    return _ok(f"the {kind} {name} exists")


def _directory(path: str) -> Finding:
    try:
        status = os.stat(path)
    except OSError as error:
        remedy = f"create it: mkdir -m 0755 {path}, or let the service manager (RuntimeDirectory=)"
        return Finding(Mark.FAIL, f"socket directory {path}: {error.strerror}", remedy, 78)
    if not stat.S_ISDIR(status.st_mode):
        return Finding(Mark.FAIL, f"{path} is no directory", "choose another socket.path", 78)
    if not status.st_mode & stat.S_IWOTH:
        return _ok(f"the socket directory {path} is there, and closed to others")
    if status.st_mode & stat.S_ISVTX:
        what = f"anyone may write to the socket directory {path}, though not replace the socket"
        return Finding(Mark.WARN, what, "choose a directory of the daemon's own")
    what = f"anyone may replace the socket in {path}"
    return Finding(Mark.FAIL, what, f"chmod o-w {path}, or choose another directory", 78)

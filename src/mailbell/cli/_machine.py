"""Examines for `mailbell check` whether this machine is ready for a configuration.

The rules and the messages are those of the daemon's own start. The check changes nothing
and keeps nothing. To try a port, it binds the port without listening, which no sender can
notice.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeVar

from mailbell._sys import credentials, landlock, local_socket, process, seccomp, sockets
from mailbell._sys.local_listener import find_local_holder, listens
from mailbell._sys.port_holder import read_process_name
from mailbell.cli import _units
from mailbell.cli._in_time import in_time
from mailbell.client import Client
from mailbell.configuration.values import Endpoint
from mailbell.core.errors import (
    MailbellError,
    PrivilegeError,
    TemporaryError,
    UnavailableError,
)
from mailbell.core.notification import Transport
from mailbell.listener.configuration import Configuration, Listen
from mailbell.listener.prepare import descriptors_needed
from mailbell.sandbox.policy_file import read_policy

__all__ = ["Finding", "Mark", "findings"]

_PROGRAM = "mailbelld"
_MANAGER: Final = 1  # process id

_T = TypeVar("_T")

# Seconds for the look-up of a user or group. It takes a millisecond, unless it asks a
# directory server.
_LOOK_UP: Final = 10.0

# Seconds for the answer of a daemon. It takes a millisecond.
_ANSWER: Final = 2.0


class Mark(StrEnum):
    """The severity of a finding. The word is printed."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        mark: the severity.
        what: what was found.
        remedy: what to do; empty if there is nothing to do.
        exit_code: the exit code of a daemon that were started now; 0: it would not fail here.
        holder: the process that holds the port; None: there is none, or it cannot be seen.
    """

    mark: Mark
    what: str
    remedy: str = ""
    exit_code: int = 0
    holder: int | None = None


def _ok(what: str) -> Finding:
    return Finding(Mark.OK, what)


def _failed(error: MailbellError) -> Finding:
    # A user with more privileges may be able to do it.
    by = "as this user: " if isinstance(error, PrivilegeError) else ""
    return Finding(Mark.FAIL, by + error.what, error.remedy, error.exit_code)


def findings(configuration: Configuration) -> Iterator[Finding]:
    """Examine this machine for a configuration.

    Args:
        configuration: a valid configuration.

    Yields:
        Every finding. A failure does not end the examination.
    """
    listen = configuration.listen
    units = _units.ask()
    if units is not None:
        yield _service(units)
    for transport, endpoints in ((Transport.TCP, listen.tcp), (Transport.UDP, listen.udp)):
        for place, endpoint in enumerate(endpoints):
            finding = _endpoint(listen, endpoint, transport, endpoints[:place])
            yield _held(finding, endpoint, transport, units)
    yield _landlock()
    yield _kernel_filter()
    yield _compiled()
    yield _open_files(configuration)
    yield _library()
    yield _user(listen.user)
    if configuration.socket.group:
        yield _group(configuration.socket.group)
    yield from _local_socket(configuration, units)


def _service(units: _units.Units) -> Finding:
    """Return the state of mailbelld's service."""
    name = _units.SERVICE
    if units.state == "active":
        return _ok(f"{name} is active (process {units.pid})")
    if units.state != "inactive":
        ended = f", result {units.result}" if units.result not in {"", "success"} else ""
        what = f"{name} is {units.state}{ended}"
        return Finding(Mark.WARN, what, f"read its log: journalctl -u {name}")
    if units.waiting:
        return _ok(f"{name} is inactive, and starts at the first connection")
    if units.enabled:
        return Finding(Mark.WARN, f"{name} is enabled, but stopped", f"systemctl start {name}")
    return _ok(f"{name} is installed, but not enabled")


def _held(
    finding: Finding, endpoint: Endpoint, transport: Transport, units: _units.Units | None
) -> Finding:
    """Judge a port again if the service manager makes the sockets of mailbelld."""
    unit = units and units.ports.get((transport, endpoint.port))
    if units and units.ports and unit is None and finding.mark is Mark.OK:
        what = f"{transport} {endpoint} is not listened on by {_units.SERVICE}, which listens on"
        held = ", ".join(f"{kind} port {port}" for kind, port in units.ports)
        remedy = f"systemctl edit {next(iter(units.ports.values()))}: its sockets replace the list"
        return Finding(Mark.WARN, f"{what} {held}", remedy)
    if finding.mark is not Mark.FAIL or unit is None or finding.holder not in {None, _MANAGER}:
        return finding
    return _ok(f"{transport} {endpoint} is held by the service manager for mailbelld ({unit})")


def _endpoint(
    listen: Listen, endpoint: Endpoint, transport: Transport, earlier: Sequence[Endpoint]
) -> Finding:
    where = f"{transport} {endpoint}"
    for other in earlier:
        if _overlap(endpoint, other):
            what = f"{where} overlaps with {other}, which the daemon binds before it"
            return Finding(Mark.FAIL, what, "keep one of the two", 71)
    try:
        sockets.examine(endpoint, transport)
    except sockets.AddressMissingError as error:
        return _awaited(error, endpoint, transport) if listen.freebind else _failed(error)
    except sockets.FamilyMissingError as error:
        if listen.is_default and transport is Transport.TCP:
            return _ok(f"{where} is left out, since {error.reason}")
        return _failed(error)
    except MailbellError as error:
        return _unbindable(error, where)
    return _ok(f"{where} is free")


def _unbindable(error: MailbellError, where: str) -> Finding:
    return _taken(error, where) if isinstance(error, sockets.PortTakenError) else _failed(error)


def _awaited(
    error: sockets.AddressMissingError, endpoint: Endpoint, transport: Transport
) -> Finding:
    """Judge an address that the machine may get later."""
    try:
        sockets.examine(endpoint, transport, freebind=True)
    except MailbellError as other:
        return _unbindable(other, f"{transport} {endpoint}")
    what = f"{error.what} yet: with listen.freebind, {transport} {endpoint} waits for it"
    return Finding(Mark.WARN, what, "see `ip address`: no sender can reach it before it comes")


def _overlap(one: Endpoint, other: Endpoint) -> bool:
    """Return whether the kernel would refuse both. To try this, the check would have to listen."""
    same = (one.family, one.port) == (other.family, other.port) and one.port != 0
    return same and (one.wildcard or other.wildcard)


def _taken(error: sockets.PortTakenError, where: str) -> Finding:
    if error.holder is None:
        remedy = f"{error.remedy}; run this check as root to see who it is"
        return Finding(Mark.FAIL, error.what, remedy, error.exit_code)
    if error.holder.name == _PROGRAM:
        return _ok(f"{where} is held by {_running(error.holder.pid)}")
    if error.holder.pid == _MANAGER:
        remedy = "see for which service: systemctl list-sockets; stop that socket unit, or listen"
        return Finding(Mark.FAIL, error.what, f"{remedy} elsewhere", error.exit_code, _MANAGER)
    return replace(_failed(error), holder=error.holder.pid)


def _running(pid: int) -> str:
    return f"{_PROGRAM} (process {pid}): it is running, and a restart frees it"


def _landlock() -> Finding:
    try:
        abi = landlock.abi()
    except MailbellError as error:
        return _failed(error)
    used = ""
    if abi < landlock.PINNED:
        used = f"; {landlock.PINNED} would cover more"
    elif abi > landlock.PINNED:
        used = f", of which mailbell uses {landlock.PINNED}"
    return _ok(f"the kernel has Landlock, ABI {abi}{used}")


def _kernel_filter() -> Finding:
    return _tried("the kernel has seccomp, and can kill a process", seccomp.require_kernel_filter)


def _compiled() -> Finding:
    try:
        policy = read_policy(_PROGRAM)
        # Only the running daemon knows the real numbers. To compile, any numbers do.
        seccomp.compile_policy(policy.bind({n: i for i, n in enumerate(policy.unbound, 3)}))
    except MailbellError as error:
        return _failed(error)
    return _ok(f"libseccomp compiles the policy: {len(policy.permitted)} calls permitted")


def _open_files(configuration: Configuration) -> Finding:
    listening = len(configuration.listen.tcp) + len(configuration.listen.udp)
    needed = descriptors_needed(configuration, listening)
    return _tried(
        f"{needed} open files are needed, and permitted",
        lambda: process.require_open_files(needed),
    )


def _library() -> Finding:
    return _tried("libgcc_s.so.1 can be loaded", process.preload_libgcc)


def _tried(what: str, attempt: Callable[[], object]) -> Finding:
    try:
        attempt()
    except MailbellError as error:
        return _failed(error)
    return _ok(what)


def _user(name: str) -> Finding:
    if os.geteuid() == 0:
        return _tried(f"the user {name} exists", lambda: _identity(name))
    try:
        _identity(name)
    except MailbellError as error:
        # Only a daemon that is started as root needs this user.
        return Finding(Mark.WARN, error.what, error.remedy)
    return _ok(f"the user {name} exists")


def _identity(name: str) -> credentials.Identity:
    return _looked_up(f"the user {name}", lambda: credentials.resolve_user(name))


def _group_to_give(name: str) -> int | None:
    return _looked_up(f"the group {name}", lambda: credentials.find_group_to_give(name))


def _looked_up(what: str, look_up: Callable[[], _T]) -> _T:
    """Look up a name. A directory server that does not answer must not delay the check."""
    try:
        return in_time(look_up, _LOOK_UP)
    except TimeoutError as error:
        raise TemporaryError(
            f"the look-up of {what} takes longer than {_LOOK_UP:.0f} seconds",
            "see which services /etc/nsswitch.conf asks, and whether they answer",
        ) from error


def _group(name: str) -> Finding:
    try:
        group = _group_to_give(name)
    except MailbellError as error:
        return _failed(error)
    if group is None:
        what = f"the group {name} cannot be used by this user: the socket will be its own alone"
        return Finding(Mark.WARN, what, "create it, join it, or let root start the daemon")
    return _ok(f"the group {name} exists")


def _local_socket(configuration: Configuration, units: _units.Units | None) -> Iterator[Finding]:
    path = configuration.socket.path
    if units and (unit := units.paths.get(path)):
        if not os.path.lexists(path):
            yield from _unreached(path)
            return
        yield _passed(configuration, unit)
        return
    yield from _unreached(path)
    try:
        local_socket.examine_local(path, _group_of_socket(configuration), _trusted(configuration))
    except local_socket.AlreadyRunningError as error:
        yield _listening(error, path)
    except MailbellError as error:
        yield _failed(error)
    else:
        yield _ok(f"the local socket {path} can be made")
        yield from _directory(os.path.dirname(path))


def _passed(configuration: Configuration, unit: str) -> Finding:
    """Judge a socket of the service manager. The service runs as the daemon's user."""
    path = configuration.socket.path
    # A connection, to see which process listens, would start the daemon.
    return _tried(
        f"{path} is held by the service manager for mailbelld ({unit})",
        lambda: local_socket.require_safe_passed(
            path, configuration.socket.mode, _daemon_user(configuration)
        ),
    )


def _listening(error: local_socket.AlreadyRunningError, path: str) -> Finding:
    """Judge which process listens at the socket's path."""
    if error.pid and read_process_name(error.pid) == _PROGRAM:
        return _ok(f"{path} is held by {_running(error.pid)}")
    # The process that called listen(2) may be a service manager, which has passed the
    # socket to the daemon.
    found = find_local_holder(path)
    if found is not None and found.name == _PROGRAM:
        return _ok(f"{path} is held by {_running(found.pid)}")
    return _failed(error)


def _unreached(path: str) -> Iterator[Finding]:
    """Warn of a daemon that runs and does not answer. It is no failure: a restart helps.

    The socket's file may have been removed or replaced, so that the path leads elsewhere.
    """
    if not listens(path):
        return
    try:
        with Client(path, timeout=_ANSWER) as client:
            client.status()
    except (UnavailableError, TemporaryError) as error:
        yield Finding(Mark.WARN, error.what, error.remedy)
    except MailbellError:  # Another program answers. A later finding says which.
        return


def _group_of_socket(configuration: Configuration) -> int | None:
    name = configuration.socket.group
    try:
        if name:
            return _group_to_give(name)
        if os.geteuid() == 0:
            return _identity(configuration.listen.user).gid
    except MailbellError:  # another finding has reported the user or the group
        pass
    return None


def _trusted(configuration: Configuration) -> set[int]:
    """Return the user that the daemon becomes, if it is started as this user."""
    return _daemon_user(configuration) if os.geteuid() == 0 else set()


def _daemon_user(configuration: Configuration) -> set[int]:
    try:
        return {_identity(configuration.listen.user).uid}
    except MailbellError:  # another finding has reported the user
        return set()


def _directory(path: str) -> Iterator[Finding]:
    try:
        mode = os.stat(path).st_mode
    except OSError:  # it was removed since the check before
        return
    if mode & stat.S_IWOTH:
        what = f"anyone may write to the socket directory {path}, though not replace the socket"
        yield Finding(Mark.WARN, what, "choose a directory of the daemon's own")

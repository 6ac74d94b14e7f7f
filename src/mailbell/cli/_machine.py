"""Examines for `mailbell check` whether this machine is ready for a configuration.

The rules and the messages are those of the daemon's own start. The check changes nothing
and keeps nothing. To try a port, it binds the port without listening, which no sender can
notice.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from mailbell._sys import credentials, landlock, local_socket, process, seccomp, sockets
from mailbell._sys.local_listener import find_local_holder, listens
from mailbell._sys.port_holder import read_process_name
from mailbell.cli import _units
from mailbell.cli._finding import Finding, Mark, failed, ok, tried
from mailbell.cli._in_time import in_time
from mailbell.cli._service import service_findings
from mailbell.client import Client
from mailbell.configuration.values import Endpoint
from mailbell.core.errors import (
    MailbellError,
    TemporaryError,
    UnavailableError,
)
from mailbell.core.notification import Transport
from mailbell.listener.configuration import Configuration, Listen
from mailbell.listener.prepare import descriptors_needed
from mailbell.sandbox.policy_file import read_policy

__all__ = [
    "LocalPlace",
    "compiled",
    "findings",
    "group",
    "group_to_give",
    "identity_of",
    "kernel_filter",
    "kernel_landlock",
    "library",
    "local_findings",
    "open_files",
    "owners_of",
    "user",
]

_PROGRAM = "mailbelld"
_GROUP_KEY = "socket.group"
_MANAGER: Final = 1  # process id

_T = TypeVar("_T")

# Seconds for the look-up of a user or group. It takes a millisecond, unless it asks a
# directory server.
_LOOK_UP: Final = 10.0

# Seconds for the answer of a daemon. It takes a millisecond.
_ANSWER: Final = 2.0


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
        yield from service_findings(units, _units.SERVICE)
    for transport, endpoints in ((Transport.TCP, listen.tcp), (Transport.UDP, listen.udp)):
        for place, endpoint in enumerate(endpoints):
            finding = _endpoint(listen, endpoint, transport, endpoints[:place])
            yield _held(finding, endpoint, transport, units)
    yield kernel_landlock()
    yield kernel_filter()
    yield compiled(_PROGRAM)
    listening = len(configuration.listen.tcp) + len(configuration.listen.udp)
    yield open_files(descriptors_needed(configuration, listening))
    yield library()
    yield from user(listen.user, units)
    if configuration.socket.group:
        yield group(configuration.socket.group, units)
    yield from local_findings(_local_place(configuration, units), units)


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
    return ok(f"{transport} {endpoint} is held by the service manager for mailbelld ({unit})")


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
        return _awaited(error, endpoint, transport) if listen.freebind else failed(error)
    except sockets.FamilyMissingError as error:
        if listen.is_default and transport is Transport.TCP:
            return ok(f"{where} is left out, since {error.reason}")
        return failed(error)
    except MailbellError as error:
        return _unbindable(error, where)
    return ok(f"{where} is free")


def _unbindable(error: MailbellError, where: str) -> Finding:
    return _taken(error, where) if isinstance(error, sockets.PortTakenError) else failed(error)


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
        return ok(f"{where} is held by {_running(error.holder.pid)}")
    # systemd names its child after the program, within brackets, until the child executes it.
    about_to_execute = error.holder.name.startswith("(") and error.holder.name.endswith(")")
    if error.holder.pid == _MANAGER or about_to_execute:
        remedy = "see for which service: systemctl list-sockets; stop that socket unit, or listen"
        return Finding(Mark.FAIL, error.what, f"{remedy} elsewhere", error.exit_code, _MANAGER)
    return replace(failed(error), holder=error.holder.pid)


def _running(pid: int, program: str = _PROGRAM) -> str:
    return f"{program} (process {pid}): it is running, and a restart frees it"


def kernel_landlock() -> Finding:
    """Judge the version of Landlock in the kernel."""
    try:
        abi = landlock.abi()
    except MailbellError as error:
        return failed(error)
    used = f"of which mailbell uses {landlock.plan(abi).used}"
    if abi == landlock.PINNED:
        used = "and mailbell uses all of it"
    elif abi < landlock.PINNED:
        used = f"and mailbell uses all of it; {landlock.PINNED} would cover more"
    return ok(f"the kernel has Landlock, ABI {abi}, {used}")


def kernel_filter() -> Finding:
    """Judge whether the kernel has the filter of system calls."""
    return tried("the kernel has seccomp, and can kill a process", seccomp.require_kernel_filter)


def compiled(program: str) -> Finding:
    """Compile the policy of a program, as it does itself at its start."""
    try:
        policy = read_policy(program)
        # Only the running daemon knows the real numbers. To compile, any numbers do.
        seccomp.compile_policy(policy.bind({n: i for i, n in enumerate(policy.unbound, 3)}))
    except MailbellError as error:
        return failed(error)
    what = f"libseccomp compiles the policy of {program}: {len(policy.permitted)} calls permitted"
    return ok(f"{what}, by the Python module {seccomp.binding_name()}")


def open_files(needed: int) -> Finding:
    """Judge the limit of open files."""
    return tried(
        f"{needed} open files are needed, and permitted",
        lambda: process.require_open_files(needed),
    )


def library() -> Finding:
    """Judge whether the library that ends a thread can be loaded."""
    return tried("libgcc_s.so.1 can be loaded", process.preload_libgcc)


def user(name: str, units: _units.Units | None) -> Iterator[Finding]:
    """Judge the user that the daemon becomes.

    Args:
        name: the user that the configuration names.
        units: the state of the daemon's units; None: there are none.

    Yields:
        One finding; none if the service has its user from its unit, which another finding judges.
    """
    if units and units.user:
        return
    if units or os.geteuid() == 0:
        yield tried(f"the user {name} exists", lambda: identity_of(name))
        return
    try:
        identity_of(name)
    except MailbellError as error:
        # Only a daemon that is started as root needs this user.
        yield Finding(Mark.WARN, error.what, error.remedy)
    else:
        yield ok(f"the user {name} exists")


def identity_of(name: str) -> credentials.Identity:
    """Find the user that the daemon becomes.

    Raises:
        MailbellError: there is no such user, or the look-up takes too long.
    """
    return _looked_up(f"the user {name}", lambda: credentials.resolve_user(name))


def group_to_give(name: str, key: str = _GROUP_KEY) -> int | None:
    """Find the group of a socket; None: this user cannot give it away.

    Args:
        name: the name of the group.
        key: the key of the configuration that names it.

    Raises:
        MailbellError: there is no such group, or the look-up takes too long.
    """
    return _looked_up(f"the group {name}", lambda: credentials.find_group_to_give(name, key))


def _looked_up(what: str, look_up: Callable[[], _T]) -> _T:
    """Look up a name. A directory server that does not answer must not delay the check."""
    try:
        return in_time(look_up, _LOOK_UP)
    except TimeoutError as error:
        raise TemporaryError(
            f"the look-up of {what} takes longer than {_LOOK_UP:.0f} seconds",
            "see which services /etc/nsswitch.conf asks, and whether they answer",
        ) from error


def group(name: str, units: _units.Units | None, key: str = _GROUP_KEY) -> Finding:
    """Judge the group of a socket.

    Args:
        name: the name of the group.
        units: the state of the daemon's units; None: there are none.
        key: the key of the configuration that names the group.
    """
    exists = f"the group {name} exists"
    if units and units.paths:
        # The service manager has given the socket away. Who looks need not be in the group.
        return tried(
            exists,
            lambda: _looked_up(f"the group {name}", lambda: credentials.resolve_group(name, key)),
        )
    try:
        found = group_to_give(name, key)
    except MailbellError as error:
        return failed(error)
    if found is None:
        what = f"the group {name} cannot be used by this user: the socket will be its own alone"
        return Finding(Mark.WARN, what, "create it, join it, or let root start the daemon")
    return ok(exists)


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A local socket of a daemon, before it is made.

    Attributes:
        path: where.
        what: what it is, as in `the local socket`.
        program: the daemon.
        mode: the permissions.
        gid: the group of the socket; None: the daemon's own.
        owners: the user that the daemon becomes.
        ask: asks the daemon at this path for its status; None: it cannot be asked here.
    """

    path: str
    what: str
    program: str
    mode: int
    gid: int | None
    owners: set[int]
    ask: Callable[[float], object] | None = None


def local_findings(place: LocalPlace, units: _units.Units | None) -> Iterator[Finding]:
    """Judge a local socket.

    Args:
        place: the socket.
        units: the state of the daemon's units; None: there are none.

    Yields:
        Every finding.
    """
    if units and (unit := units.paths.get(place.path)):
        if not os.path.lexists(place.path):
            yield from _unreached(place)
            return
        yield _passed(place, unit)
        return
    yield from _unreached(place)
    try:
        trusted = place.owners if os.geteuid() == 0 else set()
        local_socket.examine_local(place.path, place.gid, trusted)
    except local_socket.AlreadyRunningError as error:
        yield _listening(error, place)
    except MailbellError as error:
        yield failed(error)
    else:
        yield ok(f"{place.what} {place.path} can be made")
        yield from _directory(os.path.dirname(place.path))


def _passed(place: LocalPlace, unit: str) -> Finding:
    """Judge a socket of the service manager. The service runs as the daemon's user."""
    # A connection, to see which process listens, would start the daemon.
    return tried(
        f"{place.path} is held by the service manager for {place.program} ({unit})",
        lambda: local_socket.require_safe_passed(place.path, place.mode, place.owners),
    )


def _listening(error: local_socket.AlreadyRunningError, place: LocalPlace) -> Finding:
    """Judge which process listens at the socket's path."""
    if error.pid and read_process_name(error.pid) == place.program:
        return ok(f"{place.path} is held by {_running(error.pid, place.program)}")
    # The process that called listen(2) may be a service manager, which has passed the
    # socket to the daemon.
    found = find_local_holder(place.path)
    if found is not None and found.name == place.program:
        return ok(f"{place.path} is held by {_running(found.pid, place.program)}")
    if place.program == _PROGRAM:
        return failed(error)
    return Finding(
        Mark.FAIL, f"another process listens on {place.path}", error.remedy, error.exit_code
    )


def _unreached(place: LocalPlace) -> Iterator[Finding]:
    """Warn of a daemon that runs and does not answer. It is no failure: a restart helps.

    The socket's file may have been removed or replaced, so that the path leads elsewhere.
    """
    if place.ask is None or not listens(place.path):
        return
    try:
        place.ask(_ANSWER)
    except (UnavailableError, TemporaryError) as error:
        yield Finding(Mark.WARN, error.what, error.remedy)
    except MailbellError:  # Another program answers. A later finding says which.
        return


def _local_place(configuration: Configuration, units: _units.Units | None) -> LocalPlace:
    path = configuration.socket.path

    def ask(timeout: float) -> object:
        with Client(path, timeout=timeout) as client:
            return client.status()

    return LocalPlace(
        path=path,
        what="the local socket",
        program=_PROGRAM,
        mode=configuration.socket.mode,
        gid=_group_of_socket(configuration),
        owners=owners_of(configuration.listen.user, units),
        ask=ask,
    )


def _group_of_socket(configuration: Configuration) -> int | None:
    name = configuration.socket.group
    try:
        if name:
            return group_to_give(name)
        if os.geteuid() == 0:
            return identity_of(configuration.listen.user).gid
    except MailbellError:  # another finding has reported the user or the group
        pass
    return None


def owners_of(name: str, units: _units.Units | None) -> set[int]:
    """Return the number of the user that the daemon becomes; empty: there is no such user.

    Args:
        name: the user that the configuration names.
        units: the state of the daemon's units, which may name another; None: there are none.
    """
    try:
        return {identity_of(units.user if units and units.user else name).uid}
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

"""Examines for `mailbell sender check` whether this machine is ready for a configuration.

The rules and the messages are those of the sender's own start. The check changes nothing and
keeps nothing, and it calls no target: `mailbell sender test` does.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mailbell._sys import sockets
from mailbell._sys.trusted_path import find_weaknesses
from mailbell.cli import _units
from mailbell.cli._finding import Finding, Mark, failed, ok
from mailbell.cli._machine import (
    LocalPlace,
    compiled,
    group,
    group_to_give,
    kernel_filter,
    kernel_landlock,
    library,
    local_findings,
    open_files,
    owners_of,
    user,
)
from mailbell.cli._service import service_findings
from mailbell.configuration.values import Endpoint
from mailbell.core.errors import MailbellError
from mailbell.core.notification import Transport
from mailbell.sender.configuration import Configuration
from mailbell.sender.prepare import BACKLOG, descriptors_needed, node_of
from mailbell.sender_client import Client

__all__ = ["SERVICE", "sender_findings"]

_PROGRAM: Final = "mailbell-sender"
SERVICE: Final = "mailbell-sender.service"
_GROUP_KEY: Final = "listen.group"
_CONFIGURATION: Final = 78  # the exit code of ConfigurationError

_RESOLV_CONF: Final = "/etc/resolv.conf"
_SOMAXCONN: Final = "/proc/sys/net/core/somaxconn"
_MOST: Final = 1 << 16  # characters of such a file; a usual one has a hundred


def sender_findings(configuration: Configuration) -> Iterator[Finding]:
    """Examine this machine for a configuration.

    Args:
        configuration: a valid configuration.

    Yields:
        Every finding. A failure does not end the examination.
    """
    listen = configuration.listen
    units = _units.ask(service=SERVICE)
    if units is not None:
        yield from service_findings(units, SERVICE)
    yield from _accounts(configuration)
    yield kernel_landlock()
    yield kernel_filter()
    yield compiled(_PROGRAM)
    if configuration.has_names:
        yield compiled("mailbell-resolver")
        yield _name_servers()
    if listen.cyrus:
        yield compiled("mailbell-cyrus")
    if configuration.store.url.engine is not None:
        yield compiled("mailbell-cluster")
        yield _engine(configuration)
    yield open_files(descriptors_needed(configuration))
    yield _queue()
    yield library()
    yield from user(listen.user, units)
    if listen.group:
        yield group(listen.group, units, _GROUP_KEY)
    yield from _trusted(listen.trusted)
    for endpoint in listen.comsat:
        yield _comsat(endpoint)
    yield from _sockets(configuration, units)
    yield from _store(configuration, units)


def _accounts(configuration: Configuration) -> Iterator[Finding]:
    listed, default = configuration.account, configuration.default.targets
    rung = [one for one in listed if one.enabled and one.targets]
    if rung or default:
        others = "are rung too" if default else "ring nobody"
        yield ok(f"{len(rung)} of {len(listed)} accounts have targets; all others {others}")
        return
    what = "no account has a target: whatever the mail server says, nobody is rung"
    remedy = 'add [[account]] with targets, or [default] with targets = ["last-used"]'
    yield Finding(Mark.WARN, what, remedy)


def _name_servers() -> Finding:
    """Judge where the resolver asks. resolv.conf(5): without any, it asks this machine."""
    try:
        text = Path(_RESOLV_CONF).read_text(errors="replace")[:_MOST]
    except OSError as error:
        what = f"{_RESOLV_CONF}: {error.strerror}, and targets with names need a name server"
        return Finding(Mark.WARN, what, "create it, or write numeric addresses as targets")
    servers = [line.split()[1] for line in text.splitlines() if _names_a_server(line)]
    if not servers:
        what = f"{_RESOLV_CONF} names no name server, and targets with names need one"
        return Finding(Mark.WARN, what, "add one, or write numeric addresses as targets")
    return ok(f"targets with names are looked up at {', '.join(servers[:3])}")


def _names_a_server(line: str) -> bool:
    words = line.split()
    return len(words) > 1 and words[0] == "nameserver"


def _engine(configuration: Configuration) -> Finding:
    """Judge what the companion for the cluster needs, but for the engine itself."""
    if find_spec("coredis") is None:
        what = "store.url: the engine of a cluster needs coredis, which is not installed"
        return Finding(Mark.FAIL, what, "pip install 'mailbell[cluster]'", _CONFIGURATION)
    try:
        node = node_of(configuration)
    except MailbellError as error:
        return Finding(Mark.FAIL, error.what, error.remedy, error.exit_code)
    return ok(f"this is the node {node} of a cluster; its engine is not asked")


def _queue() -> Finding:
    """Judge how many hooks wait in the kernel while the sender restarts, listen(2)."""
    try:
        limit = int(Path(_SOMAXCONN).read_text()[:_MOST])
    except (OSError, ValueError):  # an unusual kernel; the sender starts all the same
        return ok("the kernel does not tell how many hooks may wait in a queue")
    if limit >= BACKLOG:
        return ok(f"{BACKLOG} hooks may wait while the sender restarts")
    what = f"net.core.somaxconn is {limit}: no more hooks may wait while the sender restarts"
    return Finding(Mark.WARN, what, f"sysctl -w net.core.somaxconn={BACKLOG}")


def _trusted(names: tuple[str, ...]) -> Iterator[Finding]:
    missing = [name for name in names if not _exists(name)]
    for name in missing:
        what = f"listen.trusted names {name}, which is no user of this machine"
        yield Finding(Mark.WARN, what, "correct the name, or leave it out")
    if len(missing) < len(names):
        known = ", ".join(name for name in names if name not in missing)
        yield ok(f"these users may speak for every account: {known}")


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _comsat(endpoint: Endpoint) -> Finding:
    try:
        sockets.examine(endpoint, Transport.UDP)
    except sockets.PortTakenError as error:
        holder = error.holder
        if holder is not None and holder.name == _PROGRAM:
            return ok(f"udp {endpoint} is held by {_PROGRAM} (process {holder.pid})")
        return failed(error)
    except MailbellError as error:
        return failed(error)
    return ok(f"udp {endpoint} is free")


def _sockets(configuration: Configuration, units: _units.Units | None) -> Iterator[Finding]:
    """Judge each local socket. What is wrong with their common folder is said once."""
    said = set()
    for place in _places(configuration, units):
        for finding in local_findings(place, units):
            if finding not in said:
                said.add(finding)
                yield finding


def _places(configuration: Configuration, units: _units.Units | None) -> Iterator[LocalPlace]:
    listen = configuration.listen
    owners = owners_of(listen.user, units)
    gid = _gid(configuration)
    yield LocalPlace(
        path=listen.hook,
        what="the hooks' socket",
        program=_PROGRAM,
        mode=0o666,
        gid=None,
        owners=owners,
    )
    yield LocalPlace(
        path=listen.control,
        what="the control socket",
        program=_PROGRAM,
        mode=0o660,
        gid=gid,
        owners=owners,
        ask=lambda timeout: Client(listen.control, timeout=timeout).status(),
    )
    if listen.cyrus:
        yield LocalPlace(
            path=listen.cyrus,
            what="Cyrus's notify socket",
            program=_PROGRAM,
            mode=0o660,
            gid=gid,
            owners=owners,
        )


def _gid(configuration: Configuration) -> int | None:
    name = configuration.listen.group
    try:
        return group_to_give(name, _GROUP_KEY) if name else None
    except MailbellError:  # another finding has reported the group
        return None


def _store(configuration: Configuration, units: _units.Units | None) -> Iterator[Finding]:
    """Judge the folder of the address book. The sender makes the last folder of its path."""
    path = configuration.store.path
    folder = os.path.dirname(path)
    place = folder if os.path.lexists(folder) else os.path.dirname(folder)
    owners = owners_of(configuration.listen.user, units)
    if units and not owners:
        return  # another finding has reported the user, whose folder it would be
    unsafe = list(_unsafe(place, owners, configuration.store.key))
    yield from unsafe
    if (lack := _lack(place, folder, owners, units)) is not None:
        what = f"{configuration.store.key}: {lack}: logins are kept in memory only"
        yield Finding(Mark.WARN, what, _make(configuration, units))
    elif not unsafe:
        yield ok(f"the address book is kept in {path}")


def _unsafe(place: str, owners: set[int], key: str) -> Iterator[Finding]:
    """Find users who could replace the address book. The sender would not start."""
    try:
        mode = os.stat(place).st_mode
        weaknesses = find_weaknesses(place, owners, whole=True)
    except OSError:  # it is not there, which another finding says
        return
    for weakness in weaknesses:
        yield Finding(Mark.FAIL, f"{key}: {weakness}", weakness.remedy, _CONFIGURATION)
    if not weaknesses and mode & (stat.S_IWGRP | stat.S_IWOTH):
        what = f"{key}: other users may write to {place}"
        yield Finding(Mark.FAIL, what, f"chmod go-w {place}", _CONFIGURATION)


def _lack(place: str, folder: str, owners: set[int], units: _units.Units | None) -> str | None:
    """Return why the sender cannot write to the folder; None: it can."""
    if not os.path.isdir(place):
        return f"there is no folder {folder}"
    # A service writes there as its own user, whoever looks.
    if units is None and os.geteuid() != 0:
        writable = os.access(place, os.W_OK | os.X_OK)
        return None if writable else f"this user may not write to {place}"
    if place == folder and os.stat(place).st_uid not in owners:
        return f"{folder} does not belong to the sender's user"
    return None


def _make(configuration: Configuration, units: _units.Units | None) -> str:
    name = units.user if units and units.user else configuration.listen.user
    folder = os.path.dirname(configuration.store.path)
    return f"install -d -o {name} -g {name} -m 0700 {folder}"

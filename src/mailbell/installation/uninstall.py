"""What `mailbell uninstall` removes: what `mailbell install` has made, and nothing else."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.installation import _systemd
from mailbell.installation._accounts import is_ours, remove_account
from mailbell.installation._confinement import is_loaded, unload
from mailbell.installation._files import is_our_link, left_over, ours, remove_made, require_safe_way
from mailbell.installation._pages import page_links
from mailbell.installation.install import (
    BIN,
    HOOK,
    SYSTEM,
    is_packaged,
    only_one,
    paths,
    profile_path,
    shipped,
)
from mailbell.installation.services import ALL, Service
from mailbell.installation.steps import Say

__all__ = ["uninstall"]

_CONFIGURATION: Final = "/etc/mailbell"
_MOUNTS: Final = "/proc/self/mountinfo"


class _Removal(NamedTuple):
    """One thing to remove: what is said, and what is done."""

    what: str
    do: Callable[[], object]
    path: str = ""


def uninstall(say: Say, *, dry: bool) -> bool:
    """Stop both services and remove all that was installed for them.

    Args:
        say: called with each step, and with what a person has made and so is kept.
        dry: whether to tell the steps only.

    Returns:
        Whether there was something to remove.

    Raises:
        ConfigurationError: another user could lead a path elsewhere.
        OperatingSystemError: a step failed. The same command goes on from there.
        OSError: the same.
    """
    found = False
    with only_one(dry=dry):
        removed = set()
        for removal in _all(say):
            found = True
            removed.add(removal.path)
            say(removal.what)
            if not dry:
                removal.do()
        for kept in _of_persons():
            if kept not in removed:
                say(f"keep {kept}, which mailbell install has not made")
    return found


def _all(say: Say) -> Iterator[_Removal]:
    for service in ALL:
        if is_packaged(service):
            say(f"{service.unit} is from a package: apt-get purge {service.package}")
        else:
            yield from _removals(service)
    programs = [f"{BIN}/{name}" for name in ("mailbell", *(service.name for service in ALL))]
    for path in [*programs, *page_links()]:
        if is_our_link(path):
            yield _unlink(path)


def _removals(service: Service) -> Iterator[_Removal]:
    """Yield what is there of a service, in the order in which it is removed."""
    sources = paths(service)
    files = [path for path, source in sources.items() if _is_ours(path, source)]
    units = [unit for unit in service.units if f"{SYSTEM}/{unit}" in files]
    # A unit that a person has written may need the user.
    is_alone = not [path for path in sources if os.path.lexists(path) and path not in files]
    if units:
        yield _Removal(f"stop {service.unit}, and start it at boot no more", lambda: _stop(units))
    profile = profile_path(service)
    if profile in files and is_loaded(service.name):
        what = f"let AppArmor forget {service.name}"
        yield _Removal(what, lambda: unload(profile, service.name))
    for path in files:
        yield _unlink(path)
    if units and _systemd.is_running():
        yield _Removal("let systemd forget its files", lambda: _forget(service))
    if service.hook and _is_ours(HOOK, "hook.py"):
        yield _unlink(HOOK)
    if is_alone and (files or is_ours(service)):
        yield from _made(service)


def _made(service: Service) -> Iterator[_Removal]:
    """Yield what a service has made, and its user."""
    if service.state and os.path.isdir(service.state) and not _is_elsewhere(service.state):
        what = f"remove {service.state}, and with it from where users have checked their mail"
        yield _Removal(what, lambda: shutil.rmtree(service.state))
    if os.path.isdir(service.run):
        yield _Removal(f"remove {service.run}", lambda: _remove_folder(service.run))
    if is_ours(service):
        what = f"remove the user and the group {service.user}"
        yield _Removal(what, lambda: remove_account(service))


def _is_elsewhere(folder: str) -> bool:
    """Tell whether the operator has put a link or a file system in the place of a folder."""
    with open(_MOUNTS, encoding="utf-8", errors="replace") as file:  # proc_pid_mountinfo(5)
        return os.path.islink(folder) or any(line.split(" ")[4] == folder for line in file)


def _is_ours(path: str, source: str) -> bool:
    """Tell whether a file was made from a shipped one."""
    try:
        return ours(path, {shipped(source)}) is not None
    except ConfigurationError:
        return False


def _unlink(path: str) -> _Removal:
    return _Removal(f"remove {path}", lambda: _remove(path), path)


def _remove(path: str) -> None:
    """Remove a file, what a killed installation has left beside it, and folders made for it."""
    require_safe_way(path)
    for each in (path, *left_over(path)):
        os.unlink(each)
    folder = path
    while (folder := os.path.dirname(folder)) != "/":
        with suppress(FileNotFoundError):
            remove_made(folder)


def _remove_folder(folder: str) -> None:
    with suppress(OSError):  # there is something of a person in it
        os.rmdir(folder)


def _stop(units: list[str]) -> None:
    for verb in ("stop", "disable"):
        if verb == "stop" and not _systemd.is_running():
            continue
        done = _systemd.call(verb, *units)
        if done.code:
            what = f"systemctl {verb} failed: {done.why}"
            raise OperatingSystemError(what, f"see why: systemctl status {units[-1]}")


def _forget(service: Service) -> None:
    done = _systemd.call("daemon-reload")
    if done.code:
        raise OperatingSystemError(f"systemctl daemon-reload failed: {done.why}", "try again")
    _systemd.call("reset-failed", *service.units)  # it fails for units that have not failed


def _of_persons() -> Iterator[str]:
    """Yield files that persons may have made for a service."""
    for folder in (_CONFIGURATION, SYSTEM):
        for name in _names(folder):
            path = os.path.join(folder, name)
            if folder == SYSTEM and not name.startswith("mailbell"):
                continue
            if not os.path.isdir(path):
                yield path
            elif not name.endswith((".wants", ".requires")):
                yield from (os.path.join(path, each) for each in _names(path))
    if os.path.isfile(HOOK) and not os.path.islink(HOOK):
        yield HOOK
    yield from (each.state for each in ALL if each.state and _is_elsewhere(each.state))


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []

"""The steps that let systemd read the files, and start the service."""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from mailbell.core.errors import OperatingSystemError
from mailbell.installation import _systemd
from mailbell.installation._files import FileStep
from mailbell.installation._programs import run_or_fail
from mailbell.installation.services import Service

__all__ = ["FoldersStep", "ReloadStep", "RestoreStep", "StartStep"]

_RELOAD: Final = "daemon-reload"


def _reload() -> None:
    done = _systemd.call(_RELOAD)
    if done.code:
        what = f"systemctl {_RELOAD} failed: {done.why}"
        raise OperatingSystemError(what, "see why: systemctl status")


class RestoreStep:
    """Comes first and does nothing: undone last, it starts the service that ran before.

    Args:
        service: the service.
    """

    what = ""
    there = ""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._active: list[str] = []

    def check(self) -> None:
        """Refuse nothing."""

    def is_done(self) -> bool:
        """Tell that there is something to undo."""
        return not _systemd.is_running()

    def do(self) -> None:
        """Note which of the units run."""
        self._active = [unit for unit in self._service.units if _systemd.state(unit).is_active]

    def undo(self) -> None:
        """Let systemd read the files that are back, and start what ran."""
        _reload()
        _systemd.call("reset-failed", *self._service.units)
        if self._active and (done := _systemd.call("start", *self._active)).code:
            what = f"what ran before does not start again: {done.why}"
            raise OperatingSystemError(what)


class FoldersStep:
    """The folders of tmpfiles.d.

    Args:
        service: the service.
    """

    def __init__(self, service: Service) -> None:
        self._folders = [folder for folder in (service.run, service.state) if folder]
        self._service = service
        self._missing: list[str] = []

    @property
    def what(self) -> str:
        """The step as the person is told."""
        return f"make {' and '.join(self._folders)}"

    @property
    def there(self) -> str:
        """The same, if nothing must be done."""
        return f"{' and '.join(self._folders)}: in place already"

    def check(self) -> None:
        """Refuse nothing: systemd-tmpfiles follows no link of another user."""

    def is_done(self) -> bool:
        """Tell whether they are there."""
        return all(map(os.path.isdir, self._folders))

    def do(self) -> None:
        """Make them."""
        self._missing = [folder for folder in self._folders if not os.path.isdir(folder)]
        remedy = "see why: systemd-tmpfiles --create"
        run_or_fail("systemd-tmpfiles", "--create", self._service.accounts, remedy=remedy)

    def undo(self) -> None:
        """Remove those that were made."""
        for folder in self._missing:
            with suppress(FileNotFoundError):
                os.rmdir(folder)


class ReloadStep:
    """systemd reads the units.

    Args:
        files: its files.
    """

    what = "let systemd read its files"
    there = ""

    def __init__(self, files: Sequence[FileStep]) -> None:
        self._files = files

    def check(self) -> None:
        """Refuse nothing."""

    def is_done(self) -> bool:
        """Tell whether no file has changed, or there is no systemd that runs."""
        return not _systemd.is_running() or not _changed(self._files)

    def do(self) -> None:
        """Let it read them."""
        _reload()

    def undo(self) -> None:
        """Do nothing: `RestoreStep` does it, when the files are back."""


def _changed(files: Sequence[FileStep]) -> bool:
    """Tell whether a file was changed, or would be in a dry run."""
    return any(file.is_changed or not file.is_done() for file in files)


class StartStep:
    """The service starts at boot, and runs now with the present files.

    Args:
        service: the service.
        files: its files. If one has changed, the service is restarted.
        newest: when the last file of the program was changed, in seconds since 1970.
    """

    def __init__(self, service: Service, files: Sequence[FileStep], newest: float) -> None:
        self._service = service
        self._files = files
        self._newest = newest
        self._was_enabled: set[str] = set()
        self._is_begun = False

    @property
    def _verb(self) -> str:
        """What must be done with the service now."""
        if not _systemd.is_running():
            return "enable"
        return "restart" if _systemd.state(self._service.unit).is_active else "start"

    @property
    def what(self) -> str:
        """The step as the person is told."""
        verb = self._verb
        unit = self._service.unit
        if verb == "enable":
            return f"let {unit} start at boot (systemd does not run here, so it is not started)"
        return f"{verb} {unit}, also at boot, and wait until it is ready"

    @property
    def there(self) -> str:
        """The same, if nothing must be done."""
        running = " and runs" if _systemd.is_running() else ""
        return f"{self._service.unit} starts at boot{running} already"

    def check(self) -> None:
        """Refuse nothing."""

    def is_done(self) -> bool:
        """Tell whether the service runs with the present files."""
        found = _systemd.state(self._service.unit)
        if not _systemd.is_running():
            return found.is_enabled
        is_current = found.is_ready and self._newest <= found.since
        return found.is_enabled and is_current and not _changed(self._files)

    def do(self) -> None:
        """Start it."""
        units = (*self._service.sockets, self._service.unit)
        self._was_enabled = {unit for unit in units if _systemd.state(unit).is_enabled}
        verb = self._verb
        self._is_begun = True
        done = _systemd.call("enable", self._service.unit)
        if done.code:
            what = f"systemctl enable failed: {done.why}"
            raise OperatingSystemError(what, f"see why: systemctl enable {self._service.unit}")
        if verb != "enable":
            self._start(verb)

    def _start(self, verb: str) -> None:
        """Start or restart it. A socket whose unit has changed must be made anew."""
        sockets = (*self._service.sockets, *self._service.more)
        names = {os.path.basename(file.path) for file in self._files if file.is_changed}
        active = [unit for unit in sockets if _systemd.state(unit).is_active]
        if names & set(active):
            _systemd.call("stop", self._service.unit, *active)
            verb = "start"
        more = [unit for unit in active if unit in self._service.more and verb == "start"]
        _systemd.start(verb, self._service, (*more, self._service.unit))

    def undo(self) -> None:
        """Stop it, and let it start at boot only if it did so before."""
        if not self._is_begun:
            return
        units = (*self._service.sockets, self._service.unit)
        if _systemd.is_running():
            _systemd.call("stop", *units, *self._service.more)
        if new := [unit for unit in units if unit not in self._was_enabled]:
            _systemd.call("disable", *new)

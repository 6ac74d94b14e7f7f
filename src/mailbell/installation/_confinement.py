"""AppArmor: the profile is loaded, and then the service asks for it.

A service that asks for a profile that is not loaded does not start. So the service asks for it
only after the kernel has taken it: in a container on a machine with AppArmor it may refuse.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from mailbell.installation._files import FileStep
from mailbell.installation._programs import find, run
from mailbell.installation._systemd import is_running

__all__ = ["CACHES", "ConfinementStep", "is_loaded", "is_on", "unload"]

CACHES: Final = "/var/cache/apparmor"
"""Where AppArmor keeps compiled profiles, in a folder for each kernel (apparmor_parser(8))."""

_DISABLED: Final = "/etc/apparmor.d/disable"
_ENABLED: Final = "/sys/module/apparmor/parameters/enabled"
_LOADED: Final = "/sys/kernel/security/apparmor/policy/profiles"
_MOST: Final = 16  # bytes


def is_on(profile: str) -> bool:
    """Tell whether the kernel enforces profiles, and this machine can load one.

    Args:
        profile: its name. The operator can switch it off with a link (aa-disable(8)).
    """
    if os.path.lexists(os.path.join(_DISABLED, profile)):
        return False
    try:
        with open(_ENABLED, "rb") as file:
            enabled = file.read(_MOST)
    except OSError:
        return False
    return enabled.startswith(b"Y") and find("apparmor_parser") is not None and is_running()


def is_loaded(profile: str) -> bool:
    """Tell whether the kernel has a profile.

    Args:
        profile: its name.
    """
    with suppress(OSError):
        return any(name.rpartition(".")[0] == profile for name in os.listdir(_LOADED))
    return False


def unload(path: str, profile: str) -> None:
    """Let the kernel and the cache forget a profile, as far as this machine permits.

    Args:
        path: of its file.
        profile: its name.
    """
    if is_loaded(profile):
        run("apparmor_parser", "--remove", path)
    with suppress(OSError):
        for folder in os.listdir(CACHES):
            with suppress(OSError):
                os.unlink(os.path.join(CACHES, folder, os.path.basename(path)))


class ConfinementStep:
    """The profile in the kernel, and the drop-in that lets the service ask for it.

    Args:
        name: of the profile.
        profile: its file.
        drop_in: the file that names it.
        say: called with the reason if the kernel does not take it.
    """

    def __init__(
        self, name: str, profile: FileStep, drop_in: FileStep, say: Callable[[str], None]
    ) -> None:
        self._name = name
        self._profile = profile
        self._drop_in = drop_in
        self._say = say
        self._was_loaded = False
        self._begun: list[FileStep] = []

    @property
    def files(self) -> Sequence[FileStep]:
        """Both files."""
        return (self._profile, self._drop_in)

    @property
    def what(self) -> str:
        """The step as the person is told."""
        return f"load {self._profile.path} into AppArmor, and write {self._drop_in.path}"

    @property
    def there(self) -> str:
        """The same, if nothing must be done."""
        return f"AppArmor has the profile {self._name} already"

    def check(self) -> None:
        """Refuse files of a person."""
        for file in self.files:
            file.check()

    def is_done(self) -> bool:
        """Tell whether both files are there, and the kernel has the profile."""
        return all(file.is_done() for file in self.files) and is_loaded(self._name)

    def do(self) -> None:
        """Load the profile. If the kernel does not take it, the service does without it."""
        self._was_loaded = is_loaded(self._name)
        self._write(self._profile)
        done = run("apparmor_parser", "--replace", self._profile.path)
        if done.code or not is_loaded(self._name):
            self._profile.undo()
            self._say(f"AppArmor does not take the profile here, so it is left out: {done.why}")
            return
        self._write(self._drop_in)

    def _write(self, file: FileStep) -> None:
        if not file.is_done():
            self._begun.append(file)
            file.do()

    def undo(self) -> None:
        """Put back the files, and the profile that was loaded."""
        path = self._profile.path
        if not self._was_loaded:
            unload(path, self._name)
        for file in reversed(self._begun):
            file.undo()
        if self._was_loaded and os.path.exists(path):
            run("apparmor_parser", "--replace", path)

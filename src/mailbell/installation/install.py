"""What `mailbell install` does for a service: the steps, in their order."""

import fcntl
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import mailbell
from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.installation import _systemd
from mailbell.installation._accounts import AccountStep, PersonStep
from mailbell.installation._confinement import ConfinementStep, is_on
from mailbell.installation._files import FileStep, LinkStep, leads_safely, require_safe_way
from mailbell.installation._pages import page_steps
from mailbell.installation._running import FoldersStep, ReloadStep, RestoreStep, StartStep
from mailbell.installation.environment import Environment
from mailbell.installation.service_files import marked, placed
from mailbell.installation.services import Service
from mailbell.installation.steps import Say, Step, carry_out

__all__ = ["BIN", "HOOK", "SYSTEM", "install", "notes", "only_one", "paths", "shipped"]

SYSTEM: Final = "/etc/systemd/system"
BIN: Final = "/usr/local/bin"
HOOK: Final = f"{BIN}/mailbell-hook"

_USUAL_PATH: Final = f"/usr/local/sbin:{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"
_LOCK: Final = "/run/mailbell-install.lock"
_PACKAGE: Final = os.path.dirname(mailbell.__file__)
_PACKAGED: Final = ("/usr/lib/systemd/system", "/lib/systemd/system")
_MOST: Final = 1 << 20  # bytes of a shipped file
_LONGEST: Final = 4096  # bytes of the first line of a program


def shipped(path: str) -> str:
    """Read a file that is installed with mailbell.

    Args:
        path: its path below the package, such as `policy/systemd/mailbelld.service`.

    Returns:
        Its text.

    Raises:
        OperatingSystemError: it cannot be read.
    """
    try:
        with open(os.path.join(_PACKAGE, path), encoding="utf-8") as file:
            return file.read(_MOST)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        raise OperatingSystemError(
            what, "install mailbell again: this file is part of it"
        ) from error


def paths(service: Service) -> dict[str, str]:
    """Return the files of a service.

    Args:
        service: the service.

    Returns:
        The path of each on the machine, and the shipped file that it is made from: first the
        accounts and the folders, then the units, then the two of AppArmor.
    """
    accounts, unit = service.accounts, service.unit
    files = {f"/etc/{kind}/{accounts}": f"policy/{kind}/{accounts}" for kind in _ACCOUNTS}
    files |= {f"{SYSTEM}/{name}": f"policy/systemd/{name}" for name in service.units}
    files[profile_path(service)] = f"policy/apparmor/{service.name}"
    files[drop_in_path(service)] = f"policy/apparmor/{unit}.conf"
    return files


_ACCOUNTS: Final = ("sysusers.d", "tmpfiles.d")


def profile_path(service: Service) -> str:
    """Return where the profile of a service is."""
    return f"/etc/apparmor.d/{service.name}"


def drop_in_path(service: Service) -> str:
    """Return where the file is that lets a service ask for its profile."""
    return f"{SYSTEM}/{service.unit}.d/apparmor.conf"


def is_packaged(service: Service) -> bool:
    """Tell whether a package of the distribution has installed a service.

    Args:
        service: the service.
    """
    return any(os.path.exists(os.path.join(folder, service.unit)) for folder in _PACKAGED)


def install(
    services: Sequence[Service], persons: Sequence[str], where: Environment, say: Say, *, dry: bool
) -> bool:
    """Install services, all or none, and start them.

    Args:
        services: the services.
        persons: the users who may connect to them.
        where: where mailbell is.
        say: called with each step.
        dry: whether to tell the steps only.

    Returns:
        Whether there was something to do.

    Raises:
        ConfigurationError: this machine has no systemd, or a file of a person is in the way.
        UsageError: a person does not exist.
        OperatingSystemError: a step failed. The steps before it are undone.
        OSError: the same.
    """
    _systemd.require()
    steps: list[Step] = []
    for service in services:
        make = _packaged if where.is_package else _made
        steps += make(service, persons, where, say)
    with only_one(dry=dry):
        return carry_out(list(_without_repetition(steps)), say, dry=dry)


def _without_repetition(steps: Sequence[Step]) -> Iterator[Step]:
    """Leave out the second link to `mailbell` and its page, which both services need."""
    links = set()
    for step in steps:
        if isinstance(step, LinkStep):
            if step.path in links:
                continue
            links.add(step.path)
        yield step


def _packaged(
    service: Service, persons: Sequence[str], where: Environment, _say: Say
) -> Iterator[Step]:
    """Yield the steps for a service whose files are those of a package."""
    if not is_packaged(service):
        what = f"the package that has {service.unit} is not installed"
        raise ConfigurationError(what, f"apt-get install {service.package}")
    for person in persons:
        yield PersonStep(person, service)
    yield StartStep(service, (), where.newest)


def _made(service: Service, persons: Sequence[str], where: Environment, say: Say) -> Iterator[Step]:
    """Yield the steps for a service from an environment."""
    if is_packaged(service):
        what = f"{service.unit} is from a package of the distribution, and this mailbell is not"
        remedy = f"run /usr/bin/mailbell install, or apt-get purge {service.package}"
        raise ConfigurationError(what, remedy)
    files = {path: _file(path, source, where) for path, source in paths(service).items()}
    profile = files.pop(profile_path(service))
    drop_in = files.pop(drop_in_path(service))
    accounts, folders, *units = files.values()
    yield RestoreStep(service)
    yield accounts
    yield AccountStep(service)
    yield folders
    if _systemd.is_running():
        yield FoldersStep(service)
    yield from units
    if is_on(service.name):
        yield ConfinementStep(service.name, profile, drop_in, say)
        units += [profile, drop_in]
    yield from _programs(service, where)
    yield ReloadStep(units)
    for person in persons:
        yield PersonStep(person, service)
    yield StartStep(service, units, where.newest)


def _file(path: str, source: str, where: Environment) -> FileStep:
    text = shipped(source)
    there = placed(text, programs=where.programs, code=where.code)
    return FileStep(path, marked(there), {text, there})


def _programs(service: Service, where: Environment) -> Iterator[Step]:
    """Yield the steps that let people and mail servers find the programs and their pages."""
    for name in ("mailbell", service.name):
        program = os.path.join(where.programs, name)
        _require_own_interpreter(program)
        yield LinkStep(BIN, program, _USUAL_PATH)
    if service.hook:
        yield HookStep()
    yield from page_steps(service)


def _require_own_interpreter(program: str) -> None:
    """Refuse a program that would run another mailbell, as in an environment that was copied."""
    try:
        with open(program, "rb") as file:
            line = file.readline(_LONGEST).decode(errors="replace")
    except OSError as error:
        raise OperatingSystemError(
            f"{program}: {error.strerror}", "install mailbell again"
        ) from error
    words = line.removeprefix("#!").split()
    interpreter = words[0] if words else program
    folder = os.path.realpath(os.path.dirname(interpreter))
    is_python = os.path.basename(interpreter).startswith("python")  # no shell, which names another
    if not is_python or folder not in {os.path.dirname(program), "/usr/bin", "/usr/local/bin"}:
        what = f"{program} is run by {interpreter}, which is in another environment"
        raise ConfigurationError(what, "install mailbell again: an environment cannot be moved")
    require_safe_way(interpreter)


def notes(persons: Sequence[str]) -> Iterator[str]:
    """Say what persons must do before their new group counts.

    Args:
        persons: names of users who exist.

    Yields:
        A text for each.
    """
    for name in persons:
        text = f"{name} must log out and in again: a group counts from the next login on."
        number = pwd.getpwnam(name).pw_uid
        if os.path.isdir(f"/run/user/{number}/systemd"):
            text += (
                f"\n{name}'s own service manager runs, and does not have the group yet. It ends"
                f"\nafter {name}'s last session. If it stays (loginctl enable-linger), root can"
                f"\nstart it again, which ends {name}'s programs: systemctl restart user@{number}"
            )
        yield text


class HookStep(FileStep):
    """The program that mail servers execute."""

    def __init__(self) -> None:
        text = shipped("hook.py")
        super().__init__(HOOK, marked(text), {text}, 0o755)
        self._interpreter = text.partition("\n")[0].removeprefix("#!").split()[0]
        self._copies_text = text

    def check(self) -> None:
        """Refuse another program of this name, and a machine without its interpreter."""
        if not os.path.exists(self._interpreter):
            what = f"mailbell-hook needs {self._interpreter}, which this machine does not have"
            raise ConfigurationError(what, "apt-get install python3-minimal")
        if not self._is_linked():
            super().check()

    def is_done(self) -> bool:
        """Tell whether it is there: a copy, or the link that the installer of Python has made."""
        return self._is_linked() or super().is_done()

    def _is_linked(self) -> bool:
        if not os.path.islink(self.path) or not leads_safely(self.path):
            return False
        try:
            with open(self.path, encoding="utf-8") as file:
                return file.read(_MOST) == self._copies_text
        except (OSError, ValueError):
            return False


@contextmanager
def only_one(*, dry: bool) -> Iterator[None]:
    """Let no other `mailbell install` or `uninstall` run meanwhile.

    An ordinary user may lock every file that they may read, so the file is for root alone. It is
    removed at the end.

    Args:
        dry: whether nothing is changed, and so nothing is locked.

    Yields:
        Nothing.

    Raises:
        OperatingSystemError: another one runs.
        OSError: the file cannot be made.
    """
    if dry:
        yield
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(_LOCK, flags, 0o600)
    try:
        if not _is_locked(file):
            what = "another mailbell install or uninstall runs"
            raise OperatingSystemError(what, "try again when it has ended")
        try:
            yield
        finally:
            os.unlink(_LOCK)
    finally:
        os.close(file)


def _is_locked(file: int) -> bool:
    """Lock a file, unless another one holds it, or has removed it meanwhile."""
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file), os.stat(_LOCK))
    return False

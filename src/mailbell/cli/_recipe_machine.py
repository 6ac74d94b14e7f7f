"""Finds for `mailbell sender recipe` the facts of this machine, and what of it is in force.

Nothing is changed. Files are read up to a bound, and only regular ones. The commands of a recipe
are executed without a shell, for a bounded time, with a bounded output and without input. Their
programs are looked for in the system's folders only, because root may ask.
"""

import os
import pwd
import re
import selectors
import shutil
import signal
import stat
import subprocess
import sysconfig
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from mailbell.cli import _sender_file
from mailbell.core.errors import MailbellError, UsageError
from mailbell.core.escape import printable
from mailbell.recipes.facts import Facts, is_safe
from mailbell.recipes.state import File, Printed
from mailbell.sender.configuration import Configuration

__all__ = ["User", "facts_of", "ordinary_users", "read_file", "run", "sender_configuration", "user"]

_MOST_BYTES: Final = 1 << 20  # of a file
_MOST_OUTPUT: Final = 1 << 16  # bytes that a command prints
_PATIENCE: Final = 5.0  # seconds for a command
_END: Final = 1.0  # seconds for its end, when it was killed
_MOST_USERS: Final = 1000

_PASSWD: Final = "/etc/passwd"  # noqa: S105 (a path)
_LOGIN_DEFS: Final = "/etc/login.defs"
_UID_MIN, _UID_MAX = 1000, 60_000  # login.defs(5): the defaults
_NO_LOGIN: Final = frozenset({"nologin", "false"})

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOOK: Final = "mailbell-hook"
_FILES: Final = ("share", "mailbell", "servers")
_PREFIXES: Final = ("/usr/local", "/usr")


class User(NamedTuple):
    """A user of this machine.

    Attributes:
        name: of the user.
        home: the home folder.
    """

    name: str
    home: str


def ordinary_users() -> list[User]:
    """Return the users of this machine who are people, as far as /etc/passwd tells.

    Returns:
        Those with an ordinary id, a shell and a home folder that exists, by their ids; at
        most a thousand, without those that `Facts` would refuse. A directory service is not
        asked: it may have a million users.
    """
    least, most = _id_range()
    found: list[tuple[int, User]] = []
    for line in _lines(_PASSWD):
        fields = line.split(":")
        if len(fields) != 7 or not re.fullmatch(r"[0-9]{1,10}", fields[2]):
            continue
        name, uid, home, shell = fields[0], int(fields[2]), fields[5], fields[6]
        person = least <= uid <= most and os.path.basename(shell) not in _NO_LOGIN
        if person and is_safe(name) and is_safe(home) and os.path.isdir(home):
            found.append((uid, User(name, home)))
    return [user for _, user in sorted(found)[:_MOST_USERS]]


def _id_range() -> tuple[int, int]:
    values = {"UID_MIN": _UID_MIN, "UID_MAX": _UID_MAX}
    for line in _lines(_LOGIN_DEFS):
        words = line.split()
        if len(words) == 2 and words[0] in values and re.fullmatch(r"[0-9]{1,10}", words[1]):
            values[words[0]] = int(words[1])
    return values["UID_MIN"], values["UID_MAX"]


def _lines(path: str) -> list[str]:
    return (read_file(path).text or "").splitlines()


def user(name: str | None, environ: Mapping[str, str]) -> User | None:
    """Choose the user for whom a recipe is printed.

    Args:
        name: the name on the command line; None: propose one.
        environ: the environment. With sudo(8), SUDO_USER is who is at the keyboard.

    Returns:
        The user; None if this machine has no ordinary user.

    Raises:
        UsageError: there is no user of this name.
    """
    if name is not None:
        try:
            found = pwd.getpwnam(name)
        except (KeyError, ValueError) as error:
            what = f"'{printable(name[:80])}' is no user of this machine"
            raise UsageError(what, "name one whom 'getent passwd' shows") from error
        return User(found.pw_name, found.pw_dir)
    users = ordinary_users()
    here = (environ.get("SUDO_USER"), environ.get("USER"))
    own = [user for user in users if user.name in here]
    return next(iter((*own, *users)), None)


def sender_configuration(path: str | None = None) -> tuple[Configuration | None, str]:
    """Read the sender's configuration.

    Args:
        path: the file; None: the default one, if it exists.

    Returns:
        The configuration and nothing, or None and why it cannot be read.
    """
    try:
        return _sender_file.load(path), ""
    except MailbellError as error:
        return None, error.what


def facts_of(configuration: Configuration | None, user: User | None) -> Facts:
    """Find what the placeholders of a recipe stand for on this machine.

    Args:
        configuration: the sender's; None: it cannot be read.
        user: who gets mail; None: nobody is known.

    Returns:
        The facts. What is not there has the place where it usually is.

    Raises:
        ConfigurationError: a path or a name has characters that are not safe in the
            configuration of a mail server.
    """
    usual = Facts()
    listen = configuration.listen if configuration else None
    return Facts(
        hook=_hook() or usual.hook,
        socket=listen.hook if listen else usual.socket,
        cyrus=(listen.cyrus if listen else "") or usual.cyrus,
        files=_files() or usual.files,
        user=user.name if user else usual.user,
        home=user.home if user else usual.home,
    )


def _hook() -> str | None:
    """Return the hook of this installation; else the one in the system's folders."""
    own = os.path.join(sysconfig.get_path("scripts"), _HOOK)
    return own if os.path.exists(own) else shutil.which(_HOOK, path=_PATH)


def _files() -> str | None:
    prefixes = (sysconfig.get_path("data"), *_PREFIXES)
    places = [os.path.join(prefix, *_FILES) for prefix in prefixes]
    return next((place for place in places if os.path.isdir(place)), None)


def read_file(path: str) -> File:
    """Read a file of the machine.

    Args:
        path: its path. Another user may own it, or have put a link there: a pipe or a device
            is not opened, and a user's link to a file of another user is not read.

    Returns:
        What was seen. It never raises for what the file is.
    """
    try:
        # O_PATH: to open a device may be enough to start what it is for, open(2).
        number = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        link = missing and os.path.islink(path)
        lack = (error.strerror or str(error)).lower()
        return File(lack=lack, missing=missing and not link, link=link)
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            return File(lack="no regular file")
        if os.lstat(path).st_uid not in (0, status.st_uid):
            return File(lack="a link to a file of another user")
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        # It is the same file, whatever is at the path by now.
        with open(os.open(f"/proc/self/fd/{number}", flags), "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        return File(lack=(error.strerror or str(error)).lower())
    finally:
        os.close(number)
    if len(data) > _MOST_BYTES:
        return File(lack=f"larger than {_MOST_BYTES} bytes")
    return File(
        text=data.decode(errors="replace"),
        owner=_name_of(status.st_uid),
        mode=stat.S_IMODE(status.st_mode),
    )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def run(words: Sequence[str], patience: float = _PATIENCE) -> Printed:
    """Execute a command that changes nothing, without a shell.

    Args:
        words: the command.
        patience: how long it may take, in seconds.

    Returns:
        What it printed, or why there is nothing that counts. The exit code does not count:
        the text decides.
    """
    program = shutil.which(words[0], path=_PATH)
    if program is None:
        return Printed(lack=f"there is no {words[0]}")
    try:
        process = subprocess.Popen(  # noqa: S603 (the words are those of a shipped recipe)
            [program, *words[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, cwd="/", env={"PATH": _PATH, "LC_ALL": "C"},
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return Printed(lack=(error.strerror or str(error)).lower())
    try:
        return _output(process, patience)
    finally:
        _end(process)


def _output(process: "subprocess.Popen[bytes]", patience: float) -> Printed:
    """Read all that a process prints, up to a bound."""
    deadline = time.monotonic() + patience
    pipes = _pipes(process)
    read = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return Printed(lack=f"did not end within {patience:g} s")
            for key, _ in selector.select(left):
                part = os.read(key.fd, _MOST_OUTPUT)
                read[key.fileobj] += part
                if not part:
                    selector.unregister(key.fileobj)
            if sum(map(len, read.values())) > _MOST_OUTPUT:
                return Printed(lack=f"printed more than {_MOST_OUTPUT} bytes")
    text, errors = (data.decode(errors="replace") for data in read.values())
    return Printed(text, errors)


def _pipes(process: "subprocess.Popen[bytes]") -> list[Any]:
    """Return the pipes from standard output and standard error, in this order."""
    return [process.stdout, process.stderr]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the command and what it has started, which are a session of their own."""
    # A program that became another user may not be killed: it is left alone after a moment.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END)
    for pipe in _pipes(process):
        pipe.close()

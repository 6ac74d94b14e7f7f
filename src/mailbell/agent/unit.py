"""The agent as a service of the person's own service manager: its unit, and its installation.

The unit is hardened as far as that leaves room for programs that are not ours: a
fetcher writes mail where the person wants it, and a poke may have to start what it
pokes. So it takes away what no mail program needs, and hides no files.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Final

from mailbell.core.errors import OperatingSystemError

__all__ = ["NAME", "enable", "present", "text", "write"]

NAME: Final = "mailbell-agent.service"

# A manager that is busy starting everything else at login answers late.
_PATIENCE: Final = 60.0

_PLAIN: Final = re.compile(r"[A-Za-z0-9_/.,:=+-]+", re.ASCII)

_TEMPLATE: Final = """\
# Made by `mailbell run --install-unit`, which shows the difference before it replaces it.

[Unit]
Description=Fetch mail when the mail server rings (mailbell run)
# Try for ever: who gives up is silent, and nobody notices until mail is missed.
StartLimitIntervalSec=0

[Service]
# "Ready" is said when every job is known and their locks are held.
Type=notify
NotifyAccess=main
ExecStart={command}
# One that hangs is ended and started anew. It answers from the loop that also hears the
# daemon and starts the commands; `systemctl --user status` says when it is deaf.
WatchdogSec=1min
# Also for a wrong agent.toml, which is read again, and for an agent started by hand that
# holds the lock: when that one ends, this one takes over.
Restart=always
RestartSec=15s
# The agent ends its commands by itself, 10 seconds after it asked them to. What is
# left then is killed.
KillMode=mixed
TimeoutStopSec=20s
# A fetcher that takes too much memory is killed without the agent.
OOMPolicy=continue
# Where programs are found: as it was when this was installed. The service manager's
# own is short, and has neither ~/bin nor ~/.local/bin.
Environment={environment}
# Mail is nobody else's business, whatever umask the session has.
UMask=0077

# No command gains rights by starting a set-user-ID program. A delivery agent that
# lives on that (procmail into /var/mail) cannot lock the spool: deliver into the home.
NoNewPrivileges=yes
RestrictSUIDSGID=yes
# What mail programs have no use for: other kinds of sockets than those of the
# internet, of this machine, and to ask the kernel for addresses;
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# other calling conventions and execution domains, priority over everything else;
SystemCallArchitectures=native
LockPersonality=yes
RestrictRealtime=yes
# calls that manage the machine. Most need root anyway; some have had holes.
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
# A core file would hold passwords.
LimitCORE=0
# A command that multiplies without end stops at this. A mail program with its window
# that was started by a poke has room.
TasksMax=512

# Not here, since it would break other people's programs:
# PrivateTmp=, ProtectHome=, ProtectSystem=, ReadWritePaths=: mail is stored where the person
#   wants it; sockets of the screen, of Emacs and of agents for keys lie in /tmp and the home;
#   and for a user's manager they take a user namespace, in which other users' files
#   (/var/mail) belong to nobody.
# PrivateNetwork=, IPAddressDeny=: fetching is what it is for.
# RestrictNamespaces=, SystemCallFilter=~@mount: mail programs with windows put their own
#   helpers into sandboxes made of these.
# MemoryDenyWriteExecute=: translators of Lua, JavaScript and Emacs Lisp write code.
# ProtectProc=, PrivateUsers=: a poke has to find the process that it pokes.

[Install]
WantedBy=default.target
"""


def text(words: Sequence[str], search: str) -> str:
    """Write the unit.

    Args:
        words: the agent's command line; the first is an absolute path.
        search: the value of PATH for it and its commands.

    Returns:
        The text of the file.
    """
    program, *rest = words
    # systemd.service(5): variables are replaced in arguments, not in the program's path.
    arguments = [_quoted(word).replace("$", "$$") for word in rest]
    return _TEMPLATE.format(
        command=" ".join([_quoted(program), *arguments]), environment=_quoted(f"PATH={search}")
    )


def _quoted(word: str) -> str:
    """Quote a word so that the service manager reads it as it is (systemd.syntax(7))."""
    if _PLAIN.fullmatch(word):
        return word
    return '"' + "".join(map(_escaped, os.fsencode(word))) + '"'


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in '"\\':
        return "\\" + character
    if character == "%":  # systemd.unit(5): begins a specifier
        return "%%"
    return character if " " <= character <= "~" else f"\\x{byte:02x}"


def present(where: str) -> bytes | None:
    """Read the unit that is there.

    Args:
        where: its path.

    Returns:
        What is in it; None when there is none.
    """
    try:
        with open(where, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(where: str, unit: str, *, instead: bytes | None) -> None:
    """Put the unit in its place, whole or not at all.

    Args:
        where: its path; missing folders are made.
        unit: its text.
        instead: what may be lost, as the person has seen it; None: nothing.

    Raises:
        OperatingSystemError: by now something else is there; it stays.
        OSError: the place cannot be written.
    """
    folder = os.path.dirname(where)
    os.makedirs(folder, exist_ok=True)
    new = unit.encode()
    if present(where) not in {instead, new}:
        raise OperatingSystemError(f"{where} has changed meanwhile", "look at it, and try again")
    descriptor, temporary = tempfile.mkstemp(prefix=f".{NAME}.", dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(new)
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, where)
    except OSError as error:
        os.unlink(temporary)
        # A full disk, or a limit, is reported without the file's name.
        raise OSError(error.errno, error.strerror, where) from error
    except BaseException:
        os.unlink(temporary)
        raise


def enable(*, restart: bool) -> None:
    """Make the service manager read the unit, start it, and start it at each login.

    Args:
        restart: whether one that runs may be an earlier one.

    Raises:
        OperatingSystemError: it does not; the message says what to do by hand.
    """
    todo = [["daemon-reload"], ["enable", "--now", NAME]]
    if restart:
        todo.append(["restart", NAME])
    while todo:
        problem = _systemctl(todo[0])
        if problem:
            by_hand = " && ".join(" ".join(["systemctl --user", *words]) for words in todo)
            raise OperatingSystemError(
                f"the unit is written, but systemctl --user {todo[0][0]} failed: {problem}",
                f"where your service manager runs, say: {by_hand}",
            )
        del todo[0]


def _systemctl(words: Sequence[str]) -> str:
    """Run systemctl; return what is wrong, if anything is."""
    try:
        done = subprocess.run(  # noqa: S603 (the words are ours)
            ["systemctl", "--user", "--no-ask-password", *words],  # noqa: S607 (the person's own)
            check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE,
        )  # fmt: skip
    except FileNotFoundError:
        return "it is not installed"
    except subprocess.TimeoutExpired:
        return "no answer"
    said = done.stderr.decode(errors="replace").strip()
    return (said or f"exit code {done.returncode}") if done.returncode else ""

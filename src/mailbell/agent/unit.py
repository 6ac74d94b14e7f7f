"""Writes and installs the agent's unit for the person's own service manager.

The unit forbids what no mail program needs, and hides no files: a fetcher writes mail to
any folder that the person chooses, and a poke may start another program.
"""

import os
import re
import stat
import subprocess
from collections.abc import Sequence
from typing import Final

from mailbell._sys.trusted_path import find_weaknesses, make_folders
from mailbell._sys.whole_file import replace_file
from mailbell.core.errors import ConfigurationError, OperatingSystemError

__all__ = ["NAME", "enable", "present", "require_safe_way", "text", "write"]

NAME: Final = "mailbell-agent.service"

_MOST_BYTES: Final = 1 << 20  # more than any unit has

# Seconds. At login the service manager starts many programs, and answers late.
_PATIENCE: Final = 60.0

_PLAIN: Final = re.compile(r"[A-Za-z0-9_/.,:=+-]+", re.ASCII)

_TEMPLATE: Final = """\
# Made by `mailbell run --install-unit`, which shows the difference before it replaces it.

[Unit]
Description=Fetch mail when the mail server rings (mailbell run)
# Try without a limit. If systemd gave up, the person would not notice before mail is missed.
StartLimitIntervalSec=0

[Service]
# The agent is ready when it has read all jobs and holds their locks.
Type=notify
NotifyAccess=main
ExecStart={command}
# systemd restarts an agent that hangs. The agent answers from the loop that also hears the
# daemon and starts the commands. `systemctl --user status` shows whether it hears the daemon.
WatchdogSec=1min
# Also after a mistake in agent.toml: the agent reads the file again. Also if an agent that
# a person started by hand holds the lock: when it ends, this agent takes the lock.
Restart=always
RestartSec=15s
# The agent sends its commands SIGTERM, and SIGKILL 10 seconds later. After 20 seconds
# systemd kills all that is left.
KillMode=mixed
TimeoutStopSec=20s
# If the kernel kills a fetcher that uses too much memory, the agent lives on.
OOMPolicy=continue
# The PATH of the person at the time of the installation. The service manager's own PATH
# is short, and has neither ~/bin nor ~/.local/bin.
Environment={environment}
# Only the person may read the mail, whatever umask the session has.
UMask=0077

# No command gains rights from a set-user-ID program. A delivery agent that needs such
# rights (procmail into /var/mail) cannot lock the spool: deliver into the home folder.
NoNewPrivileges=yes
RestrictSUIDSGID=yes
# Mail programs use sockets of the internet and of this machine. The agent also asks the
# kernel for addresses. No other sockets are permitted.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# Mail programs need no other calling conventions, execution domains or real-time priority.
SystemCallArchitectures=native
LockPersonality=yes
RestrictRealtime=yes
# Mail programs need no calls that manage the machine. Most of these need root; some have
# had security holes.
SystemCallFilter=~@clock @cpu-emulation @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
# A core file would contain passwords.
LimitCORE=0
# This bounds a command that starts processes without end. It is enough for a mail program
# with a window.
TasksMax=512

# These lines are left out, because they would break mail programs:
# PrivateTmp=, ProtectHome=, ProtectSystem=, ReadWritePaths=: the person chooses where mail is
#   stored. The sockets of the screen, of Emacs and of key agents are in /tmp and in the home
#   folder. A user's service manager needs a user namespace for these lines, in which the
#   files of other users (/var/mail) belong to nobody.
# PrivateNetwork=, IPAddressDeny=: the commands fetch mail from the network.
# RestrictNamespaces=, SystemCallFilter=~@mount: mail programs with windows use namespaces and
#   mounts for the sandboxes of their own helpers.
# MemoryDenyWriteExecute=: compilers of Lua, JavaScript and Emacs Lisp write machine code.
# ProtectProc=, PrivateUsers=: a poke must find the process that it tells.

[Install]
WantedBy=default.target
"""


def text(words: Sequence[str], search: str, daemon_user: str = "") -> str:
    """Return the text of the unit.

    Args:
        words: the agent's command line; the first word is an absolute path.
        search: the value of PATH for the agent and its commands.
        daemon_user: the value of MAILBELL_DAEMON_USER; empty: it is not set.

    Returns:
        The text of the file.
    """
    program, *rest = words
    # systemd replaces variables in arguments, and not in the program's path (systemd.service(5)).
    arguments = [_quoted(word).replace("$", "$$") for word in rest]
    variables = [f"PATH={search}"]
    if daemon_user:
        variables.append(f"MAILBELL_DAEMON_USER={daemon_user}")
    return _TEMPLATE.format(
        command=" ".join([_quoted(program), *arguments]),
        environment=" ".join(map(_quoted, variables)),
    )


def _quoted(word: str) -> str:
    """Quote a word, so that the service manager reads the same word (systemd.syntax(7))."""
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
    """Read the installed unit.

    Args:
        where: the path of the unit.

    Returns:
        The content of the unit; None if there is none.

    Raises:
        ConfigurationError: something else is there.
        OSError: it cannot be read.
    """
    try:
        # A pipe without a writer would be waited for.
        descriptor = os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigurationError(f"{where} is no file", "move it away")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(_MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > _MOST_BYTES:
        raise ConfigurationError(f"{where} is too long for a unit", "move it away")
    return data


def require_safe_way(where: str, *, whole: bool = False) -> None:
    """Refuse a folder in which another user could replace the unit, which names a program.

    Args:
        where: the path of the unit.
        whole: whether its folder must exist, and a link at the path does not matter, because
            `write` replaces it.

    Raises:
        ConfigurationError: another user could replace it.
        OSError: the folder does not exist, or this process may not look at it.
    """
    weaknesses = find_weaknesses(os.path.dirname(where) if whole else where, whole=whole)
    if weaknesses:
        what = f"{weaknesses[0]}, who could replace {where}"
        raise ConfigurationError(what, weaknesses[0].remedy)


def write(where: str, unit: str, *, instead: bytes | None) -> None:
    """Write the unit, either all of it or nothing.

    Args:
        where: the path of the unit. Missing folders are made.
        unit: the text of the unit.
        instead: the content that the person has agreed to replace; None: no unit is there.

    Raises:
        OperatingSystemError: the unit has other content by now. It is not replaced.
        ConfigurationError: another user could replace the unit.
        OSError: the unit cannot be written.
    """
    make_folders(os.path.dirname(where))
    # In a sticky folder another user may have made one of the missing folders first.
    require_safe_way(where, whole=True)
    new = unit.encode()
    if present(where) not in {instead, new}:
        raise OperatingSystemError(f"{where} has changed meanwhile", "read it, and try again")
    replace_file(where, new, 0o644)


def enable(*, restart: bool) -> None:
    """Let the service manager read the unit, and start it now and at each login.

    Args:
        restart: whether an agent with an earlier unit may be running.

    Raises:
        OperatingSystemError: systemctl failed. The message says what to do by hand.
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
                f"in a session with your service manager, run: {by_hand}",
            )
        del todo[0]


def _systemctl(words: Sequence[str]) -> str:
    """Run systemctl; return what went wrong, or an empty string."""
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

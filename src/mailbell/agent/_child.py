"""A command as a process: started clean, in a session of its own, and ended with all of it.

A session holds whatever the command starts, also what a shell script puts into
groups of their own; only what makes itself a daemon leaves it.

Not `subprocess`, for two reasons. It hands on which signals are ignored or
blocked here, by whoever started the agent, and a command that does not hear
SIGTERM can only be killed. And it takes the status of a process as soon as it
ends. The kernel may then give its number, which is also that of its session, to
somebody else, whom we would end instead of what the command has left.
"""

import errno
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from mailbell.agent._session import members, processes
from mailbell.core.errors import OperatingSystemError
from mailbell.core.escape import printable

__all__ = ["Child", "bury_adopted", "start"]

_SHOWN: Final = 100  # characters of a path in a message

# The processes that `start` has made and `close` has not given back.
_commands: set[int] = set()

# What the system answers, what that means, and the remedy.
_PROBLEMS: Final = {
    errno.ENOENT: ("no such file", "correct the path, or install it"),
    errno.ENOTDIR: ("no such file", "correct the path, or install it"),
    errno.EACCES: ("may not be executed", "make it executable (chmod +x) and reachable"),
    errno.EISDIR: ("is a directory", "name a program"),
    errno.ENOEXEC: ("is no program", "begin a script with #! and its interpreter"),
    errno.E2BIG: ("arguments and environment are too long", "shorten them"),
    errno.EAGAIN: ("no more processes can be started", "raise ulimit -u or TasksMax="),
    errno.EMFILE: ("too many open files", "raise ulimit -n or LimitNOFILE="),
}


class Child:
    """A command that was started; made by `start`.

    Its number belongs to it until `close`, so that signals reach nobody else.

    Attributes:
        pid: of the process, its group and its session.
        watch: a descriptor that is readable when the process has ended.
        output: what it prints comes from this descriptor, which the owner closes.
    """

    def __init__(self, pid: int, watch: int, output: int) -> None:
        self.pid = pid
        self.watch = watch
        self.output = output
        _commands.add(pid)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the session, also where it was stopped.

        Args:
            number: which.
        """
        for group in {self.pid, *(group for _, group in members(self.pid))}:
            # Gone meanwhile; or another user's by now, as what sudo runs is.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
                os.killpg(group, signal.SIGCONT)

    def lives(self) -> bool:
        """Tell whether any process of the session runs; one that has ended does not count."""
        return any(True for _ in members(self.pid))

    def close(self) -> tuple[int | None, int | None]:
        """Give the number back, unless the process cannot be ended.

        Returns:
            The exit status, or the signal that ended it, and None for the other.
        """
        # Whatever was started in the moment we looked.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        result = os.waitid(os.P_PIDFD, self.watch, os.WEXITED | os.WNOHANG)
        os.close(self.watch)
        _commands.discard(self.pid)
        if result is None:
            return None, None
        status = result.si_status
        return (status, None) if result.si_code == os.CLD_EXITED else (None, status)


def start(argv: Sequence[str], environ: Mapping[str, str]) -> Child:
    """Start a command: no shell, no input, default signals, nothing inherited.

    Args:
        argv: the program and its arguments. Without a slash, the program is
            looked for in PATH.
        environ: its whole environment; PATH is taken from it.

    Returns:
        The child. Both its output and its errors come from one descriptor.

    Raises:
        OperatingSystemError: it cannot be started.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # Inherited. The kernel would not keep the status of a child for us.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        return _start(argv, environ)
    except OSError as error:
        raise _explain(argv[0], error) from error
    except ValueError as error:  # of CPython, which knows what execve(2) cannot take
        raise OperatingSystemError(
            f"{_shown(argv[0])}: {error}, in an argument or in the environment", "remove it"
        ) from error


def bury_adopted() -> None:
    """Take the status of each process that has ended and that only this one can bury.

    What a command leaves behind becomes a child of the first process of a container.
    Without this, a process that has ended would keep its place in the kernel's table.
    """
    for pid in processes():
        if pid not in _commands:
            with suppress(ChildProcessError):  # it is not our child
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


def _start(argv: Sequence[str], environ: Mapping[str, str]) -> Child:
    # Opened first, it has the lowest number of the three. So nothing that is still
    # needed is overwritten, also where standard streams are missing.
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        output, writer = os.pipe()
        try:
            pid = _spawn(argv, environ, null, writer)
            return Child(pid, _watch(pid), output)
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(writer)
    finally:
        os.close(null)


def _spawn(argv: Sequence[str], environ: Mapping[str, str], null: int, writer: int) -> int:
    _keep_what_was_inherited()
    return os.posix_spawn(
        _find(argv[0], environ.get("PATH", os.defpath)),
        list(argv),
        environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, null, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_DUP2, writer, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=signal.valid_signals(),
    )


def _find(program: str, path: str) -> str:
    """Return the file of a program; also one that cannot be executed, to be told why."""
    found = shutil.which(program, path=path) or shutil.which(program, os.F_OK, path)
    if found is None and "/" not in program:
        raise OperatingSystemError(
            f"{_shown(program)}: not found in PATH", "install it, or give its full path"
        )
    return found or program


def _keep_what_was_inherited() -> None:
    """Let nothing that this process was started with go on to a command.

    What Python opens is closed by execve(2) anyway.
    """
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own is closed already
            if int(name) > 2 and os.get_inheritable(int(name)):
                os.set_inheritable(int(name), False)


def _watch(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # of descriptors there are no more: what cannot be watched is not run
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _explain(program: str, error: OSError) -> OperatingSystemError:
    path = error.filename or program
    number = error.errno or 0
    if number == errno.EACCES and os.path.isdir(path):
        number = errno.EISDIR
    what, remedy = _PROBLEMS.get(number, (error.strerror or str(error), ""))
    if number == errno.ENOENT and os.path.exists(path):
        what, remedy = "its interpreter is missing", "correct its first line, or install that"
    return OperatingSystemError(f"{_shown(path)}: {what}", remedy)


def _shown(path: str) -> str:
    return printable(path[:_SHOWN])

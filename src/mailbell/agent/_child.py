"""Starts a command as a process in a session of its own, and ends the whole session.

The session contains all processes that the command starts, also those that a shell script
puts into process groups of their own. Only a process that makes itself a daemon leaves it.

`subprocess` is not used, for two reasons. First, the command would inherit which signals
are ignored or blocked in the agent, and a command that ignores SIGTERM can only be killed.
Second, `subprocess` takes the status of a process as soon as the process ends. The kernel
may then give the number of the process, which is also the number of its session, to
another process. The agent would end that process instead of what the command left behind.
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

__all__ = ["Child", "reap_adopted", "start"]

_SHOWN: Final = 100  # characters of a path in a message

# The numbers of the processes that `start` has made and `close` has not released.
_commands: set[int] = set()

# The system's error, its meaning, and the remedy.
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
    """A command that runs; `start` makes it.

    The kernel gives its number to no other process before `close`, so signals reach only
    this command.

    Attributes:
        pid: the number of the process, of its group and of its session.
        watch: a descriptor that is readable when the process has ended.
        output: a descriptor to read the command's output from. The owner closes it.
    """

    def __init__(self, pid: int, watch: int, output: int) -> None:
        self.pid = pid
        self.watch = watch
        self.output = output
        _commands.add(pid)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the session, also to stopped processes.

        Args:
            number: the signal.
        """
        for group in {self.pid, *(group for _, group in members(self.pid))}:
            # The group has ended, or belongs to another user, such as a program under sudo.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
                os.killpg(group, signal.SIGCONT)

    def lives(self) -> bool:
        """Return whether a process of the session runs. One that has ended does not count."""
        return any(True for _ in members(self.pid))

    def close(self) -> tuple[int | None, int | None]:
        """Release the number of the process, unless the process cannot be ended.

        Returns:
            The exit status and None, or None and the signal that ended the process. Both
            are None if the process has not ended.
        """
        # This ends processes that were started after the last look at the session.
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
    """Start a command without a shell and without input. It inherits no signals or descriptors.

    Args:
        argv: the program and its arguments. A program without a slash is looked for
            in PATH.
        environ: the whole environment of the command, with the PATH to search.

    Returns:
        The child. Its standard output and standard error come from one descriptor.

    Raises:
        OperatingSystemError: the command cannot be started.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # The agent has inherited this. The kernel would not keep the status of a child.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        return _start(argv, environ)
    except OSError as error:
        raise _explain(argv[0], error) from error
    except ValueError as error:  # CPython refuses what execve(2) cannot take
        raise OperatingSystemError(
            f"{_shown(argv[0])}: {error}, in an argument or in the environment", "remove it"
        ) from error


def reap_adopted() -> None:
    """Reap each process that has ended and whose only parent is now this process.

    In a container, processes that a command leaves behind become children of the first
    process. If that does not reap them, they keep their places in the kernel's table.
    """
    for pid in processes():
        if pid not in _commands:
            with suppress(ChildProcessError):  # it is not our child
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)


def _start(argv: Sequence[str], environ: Mapping[str, str]) -> Child:
    # This is opened first, so it has the lowest of the three numbers. So the dup2 calls
    # overwrite no descriptor that is still needed, even if standard streams are missing.
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
    """Return the file of a program, also of one whose execution will fail with a reason."""
    found = shutil.which(program, path=path) or shutil.which(program, os.F_OK, path)
    if found is None and "/" not in program:
        raise OperatingSystemError(
            f"{_shown(program)}: not found in PATH", "install it, or give its full path"
        )
    return found or program


def _keep_what_was_inherited() -> None:
    """Close the inherited descriptors of this process in each command.

    The kernel closes the descriptors that Python opened, because Python marks them.
    """
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the listing is closed already
            if int(name) > 2 and os.get_inheritable(int(name)):
                os.set_inheritable(int(name), False)


def _watch(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # no descriptor is left: a command that cannot be watched must not run
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

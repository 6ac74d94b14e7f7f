"""Starts a command, through a keeper, and hears from the keeper how it ends.

The keeper ends everything that descends from the command. If the keeper itself is
killed, the kernel gives the agent its children, because the agent adopts orphans too.
Then this module ends them in the same way. A keeper that does not answer is killed: a
command can stop it, or take away its descriptors (prlimit(2)).

`subprocess` is not used: the command would inherit which signals are ignored or blocked
in the agent, and a command that ignores SIGTERM can only be killed.
"""

import errno
import os
import shutil
import signal
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Final

import trio

from mailbell._sys.process import adopts_orphans
from mailbell.agent._descendants import Descendants
from mailbell.agent._keeper import ASK, GO, KILL, WALL, keep
from mailbell.agent._processes import children, numbers, read
from mailbell.agent._session import Session
from mailbell.core.errors import OperatingSystemError
from mailbell.core.escape import printable

__all__ = ["Child", "reap_adopted", "start"]

_SHOWN: Final = 100  # characters of a path in a message
_MESSAGE: Final = 256  # bytes; all that a keeper says

# Seconds between two looks at what a killed keeper has left; the pause grows.
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.25

# The numbers of the keepers that `start` has made and that are not reaped.
_keepers: set[int] = set()

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
    """A command with all that descends from it; `start` makes it.

    Attributes:
        output: a descriptor to read the command's output from. The owner closes it.
        session: the command's session; None until `started`.
        problem: why there is no command, or no keeper any more, and the remedy; else empty.
        code: the exit status of the command; None if it has none.
        signal: the signal that ended the command; None if none did.
        started: the command has started, or cannot be started.
        ended: the command has ended, or cannot be started, or has no keeper any more.
        none_left: nothing is left of the command, and the keeper ends.
        killing: `kill` was called.
    """

    def __init__(
        self,
        program: str,
        keeper: int,
        channel: int,
        output: int,
        begins: Callable[[Session], None],
    ) -> None:
        self._program = program
        self._begins = begins
        self._keeper = keeper
        self._channel = channel
        self._began = began.began if (began := read(keeper)) else 0
        self._left: Descendants | None = None  # after the end of a keeper that was killed
        self._answers = False  # whether the keeper has answered the last KILL
        self._watched = trio.Event()  # the keeper has nothing more to do, or was killed
        self.output = output
        self.session: Session | None = None
        self.problem = ""
        self.code: int | None = None
        self.signal: int | None = None
        self.started = trio.Event()
        self.ended = trio.Event()
        self.none_left = trio.Event()
        self.killing = trio.Event()
        _keepers.add(keeper)

    async def listen(self) -> None:
        """Hear from the keeper until it ends. When this is cancelled, the keeper goes on alone.

        A keeper without an agent does what an agent would do: it asks, and then it kills.
        """
        said = b""
        async with trio.lowlevel.FdStream(self._channel) as channel:
            try:
                while data := await channel.receive_some(_MESSAGE):
                    *lines, said = (said + data).split(b"\n")
                    for line in lines:
                        word, *values = line.decode().split()
                        self._told(word, [int(value) for value in values])
            except trio.BrokenResourceError:  # the keeper was killed with a message unread
                pass
            finally:
                self._channel = -1
        await self._bury()

    def ask(self) -> None:
        """Send SIGTERM to the command and all that descends from it, also to stopped processes."""
        self._tell(ASK)
        if self._left:
            self._left.ask(set())

    def kill(self) -> None:
        """End the command and all that descends from it, until nothing is left."""
        self.killing.set()
        self._tell(KILL)

    async def insist(self, within: float, stuck: Callable[[], None]) -> None:
        """After `kill`, see to it that something is done until nothing is left.

        Args:
            within: how long a keeper has for an answer before it is killed, in seconds.
            stuck: called once, when what is left cannot be ended.
        """
        await self.killing.wait()
        taken = is_stuck = False
        while not self.none_left.is_set():
            self._answers = False
            self._tell(KILL)
            with trio.move_on_after(within):
                await self.none_left.wait()
            if self.none_left.is_set():
                return
            if not (self._answers or taken) and adopts_orphans():
                # It is stopped, or may open no files. This process adopts what it has.
                taken = True
                self._end_keeper()
            elif not is_stuck:
                is_stuck = True
                stuck()
            elif not self._answers:
                self._end_keeper()

    def _end_keeper(self) -> None:
        if self._keeper in _keepers and adopts_orphans():  # it is not reaped
            os.kill(self._keeper, signal.SIGKILL)

    async def wait_for_the_last(self) -> None:
        """Wait until neither the command nor a descendant of it is left."""
        await self._watched.wait()
        pause = _FIRST_PAUSE
        while self._left and not self.none_left.is_set():
            self._look(self._left)
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _look(self, left: Descendants) -> None:
        """Look once. A process that moved during the look has left one to reap behind it."""
        found = left.end() if self.killing.is_set() else any(True for _ in left.look())
        reaped = reap_adopted()
        if not (found or reaped):
            self.none_left.set()

    def _told(self, word: str, values: Sequence[int]) -> None:
        match word, values:
            case "started", [number, began]:
                self.session = Session.known(number, began)
                self._begins(self.session)
                self._tell(GO)
            case "tried", []:
                self._answers = True
            case "failed", [number]:
                self.problem = str(_explain(self._program, OSError(number, os.strerror(number))))
                self.ended.set()
            case "exited", [number]:
                self.code = number
                self.ended.set()
            case "killed", [number]:
                self.signal = number
                self.ended.set()
            case "none", []:
                self.none_left.set()
                self._watched.set()
        self.started.set()

    def _tell(self, order: bytes) -> None:
        if self._channel >= 0:
            # One that was stopped would not hear it.
            with suppress(OSError):
                os.kill(self._keeper, signal.SIGCONT)
                os.write(self._channel, order)

    async def _bury(self) -> None:
        """Wait until the keeper has ended. What it has left is then the agent's.

        The end of the channel comes shortly before that. A keeper that goes on without a
        channel is of no use, and is killed.
        """
        with suppress(OSError):
            os.kill(self._keeper, signal.SIGKILL)
        pause = _FIRST_PAUSE
        while not self._has_ended():
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        _keepers.discard(self._keeper)
        self._note_the_end()

    def _has_ended(self) -> bool:
        """Reap the keeper if it has ended. Who traces it may not let it be reaped."""
        process = read(self._keeper)
        try:
            reaped, _ = os.waitpid(self._keeper, os.WNOHANG)
        except ChildProcessError:  # the kernel has reaped it: SIGCHLD is ignored
            return True
        return bool(reaped) or (process is not None and not process.lives)

    def _note_the_end(self) -> None:
        if not self.none_left.is_set() and not self.problem:
            self.problem = f"{_shown(self._program)}: the process that watches it was killed"
            self._left = self._what_it_left() if adopts_orphans() else None
        if self._left is None:
            self.none_left.set()
        self.started.set()
        self.ended.set()
        self._watched.set()

    def _what_it_left(self) -> Descendants:
        """Return what the killed keeper has left, and nothing that somebody else has started."""
        if not _adopts_others():
            return Descendants(_keepers, self._began)
        # 0: no process has this session.
        return Descendants(_keepers, self._began, self.session.number if self.session else 0)


def start(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    locks: Sequence[int] = (),
    kill_after: float,
    begins: Callable[[Session], None] = lambda _: None,
) -> Child:
    """Start a command without a shell and without input. It inherits no signals or descriptors.

    Args:
        argv: the program and its arguments. A program without a slash is looked for
            in PATH.
        environ: the whole environment of the command, with the PATH to search.
        locks: descriptors that stay open until nothing of the command is left.
        kill_after: seconds from SIGTERM to SIGKILL if this process ends before the command.
        begins: called with the session of the command, before the program is executed.

    Returns:
        The child. Its standard output and standard error come from one descriptor.

    Raises:
        OperatingSystemError: the command cannot be started.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # The agent has inherited this. The kernel would not keep the status of a child.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _adopts_others()
    path = argv[0]
    try:
        words, variables = _checked(argv, environ)
        path = _find(argv[0], environ.get("PATH", os.defpath))
        return _start(path, words, variables, locks, kill_after, begins)
    except OSError as error:
        raise _explain(path, error) from error
    except ValueError as error:
        raise OperatingSystemError(
            f"{_shown(argv[0])}: {error}, in an argument or in the environment", "remove it"
        ) from error


@cache
def _adopts_others() -> bool:
    """Tell whether something else than a killed keeper may leave a child to this process.

    The first process of a container gets whatever loses its parent there. A program that
    became the agent by execve(2) may have had children, and these may leave others. So
    this is first called before there is a keeper.
    """
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | WALL)
    except ChildProcessError:
        return os.getpid() == 1
    return True


def reap_adopted() -> int:
    """Reap each process that has ended and whose only parent is now this process.

    What a killed keeper leaves behind becomes a child of the agent. In a container, so does
    everything that loses its parent. If the agent does not reap these processes, they keep
    their places in the kernel's table.

    Returns:
        How many were reaped.
    """
    reaped = 0
    for pid in {*numbers(), *(children() or ())}:
        if pid not in _keepers:
            with suppress(ChildProcessError):  # it is not our child
                reaped += os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None
    return reaped


def _checked(
    argv: Sequence[str], environ: Mapping[str, str]
) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Return what execve(2) takes; raise ValueError for what it cannot take."""
    words = [os.fsencode(word) for word in argv]
    variables = {os.fsencode(name): os.fsencode(text) for name, text in environ.items()}
    if any(b"\0" in text for text in (*words, *variables, *variables.values())):
        raise ValueError("embedded null byte")
    if any(b"=" in name for name in variables):
        raise ValueError("illegal environment variable name")
    return words, variables


def _start(
    path: str,
    words: list[bytes],
    variables: Mapping[bytes, bytes],
    locks: Sequence[int],
    kill_after: float,
    begins: Callable[[Session], None],
) -> Child:
    # This is opened first, so it has the lowest of the numbers. So the dup2 calls of the
    # keeper overwrite no descriptor that is still needed, even if standard streams are missing.
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        output, writer = os.pipe()
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                keeper = _fork()
                if keeper == 0:
                    keep(
                        os.fsencode(path), words, variables,
                        streams=(null, writer), channel=theirs.fileno(), held=locks,
                        kill_after=kill_after,
                    )  # fmt: skip
                return Child(path, keeper, ours.detach(), output, begins)
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(writer)
    finally:
        os.close(null)


def _fork() -> int:
    """Fork with all signals blocked, which stay blocked in the child."""
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    pid = -1
    try:
        with warnings.catch_warnings():
            # CPython 3.12 warns when there are threads. The keeper takes no lock of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        return pid
    finally:
        if pid != 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _find(program: str, path: str) -> str:
    """Return the file of a program, also of one whose execution will fail with a reason."""
    found = shutil.which(program, path=path) or shutil.which(program, os.F_OK, path)
    if found is None and "/" not in program:
        raise OperatingSystemError(
            f"{_shown(program)}: not found in PATH", "install it, or give its full path"
        )
    return found or program


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

"""The keeper of one command: a process that starts it, and ends all that descends from it.

Each command has a keeper of its own, between it and the agent. The keeper adopts orphans.
So the kernel makes it the parent of everything that the command leaves behind, in
whatever group or session, and the descendants of different commands are never confused.

The keeper goes on until the kernel says that it has no child. Until then it also holds
the agent's locks. So after SIGKILL has ended the agent, the keeper asks the command to
end, kills what is left, and no other agent gets the lock before.

The keeper is a fork of the agent and executes no program. So it starts in a few
milliseconds, and an update of the files on disk cannot replace half of the agent. It
takes over nothing but the descriptors that it is given.

The process of the command is made first, and executes the program when the agent says so.
Until then the agent writes down the session. So there is no moment in which a command runs
of which a later agent could not know. If the keeper or the agent is killed before, the
process ends.

Other processes of the same user cannot trace the keeper, as far as the kernel permits to
forbid it. They can stop it. The agent kills a keeper that does not answer.

The agent writes single bytes to the keeper, GO, ASK and KILL. The keeper writes lines:

    started NUMBER TICKS    the command's process and when it began
    failed ERRNO            it could not be started
    tried                   after KILL: the keeper has found and signalled something
    exited STATUS           the command has ended; or
    killed SIGNAL           a signal has ended it
    none                    nothing is left of it; the keeper ends
"""

import errno
import gc
import os
import select
import signal
import time
import traceback
from collections.abc import Collection, Mapping
from contextlib import suppress
from math import inf
from typing import Final, NoReturn

from mailbell._sys.orphans import adopt_orphans
from mailbell._sys.undumpable import make_undumpable
from mailbell.agent._descendants import Descendants
from mailbell.agent._processes import KEEPER, read
from mailbell.core.errors import MailbellError, OperatingSystemError

__all__ = ["ASK", "GO", "KILL", "WALL", "keep"]

GO: Final = b"g"  # execute the program
ASK: Final = b"a"  # send SIGTERM to all
KILL: Final = b"k"  # end all

WALL: Final = 0x40000000  # __WALL of waitid(2): children with any signal for their end
# Processes that are reaped in a row: some commands start new ones as fast as these end.
_MOST_REAPED: Final = 16_384
# Looks for processes that were started while others were asked to end.
_MOST_ROUNDS: Final = 3
_FAULT: Final = 70  # EX_SOFTWARE of sysexits.h
# Seconds between two looks when the last one has changed nothing; the pause grows.
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.25


def keep(
    path: bytes,
    argv: list[bytes],
    environ: Mapping[bytes, bytes],
    *,
    streams: tuple[int, int],
    channel: int,
    held: Collection[int],
    kill_after: float,
) -> NoReturn:
    """Be the keeper, in a process that was just forked, with all signals blocked.

    Args:
        path: the file of the program.
        argv: its arguments, with its name.
        environ: the whole environment of the command.
        streams: descriptors of the command's input and output.
        channel: the descriptor of the connection to the agent.
        held: descriptors to hold until no descendant is left.
        kill_after: seconds from SIGTERM to SIGKILL if the agent has ended.
    """
    code = _FAULT
    try:
        # Objects of the agent must not be finalized here: they would close descriptors.
        gc.disable()
        wake = _begin(streams, {channel, *held})
        keeper = _Keeper(channel, wake, kill_after)
        if keeper.start(path, argv, environ):
            keeper.run()
        code = 0
    except BaseException:  # nothing may return into the code of the agent
        with suppress(BaseException):
            os.write(2, traceback.format_exc().encode(errors="replace"))
    finally:
        os._exit(code)


def _begin(streams: tuple[int, int], kept: Collection[int]) -> int:
    """Leave everything of the agent. Return a descriptor that is readable when a child ends."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    for target, source in enumerate((streams[0], streams[1], streams[1])):
        os.dup2(source, target)
        os.set_inheritable(target, True)  # dup2 of a descriptor to itself changes nothing
    for source in filter(lambda source: source > 2, streams):
        os.close(source)  # if no more files may be open, the listing needs this place
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in kept:
            with suppress(OSError):  # the descriptor of the listing is closed already
                os.close(descriptor)
    with suppress(OSError), open("/proc/self/comm", "wb") as file:
        file.write(KEEPER)
    with suppress(MailbellError):  # another sandbox forbids it
        make_undumpable()
    wake, woken = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    return wake


def _hold(path: bytes, argv: list[bytes], environ: Mapping[bytes, bytes]) -> tuple[int, int, int]:
    """Make a process that executes a program when it is told to.

    Returns:
        Its number; a descriptor to tell it: it ends if that is closed first; and one to read
        the number of an error from, which is at its end when the program runs.
    """
    waits, go = os.pipe()
    failure, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.close(go)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            if os.read(waits, 1):
                os.execve(path, argv, environ)  # noqa: S606 - without a shell
        except OSError as error:
            os.write(tells, b"%d" % (error.errno or errno.EIO))
        finally:
            os._exit(_FAULT)
    os.close(waits)
    os.close(tells)
    return pid, go, failure


class _Keeper:
    def __init__(self, channel: int, wake: int, kill_after: float) -> None:
        self._channel = channel
        self._wake = wake
        self._kill_after = kill_after
        self._descendants = Descendants()
        self._command = 0
        self._go = self._failure = -1  # descriptors: to the command, and from it
        self._poll = select.poll()
        self._owes = False  # whether KILL was not answered yet
        self._kill_at = inf  # by time.monotonic
        self._hears = True

    def start(self, path: bytes, argv: list[bytes], environ: Mapping[bytes, bytes]) -> bool:
        """Make the process of the command, and say so or say why not."""
        try:
            adopt_orphans()
            self._command, self._go, self._failure = _hold(path, argv, environ)
        except OSError as error:
            self._say(f"failed {error.errno}\nnone")
            return False
        except OperatingSystemError:
            self._say(f"failed {errno.EPERM}\nnone")
            return False
        process = read(self._command)
        self._say(f"started {self._command} {process.began if process else 0}")
        # The output is at its end when the command and its descendants have closed it.
        os.dup2(0, 1)
        os.dup2(0, 2)
        return True

    def run(self) -> None:
        """Reap until no child is left; and obey."""
        for descriptor in (self._wake, self._channel, self._failure):
            self._poll.register(descriptor, select.POLLIN)
        pause = 0.0
        while (reaped := self._reap()) is not None:
            seconds = self._kill_at - time.monotonic()
            if seconds <= 0:
                # The pauses are short. A signal for each of thousands would only take time.
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
                if self._descendants.end() and self._owes:
                    self._owes = False
                    self._say("tried")
                pause = 0.0 if reaped else min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                seconds = pause
            if reaped == _MOST_REAPED:
                seconds = 0.0
            self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        """Wait until something happens, and answer it."""
        for descriptor, _ in self._poll.poll(None if seconds == inf else 1000 * seconds):
            if descriptor == self._channel:
                self._obey()
            elif descriptor == self._failure:
                self._hear_failure()
            elif descriptor == self._wake:
                os.read(self._wake, 4096)

    def _reap(self) -> int | None:
        """Reap what has ended. Return how many; None if no child is left."""
        reaped = 0
        end = ""
        try:
            while reaped < _MOST_REAPED and (
                result := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | WALL)
            ):
                reaped += 1
                if result.si_pid == self._command:
                    self._hear_failure()
                if result.si_pid == self._command:
                    self._command = 0  # another descendant may get its number
                    how = "exited" if result.si_code == os.CLD_EXITED else "killed"
                    end = f"{how} {result.si_status}"
        except ChildProcessError:
            # Said at once with the end of the command, so that it is not taken for a time
            # in which something was left.
            self._say(f"{end}\nnone" if end else "none")
            return None
        if end:
            self._say(end)
        return reaped

    def _obey(self) -> None:
        try:
            said = os.read(self._channel, 64)
        except ConnectionError:
            said = b""
        if ASK in said or not said:
            self._ask()
        if KILL in said:
            self._kill_at = 0.0
            self._owes = True
        if (GO in said or not said) and self._go >= 0:
            if said:
                with suppress(BrokenPipeError):  # the process was asked to end, and has ended
                    os.write(self._go, GO)
            os.close(self._go)
            self._go = -1
        if not said:  # the agent has ended
            self._poll.unregister(self._channel)
            self._kill_at = min(self._kill_at, time.monotonic() + self._kill_after)

    def _ask(self) -> None:
        """Ask all, also those that were started while others were asked."""
        asked: set[tuple[int, int]] = set()
        for _ in range(_MOST_ROUNDS):
            if self._reap() is None or not self._descendants.ask(asked):
                return

    def _hear_failure(self) -> None:
        """Say why the program could not be executed, if it could not; once."""
        if self._failure < 0:
            return
        if number := os.read(self._failure, 16):
            self._command = 0  # it ends, and its status means nothing
            self._say(f"failed {int(number)}")
        self._poll.unregister(self._failure)
        os.close(self._failure)
        self._failure = -1

    def _say(self, line: str) -> None:
        with suppress(OSError):  # the agent has ended
            os.write(self._channel, f"{line}\n".encode())

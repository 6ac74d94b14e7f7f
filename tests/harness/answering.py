"""Run a program while a test decides how the kernel answers some of its calls.

The answer may be an error. It may also be a lie: it reports success for a call that was
not carried out. The program is not changed. A filter passes the chosen calls to the test,
which answers them (seccomp_unotify(2)), and the kernel carries out all others.

The program can notice the filter in one way: from the beginning `/proc/PID/status` says
that there is one (Seccomp: 2).
"""

import ctypes
import errno
import fcntl
import functools
import os
import select
import signal
import socket
import struct
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

import pytest
from harness.libseccomp import libseccomp
from harness.sender import PATIENCE

__all__ = [
    "CONTINUE",
    "NOTIFICATION",
    "RECEIVE",
    "RESPONSE",
    "SEND",
    "Answer",
    "Call",
    "Made",
    "Run",
    "asking",
    "call_name",
    "call_number",
    "lies",
    "load_filter",
    "refused",
    "was_opened",
    "watch_openings",
]

# linux/seccomp.h
SET_MODE_FILTER: Final = 1
NEW_LISTENER: Final = 1 << 3
WAIT_KILLABLE: Final = 1 << 5  # Linux 5.19
RECEIVE: Final = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV
SEND: Final = 0xC0182101  # SECCOMP_IOCTL_NOTIF_SEND
CONTINUE: Final = 1
NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
RESPONSE: Final = struct.Struct("=QqiI")
PR_SET_NO_NEW_PRIVS: Final = 38
IN_OPEN: Final = 0x20

LOW: Final = 0xFFFFFFFF

# These calls are never asked about: with them the child, which then runs the program, tells
# the test where to answer.
UNASKED: Final = ("sendmsg", "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "close")

libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Call:
    """A system call, by its name and some of its arguments.

    Attributes:
        name: of the call.
        arguments: what those at these places must be, their low 32 bits; None: not zero.
    """

    name: str
    arguments: tuple[tuple[int, int | None], ...] = ()

    def fits(self, name: str, arguments: Sequence[int]) -> bool:
        """Tell whether a call that was made is one of these."""
        return name == self.name and all(
            arguments[place] if value is None else arguments[place] & LOW == value
            for place, value in self.arguments
        )


@dataclass(frozen=True)
class Answer:
    """The answer that a call gets instead of being carried out.

    Attributes:
        call: which one.
        result: as the kernel returns it: an error is negative.
        nth: of these calls only this one gets it; 0: all of them.
    """

    call: Call
    result: int
    nth: int = 0


Made = tuple[str, tuple[int, ...]]  # a call and its arguments
Arguments = Mapping[int, int | None]


def refused(code: int, name: str, arguments: Arguments | None = None, nth: int = 0) -> Answer:
    """The kernel refuses a call with this error."""
    return Answer(Call(name, tuple((arguments or {}).items())), -code, nth)


def lies(name: str, arguments: Arguments | None = None, result: int = 0, nth: int = 0) -> Answer:
    """The kernel says that it has carried out a call, which it has not."""
    return Answer(Call(name, tuple((arguments or {}).items())), result, nth)


@functools.cache
def call_name(number: int) -> str:
    try:
        found: bytes = libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, number)
    except ValueError:
        return str(number)
    return found.decode()


def call_number(name: str) -> int:
    found: int = libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, name)
    return found


def asking(calls: Iterable[Call]) -> bytes:
    """The filter that asks about these calls. What this architecture lacks is left out."""
    ask = libseccomp.SyscallFilter(libseccomp.ALLOW)
    for call in calls:
        if call_number(call.name) >= 0:
            ask.add_rule(libseccomp.NOTIFY, call.name, *map(_comparison, call.arguments))
    return exported(ask)


def _asking_all() -> bytes:
    ask = libseccomp.SyscallFilter(libseccomp.NOTIFY)
    for name in UNASKED:
        ask.add_rule(libseccomp.ALLOW, name)
    return exported(ask)


def _comparison(argument: tuple[int, int | None]) -> libseccomp.Arg:
    place, value = argument
    if value is None:
        return libseccomp.Arg(place, libseccomp.NE, 0)
    return libseccomp.Arg(place, libseccomp.MASKED_EQ, LOW, value)


def exported(compiled: libseccomp.SyscallFilter) -> bytes:
    with tempfile.TemporaryFile("w+b", buffering=0) as file:
        compiled.export_bpf(file)
        file.seek(0)
        return file.read()


class _Program(ctypes.Structure):
    """`struct sock_fprog` (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def load_filter(program: bytes) -> int:
    """Put the filter in force for this process; return where its questions arrive."""

    def attempt(flags: int) -> int:
        described = _Program(len(program) // 8, program)
        number = ctypes.c_long(call_number("seccomp"))
        return int(libc.syscall(number, SET_MODE_FILTER, flags, ctypes.byref(described)))

    # A signal must not end a call that waits for its answer: it would fail with EINTR.
    flags = NEW_LISTENER | WAIT_KILLABLE
    listener = attempt(flags)
    if listener < 0 and ctypes.get_errno() == errno.EINVAL:
        flags = NEW_LISTENER
        listener = attempt(flags)
    # With CAP_SYS_ADMIN no_new_privs is not needed; the program must set it itself.
    if listener < 0 and ctypes.get_errno() == errno.EACCES:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        listener = attempt(flags)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


@dataclass
class Run:
    """One run of a program, from its beginning to its end.

    Args:
        command: what is run.
        environ: its environment.
        answers: what it gets from the kernel.
        before: done in the process that then runs the program.
        inherited: passed to it as a service manager does; None: nothing is.
        record_from: a file; write down all calls, those before its opening in `earlier`.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    answers: Sequence[Answer] = ()
    before: Sequence[Callable[[], object]] = ()
    inherited: int | None = None
    record_from: str = ""

    pid: int = field(default=0, init=False)
    code: int | None = field(default=None, init=False)
    output: bytearray = field(default_factory=bytearray, init=False)
    earlier: list[Made] = field(default_factory=list, init=False)
    calls: list[Made] = field(default_factory=list, init=False)

    def __enter__(self) -> "Run":
        program = self._program()
        ours, theirs = socket.socketpair()
        self._stderr, writer = os.pipe()
        self._watch = watch_openings(self.record_from) if self.record_from else -1
        self._listener = -1
        with ours, theirs:
            self.pid = _fork()
            if self.pid == 0:
                self._become(program, theirs, writer)
            os.close(writer)
            theirs.close()
            if program:
                self._listener = _received(ours)
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for each in (self._stderr, self._listener, self._watch):
            if each >= 0:
                os.close(each)

    def until(self, descriptor: int = -1) -> bool:
        """Let it run until something can be read there, or to its end.

        Returns:
            Whether something can be read there.
        """
        poll = select.poll()
        for each in (self._stderr, self._listener, descriptor):
            if each >= 0:
                poll.register(each, select.POLLIN)
        end = time.monotonic() + PATIENCE
        while self.code is None:
            ready = poll.poll(max(0.0, end - time.monotonic()) * 1000)
            if not ready:
                pytest.fail(f"it goes on and on: {bytes(self.output)!r}")
            for each, events in ready:
                if each == descriptor:
                    return True
                self._serve(each, events, poll)
        return False

    def until_so(self, done: Callable[[], object]) -> None:
        """Let it run until a condition holds; the test may change the answers meanwhile."""
        poll = select.poll()
        for each in (self._stderr, self._listener):
            if each >= 0:
                poll.register(each, select.POLLIN)
        end = time.monotonic() + PATIENCE
        while not done():
            assert self.code is None, bytes(self.output)
            if time.monotonic() > end:
                pytest.fail(f"it does not come to be: {bytes(self.output)!r}")
            for each, events in poll.poll(10):
                self._serve(each, events, poll)

    def terminate(self) -> None:
        """Tell it to end."""
        os.kill(self.pid, signal.SIGTERM)

    def _serve(self, descriptor: int, events: int, poll: select.poll) -> None:
        if descriptor == self._listener:
            if events & select.POLLIN:
                self._decide()
            else:  # no process is left that asks
                poll.unregister(descriptor)
        elif chunk := os.read(descriptor, 65536):
            self.output += chunk
        else:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _decide(self) -> None:
        question = bytearray(NOTIFICATION.size)
        try:
            fcntl.ioctl(self._listener, RECEIVE, question)
            fcntl.ioctl(self._listener, SEND, self._answer(*NOTIFICATION.unpack(question)))
        except OSError as error:
            if error.errno != errno.ENOENT:  # the process that asked is gone
                raise

    def _answer(
        self, number: int, _pid: int, _flags: int, call: int, _arch: int, _ip: int, *args: int
    ) -> bytes:
        name = call_name(call)
        if self._watch >= 0 and not self.earlier and was_opened(self._watch):
            # The last opening was that of the file: no other call has been carried out since.
            begin = max(n for n, (made, _) in enumerate(self.calls) if made == "openat")
            self.earlier, self.calls = self.calls[:begin], self.calls[begin:]
        self.calls.append((name, args))
        result = self._decided(name, args)
        if result is None:
            return RESPONSE.pack(number, 0, 0, CONTINUE)
        return RESPONSE.pack(number, max(result, 0), min(result, 0), 0)

    def _decided(self, name: str, args: Sequence[int]) -> int | None:
        """Return the answer to a call; None: the kernel carries it out."""
        for answer in self.answers:
            if answer.call.fits(name, args):
                times = sum(answer.call.fits(*made) for made in self.calls)
                if answer.nth in {0, times}:
                    return answer.result
        return None

    def _program(self) -> bytes:
        """Return the filter that asks the test; empty: there is nothing to ask."""
        if self.record_from:
            return _asking_all()
        return asking(answer.call for answer in self.answers) if self.answers else b""

    def _become(self, program: bytes, channel: socket.socket, stderr: int) -> NoReturn:
        try:
            # The test's descriptors must not have the numbers that the program's must get.
            away = fcntl.fcntl(channel.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
            channel = socket.socket(fileno=away)
            os.dup2(stderr, 2)
            os.dup2(stderr, 1)  # the program must not write to standard output
            environ = dict(self.environ)
            if self.inherited is not None:
                os.dup2(self.inherited, 3)
                os.set_inheritable(3, True)
                environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            for each in self.before:
                each()
            if program:
                listener = load_filter(program)
                socket.send_fds(channel, [b"."], [listener])
            os.execve(self.command[0], list(self.command), environ)
        except BaseException as error:  # the test must learn of every exception
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(99)


def _fork() -> int:
    with warnings.catch_warnings():
        # CPython 3.12 warns when there are threads. The child takes no lock of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _received(channel: socket.socket) -> int:
    channel.settimeout(PATIENCE)
    _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    return descriptors[0] if descriptors else -1


def watch_openings(path: str) -> int:
    """Return a descriptor that tells when a file is opened (inotify(7)).

    The path is in the memory of the process that opens it. Nobody but root can read the
    memory of one that is undumpable.
    """
    watch: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(path), IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), "inotify", path)
    return watch


def was_opened(watch: int) -> bool:
    try:
        return bool(os.read(watch, 4096))
    except BlockingIOError:
        return False

"""Starts a program whose system calls are answered from its first one on.

The filter is loaded before the program is, and asks this process about the chosen calls. The filter
of the daemon's own lock comes on top of it, and works as ever.
"""

import ctypes
import errno
import fcntl
import os
import select
import signal
import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from harness.answering import Call, asking, call_number, load_filter, watch_openings
from harness.sender import PATIENCE

from torture.faults.unotify import BECOMES, Fault, Supervisor

__all__ = ["Launch", "launch"]

_LISTENER: Final = "anon_inode:seccomp notify"
# Above all that this process has open: the listener gets the lowest free number.
_HIGH: Final = 700
_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a program is started.

    Attributes:
        command: what is executed.
        environ: its environment.
        calls: the calls that are asked about.
        descriptors: passed on as 3 and the following ones, as a service manager does.
        names: of these, `LISTEN_FDNAMES`.
        output: a descriptor that becomes its standard output and standard error.
        configuration: a file: whether it was opened is noticed, and every call is written down;
            "": nobody asks.
        fault: the calls that fail from the first one on; None: none.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    calls: Collection[str]
    descriptors: Sequence[int] = ()
    names: Sequence[str] = ()
    output: int = 2
    configuration: str = ""
    fault: Fault | None = None


def launch(plan: Launch) -> tuple[int, Supervisor]:
    """Start a program whose calls are answered from its first one on.

    Args:
        plan: what is started, and how.

    Returns:
        Its process, a child of this one, and what answers its calls.

    Raises:
        OSError: the kernel does not permit it.
    """
    # What becomes the program waits with execve(2) until this process has its listener, which
    # execve closes there.
    program = asking([Call(name) for name in sorted({*plan.calls, BECOMES})])
    watch = watch_openings(plan.configuration) if plan.configuration else -1
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # CPython 3.12 warns when there are threads. The child takes no lock of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _become(plan, program, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        number = told.read()
    listener = _taken(pid, int(number)) if number else -1
    if listener < 0:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it may wait for an answer without an end
        os.waitpid(pid, 0)
        raise OSError(errno.EPERM, "the filter cannot be loaded")
    supervisor = Supervisor(listener, pid, watch, plan.fault)
    supervisor.start()
    return pid, supervisor


def _become(plan: Launch, program: bytes, writer: int) -> NoReturn:
    """Load the filter and become the program. Each call that is asked about waits for an answer."""
    try:
        environ = {**plan.environ, **_passed(plan)}
        given = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _HIGH) for each in plan.descriptors]
        channel = fcntl.fcntl(writer, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        os.close(writer)
        output = fcntl.fcntl(plan.output, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        for place, descriptor in enumerate(given):
            os.dup2(descriptor, 3 + place, inheritable=True)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        free = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.close(free)
        os.write(channel, b"%d" % min(free, channel))  # both are free when the filter is loaded
        os.close(channel)
        load_filter(program)
        os.execve(plan.command[0], list(plan.command), environ)  # noqa: S606 - the daemon itself
    except BaseException as error:  # nothing may return into the code of the parent
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(99)


def _passed(plan: Launch) -> dict[str, str]:
    if not plan.descriptors:
        return {}
    return {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(plan.descriptors)),
        "LISTEN_FDNAMES": ":".join(plan.names),
    }


def _taken(pid: int, number: int) -> int:
    """Take the descriptor where a process is asked about: pidfd_getfd(2); -1: it has none."""
    get = ctypes.c_long(call_number("pidfd_getfd"))
    process = os.pidfd_open(pid)
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            taken: int = _libc.syscall(get, process, number, 0)
            if taken >= 0:
                if os.readlink(f"/proc/self/fd/{taken}") == _LISTENER:
                    return taken
                os.close(taken)
            elif ctypes.get_errno() != errno.EBADF:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            # The child cannot say that its filter is loaded: that takes a call.
            select.select([], [], [], 0.0005)
    finally:
        os.close(process)
    return -1

"""Run a function in a child process, because its effects cannot be undone.

The child is a fork, so the function may be a closure, and it has one thread
whatever the parent has. Its standard error is a pipe to the parent, and the
result comes back through it as well: descriptor 2 is the only one a locked
process may write to.
"""

import ctypes
import os
import pickle
import resource
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import pytest

__all__ = ["Ended", "run", "run_as_root"]

MARK: Final = b"\0result\0"
CLONE_NEWUSER: Final = 0x10000000


@dataclass(frozen=True, slots=True)
class Ended:
    """How the child ended.

    Attributes:
        value: what the function returned.
        error: what it raised.
        code: the exit status, None when a signal killed it.
        signal: the signal that killed it, None when it exited.
        output: what it wrote to standard error.
    """

    value: Any
    error: BaseException | None
    code: int | None
    signal: signal.Signals | None
    output: bytes


def run(function: Callable[[], object], *, seconds: float = 30.0) -> Ended:
    """Run a function in a child and wait for its end.

    Args:
        function: called without arguments; what it returns must be picklable.
        seconds: after which the child is killed and the test fails.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # CPython 3.12 warns when the parent has threads. The child takes no
        # lock that one of them could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _child(function, writer)
    os.close(writer)
    try:
        data = _read(reader, time.monotonic() + seconds)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pytest.fail(f"the child did not end within {seconds} s")
    finally:
        os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    output, _, result = data.partition(MARK)
    value, error = pickle.loads(result) if result else (None, None)
    code, killer = (status, None) if status >= 0 else (None, signal.Signals(-status))
    return Ended(value, error, code, killer, output)


def run_as_root(function: Callable[[], object]) -> Ended:
    """Run a function in a child that is root, at least in a user namespace of its own.

    There it has every capability, but only one user and one group. The test is
    skipped where such a namespace cannot be made.
    """
    if os.geteuid() == 0:
        return run(function)
    if run(_enter_user_namespace).error is not None:
        pytest.skip("needs root, or a user namespace, which this system does not grant")

    def inside() -> object:
        _enter_user_namespace()
        return function()

    return run(inside)


def _enter_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {uid} 1"),
        ("gid_map", f"0 {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _child(function: Callable[[], object], writer: int) -> NoReturn:
    # Coverage looks for the file of each new piece of code, which a locked child may not.
    sys.settrace(None)
    os.dup2(writer, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    result: tuple[object, BaseException | None]
    try:
        result = (function(), None)
    except BaseException as error:  # the parent must learn of every exception
        result = (None, error)
    try:
        os.write(2, MARK + _pickled(result))
    finally:
        os._exit(0 if result[1] is None else 1)


def _pickled(result: tuple[object, BaseException | None]) -> bytes:
    try:
        return pickle.dumps(result)
    except Exception:  # the exception has values that cannot be sent
        return pickle.dumps((None, RuntimeError(repr(result))))


def _read(reader: int, deadline: float) -> bytes:
    data = bytearray()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while True:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        chunk = os.read(reader, 65536)
        if not chunk:
            return bytes(data)
        data += chunk

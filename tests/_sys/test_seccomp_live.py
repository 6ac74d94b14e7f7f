"""The filter in force, in a child: what all rules together permit, and what surrounds them.

`tests/sandbox/test_every_rule.py` tries each rule alone, and every call without a rule.
"""

import ctypes
import errno
import faulthandler
import gc
import linecache
import mmap
import os
import platform
import resource
import signal
import socket
import threading
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.alone import ask
from harness.child import Ended, run
from harness.libseccomp import libseccomp

from mailbell._sys import process, seccomp
from mailbell._sys.proof import parse_status
from mailbell._sys.undumpable import make_undumpable
from mailbell.sandbox.policy_file import read_policy

POLICY = read_policy("mailbelld")
only_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86-64 only")


def load() -> None:
    """Put the daemon's filter in force. The descriptor for the proof is not used here."""
    seccomp.compile_policy(POLICY.bind({"STATUS": 99, "WAKEUP": 2, "SHARED": range(3)})).load()


def locked(function: Callable[[], object]) -> Ended:
    def inside() -> object:
        load()
        return function()

    return run(inside)


def number(name: str) -> int:
    return int(libseccomp.resolve_syscall(libseccomp.Arch.NATIVE, name))


def call(name: str, *args: int) -> int:
    """Make a system call; return the number of its error."""
    return ask((number(name), (*args, *(0,) * (6 - len(args)))))


NONE = (1 << 64) - 1  # no descriptor
RW = mmap.PROT_READ | mmap.PROT_WRITE
EXECUTABLE = mmap.PROT_READ | mmap.PROT_EXEC
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

# The calls that SECURITY.md promises to kill, by name. Tests that are made from the policy
# would accept a policy that permits them.
KILLED: dict[str, tuple[str, tuple[int, ...]]] = {
    "execve": ("execve", ()),
    "execveat": ("execveat", ()),
    "clone": ("clone", (signal.SIGCHLD,)),
    "fork": ("fork", ()),
    "vfork": ("vfork", ()),
    "ptrace": ("ptrace", ()),
    "socket raw": ("socket", (socket.AF_PACKET, socket.SOCK_RAW)),
    "mmap executable": ("mmap", (0, 4096, RW | mmap.PROT_EXEC, ANONYMOUS, NONE)),
    "mprotect executable": ("mprotect", (0, 4096, EXECUTABLE)),
}
REFUSED: dict[str, tuple[str, tuple[int, ...]]] = {
    "openat": ("openat", ()),
    "socket unix": ("socket", (socket.AF_UNIX, socket.SOCK_STREAM)),
    "socket inet": ("socket", (socket.AF_INET, socket.SOCK_STREAM)),
    "socket inet datagram": ("socket", (socket.AF_INET, socket.SOCK_DGRAM)),
    "connect": ("connect", (NONE,)),
}


@pytest.mark.parametrize("case", KILLED)
def test_killed(case: str) -> None:
    name, args = KILLED[case]
    if number(name) < 0:
        pytest.skip("this architecture has no such call")
    ended = locked(lambda: call(name, *args))
    assert ended.signal is signal.SIGSYS, ended


def test_nothing_of_libseccomp_is_left_to_be_called_later() -> None:
    """Some versions of Python keep a function's arguments alive until the function returns."""

    def inside() -> tuple[bool, bool]:
        compiled = seccomp.compile_policy(
            POLICY.bind({"STATUS": 99, "WAKEUP": 2, "SHARED": range(3)})
        )
        held = weakref.ref(compiled._compiled)
        before = held() is not None
        compiled.load()
        return before, held() is not None

    assert run(inside).value == (True, False)


def test_refused_and_alive() -> None:
    def inside() -> dict[str, int]:
        return {case: call(name, *args) for case, (name, args) in REFUSED.items()}

    ended = locked(inside)
    assert ended.code == 0, ended
    assert ended.value == dict.fromkeys(REFUSED, errno.EACCES)


@only_x86_64
def test_int_80_is_killed() -> None:
    def inside(lock: bool) -> int:
        with mmap.mmap(-1, mmap.PAGESIZE, prot=RW | mmap.PROT_EXEC) as code:
            code.write(bytes.fromhex("b814000000 cd80 c3"))  # mov eax, getpid; int 0x80; ret
            first = ctypes.c_char.from_buffer(code)
            getpid_as_on_i386 = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(first))
            if lock:
                load()
            os._exit(0 if getpid_as_on_i386() == os.getpid() else 1)

    if run(lambda: inside(lock=False)).code != 0:
        pytest.skip("this kernel makes no 32-bit calls")
    assert run(lambda: inside(lock=True)).signal is signal.SIGSYS


def test_a_datagram_with_an_address_kills_and_one_without_goes() -> None:
    def inside(addressed: bool) -> object:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        free = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        load()
        left.send(b"x")
        if addressed:
            free.sendto(b"x", ("127.0.0.1", 9))
        return right.recv(2)

    assert run(lambda: inside(False)).value == b"x"
    assert run(lambda: inside(True)).signal is signal.SIGSYS


def test_the_kernel_confirms_it() -> None:
    ended = run(_confirmed)
    assert ended.value.seccomp == 2
    assert ended.value.no_new_privs  # CTL_NNP


def _confirmed() -> object:
    status = os.open("/proc/self/status", os.O_RDONLY)
    seccomp.compile_policy(POLICY.bind({"STATUS": status, "WAKEUP": 2, "SHARED": range(3)})).load()
    return parse_status(os.read(status, 16384))


def test_every_thread_is_bound() -> None:
    """TSYNC: a thread that existed before gets the filter too."""

    def inside() -> tuple[bytes, bytes]:
        blocked, _ = os.pipe()
        threading.Thread(target=lambda: os.read(blocked, 1), daemon=True).start()
        (other,) = {int(task) for task in os.listdir("/proc/self/task")} - {os.getpid()}
        # Until the thread sleeps in read(2) it may hold Python's lock. The policy does
        # not permit to wait for that lock.
        reading = f"{number('read')} "
        while not Path(f"/proc/self/task/{other}/syscall").read_text().startswith(reading):
            pass
        status = os.open(f"/proc/self/task/{other}/status", os.O_RDONLY)
        before = os.pread(status, 16384, 0)
        seccomp.compile_policy(
            POLICY.bind({"STATUS": status, "WAKEUP": 2, "SHARED": range(3)})
        ).load()
        return before, os.read(status, 16384)

    ended = run(inside)
    assert ended.code == 0, ended
    assert [parse_status(text).seccomp for text in ended.value] == [0, 2]


def test_a_traceback_is_printed_without_files() -> None:
    def inside() -> None:
        linecache.clearcache()  # so that CPython must look for the source
        try:
            open("/etc/passwd").close()
        except PermissionError:
            traceback.print_exc(file=stderr)
            stderr.flush()

    with open(2, "w", closefd=False) as stderr:
        ended = locked(inside)
    assert (ended.code, ended.signal) == (0, None), ended
    assert b"PermissionError: [Errno 13]" in ended.output


def test_abort_looks_like_abort() -> None:
    def inside() -> None:
        faulthandler.disable()  # pytest's handler writes to its own descriptor
        load()
        os.abort()

    assert run(inside).signal is signal.SIGABRT


def test_memory_that_runs_out_is_an_exception() -> None:
    def exhaust() -> str:
        kept: list[object] = []
        try:
            while True:
                kept.append(bytearray(1000))
        except MemoryError:
            kept.clear()
            gc.collect()
            return "MemoryError"

    def inside() -> str:
        limit = 2 << 30
        used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (min(limit, used + (64 << 20)),) * 2)
        load()
        return exhaust()

    assert run(inside).value == "MemoryError"


def test_large_buffers_grow_and_shrink() -> None:
    def inside() -> int:
        buffer = bytearray()
        for _ in range(4000):
            buffer += b"x" * 1000
        return len(buffer)

    assert locked(inside).value == 4_000_000


def test_lock_with_everything_else_in_force() -> None:
    """The filter loads after no_new_privs, memory protection and limits, as at start-up."""

    def inside() -> int:
        process.no_new_privileges()
        make_undumpable()
        process.deny_writable_executable()
        load()
        return os.getpid()

    ended = run(inside)
    assert ended.code == 0, ended

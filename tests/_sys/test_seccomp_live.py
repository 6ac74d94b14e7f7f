"""The filter in force: each tier tried in a locked child."""

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
from collections.abc import Callable
from pathlib import Path

import pyseccomp
import pytest
from harness.child import Ended, run

from mailbell._policy_toml import parse
from mailbell._sys import process, seccomp
from mailbell._sys.proof import parse_status

POLICY = parse((Path(seccomp.__file__).parent.parent / "policy" / "mailbelld.toml").read_bytes())
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
only_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86-64 only")


def load() -> None:
    """Put the daemon's filter in force; the descriptor for the proof is not used here."""
    seccomp.compile_policy(POLICY.bind({"STATUS": 99, "WAKEUP": 2})).load()


def locked(function: Callable[[], object]) -> Ended:
    def inside() -> object:
        load()
        return function()

    return run(inside)


def call(name: str | int, *args: int | bytes | None) -> tuple[int, str]:
    """Make a raw system call: its result and the name of its error."""
    number = name if isinstance(name, int) else NUMBERS[name]
    padded = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(number), *padded)
    return result, errno.errorcode.get(ctypes.get_errno(), "")


RW = mmap.PROT_READ | mmap.PROT_WRITE
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
KILLED: dict[str, tuple[str | int, tuple[int | bytes | None, ...]]] = {
    "execve": ("execve", (b"/bin/true", 0, 0)),
    "execveat": ("execveat", (-100, b"/bin/true", 0, 0, 0)),
    "clone": ("clone", (int(signal.SIGCHLD), 0, 0, 0, 0)),
    "vfork": ("vfork", ()),
    "ptrace": ("ptrace", (0, 0, 0, 0)),
    "socket packet": ("socket", (int(socket.AF_PACKET), int(socket.SOCK_RAW), 0)),
    "bind": ("bind", (0, 0, 0)),
    "listen": ("listen", (0, 0)),
    "sendmsg": ("sendmsg", (0, 0, 0)),
    "recvmsg": ("recvmsg", (0, 0, 0)),
    "sendto with flags": ("sendto", (0, 0, 0, int(socket.MSG_OOB), 0, 0)),
    "sendto with address": ("sendto", (0, 0, 0, 0, 1 << 32, 0)),
    "sendto with length": ("sendto", (0, 0, 0, 0, 0, 1 << 32)),
    "recvfrom with flags": ("recvfrom", (0, 0, 0, int(socket.MSG_PEEK), 0, 0)),
    "accept4 without close-on-exec": ("accept4", (0, 0, 0, 0)),
    "write to stdout": ("write", (1, b"x", 1)),
    "read from stdin": ("read", (0, 0, 0)),
    "mmap executable": ("mmap", (0, 4096, RW | mmap.PROT_EXEC, ANONYMOUS, -1, 0)),
    "mmap shared": ("mmap", (0, 4096, RW, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, -1, 0)),
    "mmap of a file": ("mmap", (0, 4096, RW, mmap.MAP_PRIVATE, 0, 0)),
    "mmap with a hint": ("mmap", (0x123450000000, 4096, RW, ANONYMOUS, -1, 0)),
    "mmap fixed": ("mmap", (0, 4096, RW, ANONYMOUS | 0x10, -1, 0)),
    "mprotect executable": ("mprotect", (0, 4096, mmap.PROT_READ | mmap.PROT_EXEC)),
    "mremap fixed": ("mremap", (0, 0, 0, 3, 0)),
    "kill of the parent": ("kill", (os.getpid(), 0)),
    "kill of everybody": ("kill", (-1, int(signal.SIGINT))),
    "tgkill of the parent": ("tgkill", (os.getpid(), os.getpid(), int(signal.SIGABRT))),
    "futex wait": ("futex", (0, 128, 0, 0)),
    "epoll_pwait with a mask": ("epoll_pwait", (0, 0, 0, 0, 1 << 32, 8)),
    "prctl": ("prctl", (0, 0, 0, 0, 0)),
    "seccomp": ("seccomp", (0, 0, 0)),
    "setresuid": ("setresuid", (0, 0, 0)),
    "io_uring_setup": ("io_uring_setup", (1, 0)),
    "bpf": ("bpf", (0, 0, 0)),
    "a number no kernel has": (1024, ()),
    "cachestat, known and not named": (451, ()),
}
SOFT: dict[str, tuple[str | int, tuple[int | bytes | None, ...], str]] = {
    "openat": ("openat", (-100, b"/etc/passwd", 0), "EACCES"),
    "newfstatat": ("newfstatat", (-100, b"/etc/passwd", 0, 0), "EACCES"),
    "getcwd": ("getcwd", (0, 0), "EACCES"),
    "socket unix": ("socket", (int(socket.AF_UNIX), 1, 0), "EACCES"),
    "socket inet": ("socket", (int(socket.AF_INET), 1, 0), "EACCES"),
    "connect": ("connect", (0, 0, 0), "EACCES"),
    "ioctl TIOCGWINSZ": ("ioctl", (2, 0x5413, 0), "ENOTTY"),
    "ioctl TIOCSTI": ("ioctl", (0, 0x5412, 0), "ENOTTY"),
    "madvise": ("madvise", (0, 4096, 4), "EINVAL"),
    "mprotect": ("mprotect", (0, 4096, RW), "ENOMEM"),
    "setsockopt": ("setsockopt", (0, int(socket.SOL_TCP), 1, 0, 0), "EPERM"),
    "getsockopt of a filter": ("getsockopt", (0, int(socket.SOL_SOCKET), 26, 0, 0), "EPERM"),
    "handler for SIGSYS": ("rt_sigaction", (int(signal.SIGSYS), 0, 0, 8), "EPERM"),
    "sigaltstack": ("sigaltstack", (0, 0), "EPERM"),
    "clone3": ("clone3", (0, 0), "ENOSYS"),
    "clock of the process": ("clock_gettime", (2, 0), "EINVAL"),
    "a newer call": (470, (), "ENOSYS"),
    "a much newer call": (1023, (), "ENOSYS"),
}
NUMBERS = {
    name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    for name, *_ in (*KILLED.values(), *SOFT.values())
    if isinstance(name, str)
}


@pytest.mark.parametrize("case", KILLED)
def test_killed(case: str) -> None:
    name, args = KILLED[case]
    if isinstance(name, str) and NUMBERS[name] < 0:
        pytest.skip("this architecture has no such call")
    ended = locked(lambda: call(name, *args))
    assert ended.signal is signal.SIGSYS, ended


def test_refused_and_alive() -> None:
    def inside() -> dict[str, tuple[int, str]]:
        return {case: call(name, *args) for case, (name, args, _) in SOFT.items()}

    ended = locked(inside)
    assert ended.code == 0, ended
    assert ended.value == {case: (-1, error) for case, (_, _, error) in SOFT.items()}


@only_x86_64
@pytest.mark.parametrize("number", [39, 520, 1])  # getpid, x32's own execve, write
def test_x32_is_killed(number: int) -> None:
    assert locked(lambda: call(0x40000000 | number)).signal is signal.SIGSYS


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
    seccomp.compile_policy(POLICY.bind({"STATUS": status, "WAKEUP": 2})).load()
    return parse_status(os.read(status, 16384))


def test_every_thread_is_bound() -> None:
    """TSYNC: a thread that was there before is in the filter as well."""

    def inside() -> tuple[bytes, bytes]:
        blocked, _ = os.pipe()
        threading.Thread(target=lambda: os.read(blocked, 1), daemon=True).start()
        (other,) = {int(task) for task in os.listdir("/proc/self/task")} - {os.getpid()}
        # Until it sleeps in read(2) it may hold Python's lock, and waiting
        # for that lock is not in the policy.
        reading = f"{NUMBERS['read']} "
        while not Path(f"/proc/self/task/{other}/syscall").read_text().startswith(reading):
            pass
        status = os.open(f"/proc/self/task/{other}/status", os.O_RDONLY)
        before = os.pread(status, 16384, 0)
        seccomp.compile_policy(POLICY.bind({"STATUS": status, "WAKEUP": 2})).load()
        return before, os.read(status, 16384)

    ended = run(inside)
    assert ended.code == 0, ended
    assert [parse_status(text).seccomp for text in ended.value] == [0, 2]


def test_a_traceback_is_printed_without_files() -> None:
    def inside() -> None:
        linecache.clearcache()  # so that the source must be looked for
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
        faulthandler.disable()  # pytest's, which writes to a descriptor of its own
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
        process.make_undumpable()
        process.deny_writable_executable()
        load()
        return os.getpid()

    ended = run(inside)
    assert ended.code == 0, ended

"""Attacks made in a child, with some of the daemon's layers in force.

Each attempt gets new files, sockets, a terminal and a mount namespace, which end with it.
Listeners and processes that are only inspected are shared.
"""

import ctypes
import fcntl
import mmap
import os
import platform
import pty
import shutil
import signal
import socket
import subprocess
import tempfile
import termios
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from errno import errorcode
from pathlib import Path
from typing import Any, Final

import pytest
from harness.child import run as run_child
from sandbox.attacks.aim import Layout, RawCall, Result
from sandbox.attacks.catalogue import Attack, Targets, aimed, laid_out, number
from sandbox.attacks.layers import (
    KILLED,
    MAILBELLD,
    NOBODY,
    ROOT,
    Guarded,
    Layer,
    Run,
    compile_filters,
    enter,
)

from mailbell._sys import bpf, credentials
from mailbell._sys._libc import libc, prctl
from mailbell._sys.bpf_program import Instruction

__all__ = ["SUCCEEDED", "THREAD_EXIT", "Site", "attempt", "attempt_in_python", "files", "site"]

SUCCEEDED: Final = "succeeded"
PR_SET_DUMPABLE: Final = 4
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
# How an attack starts a thread that ends at once. On x86-64 the new thread finds on its stack
# where syscall(2) returns to, and that is this code. On aarch64 a register says it, so there
# this code is called in place of syscall(2), and ends whoever has another stack after the call.
THREAD_EXIT: Final = {
    "x86_64": bytes.fromhex(
        "31ff b83c000000 0f05"  # xor edi, edi; mov eax, 60; syscall
    ),
    "aarch64": bytes.fromhex(
        "e9030091 e80300aa e00301aa e10302aa"  # mov x9, sp; mov x8, x0; mov x0, x1; mov x1, x2
        "e20303aa e30304aa e40305aa e50306aa"  # mov x2, x3; mov x3, x4; mov x4, x5; mov x5, x6
        "010000d4 ea030091 3f010aeb 41000054"  # svc #0; mov x10, sp; cmp x9, x10; b.ne 1f
        "c0035fd6"  # ret
        "000080d2 a80b80d2 010000d4"  # 1: mov x0, #0; mov x8, #93; svc #0
    ),
}
EVERYTHING: Final = (Instruction(0x06, 0, 0, 0xFFFF),)
PATIENCE: Final = 20.0

# The files to attack. Root can read and change them whatever their mode is.
_MODES: Final = {"readable": 0o644, "secret": 0, "writable": 0o666, "own": 0o600, "others": 0o600}

# Makes a call by its number and six arguments; a negative result is an error.
Way = Callable[..., int]

# Memory that a thread may still use after the attempt. It lives as long as the child.
_kept: list[object] = []


@dataclass(frozen=True)
class Site:
    """The place where the attacks are made.

    Attributes:
        directory: the folder for the files of each attempt.
        targets: listeners and processes; each attempt has its own files and descriptors.
    """

    directory: Path
    targets: Targets


@dataclass(frozen=True)
class Held:
    """The descriptors of the attacker, as the daemon has its sockets."""

    targets: Targets
    sockets: tuple[socket.socket, ...]


@contextmanager
def site(guarded: Guarded = MAILBELLD) -> Iterator[Site]:
    """Make listeners, processes and a folder that every user can reach."""
    compile_filters(guarded)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailbell-")))
        directory.chmod(0o755)
        yield Site(directory, _targets(stack, directory))


def _targets(stack: ExitStack, directory: Path) -> Targets:
    def bound(family: int, kind: int, address: object) -> socket.socket:
        sock = stack.enter_context(socket.socket(family, kind))
        sock.bind(address)  # type: ignore[arg-type]  # of any family
        if kind == socket.SOCK_STREAM:
            sock.listen(1024)
        return sock

    def internet(family: int, kind: int, host: str) -> tuple[str, int]:
        return host, int(bound(family, kind, (host, 0)).getsockname()[1])

    path = str(directory / "listener")
    bound(socket.AF_UNIX, socket.SOCK_STREAM, path)
    os.chmod(path, 0o777)
    name: bytes = bound(socket.AF_UNIX, socket.SOCK_STREAM, b"").getsockname()
    victim = _process(stack, NOBODY)
    return Targets(
        readable="", secret="", writable="", own="", others="", folder="",
        program=shutil.which("true") or "/bin/true",
        tcp4=internet(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1"),
        tcp6=internet(socket.AF_INET6, socket.SOCK_STREAM, "::1"),
        udp4=internet(socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1"),
        udp6=internet(socket.AF_INET6, socket.SOCK_DGRAM, "::1"),
        unix=path,
        abstract=name[1:].decode(),
        victim=victim,
        victim_memory=_readable_address(victim),
        stranger=_process(stack, None) if ROOT else 1,
        listener=-1, datagrams=-1, terminal=-1,
    )  # fmt: skip


def _process(stack: ExitStack, identity: credentials.Identity | None) -> int:
    """Start a process that waits and that ends with the site."""
    ids = {}
    if ROOT and identity:
        ids = {"user": identity.uid, "group": identity.gid, "extra_groups": ()}
    started = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, **ids)  # type: ignore[call-overload]  # ids are optional
    stack.callback(started.communicate, timeout=PATIENCE)
    return int(started.pid)


def _readable_address(pid: int) -> int:
    first, *_ = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return int(first.partition("-")[0], 16)


def attempt(attack: Attack, run: Run, place: Site, guarded: Guarded = MAILBELLD) -> str:
    """Make the system calls of an attack in a child, with the layers of a program.

    Returns:
        `SUCCEEDED`, `KILLED` by the filter, or the name of the error.
    """

    def inside() -> int:
        held = _equipped(attack, run, place)
        layout = _in_memory(attack, held.targets)
        enter(run, held.sockets, guarded)
        return _made(layout.calls, _way(held.targets))

    ended = run_child(inside, seconds=PATIENCE)
    if ended.signal is signal.SIGSYS:
        return KILLED
    if ended.error is not None or ended.signal is not None:
        pytest.fail(f"{attack.name}, {run.name}: {ended}")
    if ended.value is None:
        # It is another program now, which has ended with success.
        return SUCCEEDED if attack.never_returns and ended.code == 0 else f"ended: {ended}"
    return SUCCEEDED if attack.succeeded(ended.value) else errorcode[-ended.value]


def attempt_in_python(attack: Attack, run: Run, place: Site) -> str:
    """Run the Python of an attack in a child. Return as `attempt` does, or the exception."""

    def inside() -> str:
        held = _equipped(attack, run, place)
        source = compile(aimed(attack, held.targets).python, attack.name, "exec")
        enter(run, held.sockets)
        names: dict[str, object] = {}
        try:
            exec(source, names)
        except OSError as error:
            return errorcode[error.errno or 0]
        return SUCCEEDED if "got" in names else "nothing got"

    ended = run_child(inside, seconds=PATIENCE)
    if attack.never_returns and ended.value is None and ended.code == 0:
        return SUCCEEDED
    return KILLED if ended.signal is signal.SIGSYS else str(ended.value or ended)


def _equipped(attack: Attack, run: Run, place: Site) -> Held:
    """Make files and sockets for this attempt, and change to the user that would succeed."""
    if ROOT and attack.control_needs == "root":
        _leave_mounts_alone()
    wanted = [name for name in _MODES if attack.aims_at(name)]
    in_a_folder = wanted or any(map(attack.aims_at, ("folder", "new_file", "new_folder")))
    listener = socket.create_server(("127.0.0.1", 0))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bpf.attach(datagrams, EVERYTHING)
    if ROOT:
        bpf.attach(listener, EVERYTHING)
    targets = replace(
        place.targets,
        **(files(place.directory, wanted) if in_a_folder else {}),
        # Only root can put a filter on a listener, and only that filter can be taken off.
        listener=listener.fileno() if ROOT else datagrams.fileno(),
        datagrams=datagrams.fileno(),
        terminal=_terminal() if attack.aims_at("terminal") else -1,
        thread_exit=_code() if attack.aims_at("thread_exit") else 0,
    )
    if ROOT and attack.control_needs == "nobody" and Layer.USER not in run.layers:
        os.setgroups([])
        os.setresgid(NOBODY.gid, NOBODY.gid, NOBODY.gid)
        os.setresuid(NOBODY.uid, NOBODY.uid, NOBODY.uid)
        prctl(PR_SET_DUMPABLE, 1)  # as a program that they start themselves
    return Held(targets, (listener, datagrams))


def _code() -> int:
    """Return the address of THREAD_EXIT, which is made executable once it is written.

    In this order the kernel lets the processor see it on every architecture.
    """
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    memory.write(THREAD_EXIT[platform.machine()])
    _kept.append(memory)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if libc.mprotect(ctypes.c_void_p(address), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "mprotect")
    return address


def _way(targets: Targets) -> Way:
    """Return how to make a call: as syscall(2) does."""
    if targets.thread_exit and platform.machine() == "aarch64":
        return ctypes.CFUNCTYPE(ctypes.c_long, *(ctypes.c_long,) * 7)(targets.thread_exit)
    return _by_libc


def _by_libc(*numbers: int) -> int:
    ctypes.set_errno(0)
    result = int(libc.syscall(*map(ctypes.c_long, numbers)))
    return -ctypes.get_errno() if result == -1 else result


def _leave_mounts_alone() -> None:
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "no mount namespace")


def files(directory: Path, names: Iterable[str] = _MODES) -> dict[str, Any]:
    """Make a folder where every user may make files, with files to attack.

    Args:
        directory: the folder that contains it.
        names: fields of `Targets`.

    Returns:
        Those fields, and the folder.
    """
    folder = Path(tempfile.mkdtemp(dir=directory))
    folder.chmod(0o777)
    for name in names:
        file = folder / name
        file.write_bytes(name.encode())
        file.chmod(_MODES[name])
        if ROOT and name == "own":
            os.chown(file, NOBODY.uid, NOBODY.gid)
    made = {name: str(folder / name) for name in names}
    if "others" in made and not ROOT:
        made["others"] = "/proc/version"  # root's, and of no use to an attacker
    return {**made, "folder": str(folder)}


def _terminal() -> int:
    os.setsid()
    _, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    return terminal


def _in_memory(attack: Attack, targets: Targets) -> Layout:
    ready = aimed(attack, targets)
    size = len(laid_out(ready, 0).memory) or 1
    memory = ctypes.create_string_buffer(size)
    layout = laid_out(ready, ctypes.addressof(memory))
    ctypes.memmove(memory, layout.memory, len(layout.memory))
    _kept.append(memory)
    return layout


def _made(calls: Sequence[RawCall], way: Way) -> int:
    """Make the calls. Return the last result, or the first error, as the kernel does."""
    us = os.getpid()
    results: list[int] = []
    for call in calls:
        numbers = [results[each.of] if isinstance(each, Result) else each for each in call.args]
        results.append(way(call.number, *numbers, *(0,) * (6 - len(numbers))))
        if os.getpid() != us:
            os._exit(0)  # the new process of a fork that was granted
        if results[-1] < 0:
            break
        if call.number == number("clone"):
            with suppress(ChildProcessError):  # a thread is not waited for
                os.waitpid(results[-1], 0)
    return results[-1]

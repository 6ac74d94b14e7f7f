"""Each step is in force afterwards, and a step without effect is noticed."""

import ctypes
import errno
import mmap
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.child import run

from mailbell._sys import process
from mailbell._sys.credentials import read_capabilities
from mailbell.core.errors import InternalError, OperatingSystemError, PrivilegeError

CAP_SYS_RESOURCE = 1 << 24


def status(key: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)[key].strip()


def become_nobody() -> None:
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)


def test_no_new_privileges() -> None:
    def inside() -> str:
        process.no_new_privileges()
        return status("NoNewPrivs")

    assert run(inside).value == "1"


def test_deny_writable_executable() -> None:
    def inside() -> tuple[bool, bool]:
        denied = process.deny_writable_executable()
        try:
            mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC).close()
        except PermissionError:
            return denied, True
        return denied, False

    assert run(inside).value in {(True, True), (False, False)}


def test_a_kernel_without_memory_protection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "prctl", refusing(errno.EINVAL))
    assert process.deny_writable_executable() is False


def test_limits() -> None:
    def inside() -> object:
        become_nobody()
        process.limit_resources(64)
        kinds = (
            resource.RLIMIT_CORE,
            resource.RLIMIT_NPROC,
            resource.RLIMIT_MEMLOCK,
            resource.RLIMIT_NOFILE,
            resource.RLIMIT_DATA,
        )
        limits = [resource.getrlimit(kind) for kind in kinds]
        try:
            os._exit(7 if os.fork() == 0 else 8)
        except BlockingIOError:
            return limits, data_of_this_process()

    ended = run(inside)
    (*others, (data, hard)), had = ended.value
    assert others == [(0, 0), (0, 0), (0, 0), (64, 64)], ended
    # One gibibyte, and the data that the process had already, give or take what it did since.
    assert abs(data - (1 << 30) - had) < 1 << 24, ended
    assert data == hard, ended


def data_of_this_process() -> int:
    """Return the bytes that RLIMIT_DATA counts, as proc(5) shows them."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmData:")[2].split()[0]) << 10


def test_the_limit_of_memory_leaves_room_beside_what_is_reserved() -> None:
    """An allocator may reserve a gibibyte before the process is locked in."""

    def inside() -> int:
        become_nobody()
        reserved = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        process.limit_resources(64)
        process.require_memory_can_grow()
        return len(reserved) + len(bytes(512 << 20))

    assert run(inside).value == 3 << 29


def test_a_limit_of_memory_that_is_lower_stays() -> None:
    def inside() -> int:
        become_nobody()
        resource.setrlimit(resource.RLIMIT_DATA, (300 << 20, 300 << 20))
        process.limit_resources(64)
        return resource.getrlimit(resource.RLIMIT_DATA)[1]

    assert run(inside).value == 300 << 20


def test_memory_that_cannot_grow_is_said_with_the_remedy() -> None:
    def inside() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 20, 1 << 20))
        process.require_memory_can_grow()

    error = run(inside).error
    assert isinstance(error, OperatingSystemError)
    for said in ("no more memory", "LD_PRELOAD", "PYTHONMALLOC", "GLIBC_TUNABLES", "LimitDATA="):
        assert said in str(error)


def test_memory_that_was_tried_is_given_back() -> None:
    def inside() -> int:
        process.require_memory_can_grow()  # the first call takes memory that it keeps
        before = int(Path("/proc/self/statm").read_text().split()[1])
        process.require_memory_can_grow()
        return (int(Path("/proc/self/statm").read_text().split()[1]) - before) * mmap.PAGESIZE

    assert run(inside).value < 1 << 20


@pytest.mark.skipif(
    os.geteuid() != 0 or not read_capabilities().effective & CAP_SYS_RESOURCE,
    reason="needs CAP_SYS_RESOURCE; one of a user namespace of one's own does not count",
)
def test_limits_that_can_be_raised_again_are_none() -> None:
    assert isinstance(run(lambda: process.limit_resources(64)).error, PrivilegeError)


def test_limits_that_could_be_raised_again_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without the capability: the test makes the attempt succeed."""
    set_to: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", set_to.__setitem__)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: set_to.get(kind, (64, 64)))
    with pytest.raises(PrivilegeError, match="CAP_SYS_RESOURCE"):
        process.limit_resources(64)


def test_limits_without_effect_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "setrlimit", ignoring)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(InternalError, match="RLIMIT_CORE is 64 where 0 was set"):
        process.limit_resources(64)


def test_limits_above_the_present_ones_are_refused() -> None:
    def inside() -> None:
        become_nobody()
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        process.limit_resources(64)

    error = run(inside).error
    assert isinstance(error, OperatingSystemError)
    for said in ("RLIMIT_NOFILE: 64 open files are needed, and 32", "LimitNOFILE=64", "ulimit -n"):
        assert said in str(error)


def test_a_limit_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    with pytest.raises(OperatingSystemError, match=r"RLIMIT_CORE cannot be set to 0.*; remove"):
        process.limit_resources(64)


def test_no_limit_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    infinite = (64, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: infinite)
    process.require_open_files(1 << 20)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8, 64))
    process.require_open_files(64)
    # Both daemons say it, and each has its own key.
    with pytest.raises(OperatingSystemError, match=r"limits\.connections.*send\.connections"):
        process.require_open_files(65)


def test_a_single_task() -> None:
    assert run(process.require_single_task).code == 0


def test_a_second_task() -> None:
    def inside() -> None:
        stop = threading.Event()
        threading.Thread(target=stop.wait, daemon=True).start()
        process.require_single_task()

    ended = run(inside)
    assert isinstance(ended.error, InternalError)
    assert "2 threads" in str(ended.error)


def test_libgcc_is_loaded() -> None:
    def inside() -> bool:
        process.preload_libgcc()
        return "libgcc_s.so.1" in Path("/proc/self/maps").read_text()

    assert run(inside).value is True


def refusing(number: int) -> Callable[..., int]:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


def ignoring(*_: object) -> int:
    """Imitates a kernel or another sandbox that reports success and does nothing."""
    return 0


STEPS = (
    process.no_new_privileges,
    process.deny_writable_executable,
)


@pytest.mark.parametrize("step", STEPS)
def test_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch, step: Callable[[], object]) -> None:
    monkeypatch.setattr(process, "prctl", refusing(errno.EPERM))
    with pytest.raises(OperatingSystemError, match="Operation not permitted"):
        step()


@pytest.mark.parametrize("step", [process.no_new_privileges, process.deny_writable_executable])
def test_a_step_without_effect_is_noticed(
    monkeypatch: pytest.MonkeyPatch, step: Callable[[], object]
) -> None:
    monkeypatch.setattr(process, "prctl", ignoring)
    with pytest.raises(InternalError):
        step()


def test_memory_that_stays_executable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "prctl", lambda *_: 1)
    with pytest.raises(InternalError, match="writable and executable"):
        process.deny_writable_executable()


@pytest.mark.parametrize(
    ("name", "limits", "wanted"),
    [
        ("CPU", (100, -1), (-1, -1)),
        ("CPU", (100, 1000), (999, 1000)),
        ("CPU", (1000, 1000), (999, 1000)),
        ("CPU", (1, 1), (1, 1)),
        ("FSIZE", (4096, 8192), (8192, 8192)),
        ("AS", (1 << 33, -1), (-1, -1)),
    ],
)
def test_a_soft_limit_does_not_act_later(
    name: str, limits: tuple[int, int], wanted: tuple[int, int]
) -> None:
    kind: int = getattr(resource, f"RLIMIT_{name}")

    def inside() -> tuple[int, int]:
        become_nobody()
        resource.setrlimit(kind, limits)
        process.limit_resources(open_files=100)
        return resource.getrlimit(kind)

    assert run(inside).value == wanted


def test_no_proc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", refusing(errno.ENOENT))
    with pytest.raises(OperatingSystemError, match="mount /proc"):
        process.require_single_task()


def test_no_libgcc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", refusing(errno.ENOENT))
    with pytest.raises(OperatingSystemError, match="install libgcc"):
        process.preload_libgcc()

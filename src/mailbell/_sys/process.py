"""Takes abilities from this process. No step can be undone.

Each step is verified: the code reads back the kernel's value and, where that is
possible, tries to undo the step.
"""

import ctypes
import errno
import mmap
import os
import re
import resource
from typing import Final

from mailbell._sys._libc import ANOTHER_SANDBOX, prctl
from mailbell.core.errors import InternalError, OperatingSystemError, PrivilegeError

__all__ = [
    "adopts_orphans",
    "deny_writable_executable",
    "limit_resources",
    "no_new_privileges",
    "preload_libgcc",
    "require_memory_can_grow",
    "require_open_files",
    "require_single_task",
]

# linux/prctl.h
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
PR_GET_CHILD_SUBREAPER: Final = 37
PR_SET_MDWE: Final = 65
PR_GET_MDWE: Final = 66
PR_MDWE_REFUSE_EXEC_GAIN: Final = 1

# Python may unload a library that is no longer referenced. These references keep it loaded.
_preloaded: list[ctypes.CDLL] = []

# Bytes of data beyond those that the process has when the limit is set: many times what
# the largest tables and all connections take.
MAX_DATA: Final = 1 << 30
KIB: Final = 1024
LAST_SECOND: Final = 1  # of processor time
# The memory that tries the allocator: pairs of a number of blocks and their size in bytes.
# CPython serves smaller blocks from memory that it keeps, so they would try nothing. The
# last block is so long that glibc keeps nothing of it for later (mallopt(3),
# M_MMAP_THRESHOLD).
TRIED: Final = ((512, 8 * KIB), (40, 100 * KIB), (1, 33 * KIB * KIB))


def no_new_privileges() -> None:
    """Forbid for ever that execve(2) grants a privilege: PR_SET_NO_NEW_PRIVS(2const).

    Raises:
        OperatingSystemError: the kernel refused.
        InternalError: it can be undone.
    """
    _prctl("no_new_privs", PR_SET_NO_NEW_PRIVS, 1)
    try:
        prctl(PR_SET_NO_NEW_PRIVS, 0)
    except OSError:
        pass
    else:
        raise InternalError("no_new_privs can be taken back")
    _expect("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS), 1)


def deny_writable_executable() -> bool:
    """Forbid memory that is writable and executable, or was writable before.

    Source: PR_SET_MDWE(2const).

    Returns:
        Whether the kernel can forbid this (Linux 6.3 and later can).

    Raises:
        OperatingSystemError: the kernel refused for another reason.
        InternalError: the process can still get such memory.
    """
    try:
        prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOTSUP}:
            return False
        raise OperatingSystemError(
            f"memory protection: {error.strerror}", ANOTHER_SANDBOX
        ) from error
    _expect("memory protection", prctl(PR_GET_MDWE), PR_MDWE_REFUSE_EXEC_GAIN)
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except PermissionError:
        return True
    raise InternalError("memory can still be writable and executable")


def limit_resources(open_files: int) -> None:
    """Lower the limits of setrlimit(2).

    The process may write no core dump, start no process, lock no memory and open only
    `open_files` files. It may take one gibibyte of data more than it has now, so that the
    daemon runs out of memory before the machine does.

    A hard limit is the operator's, and stays. A soft limit on processor time, on the size
    of files or on addresses is not: it would only act later. So it becomes the hard limit.
    If the processor time is limited, one second is left for an end in order.

    Args:
        open_files: the highest descriptor that the process may have, plus one.

    Raises:
        OperatingSystemError: the kernel refused, or so many open files are not permitted.
        PrivilegeError: this process could raise the limits again.
    """
    require_open_files(open_files)
    data = _at_most(resource.getrlimit(resource.RLIMIT_DATA)[1], _data() + MAX_DATA)
    limits = {"CORE": 0, "NPROC": 0, "MEMLOCK": 0, "NOFILE": open_files, "DATA": data}
    for name, limit in limits.items():
        kind: int = getattr(resource, f"RLIMIT_{name}")
        try:
            resource.setrlimit(kind, (limit, limit))
        except (OSError, ValueError) as error:
            raise OperatingSystemError(
                f"RLIMIT_{name} cannot be set to {limit}: {error}",
                f"remove Limit{name}= from the unit, or the `ulimit` that set it",
            ) from error
        _expect(f"RLIMIT_{name}", resource.getrlimit(kind)[1], limit)
    for name in ("AS", "CPU", "FSIZE"):
        _raise_soft_limit(name)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 1))
    except ValueError:  # Python raises this for EPERM here
        return
    raise PrivilegeError("resource limits can be raised again", "drop CAP_SYS_RESOURCE first")


def _raise_soft_limit(name: str) -> None:
    kind: int = getattr(resource, f"RLIMIT_{name}")
    soft, hard = resource.getrlimit(kind)
    wanted = hard
    if name == "CPU" and hard > LAST_SECOND:
        # At the soft limit the kernel sends SIGXCPU, at the hard one SIGKILL: setrlimit(2).
        wanted = hard - LAST_SECOND
    if soft != wanted:
        resource.setrlimit(kind, (wanted, hard))
        _expect(f"soft RLIMIT_{name}", resource.getrlimit(kind)[0], wanted)


def _at_most(permitted: int, wanted: int) -> int:
    return wanted if permitted == resource.RLIM_INFINITY else min(permitted, wanted)


def _data() -> int:
    """Return how many bytes of data this process has, used or only reserved.

    mimalloc reserves one gibibyte before it uses it, and the limit counts reserved memory.
    """
    with open("/proc/self/status", "rb") as file:
        found = re.search(rb"^VmData:\s+(\d+) kB$", file.read(), re.MULTILINE)
    return int(found[1]) * KIB if found else 0


def require_memory_can_grow() -> None:
    """Take some tens of MiB of memory, in each way in which the program will take it later.

    An allocator that needs more than the filter permits must fail at the start and not
    under load.

    Raises:
        OperatingSystemError: the kernel gave no memory.
    """
    try:
        for blocks, size in TRIED:
            taken = [bytes(size) for _ in range(blocks)]
            taken.clear()
    except MemoryError as error:
        raise OperatingSystemError(
            "the locked process can take no more memory",
            "unset LD_PRELOAD, PYTHONMALLOC and GLIBC_TUNABLES, which can name an allocator that"
            " needs more than the sandbox permits, or raise LimitDATA= and MemoryMax= of the unit",
        ) from error


def require_open_files(needed: int) -> None:
    """Make sure that this process may have so many files open, and change nothing.

    To raise the hard limit the process needs CAP_SYS_RESOURCE. When the limits are set
    it has dropped that, even if it was started as root.

    Args:
        needed: the highest descriptor that the process may have, plus one.

    Raises:
        OperatingSystemError: the hard limit is lower.
    """
    permitted = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if permitted != resource.RLIM_INFINITY and permitted < needed:
        raise OperatingSystemError(
            f"RLIMIT_NOFILE: {needed} open files are needed, and {permitted} are permitted",
            f"write LimitNOFILE={needed} in the unit, or run `ulimit -n {needed}` as root before"
            " starting, or lower limits.connections (of mailbell-sender: send.connections)",
        )


def require_single_task() -> None:
    """Make sure that this process has one thread only.

    Landlock and capset(2) restrict the calling thread; another thread would stay free.

    Raises:
        OperatingSystemError: /proc is not mounted.
        InternalError: there is more than one thread.
    """
    try:
        tasks = os.listdir("/proc/self/task")
    except OSError as error:
        raise OperatingSystemError(
            f"cannot count threads: {error.strerror}: /proc/self/task", "mount /proc"
        ) from error
    if len(tasks) != 1:
        raise InternalError(
            f"{len(tasks)} threads where one was expected: cannot lock",
            "find what starts a thread in this interpreter: sitecustomize, a .pth file, LD_PRELOAD",
        )


def adopts_orphans() -> bool:
    """Tell whether this process becomes the parent of processes that lose theirs.

    So does the first process of a container, and whatever has made itself a subreaper:
    PR_SET_CHILD_SUBREAPER(2const).
    """
    subreaper = ctypes.c_int(0)
    prctl(PR_GET_CHILD_SUBREAPER, ctypes.addressof(subreaper))
    return os.getpid() == 1 or bool(subreaper.value)


def preload_libgcc() -> None:
    """Load libgcc while files can still be opened.

    glibc loads it at the first pthread_exit(3), and aborts the process if it cannot.

    Raises:
        OperatingSystemError: libgcc is not installed.
    """
    try:
        _preloaded.append(ctypes.CDLL("libgcc_s.so.1"))
    except OSError as error:
        raise OperatingSystemError(
            f"libgcc_s.so.1 cannot be loaded: {error}", "install libgcc-s1 (Fedora, Alpine: libgcc)"
        ) from error


def _prctl(what: str, option: int, value: int) -> None:
    try:
        prctl(option, value)
    except OSError as error:
        raise OperatingSystemError(f"{what}: {error.strerror}", ANOTHER_SANDBOX) from error


def _expect(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise InternalError(f"{what} is {found} where {wanted} was set")

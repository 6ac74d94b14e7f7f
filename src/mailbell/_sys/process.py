"""Makes this process smaller, one step that cannot be undone at a time.

Each step is verified by reading back what the kernel holds and, where there is
a way to try, by trying to undo it.
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
    "make_undumpable",
    "no_new_privileges",
    "preload_libgcc",
    "require_memory_can_grow",
    "require_open_files",
    "require_single_task",
]

# linux/prctl.h
PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
PR_GET_CHILD_SUBREAPER: Final = 37
PR_SET_MDWE: Final = 65
PR_GET_MDWE: Final = 66
PR_MDWE_REFUSE_EXEC_GAIN: Final = 1

# Dropped references unload a library; these stay for the life of the process.
_preloaded: list[ctypes.CDLL] = []

# Bytes of data beyond what there is at the time: many times what the largest tables
# and the most connections take.
MAX_DATA: Final = 1 << 30
KIB: Final = 1024
# Memory that is taken to try the allocator: so many blocks of so many bytes. CPython keeps
# smaller ones apart and holds on to memory for them. The last is longer than any that
# makes glibc keep more memory for later (mallopt(3), M_MMAP_THRESHOLD).
TRIED: Final = ((512, 8 * KIB), (40, 100 * KIB), (1, 33 * KIB * KIB))


def no_new_privileges() -> None:
    """Make execve(2) unable to grant anything, for ever: PR_SET_NO_NEW_PRIVS(2const).

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


def make_undumpable() -> None:
    """Forbid core dumps, ptrace(2) and others' /proc/PID/mem: PR_SET_DUMPABLE(2const).

    Call it after the last change of ids, which resets the attribute.

    Raises:
        OperatingSystemError: the kernel refused.
        InternalError: the kernel holds another value.
    """
    _prctl("dumpable", PR_SET_DUMPABLE, 0)
    _expect("dumpable", prctl(PR_GET_DUMPABLE), 0)


def deny_writable_executable() -> bool:
    """Refuse memory that is or becomes executable after it was writable: PR_SET_MDWE(2const).

    Returns:
        False when the kernel has no such thing (it came with Linux 6.3).

    Raises:
        OperatingSystemError: the kernel refused for another reason.
        InternalError: such memory can still be had.
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

    No core, no new process, no locked memory, few files, and memory that is a
    burden to the daemon before it is one to the machine: a gibibyte more than it has.

    File size is left alone: a limit of zero would break a log that goes to a file.

    Args:
        open_files: one more than the highest descriptor the process may have.

    Raises:
        OperatingSystemError: the kernel refused, or `open_files` are not permitted.
        PrivilegeError: this process could raise them again.
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
                f"leave Limit{name}= of the unit, or `ulimit`, as the system has it",
            ) from error
        _expect(f"RLIMIT_{name}", resource.getrlimit(kind)[1], limit)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 1))
    except ValueError:  # Python's word for EPERM here
        return
    raise PrivilegeError("resource limits can be raised again", "drop CAP_SYS_RESOURCE before")


def _at_most(permitted: int, wanted: int) -> int:
    return wanted if permitted == resource.RLIM_INFINITY else min(permitted, wanted)


def _data() -> int:
    """Return how many bytes of data this process has, used or only reserved.

    mimalloc reserves a gibibyte before it uses any of it, and the limit counts that.
    """
    with open("/proc/self/status", "rb") as file:
        found = re.search(rb"^VmData:\s+(\d+) kB$", file.read(), re.MULTILINE)
    return int(found[1]) * KIB if found else 0


def require_memory_can_grow() -> None:
    """Take some tens of MiB of memory, in each way in which it will be taken later.

    An allocator that cannot do with what the filter permits shall fail here and not
    under load.

    Raises:
        OperatingSystemError: no memory could be had.
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
    """Make sure that this process may have so many files open; nothing is changed.

    Raising the hard limit takes CAP_SYS_RESOURCE, which nobody has any more when
    the limits are set, not even who was root.

    Args:
        needed: one more than the highest descriptor the process may have.

    Raises:
        OperatingSystemError: the hard limit is lower.
    """
    permitted = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if permitted != resource.RLIM_INFINITY and permitted < needed:
        raise OperatingSystemError(
            f"RLIMIT_NOFILE: {needed} open files are needed, and {permitted} are permitted",
            f"write LimitNOFILE={needed} in the unit, or run `ulimit -n {needed}` as root before"
            " starting, or lower limits.connections",
        )


def require_single_task() -> None:
    """Make sure that there is one thread only.

    Landlock and capset(2) bind the calling thread; another would stay outside.

    Raises:
        OperatingSystemError: /proc is not there to be asked.
        InternalError: there is more than one.
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
            "see what else starts one in this interpreter: sitecustomize, a .pth file, LD_PRELOAD",
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
    """Load the library that glibc loads at the first pthread_exit(3), while it can be.

    When it cannot be opened then, glibc aborts the process.

    Raises:
        OperatingSystemError: it is not there.
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

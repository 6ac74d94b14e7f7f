"""What can fail at start-up, as data, in the order of docs/architecture.md, "The lock".

In each case one step fails, or the kernel reports something untrue about one. The case says how
the daemon must end: its exit code and parts of its only line. There are three lists: what the
system refuses (`FAILURES`), what it claims but does not do (`LIES`), and what the daemon logs
and can do without (`TOLERATED`).
"""

import ctypes
import errno
import importlib.util
import os
import resource
import socket
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from harness.answering import Answer, lies, refused
from harness.libseccomp import BINDING
from sandbox.start.packages import Modules, module, policy, with_libseccomp, with_policy
from sandbox.start.surroundings import (
    SOMEBODY,
    Surrounding,
    capabilities_that_stay,
    dying_with_its_parent,
    file_says,
    groups,
    inheriting_a_capability,
    no_file,
    no_folder,
    no_openable_file,
    process_limit,
)

from mailbell._sys import landlock

__all__ = [
    "FAILURES",
    "GET_PDEATHSIG",
    "HARMLESS",
    "LIES",
    "STEPS",
    "TOLERATED",
    "WRONG_STATUS",
    "Case",
    "Who",
]

# docs/architecture.md, "The lock".
SHIELD: Final = "undumpable"
CLOSE: Final = "close inherited"
DROP: Final = "drop privileges"
LOOP: Final = "start event loop"
REFUSED_TO_DROP: Final = f"cannot start ({DROP})"
STEPS: Final = (SHIELD, CLOSE, "prepare", DROP, LOOP, "lock", "ready")

# linux/prctl.h
SET_KEEPCAPS = 8
CAPBSET_READ, CAPBSET_DROP, CAP_AMBIENT, CAP_AMBIENT_CLEAR_ALL = 23, 24, 47, 4
SET_PDEATHSIG, GET_PDEATHSIG = 1, 2
GET_DUMPABLE, SET_DUMPABLE, SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS = 3, 4, 38, 39
SET_MDWE, GET_MDWE = 65, 66
# asm-generic/socket.h, linux/landlock.h, linux/seccomp.h
SO_ATTACH_FILTER, SO_LOCK_FILTER, SO_PASSRIGHTS = 26, 44, 83
LANDLOCK_VERSION = 1
SET_MODE_FILTER = 1
READ_WRITE_EXECUTE = 7
DROPPABLE, ANONYMOUS = 0x08, 0x20  # linux/mman.h
STATUS_BYTES = 16 * 1024  # what the daemon reads of its status; no other code reads as much

FLAGS: Final = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
STREAM: Final = socket.SOCK_STREAM | FLAGS
DATAGRAM: Final = socket.SOCK_DGRAM | FLAGS
BY_PATH_ONLY: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

# glibc 2.41 draws random numbers without a system call, on Linux 6.11 and later. The memory that
# it takes for this (getrandom(2), vgetrandom) is refused here: then it asks the kernel each time.
BY_CALL: Final = refused(errno.ENOMEM, "mmap", {3: DROPPABLE | ANONYMOUS})

LIMITS: Final = {name: getattr(resource, f"RLIMIT_{name}") for name in
                 ("CORE", "NPROC", "MEMLOCK", "NOFILE", "DATA")}  # fmt: skip

SANDBOX: Final = "is another sandbox around this process?"
OTHERWISE: Final = "see what the system lacks, or which other sandbox is around this process"


class Who(Enum):
    """The user that starts the daemon."""

    ANYBODY = auto()  # the user that runs the tests
    ROOT = auto()  # root, because others have nothing to drop
    USER = auto()  # an ordinary user


@dataclass(frozen=True)
class Case:
    """One start-up.

    Attributes:
        step: the step in which something fails.
        what: what fails.
        code: the exit status.
        parts: parts of the printed line.
        answers: what the kernel answers to some calls.
        before: the surroundings of the process.
        modules: the modules it finds instead of its own.
        environ: added to its environment.
        who: the user that starts it.
        passed: whether it gets a socket; else it makes all its own.
        more: added to its configuration.
        lines: how many lines are printed.
        mdwe: whether the case is about what came with Linux 6.3.
    """

    step: str
    what: str
    code: int
    parts: tuple[str, ...]
    answers: tuple[Answer, ...] = ()
    before: tuple[Surrounding, ...] = ()
    modules: Modules | None = None
    environ: tuple[tuple[str, str], ...] = ()
    who: Who = Who.ANYBODY
    passed: bool = True
    more: str = ""
    lines: int = 1
    mdwe: bool = False

    def __str__(self) -> str:
        return f"{self.step}: {self.what}"


def case(step: str, what: str, code: int, *parts: str, **more: Any) -> Case:
    """Return a case. `answers` and `before` may also be a single one."""
    for name in ("answers", "before"):
        if name in more and not isinstance(more[name], tuple):
            more[name] = (more[name],)
    return Case(step, what, code, parts, **more)


def loaded_from(name: str) -> str:
    """Return the file from which this interpreter loads a library."""
    ctypes.CDLL(name)
    with open("/proc/self/maps") as maps:
        return next(line.split()[-1] for line in maps if name.partition(".so")[0] in line)


def _libseccomp() -> str:
    """Return the file that has libseccomp for this interpreter. Debian's binding contains it."""
    if BINDING == "pyseccomp":
        return loaded_from("libseccomp.so.2")
    spec = importlib.util.find_spec(BINDING)
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


_SHIELD: Final = (
    case(SHIELD, "dumpable", 71, "dumpable: ", SANDBOX,
         answers=refused(errno.EINVAL, "prctl", {0: SET_DUMPABLE}, nth=1)),
    case(SHIELD, "dumpable is not told", 71, "dumpable: ",
         answers=refused(errno.EINVAL, "prctl", {0: GET_DUMPABLE}, nth=1)),
)  # fmt: skip

_SHED: Final = (
    case(CLOSE, "no /dev/null", 71, "cannot start (close inherited)", "/dev/null",
         before=no_openable_file("/dev/null")),
    case(CLOSE, "standard input stays open", 71, "cannot start (close inherited)",
         answers=(refused(errno.EBUSY, "dup2"), refused(errno.EBUSY, "dup3"))),
    case(CLOSE, "no /proc", 71, "cannot start (close inherited)", "/proc/self/fd",
         before=no_folder("/proc")),
    case(CLOSE, "an alarm stays set", 71, "cannot start (close inherited)", OTHERWISE,
         answers=refused(errno.EPERM, "setitimer")),
    case(CLOSE, "the death of the parent", 71, "PDEATHSIG: ", SANDBOX,
         answers=refused(errno.EINVAL, "prctl", {0: SET_PDEATHSIG})),
    case(CLOSE, "the death of the parent is not told", 71, "cannot start (close inherited)",
         answers=refused(errno.EINVAL, "prctl", {0: GET_PDEATHSIG})),
    case(CLOSE, "signals stay blocked", 71, "cannot start (close inherited)", OTHERWISE,
         answers=refused(errno.EPERM, "rt_sigprocmask", {0: 2})),
)  # fmt: skip

_POLICY: Final = (
    case("prepare", "no policy", 71, "mailbelld.toml: No such file", "install mailbell again",
         modules=with_policy(None)),
    case("prepare", "a policy that is cut off", 78, "not TOML", "line",
         modules=with_policy(policy().replace("[unknown]", "[unknown", 1))),
    case("prepare", "a policy that is too long", 78, "longer than 65536 bytes",
         modules=with_policy(policy() + "\n" * 65536)),
    case("prepare", "a policy with an unknown name", 78, "STATES",
         modules=with_policy(policy().replace('args.0 = ["STATUS"]', 'args.0 = ["STATES"]', 1))),
)  # fmt: skip

_NETWORK: Final = (
    case("prepare", "no socket", 71, "cannot listen on port 0 of 127.0.0.1", passed=False,
         answers=refused(errno.EMFILE, "socket", {0: socket.AF_INET, 1: STREAM})),
    case("prepare", "no IPv6", 71, "this machine has no IPv6", "remove that address",
         passed=False, answers=refused(errno.EAFNOSUPPORT, "socket", {0: socket.AF_INET6})),
    case("prepare", "IPv6 would take IPv4 too", 71, "cannot start (prepare)", passed=False,
         answers=refused(errno.EINVAL, "setsockopt", {1: socket.IPPROTO_IPV6, 2: 26})),
    case("prepare", "the address stays in TIME_WAIT", 71, "cannot listen on", passed=False,
         answers=refused(errno.EINVAL, "setsockopt", {1: 1, 2: socket.SO_REUSEADDR})),
    case("prepare", "bind is forbidden", 77, "no permission to bind", "start as root",
         passed=False, answers=refused(errno.EACCES, "bind", {2: 16})),
    case("prepare", "silent connections would wake us", 71, "cannot listen on", passed=False,
         answers=refused(errno.EINVAL, "setsockopt", {1: 6, 2: socket.TCP_DEFER_ACCEPT})),
    case("prepare", "the same of a passed socket", 71, "cannot start (prepare)",
         answers=refused(errno.EINVAL, "setsockopt", {1: 6, 2: socket.TCP_DEFER_ACCEPT})),
    case("prepare", "listen is refused", 71, "cannot listen on", passed=False,
         answers=refused(errno.ENOBUFS, "listen", {1: 4096})),
    case("prepare", "a passed socket is none", 78, "of the service manager is no socket",
         answers=refused(errno.ENOTSOCK, "getsockopt", {0: 3})),
    case("prepare", "no datagram socket", 71, "cannot listen on", passed=False,
         answers=refused(errno.EMFILE, "socket", {0: socket.AF_INET, 1: DATAGRAM})),
    case("prepare", "no filter on datagrams", 71, "the kernel refuses the packet filter",
         passed=False, answers=refused(errno.EINVAL, "setsockopt", {1: 1, 2: SO_ATTACH_FILTER})),
    case("prepare", "a filter that stays loose", 71, "the packet filter cannot be locked",
         passed=False, answers=refused(errno.EINVAL, "setsockopt", {1: 1, 2: SO_LOCK_FILTER})),
)  # fmt: skip

_LOCAL: Final = (
    case("prepare", "no local socket", 71, "cannot start (prepare): Too many open files",
         answers=refused(errno.EMFILE, "socket", {0: socket.AF_UNIX, 1: STREAM})),
    case("prepare", "no name for the local socket", 71, "cannot make the socket",
         answers=refused(errno.ENOSPC, "bind")),
    case("prepare", "the local socket does not listen", 71, "cannot make the socket",
         answers=refused(errno.ENOBUFS, "listen", {1: 128})),
    case("prepare", "the local socket cannot be looked at", 71, "cannot make the socket",
         answers=refused(errno.ENFILE, "openat", {2: BY_PATH_ONLY})),
    case("prepare", "its access list is not removed", 77, "no permission to make the socket",
         answers=refused(errno.EPERM, "removexattr")),
    case("prepare", "its access list is not told", 77, "no permission to make the socket",
         answers=(lies("removexattr"), refused(errno.EPERM, "getxattr"))),
    case("prepare", "its access list stays", 77, "cannot be removed",
         answers=(lies("removexattr"), lies("getxattr"))),
    case("prepare", "the local socket keeps its group", 77, "no permission to make the socket",
         who=Who.ROOT, answers=(refused(errno.EPERM, "chown"), refused(errno.EPERM, "fchownat"))),
    case("prepare", "the local socket keeps its mode", 77, "no permission to make the socket",
         answers=(refused(errno.EPERM, "chmod"), refused(errno.EPERM, "fchmodat"))),
)  # fmt: skip

_REST: Final = (
    case("prepare", "no randomness", 71, "cannot start (prepare)",
         answers=(BY_CALL, refused(errno.EIO, "getrandom", {1: 8, 2: 0}))),
    case("prepare", "no status", 71, "cannot start (prepare)", "/proc/self/status",
         before=no_openable_file("/proc/self/status")),
)  # fmt: skip

_BECOME: Final = ("cannot become nobody", "start as root")
_UNEXPECTED: Final = "failed, but not as expected"

_IDS: Final = (
    case(DROP, "libgcc is missing", 71, "libgcc_s.so.1 cannot be loaded", "install libgcc-s1",
         before=no_file(loaded_from("libgcc_s.so.1"))),
    case(DROP, "the bounding set is not told", 71, REFUSED_TO_DROP, OTHERWISE,
         who=Who.ROOT, answers=refused(errno.EPERM, "prctl", {0: CAPBSET_READ})),
    case(DROP, "the bounding set has nothing in it", 70, "bounding set is 0x", who=Who.ROOT,
         answers=refused(errno.EINVAL, "prctl", {0: CAPBSET_READ})),
    case(DROP, "the bounding set stays", 77, "cannot empty the capability bounding set",
         who=Who.ROOT, answers=refused(errno.EPERM, "prctl", {0: CAPBSET_DROP})),
    case(DROP, "setgroups", 77, *_BECOME, who=Who.ROOT,
         answers=refused(errno.EPERM, "setgroups", {0: 0})),
    case(DROP, "setresgid", 77, *_BECOME, who=Who.ROOT,
         answers=refused(errno.EPERM, "setresgid", {0: SOMEBODY})),
    case(DROP, "setresuid", 77, *_BECOME, who=Who.ROOT,
         answers=refused(errno.EAGAIN, "setresuid", {0: SOMEBODY})),
    case(DROP, "ambient capabilities stay", 71, "capabilities: ", SANDBOX,
         answers=refused(errno.EINVAL, "prctl", {0: CAP_AMBIENT})),
    case(DROP, "capset", 71, "capabilities: ", SANDBOX, who=Who.ROOT,
         before=capabilities_that_stay(), answers=refused(errno.EPERM, "capset")),
    case(DROP, "capget", 71, "capabilities: ", SANDBOX,
         answers=refused(errno.EPERM, "capget")),
    *(case(DROP, name, 71, REFUSED_TO_DROP, OTHERWISE, who=Who.ROOT,
           answers=refused(errno.EPERM, name))
      for name in ("getresuid", "getresgid", "getgroups")),
    *(case(DROP, f"the way back by {name} is closed in a strange way", 70, name, _UNEXPECTED,
           who=Who.ROOT, answers=refused(errno.ENOSYS, name, {0: int(name == "setgroups")}))
      for name in ("setresuid", "setuid", "setresgid", "setgid", "setgroups")),
)  # fmt: skip

_PROCESS: Final = (
    case(DROP, "no_new_privs", 71, "no_new_privs: ", SANDBOX,
         answers=refused(errno.EINVAL, "prctl", {0: SET_NO_NEW_PRIVS, 1: 1})),
    case(DROP, "no_new_privs is not told", 71, REFUSED_TO_DROP,
         answers=refused(errno.EINVAL, "prctl", {0: GET_NO_NEW_PRIVS})),
    case(DROP, "dumpable", 71, "dumpable: ", SANDBOX,
         answers=refused(errno.EINVAL, "prctl", {0: SET_DUMPABLE}, nth=2)),
    case(DROP, "dumpable is not told", 71, "dumpable: ",
         answers=refused(errno.EINVAL, "prctl", {0: GET_DUMPABLE}, nth=2)),
    case(DROP, "memory protection", 71, "memory protection: ", SANDBOX,
         answers=refused(errno.EPERM, "prctl", {0: SET_MDWE})),
    case(DROP, "memory protection is not told", 71, REFUSED_TO_DROP, mdwe=True,
         answers=refused(errno.EPERM, "prctl", {0: GET_MDWE})),
    case(DROP, "memory protection cannot be tried", 71, REFUSED_TO_DROP, mdwe=True,
         answers=refused(errno.ENOMEM, "mmap", {2: READ_WRITE_EXECUTE})),
    case(DROP, "limits are not told", 71, REFUSED_TO_DROP, OTHERWISE,
         answers=refused(errno.EPERM, "prlimit64", {2: 0})),
    *(case(DROP, f"limit {name}", 71, f"RLIMIT_{name} cannot be set", "remove Limit",
           answers=refused(errno.EPERM, "prlimit64", {1: number, 2: None}))
      for name, number in LIMITS.items()),
    case(DROP, "raising a limit fails in a strange way", 71, REFUSED_TO_DROP,
         answers=refused(errno.EIO, "prlimit64", {1: LIMITS["CORE"], 2: None}, nth=2)),
    case(DROP, "few open files", 71, "open files are needed", "LimitNOFILE=",
         before=process_limit(resource.RLIMIT_NOFILE, 100)),
    case(DROP, "threads cannot be counted", 71, "cannot count threads", "mount /proc",
         before=no_folder("/proc/self/task", mode=0)),
    case(DROP, "no thread at all", 70, "0 threads where one was expected",
         before=no_folder("/proc/self/task")),
    case(DROP, "a second thread", 70, "2 threads where one was expected", "sitecustomize",
         modules=module("import threading\n"
         "threading.Thread(target=threading.Event().wait, daemon=True).start()\n",
         "sitecustomize")),
)  # fmt: skip

_LANDLOCK: Final = (
    # Otherwise it would prove nothing that none can be opened afterwards.
    case(DROP, "no file can be opened before Landlock either", 71, REFUSED_TO_DROP,
         "/proc/self/status", OTHERWISE, who=Who.ROOT,
         before=file_says("/proc/self/status", b"", mode=0o600)),
    case(DROP, "a kernel without Landlock", 71, "the kernel offers no Landlock",
         "it needs Linux 5.13 or later",
         answers=refused(errno.ENOSYS, "landlock_create_ruleset", {2: LANDLOCK_VERSION})),
    case(DROP, "Landlock is switched off", 71, "the kernel offers no Landlock",
         "boot with landlock in the lsm= parameter",
         answers=refused(errno.EOPNOTSUPP, "landlock_create_ruleset", {2: LANDLOCK_VERSION})),
    case(DROP, "Landlock is forbidden", 71, "the kernel offers no Landlock", SANDBOX,
         answers=refused(errno.EPERM, "landlock_create_ruleset", {2: LANDLOCK_VERSION})),
    case(DROP, "Landlock makes no ruleset", 71, "Landlock refused",
         answers=refused(errno.E2BIG, "landlock_create_ruleset", {2: 0})),
    case(DROP, "Landlock binds nobody", 71, "Landlock refused",
         answers=refused(errno.EPERM, "landlock_restrict_self")),
)  # fmt: skip

_LOOP: Final = tuple(
    case(LOOP, what, 71, "cannot start (start event loop)", answers=answer)
    for what, answer in {
        "no epoll": refused(errno.EMFILE, "epoll_create1"),
        "no way to wake it": refused(errno.EMFILE, "socketpair"),
        "epoll takes nothing": refused(errno.ENOSPC, "epoll_ctl"),
        "no handler for SIGTERM": refused(errno.EINVAL, "rt_sigaction", {0: 15, 1: None}),
    }.items()
)

_COMPILE: Final = ("cannot compile the policy", "libseccomp 2.5 or later")
_NO_FILTER: Final = "this process cannot filter its system calls: seccomp(2): "
_MISSING: Final = ("libseccomp.so.2 cannot be loaded", "install libseccomp2")
_PROGRAM: Final[dict[int, int | None]] = {0: SET_MODE_FILTER, 2: None}
_STAT: Final = '"stat", "lstat", "fstat", "newfstatat", "statx",'
_OPEN: Final = '"open", "openat", "openat2", "creat",'


def _permitting(denied: str) -> Modules:
    """The policy, with everything permitted that it answers with an error."""
    assert denied in policy()
    names = denied.rstrip(",")
    more = f'\n[[allow]]\ncalls = [{names}]\nreason = "none"\nunused = "none"\n'
    return with_policy(policy().replace(denied, "", 1) + more)


_LOCK: Final = (
    case("lock", "no binding of libseccomp", 71, *_MISSING,
         modules=module("raise RuntimeError('Unable to find libseccomp')", "pyseccomp", "seccomp")),
    case("lock", "no libseccomp", 71, *_MISSING, before=no_file(_libseccomp())),
    case("lock", "a policy with an unknown call", 78, "acept4: no such system call", lines=2,
         modules=with_policy(policy().replace('calls = ["accept4"]', 'calls = ["acept4"]', 1))),
    *(case("lock", f"no seccomp: {errno.errorcode[code]}", 71, _NO_FILTER + os.strerror(code),
           remedy, answers=refused(code, "seccomp"))
      for code, remedy in {
          errno.ENOSYS: "it needs Linux 4.14 or later",
          errno.EINVAL: "it needs Linux 4.14 or later",
          errno.EPERM: "another sandbox around this process forbids it: permit seccomp",
          errno.EACCES: "another sandbox around this process forbids it: permit seccomp",
          errno.EIO: "see what the system lacks",
      }.items()),
    *(case("lock", f"the filter is refused: {errno.errorcode[code]}", 71,
           "the kernel refused the seccomp filter", os.strerror(code), remedy,
           answers=refused(code, "seccomp", _PROGRAM))
      for code, remedy in {
          errno.EINVAL: "it needs Linux 4.14",
          errno.ENOMEM: "free some memory",
          errno.ESRCH: "another thread",
      }.items()),
    case("lock", "no_new_privs once more", 71, "the kernel refused the seccomp filter",
         "another sandbox around this process",
         answers=refused(errno.EPERM, "prctl", {0: SET_NO_NEW_PRIVS, 1: 1}, nth=2)),
    case("lock", "the status cannot be read", 71, "cannot start (lock)",
         answers=refused(errno.EIO, "read", {2: STATUS_BYTES})),
    case("lock", "a filter that permits to open", 70, "a file could still be opened", "report this",
         modules=_permitting(_OPEN)),
    case("lock", "a filter that permits to look", 70, "but a file could still be looked at",
         modules=_permitting(_STAT)),
    case("lock", "no more memory", 71, "the locked process can take no more memory", "LimitDATA=",
         before=process_limit(resource.RLIMIT_DATA, 40 << 20)),
    # SIGSYS: its own filter kills it before it is ready.
    case("lock", "a filter that permits too little", -31, lines=0,
         modules=with_policy(policy().replace('calls = ["read"]', 'calls = ["readahead"]', 1))),
)  # fmt: skip

FAILURES: Final = (
    *_SHIELD, *_SHED, *_POLICY, *_NETWORK, *_LOCAL, *_REST, *_IDS, *_PROCESS, *_LANDLOCK, *_LOOP,
    *_LOCK
)  # fmt: skip

# A line of `/proc/self/status` that is wrong: its content, and the complaint about it. None: the
# line is missing. Users other than root keep their groups and their bounding set.
WRONG_STATUS: Final = (
    ("Uid", "65534 65534 0 65534", "uids is (65534, 65534, 0, 65534), not", Who.ANYBODY),
    ("Gid", "65534 65534 0 65534", "gids is (65534, 65534, 0, 65534), not", Who.ANYBODY),
    ("Groups", "0", "groups is (0,), not ()", Who.ROOT),
    ("CapInh", "0000000000000001", "capabilities is 0x1, not 0x0", Who.ANYBODY),
    ("CapPrm", "0000000000000002", "capabilities is 0x2, not 0x0", Who.ANYBODY),
    ("CapEff", "0000000000000004", "capabilities is 0x4, not 0x0", Who.ANYBODY),
    ("CapAmb", "0000000000000008", "capabilities is 0x8, not 0x0", Who.ANYBODY),
    ("CapBnd", "000001ffffffffff", "bounding set is 0x1ffffffffff, not 0x0", Who.ROOT),
    ("NoNewPrivs", "0", "no_new_privs is False, not True", Who.ANYBODY),
    ("Seccomp", "0", "seccomp is 0, not 2", Who.ANYBODY),
    ("Threads", "2", "threads is 2, not 1", Who.ANYBODY),
    ("TracerPid", "4321", "process 4321 traces this one", Who.ANYBODY),
    ("TracerPid", None, "/proc/self/status is not understood", Who.ANYBODY),
    ("Seccomp", None, "/proc/self/status is not understood", Who.ANYBODY),
)

_LIES_OF_SHIELD: Final = (
    case(SHIELD, "dumping is forbidden", 70, "dumpable is 1 where 0 was set",
         answers=lies("prctl", {0: SET_DUMPABLE})),
    case(SHIELD, "dumping is permitted", 70, "dumpable is 1 where 0 was set",
         answers=lies("prctl", {0: GET_DUMPABLE}, result=1)),
    case(CLOSE, "the death of the parent is nothing", 70, "PDEATHSIG is 12 where 0 was set",
         who=Who.USER, before=dying_with_its_parent(),
         answers=lies("prctl", {0: SET_PDEATHSIG})),
)  # fmt: skip

# A step, or an attempt to undo one, that the kernel falsely reports as done.
_LIES_OF_IDS: Final = (
    case(DROP, "the bounding set has nothing in it", 70, "bounding set is 0x", who=Who.ROOT,
         answers=lies("prctl", {0: CAPBSET_READ})),
    case(DROP, "the bounding set is emptied", 70, "capability 0 is still in the bounding set",
         who=Who.ROOT, answers=lies("prctl", {0: CAPBSET_DROP})),
    case(DROP, "groups are left", 70, "not nobody alone", "groups [0]", who=Who.ROOT,
         before=groups(0), answers=lies("setgroups", {0: 0})),
    case(DROP, "the group is changed", 70, "not nobody alone", "gids (0, 0, 0)", who=Who.ROOT,
         answers=lies("setresgid", {0: SOMEBODY})),
    case(DROP, "the user is changed", 70, "not nobody alone", "uids (0, 0, 0)", who=Who.ROOT,
         answers=lies("setresuid", {0: SOMEBODY})),
    *(case(DROP, f"there is a way back by {name}", 70, f"{name} succeeded after",
           who=Who.ROOT, answers=lies(name, {0: int(name == "setgroups")}))
      for name in ("setresuid", "setuid", "setresgid", "setgid", "setgroups")),
    case(DROP, "root's capabilities are dropped", 70, "capabilities are left", who=Who.ROOT,
         before=capabilities_that_stay(), answers=lies("capset")),
    case(DROP, "inherited capabilities are dropped", 70, "capabilities are left",
         who=Who.USER, before=inheriting_a_capability(), answers=lies("capset")),
    case(DROP, "capabilities come back", 70, "capset succeeded after", who=Who.USER,
         answers=lies("capset")),
    case(DROP, "root's capabilities come back", 70, "capset succeeded after", who=Who.ROOT,
         answers=lies("capset", nth=2)),
)  # fmt: skip

_LIES_OF_PROCESS: Final = (
    # For an ordinary user who may load a filter without it. Otherwise it is set from the start.
    case(DROP, "no_new_privs is set", 70, "no_new_privs is 0 where 1 was set", who=Who.USER,
         answers=lies("prctl", {0: SET_NO_NEW_PRIVS, 1: 1})),
    case(DROP, "no_new_privs is taken back", 70, "no_new_privs can be taken back",
         answers=lies("prctl", {0: SET_NO_NEW_PRIVS, 1: 0})),
    case(DROP, "no_new_privs was never set", 70, "no_new_privs is 0 where 1 was set",
         answers=lies("prctl", {0: GET_NO_NEW_PRIVS})),
    # Reported as set, and reported as set when read. Landlock then refuses.
    case(DROP, "no_new_privs is set and found", 71, "Landlock refused", "must be set first",
         who=Who.USER, answers=(lies("prctl", {0: SET_NO_NEW_PRIVS, 1: 1}),
                                lies("prctl", {0: GET_NO_NEW_PRIVS}, result=1))),
    case(DROP, "dumping is permitted", 70, "dumpable is 1 where 0 was set",
         answers=lies("prctl", {0: GET_DUMPABLE}, result=1, nth=2)),
    case(DROP, "memory is protected", 70, "memory protection is 0 where 1 was set", mdwe=True,
         answers=lies("prctl", {0: SET_MDWE})),
    case(DROP, "memory was never protected", 70, "memory protection is 0", mdwe=True,
         answers=lies("prctl", {0: GET_MDWE})),
    case(DROP, "memory is protected and found so", 70, "memory can still be writable and",
         mdwe=True, answers=(lies("prctl", {0: SET_MDWE}), lies("prctl", {0: GET_MDWE}, result=1))),
    *(case(DROP, f"limit {name} is lowered", 70, f"RLIMIT_{name} is ", " was set",
           answers=lies("prlimit64", {1: number, 2: None}))
      for name, number in LIMITS.items() if name != "CORE"),
    case(DROP, "a limit can be raised again", 77, "resource limits can be raised again",
         answers=lies("prlimit64", {1: LIMITS["CORE"], 2: None}, nth=2)),
)  # fmt: skip

_LIES_OF_LOCK: Final = (
    case(DROP, "Landlock has version 0", 71, "version 0 of Landlock", SANDBOX,
         answers=lies("landlock_create_ruleset", {2: LANDLOCK_VERSION})),
    case(DROP, "Landlock makes a ruleset", 71, "Landlock refused",
         answers=lies("landlock_create_ruleset", {2: 0})),
    case(DROP, "Landlock binds", 70, "Landlock is in force, but a file can still be opened",
         answers=lies("landlock_restrict_self")),
    case("lock", "the filter is in force", 70, "a file could still be opened", "report this",
         answers=lies("seccomp", _PROGRAM)),
    # The denial of another sandbox must not be taken for ours.
    case("lock", "another filter is taken for ours", 71, "cannot start (lock)", OTHERWISE,
         answers=(lies("seccomp", _PROGRAM),
                  refused(errno.EPERM, "openat", {2: os.O_PATH | os.O_CLOEXEC}))),
    case("lock", "seccomp grants whatever it is asked", 71, *_COMPILE,
         answers=lies("seccomp")),
    # Here nothing of ours is in force that the kernel could take for it.
    case("lock", "libseccomp says it has loaded it", 70, "seccomp is 0, not 2",
         modules=with_libseccomp("pass")),
    case("lock", "libseccomp has loaded another", 70, "but a file could still be opened",
         modules=with_libseccomp("original(real.ALLOW).load()")),
    case("lock", "the status is empty", 70, "/proc/self/status is not understood",
         answers=lies("read", {2: STATUS_BYTES})),
)  # fmt: skip

LIES: Final = (*_LIES_OF_SHIELD, *_LIES_OF_IDS, *_LIES_OF_PROCESS, *_LIES_OF_LOCK)

# What the daemon does not rely on, and what it logs then.
_UNCOVERED: Final = 'event=uncovered what="'
_UNUSABLE: Final = "event=service_manager_unusable what="
TOLERATED: Final = (
    case("prepare", "no filter on TCP", 0, "event=kernel_filter_missing why=",
         more='[sources]\nallow = ["127.0.0.1"]',
         answers=refused(errno.EPERM, "setsockopt", {1: 1, 2: SO_ATTACH_FILTER})),
    case("prepare", "no SO_PASSRIGHTS", 0, _UNCOVERED + "descriptors passed by local peers",
         answers=refused(errno.ENOPROTOOPT, "setsockopt", {1: 1, 2: SO_PASSRIGHTS})),
    case("prepare", "no socket to the service manager", 0, _UNUSABLE, "NOTIFY_SOCKET=",
         answers=refused(errno.EMFILE, "socket", {0: socket.AF_UNIX, 1: DATAGRAM})),
    case("prepare", "no way to the service manager", 0, _UNUSABLE, "Permission denied",
         answers=refused(errno.EACCES, "connect")),
    case("prepare", "no such service manager", 0, _UNUSABLE, "NOTIFY_SOCKET=/no/such",
         environ=(("NOTIFY_SOCKET", "/no/such"),)),
    case("prepare", "a watchdog without a time", 0, _UNUSABLE, "WATCHDOG_USEC='soon'",
         environ=(("WATCHDOG_USEC", "soon"),)),
    case(DROP, "no PR_SET_MDWE", 0, _UNCOVERED + "memory that is writable and executable",
         answers=refused(errno.EINVAL, "prctl", {0: SET_MDWE})),
    *(case(DROP, f"Landlock of version {version}", 0,
           f"landlock_abi={version} landlock_of_kernel={version}",
           _UNCOVERED + "Landlock: connecting to abstract Unix sockets",
           answers=lies("landlock_create_ruleset", {2: LANDLOCK_VERSION}, result=version))
      for version in (1, 4) if version <= landlock.abi()),
    # The program need not be written anywhere but into the kernel.
    case("lock", "no sockets to export to", 0, "event=locked",
         answers=refused(errno.EMFILE, "socketpair", {1: DATAGRAM})),
    case("lock", "no file may have a size", 0, "event=locked",
         before=process_limit(resource.RLIMIT_FSIZE, 0)),
    case("lock", "no files in memory", 0, "event=locked",
         answers=refused(errno.EPERM, "memfd_create")),
    case("ready", "nobody takes the news", 0, "event=ready_untold",
         answers=refused(errno.ENOTCONN, "sendto", {3: socket.MSG_NOSIGNAL})),
)  # fmt: skip

# Changes without effect: a forbidden attempt fails in another way, or the false report is true.
HARMLESS: Final = (
    case(DROP, "no_new_privs is not taken back", 0, "event=locked",
         answers=refused(errno.EPERM, "prctl", {0: SET_NO_NEW_PRIVS, 1: 0})),
    case(DROP, "ambient capabilities are dropped", 0, "event=locked", who=Who.USER,
         before=inheriting_a_capability(), answers=lies("prctl", {0: CAP_AMBIENT,
                                                                 1: CAP_AMBIENT_CLEAR_ALL})),
    # Then a process of the new user has the time of one call, if fs.suid_dumpable is 1.
    case(DROP, "no capability is kept", 0, "event=locked", who=Who.ROOT,
         answers=refused(errno.EPERM, "prctl", {0: SET_KEEPCAPS})),
    case(DROP, "capabilities are kept", 0, "event=locked", who=Who.ROOT,
         answers=lies("prctl", {0: SET_KEEPCAPS})),
    case("lock", "no_new_privs once more", 0, "event=locked",
         answers=lies("prctl", {0: SET_NO_NEW_PRIVS, 1: 1}, nth=2)),
)  # fmt: skip

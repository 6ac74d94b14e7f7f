"""What an intruder could try, as data: raw system calls, and the same in Python.

An attack is a list of calls, and the last one must succeed. It names its target (a file, a
listener, a process) by the fields of `Targets`, so that the same attack can be made from
anywhere. `sandbox.attacks.aim` says how.

Every attack is bounded: where nothing stops it, it does no harm.
"""

import mmap
import os
import platform
import signal
import socket
import struct
from typing import Final

from sandbox.attacks.aim import (
    SLOT,
    Attack,
    Call,
    Given,
    Pointer,
    Result,
    Struct,
    Targets,
    aimed,
    laid_out,
    number,
)

__all__ = [
    "ATTACKS",
    "Attack",
    "Call",
    "Given",
    "Result",
    "Targets",
    "aimed",
    "laid_out",
    "number",
]

# --- the kernel's numbers that the standard library lacks, always or in some versions ----

AT_FDCWD: Final = -100
AT_EMPTY_PATH: Final = 0x1000
PTRACE_SEIZE: Final = 0x4206
PR_SET_DUMPABLE: Final = 4
CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND = 0x100, 0x200, 0x400, 0x800
CLONE_VFORK, CLONE_THREAD, CLONE_SYSVSEM = 0x4000, 0x10000, 0x40000
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
KEYCTL_JOIN_SESSION_KEYRING: Final = 1
KEY_SPEC_PROCESS_KEYRING: Final = -2
TIOCSTI: Final = 0x5412
MAP_NORESERVE: Final = 0x4000
CAPABILITY_VERSION_3: Final = 0x20080522
CAP_NET_ADMIN: Final = 12
RLIMIT_NPROC: Final = 6
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
UFFD_USER_MODE_ONLY: Final = 1
IPPROTO_MPTCP: Final = 262
MIB: Final = 1 << 20

R, W, X = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC
ANONYMOUS: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
STREAM, DGRAM = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM)
UNIX, INET, INET6 = int(socket.AF_UNIX), int(socket.AF_INET), int(socket.AF_INET6)
SIGCHLD, SIGWINCH = int(signal.SIGCHLD), int(signal.SIGWINCH)
CREATE: Final = os.O_WRONLY | os.O_CREAT

# exit(0) as machine code, and the number of its architecture in an ELF file.
_EXIT: Final = {
    "x86_64": (62, bytes.fromhex("31ff b83c000000 0f05")),
    "aarch64": (183, bytes.fromhex("000080d2 a80b80d2 010000d4")),
}


def _smallest_program() -> bytes:
    """An ELF file that does nothing but exit(0); it needs no other file."""
    machine, code = _EXIT.get(platform.machine(), (0, b""))
    at, headers = 0x400000, 64 + 56
    size = headers + len(code)
    ident = b"\x7fELF\2\1\1" + bytes(9)
    elf = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, at + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, at, at, size, size, SLOT)
    return ident + elf + load + code


PROGRAM: Final = _smallest_program()
LOOPBACK4: Final = struct.pack("<H", INET) + struct.pack(">H4s8x", 0, b"\x7f\0\0\1")
LOOPBACK4_LENGTH: Final = 16


def _connect(family: int, kind: int, target: str, protocol: int = 0) -> tuple[Call, ...]:
    unix = family == UNIX
    address = (Given(target, socket=unix), Given(target, length=True, socket=unix))
    return (
        Call("socket", (family, kind, protocol)),
        Call("connect", (Result(0), *address)),
    )


def _send(family: int, target: str) -> tuple[Call, ...]:
    address = (Given(target), Given(target, length=True))
    return (
        Call("socket", (family, DGRAM, 0)),
        Call("sendto", (Result(0), b"x", 1, 0, *address)),
    )


def _connect_python(family: str, kind: str, target: str) -> str:
    return (
        "import socket\n"
        f"sock = socket.socket(socket.{family}, socket.{kind})\n"
        f"sock.connect({target})\n"
        "got = sock.getpeername()\n"
    )


def _send_python(family: str, target: str) -> str:
    return (
        "import socket\n"
        f"sock = socket.socket(socket.{family}, socket.SOCK_DGRAM)\n"
        f"got = sock.sendto(b'x', {target})\n"
    )


_FORK: Final = Call("clone", (SIGCHLD, 0, 0, 0, 0))
_FORK_PYTHON: Final = """
import os
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
got = pid
"""
THREAD: Final = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
# struct iovec: an address and how many bytes.
_HERE: Final = Struct((Pointer(bytes(8)), struct.pack("<Q", 8)))
_THERE: Final = Struct((Given("victim_memory"), struct.pack("<Q", 8)))
_YAMA: Final = "Yama permits to trace one's children only"
_NO_MODULES: Final = "the kernel was built without modules"
_NO_USER_NAMESPACES: Final = "user.max_user_namespaces or the distribution forbids them"

_FILES: Final = (
    Attack(
        "read a file",
        (
            Call("openat", (AT_FDCWD, Given("readable"), os.O_RDONLY, 0)),
            Call("read", (Result(0), bytes(64), 64)),
        ),
        "got = open(readable, 'rb').read(64)",
    ),
    Attack(
        "read a file that only root may read",
        (
            Call("openat", (AT_FDCWD, Given("secret"), os.O_RDONLY, 0)),
            Call("read", (Result(0), bytes(64), 64)),
        ),
        "got = open(secret, 'rb').read(64)",
        control_needs="root",
    ),
    Attack(
        "list a directory",
        (
            Call("openat", (AT_FDCWD, Given("folder"), os.O_RDONLY | os.O_DIRECTORY, 0)),
            Call("getdents64", (Result(0), bytes(SLOT), SLOT)),
        ),
        "import os\ngot = os.listdir(folder)",
    ),
    Attack(
        "look at a file (stat)",
        (Call("newfstatat", (AT_FDCWD, Given("readable"), bytes(256), 0)),),
        "import os\ngot = os.stat(readable)",
    ),
    Attack(
        "create a file",
        (
            Call("openat", (AT_FDCWD, Given("new_file"), CREATE, 0o600)),
            Call("write", (Result(0), b"x", 1)),
        ),
        "with open(new_file, 'w') as file:\n    got = file.write('x')",
    ),
    Attack(
        "write to a file",
        (
            Call("openat", (AT_FDCWD, Given("writable"), os.O_WRONLY, 0)),
            Call("write", (Result(0), b"x", 1)),
        ),
        "with open(writable, 'r+b', buffering=0) as file:\n    got = file.write(b'x')",
    ),
    Attack(
        "cut a file off (truncate)",
        (Call("truncate", (Given("writable"), 0)),),
        "import os\ngot = os.truncate(writable, 0)",
    ),
    Attack(
        "fill the disk",
        (
            Call("openat", (AT_FDCWD, Given("new_file"), CREATE, 0o600)),
            Call("fallocate", (Result(0), 0, 0, MIB)),
        ),
        "import os\n"
        "file = os.open(new_file, os.O_WRONLY | os.O_CREAT, 0o600)\n"
        "got = os.posix_fallocate(file, 0, 1 << 20)\n",
    ),
    Attack(
        "delete a file",
        (Call("unlinkat", (AT_FDCWD, Given("writable"), 0)),),
        "import os\ngot = os.unlink(writable)",
    ),
    Attack(
        "make a directory",
        (Call("mkdirat", (AT_FDCWD, Given("new_folder"), 0o700)),),
        "import os\ngot = os.mkdir(new_folder)",
    ),
    Attack(
        "change the mode of a file of its own",
        (Call("fchmodat", (AT_FDCWD, Given("own"), 0o777)),),
        "import os\ngot = os.chmod(own, 0o777)",
    ),
    Attack(
        "change the mode of another's file",
        (Call("fchmodat", (AT_FDCWD, Given("others"), 0o777)),),
        "import os\ngot = os.chmod(others, 0o777)",
        control_needs="root",
    ),
    Attack(
        "take another's file (chown)",
        (Call("fchownat", (AT_FDCWD, Given("others"), 65534, 65534, 0)),),
        "import os\ngot = os.chown(others, 65534, 65534)",
        control_needs="root",
    ),
    Attack(
        "change its own code through /proc/self/mem",
        (Call("openat", (AT_FDCWD, b"/proc/self/mem\0", os.O_RDWR, 0)),),
        "got = open('/proc/self/mem', 'r+b', buffering=0)",
    ),
)

_CODE: Final = (
    Attack(
        "execute a program",
        (Call("execve", (Given("program"), Struct((Pointer(b"program\0"), bytes(8))), 0)),),
        "import os\nos.execv(program, [program])",
        never_returns=True,
    ),
    Attack(
        "execute a program out of memory (memfd)",
        (
            Call("memfd_create", (b"program\0", 0)),
            Call("write", (Result(0), PROGRAM, len(PROGRAM))),
            Call("execveat", (Result(0), b"\0", 0, 0, AT_EMPTY_PATH)),
        ),
        "import os\n"
        "file = os.memfd_create('program', 0)\n"
        f"os.write(file, {PROGRAM!r})\n"
        "os.execve(file, ['program'], {})\n",
        never_returns=True,
        may_be_off="vm.memfd_noexec is 2",
    ),
    Attack(
        "memory both writable and executable (mmap)",
        (Call("mmap", (0, SLOT, R | W | X, ANONYMOUS, -1, 0)),),
        "import mmap\n"
        "every = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC\n"
        "got = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, every)\n",
    ),
    Attack(
        "make written memory executable (mprotect)",
        (
            Call("mmap", (0, SLOT, R | W, ANONYMOUS, -1, 0)),
            Call("mprotect", (Result(0), SLOT, R | X)),
        ),
    ),
    Attack(
        "map a file executable",
        (
            Call("openat", (AT_FDCWD, Given("program"), os.O_RDONLY, 0)),
            Call("mmap", (0, SLOT, R | X, mmap.MAP_PRIVATE, Result(0), 0)),
        ),
        "import mmap, os\n"
        "file = os.open(program, os.O_RDONLY)\n"
        "got = mmap.mmap(file, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)\n",
    ),
    Attack(
        "map code out of memory executable (memfd)",
        (
            Call("memfd_create", (b"code\0", 0)),
            Call("write", (Result(0), PROGRAM, len(PROGRAM))),
            Call("mmap", (0, SLOT, R | X, mmap.MAP_PRIVATE, Result(0), 0)),
        ),
        "import mmap, os\n"
        "file = os.memfd_create('code', 0)\n"
        f"os.write(file, {PROGRAM!r})\n"
        "got = mmap.mmap(file, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)\n",
    ),
)

_NETWORK: Final = (
    Attack(
        "connect out by TCP (IPv4)",
        _connect(INET, STREAM, "tcp4"),
        _connect_python("AF_INET", "SOCK_STREAM", "tcp4"),
    ),
    Attack(
        "connect out by TCP (IPv6)",
        _connect(INET6, STREAM, "tcp6"),
        _connect_python("AF_INET6", "SOCK_STREAM", "tcp6"),
    ),
    Attack(
        "connect out by multipath TCP",
        _connect(INET, STREAM, "tcp4", IPPROTO_MPTCP),
        may_be_off="the kernel was built without MPTCP, or net.mptcp.enabled is 0",
    ),
    Attack("send a datagram (IPv4)", _send(INET, "udp4"), _send_python("AF_INET", "udp4")),
    Attack("send a datagram (IPv6)", _send(INET6, "udp6"), _send_python("AF_INET6", "udp6")),
    Attack(
        "send a datagram through a socket it has",
        (
            Call(
                "sendto",
                (Given("datagrams"), b"x", 1, 0, Given("udp4"), Given("udp4", length=True)),
            ),
        ),
        "import socket\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 0, fileno=datagrams)\n"
        "got = sock.sendto(b'x', udp4)\n",
    ),
    Attack(
        "point a socket it has elsewhere (connect)",
        (Call("connect", (Given("datagrams"), Given("udp4"), Given("udp4", length=True))),),
        "import socket\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 0, fileno=datagrams)\n"
        "got = sock.connect(udp4)\n",
    ),
    Attack(
        "connect to a Unix socket by path",
        _connect(UNIX, STREAM, "unix"),
        _connect_python("AF_UNIX", "SOCK_STREAM", "unix"),
    ),
    Attack(
        "connect to an abstract Unix socket",
        _connect(UNIX, STREAM, "abstract"),
        _connect_python("AF_UNIX", "SOCK_STREAM", "'\\0' + abstract"),
    ),
    Attack(
        "listen anew on a port of its choice",
        (
            Call("socket", (INET, STREAM, 0)),
            Call("bind", (Result(0), LOOPBACK4, LOOPBACK4_LENGTH)),
            Call("listen", (Result(0), 1)),
        ),
        "import socket\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)\n"
        "sock.bind(('127.0.0.1', 0))\n"
        "got = sock.listen(1)\n",
    ),
    Attack(
        "listen anew on a port of the kernel's choice",
        (Call("socket", (INET, STREAM, 0)), Call("listen", (Result(0), 1))),
        "import socket\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)\n"
        "got = sock.listen(1)\n",
    ),
    Attack(
        "take datagrams on a port of its choice",
        (
            Call("socket", (INET, DGRAM, 0)),
            Call("bind", (Result(0), LOOPBACK4, LOOPBACK4_LENGTH)),
        ),
        "import socket\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "got = sock.bind(('127.0.0.1', 0))\n",
    ),
    Attack(
        "raw packets",
        (Call("socket", (int(socket.AF_PACKET), int(socket.SOCK_RAW), socket.htons(3))),),
        "import socket\ngot = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))",
        control_needs="root",
    ),
    Attack(
        "raw IP",
        (Call("socket", (INET, int(socket.SOCK_RAW), int(socket.IPPROTO_ICMP))),),
        "import socket\n"
        "got = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\n",
        control_needs="root",
    ),
    Attack(
        "ask the kernel about the network (netlink)",
        (Call("socket", (int(socket.AF_NETLINK), int(socket.SOCK_RAW), 0)),),
        "import socket\ngot = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    ),
    Attack(
        "take the packet filter off a listener (SO_DETACH_FILTER)",
        (
            Call(
                "setsockopt",
                (Given("listener"), int(socket.SOL_SOCKET), SO_DETACH_FILTER, bytes(4), 4),
            ),
        ),
        "import socket\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=listener)\n"
        f"got = sock.setsockopt(socket.SOL_SOCKET, {SO_DETACH_FILTER}, 0)\n",
    ),
    Attack(
        "put another packet filter on a socket (SO_ATTACH_FILTER)",
        (
            Call(
                "setsockopt",
                (
                    Given("datagrams"),
                    int(socket.SOL_SOCKET),
                    SO_ATTACH_FILTER,
                    # One instruction: return -1, that is let everything through.
                    Struct((struct.pack("<Q", 1), Pointer(struct.pack("<HBBI", 6, 0, 0, 0xFFFF)))),
                    16,
                ),
            ),
        ),
    ),
)

_PROCESSES: Final = (
    Attack("fork", (_FORK,), _FORK_PYTHON),
    Attack("fork bomb", (_FORK,) * 3, _FORK_PYTHON * 3),
    Attack("vfork", (Call("clone", (CLONE_VFORK | SIGCHLD, 0, 0, 0, 0)),), _FORK_PYTHON),
    Attack(
        "start a thread",
        (Call("clone", (THREAD, Struct((Given("thread_exit"),)), 0, 0, 0)),),
        "import _thread\ngot = _thread.start_new_thread(bool, ())",
    ),
    Attack(
        "trace another process (ptrace)",
        (Call("ptrace", (PTRACE_SEIZE, Given("victim"), 0, 0)),),
        may_be_off=_YAMA,
    ),
    Attack(
        "read another process's memory (process_vm_readv)",
        (Call("process_vm_readv", (Given("victim"), _HERE, 1, _THERE, 1, 0)),),
        may_be_off=_YAMA,
    ),
    Attack(
        "look at another process (pidfd_open)",
        (Call("pidfd_open", (Given("victim"), 0)),),
        "import os\ngot = os.pidfd_open(victim, 0)",
    ),
    Attack(
        "take another process's descriptor (pidfd_getfd)",
        (Call("pidfd_open", (Given("victim"), 0)), Call("pidfd_getfd", (Result(0), 0, 0))),
        may_be_off=_YAMA,
    ),
    Attack(
        "signal another process",
        (Call("kill", (Given("victim"), SIGWINCH)),),
        "import os, signal\ngot = os.kill(victim, signal.SIGWINCH)",
    ),
    Attack(
        "signal another user's process",
        (Call("kill", (Given("stranger"), SIGWINCH)),),
        "import os, signal\ngot = os.kill(stranger, signal.SIGWINCH)",
        control_needs="root",
    ),
    Attack(
        "let others of its user trace it (PR_SET_DUMPABLE)",
        (Call("prctl", (PR_SET_DUMPABLE, 1, 0, 0, 0)),),
    ),
)

_KERNEL: Final = (
    Attack(
        "io_uring",
        (Call("io_uring_setup", (1, bytes(256))),),
        may_be_off="kernel.io_uring_disabled is set, or the kernel was built without it",
    ),
    Attack(
        "make a user namespace (unshare)",
        (Call("unshare", (CLONE_NEWUSER,)),),
        may_be_off=_NO_USER_NAMESPACES,
    ),
    Attack(
        "make a user namespace (clone)",
        (Call("clone", (CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)),),
        may_be_off=_NO_USER_NAMESPACES,
    ),
    Attack(
        "join a namespace (setns)",
        (
            Call("openat", (AT_FDCWD, b"/proc/self/ns/net\0", os.O_RDONLY, 0)),
            Call("setns", (Result(0), CLONE_NEWNET)),
        ),
        control_needs="root",
    ),
    Attack(
        "mount",
        (Call("mount", (b"none\0", Given("folder"), b"tmpfs\0", 0, 0)),),
        control_needs="root",
    ),
    Attack(
        "change the root directory (chroot)",
        (Call("chroot", (Given("folder"),)),),
        "import os\ngot = os.chroot(folder)",
        control_needs="root",
    ),
    Attack(
        "bpf",
        # BPF_MAP_CREATE: an array of one element.
        (Call("bpf", (0, struct.pack("<IIII", 2, 4, 4, 1) + bytes(112), 72)),),
        control_needs="root",
        may_be_off="the kernel is locked down, or was built without bpf",
    ),
    Attack(
        "watch the machine (perf_event_open)",
        # The software event "CPU clock", on CPU 0, of all processes.
        (
            Call(
                "perf_event_open",
                (struct.pack("<IIQ", 1, 112, 0) + bytes(96), -1, 0, -1, 0),
            ),
        ),
        control_needs="root",
        may_be_off="the kernel is locked down, or was built without perf events",
    ),
    Attack(
        "keep a key in the kernel (add_key)",
        (
            Call(
                "add_key",
                (b"user\0", b"mailbell\0", b"x", 1, KEY_SPEC_PROCESS_KEYRING),
            ),
        ),
        may_be_off="the kernel was built without keys",
    ),
    Attack(
        "change the keyring (keyctl)",
        (Call("keyctl", (KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)),),
        may_be_off="the kernel was built without keys",
    ),
    Attack(
        "handle page faults (userfaultfd)",
        (Call("userfaultfd", (UFFD_USER_MODE_ONLY,)),),
        may_be_off="the kernel was built without it",
    ),
    # Never a real module. The kernel must not refuse it for its form before it checks the caller.
    Attack(
        "load a kernel module (init_module)",
        (Call("init_module", (b"no module", 9, b"\0")),),
        control_needs="root",
        granted=("ENOEXEC", "EINVAL"),
        may_be_off=_NO_MODULES,
    ),
    Attack(
        "load a kernel module (finit_module)",
        (
            Call("openat", (AT_FDCWD, Given("readable"), os.O_RDONLY, 0)),
            Call("finit_module", (Result(0), b"\0", 0)),
        ),
        control_needs="root",
        granted=("ENOEXEC", "EINVAL"),
        may_be_off=_NO_MODULES,
    ),
    Attack(
        "type into the terminal (TIOCSTI)",
        (Call("ioctl", (Given("terminal"), TIOCSTI, b"x")),),
        may_be_off="dev.tty.legacy_tiocsti is 0",
    ),
)

_PRIVILEGES: Final = (
    Attack(
        "become root again (setresuid)",
        (Call("setresuid", (0, 0, 0)),),
        "import os\ngot = os.setresuid(0, 0, 0)",
        control_needs="root",
    ),
    Attack(
        "take root's group (setresgid)",
        (Call("setresgid", (0, 0, 0)),),
        "import os\ngot = os.setresgid(0, 0, 0)",
        control_needs="root",
    ),
    Attack(
        "take groups (setgroups)",
        (Call("setgroups", (1, bytes(4))),),
        "import os\ngot = os.setgroups([0])",
        control_needs="root",
    ),
    Attack(
        "regain a capability (capset)",
        (
            Call(
                "capset",
                (
                    struct.pack("<Ii", CAPABILITY_VERSION_3, 0),
                    struct.pack("<IIIIII", *(1 << CAP_NET_ADMIN,) * 2, 0, 0, 0, 0),
                ),
            ),
        ),
        control_needs="root",
    ),
    Attack(
        "raise a limit again (prlimit)",
        (Call("prlimit64", (0, RLIMIT_NPROC, struct.pack("<QQ", 16, 16), 0)),),
        "import resource\ngot = resource.setrlimit(resource.RLIMIT_NPROC, (16, 16))",
    ),
    Attack(
        "exhaust memory",
        # 2 GiB of address space, which costs nothing until it is used.
        (Call("mmap", (0, 2048 * MIB, R | W, ANONYMOUS | MAP_NORESERVE, -1, 0)),),
        "import mmap\n"
        f"flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | {MAP_NORESERVE}\n"
        "got = mmap.mmap(-1, 1 << 31, flags)\n",
        may_be_off="vm.overcommit_memory is 2, or RLIMIT_AS is low",
    ),
    Attack(
        "exhaust memory that is shared",
        (
            Call(
                "mmap",
                (0, 2048 * MIB, R | W, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            ),
        ),
        "import mmap\n"
        f"flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | {MAP_NORESERVE}\n"
        "got = mmap.mmap(-1, 1 << 31, flags)\n",
        may_be_off="vm.overcommit_memory is 2, or RLIMIT_AS is low",
    ),
    Attack(
        "lock memory",
        (
            Call("mmap", (0, SLOT, R | W, ANONYMOUS, -1, 0)),
            Call("mlock", (Result(0), SLOT)),
        ),
    ),
    Attack(
        "exhaust descriptors",
        # The highest value that every user may have where the limits were not changed.
        (Call("dup3", (2, 1023, 0)),),
        "import os\ngot = os.dup2(2, 1023)",
    ),
)

ATTACKS: Final[tuple[Attack, ...]] = (
    *_FILES,
    *_CODE,
    *_NETWORK,
    *_PROCESSES,
    *_KERNEL,
    *_PRIVILEGES,
)

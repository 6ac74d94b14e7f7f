"""The kernel's numbers that a policy may name.

They are the numbers of the generic Linux interface. Every architecture in `ARCHITECTURES` has
the same ones. They are written here and not taken from `socket`, `signal` and `mmap`, so that
a policy means the same on every machine; those modules also lack some of them. A test compares
them with the standard library.

Source: Linux `include/uapi`: asm-generic/{mman-common,mman,socket,signal,ioctls}.h,
linux/{futex,prctl,time,random,net,fcntl,in}.h.
"""

import errno
from typing import Final

__all__ = ["ARCHITECTURES", "CONSTANTS", "ERRORS"]

# The names of uname(2). Other architectures have other numbers for signals or socket options
# (MIPS, Alpha, SPARC, PA-RISC) or pass arguments in pairs (32 bits). They need a table of
# their own and a policy that was tested on them.
ARCHITECTURES: Final = frozenset({"x86_64", "aarch64"})

CONSTANTS: Final[dict[str, int]] = {
    # as in accept4(2), socket(2), recv(2), send(2)
    "SOCK_STREAM": 1,
    "SOCK_DGRAM": 2,
    "SOCK_NONBLOCK": 0o4000,
    "SOCK_CLOEXEC": 0o2000000,
    "AF_UNIX": 1,
    "AF_INET": 2,
    "AF_INET6": 10,
    "AF_NETLINK": 16,
    "AF_PACKET": 17,
    "MSG_DONTWAIT": 0x40,
    "RWF_NOWAIT": 0x8,
    "MSG_NOSIGNAL": 0x4000,
    "IPPROTO_TCP": 6,
    "IPPROTO_UDP": 17,
    # as in tcp(7)
    "TCP_NODELAY": 1,
    # as in socket(7)
    "SOL_SOCKET": 1,
    "SO_ERROR": 4,
    "SO_SNDBUF": 7,
    "SO_PEERCRED": 17,
    "SO_MEMINFO": 55,
    # as in fcntl(2), openat(2)
    "F_SETLK": 6,
    "AT_EMPTY_PATH": 0x1000,
    # as in ioctl(2)
    "FIONBIO": 0x5421,
    # as in mmap(2), mprotect(2), mremap(2), madvise(2)
    "PROT_NONE": 0,
    "PROT_READ": 1,
    "PROT_WRITE": 2,
    "PROT_EXEC": 4,
    "MAP_SHARED": 0x01,
    "MAP_PRIVATE": 0x02,
    "MAP_FIXED": 0x10,
    "MAP_ANONYMOUS": 0x20,
    "MAP_NORESERVE": 0x4000,
    "MAP_STACK": 0x20000,
    "MREMAP_MAYMOVE": 1,
    "MADV_DONTNEED": 4,
    "MADV_FREE": 8,
    # as in prctl(2)
    "PR_SET_VMA": 0x53564D41,
    # as in futex(2)
    "FUTEX_WAIT_PRIVATE": 128,
    "FUTEX_WAKE_PRIVATE": 129,
    "FUTEX_WAIT_BITSET_PRIVATE": 137,
    "FUTEX_CLOCK_REALTIME": 256,
    # as in clock_gettime(2), getrandom(2)
    "CLOCK_REALTIME": 0,
    "CLOCK_MONOTONIC": 1,
    "CLOCK_BOOTTIME": 7,
    "GRND_NONBLOCK": 1,
    # as in sigprocmask(2), signal(7)
    "SIG_BLOCK": 0,
    "SIG_UNBLOCK": 1,
    "SIG_SETMASK": 2,
    "SIGHUP": 1,
    "SIGINT": 2,
    "SIGABRT": 6,
    "SIGUSR1": 10,
    "SIGTERM": 15,
    "SIGSYS": 31,
    # as in stdin(3)
    "STDERR": 2,
}

# The errors that a denied call may get. EINTR, EAGAIN and EINPROGRESS are left out: a caller
# that gets one of them tries again and never stops.
ERRORS: Final[dict[str, int]] = {
    name: getattr(errno, name)
    for name in (
        "EACCES",
        "EBADF",
        "EFBIG",
        "EINVAL",
        "ENOMEM",
        "ENOSYS",
        "ENOTTY",
        "EOPNOTSUPP",
        "EPERM",
    )
}

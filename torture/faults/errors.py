"""The errors that each system call may return, as its manual page lists them.

Source: the section ERRORS of each page of section 2 of the Linux man-pages. What a page leaves
out, and why it is added, stands beside the entry. Calls that cannot fail are not here.
"""

import errno
from typing import Final

__all__ = [
    "ALL_MEMORY",
    "CONTRADICTIONS",
    "ERRORS",
    "NO_ERRORS",
    "OWN_BUGS",
    "calls_of",
    "codes",
    "error_name",
]

_FILE_NAMES: Final = "EACCES ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR"

ALL_MEMORY: Final = "mmap+brk"
"""Both calls that bring memory, so that neither helps when the other fails."""

ERRORS: Final = {
    # --- sockets
    "accept4": "EAGAIN EBADF ECONNABORTED EFAULT EINTR EINVAL EMFILE ENFILE ENOBUFS ENOMEM"
    " ENOTSOCK EOPNOTSUPP EPERM EPROTO"
    # "Error handling": errors of the network are passed on; "various Linux kernels can return".
    " ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH ENETUNREACH ESOCKTNOSUPPORT"
    " EPROTONOSUPPORT ETIMEDOUT",
    "bind": "EACCES EADDRINUSE EADDRNOTAVAIL EBADF EFAULT EINVAL ELOOP ENAMETOOLONG ENOENT ENOMEM"
    " ENOTDIR ENOTSOCK EROFS",
    "connect": "EACCES EPERM EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF"
    " ECONNREFUSED EFAULT EINTR EISCONN ENETUNREACH ENOTSOCK EPROTOTYPE ETIMEDOUT"
    " EHOSTUNREACH",  # ip(7); the page names the network only
    "getpeername": "EBADF EFAULT EINVAL ENOBUFS ENOTCONN ENOTSOCK",
    "getsockname": "EBADF EFAULT EINVAL ENOBUFS ENOTSOCK",
    "getsockopt": "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK",
    "listen": "EADDRINUSE EBADF ENOTSOCK EOPNOTSUPP",
    # recv(2) names no ECONNRESET and no ETIMEDOUT, which tcp(7) does.
    "recvfrom": "EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK ECONNRESET"
    " ETIMEDOUT",
    "sendto": "EACCES EAGAIN EALREADY EBADF ECONNRESET EDESTADDRREQ EFAULT EINTR EINVAL EISCONN"
    " EMSGSIZE ENOBUFS ENOMEM ENOTCONN ENOTSOCK EOPNOTSUPP EPIPE",
    "setsockopt": "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK ENOMEM",  # socket(7): SO_ATTACH_FILTER
    "socket": "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT",
    "socketpair": "EAFNOSUPPORT EFAULT EMFILE ENFILE EOPNOTSUPP EPROTONOSUPPORT",
    # --- waiting
    "epoll_create1": "EINVAL EMFILE ENFILE ENOMEM",
    "epoll_ctl": "EBADF EEXIST EINVAL ELOOP ENOENT ENOMEM ENOSPC EPERM",
    "epoll_wait": "EBADF EFAULT EINTR EINVAL",
    "epoll_pwait": "EBADF EFAULT EINTR EINVAL",
    "eventfd2": "EINVAL EMFILE ENFILE ENODEV ENOMEM",
    "poll": "EFAULT EINTR EINVAL ENOMEM",
    "ppoll": "EFAULT EINTR EINVAL ENOMEM",
    # --- files
    "openat": f"{_FILE_NAMES} EBADF EBUSY EDQUOT EEXIST EFAULT EFBIG EINTR EINVAL EISDIR EMFILE"
    " ENFILE ENODEV ENOSPC ENXIO EOPNOTSUPP EOVERFLOW EPERM EROFS ETXTBSY EAGAIN",
    "read": "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR",
    "pread64": "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR ENXIO EOVERFLOW ESPIPE",
    # readv(2): as read(2), and these two. Of a socket it has the errors of recv(2).
    "preadv2": "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR EOPNOTSUPP ECONNRESET ENOTCONN ENOMEM"
    " ETIMEDOUT",
    "write": "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM EPIPE",
    "writev": "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM EPIPE",
    "pwrite64": "EAGAIN EBADF EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM ENXIO EOVERFLOW"
    " ESPIPE",
    "close": "EBADF EINTR EIO ENOSPC EDQUOT",
    "fstat": "EBADF EFAULT ENOMEM EOVERFLOW",
    "newfstatat": f"{_FILE_NAMES} EBADF EFAULT EINVAL EOVERFLOW",
    "statx": f"{_FILE_NAMES} EBADF EFAULT EINVAL",
    "lseek": "EBADF EINVAL ENXIO EOVERFLOW ESPIPE",
    "ftruncate": "EBADF EFBIG EINTR EINVAL EIO EPERM ETXTBSY",
    "fcntl": "EACCES EAGAIN EBADF EBUSY EDEADLK EFAULT EINTR EINVAL EMFILE ENOLCK EPERM",
    "ioctl": "EBADF EFAULT EINVAL ENOTTY",
    "getdents64": "EBADF EFAULT EINVAL ENOENT ENOTDIR",
    "fsync": "EBADF EINTR EIO ENOSPC EROFS EINVAL EDQUOT",
    "fdatasync": "EBADF EINTR EIO ENOSPC EROFS EINVAL EDQUOT",
    "unlink": f"{_FILE_NAMES} EBUSY EFAULT EIO EISDIR EPERM EROFS",
    "unlinkat": f"{_FILE_NAMES} EBADF EBUSY EFAULT EINVAL EIO EISDIR EPERM EROFS",
    "chmod": f"{_FILE_NAMES} EFAULT EIO EPERM EROFS",
    "fchmodat": f"{_FILE_NAMES} EBADF EFAULT EINVAL EIO EOPNOTSUPP EPERM EROFS",
    "chown": f"{_FILE_NAMES} EFAULT EIO EPERM EROFS",
    "lchown": f"{_FILE_NAMES} EFAULT EIO EPERM EROFS",
    "fchownat": f"{_FILE_NAMES} EBADF EFAULT EINVAL EIO EPERM EROFS",
    "access": f"{_FILE_NAMES} EFAULT EINVAL EIO EPERM EROFS ETXTBSY",
    "readlink": f"{_FILE_NAMES} EFAULT EINVAL EIO",
    "mkdir": f"{_FILE_NAMES} EDQUOT EEXIST EFAULT EINVAL EMLINK ENOSPC EPERM EROFS",
    "rename": f"{_FILE_NAMES} EBUSY EDQUOT EFAULT EINVAL EISDIR EMLINK ENOSPC ENOTEMPTY EPERM EROFS"
    " EXDEV",
    "getxattr": f"{_FILE_NAMES} E2BIG ENODATA EOPNOTSUPP ERANGE",
    "fgetxattr": "E2BIG ENODATA EOPNOTSUPP ERANGE EBADF",
    "dup": "EBADF EMFILE",
    "dup2": "EBADF EBUSY EINTR EINVAL EMFILE",
    "pipe2": "EFAULT EINVAL EMFILE ENFILE",
    # --- memory
    "mmap": "EACCES EAGAIN EBADF EEXIST EINVAL ENFILE ENODEV ENOMEM EOVERFLOW EPERM ETXTBSY",
    "munmap": "EINVAL ENOMEM",
    "brk": "ENOMEM",
    ALL_MEMORY: "ENOMEM",
    "mprotect": "EACCES EINVAL ENOMEM",
    "mremap": "EAGAIN EFAULT EINVAL ENOMEM",
    "madvise": "EACCES EAGAIN EBADF EBUSY EINVAL EIO ENOMEM EPERM",
    # --- the rest of what a locked daemon may ask for
    "getrandom": "EAGAIN EFAULT EINTR EINVAL ENOSYS",
    "rt_sigaction": "EFAULT EINVAL",
}  # fmt: skip

NO_ERRORS: Final = {
    "clock_gettime": "answered without the kernel, where that is possible",
    "exit_group": "it does not return",
    "futex": "made where CPython has OpenSSL only; with FUTEX_WAKE_PRIVATE it only counts",
    "getpid": "it cannot fail",
    "gettid": "it cannot fail",
    "restart_syscall": "the kernel goes on with poll, which is in the table",
    "rt_sigprocmask": "made by abort(3) only",
    "rt_sigreturn": "it does not return",
    "tgkill": "made by abort(3) only",
}
"""Calls that a policy permits and that are not made to fail, and why."""

OWN_BUGS: Final = frozenset(
    {
        errno.EBADF, errno.EFAULT, errno.EINVAL, errno.ENOTSOCK, errno.EDESTADDRREQ, errno.EISCONN,
        errno.EALREADY, errno.ENOTTY, errno.EEXIST, errno.ESPIPE, errno.EISDIR,
    }
)  # fmt: skip
"""What the kernel answers to a wrong argument only. If such an error ends a daemon, the daemon has
a bug: it says so, with the place in its code, which whoever repairs it must know."""

CONTRADICTIONS: Final = frozenset({errno.EAGAIN, errno.EALREADY, errno.EINPROGRESS, errno.EINTR})
"""The kernel does not repeat these without an end. EAGAIN says that nothing is there, and epoll
said that something is; EINTR takes a signal each time. CPython takes the other two for EAGAIN. So
"always" means every third call: of two calls that take turns, each fails now and then. While a
daemon ends they are left out: on the socket by which Trio wakes itself, EAGAIN says that it is
about to be woken."""


def codes(call: str) -> tuple[int, ...]:
    """Return the errors of a call.

    Args:
        call: its name.

    Raises:
        KeyError: the table does not have it.
    """
    return tuple(getattr(errno, name) for name in ERRORS[call].split())


def error_name(code: int) -> str:
    """Return the name of an error, as the manual pages of sockets have it.

    Args:
        code: its number.
    """
    return "EOPNOTSUPP" if code == errno.EOPNOTSUPP else errno.errorcode[code]


def calls_of(name: str) -> frozenset[str]:
    """Return the calls that a name in the table stands for.

    Args:
        name: a key of `ERRORS`.
    """
    return frozenset(name.split("+"))

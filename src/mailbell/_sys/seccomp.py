"""Turns a policy into a seccomp filter, and puts it in force.

libseccomp writes the program. Two of its defaults are changed. By default it kills only
one thread: if that thread holds Python's lock, the process hangs and keeps its port. And
by default other threads get no filter.

Source: seccomp(2), seccomp_rule_add(3), seccomp_attr_set(3).
"""

import ctypes
import errno
import os
import socket
from functools import cached_property
from typing import Any, Final

from mailbell._sys._libc import ANOTHER_SANDBOX, syscall
from mailbell._sys._libseccomp import LIBRARY, Binding, find_binding
from mailbell.core.errors import ConfigurationError, OperatingSystemError, Problem
from mailbell.syscalls.call_numbers import ARCHITECTURES
from mailbell.syscalls.policy import ALL_BITS, ALLOW, Action, Match, Policy

__all__ = ["Filter", "binding_name", "compile_policy", "require_kernel_filter"]

REMEDY: Final = (
    "install libseccomp2 (Debian, Ubuntu) or libseccomp (Fedora, Arch, Alpine);"
    " where Debian's own packages of Python modules are used, python3-seccomp"
)
# BPF_MAXINSNS, linux/bpf_common.h: the kernel takes no longer program.
MAX_INSTRUCTIONS: Final = 4096
INSTRUCTION_BYTES: Final = 8
# One instruction more than the kernel takes, so that a longer program is noticed.
MAX_PROGRAM: Final = (MAX_INSTRUCTIONS + 1) * INSTRUCTION_BYTES
SET_MODE_FILTER: Final = 1  # linux/seccomp.h
GET_ACTION_AVAIL: Final = 2

_NEWER_KERNEL: Final = "it needs Linux 4.14 or later, built with CONFIG_SECCOMP_FILTER"
_OUTER_SANDBOX: Final = (
    "another sandbox around this process forbids it: permit seccomp there"
    " (systemd: SystemCallFilter=, containers: their seccomp profile)"
)
# The remedy for each error of seccomp(2), and of the prctl(2) call before it.
_REMEDIES: Final = {
    errno.ENOSYS: f"{_NEWER_KERNEL}; or {_OUTER_SANDBOX}",
    errno.EOPNOTSUPP: _NEWER_KERNEL,
    errno.EINVAL: _NEWER_KERNEL,
    errno.EPERM: _OUTER_SANDBOX,
    errno.EACCES: _OUTER_SANDBOX,
    # libseccomp returns this if prctl(2) refuses no_new_privs, which every kernel grants.
    errno.EFAULT: _OUTER_SANDBOX,
    errno.ENOMEM: "free some memory, or leave out some of the filters around this process",
    errno.ESRCH: "another thread is under another filter: start the daemon with a single thread",
}


# Found with this module, because a locked process can import nothing.
_binding: Final = find_binding()


class Filter:
    """A compiled filter. libseccomp writes its program when that is asked for or loaded."""

    def __init__(self, compiled: Any) -> None:
        self._compiled: Any = compiled

    @cached_property
    def program(self) -> bytes:
        """The program for the kernel: `struct sock_filter`s in the byte order of this machine.

        Ask for it before the filter is loaded.
        """
        return _export(self._compiled)

    @property
    def instructions(self) -> int:
        """The length of the program in instructions."""
        return len(self.program) // INSTRUCTION_BYTES

    def load(self) -> None:
        """Put the filter in force for every thread, for ever. It can be loaded once.

        libseccomp's own copy is given back here, so that no library is called for it later.

        Raises:
            OperatingSystemError: the kernel refused it.
        """
        compiled, self._compiled = self._compiled, None
        try:
            compiled.load()
        except OSError as error:
            raise OperatingSystemError(
                f"the kernel refused the seccomp filter: {error.strerror}", _remedy(error)
            ) from error


def require_kernel_filter() -> None:
    """Make sure that the kernel has the filter that mailbell needs; nothing is in force yet.

    Raises:
        OperatingSystemError: libseccomp is missing, the kernel has no such filter, or
            another sandbox forbids this process to use it.
    """
    library = _library()
    number = library.resolve_syscall(library.Arch.NATIVE, "seccomp")
    action = ctypes.c_uint32(library.KILL_PROCESS)
    try:
        syscall(number, ctypes.c_uint(GET_ACTION_AVAIL), ctypes.c_uint(0), ctypes.byref(action))
        _probe_loading(number)
    except OSError as error:
        raise OperatingSystemError(
            f"this process cannot filter its system calls: seccomp(2): {error.strerror}",
            _remedy(error),
        ) from error


def _probe_loading(number: int) -> None:
    """Offer the kernel a program at address 0. EFAULT means that it would load a real one."""
    try:
        syscall(number, ctypes.c_uint(SET_MODE_FILTER), ctypes.c_uint(0), None)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise


def _remedy(error: OSError) -> str:
    return _REMEDIES.get(error.errno or 0, "see what the system lacks, and try again")


def compile_policy(
    policy: Policy, architecture: str | None = None, *, measured: bool = True
) -> Filter:
    """Compile a policy; nothing is in force yet.

    The placeholder `SELF` becomes the id of this process. All other placeholders must be
    filled already (`Policy.bind`).

    Args:
        policy: the policy of this program.
        architecture: one of `mailbell.syscalls.call_numbers.ARCHITECTURES`; None: this
            machine's. For another one libseccomp goes by the names of calls. So it cannot
            compile the rules for unknown calls, which have no names.
        measured: whether the length of the program is checked here. To write the program
            takes longest, and to load it writes it once more. The kernel refuses one that is
            too long.

    Returns:
        The filter, ready to be loaded on a machine of that architecture.

    Raises:
        OperatingSystemError: libseccomp is missing, too old or fails, or the policy was not
            written for this architecture.
        ConfigurationError: the policy names calls that do not exist.
        InternalError: a placeholder is not filled.
    """
    library = _library()
    if "SELF" in policy.unbound:
        policy = policy.bind({"SELF": os.getpid()})
    target = _target(library, architecture)
    numbers = _resolve(library, policy, target)
    try:
        compiled = _empty(library, target)
        _add_rules(library, compiled, policy, numbers)
    except OSError as error:
        # libseccomp first asks the kernel which actions it has. It reports every refusal
        # as an invalid argument, so this asks the kernel once more for the true error.
        require_kernel_filter()
        raise OperatingSystemError(
            f"libseccomp cannot compile the policy of {policy.program}: {error.strerror}",
            "it needs libseccomp 2.5 or later",
        ) from error
    found = Filter(compiled)
    if measured and found.instructions > MAX_INSTRUCTIONS:
        raise ConfigurationError(
            f"policy of {policy.program}: {found.instructions} instructions, "
            f"the kernel takes {MAX_INSTRUCTIONS}",
            "name fewer values in rules with an else, or lower unknown.until",
        )
    return found


def binding_name() -> str:
    """Return the name of the Python module that calls libseccomp.

    Raises:
        OperatingSystemError: libseccomp is missing.
    """
    return _require_binding().name


def _library() -> Any:
    return _require_binding().library


def _require_binding() -> Binding:
    if _binding is None:
        raise OperatingSystemError(f"{LIBRARY} cannot be loaded", REMEDY)
    return _binding


def _target(library: Any, architecture: str | None) -> int:
    known = {name: getattr(library.Arch, name.upper()) for name in ARCHITECTURES}
    target = int(library.system_arch() if architecture is None else known.get(architecture, 0))
    if target not in known.values():
        raise OperatingSystemError(
            "there is no policy for this architecture", f"use one of {', '.join(sorted(known))}"
        )
    return target


def _resolve(library: Any, policy: Policy, target: int) -> dict[str, int]:
    """Return this machine's number of each call that the target has. libseccomp translates it."""
    names = [name for entry in policy.entries for name in entry.calls]
    there = {name: library.resolve_syscall(target, name) for name in names}
    # libseccomp returns -1 for an unknown name, and -100 or less for a call that only other
    # architectures have.
    unknown = tuple(
        Problem(name, "no such system call") for name, number in there.items() if number == -1
    )
    if unknown:
        raise ConfigurationError(
            f"policy of {policy.program}: {unknown[0]}", "correct the policy", problems=unknown
        )
    return {
        name: library.resolve_syscall(library.Arch.NATIVE, name)
        for name, number in there.items()
        if number >= 0
    }


def _empty(library: Any, target: int) -> Any:
    compiled = library.SyscallFilter(library.KILL_PROCESS)
    if target != library.system_arch():
        compiled.add_arch(target)
        compiled.remove_arch(library.Arch.NATIVE)
    # The numbers of another architecture mean other calls. x32 counts as one.
    compiled.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
    # Every existing thread must get the filter too.
    compiled.set_attr(library.Attr.CTL_TSYNC, 1)
    compiled.set_attr(library.Attr.CTL_NNP, 1)
    # Return the kernel's own error, for the message, instead of ECANCELED for every error.
    compiled.set_attr(library.Attr.API_SYSRAWRC, 1)
    # A binary tree over the call numbers. In a list, hundreds of unknown numbers would be
    # compared before the calls with conditions, which the daemon makes most.
    compiled.set_attr(library.Attr.CTL_OPTIMIZE, 2)
    return compiled


def _add_rules(library: Any, compiled: Any, policy: Policy, numbers: dict[str, int]) -> None:
    for rule in policy.rules():
        if (number := numbers.get(rule.call)) is not None:
            matches = (_comparison(library, match) for match in rule.matches)
            compiled.add_rule_exactly(_action(library, rule.action), number, *matches)
    unknown = policy.unknown
    for number in range(unknown.newest + 1, unknown.until + 1):
        compiled.add_rule_exactly(_action(library, unknown.action), number)


def _action(library: Any, action: Action) -> int:
    return int(library.ALLOW if action == ALLOW else library.ERRNO(action.errno))


def _comparison(library: Any, match: Match) -> Any:
    if match.mask == ALL_BITS:
        return library.Arg(match.argument, library.EQ, match.value)
    return library.Arg(match.argument, library.MASKED_EQ, match.mask, match.value)


def _export(compiled: Any) -> bytes:
    """Return the program. libseccomp can only write it to a descriptor, as one message.

    The descriptor is one of a pair of sockets. A file has a limit on its size
    (RLIMIT_FSIZE), and a pipe may be smaller than the program, so that the write waits.
    """
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        with ours, theirs:
            compiled.export_bpf(theirs)
            return os.read(ours.fileno(), MAX_PROGRAM)
    except OSError as error:
        raise OperatingSystemError(
            f"the compiled filter cannot be read back from libseccomp: {error.strerror}",
            ANOTHER_SANDBOX,
        ) from error

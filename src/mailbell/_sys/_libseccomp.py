"""libseccomp, by either of its two bindings for Python.

pyseccomp calls the library of the system with ctypes, and mailbell's own metadata requires it.
Distributions that do not package it have the module `seccomp` of libseccomp's own source
(Debian: python3-seccomp, Fedora: python3-libseccomp). Both have the same names. `seccomp`
takes and returns a number of 32 bits with a sign, and raises other exceptions. Both
differences end here: what this file returns is used as pyseccomp is.

Source: src/python/seccomp.pyx of libseccomp.
"""

import ctypes.util
import errno
import os
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar, Final, NamedTuple

__all__ = ["LIBRARY", "Binding", "find_binding"]

LIBRARY: Final = "libseccomp.so.2"

# What the import of either raises: the module or the library is not there, is not the one that is
# meant, or was compiled for another Python.
_UNUSABLE: Final = (ImportError, AttributeError, OSError, RuntimeError, TypeError, ValueError)
# Another module may have the name `seccomp`.
_EXPECTED: Final = (
    "ALLOW", "Arch", "Arg", "Attr", "EQ", "ERRNO", "KILL_PROCESS", "MASKED_EQ", "SyscallFilter",
    "resolve_syscall", "system_arch",
)  # fmt: skip
_NUMBER: Final = re.compile(r"errno = -?([0-9]+)")
_SIGN: Final = 1 << 31


class Binding(NamedTuple):
    """A binding that can be used.

    Attributes:
        name: the name of its module.
        library: what pyseccomp offers: `SyscallFilter`, `resolve_syscall` and so on.
    """

    name: str
    library: Any


def find_binding() -> Binding | None:
    """Import the binding that is installed; None: neither is, or neither finds libseccomp.

    pyseccomp is preferred. It uses the libseccomp of the system, which is updated by itself,
    while `seccomp` may contain a copy of its own, as Debian's does.
    """
    for name, load in (("pyseccomp", _import_pyseccomp), ("seccomp", _import_seccomp)):
        try:
            return Binding(name, load())
        except _UNUSABLE:
            continue
    return None


def _import_pyseccomp() -> Any:
    """Import pyseccomp without running another program.

    On import pyseccomp calls `ctypes.util.find_library`. That runs ldconfig, and then gcc
    and ld from PATH, perhaps as root. The dynamic linker finds the library by its name,
    so during the import a function that returns the name takes its place.
    """
    search = ctypes.util.find_library
    ctypes.util.find_library = lambda name: LIBRARY if name == "seccomp" else None
    try:
        import pyseccomp
    finally:
        ctypes.util.find_library = search
    return pyseccomp


def _import_seccomp() -> Any:
    import seccomp

    return _as_pyseccomp(seccomp)


def _as_pyseccomp(module: Any) -> Any:
    """Return the names of `seccomp` with the numbers and the errors of pyseccomp.

    Raises:
        AttributeError: it is another module of that name.
    """
    for name in _EXPECTED:
        getattr(module, name)

    class SyscallFilter(_SyscallFilter):
        _make = module.SyscallFilter

    def resolve_syscall(architecture: int, call: int | str) -> Any:
        return module.resolve_syscall(_signed(architecture), call)

    names = {
        **{name: item for name, item in vars(module).items() if not name.startswith("_")},
        **_numbers(module),
        "Arch": SimpleNamespace(**_numbers(module.Arch)),
        "SyscallFilter": SyscallFilter,
        "resolve_syscall": resolve_syscall,
    }
    return SimpleNamespace(**names)


def _numbers(of: Any) -> dict[str, int]:
    return {name: _unsigned(item) for name, item in vars(of).items() if isinstance(item, int)}


class _SyscallFilter:
    """pyseccomp's class of this name, by that of `seccomp`, which is `_make`."""

    _make: ClassVar[Any]

    def __init__(self, action: int) -> None:
        self._filter: Final = _called(self._make, action)

    def load(self) -> None:
        _called(self._filter.load)

    def set_attr(self, attribute: int, value: int) -> None:
        _called(self._filter.set_attr, attribute, value)

    def add_arch(self, architecture: int) -> None:
        _called(self._filter.add_arch, architecture)

    def remove_arch(self, architecture: int) -> None:
        _called(self._filter.remove_arch, architecture)

    def add_rule(self, action: int, call: int | str, *arguments: Any) -> None:
        _called(self._filter.add_rule, action, call, *arguments)

    def add_rule_exactly(self, action: int, call: int | str, *arguments: Any) -> None:
        _called(self._filter.add_rule_exactly, action, call, *arguments)

    def export_bpf(self, file: Any) -> None:
        _called(self._filter.export_bpf, file)


def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of `seccomp`, and raise its errors as pyseccomp does.

    Raises:
        OSError: with the error of libseccomp. `seccomp` names it in a text, and leaves it out
            for an argument that is invalid.
    """
    try:
        return function(*(_signed(each) if isinstance(each, int) else each for each in arguments))
    except (RuntimeError, ValueError) as error:
        found = _NUMBER.search(str(error))
        number = int(found[1]) if found else errno.EINVAL
        raise OSError(number, os.strerror(number)) from error


def _signed(number: int) -> int:
    return number - 2 * _SIGN if _SIGN <= number < 2 * _SIGN else number


def _unsigned(number: int) -> int:
    return number + 2 * _SIGN if -_SIGN <= number < 0 else number

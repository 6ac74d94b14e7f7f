"""The module `seccomp` of libseccomp's source: the real one, or one that does as it does.

The real one is compiled for the Python of a distribution. Where it is missing, pyseccomp
takes its place, with the numbers and the errors of src/python/seccomp.pyx. A test that has a
Debian root (tests/packages) compares both bindings there.
"""

import errno
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

__all__ = ["cython_seccomp"]

INT_MAX: Final = (1 << 31) - 1
Called = Callable[..., Any]
try:
    REAL: Any = importlib.import_module("seccomp")
except ImportError:
    REAL = None
    pyseccomp = importlib.import_module("pyseccomp")


def cython_seccomp() -> ModuleType:
    """Return the module."""
    return REAL or _imitation()


def _imitation() -> ModuleType:
    made = ModuleType("seccomp")
    for name, item in vars(pyseccomp).items():
        if name.isupper() and isinstance(item, int):
            setattr(made, name, _signed(item))
    numbers = {name: _signed(item) for name, item in _public(pyseccomp.Arch).items()}
    vars(made).update(
        Arch=type("Arch", (), numbers),
        Arg=pyseccomp.Arg,
        Attr=pyseccomp.Attr,
        ERRNO=pyseccomp.ERRNO,
        SyscallFilter=_SyscallFilter,
        resolve_syscall=lambda token, call: pyseccomp.resolve_syscall(_unsigned(token), call),
        system_arch=pyseccomp.system_arch,
    )
    return made


def _public(of: Any) -> dict[str, int]:
    return {name: item for name, item in vars(of).items() if not name.startswith("_")}


class _SyscallFilter:
    def __init__(self, action: int) -> None:
        self._real: Final = _called(pyseccomp.SyscallFilter, "Library error", action)

    def load(self) -> None:
        _called(self._real.load, None)

    def set_attr(self, attribute: int, value: int) -> None:
        _called(self._real.set_attr, "Invalid attribute", attribute, value)

    def add_arch(self, token: int) -> None:
        _called(self._real.add_arch, "Invalid architecture", token)

    def remove_arch(self, token: int) -> None:
        _called(self._real.remove_arch, "Invalid architecture", token)

    def add_rule(self, action: int, call: int | str, *arguments: Any) -> None:
        _called(self._real.add_rule, None, action, call, *arguments)

    def add_rule_exactly(self, action: int, call: int | str, *arguments: Any) -> None:
        _called(self._real.add_rule_exactly, None, action, call, *arguments)

    def export_bpf(self, file: Any) -> None:
        _called(self._real.export_bpf, None, file)


def _called(function: Called, invalid: str | None, *arguments: Any) -> Any:
    """Call pyseccomp. `invalid`: what EINVAL becomes, where that has a text of its own."""
    try:
        return function(*(_unsigned(each) if isinstance(each, int) else each for each in arguments))
    except OSError as error:
        if error.errno == errno.EINVAL and invalid is not None:
            raise (ValueError if invalid.startswith("Invalid") else RuntimeError)(
                invalid
            ) from error
        raise RuntimeError(f"Library error (errno = {-(error.errno or 0)})") from error


def _signed(number: int) -> int:
    return number - (1 << 32) if number > INT_MAX else number


def _unsigned(number: int) -> int:
    if not -INT_MAX - 1 <= number <= INT_MAX:
        raise OverflowError("value too large to convert to int")
    return number & 0xFFFFFFFF

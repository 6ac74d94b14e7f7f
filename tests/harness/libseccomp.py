"""libseccomp for tests, by the same binding that mailbell uses here: pyseccomp's names."""

from typing import Any, Final

from mailbell._sys import seccomp

__all__ = ["BINDING", "libseccomp"]

BINDING: Final = seccomp.binding_name()
"""The name of its module."""

libseccomp: Final[Any] = seccomp._library()

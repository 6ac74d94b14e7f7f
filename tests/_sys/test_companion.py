"""What a forked process does first: it closes what is not its own, and ends with its parent."""

import ctypes
import errno
import os

import pytest
from harness.child import run

from mailbell._sys import companion
from mailbell._sys.companion import end_with_parent, keep_descriptors
from mailbell.core.errors import OperatingSystemError


def test_all_descriptors_but_some_are_closed() -> None:
    kept, _ = os.pipe()

    def inside() -> list[int]:
        keep_descriptors({kept})
        return sorted(n for n in range(4096) if os.path.exists(f"/proc/self/fd/{n}"))

    # The harness's own descriptor is a copy of 2.
    assert run(inside).value == [0, 1, 2, kept]


def test_the_kernel_kills_it_with_its_parent() -> None:
    def inside() -> int:
        end_with_parent()
        found = ctypes.c_int(0)
        ctypes.CDLL(None).prctl(2, ctypes.byref(found), 0, 0, 0)  # PR_GET_PDEATHSIG
        return found.value

    assert run(inside).value == 9


def test_a_kernel_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(companion, "prctl", refuse)
    with pytest.raises(OperatingSystemError, match="PDEATHSIG"):
        end_with_parent()

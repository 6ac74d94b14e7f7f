"""What is left of the environment in the memory of a small process."""

import ctypes
import os
import re
from pathlib import Path

import pytest
from harness.child import run

from mailbell._sys import environment
from mailbell._sys.environment import forget_environment
from mailbell.core.errors import OperatingSystemError


def test_no_variable_is_left() -> None:
    def inside() -> tuple[int, object, bool]:
        os.environ["MADE_LATER"] = "a secret"
        forget_environment()
        found = ctypes.CDLL(None).getenv(b"PATH")
        return len(os.environ), found, any(Path("/proc/self/environ").read_bytes())

    assert run(inside).value == (0, 0, False)


def test_what_python_and_the_c_library_hold_is_overwritten() -> None:
    """The same objects: they may still be referenced, and their memory is not used again."""

    def inside() -> list[bytes]:
        os.environ["MADE_LATER"] = "a secret"
        held = [os.environb[b"MADE_LATER"], *os.environb.values()]
        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_void_p
        address = getenv(b"MADE_LATER")
        forget_environment()
        return [*held, ctypes.string_at(address, len("a secret"))]

    left = run(inside).value
    assert len(left) > 2
    assert not any(any(each) for each in left if len(each) > 1)


def test_short_values_are_left_alone() -> None:
    """Python has one object for each of them, which everybody uses."""

    def inside() -> tuple[bytes, bytes]:
        os.environ["SHORT"] = "7"
        os.environ["EMPTY"] = ""
        forget_environment()
        return bytes([55]), b"7"

    assert run(inside).value == (b"7", b"7")


def test_it_can_be_done_twice_and_variables_can_be_set_again() -> None:
    def inside() -> str:
        forget_environment()
        os.environ["AGAIN"] = "yes"
        forget_environment()
        os.environ["AGAIN"] = "no"
        return os.environ["AGAIN"]

    assert run(inside).value == "no"


@pytest.mark.parametrize("stat", [{}, {50: 0, 51: 0}, {50: 2, 51: 1}])
def test_a_kernel_that_does_not_tell_where_it_is_is_an_error(
    stat: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "own_stat", lambda: stat)
    before = dict(os.environ)
    with pytest.raises(OperatingSystemError, match=re.compile("environment")):
        forget_environment()
    assert dict(os.environ) == before

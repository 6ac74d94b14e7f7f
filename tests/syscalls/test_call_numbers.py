"""The kernel's numbers, compared with those that the standard library was compiled with."""

import errno
import fcntl
import mmap
import os
import platform
import signal
import socket
import time

import pytest

from mailbell.syscalls.call_numbers import ARCHITECTURES, CONSTANTS, ERRORS

THEIR_NUMBERS = {"x86_64", "aarch64"}
pytestmark = pytest.mark.skipif(
    platform.machine() not in THEIR_NUMBERS, reason="the table is for other architectures"
)
# Names of Linux's uapi headers that no module of the standard library has in every supported
# version.
ELSEWHERE = {
    "AT_EMPTY_PATH": 0x1000,
    "FIONBIO": 0x5421,
    "FUTEX_WAIT_BITSET_PRIVATE": 9 | 128,
    "FUTEX_WAIT_PRIVATE": 0 | 128,
    "FUTEX_WAKE_PRIVATE": 1 | 128,
    "FUTEX_CLOCK_REALTIME": 256,
    "GRND_NONBLOCK": 1,
    "MAP_FIXED": 0x10,
    "MAP_NORESERVE": 0x4000,
    "MAP_STACK": 0x20000,
    "MREMAP_MAYMOVE": 1,
    "PROT_NONE": 0,
    "PR_SET_VMA": 0x53564D41,
    "SO_MEMINFO": 55,
    "STDERR": 2,
}


@pytest.mark.parametrize("name", sorted(CONSTANTS.keys() - ELSEWHERE.keys()))
def test_constant_is_what_python_knows(name: str) -> None:
    known = [
        int(getattr(module, name))
        for module in (os, socket, signal, mmap, time, fcntl)
        if hasattr(module, name)
    ]
    assert known
    assert set(known) == {CONSTANTS[name]}


def test_the_rest_is_what_the_headers_say() -> None:
    assert {name: CONSTANTS[name] for name in ELSEWHERE} == ELSEWHERE


def test_the_architectures_are_those_whose_numbers_are_compared() -> None:
    assert ARCHITECTURES == THEIR_NUMBERS


def test_errors() -> None:
    assert all(ERRORS[name] == getattr(errno, name) for name in ERRORS)


@pytest.mark.parametrize("name", ["EINTR", "EAGAIN", "EINPROGRESS"])
def test_no_error_that_asks_to_try_again(name: str) -> None:
    assert name not in ERRORS

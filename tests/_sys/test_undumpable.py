"""Other processes of the same user cannot get into this one, and a failure is noticed."""

import errno
import os

import pytest
from harness.child import run

from mailbell._sys import undumpable
from mailbell._sys.undumpable import make_undumpable
from mailbell.core.errors import InternalError, OperatingSystemError


def test_make_undumpable() -> None:
    """Then /proc/PID belongs to root, and the process may not read its own memory there."""

    def inside() -> object:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        make_undumpable()
        try:
            open("/proc/self/mem", "rb").close()
        except PermissionError:
            return os.stat("/proc/self/mem").st_uid
        return "opened"

    assert run(inside).value in {0, 65534}  # 65534 when root is not in this user namespace


def test_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(undumpable, "prctl", refuse)
    with pytest.raises(OperatingSystemError, match="dumpable: Operation not permitted"):
        make_undumpable()


def test_a_process_that_stays_dumpable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undumpable, "prctl", lambda *_: 1)
    with pytest.raises(InternalError, match="dumpable is 1 where 0 was set"):
        make_undumpable()

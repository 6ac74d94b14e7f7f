"""A process that adopts: its descendants' orphans become its children."""

import os
import signal

import pytest
from harness import child

from mailbell._sys import orphans
from mailbell._sys.process import adopts_orphans
from mailbell.core.errors import OperatingSystemError


def test_the_orphans_of_a_child_come_to_this_process() -> None:
    def inside() -> tuple[bool, int, int]:
        before = adopts_orphans()
        orphans.adopt_orphans()
        assert adopts_orphans()
        reader, writer = os.pipe()
        first = os.fork()
        if first == 0:
            if os.fork() == 0:
                os.setsid()
                os.write(writer, b"%d" % os.getpid())
                signal.pause()
            os._exit(0)
        orphan = int(os.read(reader, 20))
        assert os.waitpid(first, 0) == (first, 0)
        os.kill(orphan, signal.SIGKILL)
        pid, status = os.waitpid(orphan, 0)
        return before, pid - orphan, status

    ended = child.run(inside)
    assert ended.error is None
    assert ended.value == (False, 0, signal.SIGKILL)


def test_a_kernel_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(orphans, "prctl", refuse)
    with pytest.raises(OperatingSystemError, match="cannot adopt orphans: Invalid argument"):
        orphans.adopt_orphans()

"""What the kernel's table says about real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from agent.commands import python
from harness.daemon import until

from mailbell.agent._processes import children, newest, numbers, processes, read


@pytest.fixture
def cat() -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a session of its own."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_runs_stops_and_ends(cat: "subprocess.Popen[bytes]") -> None:
    until(lambda: os.getsid(cat.pid) == cat.pid)
    process = read(cat.pid)
    assert process
    assert (process.number, process.parent, process.session) == (cat.pid, os.getpid(), cat.pid)
    assert process.began > 0
    assert process.lives
    assert process.runs
    cat.send_signal(signal.SIGSTOP)
    until(lambda: (found := read(cat.pid)) is not None and not found.runs)
    assert (stopped := read(cat.pid)) is not None
    assert stopped.lives
    cat.kill()
    os.waitid(os.P_PID, cat.pid, os.WEXITED | os.WNOWAIT)
    assert (ended := read(cat.pid)) is not None
    assert not ended.lives
    assert not ended.runs
    assert ended.began == process.began
    cat.wait()
    assert read(cat.pid) is None


def test_the_kernel_tells_the_children(
    cat: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    found = children()
    assert found is not None
    assert cat.pid in found
    monkeypatch.setattr(os, "listdir", lambda _: ["0"])
    assert children() is None


def test_one_whose_first_thread_has_ended_lives() -> None:
    """The table shows it as a zombie."""
    code = """
    import ctypes, platform, threading
    threading.Thread(target=sys.stdin.read).start()
    say("ready")
    call = 93 if platform.machine() == "aarch64" else 60
    ctypes.CDLL(None).syscall(ctypes.c_long(call), 0)
    """
    process = subprocess.Popen(python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    until(lambda: (found := read(process.pid)) is not None and not found.runs)
    assert (found := read(process.pid)) is not None
    assert found.lives
    process.kill()
    process.communicate()


def test_a_name_cannot_pretend_to_be_other_fields() -> None:
    code = "open('/proc/self/comm', 'w').write(') Z 1 1 1'); say('ready'); sys.stdin.read()"
    process = subprocess.Popen(python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    assert (found := read(process.pid)) is not None
    assert (found.parent, found.lives) == (os.getpid(), True)
    process.communicate()


def test_all_are_listed_and_the_newest_first(cat: "subprocess.Popen[bytes]") -> None:
    last = newest()
    found = numbers()
    assert {1, os.getpid(), cat.pid} <= set(found)
    newer = [number for number in found if number > last]
    assert sorted(found[: len(found) - len(newer)], reverse=True) + newer == found
    assert cat.pid in {each.number for each in processes()}


def test_after_the_highest_number_come_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.listdir", lambda _: ["1", "7", "40", "12", "300", "self"])
    monkeypatch.setattr("mailbell.agent._processes.newest", lambda: 12)
    assert numbers() == [12, 7, 1, 300, 40]


def test_without_descriptors_none_are_listed() -> None:
    code = """
    import resource
    from mailbell.agent._processes import newest, numbers, read
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    assert (newest(), numbers(), read(1)) == (0, [], None)
    """
    subprocess.run([sys.executable, "-c", "\n".join(map(str.strip, code.splitlines()))], check=True)

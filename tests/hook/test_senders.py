"""A sender that is gone, stopped, slow or full costs the notification, and no time."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from harness.ordinary import as_nobody
from harness.sender import PATIENCE
from hook.support import PATH, listening, logging, private, run, start

BACKLOG = 4096
REMEDY = "run: mailbell sender check"
# A sender that reads what comes, and prints it.
READS = """
import socket, sys
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen(4096)
    print("ready", flush=True)
    while True:
        connection = listener.accept()[0]
        with connection:
            print(connection.makefile().read().strip(), flush=True)
"""


@contextmanager
def reading(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a sender of its own process."""
    command = [sys.executable, "-c", READS, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def fill(path: Path, count: int) -> None:
    """Send as a hook does, without starting an interpreter each time."""
    for number in range(count):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            sock.connect(str(path))
            sock.send(b"new filler%d\n" % number)


def test_a_stopped_sender_loses_nothing_of_4000(tmp_path: Path) -> None:
    path = tmp_path / "hook"
    with reading(path) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGSTOP)
        for number in range(20):
            run("--socket", path, f"first{number}")
        fill(path, 3960)
        for number in range(20):
            run("--socket", path, f"last{number}")
        process.send_signal(signal.SIGCONT)
        told = [process.stdout.readline() for _ in range(4000)]
    assert told[:20] == [f"new first{number}\n" for number in range(20)]
    assert told[20:3980] == [f"new filler{number}\n" for number in range(3960)]
    assert told[3980:] == [f"new last{number}\n" for number in range(20)]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("error", ["EPIPE", "ECONNRESET"])
def test_a_sender_that_ends_between_connect_and_send_is_tried_once_more(
    tmp_path: Path, error: str
) -> None:
    """The socket stays: a service manager holds it for the next sender."""
    inject = f"inject=sendto:error={error}:when=1"
    with listening(tmp_path / "hook") as sender:
        run(
            "--socket", tmp_path / "hook", "alice",
            through=["strace", "-o", tmp_path / "calls", "-e", inject],
        )  # fmt: skip
        assert [line for line in sender.all() if line] == [b"new alice\n"]
    sent = [line for line in (tmp_path / "calls").read_text().splitlines() if "sendto" in line]
    assert len(sent) == 2


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_hook_does_the_same_with_a_stopped_sender_as_with_a_running_one(tmp_path: Path) -> None:
    """Not measured in seconds: the kernel is asked for the same, and answers the same."""

    def calls(path: Path) -> list[str]:
        traced = tmp_path / "calls"
        run("--socket", path, "alice", through=["strace", "-o", traced])
        lines = traced.read_text().splitlines()
        begin = next(number for number, line in enumerate(lines) if "AF_UNIX" in line)
        return lines[begin:]

    path = tmp_path / "hook"
    with reading(path) as process:
        running = calls(path)
        process.send_signal(signal.SIGSTOP)
        stopped = calls(path)
    assert stopped == running
    assert [line.partition("(")[0] for line in running[:4]] == ["socket", "connect", "sendto",
                                                                "close"]  # fmt: skip
    assert "SOCK_NONBLOCK" in running[0]
    # Then it looks whether standard input is a pipe, and ends.
    assert len(running) == 7
    assert running[5].startswith("exit_group(0)")


def test_if_no_more_fit_it_ends_all_the_same(tmp_path: Path) -> None:
    log_path = tmp_path / "log"
    (tmp_path / "hold").mkdir()
    with listening(tmp_path / "hook") as sender, logging(log_path) as log:
        fill(sender.path, _capacity())
        with pytest.raises(BlockingIOError):
            fill(sender.path, 1)
        run("alice", through=private(tmp_path / "hold", log=log_path, sender=sender.path))
        assert log.lines() == [
            f"not sent: '/run/mailbell-sender/hook': Resource temporarily unavailable; {REMEDY}"
        ]
        assert len(sender.all()) == _capacity()
        run("--socket", sender.path, "alice")
        assert sender.all() == [b"new alice\n"]


def _capacity() -> int:
    # unix(7), listen(2): the queue holds one more than the backlog, which the kernel limits.
    limit = int(Path("/proc/sys/net/core/somaxconn").read_text())
    return min(BACKLOG, limit) + 1


def test_without_an_option_it_tells_the_sender_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "hold").mkdir()
    with listening(tmp_path / "hook") as sender:
        hostile = {"MAILBELL_SOCKET": "/x", "MAILBELL_SENDER_SOCKET": "/x", "USER": "alice"}
        run(through=private(tmp_path / "hold", sender=sender.path), env=hostile)
        assert sender.all() == [b"new alice\n"]


def nothing(path: Path) -> None:
    """Leave nothing there."""


def a_dead_one(path: Path) -> None:
    with listening(path):
        pass


def a_file(path: Path) -> None:
    path.touch()


def a_folder(path: Path) -> None:
    path.mkdir()


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


WRONG = {
    nothing: "No such file or directory",
    a_dead_one: "Connection refused",
    a_file: "Connection refused",
    a_folder: "Connection refused",
    a_link_to_itself: "Too many levels of symbolic links",
}


@pytest.mark.parametrize(("made", "reason"), WRONG.items(), ids=[made.__name__ for made in WRONG])
def test_if_nobody_listens_it_says_so_and_ends(tmp_path: Path, made: object, reason: str) -> None:
    assert callable(made)
    made(tmp_path / "hook")
    (tmp_path / "hold").mkdir()
    with logging(tmp_path / "log") as log:
        run(
            "--socket", tmp_path / "hook", "alice", through=private(tmp_path / "hold", log=log.path)
        )
        (line,) = log.lines()
    assert line.endswith(f"/hook': {reason}; run: mailbell sender check")


def test_a_socket_of_another_kind(tmp_path: Path) -> None:
    with logging(tmp_path / "hook") as wrong:
        run("--socket", wrong.path, "alice")
        assert wrong.lines() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who becomes another user")
def test_a_socket_that_this_user_may_not_use(open_path: Path, empty_path: Path) -> None:
    with listening(open_path / "hook") as sender:
        nobody = as_nobody(empty_path)
        run("--socket", sender.path, "alice", through=nobody, env={"PATH": PATH})
        assert sender.all() == [b"new alice\n"]
        sender.path.chmod(0o600)
        run("--socket", sender.path, "alice", through=nobody, env={"PATH": PATH})
        assert sender.all() == []


def test_a_sender_that_answers_is_not_heard(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hook"))
        listener.listen()
        process = start("--socket", tmp_path / "hook", "alice", stdin=subprocess.PIPE)
        with process, listener.accept()[0] as connection:
            assert connection.recv(100) == b"new alice\n"
            os.set_blocking(connection.fileno(), False)
            # The hook may have closed already.
            with suppress(BrokenPipeError):
                connection.send(b"no\n" * 1000)
            assert process.communicate(b"", timeout=PATIENCE) == (b"", b"")
        assert process.returncode == 0


def test_a_sender_that_hangs_up_at_once_harms_nobody(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hook"))
        listener.listen()
        for _ in range(5):
            process = start("--socket", tmp_path / "hook", "alice")
            with process:
                listener.accept()[0].close()
                assert process.communicate(timeout=PATIENCE) == (b"", b"")
            assert process.returncode == 0


def test_a_slow_sender_delays_no_hook(tmp_path: Path) -> None:
    """It reads one byte after each hook."""
    with listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, "first")
        with sender.socket.accept()[0] as connection:
            for letter in b"new first\n":
                run("--socket", sender.path, "next")
                assert connection.recv(1)[0] == letter
        assert sender.all() == [b"new next\n"] * 10

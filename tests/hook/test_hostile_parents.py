"""What a mail server may have done to the process before it becomes the hook."""

import array
import fcntl
import itertools
import os
import resource
import signal
import socket
import subprocess
import termios
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from harness.child import run as in_child
from harness.daemon import until
from harness.sender import PATIENCE
from hook.support import HOOK, listening, private, run, start

STREAMS = (0, 1, 2)


def executed(prepare: Callable[[], object], *words: str | Path) -> tuple[int | None, bytes]:
    """Execute the hook in a child after some preparation; return its code and what it printed."""

    def child() -> None:
        prepare()
        os.execve(HOOK, [HOOK, *map(str, words)], {"USER": "alice"})

    ended = in_child(child, seconds=PATIENCE)
    return ended.code, ended.output


@pytest.mark.parametrize(
    "closed", [c for n in (1, 2, 3) for c in itertools.combinations(STREAMS, n)], ids=str
)
def test_closed_standard_streams(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """The hook's own sockets then have these numbers, and nothing is printed into them."""

    def prepare() -> None:
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        for descriptor in closed:
            os.close(descriptor)

    with listening(tmp_path / "hook") as sender:
        for words in (["alice"], ["--unless-spam", "alice"]):
            assert executed(prepare, "--socket", sender.path, *words) == (0, b"")
        assert executed(prepare, "--socket", tmp_path / "absent", "alice") == (0, b"")
        assert executed(prepare, "--nonsense") == (0, b"")
        assert sender.all() == [b"new alice\n"] * 2


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    def prepare() -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 1)
        os.dup2(full, 2)

    with listening(tmp_path / "hook") as sender:
        assert executed(prepare, "--socket", sender.path, "alice") == (0, b"")
        assert executed(prepare, "--socket", sender.path, "--nonsense") == (0, b"")
        assert sender.all() == [b"new alice\n"]


def ignore_all() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)


def block_all() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@pytest.mark.parametrize("prepare", [ignore_all, block_all])
def test_ignored_and_blocked_signals(tmp_path: Path, prepare: Callable[[], None]) -> None:
    with listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, "alice", preexec_fn=prepare)
        # SIGPIPE or not: the connection is gone before anything is written.
        run("--socket", tmp_path, "alice", preexec_fn=prepare)
        assert sender.all() == [b"new alice\n"]


ENDING = [
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGIO,
    signal.SIGPIPE,
    signal.SIGXFSZ,
]


@pytest.mark.parametrize("words", [(), ("--unless-spam",)], ids=str)
def test_a_signal_ends_it_with_0(tmp_path: Path, words: tuple[str, ...]) -> None:
    with listening(tmp_path / "hook") as sender:
        begun = {}
        for number in ENDING:  # one after another: each has a second for its input
            process = start("--socket", sender.path, "alice", *words, stdin=subprocess.PIPE)
            begun[number] = process
            assert process.stdin is not None
            process.stdin.write(b"x")
            process.stdin.flush()
            # It reads, so that it has said by now what signals do.
            until(partial(_is_empty, process.stdin.fileno()), f"the hook for {number}")
            process.send_signal(number)
        for number, process in begun.items():
            with process:
                assert process.communicate(timeout=PATIENCE) == (b"", b"")
            assert process.returncode == 0, number


def _is_empty(pipe: int) -> bool:
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0] == 0


def few_descriptors(count: int) -> Callable[[], None]:
    """Return what lowers the limit, with the lowest descriptors in use."""

    def prepare() -> None:
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        os.dup2(0, 1)
        os.closerange(3, 1000)
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))

    return prepare


def test_no_descriptor_to_spare(tmp_path: Path) -> None:
    """Three are in use. The interpreter needs a fourth, for the program."""
    with listening(tmp_path / "hook") as sender:
        for words in (["alice"], ["--unless-spam", "alice"]):
            assert executed(few_descriptors(4), "--socket", sender.path, *words) == (0, b"")
        assert executed(few_descriptors(4), "--socket", tmp_path / "absent", "alice") == (0, b"")
        assert sender.all() == [b"new alice\n"] * 2


def test_all_descriptors_in_use(tmp_path: Path) -> None:
    """Then not even the log can be told."""

    def prepare() -> None:
        few_descriptors(4)()
        os.close(0)

    # The interpreter opens the program as descriptor 0, and the socket is that too.
    with listening(tmp_path / "hook") as sender:
        assert executed(prepare, "--socket", sender.path, "alice") == (0, b"")
        assert sender.all() == [b"new alice\n"]


def test_limits_on_everything_else(tmp_path: Path) -> None:
    def prepare() -> None:
        block_all()
        for name in ("FSIZE", "CORE", "NPROC", "MEMLOCK", "SIGPENDING", "MSGQUEUE", "RTPRIO"):
            number = getattr(resource, f"RLIMIT_{name}", None)
            if number is not None:
                resource.setrlimit(number, (0, 0))
        os.umask(0o777)
        os.nice(5)

    with listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, "alice", preexec_fn=prepare)
        run("--socket", tmp_path / "absent", "alice", preexec_fn=prepare)
        assert sender.all() == [b"new alice\n"]


def test_no_exception_is_another_code(tmp_path: Path) -> None:
    """A program without memory fails at any place, so the test chooses some."""
    source = Path(HOOK).read_text()
    places = {
        "_log": ("line = f", "raise MemoryError; line = f"),
        "_line": ("words = [b", "raise MemoryError; words = [b"),
        "_send": ("connection.connect(path)", "raise MemoryError"),
        "_read": ("return posix.read(0, size)", "raise MemoryError"),
        "_drain": ("if posix.fstat(0)", "raise MemoryError\n        if posix.fstat(0)"),
        "main": ("main([", "raise KeyboardInterrupt; main(["),
    }
    program = tmp_path / "broken"
    with listening(tmp_path / "hook") as sender:
        for place, (old, new) in places.items():
            assert old in source
            program.write_text(source.replace(old, new, 1))
            for words in (("alice",), ("--unless-spam", "alice"), ("--nonsense",)):
                command = [
                    "/usr/bin/python3",
                    "-IS",
                    str(program),
                    "--socket",
                    str(sender.path),
                    *words,
                ]
                done = subprocess.run(
                    command, input=b"Subject: x", capture_output=True, check=False, env={}
                )
                assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), place


@pytest.mark.parametrize(
    "place", ['if b"--login" in options:\n', "if len(line) >", "connection = _socket."]
)
def test_a_command_is_executed_whatever_failed(tmp_path: Path, place: str) -> None:
    source = Path(HOOK).read_text()
    assert place in source
    program = tmp_path / "broken"
    program.write_text(source.replace(place, f"raise MemoryError\n    {place}", 1))
    command = ["/usr/bin/python3", "-IS", str(program), "alice", "--", "/bin/echo", "on"]
    done = subprocess.run(command, capture_output=True, check=False, env={})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"on\n", b"")


def test_without_proc(tmp_path: Path) -> None:
    (tmp_path / "hold").mkdir()
    with listening(tmp_path / "hook") as sender:
        through = private(tmp_path / "hold", sender=sender.path, proc=False)
        run("alice", through=through)
        run("alice", "--", "/bin/true", through=through)
        assert sender.all() == [b"new alice\n"] * 2


def test_from_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()

    def prepare() -> None:
        os.chdir(gone)
        gone.rmdir()

    with listening(tmp_path / "hook") as sender:
        assert executed(prepare, "--socket", sender.path, "alice") == (0, b"")
        assert sender.all() == [b"new alice\n"]


def test_inherited_connections_are_not_written_to(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, "alice", stdin=theirs, pass_fds=[theirs.fileno()])
        run("--nonsense", stdin=theirs, pass_fds=[theirs.fileno()])
        theirs.close()
        assert ours.recv(100) == b""

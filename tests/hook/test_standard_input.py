"""Standard input: a pipe is read within bounds, everything else is left alone, output is silent."""

import fcntl
import os
import pty
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from harness.child import run as in_child
from harness.sender import PATIENCE
from hook.support import listening, run, start

from mailbell import hook

MEBIBYTE = 1 << 20
LOGIN = {"USER": "anna", "IP": "192.0.2.10"}


@contextmanager
def piped() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe."""
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def written(writer: int, most: int) -> int:
    """Write until the reader has gone; return how much was written. Closes the pipe."""
    count = 0
    with os.fdopen(writer, "wb", buffering=0) as file, suppress(BrokenPipeError):
        while count < most:
            count += file.write(b"x" * 65536)
    return count


def fed(tmp_path: Path, most: int, *words: str) -> int:
    """Write to a hook; return how much was written before it closed."""
    reader, writer = os.pipe()
    # The hook has a second for all of it. So neither side waits for the other at each 64 KiB.
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, MEBIBYTE)
    with listening(tmp_path / "hook") as sender:
        process = start("--socket", sender.path, *words, "alice", stdin=reader)
        os.close(reader)
        with process:
            count = written(writer, most)
            assert process.wait(PATIENCE) == 0
        assert sender.all() == [b"new alice\n"]
    return count


@pytest.mark.parametrize("words", [(), ("--unless-spam",)], ids=str)
def test_a_mail_is_read_to_its_end(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert fed(tmp_path, 5 * MEBIBYTE, *words) == 5 * MEBIBYTE


def test_but_not_more_than_64_mebibytes(tmp_path: Path) -> None:
    # The pipe itself holds some of it.
    assert 64 * MEBIBYTE <= fed(tmp_path, 80 * MEBIBYTE) <= 66 * MEBIBYTE


def ignoring() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)


def blocking() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def test_a_pipe_that_never_ends_is_left_after_a_while(tmp_path: Path) -> None:
    """Whatever the mail server did with the signal that tells that the time is over."""
    with piped() as (reader, _), piped() as (endless, feed), listening(tmp_path / "hook") as sender:
        os.set_blocking(endless, False)
        os.write(feed, b"Subject: never ends\nX-Spam-Flag: no\n")
        at = ("--socket", sender.path, "alice")
        begun = [
            start(*at, stdin=reader),
            start(*at, stdin=reader, preexec_fn=ignoring),
            start(*at, stdin=reader, preexec_fn=blocking),
            start("--unless-spam", *at, stdin=reader),
            start("--unless-spam", *at, stdin=endless),
        ]
        # These do not wait before they tell.
        assert [sender.next() for _ in range(3)] == [b"new alice\n"] * 3
        for process in begun:
            with process:
                assert process.communicate(timeout=PATIENCE) == (b"", b"")
            assert process.returncode == 0
        assert sender.all() == [b"new alice\n"] * 2


def test_a_pipe_that_does_not_block_is_read_too(tmp_path: Path) -> None:
    with piped() as (reader, writer), listening(tmp_path / "hook") as sender:
        os.set_blocking(reader, False)
        with start("--socket", sender.path, "alice", stdin=reader) as process:
            assert sender.next() == b"new alice\n"
            os.write(writer, b"x")
            os.set_blocking(writer, False)
            assert process.wait(PATIENCE) == 0
        with pytest.raises(BlockingIOError):
            left(reader)


def left(descriptor: int) -> bytes:
    """Return what can be read now. A hook that has read it is an error, not a wait."""
    os.set_blocking(descriptor, False)
    return os.read(descriptor, 100)


@contextmanager
def a_file() -> Iterator[int]:
    found = os.memfd_create("mail")
    os.write(found, b"mail\n\n")
    os.lseek(found, 1, os.SEEK_SET)
    yield found
    assert os.read(found, 100) == b"ail\n\n"
    os.close(found)


@contextmanager
def a_pipe() -> Iterator[int]:
    with piped() as (reader, writer):
        os.write(writer, b"mail\n\n")
        yield reader
        assert left(reader) == b"mail\n\n"


@contextmanager
def a_connection() -> Iterator[int]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"mail\n\n")
        yield theirs.fileno()
        assert left(theirs.fileno()) == b"mail\n\n"


@contextmanager
def a_terminal() -> Iterator[int]:
    ours, theirs = pty.openpty()
    os.write(ours, b"mail\n")
    yield theirs
    assert left(theirs) == b"mail\n"
    os.close(ours)
    os.close(theirs)


Input = Callable[[], AbstractContextManager[int]]


@pytest.mark.parametrize("made", [a_file, a_connection, a_terminal])
def test_what_is_no_pipe_is_not_read(tmp_path: Path, made: Input) -> None:
    with made() as descriptor, listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, "alice", stdin=descriptor)
        assert sender.all() == [b"new alice\n"]


@pytest.mark.parametrize("made", [a_file, a_pipe, a_connection, a_terminal])
def test_a_login_touches_neither_standard_input_nor_output(tmp_path: Path, made: Input) -> None:
    """Under Courier both are the client's own connection."""
    with made() as descriptor, listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, "--login", env=LOGIN, stdin=descriptor)
        run("--login", "--wrong", stdin=descriptor)
        run("--socket", "/absent", "--login", env=LOGIN, stdin=descriptor)
        assert sender.all() == [b"seen anna 192.0.2.10\n"]


def test_a_command_gets_its_mail_whole(tmp_path: Path) -> None:
    with piped() as (reader, writer), listening(tmp_path / "hook") as sender:
        os.write(writer, b"mail")
        for words in ([], ["--unless-spam"], ["--wrong"]):
            run("--socket", sender.path, *words, "alice", "--", "/bin/true", stdin=reader)
        assert left(reader) == b"mail"
        assert sender.all() == [b"new alice\n"]


# --- --unless-spam --------------------------------------------------------------

SILENT = [
    b"X-Spam-Flag: YES\n\n",
    b"From alice@example.org Thu Nov 26 06:00:00 2026\nSubject: x\nX-Spam-Flag: YES\n\nbody",
    b"Subject: x\r\nX-Spam-Status: Yes, score=1000.0 required=5.0\r\n\r\n",
    b"Subject: x\nX-Virus-Status: Infected (Eicar-Test-Signature.UNOFFICIAL)\n\n",
    b"x-spam-flag:yes\n",
    b"X-SPAM-FLAG :\tYes\n\n",
    b"X-Spam-Status:\n Yes, score=9\n\n",
    b"X-Spam-Status:\r\n\t Yes\r\n\r\n",
    b"X-Spam-Flag: NO\nX-Spam-Flag: YES\n\n",
    b"Subject: \xff\x00\nX-Spam-Flag: YES\n\n",
    b"A: " + b"x" * 60_000 + b"\nX-Spam-Flag: YES\n\n",
]  # fmt: skip
RINGS = [
    b"",
    b"\n",
    b"Subject: ham\n\nX-Spam-Flag: YES\n\n",
    b"\nX-Spam-Flag: YES\n\n",
    b"\r\nX-Spam-Flag: YES\r\n\r\n",
    b"Subject: ham\r\n\r\nX-Spam-Flag: YES\r\n\r\n",
    b"X-Spam-Flag: NO\nX-Spam-Status: No, score=-1.0\nX-Virus-Status: Clean\n\n",
    b"Subject: x\n X-Spam-Flag: YES\n\n",
    b"X-Spam-Flag-Reason: YES\nNot-X-Spam-Flag: YES\n\n",
    b"X-Spam-Flag YES\n\n",
    b"X-Spam-Flag: MAYBE YES\n\n",
    b"A: " + b"x" * (1 << 20) + b"\nX-Spam-Flag: YES\n\n",
]


@pytest.mark.parametrize(
    ("header", "marked"), [*((h, True) for h in SILENT), *((h, False) for h in RINGS)]
)
def test_what_a_filter_has_marked_is_known(header: bytes, marked: bool) -> None:
    assert hook._is_marked(header[: hook._HEADER]) is marked


def told_of(tmp_path: Path, *parts: bytes) -> list[bytes]:
    """Return what a hook sends of a mail that comes in parts."""
    with listening(tmp_path / "hook") as sender:
        with start("--socket", sender.path, "--unless-spam", "alice", stdin=-1) as process:
            assert process.stdin is not None
            for part in parts:
                process.stdin.write(part)
                process.stdin.flush()
            process.stdin.close()
            assert process.wait(PATIENCE) == 0
        return sender.all()


def test_spam_is_silent_and_all_of_it_is_read(tmp_path: Path) -> None:
    body = b"x" * MEBIBYTE
    assert told_of(tmp_path, SILENT[1], body) == []
    (tmp_path / "hook").unlink()
    assert told_of(tmp_path, RINGS[2], body) == [b"new alice\n"]
    (tmp_path / "hook").unlink()
    assert told_of(tmp_path, RINGS[-1], body) == [b"new alice\n"]


def test_a_mark_at_the_end_of_a_long_header_is_read(tmp_path: Path) -> None:
    """Milters and Exim put their fields behind those of the mail's sender."""
    padding = b"".join(b"X-Pad: %0900d\n" % number for number in range(1000))
    assert told_of(tmp_path, padding, b"X-Spam-Flag: YES\n\n", b"x" * MEBIBYTE) == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_the_end_of_the_header_may_come_in_parts(end: bytes) -> None:
    """Otherwise the hook would wait for a mail that stays open."""
    mail = b"Subject: x" + end + end

    def child() -> None:
        os.close(0)
        for at in range(len(mail)):
            for part in ([mail[:at], mail[at:]], [mail[n : n + 1] for n in range(len(mail))]):
                parts = iter(filter(None, part))
                vars(hook)["_read"] = lambda _, parts=parts: next(parts)
                header = bytearray()
                hook._read_header(header)
                assert header == mail

    ended = in_child(child)
    assert ended.error is None, ended


def test_a_header_that_stays_away_is_judged_by_what_came(tmp_path: Path) -> None:
    with piped() as (reader, writer), listening(tmp_path / "hook") as sender:
        os.write(writer, b"X-Spam-Flag: YES\nSubject: and then nothing\n")
        run("--socket", sender.path, "--unless-spam", "alice", stdin=reader)
        assert sender.all() == []


@pytest.mark.parametrize("header", [SILENT[0], RINGS[2], b"Subject: no end"])
def test_a_file_is_left_where_it_was(tmp_path: Path, header: bytes) -> None:
    """The next program of the delivery may read the same one."""
    mail = b"before" + header
    descriptor = os.memfd_create("mail")
    os.write(descriptor, mail + b"body")
    os.lseek(descriptor, 6, os.SEEK_SET)
    with listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, "--unless-spam", "alice", stdin=descriptor)
        assert len(sender.all()) == (header is not SILENT[0])
    assert os.read(descriptor, 1000) == header + b"body"
    os.close(descriptor)

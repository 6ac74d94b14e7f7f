import os
import re
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness.sender import PATIENCE
from hypothesis import given
from hypothesis import strategies as st

from mailbell.agent import log
from mailbell.agent._lines import MAX_LINE
from mailbell.agent.log import Log
from mailbell.logs.journal import BURST, Level

PIPE = 65_536  # bytes that a pipe holds
LINES = 400  # more long lines than a pipe or a socket holds


class Reader:
    """Reads what a log writes. Stands in for standard error and its reader."""

    def __init__(self, ends: tuple[int, int]) -> None:
        self.descriptor, self.writer = ends
        self.log = Log({}, lambda: 0.0, descriptor=self.writer)

    def lines(self) -> list[str]:
        """Return what was written since the last call."""
        data = b""
        while select.select([self.descriptor], [], [], 0)[0]:
            data += os.read(self.descriptor, PIPE)
        assert not data or data.endswith(b"\n")
        return data.decode("ascii").splitlines()

    def close(self) -> None:
        for number in (self.descriptor, self.writer):
            with suppress(OSError):  # a test has closed it
                os.close(number)


def local_socket() -> tuple[int, int]:
    """The standard error of a service under systemd."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIPE)
    return ours.detach(), theirs.detach()


@pytest.fixture
def reader() -> Iterator[Reader]:
    reader = Reader(os.pipe())
    yield reader
    reader.close()


@pytest.fixture(params=[os.pipe, local_socket])
def stopped(request: pytest.FixtureRequest) -> Iterator[Reader]:
    """A reader that the log must not wait for. A test that waits without end fails."""

    def too_long(*_: object) -> None:
        pytest.fail("the log waits for its reader")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    reader = Reader(request.param())
    yield reader
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    reader.close()


def test_one_event_is_one_line(reader: Reader) -> None:
    reader.log.log(Level.INFO, "run", job="work", cause="network", count=3, problem=None)
    reader.log.log(Level.ERROR, "stopping")
    assert reader.lines() == ["event=run job=work cause=network count=3", "event=stopping"]


def test_what_a_command_prints_is_a_line_too(reader: Reader) -> None:
    reader.log.output("work", b'Error: "\xc3\xbc"\r')
    reader.log.output("work", b"")
    assert reader.lines() == [
        r'event=output job=work line="Error: \"\xc3\xbc\"\r"',
        'event=output job=work line=""',
    ]


def test_systemd_reads_the_level_from_a_prefix(reader: Reader) -> None:
    status = os.fstat(reader.writer)
    log = Log(
        {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
        lambda: 0.0,
        descriptor=reader.writer,
    )
    log.log(Level.WARNING, "deaf")
    log.output("work", b"hello")
    assert reader.lines() == ["<4>event=deaf", "<6>event=output job=work line=hello"]


def test_a_long_line_of_output_is_told_to_its_end(reader: Reader) -> None:
    reader.log.output("work", b"x" * MAX_LINE + b"no")
    reader.log.output("work", b"\0" * MAX_LINE)
    assert [len(line) for line in reader.lines()] == [MAX_LINE + 27, 4 * MAX_LINE + 29]


@given(st.binary(max_size=2 * MAX_LINE), st.text(max_size=400))
def test_nothing_printed_can_forge_a_line_or_reach_a_terminal(line: bytes, name: str) -> None:
    reader = Reader(os.pipe())
    try:
        reader.log.output(name, line)
        reader.log.log(Level.INFO, "run", job=name, problem=line, then=name)
        first, second = reader.lines()
    finally:
        reader.close()
    for text in (first, second):
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < select.PIPE_BUF
    word = r'(?:[^ "=\\]+|"(?:[^"\\]|\\.)*"?)'
    assert re.fullmatch(rf"event=output(?: job={word}(?: line={word})?)", first)


def test_a_job_that_goes_wrong_hides_no_other(reader: Reader) -> None:
    for _ in range(BURST + 5):
        reader.log.log(Level.WARNING, "ran", job="work")
    reader.log.log(Level.WARNING, "ran", job="home")
    reader.log.log(Level.WARNING, "ran")
    lines = reader.lines()
    assert len(lines) == BURST + 2
    assert lines[-2:] == ["event=ran job=home", "event=ran"]


def test_what_commands_print_is_not_held_back(reader: Reader) -> None:
    for _ in range(10 * BURST):
        reader.log.output("work", b"x")
    assert len(reader.lines()) == 10 * BURST


@pytest.mark.uncounted
def test_a_reader_that_stops_holds_nobody_up_and_hears_of_it_later(stopped: Reader) -> None:
    for _ in range(LINES):
        stopped.log.output("work", b"x" * MAX_LINE)
    heard = stopped.lines()
    assert 0 < len(heard) < LINES
    assert {len(line) for line in heard} == {MAX_LINE + 27}
    stopped.log.output("work", b"y")
    stopped.log.output("work", b"z")
    assert stopped.lines() == [
        f"event=lost lines={LINES - len(heard)}",
        "event=output job=work line=y",
        "event=output job=work line=z",
    ]


@pytest.mark.parametrize("size", [1, 25, 250, 1_000])
def test_wherever_a_reader_stops_it_holds_nobody_up(stopped: Reader, size: int) -> None:
    while not stopped.log._lost:
        stopped.log.output("work", b"\0" * size)
    assert stopped.lines()


def test_a_line_never_needs_more_room_than_a_pipe_gives_at_once(reader: Reader) -> None:
    worst = "\U0010ffff" * 1_000
    reader.log.log(Level.INFO, "ran", job=worst, problem=worst)
    reader.log.log(Level.INFO, "ran", job="work")
    first, second = reader.lines()
    assert len(first) == select.PIPE_BUF - 1
    assert second == "event=ran job=work"


@pytest.mark.uncounted
def test_a_reader_that_is_slow_is_waited_for(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_PATIENCE", PATIENCE)  # for slow machines
    with open(reader.descriptor, "rb", closefd=False) as file:
        heard: list[bytes] = []
        listening = threading.Thread(target=lambda: heard.extend(file))
        listening.start()
        for _ in range(LINES):
            reader.log.output("work", b"x" * MAX_LINE)
        os.close(reader.writer)
        listening.join()
    assert len(heard) == LINES


def test_the_waits_for_a_slow_reader_have_a_bound(reader: Reader) -> None:
    """Nothing else runs meanwhile. Here each line has to wait for half of what is left."""
    now = 0.0
    waits: list[float] = []

    class Slow:
        def poll(self, milliseconds: float) -> bool:
            nonlocal now
            if milliseconds:
                now += milliseconds / 2000
                waits.append(milliseconds)
            return bool(milliseconds)

    slow = Log({}, lambda: now, descriptor=reader.writer)
    slow._room = Slow()  # type: ignore[assignment]
    for _ in range(1_000):
        slow.output("work", b"x")
    assert waits
    assert now < 0.5


def gone(reader: Reader) -> None:
    os.close(reader.descriptor)


def closed(reader: Reader) -> None:
    os.close(reader.writer)


def not_for_writing(reader: Reader) -> None:
    os.dup2(reader.descriptor, reader.writer)


def full_and_not_waited_for(reader: Reader) -> None:
    os.set_blocking(reader.writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(reader.writer, b"x")


@pytest.mark.parametrize("spoil", [gone, closed, not_for_writing, full_and_not_waited_for])
def test_without_standard_error_it_goes_on(reader: Reader, spoil: Callable[[Reader], None]) -> None:
    spoil(reader)
    for _ in range(3):
        reader.log.log(Level.ERROR, "deaf")
        reader.log.output("work", b"hello")
    assert reader.log._lost == 6


def test_a_file_is_written_as_well(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as file:
        Log({}, lambda: 0.0, descriptor=file.fileno()).log(Level.INFO, "run", job="work")
    assert path.read_text() == "event=run job=work\n"

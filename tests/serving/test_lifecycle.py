"""What every daemon does from its start to its end, step by step."""

import errno
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Iterator

import pytest
import trio
from trio.testing import MockClock

from mailbell._sys.systemd import Notifier
from mailbell.core.errors import OperatingSystemError
from mailbell.logs.journal import Journal, Level
from mailbell.serving import lifecycle


class Manager(Notifier):
    """A service manager that keeps what it is told."""

    def __init__(
        self, *, interval: float | None = None, connected: bool = True, takes: bool = True
    ) -> None:
        super().__init__({}, os.getpid())
        self.watchdog_interval = interval
        self.told: list[tuple[str, float]] = []
        self._is_connected, self._takes = connected, takes

    @property
    def connected(self) -> bool:
        return self._is_connected

    def ready(self) -> bool:
        self.told.append(("ready", 0.0))
        return self._takes

    def watchdog(self) -> bool:
        self.told.append(("alive", trio.current_time()))
        return True


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def journal(lines: list[str]) -> Journal:
    return Journal(lines.append, lambda: 0.0, prefixed=True)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the actions of all signals back."""
    numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, action in before.items():
        if action is not None and signal.getsignal(number) is not action:
            signal.signal(number, action)


def test_the_clocks_are_microseconds() -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    between = lifecycle.boottime()
    assert before // 1000 <= between <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    assert type(between) is int
    before = time.time_ns()
    between = lifecycle.wall_clock()
    assert before // 1000 <= between <= time.time_ns() // 1000
    assert type(between) is int


def test_the_log_is_standard_error_without_levels(capfd: pytest.CaptureFixture[str]) -> None:
    lifecycle.make_journal().log(Level.ERROR, "one", of="two")
    assert capfd.readouterr() == ("", "event=one of=two\n")


def test_the_log_has_the_clock_that_is_never_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lifecycle.make_journal()._clock is time.monotonic


@pytest.mark.parametrize("written", [0, 9, OSError(errno.EPIPE, "no reader")])
def test_a_line_that_does_not_go_is_lost_and_counted(
    monkeypatch: pytest.MonkeyPatch, written: int | OSError
) -> None:
    def write(descriptor: int, data: bytes) -> int:
        if isinstance(written, OSError):
            raise written
        return written

    monkeypatch.setattr(os, "write", write)
    journal = lifecycle.make_journal()
    journal.log(Level.ERROR, "one")
    assert journal.suppressed == 1


@pytest.mark.usefixtures("handlers")
async def test_the_ending_signals_and_the_one_of_terminals_are_taken() -> None:
    queue = lifecycle.signal_queue()
    for number in (signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
        assert await anext(queue) == number
    queue.give_back()


@pytest.mark.usefixtures("handlers")
def test_at_the_end_three_signals_are_ignored() -> None:
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    lifecycle.ignore_signals()
    assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 3


async def signals(*numbers: signal.Signals) -> AsyncGenerator[signal.Signals, None]:
    for number in numbers:
        yield number


async def test_a_hangup_is_logged_and_another_signal_ends(
    journal: Journal, lines: list[str]
) -> None:
    told = signals(signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    await lifecycle.until_told(told, journal)
    assert lines == [
        '<5>event=reload_ignored signal=SIGHUP reason="locked in: restart to change"',
        "<5>event=stopping signal=SIGTERM",
    ]
    assert await anext(told) == signal.SIGINT, "nothing is taken after the end"
    await told.aclose()


async def test_without_a_watchdog_nothing_is_said() -> None:
    manager = Manager()
    await lifecycle.feed_watchdog(manager)
    assert manager.told == []


@pytest.mark.parametrize(
    ("asked", "given"), [(3.0, [0.0, 3.0, 6.0]), (0.001, [0.0, 0.01, 0.02]), (0.0, [0.0, 0.01])]
)
async def test_the_watchdog_is_fed_as_often_as_it_asks_but_not_without_a_rest(
    autojump_clock: MockClock, asked: float, given: list[float]
) -> None:
    manager = Manager(interval=asked)
    with trio.move_on_after(given[-1] + 0.001):
        began = trio.current_time()
        await lifecycle.feed_watchdog(manager)
    assert [at - began for _, at in manager.told][: len(given)] == pytest.approx(given)


@pytest.mark.parametrize(
    ("connected", "takes", "warned"),
    [(True, True, 0), (False, False, 0), (True, False, 1)],
)
def test_that_it_serves_is_told_or_else_logged(
    journal: Journal, lines: list[str], connected: bool, takes: bool, warned: int
) -> None:
    manager = Manager(connected=connected, takes=takes)
    lifecycle.say_ready(manager, journal)
    assert manager.told == [("ready", 0.0)]
    line = '<4>event=ready_untold why="NOTIFY_SOCKET takes no message"'
    assert lines == [line] * warned


@pytest.fixture
def hook() -> Iterator[None]:
    """Restore what shows the errors that nobody can take."""
    yield
    sys.unraisablehook = sys.__unraisablehook__


def break_loop() -> None:
    """Have the event loop fail, as it does if the kernel refuses to wait."""
    raise OSError(errno.ENOMEM, "refused")


@pytest.mark.usefixtures("hook")
def test_it_passes_the_arguments_on() -> None:
    seen: list[object] = []

    async def serve(*arguments: object) -> None:
        seen.extend(arguments)

    lifecycle.run_event_loop(serve, 1, "two")
    assert seen == [1, "two"]


@pytest.mark.usefixtures("hook")
def test_a_loop_that_does_not_start_is_an_error_of_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trio, "run", lambda _: break_loop())
    with pytest.raises(OSError, match="refused"):
        lifecycle.run_event_loop(trio.sleep, 0)
    assert sys.unraisablehook is sys.__unraisablehook__


@pytest.mark.usefixtures("hook")
def test_a_loop_that_fails_later_says_so_and_nothing_else() -> None:
    async def serve() -> None:
        break_loop()

    with pytest.raises(OperatingSystemError, match=r"^the event loop failed: refused; see what"):
        lifecycle.run_event_loop(serve)
    assert sys.unraisablehook is not sys.__unraisablehook__

"""`mailbell top` takes the whole terminal, and restores it however it ends."""

import os
import shlex
import signal
import sys
import termios
import time

import pytest
from cli.support import FakeDaemon, words
from cli.terminal import Terminal
from harness.daemon import until

TOP = words("mailbell", "top")
# xterm's control sequences: the other screen and the cursor.
TAKEN = ("\x1b[?1049h", "\x1b[?25l")
GIVEN = ("\x1b[?1049l", "\x1b[?25h")
CTRL_C, CTRL_S, CTRL_Z, CTRL_BACKSLASH = b"\x03", b"\x13", b"\x1a", b"\x1c"
LOCAL_MODES = 3  # the index in the result of termios.tcgetattr


def assert_given_back(terminal: Terminal) -> None:
    for taken, given in zip(TAKEN, GIVEN, strict=True):
        assert taken in terminal.drawn
        assert terminal.drawn.rindex(given) > terminal.drawn.rindex(taken)
    assert terminal.modes() == terminal.modes_before
    assert "Traceback" not in terminal.drawn


@pytest.mark.parametrize(
    "number",
    [
        "INT",
        "TERM",
        "HUP",
        "QUIT",
        "USR1",
        "USR2",
        "ALRM",
        "VTALRM",
        "PROF",
        "XCPU",
        "STKFLT",
        "IO",
        "PWR",
        "RTMIN",
        "RTMAX",
    ],
)
def test_it_is_given_back_after_a_signal(
    environment: dict[str, str], daemon: FakeDaemon, number: str
) -> None:
    told = signal.Signals[f"SIG{number}"]
    with Terminal(TOP, environment) as terminal:
        terminal.until_shown("connected")
        assert terminal.ended(told) == 128 + told
        assert_given_back(terminal)


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (b"q", 0),
        (b"Q", 0),
        (CTRL_C, 128 + signal.SIGINT),
        (CTRL_BACKSLASH, 128 + signal.SIGQUIT),
    ],
)
def test_keys_end_it(
    environment: dict[str, str], daemon: FakeDaemon, keys: bytes, code: int
) -> None:
    with Terminal(TOP, environment) as terminal:
        terminal.until_shown("connected")
        terminal.press(keys)
        assert terminal.exit_status() == code
        assert_given_back(terminal)


def test_a_terminal_that_is_halted_does_not_keep_it(
    environment: dict[str, str], daemon: FakeDaemon
) -> None:
    with Terminal(TOP, environment) as terminal:
        terminal.until_shown("connected")
        terminal.press(CTRL_S)
        assert terminal.ended(signal.SIGTERM) == 128 + signal.SIGTERM
        assert terminal.modes() == terminal.modes_before


def test_other_keys_do_nothing_and_are_not_shown(
    environment: dict[str, str], daemon: FakeDaemon
) -> None:
    with Terminal(TOP, environment) as terminal:
        terminal.until_shown("connected")
        assert not terminal.modes()[LOCAL_MODES] & (termios.ECHO | termios.ICANON)
        terminal.press(b"xyz\x1bOq\n\x04")
        daemon.status["version"] = "9.9.9"
        terminal.until_shown("mailbelld 9.9.9")
        assert "xyz" not in terminal.drawn
        terminal.press(b"q")
        assert terminal.exit_status() == 0


def test_it_ends_when_the_terminal_is_closed(
    environment: dict[str, str], daemon: FakeDaemon
) -> None:
    with Terminal(TOP, environment) as terminal:
        terminal.until_shown("connected")
        terminal.close()
        assert terminal.process.wait(30) == 128 + signal.SIGHUP


def test_it_ends_once_however_often_it_is_told(
    environment: dict[str, str], daemon: FakeDaemon
) -> None:
    """When the terminal is closed, the kernel and the thread of the keys both send SIGHUP."""
    with Terminal(TOP, environment) as terminal:
        terminal.until_shown("connected")
        terminal.close()
        end = time.monotonic() + 30
        while terminal.process.poll() is None and time.monotonic() < end:
            terminal.process.send_signal(signal.SIGHUP)
        assert terminal.process.returncode == 128 + signal.SIGHUP


def test_it_is_given_back_before_an_error_is_told(
    environment: dict[str, str], daemon: FakeDaemon
) -> None:
    with Terminal(TOP, environment) as terminal:
        terminal.until_shown("connected")
        daemon.status["pid"] = "many"
        assert terminal.exit_status() == 65
        assert_given_back(terminal)
        error = terminal.drawn.rindex("mailbell: ")
        assert error > max(map(terminal.drawn.rindex, GIVEN))


def test_it_is_given_back_after_a_bug(environment: dict[str, str], daemon: FakeDaemon) -> None:
    broken = (
        "from mailbell.cli import main, top\n"
        "def fail(*_): raise ZeroDivisionError\n"
        "top._gather = fail\n"
        "main()"
    )
    with Terminal([sys.executable, "-c", broken, "top"], environment) as terminal:
        assert terminal.exit_status() == 70
        assert terminal.modes() == terminal.modes_before
        assert terminal.drawn.rindex("Traceback") > max(map(terminal.drawn.rindex, GIVEN))


def test_without_a_keyboard_it_is_ended_by_signals(
    environment: dict[str, str], daemon: FakeDaemon
) -> None:
    line = ["sh", "-c", f"exec {shlex.join(TOP)} </dev/null"]
    with Terminal(line, environment) as terminal:
        terminal.until_shown("connected")
        assert terminal.modes() == terminal.modes_before
        assert terminal.ended(signal.SIGTERM) == 128 + signal.SIGTERM
        assert_given_back(terminal)


def test_a_signal_that_is_ignored_stays_so(environment: dict[str, str], daemon: FakeDaemon) -> None:
    """For example, nohup(1) ignores SIGHUP."""
    line = ["sh", "-c", f"trap '' HUP; exec {shlex.join(TOP)}"]
    with Terminal(line, environment) as terminal:
        terminal.until_shown("connected")
        terminal.process.send_signal(signal.SIGHUP)
        daemon.status["version"] = "9.9.9"
        terminal.until_shown("mailbelld 9.9.9")
        terminal.press(b"q")
        assert terminal.exit_status() == 0


class Shell(Terminal):
    """A shell with job control, as a person has it; it tells of its jobs at once (-b)."""

    def __init__(self, environment: dict[str, str]) -> None:
        line = ["bash", "--norc", "--noprofile", "--noediting", "-bi"]
        super().__init__(line, environment | {"PS1": "ready> ", "HISTFILE": ""})
        self.until_written("ready> ")
        self.modes_before = self.modes()

    def enter(self, command: str) -> None:
        self.drawn = ""
        self.press(f"{command}\n".encode())


@pytest.mark.parametrize("stop", ["key", "SIGSTOP"])
def test_it_stops_and_goes_on(environment: dict[str, str], daemon: FakeDaemon, stop: str) -> None:
    with Shell(environment) as shell:
        shell.enter(shlex.join(TOP))
        shell.until_shown("connected")
        running = shell.modes()
        if stop == "key":
            shell.press(CTRL_Z)
        else:
            os.kill(shell.foreground(), signal.SIGSTOP)
        shell.until_written("Stopped")
        if stop == "key":
            # The shell's prompt is in its place again, with a cursor.
            stopped = shell.drawn.index("Stopped")
            assert all(shell.drawn.index(given) < stopped for given in GIVEN)
            until(lambda: shell.modes() == shell.modes_before, "the modes of the terminal")
        daemon.status["version"] = "9.9.9"
        shell.enter("fg")
        shell.until_shown("mailbelld 9.9.9")
        assert shell.modes() == running
        shell.press(b"q")
        shell.until_written("ready> ")
        until(lambda: shell.modes() == shell.modes_before, "the modes of the terminal")
        assert all(given in shell.drawn for given in GIVEN)
        shell.enter("echo status $?")
        shell.until_written("status 0")


def test_stopped_it_can_be_ended_and_leaves_the_terminal_alone(
    environment: dict[str, str], daemon: FakeDaemon
) -> None:
    with Shell(environment) as shell:
        shell.enter(shlex.join(TOP))
        shell.until_shown("connected")
        shell.press(CTRL_Z)
        shell.until_written("Stopped")
        shell.until_written("ready> ")
        shell.enter("kill %1")
        shell.until_written(f"Exit {128 + signal.SIGTERM}")
        assert not any(taken in shell.drawn for taken in TAKEN)
        until(lambda: shell.modes() == shell.modes_before, "the modes of the terminal")


def test_in_the_background_it_waits_for_the_terminal(
    environment: dict[str, str], daemon: FakeDaemon
) -> None:
    with Shell(environment) as shell:
        shell.enter(f"{shlex.join(TOP)} &")
        shell.until_written("ready> ")
        daemon.subscribed.wait(30)
        shell.enter("")
        shell.until_written("ready> ")
        shell.enter("fg")
        shell.until_shown("connected")
        shell.press(b"q")
        shell.until_written("ready> ")
        assert_given_back(shell)

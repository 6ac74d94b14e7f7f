"""A daemon that hangs: every command that asks it ends in time, with one line that says why."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from system.support import program

from mailbell.client import Client

# The client waits for 10 seconds. Most of these tests shorten that in the command's process.
HURRIED: Final = """
import sys
from mailbell.client import Client
Client.__init__.__kwdefaults__["timeout"] = 0.5
from mailbell.cli import main
main()
"""
COMMANDS: Final = [
    "status", "status --json", "top", "notify", "notify default", "watch", "watch --timeout 60",
]  # fmt: skip


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that was ready, and is stopped now."""
    with started(tmp_path, configuration(tmp_path)) as daemon:
        os.kill(daemon.pid, signal.SIGSTOP)
        yield daemon
        os.kill(daemon.pid, signal.SIGCONT)


def all_at_once(daemon: Daemon, commands: Sequence[str]) -> dict[str, tuple[int, str, str]]:
    """Start all commands; return the exit code, the output and the errors of each of them."""
    ended = {}
    with ExitStack() as stack:
        processes = {
            words: stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", HURRIED, *words.split(), "--socket", str(daemon.path)],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for words in commands
        }  # fmt: skip
        try:
            for words, process in processes.items():
                output, errors = process.communicate(timeout=PATIENCE)
                ended[words] = process.returncode, output, errors
        finally:
            for process in processes.values():
                process.kill()
    return ended


def test_a_stopped_daemon_is_given_up_with_one_line(hung: Daemon) -> None:
    what = "mailbell: the daemon did not answer within 0.5 seconds; try again; if it stays silent,"
    what += " it hangs: end it and start it again, as `systemctl restart mailbelld` does\n"
    assert all_at_once(hung, COMMANDS) == dict.fromkeys(COMMANDS, (75, "", what))


def test_so_is_one_whose_queue_is_full(hung: Daemon) -> None:
    what = f"mailbell: the daemon at {hung.path} is too busy to answer; try again; if it stays"
    what += " silent, it hangs: end it and start it again, as `systemctl restart mailbelld` does\n"
    with ExitStack() as stack:
        error = 0
        while not error:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            error = waiting.connect_ex(str(hung.path))
        assert error == errno.EAGAIN
        some = ["status", "top", "notify", "watch"]
        assert all_at_once(hung, some) == dict.fromkeys(some, (75, "", what))


def test_the_time_that_a_person_gives_includes_the_wait_for_an_answer(hung: Daemon) -> None:
    begun = time.monotonic()
    ended = subprocess.run(
        [*program("mailbell", "watch"), "--timeout", "0.5", "--socket", str(hung.path)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert ended.returncode == 75
    assert "did not answer within 0.5 seconds; try again" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert time.monotonic() - begun < Client().timeout


# Asks after a fifth of a second.
WATCHFUL: Final = """
from mailbell.cli import main, watch
watch.QUIET, watch.PATIENCE = 0.2, 0.3
main()
"""


def test_who_watches_is_told_that_it_hangs_and_that_it_goes_on(tmp_path: Path) -> None:
    with started(tmp_path, configuration(tmp_path)) as daemon:
        line = [sys.executable, "-c", WATCHFUL, "watch", "--socket", str(daemon.path)]
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as watching:
            assert watching.stdout
            assert watching.stderr
            try:
                until(lambda: daemon.status().subscribers == 1)
                os.kill(daemon.pid, signal.SIGSTOP)
                silent = "mailbell: the daemon did not answer within 0.3 seconds; waiting for it\n"
                assert watching.stderr.readline() == silent
                os.kill(daemon.pid, signal.SIGCONT)
                assert watching.stderr.readline() == "mailbell: the daemon answers again\n"
                ring(daemon.endpoint())
                assert "tcp from 127.0.0.1" in watching.stdout.readline()
            finally:
                os.kill(daemon.pid, signal.SIGCONT)
                watching.kill()

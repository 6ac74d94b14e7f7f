"""`mailbell sender` and other Varlink clients at the real mailbell-sender, locked in."""

import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from harness.daemon import PATIENCE, until
from harness.ordinary import NOBODY
from harness.ports import free_port
from harness.sending import Sender, sender_configuration, sending

from mailbell.core.errors import TemporaryError
from mailbell.core.sender_outcome import InputOutcome, RingOutcome
from mailbell.interfaces.local_event import LocalEvent
from mailbell.interfaces.sender import SENDER, SENDER_INTERFACE, Verdict
from mailbell.sender._local_service import WATCHERS

pytestmark = pytest.mark.unwatched(reason="the sender does here what it does in other tests")

VARLINK = (sys.executable, "-W", "ignore", "-m", "varlink.cli")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def ear() -> Iterator[tuple[socket.socket, int]]:
    """A target that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(PATIENCE)
        yield sock, sock.getsockname()[1]


def toml(directory: Path, port: int, dead: int) -> str:
    return sender_configuration(
        directory,
        f"""
[last_used]
allow = ["127.0.0.0/8"]
[send]
port = {port}
[[account]]
name = "bob"
aliases = ["bob@example.org"]
targets = ["127.0.0.1", "last-used"]
[[account]]
name = "carol"
targets = ["127.0.0.1:{dead}"]
[[account]]
name = "dave"
enabled = false
""",
        listen=f'trusted = ["{pwd.getpwuid(os.geteuid()).pw_name}"]',
    )


@pytest.fixture
def sender(open_path: Path) -> Iterator[Sender]:
    with ear() as (_, port), sending(open_path, toml(open_path, port, free_port())) as it:
        yield it


@pytest.fixture
def run(sender: Sender) -> Run:
    """Runs `mailbell sender WORDS`."""

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        environ = {
            "MAILBELL_SENDER_SOCKET": str(sender.control),
            "MAILBELL_SENDER_USER": str(NOBODY),
        }
        return subprocess.run(
            [sys.executable, "-m", "mailbell", "sender", *words], env={**os.environ, **environ},
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    return run


def test_the_commands_at_the_real_sender(sender: Sender, run: Run) -> None:
    tested = run("test", "bob@example.org")
    assert (tested.returncode, tested.stderr) == (0, "")
    assert tested.stdout.startswith("1. bob has 2 targets\n   127.0.0.1:")
    assert "the address of the last login is NOT rung" in tested.stdout
    assert " was rung, in " in tested.stdout

    dead = run("test", "carol")
    assert dead.returncode == 69
    assert "could NOT be rung: nothing listens there" in dead.stdout
    again = run("test", "carol")
    assert "is NOT rung now: the last attempt failed (refused), the next is in " in again.stdout

    off = run("test", "dave")
    assert "is NOT rung: the account is switched off" in off.stdout
    assert (off.returncode, off.stderr.count("\n")) == (64, 1)
    assert run("ring", "bob").returncode == 0
    assert run("ring", "nobody-here").returncode == 64

    status = json.loads(run("status", "--json").stdout)
    assert status["pid"] == sender.pid
    assert set(status["inputs"]) == set(InputOutcome)
    assert set(status["rings"]) == set(RingOutcome)
    assert set(status["local"]) == set(LocalEvent)
    assert status["rings"]["sent"] >= 1
    assert status["latency"]["count"] == status["rings"]["sent"]
    assert status["backing_off"] == 1
    assert {"bob", "carol"} <= {account["name"] for account in status["accounts"]}
    assert "mailbell-sender" in run("status").stdout
    assert "sandbox ok" in run("top", "--once").stdout
    assert "mailbell_sender_rings_total" in run("status", "--prometheus").stdout


def test_a_login_is_explained_and_rung(sender: Sender, run: Run) -> None:
    client = sender.client()
    client.seen("bob", "127.0.0.1")
    steps = client.explain("bob").steps
    assert [step.verdict for step in steps if step.seen is not None] == [Verdict.RING]
    told = run("test", "bob").stdout
    assert "(a login " in told


def test_watchers_that_read_nothing_delay_nobody(sender: Sender) -> None:
    """They take all places for watchers. The sender's memory and answers stay as they are."""
    call = json.dumps({"method": f"{SENDER}.Watch", "more": True}).encode() + b"\0"
    with ExitStack() as stack:
        for _ in range(WATCHERS):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(str(sender.control))
            silent.sendall(call)
        until(lambda: sender.status().watchers == WATCHERS, "all watchers")
        with pytest.raises(TemporaryError, match=f"no more than {WATCHERS} watchers"):
            sender.client().watch()
        before = resident(sender.pid)
        for _ in range(20):
            sender.say("\n".join(["new bob"] * 200))
        until(lambda: sender.status().inputs["accepted"] == 4000, "all lines")
        status = sender.status()
        # Each line rings the configured target, and finds that nobody has logged in.
        assert sum(status.rings.values()) >= 4000
        assert resident(sender.pid) - before < 8 << 20
    until(lambda: sender.status().watchers == 0, "the end of the watchers")


def resident(pid: int) -> int:
    """Return how much memory a process uses, in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


def test_varlink_reads_its_text(sender: Sender) -> None:
    done = subprocess.run(
        [*VARLINK, "help", f"unix:{sender.control}/{SENDER}"],
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == SENDER_INTERFACE.text.strip()

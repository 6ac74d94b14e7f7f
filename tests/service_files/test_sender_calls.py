"""`SystemCallFilter=` of the sender's unit lets it start, lock itself in, and do its work."""

import os
import pwd
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from harness.activation import listening, passing
from harness.daemon import until
from harness.engine import engine
from harness.ordinary import NOBODY, as_nobody
from harness.ringer import Ringer, ringing, settings
from harness.sender import LINE, PATIENCE
from service_files.test_sender_units import permitted

# The sender tries to regain a capability, because the kernel must refuse it.
TRIED: Final = {"capset"}
ACCOUNTS: Final = """
[last_used]
allow = ["127.0.0.0/8"]
[[account]]
name = "alice"
targets = ["localhost"]
[[account]]
name = "bob"
targets = ["last-used"]
"""


def filtered(
    stack: ExitStack, directory: Path, empty: Path, calls: frozenset[str]
) -> tuple[list[str], Sequence[int]]:
    """Return how the unit starts it: without privileges, with its sockets and no other calls."""
    passed = {}
    for name in ("hook", "control"):
        (directory / name).unlink(missing_ok=True)
        sock = listening(socket.AF_UNIX, socket.SOCK_STREAM, str(directory / name))
        (directory / name).chmod(0o666 if name == "hook" else 0o660)
        if os.geteuid() == 0:
            os.chown(directory / name, 0, NOBODY)
        passed[name] = [stack.enter_context(sock)]
    command, descriptors = passing(passed, calls, TRIED)
    user = as_nobody(empty) if os.geteuid() == 0 else []
    return [*user, *command], descriptors


def has_taken_two(sender: Ringer) -> bool:
    return sender.inputs() == {"accepted": 2}


def rung(listener: socket.socket) -> None:
    with listener.accept()[0] as connection:
        connection.settimeout(PATIENCE)
        assert b"".join(iter(lambda: connection.recv(100), b"")) == LINE


def test_it_lives_its_life_with_these_calls_and_no_others(
    open_path: Path, empty_path: Path
) -> None:
    """Here all other calls kill, even before the lock."""
    assert not TRIED & permitted()
    with socket.socket() as listener:
        listener.settimeout(PATIENCE)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        trusted = f'trusted = ["{pwd.getpwuid(os.geteuid()).pw_name}"]'
        port = listener.getsockname()[1]
        toml = settings(open_path, ACCOUNTS, listen=trusted, port=port)
        # The second one finds an address book, which is looked at by a child.
        for account in ("alice", "bob"):
            with ExitStack() as stack:
                command, descriptors = filtered(stack, open_path, empty_path, permitted())
                with ringing(
                    open_path, toml, command=command, descriptors=descriptors,
                    environ={"WATCHDOG_USEC": "200000"},
                ) as sender:  # fmt: skip
                    sender.say(f"new {account}")
                    rung(listener)
                    sender.say("seen bob 127.0.0.1")
                    until(partial(has_taken_two, sender))
                    sender.process.send_signal(signal.SIGHUP)
                    sender.until_logged("event=reload_ignored")
                    assert b"WATCHDOG=1" in sender.told()
                    assert sender.status()["companions"]
                    assert sender.status()["store"]["failing"] is None
                    assert sender.stop() == 0


def test_a_node_of_a_cluster_needs_no_other_call(
    open_path: Path, empty_path: Path, tmp_path: Path
) -> None:
    with engine(tmp_path) as server, ExitStack() as stack:
        command, descriptors = filtered(stack, open_path, empty_path, permitted())
        kept = settings(open_path, ACCOUNTS)
        url = f'url = "{server.url}"\nfile ='
        toml = kept.replace("[store]\nurl =", f"[store]\n{url}")
        assert toml != kept
        with ringing(open_path, toml, command=command, descriptors=descriptors) as sender:
            until(lambda: sender.status()["cluster"]["failing"] is None)
            assert "mailbell-cluster" in sender.status()["companions"]
            assert sender.stop() == 0


@pytest.mark.parametrize("call", ["landlock_add_rule", "clone", "pwrite64", "sendto"])
def test_without_one_of_them_it_would_die(call: str, open_path: Path, empty_path: Path) -> None:
    """The counter-test: the outer filter is in force."""
    assert call in permitted()
    with ExitStack() as stack:
        command, descriptors = filtered(stack, open_path, empty_path, permitted() - {call})
        with (
            pytest.raises(pytest.fail.Exception, match=r"ended|not ready"),
            ringing(open_path, settings(open_path, ACCOUNTS), command=command,
                    descriptors=descriptors),
        ):  # fmt: skip
            pass

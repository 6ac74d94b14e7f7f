"""`org.varlink.certification` in a run: the package's own programs, and what was said to whom.

The interface asks a client to give back, in each call, what the call before has
answered. Whoever gets to the end has lost nothing of any type on the way.
"""

import importlib.resources
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.daemon import PATIENCE, until

from mailbell.calling.channel import Channel
from mailbell.calling.connect import connect
from mailbell.calling.exchange import Exchange
from mailbell.client._mailbelld import MAILBELLD
from mailbell.varlink._message import encode_call

__all__ = ["CERTIFICATION", "TEXT", "Step", "certified", "official", "official_client"]

CERTIFICATION: Final = "org.varlink.certification"
_FILES: Final = importlib.resources.files("varlink.tests")
TEXT: Final = _FILES.joinpath(f"{CERTIFICATION}.varlink").read_text()
_PROGRAM: Final = [sys.executable, "-W", "ignore", "-m", "varlink.tests.test_certification"]


@dataclass(frozen=True)
class Step:
    """One call of the certification.

    Attributes:
        method: its name, without the interface.
        parameters: of the call.
        replies: the parameters of each reply.
        flags: those of the call that are set.
    """

    method: str
    parameters: dict[str, Any]
    replies: list[dict[str, Any]] = field(default_factory=list)
    flags: frozenset[str] = frozenset()


def official_client(path: Path) -> list[str]:
    """The command line of the package's own client."""
    return [*_PROGRAM, "--client", f"--varlink=unix:{path}"]


@contextmanager
def official(path: Path) -> Iterator[None]:
    """The package's own server, for the length of the block."""
    process = subprocess.Popen(
        [*_PROGRAM, f"--varlink=unix:{path}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with process:
        try:
            until(lambda: _is_served(path), "the package's server")
            yield
        finally:
            process.kill()


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


class _Client:
    """Our client's connection and codec, for any interface."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        # The bounds are those of our own interface.
        self._exchange = Exchange(MAILBELLD, check=lambda _: None)
        self.deadline = time.monotonic() + PATIENCE

    def call(self, method: str, parameters: dict[str, Any], *flags: str) -> Step:
        """Call, and take every reply."""
        wanted = dict.fromkeys(flags, True)
        message = encode_call(f"{CERTIFICATION}.{method}", parameters, **wanted)
        # Read from the message: the package's server does not look at each of them.
        sent = frozenset(name for name, value in json.loads(message[:-1]).items() if value is True)
        step = Step(method, parameters, flags=sent)
        self._channel.send(message, self.deadline)
        continues = "oneway" not in flags
        while continues:
            while not self._exchange.ready:
                self._exchange.receive_untrusted(self._channel.receive(self.deadline))
            told, reply = self._exchange.take_untrusted(dict[str, Any])
            step.replies.append(told)
            continues = reply.continues
        return step


def certified(path: Path) -> list[Step]:
    """Go through the certification with our client; return what was said."""
    channel = Channel(connect([str(path)], MAILBELLD)[0], time.monotonic)
    try:
        client = _Client(channel)
        steps = [client.call("Start", {})]
        me = steps[0].replies[0]
        for number in range(1, 10):
            steps.append(client.call(f"Test{number:02}", me | steps[-1].replies[0]))
        steps.append(client.call("Test10", me | steps[-1].replies[0], "more"))
        all_of_them = [reply["string"] for reply in steps[-1].replies]
        steps.append(client.call("Test11", me | {"last_more_replies": all_of_them}, "oneway"))
        steps.append(client.call("End", me))
    finally:
        channel.close()
    return steps

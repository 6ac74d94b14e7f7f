"""The examples of docs/embedding.md run unchanged, against a daemon that ends the stream."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness.fake_daemon import FakeDaemon, Peer, notification, stream, told

from mailbell.core.notification import Cause
from mailbell.interfaces.listener import LISTENER_SERVICE, Subscribe, unknown_account
from mailbell.varlink import CALL_LIMIT, decode_reply_untrusted
from mailbell.varlink._message import parse_call_untrusted

TEXT = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text()


def example(name: str) -> str:
    (found,) = re.findall(rf"<!-- example: {name} -->\n```python\n(.*?)```", TEXT, re.DOTALL)
    assert isinstance(found, str)
    return found


def end(peer: Peer) -> None:
    # These programs have no end. They stop on an error after which the client does not reconnect.
    peer.error(unknown_account("work"))
    peer.wait_closed()


@pytest.mark.parametrize("name", ["blocking", "trio"])
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    scene = stream(
        told("e1", 5),
        told("e1", 6, notification()),
        told("e1", 7, notification(cause=Cause.RESYNC)),
        asked=Subscribe(("work",)),
        then=end,
    )

    path = str(tmp_path / "s")
    with FakeDaemon(path, scene):
        run = subprocess.run(
            [sys.executable, "-c", example(name)],
            env=os.environ | {"MAILBELL_SOCKET": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert run.stdout == "work: network\nwork: resync\n", run.stderr
    assert "UnknownAccountError" in run.stderr


def test_the_exchange_is_what_is_spoken() -> None:
    block = TEXT[TEXT.index("    > ") : TEXT.index("A Varlink library does")]
    joined = re.sub(r"\n {7}", "", block)
    call, *replies = [line[6:] for line in joined.splitlines() if line.strip()]
    asked = LISTENER_SERVICE.decode_untrusted(parse_call_untrusted(call.encode()))
    assert asked == Subscribe(("work",))
    assert [decode_reply_untrusted(reply.encode()).continues for reply in replies] == [True] * 2
    assert f"more than {CALL_LIMIT} bytes" in TEXT

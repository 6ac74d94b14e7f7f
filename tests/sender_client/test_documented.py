"""What docs/sender.md shows: its programs run, and its commands print what is shown."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
from harness.control import ANNA, STEPS, TARGET, Control, controlled
from harness.fake_sender import STATUS
from rich.console import Console

from mailbell.cli.sender_top import View, frame
from mailbell.core.networks import Address
from mailbell.core.sender_outcome import RingOutcome
from mailbell.interfaces.sender import Origin, Step, Verdict
from mailbell.interfaces.sender_status import Account, Latency
from mailbell.sender._local_service import USER_RATE, WATCHERS
from mailbell.sender._ring import Ring
from mailbell.sender._watchers import HELD
from mailbell.varlink import CALL_LIMIT

TEXT: Final = (Path(__file__).parents[2] / "docs" / "sender.md").read_text()
SENT: Final = Ring(ANNA, TARGET, RingOutcome.SENT, 0.3)
LOGIN: Final = TARGET._replace(host=Address.parse("192.0.2.88"))


def block(kind: str, name: str) -> str:
    (found,) = re.findall(rf"<!-- {kind}: {name} -->\n```[a-z]+\n(.*?)```", TEXT, re.DOTALL)
    assert isinstance(found, str)
    return found


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with controlled(tmp_path / "control") as it:
        yield it


def ended(control: Control, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"MAILBELL_SENDER_SOCKET": str(control.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_examples_run(control: Control) -> None:
    assert ended(control, "-c", block("example", "trio")) == "192.0.2.7:79 sent\n"
    told = ended(control, "-c", block("example", "blocking"))
    assert told == "192.0.2.7:79 ring\nNone no_address\n192.0.2.7:79 sent\n"


@pytest.mark.parametrize("name", ["nobody has looked for mail", "a login"])
def test_what_the_test_prints(control: Control, name: str) -> None:
    configured, nobody = STEPS
    login = Step(origin=Origin.LAST_USED, target=str(LOGIN), verdict=Verdict.RING, seen=9000)
    control.desk.steps = (nobody, configured) if "nobody" in name else (login, configured)
    control.desk.rings = [SENT] if "nobody" in name else [SENT._replace(target=LOGIN), SENT]
    command, shown = block("printed", name).split("\n", 1)
    assert command == f"# mailbell sender test {ANNA}"
    assert ended(control, "-m", "mailbell", *command.split()[2:]) == shown


def test_what_top_shows() -> None:
    """The lines are those of the document. A terminal of 80 columns breaks the longest one."""
    reached = msgspec.structs.replace(STATUS.targets[0], attempts=3, sent=3, age=1_000_000)
    other = msgspec.structs.replace(reached, target="192.0.2.88:79", attempts=2, sent=2)
    status = msgspec.structs.replace(
        STATUS,
        version="0.1.0",
        pid=24091,
        uptime=7_000_000,
        inputs={"accepted": 4, "unknown_account": 1, "malformed": 1},
        rings={"sent": 5, "coalesced": 2},
        latency=Latency(count=5, p50=6300, p99=2_160_000),
        accounts=(Account(name=ANNA, rings=7, last=RingOutcome.SENT, age=1_000_000),),
        targets=(reached, other),
        pending=0,
        backing_off=0,
        connections=0,
        connections_limit=256,
        sandbox=msgspec.structs.replace(
            STATUS.sandbox, permitted_calls=33, landlock_abi=7, landlock_used=7, uid=65534
        ),
    )
    file = io.StringIO()
    Console(file=file, width=80, markup=False, emoji=False).print(frame(View(status, 0.0), 0.0, 99))
    shown = "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())
    assert shown == block("picture", "top").split("\n", 1)[1]


def test_the_numbers_of_the_interface() -> None:
    words = " ".join(TEXT.split())
    assert f"at most {HELD} rings late" in words
    assert f"At most {WATCHERS} watch at once" in words
    assert f"A call has at most {CALL_LIMIT:,} bytes" in words
    # A call of the library is a connection and a call.
    assert words.count(f"{USER_RATE / 2:,.0f} ") >= 1


def test_every_outcome_is_explained() -> None:
    section = TEXT[TEXT.index("## How a ring ends") : TEXT.index("## What it promises")]
    assert re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE) == list(RingOutcome)

"""The local socket, spoken to by a Varlink client that is not ours: `varlink` from PyPI."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from harness.daemon import PATIENCE, Daemon, ring, started
from system.support import Local

from mailbell import __version__
from mailbell.varlink import describe

INTERFACE = "org.mailbell.Listener"


def command(daemon: Daemon, *arguments: str) -> list[str]:
    *words, last = arguments
    address = f"unix:{daemon.path}" + (f"/{last}" if last else "")
    return [sys.executable, "-W", "ignore", "-m", "varlink.cli", *words, address]


def output(daemon: Daemon, *arguments: str) -> str:
    done = subprocess.run(
        command(daemon, *arguments), check=True, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.stdout


@contextmanager
def streaming(daemon: Daemon) -> Iterator["IO[str]"]:
    process = subprocess.Popen(
        [*command(daemon, "call", "--more", f"{INTERFACE}.Subscribe"), "{}"],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout
    try:
        yield process.stdout
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def next_object(stream: "IO[str]") -> Any:
    """Read one JSON object, however many lines it is printed on."""
    text = ""
    while line := stream.readline():
        text += line
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            continue
    raise EOFError(text)


def described(daemon: Daemon, name: str) -> str:
    """The text of an interface as it goes over the socket, read without any library."""
    with Local(daemon.path) as local:
        method = "org.varlink.service.GetInterfaceDescription"
        call = {"method": method, "parameters": {"interface": name}}
        local.goes_on(json.dumps(call).encode() + b"\0")
        text: str = local.reply()["description"]
        return text


def test_information_and_interface_text(tmp_path: Path) -> None:
    with started(tmp_path) as daemon:
        told, _, interfaces = output(daemon, "info", "").partition("Interfaces:\n")
        pairs = (line.partition(": ") for line in told.splitlines())
        assert {name: value for name, _, value in pairs} == {
            "Vendor": "mailbell",
            "Product": "mailbelld",
            "Version": __version__,
            "URL": "https://www.rfc-editor.org/rfc/rfc4146",
        }
        assert interfaces.split() == ["org.varlink.service", INTERFACE]
        for name in interfaces.split():
            printed = output(daemon, "help", name)
            assert printed.strip() == described(daemon, name).strip()
            assert printed.strip() == describe(name).description.strip()
            assert f"\ninterface {name}\n" in printed


def test_status(tmp_path: Path) -> None:
    with started(tmp_path) as daemon:
        status = json.loads(output(daemon, "call", f"{INTERFACE}.GetStatus"))["status"]
        assert status["pid"] == daemon.pid
        assert status["sandbox"]["seccomp"] == 2


def test_a_stream_of_notifications(tmp_path: Path) -> None:
    with started(tmp_path) as daemon, streaming(daemon) as stream:
        assert next_object(stream)["notification"] is None
        for sequence in (1, 2, 3):
            ring(daemon.endpoint())
            told = next_object(stream)
            assert told["notification"]["transport"] == "tcp"
            assert told["notification"]["source"] == "127.0.0.1"
            assert told["cursor"]["sequence"] == sequence

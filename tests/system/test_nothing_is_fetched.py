"""No program of mailbell asks anything of the network that its user did not ask of it.

The host has a way out, to one that answers nothing. What leaves it is seen by the kernel, whoever
sends it. No program of it looks for a compiler either.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from harness import packets
from harness.daemon import started, until
from harness.netns import Namespace, namespaces
from harness.ringer import ringing, settings
from harness.sender import PATIENCE
from system.agents import agent

pytestmark = pytest.mark.long

BIN: Final = Path(sysconfig.get_path("scripts"))
# What would build something, or bring it.
BUILDERS: Final = (
    "cc", "gcc", "c99", "clang", "as", "ld", "make", "cmake", "cargo", "pip", "pip3", "uv", "curl",
    "wget", "git", "ldconfig",
)  # fmt: skip
# Each is run to its end without a daemon, and may fail.
COMMANDS: Final = (
    "mailbell --version", "mailbell run --help", "mailbell clients", "mailbell policy",
    "mailbell check", "mailbell status", "mailbell notify",
    "mailbell watch --timeout 0.1", "mailbell install --dry-run",
    "mailbell install --sender --dry-run", "mailbell install --thunderbird --file addon.xpi",
    "mailbell uninstall --dry-run", "mailbell sender status", "mailbell sender check",
    "mailbell sender recipe", "mailbell sender recipe postfix",
    "mailbell sender recipe postfix --check", "mailbell sender ring anna",
    "mailbelld --version", "mailbell-sender --version",
    "mailbell-hook --account anna",
)  # fmt: skip


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A host whose packets are watched, with a way out in both families."""
    with namespaces(("192.0.2.1/24", "2001:db8::1/64"), ("192.0.2.2/24", "2001:db8::2/64")) as pair:
        pair.server.run("ip", "route", "add", "default", "via", "192.0.2.2")
        pair.server.run("ip", "-6", "route", "add", "default", "via", "2001:db8::2")
        packets.watch(pair.server.run)
        yield pair.server


@pytest.fixture
def builders(tmp_path: Path) -> Path:
    """A folder of programs, each of which notes its name in the file `called` beside it."""
    folder = tmp_path / "builders"
    folder.mkdir()
    for name in BUILDERS:
        (folder / name).write_text(f"#!/bin/sh\necho {name} >>{folder}/called\nexit 1\n")
        (folder / name).chmod(0o755)
    return folder


def run(host: Namespace, words: str, home: Path, builders: Path) -> None:
    program, *arguments = words.split()
    done = subprocess.run(
        [*host.visit, BIN / program, *arguments],
        cwd=home, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE,
        env={**os.environ, "HOME": str(home), "PATH": f"{builders}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert done.returncode != 64, done.stderr.decode()


def test_no_command_fetches_or_builds_anything(
    host: Namespace, builders: Path, tmp_path: Path
) -> None:
    for words in COMMANDS:
        run(host, words, tmp_path, builders)
    assert packets.left(host.run) == set()
    assert not (builders / "called").exists()
    assert (tmp_path / "addon.xpi").exists()


def test_each_command_is_tried() -> None:
    """A new command is to be tried here too, or is one that runs until it is ended."""
    listed = subprocess.run(
        [BIN / "mailbell", "--help"], check=True, capture_output=True, text=True, timeout=PATIENCE
    ).stdout
    names = {
        line.split()[0]
        for line in listed.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    }
    tried = {words.split()[1] for words in COMMANDS if words.startswith("mailbell ")}
    assert names - tried == {"send", "top"}


def test_no_daemon_and_no_agent_fetches_anything(
    host: Namespace, builders: Path, tmp_path: Path, open_path: Path
) -> None:
    """The sender calls what its configuration names; here that is nothing."""
    with (
        started(tmp_path, command=host.visit) as daemon,
        agent(daemon, tmp_path, through=host.visit),
    ):
        for words in ("status", "status --prometheus", "notify"):
            run(host, f"mailbell {words} --socket {daemon.path}", tmp_path, builders)
        until(lambda: "end" in (tmp_path / "diary").read_text(), "the run")
    toml = settings(open_path, '[[account]]\nname = "anna"\ntargets = ["127.0.0.1:9"]\n')
    with ringing(open_path, toml, command=host.visit) as sender:
        sender.say("new anna")
        for words in ("status", "ring anna"):
            run(host, f"mailbell sender {words} --socket {open_path}/control", tmp_path, builders)
    assert packets.left(host.run) == set()
    assert not (builders / "called").exists()


def test_what_leaves_would_be_seen(host: Namespace) -> None:
    for family, address in (("AF_INET", "198.51.100.1"), ("AF_INET6", "2001:db8:1::1")):
        for kind, port in (("SOCK_STREAM", 443), ("SOCK_DGRAM", 53)):
            sends = (
                f"import socket; s = socket.socket(socket.{family}, socket.{kind})\n"
                f"s.setblocking(False); s.connect_ex(('{address}', {port})); s.send(b'x')"
            )
            subprocess.run(
                [*host.visit, sys.executable, "-c", sends], check=False, capture_output=True
            )
    assert packets.left(host.run) == {
        (address, kind, port)
        for address in ("198.51.100.1", "2001:db8:1::1")
        for kind, port in (("tcp", 443), ("udp", 53))
    }

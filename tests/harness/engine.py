"""A real Redis or Valkey in its own process, on loopback, with nothing on disk unless asked."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, Final

import pytest
from harness.daemon import PATIENCE, until
from harness.ports import free_port

__all__ = [
    "EngineServer", "Sentinels", "engine", "needs_coredis", "needs_engine", "redis_cluster",
    "sentinels",
]  # fmt: skip

PROGRAM: Final = os.environ.get("MAILBELL_ENGINE", "redis-server")
"""Which engine the tests use; the stage `cluster` of `.ci/run` names each in turn."""


def needs_engine() -> None:
    """Skip the test where no engine is installed."""
    if shutil.which(PROGRAM.split()[0]) is None:
        pytest.skip(f"{PROGRAM} is not installed; `.ci/run install` installs redis-server")


def needs_coredis() -> None:
    """Skip the test where the extra `cluster` is not installed."""
    if find_spec("coredis") is None:
        pytest.skip("coredis is not installed; Debian has no package of it")


@dataclass
class EngineServer:
    """An engine. `start` starts it; it may be killed and started again."""

    folder: Path
    options: Sequence[str] = ()
    first: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        common = [
            "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
            "--save", "", "--appendonly", "no", "--loglevel", "warning",
        ]  # fmt: skip
        if self.first:  # a sentinel, which keeps nothing else
            common = common[:6]
        with (self.folder / f"engine-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*PROGRAM.split(), *self.first, *common, *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until(self._answers, "the start of the engine")

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            log = (self.folder / f"engine-{self.port}.log").read_text()
            pytest.fail(f"the engine ended: {log}")
        try:
            return not self.ask("PING").startswith(("-LOADING", "-MASTERDOWN"))
        except OSError:
            return False

    def ask(self, *words: str | bytes) -> str:
        """Send one command; return the first line of the answer, with its type."""
        with self._asking(*words) as answer:
            return answer.readline().decode().strip()

    def read(self, *words: str | bytes) -> str:
        """Send one command; return the text that it answers."""
        with self._asking(*words) as answer:
            return answer.read(int(answer.readline()[1:])).decode()

    @contextmanager
    def _asking(self, *words: str | bytes) -> Iterator[BinaryIO]:
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as sock:
            parts = [word.encode() if isinstance(word, str) else word for word in words]
            sock.sendall(
                b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
            )
            with sock.makefile("rb") as answer:
                yield answer

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            self.process = None


@dataclass
class Sentinels:
    """A primary, its replica, and a sentinel that replaces the one with the other."""

    servers: tuple[EngineServer, EngineServer]
    sentinel: EngineServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/mail"

    @property
    def primary(self) -> EngineServer:
        """The server that the sentinel calls the primary now."""
        told = self.sentinel.read("INFO", "sentinel")
        (found,) = [each for each in self.servers if f"127.0.0.1:{each.port}," in told]
        return found


@contextmanager
def sentinels(folder: Path) -> Iterator[Sentinels]:
    """Run a primary, a replica and a sentinel until the end of the block."""
    with ExitStack() as stack:
        primary = stack.enter_context(engine(folder))
        follow = ("--replicaof", f"127.0.0.1 {primary.port}")
        replica = stack.enter_context(engine(folder, *follow))
        until(lambda: "master_link_status:up" in replica.read("INFO", "replication"), "the replica")
        sentinel = stack.enter_context(_sentinel(folder, primary))
        yield Sentinels((primary, replica), sentinel)


@contextmanager
def _sentinel(folder: Path, primary: EngineServer) -> Iterator[EngineServer]:
    file = folder / "sentinel.conf"
    file.write_text(
        f"sentinel monitor mail 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds mail 1000\n"
        "sentinel failover-timeout mail 3000\n"
    )
    made = EngineServer(folder, first=(str(file),), options=("--sentinel",))
    try:
        made.start()
        known = "slaves=1"
        until(lambda: known in made.read("INFO", "sentinel"), "the sentinel")
        yield made
    finally:
        made.kill()


@contextmanager
def redis_cluster(folder: Path) -> Iterator[list[EngineServer]]:
    """Run a Redis Cluster of three until the end of the block."""
    with ExitStack() as stack:
        made = []
        for number in range(3):
            options = (
                "--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{number}.conf",
                "--cluster-port", str(free_port()),
            )  # fmt: skip
            made.append(stack.enter_context(engine(folder, *options)))
        for number, each in enumerate(made):
            first, last = 16384 * number // 3, 16384 * (number + 1) // 3 - 1
            assert each.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)) == "+OK"
            bus = made[0].options[-1]
            each.ask("CLUSTER", "MEET", "127.0.0.1", str(made[0].port), bus)
        until(lambda: all(map(_is_whole, made)), "the Redis Cluster")
        yield made


def _is_whole(server: EngineServer) -> bool:
    found = server.read("CLUSTER", "INFO")
    return "cluster_state:ok" in found and "cluster_known_nodes:3" in found


@contextmanager
def engine(folder: Path, *options: str) -> Iterator[EngineServer]:
    """Run an engine until the end of the block.

    Args:
        folder: for its files.
        options: of its command line.
    """
    needs_engine()
    server = EngineServer(folder, options)
    try:
        server.start()
        yield server
    finally:
        server.kill()

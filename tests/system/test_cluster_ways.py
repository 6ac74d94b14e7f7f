"""Each way to reach an engine: one real, locked sender notes a login and rings."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import PATIENCE, until
from harness.engine import EngineServer, engine, needs_engine, redis_cluster, sentinels
from harness.rung import Rung, user_name
from harness.sending import Sender, sender_configuration, sending

pytestmark = pytest.mark.long

HOME: Final = "127.9.0.1"


@contextmanager
def node(folder: Path, store: str, port: int) -> Iterator[Sender]:
    uid = os.getuid()
    toml = sender_configuration(
        folder,
        f'[send]\nport = {port}\n[last_used]\nallow = ["127.0.0.0/8"]\n'
        '[default]\ntargets = ["last-used"]\n',
        listen="" if uid == 0 else f'trusted = ["{user_name(uid)}"]',
        store=store,
    )
    with sending(folder, toml) as sender:
        yield sender


def problem(sender: Sender) -> str | None:
    found = sender.status().cluster
    return "no cluster" if found is None else found.failing


def taken(sender: Sender) -> list[int]:
    found = sender.status().cluster
    return [] if found is None else [node.taken for node in found.nodes]


def require_ring(folder: Path, store: str) -> None:
    """Have a node ring through the engine."""
    with Rung() as rung, node(folder, store, rung.port) as sender:
        until(lambda: problem(sender) is None, "the engine")
        sender.say(f"seen anna {HOME}", "new anna")
        until(lambda: rung.count[HOME] == 1, "the ring")
        until(lambda: taken(sender) == [1], "the next sign of life")
        status = sender.status()
        assert status.cluster is not None
        assert status.cluster.alone == 0
        assert "mailbell-cluster" in status.companions


def test_by_tcp_to_a_name(tmp_path: Path, open_path: Path) -> None:
    with engine(tmp_path) as server:
        require_ring(open_path, f'url = "redis://localhost:{server.port}/3"')
        assert server.ask("SELECT", "3") == "+OK"


def test_by_a_unix_socket_with_a_password(tmp_path: Path, open_path: Path) -> None:
    password = open_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    place = open_path / "engine.sock"
    options = ("--unixsocket", str(place), "--unixsocketperm", "777", "--requirepass", "secret")
    with engine(tmp_path, *options):
        require_ring(open_path, f'url = "unix://{place}"\npassword_file = "{password}"')
    log = (open_path / "sender.log").read_text()
    assert "secret" not in log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another process's memory")
def test_only_the_companion_has_the_password(tmp_path: Path, open_path: Path) -> None:
    secret = secrets.token_hex(16)
    password = open_path / "password"
    password.write_text(secret)
    password.chmod(0o600)
    with engine(tmp_path, "--requirepass", secret) as server:
        store = f'url = "{server.url}"\npassword_file = "{password}"'
        with node(open_path, store, 79) as sender:
            until(lambda: problem(sender) is None, "the engine")
            companion = sender.status().companions["mailbell-cluster"]
            assert secret.encode() in memory_of(companion)
            assert secret.encode() not in memory_of(sender.pid)


def memory_of(pid: int) -> bytes:
    """Return what a process may write to."""
    found = bytearray()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights, *_ = line.split()
            if rights.startswith("rw"):
                first, last = (int(each, 16) for each in where.split("-"))
                memory.seek(first)
                found += memory.read(last - first) or b""
    return bytes(found)


def test_by_sentinels(tmp_path: Path, open_path: Path) -> None:
    with sentinels(tmp_path) as made:
        ports = [each.port for each in made.servers]
        require_ring(open_path, f'url = "{made.url}"\nports = {ports}')


def test_a_redis_cluster(tmp_path: Path, open_path: Path) -> None:
    with redis_cluster(tmp_path) as made:
        ports = [each.port for each in made]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        require_ring(open_path, f'url = "redis+cluster://{hosts}"\nports = {ports}')


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate of the host localhost, its key, and another certificate."""
    needs_engine()
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("own", "other"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True,
        )  # fmt: skip
    return folder


@contextmanager
def encrypted(folder: Path, certificates: Path) -> Iterator[EngineServer]:
    made = EngineServer(folder)
    tls = EngineServer(folder)
    made.options = (
        "--tls-port", str(tls.port), "--tls-cert-file", str(certificates / "own.pem"),
        "--tls-key-file", str(certificates / "own.key"), "--tls-auth-clients", "no",
    )  # fmt: skip
    try:
        made.start()
        yield tls
    finally:
        made.kill()


def test_by_tls(tmp_path: Path, open_path: Path, certificates: Path) -> None:
    with encrypted(tmp_path, certificates) as server:
        store = f'url = "rediss://localhost:{server.port}"\nca_file = "{certificates}/own.pem"'
        require_ring(open_path, store)


@pytest.mark.parametrize(
    ("host", "file"), [("localhost", "other.pem"), ("127.0.0.1", "own.pem")], ids=str
)
def test_a_certificate_that_is_not_the_engines(
    host: str, file: str, tmp_path: Path, open_path: Path, certificates: Path
) -> None:
    with encrypted(tmp_path, certificates) as server:
        store = f'url = "rediss://{host}:{server.port}"\nca_file = "{certificates}/{file}"'
        with node(open_path, store, 79) as sender:
            until(lambda: "certificate" in str(problem(sender)).lower(), "the refusal")
            assert "event=sharing_paused" in (open_path / "sender.log").read_text()


def test_a_port_that_is_not_named_is_not_reached(tmp_path: Path, open_path: Path) -> None:
    """A sentinel that an attacker has may announce any place: the kernel refuses it."""
    with sentinels(tmp_path) as made, node(open_path, f'url = "{made.url}"', 79) as sender:
        until(lambda: problem(sender) not in {None, "not connected yet"}, "the refusal")
        assert "event=companion_ended" not in (open_path / "sender.log").read_text()


def test_a_name_that_is_announced_is_not_looked_up(tmp_path: Path, open_path: Path) -> None:
    with sentinels(tmp_path) as made:
        made.sentinel.ask("SENTINEL", "CONFIG", "SET", "resolve-hostnames", "yes")
        made.sentinel.ask("SENTINEL", "CONFIG", "SET", "announce-hostnames", "yes")
        made.sentinel.ask("SENTINEL", "REMOVE", "mail")
        where = ("localhost", str(made.servers[0].port))
        assert made.sentinel.ask("SENTINEL", "MONITOR", "mail", *where, "1") == "+OK"
        ports = [each.port for each in made.servers]
        with node(open_path, f'url = "{made.url}"\nports = {ports}', 79) as sender:
            until(lambda: "localhost" in str(problem(sender)), "the refusal")
            assert "event=companion_ended" not in (open_path / "sender.log").read_text()


class Endless(threading.Thread):
    """Answers the first command with a text that has no end."""

    def __init__(self) -> None:
        super().__init__()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.sent = 0

    def __enter__(self) -> "Endless":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self.join(PATIENCE)
        self._server.close()

    def run(self) -> None:
        chunk = bytes(1 << 20)
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(PATIENCE)
                connection.recv(4096)
                connection.sendall(b"$4000000000\r\n")
                while True:
                    connection.sendall(chunk)
                    self.sent += len(chunk)


def test_an_answer_without_end_takes_no_more_memory_than_it_may(open_path: Path) -> None:
    with Rung() as rung, Endless() as engine_of_an_attacker:
        url = f"redis://127.0.0.1:{engine_of_an_attacker.port}"
        with node(open_path, f'url = "{url}"', rung.port) as sender:
            until(lambda: engine_of_an_attacker.sent > 16 << 20, "a long answer")
            sender.say(f"seen anna {HOME}", "new anna")
            until(lambda: rung.count[HOME] == 1, "the ring")
            until(lambda: problem(sender) is not None, "the refusal")
            pid = sender.status().companions.get("mailbell-cluster")
            if pid is not None:  # otherwise the kernel has ended it, and the sender goes on
                peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                assert peak is not None
                assert int(peak[1]) < 400 << 10

"""Several senders with one real engine: whatever is killed, nobody goes without a ring.

Logins and deliveries come to random nodes. A service manager holds the sockets of the hooks of
each, as mailbell-sender-hook.socket does.
"""

import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest
from harness.activation import passing
from harness.daemon import PATIENCE, until
from harness.engine import EngineServer, engine, sentinels
from harness.rung import Rung, hook_socket, user_name
from harness.sending import Sender, sender_configuration, sending

pytestmark = [
    pytest.mark.unwatched(reason="a killed daemon does nothing that another does not do"),
    pytest.mark.long,
]

SECONDS: Final = float(os.environ.get("MAILBELL_SECONDS", "6"))
ACCOUNTS: Final = 30
RATE: Final = 15.0  # hooks a second: each account has one every two seconds
INTERVAL: Final = 0.1


def address_of(account: int) -> str:
    return f"127.9.0.{account + 1}"


class Node:
    """One machine with a mail server. When its sender ends, its hooks wait for the next one."""

    def __init__(
        self, folder: Path, name: str, url: str, port: int, held: socket.socket, store: str
    ) -> None:
        self.folder = folder
        self.name = name
        self.sender: Sender | None = None
        self._held = held
        self._life = ExitStack()
        uid = os.getuid()
        more = "" if uid == 0 else f'trusted = ["{user_name(uid)}"]'
        self._toml = sender_configuration(
            folder,
            f'[send]\ninterval = "{round(INTERVAL * 1000)}ms"\nbackoff = "1s..2s"\nport = {port}\n'
            '[last_used]\nallow = ["127.0.0.0/8"]\n[default]\ntargets = ["last-used"]\n',
            listen=more,
            store=f'url = "{url}"\nnode = "{name}"\n{store}',
        )

    def start(self) -> None:
        command, descriptors = passing({"hook": [self._held]})
        self.sender = self._life.enter_context(
            sending(self.folder, self._toml, command=command, descriptors=descriptors)
        )

    def kill(self) -> None:
        assert self.sender is not None
        self.sender.kill()
        self.stop()

    def stop(self) -> None:
        self.sender = None
        self._life.close()

    def sees(self) -> list[str]:
        """Return the nodes that live, as this one knows them; none if it rings alone."""
        assert self.sender is not None
        cluster = self.sender.status().cluster
        if cluster is None or cluster.failing is not None:
            return []
        return [node.name for node in cluster.nodes if node.lives]


class Mail(threading.Thread):
    """Says at random nodes that mail has arrived, and sometimes that its reader has logged in."""

    def __init__(self, nodes: list[Node], seed: int) -> None:
        super().__init__()
        self.taken: dict[int, float] = {}
        self.count: Counter[int] = Counter()
        self.lost: list[str] = []
        self.end = threading.Event()
        self._nodes = nodes
        self._random = random.Random(seed)

    def run(self) -> None:
        number = 0
        while not self.end.wait(1 / RATE):
            account = number % ACCOUNTS
            number += 1
            if self._random.random() < 0.1:
                self.say(f"seen user{account} {address_of(account)}")
            before = time.monotonic()
            if self.say(f"new user{account}"):
                self.taken[account] = before
                self.count[account] += 1

    def say(self, line: str) -> bool:
        """Do as mailbell-hook does: it never waits, and tries once more if the sender ends."""
        path = str(self._random.choice(self._nodes).folder / "hook")
        for _ in range(2):
            try:
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.setblocking(False)
                    sock.connect(path)
                    sock.send(line.encode() + b"\n")
                    return True
            except (BrokenPipeError, ConnectionResetError):
                continue
            except OSError as error:
                self.lost.append(repr(error))
                return False
        return False


class Scene:
    """Nodes under load."""

    def __init__(self, nodes: list[Node], rung: Rung, mail: Mail) -> None:
        self.nodes = nodes
        self.rung = rung
        self.mail = mail
        self.kills = 0
        self.random = random.Random(random.randrange(1 << 32))

    def kill_a_node(self) -> None:
        node = self.random.choice(self.nodes)
        node.kill()
        self.kills += 1
        self.mail.end.wait(self.random.uniform(0, 1))
        node.start()

    def unrung(self) -> list[int]:
        """Return the accounts that were not rung after their last delivery."""
        rung, taken = self.rung.last, self.mail.taken
        return [n for n, when in taken.items() if rung.get(address_of(n), 0.0) < when]

    def require_all_rung(
        self, record_property: Callable[[str, object], None], most: int | None = None
    ) -> None:
        self.mail.end.set()
        self.mail.join(PATIENCE)
        assert self.mail.lost == []
        assert len(self.mail.taken) == ACCOUNTS
        until(lambda: not self.unrung(), f"a ring for {self.unrung()}", 2 * PATIENCE)
        more = {n: self.rung.count[address_of(n)] - count for n, count in self.mail.count.items()}
        worst = max(more.values())
        record_property("deliveries", sum(self.mail.count.values()))
        print(f"{sum(self.mail.count.values())} deliveries, {self.kills} kills, more rings: {more}")
        most = self.kills if most is None else most
        assert worst <= most, f"rung more often than once for each kill: {more}"


@contextmanager
def scene(folder: Path, url: str, count: int, store: str = "") -> Iterator[Scene]:
    with ExitStack() as stack:
        rung = stack.enter_context(Rung())
        nodes = []
        for number in range(count):
            place = folder / f"n{number}"
            place.mkdir()
            place.chmod(0o755)
            held = stack.enter_context(hook_socket(place))
            node = Node(place, f"n{number}", url, rung.port, held, store)
            stack.callback(node.stop)
            node.start()
            nodes.append(node)
        names = [node.name for node in nodes]
        until(lambda: all(node.sees() == names for node in nodes), "the cluster")
        mail = Mail(nodes, random.randrange(1 << 32))
        for account in range(ACCOUNTS):
            assert mail.say(f"seen user{account} {address_of(account)}")
        until(lambda: sum(accepted(node) for node in nodes) == ACCOUNTS, "the logins")
        time.sleep(0.5)  # until the engine has them: this is about what is known before
        made = Scene(nodes, rung, mail)
        mail.start()
        try:
            yield made
        finally:
            mail.end.set()
            mail.join(PATIENCE)


def accepted(node: Node) -> int:
    assert node.sender is not None
    return node.sender.status().inputs["accepted"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EngineServer]:
    with engine(tmp_path) as made:
        yield made


@pytest.mark.parametrize("count", [2, 3])
def test_nodes_are_killed(
    count: int, server: EngineServer, open_path: Path, record_property: Callable[..., None]
) -> None:
    with scene(open_path, server.url, count) as made:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            made.mail.end.wait(made.random.uniform(0, 2))
            made.kill_a_node()
        made.require_all_rung(record_property)


def test_the_engine_is_killed(
    server: EngineServer, open_path: Path, record_property: Callable[..., None]
) -> None:
    with scene(open_path, server.url, 2) as made:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            made.mail.end.wait(made.random.uniform(1, 3))
            server.kill()
            made.kills += 1
            made.mail.end.wait(made.random.uniform(0, 3))
            server.start()
        made.require_all_rung(record_property)


def test_the_engine_stands_still(
    server: EngineServer, open_path: Path, record_property: Callable[..., None]
) -> None:
    with scene(open_path, server.url, 2) as made:
        made.mail.end.wait(2)
        server.send(signal.SIGSTOP)
        made.kills += 1
        made.mail.end.wait(SECONDS / 2)
        server.send(signal.SIGCONT)
        made.mail.end.wait(SECONDS / 2)
        made.require_all_rung(record_property)


def test_another_engine_takes_over(
    tmp_path: Path, open_path: Path, record_property: Callable[..., None]
) -> None:
    with sentinels(tmp_path) as made:
        ports = [each.port for each in made.servers]
        with scene(open_path, made.url, 2, f"ports = {ports}") as under:
            under.mail.end.wait(2)
            before = made.primary
            before.kill()
            under.kills += 1
            until(lambda: made.primary is not before, "another primary")
            under.mail.end.wait(SECONDS / 2)
            before.start()
            under.mail.end.wait(SECONDS / 2)
            under.require_all_rung(record_property)


def test_a_burst_is_more_than_the_nodes_can_share_at_once(
    server: EngineServer, open_path: Path, record_property: Callable[..., None]
) -> None:
    with scene(open_path, server.url, 2) as made:
        lines = "".join(f"new user{number % ACCOUNTS}\n" for number in range(2000)).encode()
        for _ in range(5):
            for node in made.nodes:
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.settimeout(PATIENCE)
                    sock.connect(str(node.folder / "hook"))
                    sock.sendall(lines)
        until(lambda: all(accepted(node) >= 10_000 for node in made.nodes), "all lines")
        until(lambda: len(made.mail.taken) == ACCOUNTS, "mail for everybody")
        made.require_all_rung(record_property, most=2000)
        for node in made.nodes:
            assert len(node.sees()) == 2, "its companion is at work"


def test_nobody_is_missed_when_a_node_ends_in_order(
    server: EngineServer, open_path: Path, record_property: Callable[..., None]
) -> None:
    with scene(open_path, server.url, 2) as made:
        for node in (*made.nodes, *made.nodes):
            made.mail.end.wait(0.5)
            node.stop()  # a call that is on its way then may be made again
            made.kills += 1
            made.mail.end.wait(0.5)
            node.start()
        made.require_all_rung(record_property)

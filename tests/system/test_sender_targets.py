"""The real sender and hostile targets: they are told nothing more, and delay no other."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.daemon import PATIENCE, until
from harness.ringer import Ringer, ringing, settings
from sender.lines import LOOPBACK, black_hole, listening

GIBIBYTE = 1 << 30
# The 256 places of the default, more than once.
SILENT = 600


def account(name: str, *targets: str) -> str:
    # A line of the configuration has 1024 bytes at most, and an account 16 targets.
    listed = "".join(f'"{target}",\n' for target in targets)
    return f'[[account]]\nname = "{name}"\ntargets = [\n{listed}]\n'


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A host that does this with each connection. Yields its port."""
    with listening() as sock:

        def serve() -> None:
            try:
                while True:
                    connection, _ = sock.accept()
                    with connection:
                        answer(connection)
            except OSError:  # it is over
                return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resident(sender: Ringer) -> int:
    """Return the memory of the sender in RAM, in bytes."""
    pages = Path(f"/proc/{sender.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def test_targets_that_answer_reset_or_never_read_get_one_line_each(open_path: Path) -> None:
    written = 0

    def answer(connection: socket.socket) -> None:
        nonlocal written
        block = b"\0" * 65536
        try:
            while written < GIBIBYTE:
                written += connection.send(block)
        except OSError:  # it is closed, and nothing was read
            return

    with ExitStack() as stack:
        ports = {
            "answers": stack.enter_context(answering(answer)),
            "resets": stack.enter_context(answering(reset)),
            "never_reads": stack.enter_context(listening()).getsockname()[1],
        }
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        ports["refuses"] = closed.getsockname()[1]
        more = "".join(account(name, f"127.0.0.1:{port}") for name, port in ports.items())
        sender = stack.enter_context(ringing(open_path, settings(open_path, more)))
        before = resident(sender)
        sender.say(*(f"new {name}" for name in ports))
        until(lambda: sum(sender.rings().values()) >= len(ports), "all four rings")
        rings = sender.rings()
        assert rings["refused"] == 1
        # A reset may come before the line or after it.
        assert rings["sent"] + rings.get("reset", 0) == 3
        assert sender.status()["sending"] == 0
        assert resident(sender) - before < 4 << 20
    assert written < 64 << 20


def test_six_hundred_silent_targets_delay_no_other(open_path: Path) -> None:
    with black_hole() as silent, listening() as sink:
        dead = [f"127.0.{n >> 8}.{n & 255}:{silent.getsockname()[1]}" for n in range(1, SILENT + 1)]
        more = "".join(
            account(f"dead{first}", *dead[first : first + 16]) for first in range(0, SILENT, 16)
        )
        more += account("anna", f"{LOOPBACK[socket.AF_INET]}:{sink.getsockname()[1]}")
        with ringing(open_path, settings(open_path, more)) as sender:
            sender.say("new anna")  # it is known to answer from now on
            sink.accept()[0].close()
            sender.say(*(f"new dead{first}" for first in range(0, SILENT, 16)), "new anna")
            sink.accept()[0].close()
            rings = sender.status()["rings"]
            assert rings["sent"] == 2
            # It was rung before the first of them was given up.
            assert rings["timeout"] == 0
            until(lambda: sender.status()["sending"] > 100, "calls to the silent ones")
            until(lambda: sender.rings().get("timeout", 0) > 100, "the silent ones are given up")
            assert sender.status()["sending"] <= 256

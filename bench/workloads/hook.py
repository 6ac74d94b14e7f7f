"""What mailbell-hook costs a mail server, beside the bare interpreter, and beside a stopped sender.

The bare interpreter is `python3 -I -S -c pass`: nothing written in Python can cost less. The hook
is the installed program, with its own first line. It tells a sender that only reads lines.

The elapsed time of many hooks is measured with that sender running and stopped (SIGSTOP), in turns.
Afterwards the sender is continued and must have been told of all of them.
"""

import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from bench.processes import BUILD, PATIENCE, Failed, build, cores, pin
from bench.section import Plan, Row, Section, Spread, Target

__all__ = ["measure"]

_HOOK: Final = str(Path(sysconfig.get_path("data")) / "bin" / "mailbell-hook")
_BARE: Final = ("/usr/bin/python3", "-I", "-S", "-c", "pass")
# Runs in each round.
_RUNS: Final = 100
# Hooks while the sender runs, and as many while it is stopped. Its queue holds 4,097.
_HOOKS: Final = 1000
_QUEUE_ROUNDS: Final = 3
_TURNS: Final = 20  # a divisor of the hooks of every plan
_RATIO: Final = 1.3
_STOPPED_RATIO: Final = 1.1

# It counts lines, and tells a connection that asks how many there were before.
_SENDER: Final = """
import socket, sys
count = 0
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen(4096)
    print("ready", flush=True)
    while True:
        connection = listener.accept()[0]
        with connection:
            line = connection.recv(512)
            if line == b"count":
                connection.send(str(count).encode())
            count += line == b"new alice\\n"
"""


class _Runs(NamedTuple):
    """Runs of one program: CPU of the average one in ms, most MiB, and seconds of all."""

    cpu: float
    memory: float
    elapsed: float


@dataclass(frozen=True)
class _Sender:
    """The stand-in for mailbell-sender."""

    path: str
    process: "subprocess.Popen[str]"

    def count(self) -> int:
        """Ask how many hooks it has read. The answer comes after all that were told before."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(self.path)
            sock.send(b"count")
            return int(sock.recv(64))


def measure(plan: Plan) -> Section:
    """Run hooks and bare interpreters in turn, then hooks with the sender running and stopped.

    Args:
        plan: how much to measure.

    Raises:
        Failed: the hook or the interpreter is not installed, or a hook was lost.
    """
    build()
    for program in (_HOOK, _BARE[0]):
        if not Path(program).exists():
            raise Failed(f"there is no {program}")
    with _sender() as sender:
        hook = (_HOOK, "--socket", sender.path, "alice")
        runs = plan.of(_RUNS, least=2)
        pairs = [(_repeat(runs, _BARE), _repeat(runs, hook)) for _ in range(plan.rounds)]
        hooks = plan.of(_HOOKS, least=2)
        rounds = min(plan.rounds, _QUEUE_ROUNDS)
        queued = [_running_and_stopped(sender, hooks, hook) for _ in range(rounds)]
        expected = runs * plan.rounds + 2 * hooks * rounds
        if sender.count() != expected:
            raise Failed(f"of {expected} hooks the sender was told {sender.count()}")
    return _section(pairs, queued, runs, hooks)


def _section(
    pairs: Sequence[tuple[_Runs, _Runs]],
    queued: Sequence[tuple[float, float]],
    runs: int,
    hooks: int,
) -> Section:
    cpu = Spread.of(hook.cpu / bare.cpu for bare, hook in pairs)
    memory = Spread.of(hook.memory / bare.memory for bare, hook in pairs)
    stopped = Spread.of(stopped / running for running, stopped in queued)
    return Section(
        name="hook",
        title="mailbell-hook: CPU time in ms, memory in MiB",
        unit="",
        against="the bare interpreter",
        rows=(
            Row("CPU, bare interpreter", Spread.of(bare.cpu for bare, _ in pairs)),
            Row("CPU, mailbell-hook", Spread.of(hook.cpu for _, hook in pairs), cpu),
            Row("memory, bare interpreter", Spread.of(bare.memory for bare, _ in pairs)),
            Row("memory, mailbell-hook", Spread.of(hook.memory for _, hook in pairs), memory),
            Row(f"{hooks} hooks, sender running, in s", Spread.of(one for one, _ in queued)),
            Row(f"{hooks} hooks, sender stopped, in s", Spread.of(two for _, two in queued)),
        ),
        targets=(
            Target("CPU, mailbell-hook / bare interpreter", cpu.median, _RATIO),
            Target("memory, mailbell-hook / bare interpreter", memory.median, _RATIO),
            Target("elapsed, sender stopped / running", stopped.median, _STOPPED_RATIO),
        ),
        notes=(
            f"runs in each of {len(pairs)} rounds: {runs} of each program",
            f"hooks in each of {len(queued)} rounds: {hooks}, and as many with a stopped sender",
            "the sender was told of every hook, after it was continued",
        ),
    )


def _running_and_stopped(sender: _Sender, hooks: int, hook: Sequence[str]) -> tuple[float, float]:
    """Return how many seconds the hooks took with the sender running and with it stopped.

    They take turns, so that what else the machine does is charged to both.
    """
    turns = min(_TURNS, hooks)
    running = stopped = 0.0
    for turn in range(2 * turns):
        # Running, stopped, stopped, running: neither is always the first of a pair.
        if turn % 4 in (1, 2):
            sender.process.send_signal(signal.SIGSTOP)
            try:
                stopped += _repeat(hooks // turns, hook).elapsed
            finally:
                sender.process.send_signal(signal.SIGCONT)
            sender.count()  # nothing waits when the next turn begins
        else:
            running += _repeat(hooks // turns, hook).elapsed
    return running, stopped


def _repeat(count: int, command: Sequence[str]) -> _Runs:
    words = [str(BUILD / "repeat"), str(count), *command]
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env={}
    ) as process:
        pin(process.pid, cores()[0])
        output, _ = process.communicate()
    if process.returncode:
        raise Failed(f"bench/build/repeat ended with exit code {process.returncode}")
    nanoseconds, kibibytes, elapsed, failed = map(int, output.split())
    if failed:
        raise Failed(f"{failed} of {count} runs of {command[0]} did not end with 0")
    return _Runs(nanoseconds / 1e6, kibibytes / 1024, elapsed / 1e9)


@contextmanager
def _sender() -> Iterator[_Sender]:
    with tempfile.TemporaryDirectory(prefix="mailbell-") as name:
        path = str(Path(name) / "hook")
        with subprocess.Popen(
            [sys.executable, "-c", _SENDER, path], stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                pin(process.pid, cores()[1])
                if process.stdout is None or process.stdout.readline() != "ready\n":
                    raise Failed("the sender does not start")
                yield _Sender(path, process)
            finally:
                process.kill()

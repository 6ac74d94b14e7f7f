"""What commands cost a real Redis or Valkey, and how much memory the nodes' keys take.

The engine is started for this. It is asked by a plain socket with commands that are written before,
so that it never waits for this process for long. Its processor time is what it says itself.
"""

import csv
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any, Final

from bench.processes import PATIENCE, Failed, cores, end, pin
from bench.section import Plan

__all__ = [
    "ENGINE", "Engine", "Talk", "benchmark", "command", "cpu_seconds", "engine", "engine_version",
    "entry", "measure_books", "measure_exchanges", "measure_inbox", "measure_operations",
    "parse_benchmark", "parse_info", "visit",
]  # fmt: skip

ENGINE: Final = os.environ.get("MAILBELL_ENGINE", "redis-server")
"""The program, as for the tests."""

_AT_ONCE: Final = 128  # commands in one exchange
_ACCOUNTS: Final = 1_000_000
_ENTRIES: Final = 1_000_000
_READ_AT_ONCE: Final = 256  # entries, as a node reads and takes them out
_BOOK: Final = "mailbell:book:"
_INBOX: Final = "mailbell:inbox:mail1"
_DAY: Final = 86_400_000  # milliseconds: no book may expire while it is measured
_STRIDE: Final = 15_485_863  # a prime number, so that every book comes once, and in no order
_SETTLED: Final = 4096  # bytes; a smaller change of the memory is no change


# --- the engine -------------------------------------------------------------------------------


def command(*words: str) -> bytes:
    """Write a command as RESP has it.

    Args:
        words: of the command.
    """
    parts = [word.encode() for word in words]
    return b"*%d\r\n%s" % (len(parts), b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))


class Talk:
    """One connection to an engine.

    Args:
        port: of the engine, on loopback.
        version: of RESP; 3 is what coredis speaks.
    """

    def __init__(self, port: int, version: int = 2) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._sock.makefile("rb")
        if version == 3:
            self.exchange(command("HELLO", "3"), 1)
            self._drain()

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._sock.close()

    def exchange(self, data: bytes, lines: int) -> bytes:
        """Send commands, and wait for an answer of so many lines.

        Args:
            data: the commands.
            lines: of all answers together.

        Raises:
            Failed: the engine has refused one.
        """
        self._sock.sendall(data)
        parts = []
        while lines > 0:
            part = self._sock.recv(1 << 20)
            if not part:
                raise Failed("the engine has closed the connection")
            lines -= part.count(b"\n")
            parts.append(part)
        answer = b"".join(parts)
        if answer.startswith(b"-") or b"\r\n-" in answer:
            raise Failed(f"the engine refuses a command: {answer[:200]!r}")
        return answer

    def ask(self, *words: str) -> Any:
        """Send one command of RESP 2; return the answer.

        Args:
            words: of the command.
        """
        self._sock.sendall(command(*words))
        return self._read()

    def _read(self) -> Any:
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"*":
            return [self._read() for _ in range(int(rest))]
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self._file.read(length + 2)[:-2].decode()
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest.decode()
        raise Failed(f"the engine answers {line!r}")

    def _drain(self) -> None:
        """Take the rest of an answer whose length is not known. The engine sends nothing more."""
        self._sock.settimeout(0.2)
        try:
            while self._sock.recv(1 << 16):
                pass
        except TimeoutError:
            self._sock.settimeout(PATIENCE)


@dataclass(frozen=True)
class Engine:
    """An engine that runs.

    Attributes:
        pid: its process.
        port: on loopback.
        control: a connection for questions.
        work: a connection for what is measured.
    """

    pid: int
    port: int
    control: Talk
    work: Talk

    def cpu(self) -> float:
        """Return the seconds that the thread of its commands has worked."""
        return cpu_seconds(parse_info(self.control.ask("INFO", "cpu")))

    def commands(self, name: str) -> int:
        """Return how often it has done a command so far.

        Args:
            name: of the command, in lower case.
        """
        found = parse_info(self.control.ask("INFO", "commandstats")).get(f"cmdstat_{name}", "")
        return int(found.partition(",")[0].partition("=")[2] or 0)

    def memory(self) -> int:
        """Return the bytes that it uses, once it has come to rest: a table may still be moved."""
        before = -inf
        for _ in range(100):
            now = int(parse_info(self.control.ask("INFO", "memory"))["used_memory"])
            if abs(now - before) < _SETTLED:
                return now
            before = now
            time.sleep(0.3)  # between two looks; nothing tells when the engine has come to rest
        raise Failed("the memory of the engine does not come to rest")


@contextmanager
def engine(core: int | None = None) -> Iterator[Engine]:
    """Run an empty engine that keeps nothing on the disk, until the end of the block.

    Args:
        core: CPU to run on; None: any.

    Raises:
        Failed: it is not installed, or it does not start.
    """
    if shutil.which(ENGINE) is None:
        raise Failed(f"{ENGINE} is not installed; run: apt-get install redis-server redis-tools")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="mailbell-") as folder:
        process = subprocess.Popen(
            [
                ENGINE, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder,
                "--save", "", "--appendonly", "no", "--loglevel", "warning",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _await(process, port)
            pin(process.pid, core)
            control, work = Talk(port), Talk(port, 3)
            yield Engine(process.pid, port, control, work)
            control.close()
            work.close()
        finally:
            end(process)


def _await(process: "subprocess.Popen[bytes]", port: int) -> None:
    last = time.monotonic() + PATIENCE
    while True:
        with socket.socket() as sock:
            if not sock.connect_ex(("127.0.0.1", port)):
                return
        if process.poll() is not None or time.monotonic() > last:
            raise Failed(f"{ENGINE} does not start")
        time.sleep(0.02)  # between two attempts; nothing tells when it listens


def engine_version() -> str:
    """Return the name and the version of the engine; "": it is not installed."""
    if shutil.which(ENGINE) is None:
        return ""
    done = subprocess.run([ENGINE, "--version"], check=True, capture_output=True, text=True)
    found = re.match(r"(\w+) server v=([0-9.]+)", done.stdout)
    return f"{found[1]} {found[2]}" if found else done.stdout.strip()


def parse_info(text: str) -> dict[str, str]:
    """Read what INFO answers: a line for each field, with headings.

    Args:
        text: the answer.
    """
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def cpu_seconds(info: Mapping[str, str]) -> float:
    """Return the seconds of the thread that does the commands; those of all threads in old engines.

    Args:
        info: of INFO cpu.

    Raises:
        Failed: it has none of them.
    """
    for suffix in ("_main_thread", ""):
        names = [f"used_cpu_{mode}{suffix}" for mode in ("user", "sys")]
        if all(name in info for name in names):
            return sum(float(info[name]) for name in names)
    raise Failed("INFO cpu has no processor time")


# --- the commands -----------------------------------------------------------------------------


def visit(count: int) -> Iterator[int]:
    """Yield each number below `count` once, in no order: a cache is of little use then.

    Args:
        count: how many numbers.
    """
    return (number * _STRIDE % count for number in range(count))


def _cost(
    found: Engine,
    commands: Iterable[bytes],
    lines: int,
    at_once: int = _AT_ONCE,
    answers: list[bytes] | None = None,
) -> float:
    """Return the engine's microseconds for one of the commands.

    Args:
        found: the engine.
        commands: each of which is answered by as many lines.
        lines: of such an answer.
        at_once: commands in one exchange.
        answers: gets the answers of each exchange.
    """
    count, source, before = 0, iter(commands), found.cpu()
    while batch := list(islice(source, at_once)):
        answer = found.work.exchange(b"".join(batch), lines * len(batch))
        if answers is not None:
            answers.append(answer)
        count += len(batch)
    return (found.cpu() - before) / count * 1e6


def measure_exchanges(plan: Plan) -> Iterator[tuple[str, float]]:
    """Measure PING, many in an exchange and one in each.

    Args:
        plan: how much.
    """
    ping = command("PING")
    with engine(cores()[0]) as found:
        many, few = plan.of(_ACCOUNTS, 1000), plan.of(200_000, 1000)
        small = _cost(found, (ping for _ in range(many)), 1)
        yield "engine_small", small
        began = time.perf_counter()
        alone = _cost(found, (ping for _ in range(few)), 1, 1)
        yield "round_trip", (time.perf_counter() - began) / few * 1e6
        yield "engine_exchange", alone - small


def measure_books(plan: Plan) -> Iterator[tuple[str, float]]:
    """Measure the address book: its memory, and its commands while each has two addresses.

    Args:
        plan: how much.
    """
    count = plan.of(_ACCOUNTS, 1000)
    now = round(time.time() * 1000)
    with engine(cores()[0]) as found:
        empty = found.memory()
        for addresses in range(1, 5):
            _cost(found, _logins(count, addresses - 1, now), 1)
            yield f"book_{addresses}", (found.memory() - empty) / count
            if addresses == 2:
                yield from _measure_commands(found, count, now)
        yield "engine_scan", _scan(found, count)


def _logins(count: int, place: int, now: int) -> Iterator[bytes]:
    """Yield the commands that note a login of each account, from one more address."""
    for number in range(count):
        key = _book(number)
        yield command("ZADD", key, "GT", str(now + place), _address(number, place))
        if not place:
            yield command("PEXPIRE", key, str(_DAY))


def _measure_commands(found: Engine, count: int, now: int) -> Iterator[tuple[str, float]]:
    later, books = str(now + 60_000), [_book(number) for number in visit(count)]
    numbers = visit(count)
    zadd = (
        command("ZADD", key, "GT", later, _address(number, 0))
        for key, number in zip(books, numbers, strict=True)
    )
    zrange = (command("ZRANGE", key, "0", "-1", "WITHSCORES") for key in books)
    # In RESP 3: how many, and for each address its pair, its length, its text and its time.
    yield "engine_zrange", _cost(found, zrange, 1 + 2 * 4)
    yield "engine_zadd", _cost(found, zadd, 1)
    rank = (command("ZREMRANGEBYRANK", key, "0", "-5") for key in books)
    yield "engine_zremrangebyrank", _cost(found, rank, 1)
    expire = (command("PEXPIRE", key, str(_DAY)) for key in books)
    yield "engine_pexpire", _cost(found, expire, 1)


def _scan(found: Engine, count: int) -> float:
    """Walk over all keys once; return the microseconds for one of them."""
    before, cursor, seen = found.cpu(), "0", 0
    while True:
        cursor, keys = found.control.ask("SCAN", cursor, "MATCH", f"{_BOOK}*", "COUNT", "500")
        seen += len(keys)
        if cursor == "0":
            break
    if seen < count:
        raise Failed(f"SCAN has found {seen} of {count} keys")
    return (found.cpu() - before) / count * 1e6


def _book(number: int) -> str:
    return f"{_BOOK}u{number:07d}@example.org"  # 20 characters of the account


def _address(number: int, place: int) -> str:
    spread = (4 * number + place + 1) * 2_654_435_761
    return ".".join(str(spread >> shift & 255) for shift in (24, 16, 8, 0))


def entry(number: int) -> tuple[str, ...]:
    """Return the fields of an entry for one ring, as a node writes them.

    Args:
        number: of the ring.
    """
    now = time.time()
    return (
        "account", f"u{number:07d}@example.org", "target", f"address {_address(number, 0)} 79 tcp",
        "ring", f"mail1/0123456789abcdef/{number}",
        "since", f"{now:.3f}", "until", f"{now + 1800:.3f}",
    )  # fmt: skip


def measure_inbox(plan: Plan) -> Iterator[tuple[str, float]]:
    """Measure an inbox: the memory of an entry, and to put, read and take entries out.

    Args:
        plan: how much.
    """
    count = plan.of(_ENTRIES, 2048)
    with engine(cores()[0]) as found:
        empty = found.memory()
        added = (command("XADD", _INBOX, "*", *entry(number)) for number in range(count))
        answers: list[bytes] = []
        yield "engine_xadd", _cost(found, added, 2, answers=answers)
        yield "inbox_entry", (found.memory() - empty) / count
        reads = max(count // _READ_AT_ONCE, 1)
        read = command("XREAD", "COUNT", str(_READ_AT_ONCE), "STREAMS", _INBOX, "0")
        # In RESP 3: the map, the key with its length, how many; of each entry its pair, its
        # number with the length, how many fields and values, and each of these with its length.
        lines = 4 + _READ_AT_ONCE * (4 + 2 * len(entry(0)))
        cost = _cost(found, (read for _ in range(reads)), lines, 1)
        yield "engine_xread", cost / _READ_AT_ONCE
        yield "engine_xdel", _cost(found, _removals(answers), 1, 1) / _READ_AT_ONCE


def _removals(answers: Iterable[bytes]) -> Iterator[bytes]:
    """Yield commands that take whole batches of entries out of the inbox, the oldest first."""
    # The engine has answered each XADD with the length of the entry's number, and the number.
    numbers = [each for answer in answers for each in answer.decode().split("\r\n")[1::2]]
    for first in range(0, len(numbers) - _READ_AT_ONCE + 1, _READ_AT_ONCE):
        yield command("XDEL", _INBOX, *numbers[first : first + _READ_AT_ONCE])


# --- redis-benchmark --------------------------------------------------------------------------


def measure_operations(plan: Plan) -> Iterator[tuple[str, float]]:
    """Measure SET and GET, one in each exchange, with the engine's own benchmark.

    Args:
        plan: how much.
    """
    with engine() as found:
        rates = benchmark(found.port, plan.of(400_000, 1000), "-t", "set,get", "-c", "50")
        yield "engine_operations", min(rates.values())


def benchmark(port: int, count: int, *words: str) -> dict[str, float]:
    """Run redis-benchmark, or valkey-benchmark; return commands a second of each test.

    Args:
        port: of the engine.
        count: of commands.
        words: further options, and perhaps a command.

    Raises:
        Failed: it is not installed, or it fails.
    """
    program = f"{Path(ENGINE).name.partition('-')[0]}-benchmark"
    if shutil.which(program) is None:
        raise Failed(f"{program} is not installed; run: apt-get install redis-tools")
    done = subprocess.run(
        [program, "-p", str(port), "-n", str(count), "--csv", *words],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise Failed(f"{program} fails: {done.stderr.strip()}")
    return parse_benchmark(done.stdout)


def parse_benchmark(text: str) -> dict[str, float]:
    """Read its CSV: the test and its commands a second. Since Redis 6.2 there is a heading too.

    Args:
        text: what it prints.

    Raises:
        Failed: no test is in it.
    """
    rows = [row for row in csv.reader(text.splitlines()) if len(row) >= 2]
    found = {row[0]: float(row[1]) for row in rows if _is_number(row[1])}
    if not found:
        raise Failed(f"the benchmark says {text[:200]!r}")
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

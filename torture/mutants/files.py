"""Which files are tried, in which order, and with which tests."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Final

from torture.mutants.session import ROOT

__all__ = ["IN_PROCESSES", "SOURCES", "files", "is_tried", "module_of", "tests_of"]

SOURCES: Final = ROOT / "src" / "mailbell"
TESTS: Final = ROOT / "tests"
HERE: Final = Path(__file__).parent

# What stands between the network and the rest comes first, then what decides who is told.
FIRST: Final = (
    "core/rfc4146", "core/networks", "core/escape", "limits/gcra", "limits/proven", "limits/gate",
    "limits/limiter", "listener/_packet_filter", "syscalls/policy", "syscalls/policy_toml",
    "syscalls/call_numbers", "_sys/bpf_program", "varlink/_codec", "varlink/_json",
    "varlink/_message", "sender/_hook_line", "sender/_line_decoder", "sender/_comsat",
    "sender/_cyrus_event", "sender/_dns_reply", "core/coalesce", "listener/_hub",
    "listener/_wakeups", "listener/_account_state", "sender/_schedule", "sender/_backoff",
    "sender/_address_book", "sender/_backlog", "cluster/rendezvous", "cluster/report",
    "cluster/members", "cluster/messages", "cluster/inbox", "cluster/outbox", "cluster/repeats",
)  # fmt: skip
# What starts the daemons and locks them in. Most of its tests start a process.
IN_PROCESSES: Final = (
    "sandbox/lock", "sandbox/policy_file", "sandbox/report", "cli/mailbelld", "cli/mailbell_sender",
    "listener/prepare", "sender/prepare", "listener/daemon", "sender/daemon", "serving/lifecycle",
)  # fmt: skip
# Of the daemons, the functions that run until the daemon serves.
OF_THE_START: Final = {
    "listener/daemon": {
        "run", "_serve", "Daemon.__init__", "Daemon.serve", "Daemon._stream_listeners",
        "Daemon._datagram_listeners", "Daemon._log_start", "Daemon._uncovered",
    },
    "sender/daemon": {
        "run", "_serve", "Daemon.__init__", "Daemon._connect", "Daemon._share", "Daemon._ringer",
        "Daemon._companions", "Daemon._cluster_client", "Daemon._resolver", "Daemon.serve",
        "Daemon._join_cluster", "Daemon._start_servers", "Daemon._log_start", "Daemon._uncovered",
    },
}  # fmt: skip


@cache
def files() -> tuple[str, ...]:
    """Return the names of all files that are tried, the most important first."""
    pure = [str(path.with_suffix("")) for path in _pure()]
    rest = [name for name in pure if name not in FIRST]
    return (*FIRST, *IN_PROCESSES, *rest)


def is_tried(name: str, scope: str) -> bool:
    """Tell whether a function of a file is tried.

    Args:
        name: as `files` has it.
        scope: the function or method; empty: what is in none.
    """
    return name not in OF_THE_START or scope in OF_THE_START[name]


def module_of(name: str) -> str:
    """Return the dotted name of a file.

    Args:
        name: as `files` has it.
    """
    return ("mailbell." + name.replace("/", ".")).removesuffix(".__init__")


def tests_of(name: str) -> tuple[str, ...]:
    """Return the files of tests that a file is tried with, the most telling first.

    Args:
        name: as `files` has it.
    """
    room, _, stem = name.rpartition("/")
    mirrored = TESTS / room / f"test_{stem.lstrip('_')}.py"
    found = [mirrored] if mirrored.exists() else []
    found += [TESTS / more for more in _table().get(name, ())]
    if not found:
        found = [
            path
            for path in sorted((TESTS / room).glob("test_*.py"))
            if module_of(name) in _imported(path)
        ]
    return tuple(str(path.relative_to(ROOT)) for path in found)


@cache
def _table() -> dict[str, list[str]]:
    return tomllib.loads((HERE / "tests.toml").read_text())


@cache
def _imported(path: Path) -> frozenset[str]:
    """Return the modules of the project that a file of tests may import."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(found)


def _pure() -> list[Path]:
    """Return the files that tests/test_layers.py calls pure."""
    table = TESTS / "test_layers.py"
    for node in ast.parse(table.read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "HOUSE" and node.value:
            rooms = re.sub(r"\bRoom\(", "_room(", ast.unparse(node.value))
            # The table is read and not imported: the tests around it are not wanted.
            found = eval(rooms, {"_room": _room})  # noqa: S307  it is our own source
            return [path for room in found for path in room]
    raise LookupError(table)


def _room(_floor: int, name: str, pure: tuple[str, ...] = (), *_acting: object) -> list[Path]:
    return [Path(name) / stem for stem in pure]

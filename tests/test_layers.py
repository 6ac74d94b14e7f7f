"""The rooms as a table: which file may import which. docs/architecture.md explains it.

Every file has a place: a floor, a room, and a position in the room. A file may import from
rooms on lower floors, and from files before it in its own room. So imports never form a
circle. The table is data. The test fails for a file without a row, and for a row without a
file.

A pure file gets time, bytes and randomness as arguments. It imports nothing that has an
effect, and no file that is not pure.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import mailbell

ROOT = Path(mailbell.__file__).parent


class Room(NamedTuple):
    """One folder: its pure files, then the others, each in the order of its imports."""

    floor: int
    name: str
    pure: tuple[str, ...] = ()
    acting: tuple[str, ...] = ()


HOUSE: Final = (
    Room(0, "", ("__init__",)),
    # What all programs share.
    Room(
        1,
        "core",
        (
            "errors",
            "escape",
            "account_name",
            "mailbox",
            "networks",
            "translation",
            "outcome",
            "sender_outcome",
            "notification",
            "target",
            "rfc4146",
            "coalesce",
            "clock",
        ),
    ),
    # The protocol of the local sockets. It knows no interface of ours.
    Room(
        1,
        "varlink",
        (
            "_errors",
            "_json",
            "_codec",
            "_message",
            "interface",
            "service",
            "conversation",
            "__init__",
        ),
    ),
    Room(2, "limits", ("gcra", "proven", "gate", "limiter")),
    Room(2, "configuration", ("values", "reader")),
    # Several senders as one.
    Room(
        2,
        "cluster",
        ("rendezvous", "report", "members", "messages", "inbox", "outbox", "repeats"),
        ("engine", "reaper", "node", "clients"),
    ),
    # A policy of system calls as data.
    Room(2, "syscalls", ("call_numbers", "policy", "policy_toml")),
    # The contract of each local socket.
    Room(
        3,
        "interfaces",
        ("local_event", "sandbox", "listener", "sender_status", "sender", "reply", "sender_reply"),
    ),
    Room(3, "logs", ("journal", "switch")),
    # What makes a mail server ring.
    Room(
        3,
        "recipes",
        ("_values", "facts", "steps", "recipe", "state", "plain", "page"),
        ("__init__",),
    ),
    # The boundary to the operating system. Only here are ctypes, ids and raw socket options.
    Room(
        3,
        "_sys",
        ("bpf_program",),
        (
            "_libc",
            "_libseccomp",
            "_stat",
            "undumpable",
            "environment",
            "unneeded",
            "interpreter",
            "signals",
            "signal_queue",
            "standard_streams",
            "inheritance",
            "port_holder",
            "local_listener",
            "sockets",
            "connections",
            "bpf",
            "credentials",
            "user_names",
            "proof",
            "process",
            "orphans",
            "companion",
            "landlock",
            "seccomp",
            "trusted_path",
            "whole_file",
            "own_addresses",
            "local_socket",
            "systemd",
        ),
    ),
    # Locks any program.
    Room(4, "sandbox", (), ("policy_file", "lock", "report")),
    # Shared by all daemons that accept connections.
    Room(
        4,
        "serving",
        (),
        (
            "local_place",
            "lifecycle",
            "intake",
            "_turns",
            "_users",
            "_varlink_peer",
            "varlink_server",
        ),
    ),
    # Shared by the clients of all local sockets.
    Room(
        4,
        "calling",
        ("daemon", "explain", "exchange"),
        ("trust", "connect", "channel", "places", "blocking", "trio"),
    ),
    # The public library for programs that subscribe at mailbelld.
    Room(
        5,
        "client",
        ("_mailbelld", "_conversation"),
        ("_path", "_blocking", "trio", "__init__"),
    ),
    # The public library for mail servers, which ring through mailbell-sender.
    Room(
        5,
        "sender_client",
        ("_sender", "_watcher"),
        ("_place", "_blocking", "trio", "__init__"),
    ),
    # mailbelld
    Room(
        5,
        "listener",
        (
            "configuration",
            "_packet_filter",
            "_accounts",
            "_waiting",
            "_counters",
            "_wakeups",
            "_account_state",
            "_hub",
            "_admission",
            "_recent",
        ),
        (
            "_binding",
            "_connections",
            "_local_service",
            "prepare",
            "daemon",
        ),
    ),
    # mailbell-sender
    Room(
        5,
        "sender",
        (
            "_host_port",
            "_values",
            "_store_url",
            "configuration",
            "_accounts",
            "_requests",
            "_dovecot_event",
            "_hook_line",
            "_line_decoder",
            "_comsat",
            "_cyrus_event",
            "_cyrus_queue",
            "_quiet_folders",
            "_speakers",
            "_counters",
            "_hook_places",
            "_late_rings",
            "_reception",
            "_address_rules",
            "_address_book",
            "_places",
            "_ring",
            "_delay_queue",
            "_backoff",
            "_call",
            "_schedule",
            "_bell",
            "_backlog",
            "_shared_bell",
            "_node_settings",
            "_names",
            "_resolv_conf",
            "_inquiries",
            "_dns_reply",
            "_watchers",
            "_recent",
            "_desk",
        ),
        (
            "_outgoing",
            "_named",
            "_dialer",
            "_companion",
            "_pair",
            "_resolver_client",
            "resolver",
            "cyrus_reader",
            "_cluster_client",
            "_node_at_work",
            "cluster_node",
            "_engine_settings",
            "_local_service",
            "_database",
            "_store_file",
            "_store",
            "_hook_server",
            "_datagram_server",
            "_binding",
            "prepare",
            "daemon",
        ),
    ),
    # mailbelld and mailbell-sender as services of this machine
    Room(
        5,
        "installation",
        ("service_files", "services"),
        (
            "_programs",
            "_walk",
            "environment",
            "steps",
            "_files",
            "_pages",
            "_systemd",
            "_accounts",
            "_confinement",
            "_running",
            "install",
            "uninstall",
        ),
    ),
    # The add-on for Thunderbird
    Room(5, "addon", ("xpi",), ("sources", "place")),
    # mailbell run
    Room(
        6,
        "agent",
        ("_pace", "_sleep", "_dbus", "_rtnetlink", "_lines", "preset", "folders", "configuration"),
        (
            "log",
            "_logind",
            "_awake",
            "_processes",
            "_descendants",
            "_session",
            "_keeper",
            "_child",
            "_lock",
            "_process",
            "_places",
            "_worker",
            "serve",
            "unit",
        ),
    ),
    # The command lines: one command a file.
    Room(
        7,
        "cli",
        ("_openmetrics", "_sender_metrics", "_sender_words", "_text"),
        (
            "_streams",
            "_door",
            "_toml_file",
            "_file",
            "_sender_file",
            "_options",
            "_common",
            "_layout",
            "_in_time",
            "_dial",
            "_units",
            "_finding",
            "_apparmor",
            "_service",
            "mailbelld",
            "mailbell_sender",
            "_machine",
            "check",
            "notify",
            "policy",
            "send",
            "status",
            "watch",
            "_screen",
            "top",
            "_agent_file",
            "_install",
            "run",
            "_here",
            "clients",
            "_root",
            "_install_service",
            "install",
            "uninstall",
            "_sender_machine",
            "sender_check",
            "_recipe_machine",
            "_recipe_check",
            "sender_recipe",
            "sender_ring",
            "sender_status",
            "sender_top",
            "sender_test",
            "_lazy",
            "sender",
            "_group",
            "__init__",
        ),
    ),
    # `python -m mailbell`, and the program mailbell-hook
    Room(8, "", (), ("__main__", "hook")),
)


def _path(room: Room, name: str) -> Path:
    return Path(room.name) / f"{name}.py"


RANK: Final = {
    _path(room, name): (room.floor, room.name, position)
    for room in HOUSE
    for position, name in enumerate((*room.pure, *room.acting))
}
PURE: Final = [_path(room, name) for room in HOUSE for name in room.pure]

# A pure module imports none of these.
IMPURE: Final = {
    "asyncio", "ctypes", "fcntl", "io", "logging", "multiprocessing", "os", "pathlib", "random",
    "resource", "select", "selectors", "secrets", "shutil", "signal", "socket", "ssl", "subprocess",
    "sys", "tempfile", "threading", "time", "trio",
}  # fmt: skip


def _is_empty(path: Path) -> bool:
    """A file with a docstring only marks a folder, and has no rank."""
    return len(ast.parse((ROOT / path).read_text()).body) <= 1


TREE: Final = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
RANKED: Final = [path for path in TREE if path.name != "__init__.py" or not _is_empty(path)]


@cache
def imports(path: Path) -> frozenset[str]:
    """Return all modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@cache
def file_of(name: str) -> Path | None:
    """Return the file that a dotted name means: a module, or a name in a module or a room."""
    parts = name.split(".")[1:]
    for length in range(len(parts), -1, -1):
        place = Path(*parts[:length])
        for candidate in (place.parent / f"{place.name}.py", place / "__init__.py"):
            if candidate in TREE:
                return candidate
    return None


@cache
def used(path: Path) -> frozenset[Path]:
    """Return the files of the project that a file imports."""
    names = {name for name in imports(path) if name.split(".")[0] == "mailbell"}
    found = {file for name in names if (file := file_of(name)) is not None}
    return frozenset(file for file in found if file in RANKED and file != path)


def is_below(lower: Path, upper: Path) -> bool:
    """Tell whether a file may be imported by another."""
    (floor, room, position), (floor_above, room_above, position_above) = RANK[lower], RANK[upper]
    return floor < floor_above or (room == room_above and position < position_above)


@pytest.mark.parametrize("path", RANKED, ids=str)
def test_every_file_has_its_place_and_imports_downwards_only(path: Path) -> None:
    assert path in RANK, "a new file needs a place: add it to the table"
    assert [file for file in used(path) if not is_below(file, path)] == []


def test_the_table_names_no_file_that_is_gone() -> None:
    assert set(RANK) == set(RANKED)
    assert len(RANK) == sum(len(room.pure) + len(room.acting) for room in HOUSE)


@pytest.mark.parametrize("path", PURE, ids=str)
def test_a_pure_file_imports_nothing_that_acts(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE
    assert [file for file in used(path) if file not in PURE] == []


@pytest.mark.parametrize("path", RANKED, ids=str)
def test_what_begins_with_an_underscore_stays_in_its_room(path: Path) -> None:
    private = [file for file in used(path) if file.name.startswith("_") and file.stem != "__init__"]
    assert [file for file in private if file.parent != path.parent] == []


@pytest.mark.parametrize("path", [p for p in TREE if p.parts[0] not in {"_sys", "cli"}], ids=str)
def test_ctypes_lives_in_one_place(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & {"ctypes", "pyseccomp", "seccomp"}


@pytest.mark.parametrize("path", TREE, ids=str)
def test_only_a_daemons_door_reaches_the_daemon(path: Path) -> None:
    doors = {"listener/daemon.py": "cli/mailbelld.py", "sender/daemon.py": "cli/mailbell_sender.py"}
    for daemon, door in doors.items():
        if path != Path(door):
            assert Path(daemon) not in used(path)


def modules_after(statement: str) -> set[str]:
    """Return the modules that a statement loads in a fresh interpreter."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "core.rfc4146",
        "core.coalesce",
        "limits.limiter",
        "listener.configuration",
        "listener._hub",
        "syscalls.policy_toml",
        "varlink",
        "interfaces.listener",
        "client",
        "sender_client",
    ],
)
def test_what_others_embed_or_fuzz_does_not_load_trio(module: str) -> None:
    assert "trio" not in modules_after(f"import mailbell.{module}")


if __name__ == "__main__":
    # For the Makefile: the files whose branches must all be tested.
    print(",".join(str(ROOT / path) for path in PURE))

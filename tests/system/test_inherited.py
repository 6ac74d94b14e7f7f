"""What the daemon inherits from whoever started it: each thing that execve(2) keeps.

docs/sandbox.md has the same list, with what becomes of each and why. Here each is set before
the daemon's program begins, and then the running, locked daemon is looked at from outside.
"""

import ctypes
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from harness import child
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from harness.inheriting import CHILD, SET, inheriting
from harness.ordinary import NOBODY, as_nobody
from system.support import program

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "sandbox.md"
NONE: Final = "unlimited"
IOPRIO_GET: Final = 252
IDLE_CLASS: Final = 3
PARENT: Final = """
import os, sys
if os.fork() == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
os.wait()
"""

Look = Callable[[Daemon], object]


def says(name: str) -> Look:
    return lambda daemon: daemon.kernel_says()[name]


def limit(line: str) -> Callable[[Daemon], list[str]]:
    """The soft and the hard limit in a line of /proc/PID/limits."""

    def look(daemon: Daemon) -> list[str]:
        text = Path(f"/proc/{daemon.pid}/limits").read_text()
        (found,) = re.findall(rf"^Max {line} +(\S+) +(\S+)", text, re.MULTILINE)
        return list(found)

    return look


def file(name: str) -> Look:
    return lambda daemon: Path(f"/proc/{daemon.pid}/{name}").read_text().strip()


def signals(name: str) -> Callable[[Daemon], set[int]]:
    """The signals in a mask of /proc/PID/status."""

    def look(daemon: Daemon) -> set[int]:
        bits = int(daemon.kernel_says()[name], 16)
        return {number for number in range(1, 65) if bits >> (number - 1) & 1}

    return look


def pending(daemon: Daemon) -> set[int]:
    return signals("SigPnd")(daemon) | signals("ShdPnd")(daemon)


def ignored_although_deadly(daemon: Daemon) -> set[int]:
    broken = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV,
              signal.SIGSYS, signal.SIGTRAP}  # fmt: skip
    return signals("SigIgn")(daemon) & (broken | {signal.SIGTERM, signal.SIGXCPU, signal.SIGPWR})


def children(daemon: Daemon) -> list[str]:
    return Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()


def as_user(hold: Path) -> list[str]:
    """As an ordinary user: when root starts it, the change of user makes a difference too."""
    return as_nobody(hold) if os.geteuid() == 0 else []


def inherited_children(daemon: Daemon) -> list[str]:
    """Without the strace of a watched run (`harness.watch`)."""
    return [pid for pid in children(daemon)
            if Path(f"/proc/{pid}/comm").read_text().strip() == CHILD]  # fmt: skip


def the_child_that_ends_is_gone(daemon: Daemon) -> bool:
    (pid,) = inherited_children(daemon)
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: pid not in children(daemon), "the end of the child")
    return True


def priority_of_disk_access(daemon: Daemon) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(ctypes.c_long(IOPRIO_GET), 1, daemon.pid)) >> 13


def mode_of_the_socket(daemon: Daemon) -> int:
    return daemon.path.stat().st_mode & 0o777


# Name, what is looked at, and what must be found.
FOUND: Final[tuple[tuple[str, Look, object], ...]] = (
    ("timers", signals("SigBlk"), set()),
    ("signals blocked and pending", signals("SigBlk"), set()),
    ("signals blocked and pending", pending, set()),
    ("signals ignored", ignored_although_deadly, set()),
    ("a child", the_child_that_ends_is_gone, True),
    ("adopter of orphans", inherited_children, []),
    ("real-time class", lambda daemon: os.sched_getscheduler(daemon.pid), os.SCHED_OTHER),
    ("idle class", lambda daemon: os.sched_getscheduler(daemon.pid), os.SCHED_IDLE),
    ("niceness", lambda daemon: os.getpriority(os.PRIO_PROCESS, daemon.pid), 7),
    ("processors", lambda daemon: len(os.sched_getaffinity(daemon.pid)), 1),
    ("priority of disk access", priority_of_disk_access, IDLE_CLASS),
    ("order of being killed without memory", file("oom_score_adj"), "321"),
    ("soft limit of processor time", limit("cpu time"), [NONE, NONE]),
    ("limit of processor time", limit("cpu time"), ["999", "1000"]),
    ("soft limit of file size", limit("file size"), [NONE, NONE]),
    ("soft limit of addresses", limit("address space"), [NONE, NONE]),
    ("soft limit of the stack", limit("stack size"), ["262144", NONE]),
    ("limit of pending signals", limit("pending signals"), ["0", "0"]),
    ("mask of file modes", mode_of_the_socket, 0o660),
    ("session", lambda daemon: os.getsid(daemon.pid) == daemon.pid, True),
    ("process group", lambda daemon: os.getpgid(daemon.pid) == daemon.pid, True),
    ("what is dumped", limit("core file size"), ["0", "0"]),
    ("no huge pages", says("THP_enabled"), "0"),
    ("speculation", says("Speculation_Store_Bypass"), "thread mitigated"),
    ("no new privileges", says("NoNewPrivs"), "1"),
)
# The kernel shows these of no other process, or only to root. The daemon must start and serve.
UNSEEN: Final = (
    "folder", "personality", "policy of memory", "death by broken memory", "keys of the session",
    "flusher of disks", "secure bits", "a little slack of timers", "slack of timers",
    "owner of standard error",
)  # fmt: skip
# Each has a test of its own below.
ALONE: Final = {"signal at the death of the parent", "known addresses"}


# These cannot be set together with others.
APART: Final = {
    "signals ignored", "idle class", "limit of processor time", "a little slack of timers",
    "process group",
}  # fmt: skip


def granted(name: str) -> bool:
    """Whether this user may set it on this machine. A child tries, which starts no process."""
    return name == "a child" or child.run(SET[name], seconds=PATIENCE).error is None


@pytest.mark.parametrize("names", [SET.keys() - ALONE - APART, APART], ids=["most", "apart"])
def test_what_becomes_of_what_is_inherited(names: set[str], open_path: Path) -> None:
    names = {name for name in names if granted(name)}
    assert len(names) > 3
    command = inheriting(*(name for name in SET if name in names))
    # In the idle class it gets what all other tests leave.
    with started(open_path, command=command, patience=10 * PATIENCE) as daemon:
        found = {(name, number): look(daemon) for number, (name, look, _) in enumerate(FOUND)
                 if name in names}  # fmt: skip
        assert found == {(name, number): wanted for number, (name, _, wanted) in enumerate(FOUND)
                         if name in names}  # fmt: skip
        if "idle class" in names:
            os.sched_setscheduler(daemon.pid, os.SCHED_OTHER, os.sched_param(0))
        ring(daemon.endpoint())
        until(lambda: daemon.counted() == {"accepted": 1})


def test_the_death_of_its_parent_does_not_end_it(open_path: Path, empty_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(open_path, NOBODY, NOBODY)
    command = [*as_user(empty_path), sys.executable, "-c", PARENT,
               *inheriting("signal at the death of the parent")]  # fmt: skip
    with started(open_path, command=command) as daemon:
        (pid,) = map(int, children(daemon))
        descriptor = os.pidfd_open(pid)
        try:
            daemon.process.kill()
            daemon.process.wait()
            ring(daemon.endpoint())
            until(lambda: daemon.counted() == {"accepted": 1})
        finally:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            assert select.select([descriptor], [], [], PATIENCE)[0]
            os.close(descriptor)


def test_memory_at_known_addresses_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mailbelld.toml"
    file.write_text(configuration(tmp_path))
    ended = subprocess.run(
        [*inheriting("known addresses"), *program("mailbelld"), "--config", str(file)],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert ended.returncode == 71
    assert ended.stderr == (
        "mailbelld: memory at addresses that are known cannot work in the sandbox;"
        " start it without setarch or a debugger\n"
    )


def test_each_is_set_somewhere() -> None:
    assert {name for name, *_ in FOUND} | {*UNSEEN} | ALONE == SET.keys()
    assert len(FOUND) > 20


def test_the_document_says_what_becomes_of_each() -> None:
    table = DOCUMENT.read_text().partition("<!-- inherited -->\n")[2].partition("<!-- /")[0]
    rows = [row.split("|")[1].strip() for row in table.splitlines()[2:]]
    assert {row for row in rows if row in SET} == SET.keys()
    for row in table.splitlines()[2:]:
        assert re.search(r"\| (reset|kept|harmless|refused|not kept|at once)\b", row), row

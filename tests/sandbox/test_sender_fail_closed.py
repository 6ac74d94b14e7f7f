"""The sender fails closed too: if a step of its start fails, no hook is heard.

The steps that every daemon has are tried one by one in `test_fail_closed.py`. Here each kind is
tried once more, and the sender's own steps are.
"""

import errno
import socket
import sys
from itertools import takewhile
from pathlib import Path
from typing import Final

import pytest
from harness.answering import lies, refused
from sandbox.start.attempt import SENDER, Attempt, attempt
from sandbox.start.packages import with_libseccomp, with_policy
from sandbox.start.steps import DROP, SET_DUMPABLE, Case, Who, case
from sandbox.start.surroundings import as_an_ordinary_user, no_openable_file, require_granted
from sandbox.test_fail_closed import LOCKING, ORDINARY, ROOT, lines_of

# What the sender's own steps need beside what every daemon does. Another process looks at the
# database and ends before the lock, and then the sender opens it. The kernel tells the addresses
# of this host. Landlock gets the ports that may be called.
OWN: Final = {
    "clone", "set_robust_list", "close_range", "pipe2", "pidfd_open", "poll", "wait4", "getrusage",
    "exit_group", "mkdir", "unlink", "pread64", "pwrite64", "fdatasync", "ftruncate", "recvfrom",
    "landlock_add_rule",
}  # fmt: skip

# Before Python 3.14, socket imports selectors, which makes an epoll and closes it.
TRIED: Final = int(sys.version_info < (3, 14))

FAILURES: Final = (
    case("close inherited", "standard input stays open", 71, "cannot start (close inherited)",
         answers=(refused(errno.EBUSY, "dup2"), refused(errno.EBUSY, "dup3"))),
    case("prepare", "no policy", 71, "mailbell-sender.toml: No such file",
         modules=with_policy(None)),
    case("prepare", "no local socket", 71, "cannot start (prepare): Too many open files",
         answers=refused(errno.EMFILE, "socket", {0: socket.AF_UNIX})),
    case("prepare", "the kernel tells no addresses of this host", 71, "cannot start (prepare)",
         answers=refused(errno.EMFILE, "socket", {0: socket.AF_NETLINK})),
    case("prepare", "no epoll of the dialer's own", 71, "cannot start (prepare)",
         answers=refused(errno.EMFILE, "epoll_create1", nth=TRIED + 1)),
    case("prepare", "no process to look at the database", 71, "cannot start (prepare)",
         answers=refused(errno.EAGAIN, "clone")),
    case("prepare", "no status", 71, "cannot start (prepare)", "/proc/self/status",
         before=no_openable_file("/proc/self/status")),
    case(DROP, "setresuid", 77, "cannot become nobody", who=Who.ROOT,
         answers=refused(errno.EAGAIN, "setresuid", {0: 65534}, nth=2)),
    case(DROP, "dumpable", 71, "dumpable: ", answers=refused(
         errno.EINVAL, "prctl", {0: SET_DUMPABLE}, nth=4 if ROOT else 2)),
    case(DROP, "Landlock makes no ruleset", 71, "Landlock refused",
         answers=refused(errno.E2BIG, "landlock_create_ruleset", {2: 0})),
    case(DROP, "Landlock takes no port", 71, "Landlock refused",
         answers=refused(errno.EINVAL, "landlock_add_rule")),
    case(DROP, "Landlock binds", 70, "Landlock is in force, but a file can still be opened",
         answers=lies("landlock_restrict_self")),
    case("start event loop", "no epoll", 71, "cannot start (start event loop)",
         answers=refused(errno.EMFILE, "epoll_create1", nth=TRIED + 2)),
    case("lock", "the filter is in force", 70, "a file could still be opened",
         answers=lies("seccomp", {0: 1, 2: None})),
    case("lock", "libseccomp says it has loaded it", 70, "seccomp is 0, not 2",
         modules=with_libseccomp("pass")),
)  # fmt: skip

# What the sender does without, and says so.
TOLERATED: Final = (
    case("prepare", "no SO_PASSRIGHTS", 0, 'event=uncovered what="descriptors passed by local',
         answers=refused(errno.ENOPROTOOPT, "setsockopt", {1: 1, 2: 83})),
    case(DROP, "the database cannot be opened", 0, "event=store_unusable",
         answers=refused(errno.EACCES, "mkdir")),
)  # fmt: skip


@pytest.fixture
def directory(open_path: Path) -> Path:
    return open_path


def start(directory: Path, tried: Case) -> Attempt:
    if tried.who is Who.ROOT and not ROOT:
        pytest.skip("needs root, who has something to drop")
    if tried.before and not ROOT:
        require_granted()
    user = (as_an_ordinary_user(),) if tried.who is Who.USER else ()
    return attempt(
        directory,
        answers=tried.answers,
        before=(*user, *tried.before),
        environ=tried.modules(directory) if tried.modules else {},
        passed=tried.passed,
        program=SENDER,
    )


def require_started(ended: Attempt, *parts: str) -> None:
    assert ended.code == 0, ended
    assert ended.accepted, ended
    for part in parts:
        assert any(part in line for line in ended.lines), ended
    says = lines_of(ended.status)
    assert (says["Seccomp"], says["NoNewPrivs"], says["Threads"]) == ("2", "1", "1")


def test_when_nothing_goes_wrong_it_starts(directory: Path) -> None:
    """The control: without it, the tests below could pass for another reason."""
    ended = attempt(directory, program=SENDER)
    require_started(ended, "event=locked", "event=refused account=anna")
    assert ended.ready


@pytest.mark.parametrize("tried", FAILURES, ids=str)
def test_a_step_that_fails_ends_it(tried: Case, directory: Path) -> None:
    ended = start(directory, tried)
    assert not ended.ready, ended
    assert not ended.accepted, ended
    assert not ended.connectable, ended
    assert ended.code == tried.code, ended
    lines = ended.lines
    assert len(lines) == 1, ended
    assert lines[0].startswith("mailbell-sender: "), ended
    for part in tried.parts:
        assert part in lines[0], ended
    assert "; " in lines[0], f"no remedy: {ended}"


@pytest.mark.parametrize("tried", TOLERATED, ids=str)
def test_what_it_can_do_without_it_says(tried: Case, directory: Path) -> None:
    require_started(start(directory, tried), *tried.parts)


def test_its_start_makes_no_call_that_was_not_thought_of(directory: Path) -> None:
    ended = attempt(directory, record=True, program=SENDER)
    assert ended.ready, ended
    # Before the message that it is ready, it asks the kernel for the addresses of this host.
    until_ready = takewhile(
        lambda call: call[0] != "sendto" or call[1][3] != socket.MSG_NOSIGNAL, ended.calls
    )
    made = {name for name, _ in until_ready} - {"sendto"}
    assert made - LOCKING - ORDINARY - OWN == set()
    assert made >= {"landlock_restrict_self", "seccomp", "prlimit64"}

"""The right to fetch, with real files, and real processes that end in different ways."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from harness.child import run
from harness.daemon import until
from harness.libseccomp import libseccomp
from harness.ordinary import NOBODY
from harness.sender import PATIENCE
from hypothesis import given
from hypothesis import strategies as st

from mailbell._sys.trusted_path import make_folders
from mailbell.agent import _lock
from mailbell.agent._lock import Turn, take, take_all
from mailbell.agent._session import Running, Session
from mailbell.agent.folders import state_folder
from mailbell.core.errors import (
    ConfigurationError,
    MailbellError,
    OperatingSystemError,
    PrivilegeError,
    TemporaryError,
)

ALL: tuple[str, ...] = ()

# Takes the locks of its arguments, and waits until it is killed or its input ends. With
# "child" it first starts a program that outlives it and keeps every inherited descriptor.
HOLDER = """
import subprocess, sys
from mailbell.agent._lock import take
place, lock, accounts, child = sys.argv[1:]
turn = take(place, lock, accounts.split())
if child:
    subprocess.Popen(["cat"], close_fds=False)
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "mailbell")


@contextmanager
def holder(
    place: str, accounts: str = "", lock: str = "fetch", child: str = ""
) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has the locks. It is killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, place, lock, accounts, child],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == "taken\n"
        yield process
    finally:
        process.kill()
        process.stdin.close()  # its child ends now
        process.stdout.close()
        process.wait(PATIENCE)


def refused(place: str, lock: str, accounts: Collection[str]) -> TemporaryError | None:
    try:
        take(place, lock, accounts).close()
    except TemporaryError as error:
        return error
    return None


# --- which locks exclude each other ---------------------------------------------------------------

names = st.sampled_from(["work", "all", "fetch", "a.b", "x@example.org", "work.all", "w"])
accounts = st.one_of(st.just(frozenset[str]()), st.frozensets(names, max_size=4))
locks = st.sampled_from(["fetch", "fetch.work", "work", "all"])
wanted = st.lists(st.tuples(locks, accounts), min_size=1, max_size=3)


@given(accounts, accounts)
def test_two_conflict_exactly_when_they_share_an_account_or_one_has_all(
    first: frozenset[str], second: frozenset[str]
) -> None:
    with tempfile.TemporaryDirectory() as base:
        place = f"{base}/mailbell"
        with take(place, "fetch", first):
            conflict = refused(place, "fetch", second) is not None
        assert conflict == (not first or not second or bool(first & second))
        assert refused(place, "fetch", second) is None, "it was given back"


@given(st.lists(wanted, max_size=4))
def test_any_number_of_agents_with_any_locks(
    agents: list[list[tuple[str, frozenset[str]]]],
) -> None:
    def conflict(one: tuple[str, frozenset[str]], other: tuple[str, frozenset[str]]) -> bool:
        same = one[0] == other[0]
        return same and (not one[1] or not other[1] or bool(one[1] & other[1]))

    with tempfile.TemporaryDirectory() as base, ExitStack() as turns:
        running: list[tuple[str, frozenset[str]]] = []
        for agent in agents:
            if any(conflict(mine, theirs) for mine in agent for theirs in running):
                with pytest.raises(TemporaryError):
                    take_all(f"{base}/mailbell", agent)
            else:
                turns.enter_context(take_all(f"{base}/mailbell", agent))
                running += agent


def test_accounts_are_taken_in_one_order(place: str) -> None:
    """So of several agents that start at once with the same locks, one gets all of them."""
    names = ["f", "c", "a", "e", "b", "d"]
    with ExitStack() as turns:
        theirs = {name: turns.enter_context(take(place, "fetch", [name])) for name in names}
        for name in sorted(names):
            error = refused(place, "fetch", names)
            assert error
            assert f"for account {name} already" in error.what
            theirs[name].close()


def test_who_is_refused_keeps_nothing(place: str) -> None:
    with take(place, "fetch", ["m"]):
        assert refused(place, "fetch", ["a", "m", "z"])
        for free in ("a", "z"):
            assert refused(place, "fetch", [free]) is None
    before = len(os.listdir("/proc/self/fd"))
    with take(place, "fetch", ["m"]):
        assert refused(place, "fetch", ["a", "m", "z"])
        assert refused(place, "fetch", ALL)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_account_may_be_named_twice(place: str) -> None:
    with take(place, "fetch", ["work", "work"]):
        assert refused(place, "fetch", ["work"])


def test_it_can_be_closed_again(place: str) -> None:
    turn = take(place, "fetch", ["work"])
    turn.close()
    with take(place, "fetch", ["work"]):
        turn.close()
        assert refused(place, "fetch", ["work"])
    Turn(place).close()


# --- processes -------------------------------------------------------------------------

CASES = {
    "the same account": ("work", ["work"], "for account work already"),
    "one of several": ("home work", ["a", "work"], "for account work already"),
    "all and one": ("", ["work"], "for all accounts already"),
    "one and all": ("work", [], "for account work already"),
    "all and all": ("", [], "for all accounts already"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_message_says_who_has_what_and_what_to_do(place: str, case: str) -> None:
    theirs, ours, whose = CASES[case]
    with holder(place, theirs) as other:
        error = refused(place, "fetch", ours)
        assert error
        assert error.exit_code == 75
        assert f"another mailbell run (pid {other.pid}) fetches {whose}" in error.what
        assert error.remedy == "end it, or choose another --lock"
        assert refused(place, "fetch", ["private"]) is None or not theirs
        assert refused(place, "index", ours) is None


def test_of_several_that_have_some_one_that_lives_is_named(place: str) -> None:
    with holder(place, "b") as living:
        with holder(place, "a") as dying:
            error = refused(place, "fetch", ALL)
            assert error
            assert f"(pid {dying.pid}) fetches for account a" in error.what
        error = refused(place, "fetch", ALL)
        assert error
        assert f"(pid {living.pid}) fetches for account b" in error.what


def test_the_number_of_one_who_had_all_and_was_killed_is_not_named(place: str) -> None:
    with holder(place) as dead:
        pass
    assert Path(place, "fetch").read_text() == f"{dead.pid}\n"
    # The number may now belong to another process.
    Path(place, "fetch").write_text(f"{os.getpid()}\n")
    with holder(place, "work") as living:
        error = refused(place, "fetch", ALL)
        assert error
        assert f"(pid {living.pid}) fetches for account work" in error.what


def test_without_a_number_the_message_has_none(place: str) -> None:
    with take(place, "fetch", ["work"]), open(f"{place}/fetch:work", "w") as file:
        for text in ("", "no number\n", "-1\n", "0\n", "99999999999\n"):
            file.seek(0)
            file.truncate()
            file.write(text)
            file.flush()
            error = refused(place, "fetch", ["work"])
            assert error
            assert error.what.startswith("another mailbell run fetches for account work")
            error = refused(place, "fetch", ALL)
            assert error
            assert error.what.startswith("another mailbell run fetches for some accounts")


def test_nothing_is_left_in_the_files_when_it_ends_in_order(place: str) -> None:
    take_all(place, [("fetch", ["work"]), ("index", ALL)]).close()
    files = {path.name: path.read_text() for path in Path(place).iterdir()}
    assert files == {"fetch": "", "fetch:work": "", "index": ""}


@pytest.mark.parametrize("accounts", ["work", ""])
def test_who_is_killed_holds_nothing_any_more(place: str, accounts: str) -> None:
    with holder(place, accounts) as other:
        assert refused(place, "fetch", accounts.split())
        other.send_signal(signal.SIGKILL)
        other.wait(PATIENCE)
        assert refused(place, "fetch", accounts.split()) is None


def test_a_program_that_it_started_does_not_hold_it(place: str) -> None:
    with holder(place, "work", child="child") as other:
        other.send_signal(signal.SIGKILL)
        other.wait(PATIENCE)
        assert other.stdin
        assert refused(place, "fetch", ["work"]) is None
        # The child still lives: it reads what the test writes.
        other.stdin.write("x")
        other.stdin.flush()


def test_of_many_that_start_at_once_one_has_it(place: str) -> None:
    """And none waits, in whatever order they name the accounts."""
    code = """
import sys
from mailbell.core.errors import TemporaryError
from mailbell.agent._lock import take
sys.stdin.readline()
try:
    turn = take(sys.argv[1], "fetch", sys.argv[2:])
    print("taken", flush=True)
except TemporaryError:
    print("refused", flush=True)
sys.stdin.read()
"""
    orders = [["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"], ["a", "c", "b"]]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, place, *order],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for order in orders
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.stdout.readline() for process in processes if process.stdout]
    finally:
        for process in processes:
            process.communicate(timeout=PATIENCE)
    assert sorted(said) == ["refused\n"] * 3 + ["taken\n"]
    assert refused(place, "fetch", ["a", "b", "c"]) is None


# --- the directory ----------------------------------------------------------------------


def mode(path: str) -> int:
    return os.stat(path).st_mode & 0o7777


def test_it_is_made_and_only_ours(tmp_path: Path) -> None:
    place = str(tmp_path / "home" / ".cache" / "mailbell")
    umask = os.umask(0)
    try:
        take(place, "fetch", ["work"]).close()
    finally:
        os.umask(umask)
    assert [mode(place), mode(f"{place}/fetch"), mode(f"{place}/fetch:work")] == [
        0o700, 0o600, 0o600,
    ]  # fmt: skip


def as_link(path: Path) -> None:
    path.with_name("elsewhere").mkdir()
    path.symlink_to(path.with_name("elsewhere"))


def as_dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def for_group(path: Path) -> None:
    path.mkdir()
    path.chmod(0o720)


def for_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o1702)


@pytest.mark.parametrize("make", [as_link, as_dangling_link, Path.touch, for_group, for_all])
def test_one_that_others_could_change_is_refused(place: str, make: Callable[[Path], None]) -> None:
    make(Path(place))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigurationError) as caught:
        take(place, "fetch", ["work"])
    assert place in caught.value.what
    assert place in caught.value.remedy
    assert not Path(place, "fetch").exists()
    assert len(os.listdir("/proc/self/fd")) == before


def as_open_parent(top: Path) -> Path:
    (top / "state").mkdir()
    (top / "state").chmod(0o777)
    return top / "state/mailbell"


def as_open_parent_far_above(top: Path) -> Path:
    (top / "state/a/b").mkdir(parents=True)
    (top / "state").chmod(0o777)
    return top / "state/a/b/mailbell"


def as_link_above(top: Path) -> Path:
    (top / "state/real").mkdir(parents=True)
    (top / "state").chmod(0o777)
    (top / "link").symlink_to("state/real")
    return top / "link/mailbell"


@pytest.mark.parametrize("make", [as_open_parent, as_open_parent_far_above, as_link_above])
def test_one_below_a_folder_that_others_may_write_is_refused(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """Another user moves it away. Then two agents hold the lock of the same name."""
    place = make(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigurationError) as caught:
        take(str(place), "fetch", [])
    assert caught.value.what.startswith(f"other users may write to {tmp_path}/state, who could")
    assert caught.value.remedy == f"chmod go-w {tmp_path}/state"
    assert not place.exists()
    assert len(os.listdir("/proc/self/fd")) == before
    (tmp_path / "state").chmod(0o755)  # the remedy works
    take(str(place), "fetch", []).close()


def test_a_folder_that_another_user_makes_first_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was missing when the agent looked, and is there when the agent makes the rest."""
    tmp_path.chmod(0o1777)

    def make(path: str) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x").chmod(0o777)
        make_folders(path)

    monkeypatch.setattr(_lock, "make_folders", make)
    with pytest.raises(ConfigurationError, match=f"other users may write to {tmp_path}/x, who"):
        take(str(tmp_path / "x/state/mailbell"), "fetch", [])


def test_its_parents_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    """A umask of 0 must not make a folder that others may write."""
    before = os.umask(0)
    try:
        take(str(tmp_path / "a/b/mailbell"), "fetch", []).close()
    finally:
        os.umask(before)
    made = [tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/mailbell"]
    assert [os.stat(path).st_mode & 0o777 for path in made] == [0o700] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a directory away")
def test_one_of_another_user_is_refused(place: str) -> None:
    os.mkdir(place)
    os.chown(place, NOBODY, NOBODY)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigurationError, match=f"belongs to user {NOBODY}"):
        take(place, "fetch", ["work"])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_lock_that_is_a_link_is_not_followed(place: str, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    os.mkdir(place, 0o700)
    os.symlink(target, f"{place}/fetch:work")
    with pytest.raises(MailbellError):
        take(place, "fetch", ["private", "work"])
    assert target.read_text() == "precious"
    assert refused(place, "fetch", ALL) is None
    assert refused(place, "fetch", ["private"]) is None


@pytest.mark.parametrize(
    "name", ["", ".", "../x", "a/b", "fetch:work", "a b", "é", "x" * 65, "a\n"]
)
def test_a_name_that_could_lead_elsewhere_is_refused(place: str, name: str) -> None:
    for lock, account in ((name, "work"), ("fetch", name)):
        with pytest.raises(ConfigurationError):
            take(place, lock, [account])
    assert not Path(place).exists()


def test_where_nothing_can_be_made_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError):
        take(str(tmp_path / "file" / "mailbell"), "fetch", ALL)
    with pytest.raises(PrivilegeError) as caught:
        take("/sys/kernel/mailbell", "fetch", ALL)
    assert "HOME" in caught.value.remedy


def test_a_file_system_without_locks_is_said(place: str) -> None:
    """For example on a network file system without a lock manager."""

    def inside() -> int:
        refused = libseccomp.SyscallFilter(libseccomp.ALLOW)
        refused.add_rule(libseccomp.ERRNO(errno.ENOLCK), "flock")
        refused.load()
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OperatingSystemError, match="No locks available"):
            take(place, "fetch", ["work"])
        return len(os.listdir("/proc/self/fd")) - before

    ended = run(inside)
    assert ended.value == 0, ended


def test_a_full_disk_keeps_nobody_from_fetching(tmp_path: Path) -> None:
    place = tmp_path / "mailbell"
    place.mkdir(mode=0o700)
    for name in ("fetch", "fetch:work"):
        (place / name).touch()

    def inside() -> bool:
        # No file may grow, so a write fails as on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        with take(str(place), "fetch", ["work"]):
            return refused(str(place), "fetch", ["work"]) is not None

    assert run(inside).value is True


# --- where it is ------------------------------------------------------------------------


def test_all_that_is_missing_on_the_way_is_made(tmp_path: Path) -> None:
    place = state_folder({"HOME": str(tmp_path)})
    with take(place, "fetch", []):
        assert refused(place, "fetch", ["work"])


# --- what an agent that was killed has left -----------------------------------------------

# Takes the lock, starts a command in a session of its own, and prints its number. The command
# starts another process and prints its number. Both live until the test ends them.
KILLED = """
import os, signal, sys
from mailbell.agent._lock import take
from mailbell.agent._session import Running, Session
place, accounts, leader = sys.argv[1:]
turn = take(place, "fetch", accounts.split())
running = Running(turn.note)
reader, writer = os.pipe()
command = os.fork()
if command == 0:
    os.setsid()
    os.closerange(writer + 1, 20)  # as execve(2) does: these descriptors hold the lock
    os.closerange(3, writer)
    other = os.fork()
    if other:
        os.write(writer, f"{os.getpid()} {other}\\n".encode())
        if leader == "gone":
            os._exit(0)
    while True:
        signal.pause()
os.close(writer)
told = os.read(reader, 100)
with running.during(Session.of(command)):
    if leader == "gone":
        os.waitpid(command, 0)
    print(told.decode(), end="", flush=True)
    sys.stdin.read()
"""


@contextmanager
def killed(place: str, accounts: str = "", leader: str = "lives") -> Iterator[tuple[int, int]]:
    """The processes of a command that outlive their agent. They end with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, place, accounts, leader],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    command, other = map(int, process.stdout.readline().split())
    try:
        process.kill()
        process.wait(PATIENCE)
        yield command, other
    finally:
        # A test may have ended them, and process 1 may have buried them since.
        with suppress(ProcessLookupError):
            os.killpg(command, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()


TAKERS = {
    "the same account": ("work", ["work"]),
    "one of several": ("home work", ["a", "work"]),
    "all and one": ("", ["work"]),
    "one and all": ("work", []),
    "all and all": ("", []),
}


@pytest.mark.parametrize("case", TAKERS)
def test_a_command_that_outlives_its_agent_keeps_the_lock(place: str, case: str) -> None:
    theirs, ours = TAKERS[case]
    with killed(place, theirs) as (command, _):
        for _ in range(2):  # a refusal changes nothing
            error = refused(place, "fetch", ours)
            assert error
            assert error.exit_code == 75
            assert f"process {command}, which an earlier mailbell run started" in error.what
        assert refused(place, "index", ours) is None
        assert refused(place, "fetch", ["private"]) is None or not theirs
    until(lambda: refused(place, "fetch", ours) is None)


def test_so_does_what_the_command_has_started(place: str) -> None:
    with killed(place, "work", leader="gone") as (_, other):
        error = refused(place, "fetch", ["work"])
        assert error
        assert f"process {other}, which" in error.what
        os.kill(other, signal.SIGKILL)
        until(lambda: refused(place, "fetch", ["work"]) is None)


def test_of_what_has_ended_nothing_is_kept(place: str) -> None:
    with killed(place, "work") as (command, _):
        pass
    assert f"\n{command} " in Path(place, "fetch:work").read_text()
    until(lambda: refused(place, "fetch", ["work"]) is None)
    assert Path(place, "fetch:work").read_text() == ""


def test_a_number_that_is_by_now_another_process_is_not_meant(place: str) -> None:
    """Also after a restart of the machine."""
    # A session of its own: that of the tests may belong to another process namespace.
    runs = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)
    ours = Session.of(runs.pid)
    os.mkdir(place, 0o700)
    for other in (replace(ours, began=ours.began + 1), replace(ours, boot="another")):
        Path(place, "fetch:work").write_bytes(b"4711\n" + other.note() + b"\n")
        assert refused(place, "fetch", ["work"]) is None
    Path(place, "fetch:work").write_bytes(b"4711\n" + ours.note() + b"\n")
    assert refused(place, "fetch", ["work"])
    runs.communicate()


@pytest.mark.parametrize(
    "text", [b"", b"\n\n", b"4711\n0 1 a\n", b"4711\n1 2\n", b"\xff" * 99, b"1 2 3 4\n" * 9999]
)
def test_what_is_no_note_means_nothing(place: str, text: bytes) -> None:
    os.mkdir(place, 0o700)
    Path(place, "fetch:work").write_bytes(text)
    assert refused(place, "fetch", ["work"]) is None


def test_a_command_that_could_not_be_ended_is_known_after_the_agent(place: str) -> None:
    """For example a program under sudo, or a process that waits for a dead file server."""
    turn = take(place, "fetch", ["work"])
    running = Running(turn.note)
    stays = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)
    with running.during(Session.of(stays.pid)):
        pass
    turn.close()
    error = refused(place, "fetch", ["work"])
    assert error
    assert f"process {stays.pid}, which" in error.what
    stays.communicate()
    assert refused(place, "fetch", ["work"]) is None


# Takes the lock, leaves a process that holds it as a keeper does, and ends. That process is in
# no session that is noted. It ends with its input.
LEFT = """
import os, sys
from mailbell.agent._lock import take
turn = take(sys.argv[1], "fetch", sys.argv[2].split())
if os.fork() == 0:
    sys.stdin.read()
else:
    print(os.getpid(), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("accounts", ["", "work"])
def test_what_only_a_keeper_still_watches_keeps_the_lock(place: str, accounts: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LEFT, place, accounts],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    pid = process.stdout.readline().strip()
    process.wait(PATIENCE)
    error = refused(place, "fetch", accounts.split())
    assert error
    assert error.what.startswith(f"what an earlier mailbell run (pid {pid}) has started still runs")
    process.stdin.close()
    process.stdout.close()
    until(lambda: refused(place, "fetch", accounts.split()) is None)


# A keeper whose agent has ended, and which a command has stopped.
STOPPED = """
import os, signal, sys
from mailbell.agent._lock import take
turn = take(sys.argv[1], "fetch", [])
os.truncate(os.path.join(sys.argv[1], "fetch"), 0)
with open("/proc/self/comm", "wb") as file:
    file.write(b"mailbell-keeper")
signal.alarm(60)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.parametrize("accounts", ["", "work"])
def test_a_keeper_that_is_stopped_goes_on_and_is_named(place: str, accounts: str) -> None:
    keeper = subprocess.Popen([sys.executable, "-c", STOPPED, place])
    os.waitid(os.P_PID, keeper.pid, os.WSTOPPED)
    error = refused(place, "fetch", accounts.split())
    assert error
    assert error.exit_code == 75
    assert error.what.startswith(f"a mailbell-keeper (pid {keeper.pid}) was stopped")
    assert keeper.wait(PATIENCE) == 0
    assert refused(place, "fetch", accounts.split()) is None


# --- when the files are removed --------------------------------------------------------


def remove(*names: str) -> Callable[[Path], None]:
    def from_folder(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return from_folder


def move(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


def copy(folder: Path) -> None:
    copied = shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    copied.rename(folder)


LOSSES: dict[str, Callable[[Path], None]] = {
    "the folder is removed": shutil.rmtree,
    "the folder is moved": move,
    "the account's file is removed": remove("fetch:work"),
    "the common file is removed": remove("fetch"),
    "both files are removed": remove("fetch:work", "fetch"),
    "a copy takes its place": copy,
}


def test_while_nothing_is_lost_nothing_is_taken_again(place: str) -> None:
    with take(place, "fetch", ["work"]) as turn:
        assert not turn.renew()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lock_that_was_lost_is_taken_again(place: str, loss: str) -> None:
    """It keeps its descriptors, which later keepers inherit by their numbers."""
    with take(place, "fetch", ["work"]) as turn:
        before = turn.descriptors
        LOSSES[loss](Path(place))
        assert turn.renew()
        assert not turn.renew()
        assert turn.descriptors == before
        assert not any(map(os.get_inheritable, before))
        assert refused(place, "fetch", ["work"])
        assert f"pid {os.getpid()})" in str(refused(place, "fetch", ["work"]))
        assert refused(place, "fetch", ALL)
        assert not refused(place, "fetch", ["home"])
    assert not refused(place, "fetch", ALL)


# What the agent has, what is lost, and what another agent has by then.
QUICKER = [
    (["work"], "the folder is removed", "work"),
    (["work"], "the folder is moved", ""),
    (["work"], "the account's file is removed", "work"),
    (["work"], "the common file is removed", ""),
    (["work"], "a copy takes its place", "work"),
    (ALL, "the folder is removed", "work"),
    (ALL, "the common file is removed", "work"),
    (ALL, "a copy takes its place", ""),
]


@pytest.mark.parametrize(("accounts", "loss", "others"), QUICKER)
def test_one_that_another_agent_has_by_now_is_an_error(
    place: str, accounts: Collection[str], loss: str, others: str
) -> None:
    with take(place, "fetch", accounts) as turn:
        LOSSES[loss](Path(place))
        with holder(place, others) as other:
            with pytest.raises(TemporaryError, match="was removed or replaced while") as caught:
                turn.renew()
            assert f"pid {other.pid})" in str(caught.value)


@pytest.fixture
def session() -> Iterator[Session]:
    """A session with a process that lives. That of the tests may be outside of their namespace."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        yield Session.of(process.pid)


def test_the_sessions_of_its_commands_are_known_in_the_new_files_too(
    place: str, session: Session
) -> None:
    with take(place, "fetch", ["work"]) as turn:
        turn.note([session])
        shutil.rmtree(place)
        assert turn.renew()
        assert Path(place, "fetch:work").read_bytes().splitlines() == [
            b"%d" % os.getpid(),
            session.note(),
        ]
        turn.note([])


def test_a_command_of_another_agent_that_was_killed_meanwhile_keeps_it(
    place: str, session: Session
) -> None:
    """The agent for all accounts looks into the files of all accounts, as at its start."""
    with take(place, "fetch", ALL) as turn:
        shutil.rmtree(place)
        Path(place).mkdir(mode=0o700)
        Path(place, "fetch:work").write_bytes(b"1\n" + session.note() + b"\n")
        with pytest.raises(TemporaryError, match="which an earlier mailbell run started"):
            turn.renew()


def test_where_it_cannot_be_taken_again_it_says_what_to_do(place: str) -> None:
    with take(place, "fetch", ["work"]) as turn:
        shutil.rmtree(place)
        Path(place).touch()
        with pytest.raises(ConfigurationError, match=r"and now .* is a link, or not a directory"):
            turn.renew()

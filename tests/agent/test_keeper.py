"""Nothing gets away from the keeper of a command: real processes that try to."""

import errno
import fcntl
import os
import signal
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio
from agent.commands import Run, forgotten, python, runs
from agent.runaways import RUNAWAYS, comet, commanded, is_free, needs_compiler, runaway
from harness import child
from harness.daemon import until
from harness.libseccomp import libseccomp
from harness.sender import PATIENCE

from mailbell._sys._libc import prctl
from mailbell._sys.orphans import adopt_orphans
from mailbell._sys.undumpable import PR_GET_DUMPABLE
from mailbell.agent import _keeper, _process
from mailbell.agent._child import start
from mailbell.agent._process import Ended
from mailbell.agent._session import Session

# Seconds from SIGTERM to SIGKILL, for commands that ignore SIGTERM.
SOON = 0.1


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check that no descriptor is left, and no process that has ended and was not reaped."""
    monkeypatch.setattr(_process, "GRACE", 0.05)
    monkeypatch.setattr(_process, "KILLED_WITHIN", PATIENCE)  # for machines that are slow
    before = os.listdir("/proc/self/fd")
    ended = forgotten()  # of other tests
    yield
    assert os.listdir("/proc/self/fd") == before
    assert forgotten() <= ended


# --- what runs away ------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> str:
    return comet(tmp_path_factory.mktemp("comet"))


@needs_compiler
@pytest.mark.parametrize("how", ["", "s"], ids=["groups", "sessions"])
@pytest.mark.parametrize(
    ("links", "hop"), [(1, 0), (1, 10), (1, 100), (1, 1000), (5, 0), (20, 1000)]
)
async def test_a_chain_that_moves_on_is_caught(
    tmp_path: Path, chain: str, hop: int, how: str, links: int
) -> None:
    """Each link lives for some microseconds, which is less than one look takes."""
    note = tmp_path / "note"
    argv = [chain, str(note), "20", str(hop), str(links), *how]
    ended = await Run()(argv, kill_after=SOON)
    assert is_free(note)
    assert (ended.code, ended.left_over) == (0, True)


@pytest.mark.parametrize("name", RUNAWAYS)
async def test_nothing_gets_away(tmp_path: Path, name: str) -> None:
    note = tmp_path / "note"
    ended = await Run()(runaway(name, note), kill_after=SOON)
    assert is_free(note)
    assert (ended.code, ended.left_over) == (4, True)


@pytest.mark.parametrize("name", ["sessions", "stopped", "a brother", "they restart each other"])
async def test_nor_when_the_agent_ends_the_run(tmp_path: Path, name: str) -> None:
    note = tmp_path / "note"
    once = Run()
    with trio.CancelScope() as scope:
        once.on(b"ready", scope.cancel)
        argv = runaway(name, note)
        await once(
            [*argv[:4], argv[4].replace("sys.exit(4)", "say('ready'); hang()"), *argv[5:]],
            kill_after=SOON,
        )
    assert scope.cancelled_caught
    assert is_free(note)


# Ends its child in the moment when it ends itself.
BOTH_END = """
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
"""


async def test_one_that_ends_with_the_command_is_not_left_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_process, "GRACE", PATIENCE)  # for machines that are slow
    for _ in range(20):
        ended = await Run()(python(BOTH_END))
        assert (ended.code, ended.left_over) == (0, False)


async def test_of_two_commands_each_has_what_is_its_own() -> None:
    """What one leaves in other sessions ends with it, and what the other has stays."""
    first, second = Run(), Run()
    went_on = []
    leave = "child(lambda: (os.setsid(), say(os.getpid())))\n"

    async def end_the_first() -> None:
        ended = await first(python(leave + "sys.exit(4)"))
        assert (ended.code, ended.left_over) == (4, True)
        went_on.append(runs(int(second.lines[0])))
        second.control.terminate()

    async with trio.open_nursery() as nursery:
        second.on(b"ready", lambda: nursery.start_soon(end_the_first))
        ended = await second(python(leave + "say('ready'); hang()"))
    assert went_on == [True]
    assert ended.signal == signal.SIGTERM
    assert not runs(int(first.lines[0]))
    assert not runs(int(second.lines[0]))


async def test_what_ends_during_a_run_is_reaped() -> None:
    once = Run()
    ended = await once(
        python("""
            def parent(pid):
                with open(f"/proc/{pid}/stat") as file:
                    return int(file.read().rpartition(") ")[2].split()[1])
            for _ in range(50):
                if os.fork() == 0:
                    if os.fork() == 0:
                        os.setsid()
                    os._exit(0)
                os.wait()
            left = ["?"]
            while left:
                left = []
                for name in filter(str.isdecimal, os.listdir("/proc")):
                    try:
                        if parent(name) == os.getppid() and int(name) != os.getpid():
                            left.append(name)
                    except OSError:
                        pass
            say("none")
        """)
    )
    assert (ended.code, ended.left_over, once.lines) == (0, False, [b"none"])


# --- what the keeper is --------------------------------------------------------------


async def test_it_has_its_own_session_and_nothing_of_the_agents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So Ctrl-C and Ctrl-Z in the agent's terminal do not reach it."""
    monkeypatch.setattr(_keeper, "make_undumpable", lambda: None)  # or nobody could look
    secret = os.open(os.devnull, os.O_RDONLY)
    once = Run()
    try:
        await once(
            python("""
                keeper = os.getppid()
                say(os.getsid(keeper) == keeper)
                say(open(f"/proc/{keeper}/comm").read().strip())
                place = f"/proc/{keeper}/fd"
                files = [os.readlink(f"{place}/{name}") for name in os.listdir(place)]
                say(sorted({name.partition(":")[0] for name in files}))
                say(sum(name == os.devnull for name in files))
            """)
        )
    finally:
        os.close(secret)
    # Three streams that lead nowhere; its connection to the agent; what wakes it.
    assert once.lines == [b"True", b"mailbell-keeper", b"['/dev/null', 'pipe', 'socket']", b"3"]


async def test_no_signal_but_sigkill_ends_it() -> None:
    once = Run()
    ended = await once(
        python("""
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                os.kill(os.getppid(), number)
            child(os.setsid)
            sys.exit(4)
        """)
    )
    assert (ended.code, ended.left_over, ended.problem) == (4, True, "")


async def test_one_that_was_stopped_goes_on_when_the_run_is_ended() -> None:
    once = Run()
    once.on(b"ready", once.control.terminate)
    ended = await once(python("os.kill(os.getppid(), signal.SIGSTOP); say('ready'); hang()"))
    assert (ended.signal, ended.timed_out) == (signal.SIGTERM, True)


def test_where_no_pidfd_can_be_had_all_is_ended_the_same(tmp_path: Path) -> None:
    """For example in a container whose filter is older than pidfd_open(2)."""
    note = tmp_path / "note"

    def inside() -> bool:
        refused = libseccomp.SyscallFilter(libseccomp.ALLOW)
        refused.add_rule(libseccomp.ERRNO(errno.EPERM), "pidfd_open")
        refused.load()
        return trio.run(
            partial(Run(), runaway("another who adopts", note), kill_after=SOON)
        ).left_over

    ended = child.run(inside)
    assert ended.error is None
    assert ended.value is True
    assert is_free(note)


# --- without an agent -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["sessions", "stopped", "they restart each other"])
def test_when_the_agent_is_killed_the_keeper_ends_all_the_same(tmp_path: Path, name: str) -> None:
    note, lock = tmp_path / "note", tmp_path / "lock"

    def inside() -> None:
        held = os.open(lock, os.O_RDONLY | os.O_CREAT)
        fcntl.flock(held, fcntl.LOCK_EX)
        command = start(runaway(name, note), os.environ, locks=[held], kill_after=SOON)

        async def be_killed() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(command.listen)
                await command.ended.wait()
                os.kill(os.getpid(), signal.SIGKILL)

        trio.run(be_killed)

    assert child.run(inside).signal == signal.SIGKILL
    until(lambda: is_free(lock), "the end of the keeper")
    assert is_free(note)


def test_the_command_does_not_hold_what_the_keeper_holds(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDONLY | os.O_CREAT)
    try:
        code = "say(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
        command = start(python(code), os.environ, locks=[lock], kill_after=PATIENCE)
        trio.run(command.listen)
        assert os.read(command.output, 100) == b"[0, 1, 2]\n"
        os.close(command.output)
    finally:
        os.close(lock)


# --- a command that disables its keeper -----------------------------------------------


def adopting(argv: list[str]) -> "child.Ended":
    """End a command that says that it is ready, as an agent that adopts what is left."""

    def inside() -> tuple[str, int]:
        _process.KILLED_WITHIN = 0.5
        adopt_orphans()
        once = Run()
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async def both() -> Ended:
            async with trio.open_nursery() as nursery:
                once.on(b"ready", lambda: nursery.start_soon(end))
                ended = await once(argv, kill_after=SOON)
                nursery.cancel_scope.cancel()
            return ended

        async def end() -> None:
            once.control.kill()
            await turn()

        ended = trio.run(both)
        return ended.problem.partition(": ")[2], turns

    return child.run(inside)


DISABLE: Final = {
    "stopped again and again": """
        deaf()
        keeper = os.getppid()
        say("ready")
        while time.monotonic() < end:
            try:
                os.kill(keeper, signal.SIGSTOP)
            except OSError:
                pass
    """,
    "without descriptors": """
        import resource
        resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3))
        say("ready")
        hold(deaf)
    """,
}


@pytest.mark.parametrize("how", DISABLE)
def test_one_that_does_not_answer_is_killed_and_the_agent_ends_all(
    tmp_path: Path, how: str
) -> None:
    note = tmp_path / "note"
    ended = adopting(commanded(DISABLE[how], note))
    assert ended.error is None
    problem, turns = ended.value
    # It may answer between two signals.
    answered = {""} if how == "stopped again and again" else set()
    assert problem in {"the process that watches it was killed"} | answered
    assert turns > 0
    assert is_free(note)


class Unheeding(_keeper._Keeper):
    """It starts the command, and then hears nothing, as if it were stopped."""

    def _obey(self) -> None:
        self._poll.unregister(self._channel)
        os.write(self._go, b".")


def test_so_is_one_that_hears_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_keeper, "_Keeper", Unheeding)
    note = tmp_path / "note"
    ended = adopting(commanded("deaf(); say('ready'); hold()", note))
    assert ended.error is None
    assert ended.value[0] == "the process that watches it was killed"
    assert is_free(note)


TRACE: Final = """
libc.prctl(0x59616d61, ctypes.c_ulong(-1))
PTRACE_SEIZE = 0x4206
traced = libc.ptrace(ctypes.c_long(PTRACE_SEIZE), ctypes.c_long(os.getppid()), None, None) == 0
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: nobody else can trace a keeper")
def test_one_that_is_traced_and_killed_does_not_stop_the_agent(tmp_path: Path) -> None:
    """Its tracer keeps it from being reaped."""
    note = tmp_path / "note"
    does = TRACE + "os.kill(os.getppid(), signal.SIGKILL); say('ready'); hold(deaf)"
    ended = adopting(commanded(does, note))
    assert ended.error is None
    assert ended.value[0] == "the process that watches it was killed"
    assert is_free(note)


class Late(_keeper._Keeper):
    """It looks again only when the command has ended."""

    def _obey(self) -> None:
        super()._obey()
        if self._command:
            os.waitid(os.P_PID, self._command, os.WEXITED | os.WNOWAIT)


async def test_a_command_may_end_before_its_keeper_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_keeper, "_Keeper", Late)
    monkeypatch.setattr(_process, "GRACE", 0.0)
    once = Run()
    ended = await once(python("child(os.setsid); sys.exit(4)"), kill_after=PATIENCE)
    assert (ended.code, ended.left_over, ended.problem) == (4, True, "")


async def test_one_that_is_asked_to_end_before_it_begins_never_begins(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    def begins(session: Session) -> None:
        command.ask()
        until(lambda: not runs(session.number))

    command = start(["touch", str(ran)], os.environ, kill_after=PATIENCE, begins=begins)
    await command.listen()
    os.close(command.output)
    assert (command.signal, command.problem) == (signal.SIGTERM, "")
    assert not ran.exists()


class Telling(_keeper._Keeper):
    """It prints whether it is dumpable."""

    def start(self, path: bytes, argv: list[bytes], environ: Mapping[bytes, bytes]) -> bool:
        os.write(2, b"%d\n" % prctl(PR_GET_DUMPABLE))
        return super().start(path, argv, environ)


async def test_nobody_of_the_same_user_can_trace_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor read its memory or take its descriptors: ptrace(2)."""
    monkeypatch.setattr(_keeper, "_Keeper", Telling)
    once = Run()
    await once(python(""))
    assert once.lines == [b"0"]


# --- the first moment of a command ------------------------------------------------------


def test_the_session_is_known_before_the_program_runs(tmp_path: Path) -> None:
    """And if the agent is killed in that moment, it never runs."""
    seen, ran = tmp_path / "seen", tmp_path / "ran"

    def inside() -> None:
        def begins(session: Session) -> None:
            seen.write_text(Path(f"/proc/{session.number}/comm").read_text())
            os.kill(os.getpid(), signal.SIGKILL)

        command = start(["touch", str(ran)], os.environ, kill_after=SOON, begins=begins)
        trio.run(command.listen)

    assert child.run(inside).signal == signal.SIGKILL
    assert seen.read_text() == "mailbell-keeper\n"
    assert not ran.exists()

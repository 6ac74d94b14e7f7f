"""Commands that succeed, that fail, and that do not end when asked."""

import os
import resource
import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from agent.commands import Run, forgotten, python, runs, state
from harness import child
from harness.daemon import until
from harness.sender import PATIENCE
from trio.testing import wait_all_tasks_blocked

from mailbell.agent import _keeper, _process
from mailbell.agent._lines import MAX_OUTPUT
from mailbell.agent._process import Control

# Seconds from SIGTERM to SIGKILL, for tests that wait for SIGKILL.
SOON = 0.2

MIB = 1 << 20


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Check that no descriptor is left, and no process that has ended and was not reaped."""
    before = descriptors()
    ended = forgotten()  # of other tests
    yield
    assert descriptors() == before
    assert forgotten() <= ended


# --- how it ends ---------------------------------------------------------------


async def test_a_command_succeeds() -> None:
    once = Run()
    ended = await once(python("say('one'); os.write(2, b'two'); os.write(1, b'\\nlast')"))
    assert once.lines == [b"one", b"two", b"last"]
    assert (ended.code, ended.signal, ended.timed_out, ended.problem) == (0, None, False, "")
    assert (ended.dropped, ended.left_over) == (0, False)
    assert 0 < ended.seconds < PATIENCE


async def test_a_command_fails() -> None:
    ended = await Run()(python("sys.exit(75)"))
    assert (ended.code, ended.signal, ended.timed_out) == (75, None, False)


async def test_a_command_is_ended_by_a_signal_of_somebody_elses() -> None:
    ended = await Run()(python("os.kill(os.getpid(), signal.SIGUSR1)"))
    assert (ended.code, ended.signal, ended.timed_out) == (None, signal.SIGUSR1, False)


async def test_two_commands_run_at_the_same_time(tmp_path: Path) -> None:
    fifos = [str(tmp_path / name) for name in "ab"]
    for fifo in fifos:
        os.mkfifo(fifo)
    meet = python("open(sys.argv[1], 'w'); open(sys.argv[2]); say(sys.argv[1])", *fifos)
    other = python("open(sys.argv[1]); open(sys.argv[2], 'w'); say(sys.argv[2])", *fifos)
    first, second = Run(), Run()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first, meet)
        nursery.start_soon(second, other)
    assert [first.lines, second.lines] == [[fifo.encode()] for fifo in fifos]


# --- told to end ---------------------------------------------------------------


async def test_a_command_that_hangs_is_terminated() -> None:
    once = Run()
    once.on(b"ready", once.control.terminate)
    ended = await once(python("say('ready'); hang()"))
    assert (ended.code, ended.signal, ended.timed_out) == (None, signal.SIGTERM, True)
    assert not ended.left_over


async def test_a_command_that_does_not_listen_is_killed() -> None:
    once = Run()
    once.on(b"ready", once.control.terminate)
    once.on(b"no", once.control.kill)
    ended = await once(python("on_sigterm(lambda: say('no')); say('ready'); hang()"))
    assert (ended.code, ended.signal, ended.timed_out) == (None, signal.SIGKILL, True)


async def test_a_command_may_end_in_order_when_it_is_told_to() -> None:
    once = Run()
    once.on(b"ready", once.control.terminate)
    ended = await once(python("on_sigterm(lambda: sys.exit(3)); say('ready'); hang()"))
    assert (ended.code, ended.signal, ended.timed_out) == (3, None, True)


async def test_a_command_can_be_killed_without_being_asked() -> None:
    once = Run()
    once.on(b"ready", once.control.kill)
    ended = await once(python("on_sigterm(lambda: say('no')); say('ready'); hang()"))
    assert (ended.signal, ended.timed_out, once.lines) == (signal.SIGKILL, True, [b"ready"])


async def test_a_command_that_was_stopped_is_terminated() -> None:
    once = Run()

    def react() -> None:
        until(lambda: state(once.lines[0].decode()) == "T")
        once.control.terminate()

    once.on(b"ready", react)
    ended = await once(
        python("say(os.getpid()); say('ready'); os.kill(os.getpid(), signal.SIGSTOP); hang()")
    )
    assert (ended.signal, ended.timed_out) == (signal.SIGTERM, True)


@pytest.mark.parametrize(
    ("how", "number"), [(Control.terminate, signal.SIGTERM), (Control.kill, signal.SIGKILL)]
)
async def test_told_to_end_before_it_began(how: Callable[[Control], None], number: int) -> None:
    once = Run()
    how(once.control)
    ended = await once(python("hang()"))
    assert (ended.signal, ended.timed_out) == (number, True)


async def test_told_to_end_after_it_has_ended() -> None:
    once = Run()
    ended = await once(python(""))
    once.control.terminate()
    once.control.kill()
    assert (ended.code, ended.timed_out) == (0, False)


async def test_what_it_starts_in_a_group_of_its_own_is_told_too() -> None:
    """For example, timeout(1) in a shell script makes a group."""
    once = Run()
    once.on(b"ready", once.control.terminate)
    ended = await once(
        python("""
            def helper():
                os.setpgid(0, 0)
                on_sigterm(lambda: (say("told"), os._exit(0)))
            child(helper)
            on_sigterm(lambda: (os.wait(), sys.exit(5)))
            say("ready")
            hang()
        """)
    )
    assert once.lines == [b"ready", b"told"]
    assert (ended.code, ended.left_over) == (5, False)


# --- what it leaves behind -----------------------------------------------------

LEAVE = """
def helper():
    {prepare}
    say(os.getpid())
child(helper)
sys.exit(4)
"""


@pytest.mark.parametrize(
    "prepare",
    [
        "",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "os.setpgid(0, 0)",
        "os.setpgid(0, 0); signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "os.fork()",
    ],
)
async def test_children_left_behind_are_ended(
    prepare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_process, "GRACE", 0.0)
    once = Run()
    ended = await once(python(LEAVE.format(prepare=prepare)), kill_after=SOON)
    assert (ended.code, ended.timed_out, ended.left_over) == (4, False, True)
    assert once.lines
    assert not [pid for pid in once.lines if runs(int(pid))]


async def test_children_left_behind_are_asked_first() -> None:
    once = Run()
    ended = await once(
        python(LEAVE.format(prepare="on_sigterm(lambda: (say('bye'), os._exit(0)))"))
    )
    assert ended.left_over
    assert once.lines[1:] == [b"bye"]


async def test_a_child_that_is_about_to_end_is_not_left_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_process, "GRACE", PATIENCE)  # for machines that are slow
    once = Run()
    ended = await once(
        python("""
            after_the_command(lambda: say("done"))
        """)
    )
    assert (ended.left_over, once.lines) == (False, [b"done"])


async def test_a_child_that_has_ended_and_was_forgotten_is_not_left_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_process, "GRACE", PATIENCE)
    ended = await Run()(
        python("""
            if os.fork() == 0:
                os._exit(0)
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        """)
    )
    assert (ended.code, ended.left_over) == (0, False)


@pytest.mark.parametrize("does", ["hang()", "while True: say('x' * 99)"])
async def test_a_daemon_it_starts_is_ended_too(does: str) -> None:
    """For example ssh with ControlPersist, which keeps the pipe."""
    once = Run()
    ended = await once(
        python(f"""
            def daemon():
                os.setsid()
                say(os.getpid())
                os.write(writer, b".")
                {does}
            reader, writer = os.pipe()
            if os.fork() == 0:
                signal.alarm(60)
                daemon()
            os.read(reader, 1)
        """)
    )
    assert (ended.code, ended.left_over) == (0, True)
    assert not runs(int(once.lines[0]))


async def test_what_is_asked_while_children_are_ended_concerns_only_them() -> None:
    once = Run()

    def react() -> None:  # this is printed only after the command has ended
        once.control.terminate()
        once.control.kill()

    once.on(b"no", react)
    ended = await once(python(LEAVE.format(prepare="on_sigterm(lambda: say('no'))")))
    assert (ended.code, ended.timed_out, ended.left_over) == (4, False, True)
    assert not runs(int(once.lines[0]))


# --- what it prints ------------------------------------------------------------


@pytest.mark.uncounted
@pytest.mark.parametrize("piece", [b"x" * 99 + b"\n", b"x", b"\n", bytes(range(256))])
async def test_a_hundred_megabytes_cost_little(piece: bytes) -> None:
    once = Run()
    argv = python(
        f"data = {piece!r} * ({MIB} // {len(piece)})\nfor _ in range(100): os.write(1, data)"
    )
    written = 100 * (MIB // len(piece)) * len(piece)
    tracemalloc.start()
    try:
        ended = await once(argv)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ended.code == 0
    told = sum(map(len, once.lines))
    assert told <= MAX_OUTPUT
    # All bytes are counted, except at most the ends of these lines.
    assert 0 <= written - told - ended.dropped <= len(once.lines)
    assert peak < 4 * MIB


async def test_garbage_is_told_as_it_is() -> None:
    once = Run()
    await once(python("os.write(1, bytes(range(256)) + b'\\x1b]0;owned\\a\\x1b[2J\\r')"))
    assert once.lines == [bytes(range(10)), bytes(range(11, 256)) + b"\x1b]0;owned\a\x1b[2J\r"]


async def test_what_a_daemon_prints_at_its_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_process, "LAST_WORDS", PATIENCE)  # for machines that are slow
    once = Run()
    ended = await once(python("after_the_command(lambda: say('done'), os.setsid)"))
    assert (ended.left_over, once.lines) == (False, [b"done"])


async def test_the_end_of_the_output_is_not_the_end_of_the_command(tmp_path: Path) -> None:
    once = Run()
    go = tmp_path / "go"
    os.mkfifo(go)
    argv = python("os.close(1); os.close(2); open(sys.argv[1]).read(); sys.exit(6)", str(go))
    codes = []

    async def wait() -> None:
        codes.append((await once(argv)).code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        # The process opens the other end after it has closed its output.
        writer = await trio.to_thread.run_sync(os.open, go, os.O_WRONLY)
        await wait_all_tasks_blocked()
        assert codes == []
        os.close(writer)
    assert codes == [6]


async def test_who_cannot_bear_the_output_does_not_leave_the_command_behind() -> None:
    once = Run()

    def fail() -> None:
        raise RuntimeError

    once.on(b"ready", fail)
    with pytest.raises(ExceptionGroup) as raised:
        await once(python("say(os.getpid()); say('ready'); hang()"))
    assert raised.group_contains(RuntimeError)
    assert not runs(int(once.lines[0]))


# --- when the agent must end --------------------------------------------


async def broken_off(code: str, kill_after: float = PATIENCE) -> Run:
    """Cancel a run as soon as its command prints that it is ready."""
    once = Run()
    with trio.CancelScope() as scope:
        once.on(b"ready", scope.cancel)
        await once(python(code), kill_after=kill_after)
    assert scope.cancelled_caught
    return once


async def test_when_cancelled_the_command_is_terminated_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_process, "GRACE", PATIENCE)  # the command gets none of this time
    began = trio.current_time()
    once = await broken_off("""
        on_sigterm(lambda: (say('bye'), sys.exit()))
        say(os.getpid()); say('ready')
        hang()
    """)
    assert trio.current_time() - began < PATIENCE
    assert not runs(int(once.lines[0]))
    assert once.lines[1:] == [b"ready", b"bye"]


async def test_when_cancelled_a_command_that_does_not_listen_is_killed() -> None:
    once = await broken_off(
        """
        on_sigterm(lambda: say('no'))
        child(lambda: say(os.getpid()))
        child(lambda: (os.setpgid(0, 0), say(os.getpid())))
        say(os.getpid()); say('ready')
        hang()
        """,
        10 * SOON,  # in which at least one of them hears it
    )
    assert not [pid for pid in once.lines[:3] if runs(int(pid))]
    assert set(once.lines[3:]) == {b"ready", b"no"}


async def test_when_cancelled_the_command_can_still_print(tmp_path: Path) -> None:
    done = tmp_path / "done"
    await broken_off(f"""
        def end():
            os.write(1, b"x" * {MIB})  # more bytes than a pipe holds
            open({str(done)!r}, "w").close()
            sys.exit()
        on_sigterm(end)
        say('ready')
        hang()
    """)
    assert done.exists()


async def test_when_cancelled_before_it_begins_nothing_is_started(tmp_path: Path) -> None:
    for argv in (python(f"open({str(tmp_path / 'started')!r}, 'w')"), ["/nonexistent"]):
        with trio.CancelScope() as scope:
            scope.cancel()
            await Run()(argv)
        assert scope.cancelled_caught
    assert not list(tmp_path.iterdir())


class Weak(_keeper._Keeper):
    """A keeper that may signal nothing, as if the command ran under sudo."""

    def run(self) -> None:
        os.setresuid(65534, 65534, 65534)
        super().run()


needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: to be of less right than the command"
)


@needs_root
def test_when_cancelled_a_command_that_cannot_be_ended_is_left() -> None:
    """For example a program under sudo, or a process that waits for a dead file server."""

    async def stop() -> int:
        once = Run()
        with trio.CancelScope() as scope:
            once.on(b"ready", scope.cancel)
            await once(python("say(os.getpid()); say('ready'); hang()"), kill_after=0.0)
        return int(once.lines[0])

    def inside() -> bool:
        _process.KILLED_WITHIN = SOON
        _keeper._Keeper = Weak  # type: ignore[misc]
        pid = trio.run(stop)
        alive = runs(pid)
        os.kill(pid, signal.SIGKILL)
        os.wait()  # the keeper ends now
        return alive

    ended = child.run(inside)
    assert ended.error is None
    assert ended.value is True


@needs_root
def test_while_something_cannot_be_ended_the_run_is_not_over() -> None:
    """So no other run of the same job begins."""

    def inside() -> tuple[bool, list[bytes], int]:
        _process.KILLED_WITHIN = SOON
        _keeper._Keeper = Weak  # type: ignore[misc]
        once = Run()

        def kill() -> None:
            once.lines.append(b"stuck")
            os.kill(int(once.lines[0]), signal.SIGKILL)

        once.stuck = kill
        code = "child(lambda: (os.setsid(), say(os.getpid())))"
        ended = trio.run(partial(once, python(code), kill_after=0.0))
        return ended.left_over, once.lines[1:], runs(int(once.lines[0]))

    ended = child.run(inside)
    assert ended.error is None
    assert ended.value == (True, [b"stuck"], False)


@needs_root
def test_while_the_command_itself_cannot_be_ended_it_is_stuck_too() -> None:
    def inside() -> tuple[list[bytes], int | None]:
        _process.KILLED_WITHIN = SOON
        _keeper._Keeper = Weak  # type: ignore[misc]
        once = Run()

        def kill() -> None:
            once.lines.append(b"stuck")
            os.kill(int(once.lines[0]), signal.SIGKILL)

        once.stuck = kill
        once.on(b"ready", once.control.kill)
        ended = trio.run(once, python("say(os.getpid()); say('ready'); hang()"))
        return once.lines[1:], ended.signal

    ended = child.run(inside)
    assert ended.error is None
    assert ended.value == ([b"ready", b"stuck"], signal.SIGKILL)


# --- when the system has no resources left ------------------------------------------


def take_all_descriptors() -> list[int]:
    taken = []
    with suppress(OSError):
        while True:
            taken.append(os.dup(2))
    return taken


def few_descriptors() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))


def test_without_descriptors_a_run_ends_with_a_problem_and_leaves_nothing() -> None:
    async def attempt(free: int) -> tuple[int | None, str]:
        taken = take_all_descriptors()
        for _ in range(free):
            os.close(taken.pop())
        ended = await Run()([sys.executable, "-IS", "-c", ""])
        for number in taken:
            os.close(number)
        return ended.code, ended.problem

    def inside() -> list[tuple[int | None, str]]:
        before = descriptors()
        few_descriptors()
        results = [trio.run(attempt, free) for free in range(8)]
        assert descriptors() == before
        assert not forgotten()
        return results

    ended = child.run(inside)
    assert ended.error is None
    failed = [problem for code, problem in ended.value if code is None]
    assert len(failed) >= 4  # no descriptor for the input, for the pipe, for the pidfd
    assert {problem.partition(": ")[2] for problem in failed} == {
        "too many open files; raise ulimit -n or LimitNOFILE="
    }
    assert ended.value[len(failed) :] == [(0, "")] * (8 - len(failed))
    assert ended.value[-1] == (0, "")


def test_without_descriptors_to_look_with_what_is_left_is_ended_all_the_same() -> None:
    def inside() -> bytes:
        few_descriptors()
        once = Run()
        once.on(b"ready", take_all_descriptors)
        argv = python("child(lambda: say(os.getpid())); say('ready'); sys.exit(4)")
        assert trio.run(once, argv).code == 4
        return once.lines[0]

    ended = child.run(inside)
    assert ended.error is None
    until(lambda: not runs(int(ended.value)), "the end of the child")

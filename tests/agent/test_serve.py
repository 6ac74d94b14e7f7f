"""The whole agent in this process, with a real daemon: what starts its jobs, and its log."""

import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from harness.daemon import Daemon, configuration, ring, started
from trio.testing import MockClock

from mailbell._sys.systemd import Notifier
from mailbell.agent import serve as serve_module
from mailbell.agent._awake import resumed
from mailbell.agent._lock import Turn, take
from mailbell.agent._pace import Timing, Trigger
from mailbell.agent._places import AT_ONCE
from mailbell.agent._sleep import Reading
from mailbell.agent._worker import Worker
from mailbell.agent.configuration import Job
from mailbell.agent.log import Log
from mailbell.agent.serve import serve
from mailbell.client import Client, _path
from mailbell.client.trio import Client as TrioClient
from mailbell.core.errors import MailbellError, TemporaryError
from mailbell.core.notification import Cause, Cursor, Notification, Transport
from mailbell.interfaces.listener import SubscribeReply
from mailbell.varlink import encode_reply

PATIENCE: Final = 20.0
QUICK: Final = Timing(settle=0.05, settle_max=0.2, min_gap=0.0, poll=0)
ACCOUNTS: Final = """
[coalesce]
interval = "10ms"
[[account]]
name = "work"
sources = ["127.0.0.1"]
[[account]]
name = "home"
sources = ["127.0.0.2"]
"""


class Lines(Log):
    """The log. It keeps the lines, and a test can wait for one."""

    def __init__(self) -> None:
        super().__init__({}, trio.current_time)
        self.lines: list[str] = []
        self._came = trio.Event()

    def _write(self, line: str) -> None:
        self.lines.append(line)
        self._came.set()

    async def until(self, text: str, count: int = 1) -> list[str]:
        """Wait until so many lines contain the text; return them."""
        with trio.fail_after(PATIENCE):
            while len(found := [line for line in self.lines if text in line]) < count:
                self._came = trio.Event()
                await self._came.wait()
        return found


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks for this test alone, and no service manager but the test's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


def job(*accounts: str, **more: Any) -> Job:
    given: dict[str, Any] = {"timing": QUICK, "on_start": False, "network_up": False, **more}
    return Job(given.pop("name", "mail"), ("true",), accounts, **given)


@asynccontextmanager
async def running(daemon: Path | None, *jobs: Job) -> AsyncIterator[Lines]:
    log = Lines()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, jobs, None if daemon is None else str(daemon), log)
        await log.until("event=started")
        yield log
        nursery.cancel_scope.cancel()


@contextmanager
def daemon_in(directory: Path) -> Iterator[Daemon]:
    toml = configuration(directory, tcp=["127.0.0.1:0"], more=ACCOUNTS)
    with started(directory, toml) as daemon:
        yield daemon


async def notified(daemon: Daemon, source: str = "127.0.0.1") -> None:
    endpoint = await trio.to_thread.run_sync(daemon.endpoint)
    await trio.to_thread.run_sync(partial(ring, endpoint, source=source))


async def test_only_the_job_of_the_account_runs(tmp_path: Path) -> None:
    with daemon_in(tmp_path) as daemon:
        jobs = (job("work", name="w"), job("home", name="h"), job(name="all", lock="other"))
        async with running(daemon.path, *jobs) as log:
            await log.until("event=listening")
            await notified(daemon, "127.0.0.2")
            await log.until("event=ran", 2)
            ran = [line for line in log.lines if line.startswith("event=run ")]
            assert sorted(ran) == [
                "event=run job=all cause=network count=1",
                "event=run job=h cause=network count=1",
            ]


async def test_at_the_start_it_runs_unless_told_otherwise(tmp_path: Path) -> None:
    rung = job("c", name="c", on_start=True, only_rung=True)
    jobs = (job("a", name="a", on_start=True), job("b", name="b"), rung)
    with daemon_in(tmp_path):
        async with running(tmp_path / "nobody.sock", *jobs) as log:
            assert await log.until("event=ran") == [log.lines[-1]]
            assert [line for line in log.lines if "cause=" in line] == [
                "event=run job=a cause=start count=0"
            ]


async def test_what_came_before_a_late_subscription_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon hangs at first. The jobs run, and run once more when it is heard."""
    monkeypatch.setattr(serve_module, "FIRST_ANSWER", 0.1)
    with daemon_in(tmp_path) as daemon:
        os.kill(daemon.pid, signal.SIGSTOP)
        async with running(daemon.path, job(name="a", on_start=True), job(name="b")) as log:
            await log.until("event=ran job=a")
            os.kill(daemon.pid, signal.SIGCONT)
            await log.until("job=a cause=resync")
            await log.until("job=b cause=resync")
        assert "event=deaf" not in "".join(log.lines)


async def test_at_a_healthy_start_it_listens_first_and_runs_once(tmp_path: Path) -> None:
    with daemon_in(tmp_path) as daemon:
        async with running(daemon.path, job(name="a", on_start=True), job(name="b")) as log:
            await log.until("event=ran job=a")
            await notified(daemon)
            await log.until("job=a cause=network")
            await log.until("job=b cause=network")
    events = [line.split()[0] for line in log.lines]
    assert events.index("event=listening") < events.index("event=run")
    assert "resync" not in "".join(log.lines)


async def test_a_daemon_that_restarts_is_one_catch_up(tmp_path: Path) -> None:
    with daemon_in(tmp_path) as daemon:
        async with running(daemon.path, job("work")) as log:
            await log.until("event=listening")
            await trio.to_thread.run_sync(daemon.stop)
            await log.until("event=deaf")
            with daemon_in(tmp_path) as other:
                await log.until("event=listening", 2)
                assert await log.until("event=run ") == ["event=run job=mail cause=resync count=0"]
                await log.until("event=ran ")
                await notified(other)
                await log.until("event=ran ", 2)
            assert [line.split()[2] for line in log.lines if line.startswith("event=run ")] == [
                "cause=resync",
                "cause=network",
            ]


async def test_a_daemon_that_comes_late_is_waited_for_and_is_one_catch_up(tmp_path: Path) -> None:
    async with running(tmp_path / "mailbell.sock", job("work")) as log:
        await log.until("event=deaf")
        with daemon_in(tmp_path):
            await log.until("event=listening")
            await log.until("event=ran ")
        runs = [line for line in log.lines if line.startswith("event=run ")]
        assert runs == ["event=run job=mail cause=resync count=0"]
        assert (
            len([line for line in log.lines if "event=deaf" in line]) <= 2
        )  # the daemon ended again


def of(daemon_accounts: str) -> str:
    """The accounts of a daemon, without those that are not named."""
    first, *tables = ACCOUNTS.split("[[account]]")
    kept = [table for table in tables if any(f'"{it}"' in table for it in daemon_accounts.split())]
    return "[[account]]".join([first, *kept])


@contextmanager
def daemon_with(directory: Path, accounts: str) -> Iterator[Daemon]:
    toml = configuration(directory, tcp=["127.0.0.1:0"], more=of(accounts))
    with started(directory, toml) as daemon:
        yield daemon


@pytest.mark.parametrize("more", [0, serve_module.MOST_NAMES], ids=["named", "for all"])
async def test_an_account_that_is_removed_concerns_its_own_job_only(
    tmp_path: Path, more: int
) -> None:
    """The daemon restarts without the account, restarts again, and then has it again."""
    polled = replace(QUICK, poll=0.05)
    never = [job(f"x{n}", name=f"x{n}", only_rung=True) for n in range(more)]
    jobs = (job("work", name="w"), job("home", name="h", timing=polled), *never)
    unknown = "event=account_unknown account=home why=\"the daemon has no account 'home'; "
    with ExitStack() as first:
        daemon = first.enter_context(daemon_with(tmp_path, "work home"))
        async with running(daemon.path, *jobs) as log:
            await log.until("event=listening")
            first.close()
            for count in (1, 2) if not more else (1,):
                with daemon_with(tmp_path, "work") as daemon:
                    await log.until("event=run job=w cause=resync", count)
                    await log.until(unknown)
                    await notified(daemon)
                    await log.until("event=run job=w cause=network", count)
                    await log.until("event=alive job=h hears=no failures=0 unknown=home")
            with daemon_with(tmp_path, "work home") as daemon:
                await log.until("event=account_known account=home")
                await log.until("event=run job=h cause=resync")
                await notified(daemon, "127.0.0.2")
                await log.until("event=run job=h cause=network")
                await notified(daemon)
                await log.until("event=run job=w cause=network", count + 1)
                await log.until("event=alive job=h hears=yes failures=0")
            assert len([line for line in log.lines if unknown in line]) == 1


async def test_when_all_are_removed_it_waits_for_them(tmp_path: Path) -> None:
    jobs = (job("work", name="w"), job("home", name="h"))
    with daemon_with(tmp_path, "work home") as daemon:
        async with running(daemon.path, *jobs) as log:
            await log.until("event=listening")
            await trio.to_thread.run_sync(daemon.stop)
            toml = configuration(tmp_path, tcp=["127.0.0.1:0"])
            with started(tmp_path, toml):
                await log.until('event=deaf why="the daemon has no account')
            with daemon_with(tmp_path, "home"):
                await log.until("event=account_unknown account=work")
                await log.until("event=run job=h cause=resync")


async def test_an_account_that_the_daemon_does_not_know_ends_it(tmp_path: Path) -> None:
    with daemon_in(tmp_path) as daemon, pytest.raises(MailbellError, match="wrok"):
        await serve([job("wrok")], str(daemon.path), Lines())


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folders of the two places where a client without a path looks."""
    system, users = tmp_path / "system", tmp_path / "user" / "mailbell"
    system.mkdir()
    users.mkdir(parents=True)
    monkeypatch.setattr(_path, "SYSTEM_PATH", str(system / "mailbell.sock"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(users.parent))
    monkeypatch.delenv("MAILBELL_SOCKET", raising=False)
    return system, users


async def test_beside_a_job_for_all_accounts_an_unknown_one_is_a_warning(tmp_path: Path) -> None:
    with daemon_in(tmp_path) as daemon:
        jobs = (job("wrok", name="w"), job("home", name="h"), job(name="all", lock="other"))
        async with running(daemon.path, *jobs) as log:
            (warning,) = await log.until("event=account_unknown")
            assert "wrok" in warning
            await notified(daemon)
            await log.until("job=all cause=network")


@pytest.mark.parametrize("first", [0, 1])
async def test_a_daemon_is_heard_wherever_it_comes_up(
    places: tuple[Path, Path], first: int
) -> None:
    """The daemon starts after the agent, and then moves to the other place."""
    sockets = [str(place / "mailbell.sock") for place in places]
    polled = job("work", timing=replace(QUICK, poll=0.05))
    async with running(None, polled) as log:
        assert f'socket="{sockets[0]} or {sockets[1]}"' in log.lines[0]
        (said, *_) = await log.until("event=deaf")
        assert f"no daemon at {sockets[0]} or {sockets[1]} (No such file" in said
        for count, place in enumerate((places[first], places[1 - first]), 1):
            with daemon_in(place) as daemon:
                heard = await log.until("event=listening", count)
                assert heard[-1] == f"event=listening socket={daemon.path}"
                await log.until("event=run job=mail cause=resync", count)
                asked = len(log.lines)
                while not any("event=alive job=mail hears=yes" in it for it in log.lines[asked:]):
                    await log.until("event=alive", 1 + len(alive(log)))
                await notified(daemon)
                await log.until("cause=network", count)


def alive(log: Lines) -> list[str]:
    return [line for line in log.lines if "event=alive" in line]


async def test_the_reason_why_it_is_deaf_is_said_also_when_it_changes(tmp_path: Path) -> None:
    with daemon_in(tmp_path) as daemon:
        async with running(daemon.path, job("work")) as log:
            await log.until("event=listening")
            await trio.to_thread.run_sync(daemon.stop)
            await log.until('event=deaf why="the daemon closed the connection')
            await log.until(f'event=deaf why="no daemon at {daemon.path} (nothing listens there)')
            toml = configuration(tmp_path, tcp=["127.0.0.1:0"], more=ACCOUNTS)
            with started(tmp_path, toml.replace('"work"', '"play"')):
                (said,) = await log.until("no account 'work'")
                assert said.startswith("event=deaf ")


async def test_a_daemon_that_breaks_every_subscription_is_asked_less_and_less(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    answers = encode_reply(SubscribeReply(Cursor("e", 1)), continues=True) + b"garbage\0"

    class Broken:
        """Accepts each subscription, and then sends garbage."""

        def __init__(self, *_: object) -> None:
            asked.append(trio.current_time())

        async def send(self, _: bytes) -> None: ...

        async def receive(self) -> bytes:
            return answers

        def close(self) -> None: ...

    async def connect(client: TrioClient, _: float) -> Broken:
        await trio.lowlevel.checkpoint()
        return Broken()

    monkeypatch.setattr(TrioClient, "_open", connect)
    async with running(tmp_path / "nobody.sock", job()) as log:
        await trio.sleep(41)
        deaf = [line for line in log.lines if "event=deaf" in line]
        assert "the daemon sent" in deaf[0]
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10], abs=0.01)


@pytest.mark.parametrize(
    ("account", "source", "given"),
    [
        ("work", "2001:db8::1", ("work", "2001:db8::1")),
        ("work", "fe80::1%eth0", ("work", "fe80::1%eth0")),
        ("work", "$(id)", ("work", "")),
        ("work", "::1\n", ("work", "")),
        ("-oProxyCommand=id", "192.0.2.1", ("", "192.0.2.1")),
        ("work\n", "192.0.2.1", ("", "192.0.2.1")),
        ("a\0b", "", ("", "")),
        ("a" * 65, "", ("", "")),
    ],
)
async def test_a_daemon_that_is_not_ours_puts_no_words_into_a_command(
    account: str, source: str, given: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[tuple[str, str]] = []

    def note(_worker: object, _trigger: Trigger, *, count: int, account: str, source: str) -> None:
        rung.append((account, source))

    monkeypatch.setattr(Worker, "ring", note)
    with closing(Notifier({}, os.getpid())) as notifier:
        client = TrioClient("nobody.sock")
        agent = serve_module._Agent([job()], client, Lines(), notifier, Turn("nowhere"))
        agent._dispatch(Notification(account, Cause.NETWORK, 1, Transport.TCP, source, 1))
    assert rung == [given]


async def test_two_agents_for_one_account_are_one_too_many(tmp_path: Path) -> None:
    async with running(tmp_path / "nobody.sock", job("work")):
        with pytest.raises(TemporaryError, match=rf"pid {os.getpid()}\b.*work"):
            await serve([job("home", "work")], None, Lines())


def locks(directory: Path) -> Path:
    return directory / ".local/state/mailbell"


async def test_locks_that_were_removed_are_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_module, "LOCKS_EVERY", 0.05)
    async with running(tmp_path / "nobody.sock", job("work")) as log:
        shutil.rmtree(locks(tmp_path))
        (line,) = await log.until("event=locks_taken_again")
        assert line == f"event=locks_taken_again folder={locks(tmp_path)}"
        with pytest.raises(TemporaryError, match=rf"pid {os.getpid()}\b.*work"):
            await serve([job("home", "work")], None, Lines())


async def test_when_another_agent_was_quicker_the_first_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_module, "LOCKS_EVERY", 0.05)
    log = Lines()
    with ExitStack() as other:

        async def be_quicker() -> None:
            await log.until("event=started")
            shutil.rmtree(locks(tmp_path))
            other.enter_context(take(str(locks(tmp_path)), "fetch", ["work"]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_quicker)
            lost = "was removed or replaced while this agent ran, and now another mailbell run"
            with pytest.raises(TemporaryError, match=lost):
                await serve([job("work")], str(tmp_path / "nobody.sock"), log)
        assert sum("event=locks_lost" in line for line in log.lines) == 1


async def test_a_sleep_that_only_the_clocks_noticed_is_one_catch_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = 0.0

    def clocks() -> Reading:
        now = trio.current_time()
        return Reading(now, now + asleep, now)

    own = partial(resumed, clocks=clocks, every=0.01, bus=f"unix:path={tmp_path}/nobody")
    monkeypatch.setattr(serve_module, "resumed", own)
    async with running(
        tmp_path / "nobody.sock", job("work"), job(name="no", only_rung=True)
    ) as log:
        await log.until("event=sleep_watch")
        asleep = 3600.0
        assert await log.until("event=ran ")
        runs = [line for line in log.lines if line.startswith("event=run ")]
        assert runs == ["event=run job=mail cause=resume count=0"]


async def test_at_each_poll_it_says_whether_it_hears(tmp_path: Path) -> None:
    polled = job("work", timing=Timing(settle=0, min_gap=0, poll=0.05))
    async with running(tmp_path / "nobody.sock", polled) as log:
        (line, *_) = await log.until("event=alive")
        assert line == "event=alive job=mail hears=no failures=0"
        await log.until("event=run job=mail cause=poll count=0")
    with daemon_in(tmp_path) as daemon:
        async with running(daemon.path, polled) as log:
            await log.until("event=alive job=mail hears=yes")


async def test_a_daemon_that_hangs_is_not_taken_for_one_that_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_module, "Client", partial(TrioClient, timeout=1.0))
    polled = job("work", timing=Timing(settle=0, min_gap=0, poll=0.05))
    with daemon_in(tmp_path) as daemon:
        async with running(daemon.path, polled) as log:
            await log.until("event=alive job=mail hears=yes")
            daemon.process.send_signal(signal.SIGSTOP)
            try:
                await log.until("event=alive job=mail hears=no")
            finally:
                daemon.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("made", "trigger", "wanted"),
    [
        (job(), Trigger.START, False),
        (job(on_start=True), Trigger.START, True),
        (job(), Trigger.ADDRESS, False),
        (job(network_up=True), Trigger.ADDRESS, True),
        (job(), Trigger.RESUME, True),
        (job(only_rung=True, on_start=True), Trigger.START, False),
        (job(only_rung=True), Trigger.RESYNC, False),
        (job(only_rung=True), Trigger.MANUAL, True),
    ],
)
def test_what_a_job_runs_for(made: Job, trigger: Trigger, wanted: bool) -> None:
    assert serve_module.wants(made, trigger) == wanted


async def test_a_wrong_account_beside_a_right_one_is_a_warning(tmp_path: Path) -> None:
    with daemon_in(tmp_path) as daemon:
        async with running(daemon.path, job("wrok", name="w"), job("home", name="h")) as log:
            await log.until("event=account_unknown account=wrok")
            await notified(daemon, "127.0.0.2")
            await log.until("event=run job=h cause=network")


def at_once(lines: list[str]) -> int:
    """How many runs there were at the same time, at most."""
    now = most = 0
    for line in lines:
        now += line.startswith("event=run ") - line.startswith("event=ran ")
        most = max(most, now)
    return most


async def test_no_more_commands_run_at_once_than_there_are_places(tmp_path: Path) -> None:
    """Each command waits until this test lets it end: it reads one byte."""
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)
    reads = ("dd", "bs=1", "count=1", "status=none", f"if={gate}")
    many = range(3 * AT_ONCE)
    jobs = [replace(job(f"a{n}", name=f"a{n}", on_start=True), command=reads) for n in many]
    opened = os.open(gate, os.O_RDWR)
    try:
        async with running(tmp_path / "nobody.sock", *jobs) as log:
            await log.until("event=run ", AT_ONCE)
            os.write(opened, b"x")
            await log.until("event=run ", AT_ONCE + 1)
            os.write(opened, b"x" * (len(many) - 1))
            ran = await log.until("event=ran ", len(many))
            assert len({line.split()[1] for line in ran}) == len(many)
            assert at_once(log.lines) == AT_ONCE
    finally:
        os.close(opened)


def test_jobs_that_may_not_run_at_once_share_a_turn() -> None:
    one, two, both = job("a", name="1"), job("b", name="2"), job("a", "b", name="3")
    turns = serve_module.turns_of([one, two])
    assert turns["1"] is not turns["2"]
    turns = serve_module.turns_of([one, two, both])
    assert turns["1"] is turns["2"] is turns["3"]
    turns = serve_module.turns_of([one, job(name="all"), job("a", name="other", lock="show")])
    assert turns["1"] is turns["all"] is not turns["other"]


async def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, daemon_in(tmp_path) as daemon:
        manager.bind(str(tmp_path / "manager"))
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "manager"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        hear: Callable[[], Any] = partial(trio.to_thread.run_sync, manager.recv, 4096)
        async with running(daemon.path, job("work")) as log:
            wanted = {b"READY=1", b"WATCHDOG=1", b"STATUS=listening"}
            while wanted:
                wanted.discard(await hear())
            with Client(str(daemon.path)) as client:
                assert client.status().subscribers == 1
            await trio.to_thread.run_sync(daemon.stop)
            await log.until("event=deaf")
            while (said := await hear()) == b"WATCHDOG=1":
                pass
            assert said.startswith(b"STATUS=deaf: ")

"""`mailbell top`."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli.support import FakeDaemon, Run, a_notification, a_status, words
from cli.terminal import Terminal
from harness.daemon import LISTED, configuration, ring, started
from rich.console import Console

from mailbell.cli import top
from mailbell.cli.top import Moment, View, frame
from mailbell.client import State
from mailbell.core.errors import TemporaryError
from mailbell.core.notification import Notification
from mailbell.interfaces.listener import Account, Limited, Outcomes, Status

WALL = 1_700_000_000 + 93_784.0
# The moment of the status in these tests, by the steady clock and by the wall clock.
ASKED = Moment(5_000_000.0, WALL)
NOW = ASKED.steady
LIMITED = Limited(table="tcp/ipv4/32", source="198.51.100.7", refused=41, wait=11_200_000)


def _text(view: View, rows: int = 24, width: int = 80, now: float = NOW) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, markup=False, emoji=False, highlight=False)
    console.print(frame(view, now, rows))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def _words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def _note(view: View, **changes: Any) -> None:
    view.note(msgspec.convert(a_notification(**changes), Notification), ASKED)


def _status(**changes: Any) -> Status:
    return msgspec.structs.replace(a_status(), **changes)


def test_one_look_tells_what_matters() -> None:
    text = _text(View(_status(limited=(LIMITED,)), ASKED))
    assert (
        text
        == """\
mailbelld 1.2.3, process 4711, up 1 d 2 h
sandbox ok: uid 65534, 43 system calls permitted, Landlock ABI 10
connections 0 of 256, subscribers 0 of 64

account  notifications  last
work                 1  1 d 2 h ago
private              0  never

outcome   tcp  udp
accepted    1    0
mismatch    0    1

over its limit  refused by   of the last 64  heard again in
198.51.100.7    tcp/ipv4/32              41  12 s
"""
    )


def test_what_is_followed_tells_how_it_came_and_whether_it_is_connected() -> None:
    view = View(a_status(), ASKED, live=True)
    text = _text(view)
    assert "\nconnected\n" in text
    assert "subscribers 0 of 64 (this view is one of them)\n" in text
    assert "over its limit" not in text
    _note(view, account="private", time=int((WALL - 5) * 1e6))
    assert [line for line in _words(_text(view)) if "ago" in line] == [
        ["private", "0", "5", "s", "ago", "tcp", "from", "192.0.2.25"],
        ["work", "1", "1", "d", "2", "h", "ago"],
    ]


def test_the_later_of_two_times_counts() -> None:
    account = Account(name="work", count=1, time=int(WALL * 1e6), age=0)
    view = View(_status(accounts=(account,)), ASKED)
    _note(view, time=1)
    assert "0 s ago" in _text(view)


@pytest.mark.parametrize("age", [93_784_000_000, None])
@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_no_age_changes_when_the_wall_clock_is_set(age: int | None, jump: float) -> None:
    """Also for a daemon that is older than the client, from the moment of its status on."""
    account = Account(name="work", count=1, time=1_700_000_000_000_000, age=age)
    uptime = None if age is None else 93_784_000_000
    view = View(_status(accounts=(account,), uptime=uptime), ASKED, live=True)
    _note(view, account="private", time=int((WALL - 5) * 1e6))
    before = _text(view, now=NOW + 60)
    assert "up 1 d 2 h\n" in before
    assert "1 d 2 h ago" in before
    # Later notifications have times of the clock as it was set then.
    later = Moment(NOW + 60, WALL + 60 + jump)
    told = a_notification(time=int((later.wall - 2) * 1e6))
    view.note(msgspec.convert(told, Notification), later)
    after = _text(view, now=NOW + 60)
    assert [line for line in _words(after) if "ago" in line] == [
        ["work", "1", "2", "s", "ago", "tcp", "from", "192.0.2.25"],
    ]
    assert "up 1 d 2 h\n" in after


def test_what_is_told_of_the_future_is_told_of_now() -> None:
    assert ASKED.of(int((WALL + 100) * 1e6)) == NOW


def test_a_moment_is_on_both_clocks() -> None:
    moment = Moment.now()
    assert abs(time.clock_gettime(time.CLOCK_BOOTTIME) - moment.steady) < 60
    assert moment.of(int((moment.wall - 5) * 1e6)) == pytest.approx(moment.steady - 5, abs=0.01)


def test_a_loss_and_its_end_are_said_in_words() -> None:
    view = View(a_status(), ASKED, live=True)
    view.turn(State.CONNECTED, NOW - 30)
    assert "\nconnected\n" in _text(view)
    view.turn(State.LOST, NOW - 3)
    assert "\nLOST 3 s ago; waiting for the daemon;" in _text(view)
    view.turn(State.CONNECTED, NOW - 1)
    assert "\nconnected again, 1 s ago; lost so far: 1\n" in _text(view)
    view.silent = True
    assert "\nSILENT: the daemon does not answer;" in _text(view)
    view.turn(State.LOST, NOW)
    assert "\nLOST 0 s ago;" in _text(view)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("uid", 0, "identity uid 0, gid 65534, no other groups"),
        ("capabilities", "0000000000000400", "capabilities 0000000000000400"),
        ("seccomp", 0, "seccomp mode 0, 43 calls permitted"),
        (
            "landlock_used",
            0,
            "landlock ABI 0, of the kernel's 10; left to seccomp: other protocols than TCP and UDP",
        ),
    ],
)
def test_a_weak_sandbox_is_said_in_its_line(field: str, value: object, said: str) -> None:
    assert "WEAK" not in _text(View(a_status(), ASKED))
    sandbox = msgspec.structs.replace(a_status().sandbox, **{field: value})
    assert f"\nsandbox WEAK: {said}\n" in _text(View(_status(sandbox=sandbox), ASKED), width=200)


def test_nothing_the_daemon_says_reaches_the_terminal_as_it_is() -> None:
    evil = "\x1b[2J\u202e[red]"
    status = _status(
        version=evil,
        accounts=(Account(name=evil, count=1),),
        outcomes=Outcomes(tcp={evil: 1}, udp={}),
        limited=(Limited(table=evil, source=evil, refused=1, wait=1),),
        sandbox=msgspec.structs.replace(a_status().sandbox, capabilities=evil),
    )
    view = View(status, ASKED, live=True)
    _note(view, account=evil, source=evil)
    text = _text(view, width=200)
    assert text.count("\\x1b[2J\\u202e[red]") == 7
    assert all(" " <= character <= "~" for character in text.replace("\n", ""))


def test_it_fits_80_columns_and_the_rows_there_are() -> None:
    status = _status(
        accounts=tuple(Account(name=f"account-{n}@example.org", count=10**9) for n in range(256)),
        accounts_total=9000,
        limited=(
            Limited(table="tcp/ipv6/64", source="2001:db8:aaaa:bbbb::/64", refused=64, wait=10**9),
        )
        * 8,
        outcomes=Outcomes(tcp={"too_many_from_source": 10**12}, udp={"accepted": 10**12}),
    )
    view = View(status, ASKED, live=True)
    _note(view, account="account-7@example.org", source="192.0.2.250")
    for rows in (24, 30, 50):
        lines = _text(view, rows).splitlines()
        assert len(lines) == rows
        assert lines[6].split()[0] == "account-7@example.org"
        assert max(map(len, lines)) <= 80
    assert (
        len(_text(view, 10).splitlines()) == 24
    )  # a small terminal still shows the least number of accounts
    assert "and 8971 more" in _text(view, 50)
    _note(view, account="account-7@example.org", source="2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff")
    assert max(map(len, _text(view).splitlines())) <= 80


def test_as_many_accounts_are_remembered_as_a_status_names() -> None:
    view = View(a_status(), ASKED, live=True)
    for n in range(1000):
        _note(view, account=str(n))
        _note(view, account="work")
    assert len(view.told) == 256
    assert {"work", "999"} < set(view.told)


@pytest.mark.parametrize("line", [[], ["--once"]])
def test_without_a_terminal_it_is_one_look_and_no_subscription(
    run: Run, environment: dict[str, str], daemon: FakeDaemon, line: list[str]
) -> None:
    environment["FORCE_COLOR"] = "1"  # then rich takes every output for a terminal
    result = run("mailbell", "top", *line)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("mailbelld 1.2.3") == 1
    assert [method for method, _ in daemon.calls] == ["GetStatus"]


@pytest.mark.parametrize(("line", "term"), [(["--once"], "xterm"), ([], "dumb")])
def test_one_look_on_a_terminal(
    environment: dict[str, str], daemon: FakeDaemon, line: list[str], term: str
) -> None:
    command = ["env", f"TERM={term}", *words("mailbell", "top", *line)]
    with Terminal(command, environment) as terminal:
        terminal.until_shown("mismatch")
        assert terminal.process.wait(30) == 0
    assert "\x1b[?1049h" not in terminal.drawn


def test_no_daemon_is_69(run: Run) -> None:
    result = run("mailbell", "top")
    assert result.returncode == 69
    assert result.stderr.count("\n") == 1


def test_a_daemon_that_speaks_nonsense_is_65(run: Run, daemon: FakeDaemon) -> None:
    daemon.status["pid"] = "many"
    assert run("mailbell", "top").returncode == 65


def test_it_follows_until_ctrl_c(environment: dict[str, str], daemon: FakeDaemon) -> None:
    daemon.scripts = [[a_notification(account="private")]]
    with Terminal(words("mailbell", "top"), environment) as terminal:
        picture = terminal.until_shown("tcp from 192.0.2.25")
        assert "\nconnected\n" in picture
        assert "\naccepted    1    0\n" in picture
        daemon.status["outcomes"]["tcp"]["accepted"] = 2
        terminal.until_shown("accepted    2    0")
        assert terminal.ended(signal.SIGINT) == 128 + signal.SIGINT
    assert "Traceback" not in terminal.drawn


def test_it_says_that_the_daemon_is_gone_and_that_it_is_back(environment: dict[str, str]) -> None:
    path = environment["MAILBELL_SOCKET"]
    first = FakeDaemon(path)
    try:
        with Terminal(words("mailbell", "top"), environment) as terminal:
            terminal.until_shown("mismatch")
            os.unlink(path)
            first.close()
            picture = terminal.until_shown("LOST")
            assert "\nwork                 1" in picture
            second = FakeDaemon(path)
            second.status["version"] = "9.9"
            try:
                picture = terminal.until_shown("mailbelld 9.9")
                assert "connected again" in picture
                assert "lost so far: 1" in picture
                assert terminal.ended(signal.SIGINT) == 130
            finally:
                second.close()
    finally:
        if first.calls and os.path.exists(path):
            os.unlink(path)


def test_a_daemon_that_does_not_answer_any_more_is_called_silent(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    hurried = (
        "from mailbell.cli import main, top; top.TICK = top.LATER = top.PATIENCE = 0.2; main()"
    )
    with started(tmp_path, configuration(tmp_path)) as daemon:
        command = [sys.executable, "-c", hurried, "top", "--socket", str(daemon.path)]
        with Terminal(command, environment) as terminal:
            terminal.until_shown("connected")
            daemon.process.send_signal(signal.SIGSTOP)
            try:
                terminal.until_shown("SILENT")
            finally:
                daemon.process.send_signal(signal.SIGCONT)
            terminal.until(lambda picture: "\nconnected\n" in picture, "an answer")


def test_the_real_daemon_is_followed_and_asked_once_a_second_at_most(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    more = '[coalesce]\ninterval = "10ms"\n' + LISTED
    with started(tmp_path, configuration(tmp_path, more=more)) as daemon:
        endpoint = daemon.endpoint()
        begun, connected = time.monotonic(), daemon.status().local["connected"]
        command = words("mailbell", "top", "--socket", str(daemon.path))
        with Terminal(command, environment) as terminal:
            terminal.until_shown("connected")
            for last in range(2, 22):
                ring(endpoint, source=f"127.0.0.{last}")
                terminal.until_shown(f"tcp from 127.0.0.{last}")
            asked = daemon.status().local["connected"] - connected - 2
            assert asked <= time.monotonic() - begun + 1
            terminal.until_shown("accepted   20")


def test_it_does_without_trio() -> None:
    program = "import sys, mailbell.cli.top; sys.exit('trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_what_comes_alone_is_not_kept_waiting() -> None:
    view = View(a_status(), ASKED, live=True)
    waited = []

    class Single:
        """Gives one notification, and then none."""

        def next(self, timeout: float) -> Notification:
            waited.append(timeout)
            if len(waited) > 1:
                raise TemporaryError("nothing came")
            return msgspec.convert(a_notification(), Notification)

    subscription: Any = Single()
    top._gather(subscription, view)
    first, second = waited
    assert first <= top.TICK
    assert second <= top.GATHER


def test_a_daemon_that_never_stops_telling_does_not_stop_the_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = View(a_status(), ASKED, live=True)

    class Flooded:
        """Always gives another notification."""

        def next(self, _: float) -> Notification:
            return msgspec.convert(a_notification(), Notification)

    monkeypatch.setattr(top, "GATHER", 0.01)
    subscription: Any = Flooded()
    top._gather(subscription, view)
    assert view.told["work"][0].account == "work"

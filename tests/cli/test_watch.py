"""`mailbell watch`."""

import json
from typing import Any

import msgspec
import pytest
from cli.support import FakeDaemon, Run, Start, a_notification

from mailbell.cli.watch import describe
from mailbell.core.notification import Notification


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    import time

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "work  tcp from 192.0.2.25"),
        ({"count": 7}, "work  tcp from 192.0.2.25  (7 times)"),
        ({"transport": "udp", "source": "2001:db8::1"}, "work  udp from 2001:db8::1"),
        ({"cause": "manual", "transport": None, "source": None}, "work  by hand"),
        (
            {"cause": "resync", "count": 0, "transport": None, "source": None},
            "work  look once: something may have been missed",
        ),
        ({"transport": None, "source": None}, "work  unknown transport from unknown source"),
        (
            {"account": "\x1b]0;x\x07", "source": "\u202e1.2.3.4"},
            "\\x1b]0;x\\x07  tcp from \\u202e1.2.3.4",
        ),
    ],
)
def test_a_line_for_people(changes: dict[str, Any], said: str) -> None:
    notification = msgspec.convert(a_notification(**changes), Notification)
    assert describe(notification) == f"2023-11-14T22:13:20+00:00  {said}"


@pytest.mark.parametrize("time", [2**63 - 1, -(2**63)])
def test_a_time_beyond_every_calendar_is_shown_as_it_is(time: int) -> None:
    notification = msgspec.convert(a_notification(time=time), Notification)
    assert describe(notification).startswith(f"{time}  work")


def test_it_ends_after_so_many(run: Run, daemon: FakeDaemon) -> None:
    daemon.scripts = [[a_notification(account=name) for name in ("work", "private", "third")]]
    result = run("mailbell", "watch", "--count", "2")
    assert result.returncode == 0
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["work", "private"]
    assert result.stderr == ""


def test_json_is_one_object_a_line_at_once(start: Start, daemon: FakeDaemon) -> None:
    sent = [a_notification(), a_notification(account="private")]
    daemon.scripts = [sent]
    process = start("mailbell", "watch", "--json")
    assert process.stdout is not None
    # The daemon is silent now, and the pipe stays open: only a flush writes these lines.
    lines = [process.stdout.readline() for _ in sent]
    assert [json.loads(line) for line in lines] == sent
    assert all(" " <= character <= "~" for line in lines for character in line.rstrip("\n"))


@pytest.mark.parametrize("line", [[], ["--count", "1"]])
def test_nothing_in_time_is_75(run: Run, daemon: FakeDaemon, line: list[str]) -> None:
    result = run("mailbell", "watch", "--timeout", "0.1", *line)
    assert result.returncode == 75
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1


def test_the_time_is_for_all_together(run: Run, daemon: FakeDaemon) -> None:
    daemon.scripts = [[a_notification()]]
    result = run("mailbell", "watch", "--timeout", "3", "--count", "2")
    assert result.returncode == 75
    assert result.stdout.count("\n") == 1


def test_no_daemon_is_69(run: Run) -> None:
    result = run("mailbell", "watch")
    assert result.returncode == 69
    assert "mailbelld" in result.stderr
    assert result.stderr.count("\n") == 1


def test_it_asks_for_the_accounts_named(run: Run, daemon: FakeDaemon) -> None:
    daemon.scripts = [[a_notification()]]
    run("mailbell", "watch", "--account", "work", "--account", "b", "--count", "1")
    (call,) = daemon.calls
    given = {key: value for key, value in call[1].items() if value is not None}
    assert (call[0], given) == ("Subscribe", {"accounts": ["work", "b"]})


def test_the_option_says_where(run: Run, environment: dict[str, str], daemon: FakeDaemon) -> None:
    path = environment.pop("MAILBELL_SOCKET")
    daemon.scripts = [[a_notification()]]
    assert run("mailbell", "watch", "--socket", path, "--count", "1").returncode == 0


def test_a_daemon_that_restarts_is_waited_for(run: Run, daemon: FakeDaemon) -> None:
    daemon.scripts = [[a_notification()], [a_notification(account="later")]]
    result = run("mailbell", "watch", "--count", "3")
    assert result.returncode == 0
    assert [line.split()[1:3] for line in result.stdout.splitlines()] == [
        ["work", "tcp"],
        ["work", "look"],
        ["later", "tcp"],
    ]
    assert result.stderr.splitlines() == [
        "mailbell: the connection to the daemon is lost; waiting for it",
        "mailbell: the daemon is back",
    ]


def test_a_daemon_that_is_broken_is_told_and_waited_for(run: Run, daemon: FakeDaemon) -> None:
    daemon.scripts = [[a_notification(count=-1)], [a_notification(account="later")]]
    result = run("mailbell", "watch", "--count", "2")
    assert result.returncode == 0
    assert [line.split()[1:3] for line in result.stdout.splitlines()] == [
        ["work", "look"],
        ["later", "tcp"],
    ]
    broken = "the daemon sent a negative number in notification.count"
    assert result.stderr.splitlines() == [
        f"mailbell: the connection to the daemon is lost ({broken}); waiting for it",
        "mailbell: the daemon is back",
    ]

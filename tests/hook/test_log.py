"""One line to the system's log for each failure, and nothing of the environment in it."""

import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hook.support import LOGGED, listening, logging, private, run

SECRET = "wholly-secret"
REMEDY = "run: mailbell sender check"


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    (tmp_path / "hold").mkdir()
    return tmp_path / "hold"


FAILURES = [
    ([], {}, "not sent: no account is given, and RECIPIENT, LOGNAME and USER are not set"),
    ([""], {}, "not sent: the account is empty or not printable UTF-8"),
    (["a b"], {}, "not sent: the account has a space in it"),
    (["a\nb"], {}, "not sent: the account is empty or not printable UTF-8"),
    (["a" * 600], {}, "not sent: the line would have more than 512 bytes"),
    (["--folder", "a\nb", "alice"], {}, "not sent: the folder is empty or not printable UTF-8"),
    (["--folder"], {}, "not sent: '--folder' needs a value"),
    (["--account="], {}, "not sent: '--account' needs a value"),
    (["--nonsense"], {}, "not sent: an argument begins with - and is no option"),
    (["-\n\x1b<0>\udcff"], {}, "not sent: an argument begins with - and is no option"),
    (["-" + "x" * 5000], {}, "not sent: an argument begins with - and is no option"),
    (["alice", "bob"], {}, "not sent: the account is given twice"),
    (["--login", "--login"], {}, "not sent: '--login' is given twice"),
    (["--login", "--folder", "x"], {}, "not sent: --login reads no mail and has no folder"),
    (["--login"], {}, "not sent: neither USER and IP nor AUTHENTICATED and TCPREMOTEIP are set"),
    (["--login", "a"], {"IP": "1\n2"}, "not sent: the address is empty or not printable UTF-8"),
    (
        ["--unless-spam", "alice", "--", "/bin/true"],
        {},
        "not sent: --unless-spam would take the mail away from the command",
    ),
    (
        ["alice"],
        {},
        f"not sent: '/run/mailbell-sender/hook': No such file or directory; {REMEDY}",
    ),
]


@pytest.mark.parametrize(("words", "env", "line"), FAILURES, ids=lambda value: ascii(value)[:60])
def test_each_failure_has_its_line(
    tmp_path: Path, hold: Path, words: list[str], env: dict[str, str], line: str
) -> None:
    with logging(tmp_path / "log") as log:
        code = 75 if "--" in words and not words[-1].endswith("true") else 0
        run(*words, env=env, code=code, through=private(hold, log=log.path))
        assert log.lines() == [line]


def test_what_went_well_has_none(tmp_path: Path, hold: Path) -> None:
    with logging(tmp_path / "log") as log, listening(tmp_path / "hook") as sender:
        run("alice", through=private(hold, log=log.path, sender=sender.path))
        assert (log.lines(), sender.all()) == ([], [b"new alice\n"])


@pytest.mark.parametrize(
    "value", [SECRET, f"{SECRET} ", f"{SECRET}\n<0>x", SECRET * 100, f"-{SECRET}", f"/{SECRET}"]
)
def test_nothing_of_the_environment_is_in_it(tmp_path: Path, hold: Path, value: str) -> None:
    """Under Dovecot AUTH_TOKEN is a secret, and names and addresses are private."""
    names = ("RECIPIENT", "LOGNAME", "USER", "IP", "AUTHENTICATED", "TCPREMOTEIP", "AUTH_TOKEN",
             "HOME", "LC_TIME", "TZ")  # fmt: skip
    env = dict.fromkeys(names, value)
    with logging(tmp_path / "log") as log:
        for words in ([], ["--login"], ["--", "/nowhere"], ["--nonsense"], ["--folder", "x"]):
            code = 75 if "--" in words else 0
            run(*words, env=env, code=code, through=private(hold, log=log.path))
            lines = log.lines()
            assert len(lines) == (2 if "--" in words else 1)
            assert not [line for line in lines if SECRET in line]


@pytest.mark.parametrize("words", [[f"-{SECRET}"], [f"--{SECRET}=x", "x"], ["x", f"-{SECRET}"]])
def test_no_argument_that_may_be_an_account_is_in_it(
    tmp_path: Path, hold: Path, words: list[str]
) -> None:
    with logging(tmp_path / "log") as log:
        run(*words, through=private(hold, log=log.path))
        assert log.lines() == ["not sent: an argument begins with - and is no option"]


def test_a_command_that_cannot_be_executed_has_its_line(tmp_path: Path, hold: Path) -> None:
    with logging(tmp_path / "log") as log, listening(tmp_path / "hook") as sender:
        through = private(hold, log=log.path, sender=sender.path)
        for command, reason in (
            ("/no\nwhere", "'/no\\nwhere': No such file or directory"),
            ("/", "'/': Permission denied"),
            ("nothing-of-this-name", "'nothing-of-this-name': No such file or directory"),
            ("", "'': ValueError"),
            ("--", "'--': No such file or directory"),
        ):
            run("alice", "--", command, code=75, through=through)
            assert log.lines() == [f"not executed: {reason}"]
        run("alice", "--", code=75, through=through)
        assert log.lines() == ["not executed: no command follows --"]
        assert len(sender.all()) == 6


def test_a_log_that_is_a_stream(tmp_path: Path, hold: Path) -> None:
    """As syslog-ng may have it. Then NUL ends a line, as with the C library."""
    with logging(tmp_path / "log", socket.SOCK_STREAM) as log:
        run("alice", through=private(hold, log=log.path))
        with log.socket.accept()[0] as connection:
            line = connection.recv(4096)
            assert line[-1:] == b"\0"
            assert LOGGED.fullmatch(line[:-1])
            assert connection.recv(1) == b""


def test_without_a_log_it_ends_all_the_same(hold: Path) -> None:
    run("alice", through=private(hold))
    run("alice", "--", "/nowhere", code=75, through=private(hold))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["dgram", "stream"])
def test_a_log_that_is_full_or_stopped_is_not_waited_for(
    tmp_path: Path, hold: Path, kind: socket.SocketKind
) -> None:
    with logging(tmp_path / "log", kind) as log, socket.socket(socket.AF_UNIX, kind) as other:
        if kind == socket.SOCK_STREAM:
            log.socket.listen(0)
        other.connect(str(log.path))
        other.setblocking(False)
        if kind == socket.SOCK_DGRAM:
            with suppress(BlockingIOError):
                while True:
                    other.send(b"x")
        run("alice", through=private(hold, log=log.path))


def test_a_log_that_nobody_reads_any_more(tmp_path: Path, hold: Path) -> None:
    with logging(tmp_path / "log") as log:
        pass
    run("alice", through=private(hold, log=log.path))

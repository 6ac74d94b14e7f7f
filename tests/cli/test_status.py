"""`mailbell status`."""

import io
import json

import msgspec
import pytest
from cli.support import FakeDaemon, Run, a_status
from cli.test_openmetrics import parse
from rich.console import Console

from mailbell.cli._openmetrics import openmetrics
from mailbell.cli.status import render
from mailbell.interfaces.listener import Account, Status, Table

_UP = 1_700_000_000 + 93_784


def _text(status: Status, width: int = 80, now: float = _UP) -> str:
    file = io.StringIO()
    Console(file=file, width=width, markup=False, emoji=False).print(render(status, now))
    return file.getvalue()


def _words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_json_is_the_daemons_record(run: Run, daemon: FakeDaemon) -> None:
    result = run("mailbell", "status", "--json")
    assert json.loads(result.stdout) == json.loads(json.dumps(daemon.status))
    assert result.stdout.count("\n") == 1


def test_prometheus_is_openmetrics(run: Run, daemon: FakeDaemon) -> None:
    assert run("mailbell", "status", "--prometheus").stdout == openmetrics(a_status())


def test_a_daemon_cannot_send_the_terminal_commands(run: Run, daemon: FakeDaemon) -> None:
    daemon.status["version"] = "1\x1b[2J"
    for option in ([], ["--json"], ["--prometheus"]):
        result = run("mailbell", "status", *option)
        assert result.returncode == 65
        assert result.stdout == ""
        assert result.stderr == (
            "mailbell: the daemon sent a text in status.version that is too long or not printable;"
            " check that it is mailbelld, and has the same version\n"
        )


MANY = {str(number): 1 for number in range(80_000)}


@pytest.mark.parametrize(
    "command", ["status", "status --json", "status --prometheus", "top --once"]
)
@pytest.mark.parametrize("field", ["tcp", "local", "long"])
def test_a_status_of_a_megabyte_is_not_laid_out(
    run: Run, daemon: FakeDaemon, field: str, command: str
) -> None:
    """It took 15 seconds and 230 MB, and wrote 6 MB."""
    if field == "tcp":
        daemon.status["outcomes"] = {"tcp": MANY, "udp": {}}
    else:
        daemon.status["local"] = MANY if field == "local" else {"x" * 1_000_000: 1}
    result = run("mailbell", *command.split())
    assert result.returncode == 65
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "the daemon sent " in result.stderr


def test_a_daemon_that_speaks_nonsense_is_65(run: Run, daemon: FakeDaemon) -> None:
    daemon.status["pid"] = "many"
    result = run("mailbell", "status")
    assert result.returncode == 65
    assert result.stderr.count("\n") == 1


def test_no_daemon_is_69(run: Run) -> None:
    result = run("mailbell", "status")
    assert (result.returncode, result.stdout) == (69, "")


def test_a_collector_is_told_that_no_daemon_answers(run: Run) -> None:
    result = run("mailbell", "status", "--prometheus")
    assert result.returncode == 69
    assert result.stderr.count("\n") == 1
    families = parse(result.stdout)
    assert {name: family.samples for name, family in families.items()} == {
        "mailbell_up": {frozenset(): "0"}
    }


def test_the_table_tells_what_matters(run: Run, daemon: FakeDaemon) -> None:
    result = run("mailbell", "status")
    assert (result.returncode, result.stderr) == (0, "")
    words = _words(result.stdout)
    assert ["listening", "on", "tcp", "127.0.0.1:79,", "udp", "[::1]:79"] in words
    assert ["accepted", "1", "0"] in words
    assert ["mismatch", "0", "1"] in words
    assert ["dropped", "by", "filter", "or", "full", "queue", "5"] in words
    assert ["connections", "0", "256"] in words
    assert ["sources", "tcp/ipv4/32", "1", "8192", "3"] in words
    assert ["work", "1", "2023-11-14T22:13:20+00:00"] in words
    assert ["private", "0", "never"] in words
    assert ["garbage", "2"] in words
    assert ["ok", "capabilities", "none"] in words
    assert "rate_limited" not in result.stdout
    assert "13 other outcomes at zero" in result.stdout
    assert "\x1b" not in result.stdout


def test_it_fits_80_columns() -> None:
    status = msgspec.structs.replace(
        a_status(),
        listening=tuple(f"tcp [2001:db8:1:2:3:4:5:{n}]:65535" for n in range(9)),
        accounts=tuple(Account(name=64 * "a", count=10**15, time=0) for _ in range(3)),
        tables=(Table(name="tcp/ipv6/128", entries=10**9, capacity=10**9, evicted=10**15),),
    )
    lines = _text(status).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_up_time_is_told_roughly() -> None:
    for seconds, said in [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (93_784, "1 d 2 h")]:
        status = msgspec.structs.replace(a_status(), uptime=seconds * 10**6)
        assert f"up {said}\n" in _text(status)


@pytest.mark.parametrize("now", [0.0, 4e9])
def test_up_time_does_not_depend_on_the_wall_clock(now: float) -> None:
    """The machine may have booted without a clock, and may have set the clock since."""
    assert "up 1 d 2 h\n" in _text(a_status(), now=now)


def test_a_daemon_that_tells_no_up_time_is_judged_by_the_wall_clock() -> None:
    """A daemon that is older than the client."""
    status = msgspec.structs.replace(a_status(), uptime=None)
    assert "up 1 d 2 h\n" in _text(status)
    assert "up 0 s\n" in _text(status, now=0)  # the clock was set back


def test_many_accounts_are_cut_and_it_says_so() -> None:
    accounts = tuple(Account(name=f"a{n}", count=0) for n in range(30))
    text = _text(msgspec.structs.replace(a_status(), accounts=accounts, accounts_total=1000))
    assert "a19" in text
    assert "a20" not in text
    assert "and 980 more" in text


def test_what_the_limits_did_is_told() -> None:
    plain = _text(a_status())
    assert "total_rate" not in plain
    assert "by chance" not in plain
    text = _text(msgspec.structs.replace(a_status(), refused_by_total=7, leaked=3))
    assert "7 of the refused only by limits.total_rate" in text
    assert "3 datagrams over their limit let through by chance" in text


def test_it_is_said_when_the_kernel_does_not_filter() -> None:
    assert "sources.allow" not in _text(a_status())
    text = _text(msgspec.structs.replace(a_status(), unfiltered="no CAP_NET_ADMIN \x1b[2J"))
    assert "the daemon, not the kernel, enforces sources.allow: no CAP_NET_ADMIN" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("groups", "said"),
    [((), "no other groups"), ((1000,), "no other groups"), ((4, 27, 1000), "also in 4, 27")],
)
def test_an_ordinary_users_groups_are_named_and_no_weakness(
    groups: tuple[int, ...], said: str
) -> None:
    status = a_status()
    sandbox = msgspec.structs.replace(status.sandbox, uid=1000, gid=1000, groups=groups)
    text = _text(msgspec.structs.replace(status, sandbox=sandbox))
    assert "WEAK" not in text
    assert f"uid 1000, gid 1000, {said}\n" in "".join(f"{x.rstrip()}\n" for x in text.splitlines())


@pytest.mark.parametrize(
    ("used", "offered", "said"),
    [(7, 7, "ABI 7; left"), (10, 11, "ABI 10, of the kernel's 11; left"), (None, 6, "ABI 6; left")],
)
def test_the_landlock_that_is_in_force_is_told(used: int | None, offered: int, said: str) -> None:
    sandbox = msgspec.structs.replace(a_status().sandbox, landlock_used=used, landlock_abi=offered)
    assert said in _text(msgspec.structs.replace(a_status(), sandbox=sandbox), width=200)


def test_without_a_kernels_count_there_is_no_row() -> None:
    assert "dropped" not in _text(msgspec.structs.replace(a_status(), kernel_dropped=None))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uid", 0),
        ("gid", 0),
        ("groups", (0,)),
        ("capabilities", "0000000000000400"),
        ("capabilities", "?"),
        ("capabilities", ""),
        ("no_new_privs", False),
        ("seccomp", 1),
        ("threads", 2),
        ("landlock_used", 0),
    ],
)
def test_a_weak_lock_is_said_in_a_word(field: str, value: object) -> None:
    status = a_status()
    assert "WEAK" not in _text(status)
    sandbox = msgspec.structs.replace(status.sandbox, **{field: value})
    assert _text(msgspec.structs.replace(status, sandbox=sandbox)).count("WEAK") == 1

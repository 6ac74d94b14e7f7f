"""The local socket of the whole daemon: bad clients, slow clients, and who may connect."""

import errno
import grp
import os
import socket
import stat
import subprocess
from functools import partial
from pathlib import Path

import pytest
from harness import child
from harness.daemon import PATIENCE, Daemon, configuration, ring, started, until
from system.support import GENEROUS, LISTENER, Local, program, rss
from system.wrong_calls import WRONG

ONE = ("127.0.0.1:0",)


def events(daemon: Daemon) -> dict[str, int]:
    with Local(daemon.path) as local:
        counts: dict[str, int] = local.ask("GetStatus")["status"]["local"]
        return counts


ENDS = {
    "disconnected", "garbage", "too_long", "bad_call", "too_fast", "user_too_fast", "idle",
    "displaced", "unread",
    "failed",
}  # fmt: skip


def ended(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return how connections ended since the last call, without the ordinary ends: the call itself
    is one."""
    return {e: n for e in ENDS - {"disconnected"} if (n := after[e] - before[e])}


def has_ended(daemon: Daemon, before: dict[str, int]) -> bool:
    return bool(ended(before, events(daemon)))


def test_whoever_is_wrong_is_hung_up_on_and_counted(tmp_path: Path) -> None:
    """Each one alone, beside a subscriber that notices nothing."""
    toml = configuration(tmp_path, tcp=ONE, more=GENEROUS)
    with started(tmp_path, toml) as daemon, Local(daemon.path) as watcher:
        watcher.subscribe()
        endpoint, memory = daemon.endpoint(), []
        for _ in range(2):
            for what in WRONG:
                require_hung_up_on(daemon, what)
            memory.append(rss(daemon))
        print("RSS", memory, "KiB")
        # The second round uses the memory that the first one took. If the daemon kept a
        # message of 10 MiB, even a tenth of it would show.
        assert memory[1] - memory[0] < 1024
        ring(endpoint)
        assert watcher.reply()["notification"]["count"] == 1
        assert daemon.status().subscribers == 1
        assert all(line.isascii() and line.isprintable() for line in daemon.lines())


def require_hung_up_on(daemon: Daemon, what: str) -> None:
    data, expected = WRONG[what]
    before = events(daemon)
    with Local(daemon.path) as bad:
        bad.goes_on(data)
        bad.said_before_the_end()
    until(partial(has_ended, daemon, before), what)
    how = ended(before, events(daemon))
    assert sum(how.values()) == 1, (what, how)
    assert set(how) <= ({expected} if expected else {"garbage", "bad_call"}), (what, how)


def test_an_answer_that_is_an_error_is_no_reason_to_hang_up(tmp_path: Path) -> None:
    with started(tmp_path, configuration(tmp_path, tcp=ONE)) as daemon, Local(daemon.path) as local:
        assert local.ask("Notify", {"account": "nobody"}) == f"{LISTENER}UnknownAccount"
        assert local.ask("NoSuchMethod") == "org.varlink.service.MethodNotFound"
        assert local.ask("GetStatus")["status"]["pid"] == daemon.pid


def test_a_thousand_connections_displace_each_other_and_no_subscriber(tmp_path: Path) -> None:
    toml = configuration(tmp_path, tcp=ONE, more=GENEROUS)
    # One user may make eight connections at once for each place.
    toml = toml.replace('group = ""', 'group = ""\nsubscribers = 240')
    with started(tmp_path, toml) as daemon, Local(daemon.path) as watcher:
        watcher.subscribe()
        endpoint, before = daemon.endpoint(), events(daemon)
        memory = []
        for number in (300, 700):
            # 240 subscribers and 32 others have a place; the watcher has one of them.
            wanted = events(daemon)["displaced"] + number - 272
            crowd = [Local(daemon.path) for _ in range(number)]
            try:
                until(partial(have_been_displaced, daemon, wanted))
                ring(endpoint)
                assert watcher.reply()["notification"]["count"] == 1
                memory.append(rss(daemon))
            finally:
                for one in crowd:
                    one.socket.close()
        until(partial(all_have_ended, daemon, before), "the end of each connection")
        now = events(daemon)
        assert now["refused_full"] == before["refused_full"]
        assert now["refused_user"] == now["user_too_fast"] == 0
        assert now["failed"] == 0
        # Only the oldest of the silent connections lost their places.
        assert now["garbage"] == now["bad_call"] == now["too_fast"] == 0
        assert daemon.status().subscribers == 1
        print("RSS", memory, "KiB")
        # The first crowd filled every place. More connections need no more
        # memory, except for what the allocator keeps.
        assert memory[1] - memory[0] < 1024


def have_been_displaced(daemon: Daemon, wanted: int) -> bool:
    return events(daemon)["displaced"] >= wanted


def all_have_ended(daemon: Daemon, before: dict[str, int]) -> bool:
    """Return whether as many connections ended as began since the last call."""
    now = events(daemon)
    return sum(now[e] - before[e] for e in ENDS) == now["connected"] - before["connected"]


def test_subscribers_have_a_limit_of_their_own(tmp_path: Path) -> None:
    toml = configuration(tmp_path, tcp=ONE).replace('group = ""', 'group = ""\nsubscribers = 2')
    with (
        started(tmp_path, toml) as daemon,
        Local(daemon.path) as one,
        Local(daemon.path) as two,
        Local(daemon.path) as three,
    ):
        one.subscribe()
        two.subscribe()
        three.call("Subscribe", more=True)
        assert three.reply() == f"{LISTENER}TooManySubscribers"
        assert events(daemon)["refused_subscriber"] == 1
        ring(daemon.endpoint())
        assert one.reply()["notification"] == two.reply()["notification"]


def test_a_subscriber_that_never_reads_gets_it_all_in_one(tmp_path: Path) -> None:
    """Hundreds of notifications in a hundred wake-ups: only their sum is kept."""
    more = GENEROUS + '[coalesce]\ninterval = "10ms"\n'
    with started(tmp_path, configuration(tmp_path, tcp=ONE, more=more)) as daemon:
        endpoint = daemon.endpoint()
        with Local(daemon.path) as sleeper, Local(daemon.path) as watcher:
            sleeper.call("Subscribe", more=True)
            watcher.subscribe()
            until(lambda: daemon.status().subscribers == 2)

            def ring_until_woken(wakeups: int) -> bool:
                for _ in range(20):
                    ring(endpoint)
                return daemon.status().wakeups >= wakeups

            memory = []
            for wakeups in (100, 300):
                until(partial(ring_until_woken, wakeups), f"wake-up {wakeups}")
                memory.append(rss(daemon))
            rung = daemon.counted()["accepted"]
            assert told_until(watcher, rung)[-1] < rung
            counts = told_until(sleeper, rung)
            print(rung, "rung; to the sleeper:", counts, "RSS", memory, "KiB")
            # The replies in the kernel's buffer, one that waits, then one for all the rest.
            assert len(counts) <= 8
            assert counts[-1] > rung / 2
            # Two hundred separate wake-ups would be a message each, and take more.
            assert memory[1] - memory[0] < 512


def told_until(local: Local, rung: int) -> list[int]:
    """Read notifications until their counts add up to so many; return the counts."""
    counts: list[int] = []
    while sum(counts) < rung:
        if notification := local.reply()["notification"]:
            counts.append(notification["count"])
    assert sum(counts) == rung
    return counts


def test_the_peer_is_named_in_the_log(tmp_path: Path) -> None:
    with started(tmp_path, configuration(tmp_path, tcp=ONE)) as daemon:
        who = f"pid={os.getpid()} uid={os.getuid()} gid={os.getgid()}"
        with Local(daemon.path) as local:
            local.ask("Notify", {"account": "default"})
            daemon.until_logged(f"event=rung_by_hand {who} account=default")
            local.subscribe()
            daemon.until_logged(f"event=subscribed {who}")
        daemon.until_logged(f"event=unsubscribed {who}")
        with Local(daemon.path) as local:
            local.goes_on(b"nonsense\0")
            local.said_before_the_end()
        daemon.until_logged(f"event=local_closed {who} reason=garbage")


def a_group() -> grp.struct_group:
    """Return a group that this process can give a file to, but not its primary group."""
    if os.geteuid() == 0:
        return next(group for group in grp.getgrall() if group.gr_gid not in (0, 65534))
    for gid in os.getgroups():
        if gid != os.getegid():
            return grp.getgrgid(gid)
    pytest.skip("needs root, or a user who is in two groups")


@pytest.mark.parametrize("mode", ["0660", "0600"])
def test_owner_group_and_mode_of_the_socket(tmp_path: Path, mode: str) -> None:
    group = a_group()
    toml = configuration(tmp_path, tcp=ONE).replace(
        'group = ""', f'group = "{group.gr_name}"\nmode = "{mode}"'
    )
    with started(tmp_path, toml) as daemon:
        status = daemon.path.lstat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == int(mode, 8)
        assert (status.st_uid, status.st_gid) == (os.geteuid(), group.gr_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize(
    ("gid_offset", "groups", "admitted"),
    [(0, False, True), (1, False, False), (1, True, True)],
    ids=["their own group", "a stranger", "a further group"],
)
def test_only_the_group_may_connect(
    open_path: Path, gid_offset: int, groups: bool, admitted: bool
) -> None:
    group = a_group()
    toml = configuration(open_path, tcp=ONE).replace('group = ""', f'group = "{group.gr_name}"')
    with started(open_path, toml) as daemon:

        def as_somebody() -> int:
            os.setgroups([group.gr_gid] if groups else [])
            gid = group.gr_gid if not gid_offset else 54321
            os.setresgid(gid, gid, gid)
            os.setresuid(54321, 54321, 54321)
            with socket.socket(socket.AF_UNIX) as sock:
                return sock.connect_ex(str(daemon.path))

        assert child.run(as_somebody).value == (0 if admitted else errno.EACCES)


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mailbell.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    before = path.lstat().st_ctime_ns
    with started(tmp_path, configuration(tmp_path, tcp=ONE)) as daemon:
        assert path.lstat().st_ctime_ns != before
        assert daemon.status().pid == daemon.pid


def refused(directory: Path) -> "subprocess.CompletedProcess[str]":
    file = directory / "refused.toml"
    file.write_text(configuration(directory, tcp=ONE))
    return subprocess.run(
        program("mailbelld", "--config", str(file)),
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_anything_else_at_the_path_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "mailbell.sock", tmp_path / "target"
    target.write_text("precious")
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(target)
    before = path.lstat()
    ended = refused(tmp_path)
    assert ended.returncode == 78
    assert str(path) in ended.stderr
    assert "remove it yourself, or choose another socket path" in ended.stderr
    assert path.lstat() == before
    assert target.read_text() == "precious"


def test_a_second_daemon_does_not_take_the_socket_over(tmp_path: Path) -> None:
    with started(tmp_path, configuration(tmp_path, tcp=ONE)) as daemon:
        ended = refused(tmp_path)
        assert ended.returncode == 71
        assert f"another mailbelld is running: it listens on {daemon.path}" in ended.stderr
        assert daemon.status().pid == daemon.pid

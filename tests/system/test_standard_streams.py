"""Started without standard streams: no socket may take their places.

Descriptor 2 is the log. If a connection got that number, the daemon would send its log
to that sender, because the policy permits writing to descriptor 2.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.daemon import LISTED, Daemon, configuration, ring, started, until
from system.support import Local

from mailbell.client import Client

# Becomes the program, with these descriptors closed.
CLOSER = """
import os, sys
for number in sys.argv[1].split(","):
    os.close(int(number))
os.execv(sys.argv[2], sys.argv[2:])
"""

# Becomes the program, with the environment that systemd gives to a service of the journal.
JOURNAL = """
import os, sys
log = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{log.st_dev}:{log.st_ino}"
os.execv(sys.argv[1], sys.argv[1:])
"""

# Becomes the program, when its log is a full pipe that an earlier program left non-blocking.
FULL = """
import fcntl, os, sys
fcntl.fcntl(2, fcntl.F_SETPIPE_SZ, 4096)
os.set_blocking(2, False)
os.write(2, b"." * 4095)
os.execv(sys.argv[1], sys.argv[1:])
"""

pytestmark = pytest.mark.unwatched(reason="whoever watches has opened something in those places")
WHICH = pytest.mark.parametrize(
    "closed", [(0,), (1,), (2,), (0, 2), (0, 1, 2)], ids=lambda numbers: "".join(map(str, numbers))
)


@contextmanager
def started_without(directory: Path, closed: tuple[int, ...]) -> Iterator[Daemon]:
    command = (sys.executable, "-c", CLOSER, ",".join(map(str, closed)))
    toml = configuration(directory, tcp=["127.0.0.1:0"], udp=["127.0.0.1:0"], more=LISTED)
    with started(directory, toml, command=command) as daemon:
        yield daemon


@WHICH
def test_it_serves_and_says_nothing_to_the_network(tmp_path: Path, closed: tuple[int, ...]) -> None:
    with started_without(tmp_path, closed) as daemon:
        # Each piece of garbage makes a log line while the connection is open.
        with Local(daemon.path) as watcher:
            watcher.subscribe()
            for data in (b"garbage\r\n", b"", b"/W root\r\n"):
                assert ring(daemon.endpoint(), data, "127.0.0.2") == b""
            assert ring(daemon.endpoint()) == b""
            assert watcher.reply()["notification"]["count"] == 1
        with Client(str(daemon.path)) as client:
            assert client.status().pid == daemon.pid
        until(lambda: sum(daemon.counted().values()) == 4)
        with Local(daemon.path) as bad:
            bad.goes_on(b"nonsense\0")  # this one is logged too
            assert bad.said_before_the_end() == b""
        assert daemon.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks into an undumpable process")
@WHICH
def test_what_is_missing_is_dev_null(tmp_path: Path, closed: tuple[int, ...]) -> None:
    with started_without(tmp_path, closed) as daemon:
        ring(daemon.endpoint())
        with Local(daemon.path) as watcher:
            watcher.subscribe()
            links = {
                int(entry.name): os.readlink(entry)
                for entry in Path(f"/proc/{daemon.pid}/fd").iterdir()
            }
        assert {number: links[number] for number in closed} == dict.fromkeys(closed, "/dev/null")
        sockets = {number for number, link in links.items() if link.startswith("socket:")}
        assert len(sockets) > 4  # the listening sockets, the event loop's pair, the watcher
        assert min(sockets) > 2
        if 2 not in closed:
            assert links[2].startswith("pipe:")
        assert daemon.stop() == 0


def test_no_line_has_a_prefix_for_its_level(tmp_path: Path) -> None:
    """The shipped unit has SyslogLevelPrefix=no: journald would show a prefix as text."""
    with started(tmp_path, command=(sys.executable, "-c", JOURNAL)) as daemon:
        daemon.until_logged("event=locked")
        assert not any(line.startswith("<") for line in daemon.lines())


def test_lines_that_a_full_pipe_loses_are_counted_and_told(tmp_path: Path) -> None:
    with started(tmp_path, command=(sys.executable, "-c", FULL)) as daemon:
        assert daemon.status().log_suppressed >= 2  # "listening", "locked"
        with Client(str(daemon.path)) as client:
            client.notify("default")
            assert "rung_by_hand" not in "".join(daemon.lines())  # this makes room
            client.notify("default")
        daemon.until_logged("event=rung_by_hand")
        (line,) = (line for line in daemon.lines() if "event=rung_by_hand" in line)
        assert line.endswith(" suppressed=1")

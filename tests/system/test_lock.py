"""What the kernel says about the running, unmodified daemon."""

import os
from pathlib import Path

import pytest
from harness.daemon import ring, started, until


def test_the_running_daemon_holds_no_privilege(tmp_path: Path) -> None:
    with started(tmp_path) as daemon:
        says = daemon.kernel_says()
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(says[name], 16) == 0, name
        assert says["NoNewPrivs"] == "1"
        assert says["Seccomp"] == "2"
        assert says["Threads"] == "1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another user")
def test_started_as_root_it_is_somebody_else_for_good(tmp_path: Path) -> None:
    with started(tmp_path) as daemon:
        says = daemon.kernel_says()
        assert set(says["Uid"].split()) == {"65534"}
        assert set(says["Gid"].split()) == {"65534"}
        assert says["Groups"] == ""
        assert int(says["CapBnd"], 16) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_line_on_tcp_is_accepted_and_answered_with_nothing(tmp_path: Path, host: str) -> None:
    with started(tmp_path) as daemon:
        assert ring(daemon.endpoint("tcp", host)) == b""
        until(lambda: daemon.counted() == {"accepted": 1})

"""A daemon that cannot do what it is configured to do refuses to start and names the remedy.

Each case checks the exit code, one line with the reason, the place and the remedy, and
that no sender was served. `tests/sandbox/test_fail_closed.py` tries each step of the
start-up itself.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.daemon import PATIENCE, configuration
from harness.ordinary import as_nobody
from harness.ports import free_port

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@dataclass
class Ended:
    code: int
    lines: list[str]

    @property
    def complaint(self) -> str:
        """Return the last line, about the error; lines before it are about the configuration."""
        return self.lines[-1]


def mailbelld(
    file: Path, *words: str, command: Sequence[str] = (), cwd: Path | None = None
) -> Ended:
    """Run the daemon until it ends by itself."""
    daemon = [sys.executable, "-m", "mailbell.cli.mailbelld", "--config", str(file), *words]
    done = subprocess.run(
        [*command, *daemon],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
        cwd=cwd,
    )  # fmt: skip
    assert done.stdout == ""
    return Ended(done.returncode, done.stderr.splitlines())


def written(directory: Path, toml: str | None = None) -> Path:
    file = directory / "mailbelld.toml"
    file.write_text(configuration(directory, tcp=("127.0.0.1:0",)) if toml is None else toml)
    return file


def require(ended: Ended, code: int, *parts: str, lines: int = 1) -> None:
    assert ended.code == code, ended
    assert len(ended.lines) == lines, ended
    assert ended.complaint.startswith("mailbelld: ")
    print(ended.code, ended.complaint)
    for part in parts:
        assert part in ended.complaint, ended


def require_closed(port: int) -> None:
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", port)) != 0


# --- the configuration -------------------------------------------------------

WRONG = """
listne = 1
unmatched = "some"
[listen]
tcp = ["127.0.0.1:{port}", "localhost:79"]
user = "nobody"
[socket]
path = "relative"
mode = 660
[protocol]
terminators = ["cr"]
deadline = 5
[limits]
burst = 0
rate = "fast"
[[account]]
name = "work"
sources = ["192.0.2.300"]
[[account]]
name = "a b"
"""
PATHS = (
    "listne", "unmatched", "listen.tcp[1]", "socket.path", "socket.mode", "protocol.terminators[0]",
    "protocol.deadline", "limits.burst", "limits.rate", "account[0].sources[0]", "account[1].name",
)  # fmt: skip


def test_every_error_of_a_configuration_is_named_with_its_path(tmp_path: Path) -> None:
    port = free_port()
    file = written(tmp_path, WRONG.format(port=port))
    ended = mailbelld(file)
    assert ended.code == 78
    for path in PATHS:
        assert sum(line.startswith(f"mailbelld: {file}: {path}: ") for line in ended.lines) == 1, (
            path,
            ended,
        )
    assert all(line.startswith("mailbelld: ") for line in ended.lines)
    require_closed(port)


def test_errors_of_file_and_command_line_come_together(tmp_path: Path) -> None:
    file = written(tmp_path, "[limits]\nburst = 0\n")
    ended = mailbelld(file, "--listen", "localhost:79", "--socket", "relative")
    assert ended.code == 78
    for start in (f"{file}: limits.burst: ", "--listen: ", "--socket: "):
        assert any(line.startswith(f"mailbelld: {start}") for line in ended.lines), ended


def test_what_is_no_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    ended = mailbelld(written(tmp_path, "[listen]\ntcp = [\n"))
    assert ended.code == 78
    assert "line" in ended.lines[0]


# --- things that the configuration names and the machine may lack ----------------


def test_a_port_that_is_taken_is_refused_with_its_holder(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        toml = configuration(tmp_path, tcp=(f"127.0.0.1:{port}",))
        ended = mailbelld(written(tmp_path, toml))
        require(ended, 71, f"port {port} of 127.0.0.1 is taken", f"pid {os.getpid()}", "stop what")
        assert not (tmp_path / "mailbell.sock").exists()
        taken.setblocking(False)
        with pytest.raises(BlockingIOError):
            taken.accept()


def test_with_one_port_taken_the_other_is_not_served(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        both = [f"127.0.0.1:{port}", f"127.0.0.1:{taken.getsockname()[1]}"]
        require(mailbelld(written(tmp_path, configuration(tmp_path, tcp=both))), 71, "is taken")
    require_closed(port)


def nobody(hold: Path) -> list[str]:
    """Return the command that runs a program without any privilege."""
    return as_nobody(hold) if os.geteuid() == 0 else []


def where_port_79_is_privileged() -> list[str]:
    """Return the command that runs a program where only root may bind port 79.

    Containers often permit it to every user. It is a property of the network namespace,
    and a new namespace has the kernel's default.
    """
    start = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    if int(start) > 79:
        return []
    command = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("on this machine anyone may bind port 79, in the only network there is")
    return command


def test_without_the_privilege_for_port_79_it_says_how_to_get_it(
    open_path: Path, empty_path: Path
) -> None:
    toml = configuration(open_path, tcp=("127.0.0.1:79",))
    command = [*where_port_79_is_privileged(), *nobody(empty_path)]
    ended = mailbelld(written(open_path, toml), command=command, cwd=Path("/"))
    require(
        ended, 77, "no permission to bind port 79 of 127.0.0.1",
        "start as root, let the service manager bind it", "above 1023",
    )  # fmt: skip


@ROOT
def test_without_permission_for_the_socket_it_says_where_to_look(
    open_path: Path, empty_path: Path
) -> None:
    port = free_port()
    toml = configuration(open_path, tcp=(f"127.0.0.1:{port}",))
    ended = mailbelld(written(open_path, toml), command=nobody(empty_path), cwd=Path("/"))
    require(ended, 77, f"no permission to make the socket {open_path}/mailbell.sock", "who owns")
    require_closed(port)


@ROOT
def test_a_user_that_does_not_exist_is_refused_with_how_to_create_it(tmp_path: Path) -> None:
    port = free_port()
    file = written(tmp_path, configuration(tmp_path, tcp=(f"127.0.0.1:{port}",)))
    ended = mailbelld(file, "--user", "no-such-user")
    require(ended, 78, "there is no user 'no-such-user'", "useradd --system", "no-such-user")
    require_closed(port)


@ROOT
def test_root_is_no_user_to_become(tmp_path: Path) -> None:
    ended = mailbelld(written(tmp_path), "--user", "root")
    require(ended, 78, "listen.user: 'root'", "choose a user that has neither root's uid")


@ROOT
def test_a_group_that_does_not_exist_is_refused_with_how_to_create_it(tmp_path: Path) -> None:
    port = free_port()
    toml = configuration(tmp_path, tcp=(f"127.0.0.1:{port}",))
    ended = mailbelld(written(tmp_path, toml.replace('group = ""', 'group = "no-such-group"')))
    require(ended, 78, "there is no group 'no-such-group'", "groupadd --system no-such-group")
    require_closed(port)


def test_a_socket_directory_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    port, missing = free_port(), tmp_path / "missing"
    file = written(tmp_path, configuration(tmp_path, tcp=(f"127.0.0.1:{port}",)))
    ended = mailbelld(file, "--socket", str(missing / "mailbell.sock"))
    require(ended, 78, f"the socket directory {missing} does not exist", f"mkdir -m 0755 {missing}")
    assert not missing.exists()
    require_closed(port)


@pytest.mark.parametrize("below", ["", "a", "a/b"])
def test_a_socket_directory_anyone_may_write_to_is_refused(tmp_path: Path, below: str) -> None:
    """Also one far above the socket: another user could move what is below it away."""
    unsafe = tmp_path / "unsafe"
    (unsafe / below).mkdir(parents=True)
    unsafe.chmod(0o777)
    place = unsafe / below / "mailbell.sock"
    ended = mailbelld(written(tmp_path), "--socket", str(place))
    require(ended, 78, f"other users may write to {unsafe}, who could", f"chmod go-w {unsafe}")
    assert not place.exists()


def test_a_socket_directory_behind_a_link_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    unsafe = tmp_path / "unsafe"
    unsafe.mkdir()
    unsafe.chmod(0o777)
    (unsafe / "link").symlink_to(tmp_path / "good")
    ended = mailbelld(written(tmp_path), "--socket", str(unsafe / "link/mailbell.sock"))
    require(ended, 78, f"other users may write to {unsafe}, who could", f"chmod go-w {unsafe}")

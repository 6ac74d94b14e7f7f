"""A daemon that cannot be what it must be does not start, and says why and what to do.

In each case: the exit code, one line with what, where and the remedy, and
nobody was served. Where the daemon fails after its port is open, that port is
one of ours, passed to it as a service manager does, with a notification
waiting in it: if that is still there at the end, nothing was accepted.
"""

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from harness.daemon import LINE, PATIENCE, configuration
from harness.ordinary import as_nobody

import mailbell

SOURCES: Final = Path(mailbell.__file__).parent
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# Runs the program in its place, after a piece of code: as a service manager
# would, with descriptor 3 and the variables that tell of it. What the code
# needs is imported before it, since it may take away what an import needs.
LAUNCHER: Final = """
import os, sys
given, *command = sys.argv[1:]
if given:
    os.dup2(int(given), 3)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="tcp")
{code}
os.execv(command[0], command)
"""

# Makes the kernel one that does not know a call, or does not permit it.
WITHOUT: Final = """\
import pyseccomp
outer = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
outer.add_rule(pyseccomp.ERRNO({errno}), {call!r}{condition})
outer.load()
"""

# SECCOMP_SET_MODE_FILTER with a program; libseccomp also calls it without one,
# and asks which actions there are.
SET_MODE_FILTER: Final = ", pyseccomp.Arg(0, pyseccomp.EQ, 1), pyseccomp.Arg(2, pyseccomp.NE, 0)"


@dataclass
class Ended:
    code: int
    lines: list[str]

    @property
    def complaint(self) -> str:
        """What it said of the matter; what came before is about the configuration."""
        return self.lines[-1]


def without(call: str, code: int, condition: str = "") -> str:
    """Code for the launcher: from here on the kernel answers this call with an error."""
    return WITHOUT.format(call=call, errno=code, condition=condition)


def launcher_for(code: str, passed: Sequence[int]) -> list[str]:
    given = "".join(map(str, passed))
    return [sys.executable, "-c", LAUNCHER.format(code=code), given]


def mailbelld(
    file: Path,
    *words: str,
    launch: str = "",
    given: socket.socket | None = None,
    command: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Ended:
    """Run the daemon to its end, which must come by itself."""
    passed = () if given is None else (given.fileno(),)
    launcher = launcher_for(launch, passed) if launch or passed else []
    daemon = [sys.executable, "-m", "mailbell.cli.mailbelld", "--config", str(file), *words]
    done = subprocess.run(
        [*command, *launcher, *daemon],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
        pass_fds=passed, env={**os.environ, **(environ or {})}, cwd=cwd,
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


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


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


# --- what the configuration names on this machine ------------------------------


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
    """What to run a program through, so that it has no privilege at all."""
    return as_nobody(hold) if os.geteuid() == 0 else []


def where_port_79_is_privileged() -> list[str]:
    """What to run a program through, so that not anyone may bind port 79.

    Containers often let anyone. It is a property of the network namespace,
    and a new one has the kernel's default.
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
    require(ended, 78, "listen.user: 'root'", "name a user that has neither root's uid")


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


def test_a_socket_directory_anyone_may_write_to_is_refused(tmp_path: Path) -> None:
    unsafe = tmp_path / "unsafe"
    unsafe.mkdir()
    unsafe.chmod(0o777)
    ended = mailbelld(written(tmp_path), "--socket", str(unsafe / "mailbell.sock"))
    require(ended, 78, f"anyone may write to {unsafe}", f"chmod o-w {unsafe}")


# --- the lock ----------------------------------------------------------------


class Waiting:
    """A listening socket with one notification in it that nobody has taken."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(PATIENCE)
        self.peer = socket.create_connection(self.listening.getsockname(), PATIENCE)
        self.peer.sendall(LINE)

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.close()
        self.listening.close()

    def require_untouched(self) -> None:
        connection, _ = self.listening.accept()
        with connection:
            connection.settimeout(PATIENCE)
            assert connection.recv(64) == LINE


def require_not_started(
    directory: Path,
    code: int,
    *parts: str,
    launch: str = "",
    command: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Ended:
    """Everything is right but one thing; that one stops it before anybody is served."""
    with (
        Waiting() as waiting,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(directory / "notify"))
        ended = mailbelld(
            written(directory), launch=launch, given=waiting.listening, command=command,
            environ={"NOTIFY_SOCKET": str(directory / "notify"), **(environ or {})},
        )  # fmt: skip
        waiting.require_untouched()
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(4096)  # READY=1 was never said
    require(ended, code, *parts)
    return ended


def test_the_same_way_it_starts_when_nothing_is_wrong(tmp_path: Path) -> None:
    """The control: else the tests below would pass for a reason of their own."""
    with Waiting() as waiting, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        harmless = without("sched_yield", errno.ENOSYS)
        daemon = subprocess.Popen(
            [
                *launcher_for(harmless, [waiting.listening.fileno()]),
                sys.executable, "-m", "mailbell.cli.mailbelld", "--config", str(written(tmp_path)),
            ],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            pass_fds=[waiting.listening.fileno()],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )  # fmt: skip
        try:
            assert manager.recv(4096).startswith(b"READY=1")
            waiting.peer.settimeout(PATIENCE)
            assert waiting.peer.recv(64) == b""
        finally:
            daemon.terminate()
            _, said = daemon.communicate(timeout=PATIENCE)
        assert daemon.returncode == 0, said
        assert "event=notification account=default" in said


def library() -> str:
    """The file that libseccomp is loaded from."""
    code = (
        "import pyseccomp\n"
        "print(next(l.split()[-1] for l in open('/proc/self/maps') if 'libseccomp' in l))"
    )
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


def found_first(place: Path) -> dict[str, str]:
    """The environment in which modules are looked for here before anywhere else."""
    others = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(place), others, str(SOURCES.parent)]))}


def stub(directory: Path, name: str, text: str) -> dict[str, str]:
    """A module that is found before the real one; returns the environment for it."""
    place = directory / "stub"
    place.mkdir()
    (place / name).write_text(text)
    return found_first(place)


MISSING = ("libseccomp.so.2 cannot be loaded", "install libseccomp2")


def test_without_pyseccomp_it_does_not_start(tmp_path: Path) -> None:
    environ = stub(tmp_path, "pyseccomp.py", "raise RuntimeError('Unable to find libseccomp')")
    require_not_started(tmp_path, 71, *MISSING, environ=environ)


@ROOT
def test_without_libseccomp_it_does_not_start(tmp_path: Path) -> None:
    """The real thing: in its own view of the file system the library is empty."""
    hide = ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null "$0" && exec "$@"', library()]
    if subprocess.run([*hide, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system grants no mount namespace")
    require_not_started(tmp_path, 71, *MISSING, command=hide)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSYS, "it needs Linux 5.13 or later"),  # built without, or too old
        (errno.EOPNOTSUPP, "boot with landlock in the lsm= parameter"),  # off
        (errno.EPERM, "is another sandbox around this process?"),  # an old container runtime
    ],
    ids=["unknown", "off", "forbidden"],
)
def test_without_landlock_it_does_not_start(tmp_path: Path, code: int, remedy: str) -> None:
    require_not_started(
        tmp_path, 71, "the kernel offers no Landlock", remedy, os.strerror(code),
        launch=without("landlock_create_ruleset", code),
    )  # fmt: skip


def test_when_landlock_does_not_bind_it_does_not_start(tmp_path: Path) -> None:
    launch = without("landlock_restrict_self", errno.E2BIG)
    require_not_started(tmp_path, 71, "Landlock refused", launch=launch)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, errno.ENOSYS])
def test_when_the_kernel_has_no_filters_it_does_not_start(tmp_path: Path, code: int) -> None:
    require_not_started(
        tmp_path, 71, "cannot compile the policy", "a kernel that permits seccomp(2)",
        launch=without("seccomp", code),
    )  # fmt: skip


@pytest.mark.parametrize("code", [errno.EACCES, errno.EINVAL, errno.ENOMEM])
def test_when_the_kernel_refuses_the_filter_it_does_not_start(tmp_path: Path, code: int) -> None:
    """Asked what it can do, this kernel says it can; the program itself it does not take."""
    require_not_started(
        tmp_path, 71, "the kernel refused the seccomp filter", os.strerror(code), "it needs Linux",
        launch=without("seccomp", code, SET_MODE_FILTER),
    )  # fmt: skip


def test_with_a_second_thread_it_does_not_start(tmp_path: Path) -> None:
    """Landlock and the capabilities would bind one thread and leave the other outside."""
    environ = stub(
        tmp_path,
        "sitecustomize.py",
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    )
    require_not_started(tmp_path, 70, "2 threads where one was expected", environ=environ)


def broken_copy(directory: Path, policy: str) -> dict[str, str]:
    """A copy of the package with another policy; returns the environment for it."""
    copy = directory / "copy" / "mailbell"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "policy" / "mailbelld.toml").write_text(policy)
    return found_first(copy.parent)


def policy() -> str:
    return (SOURCES / "policy" / "mailbelld.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("[unknown]", "[unknown", "line"),
        ('calls = ["accept4"]', 'calls = ["acept4"]', "acept4"),
        ('calls = ["accept4"]', 'calls = ["accept4"]\nwhat = 1', "what"),
        ('answer = "ENOSYS"', 'answer = "ESTRANGE"', "unknown.answer"),
        ('args.0 = ["STATUS"]', 'args.0 = ["STATES"]', "STATES"),
    ],
    ids=["syntax", "call", "key", "error", "name"],
)
def test_with_a_policy_that_is_wrong_it_does_not_start(
    tmp_path: Path, old: str, new: str, part: str
) -> None:
    assert old in policy()
    environ = broken_copy(tmp_path, policy().replace(old, new, 1))
    with Waiting() as waiting:
        ended = mailbelld(written(tmp_path), given=waiting.listening, environ=environ)
        waiting.require_untouched()
    assert ended.code == 78, ended
    assert any(part in line for line in ended.lines), ended
    assert all(line.startswith("mailbelld: ") for line in ended.lines), ended


def test_without_its_policy_it_does_not_start(tmp_path: Path) -> None:
    environ = broken_copy(tmp_path, "")
    (tmp_path / "copy" / "mailbell" / "policy" / "mailbelld.toml").unlink()
    require_not_started(tmp_path, 71, "mailbelld.toml", "install mailbell again", environ=environ)


def test_with_a_policy_that_permits_too_little_it_does_not_serve(tmp_path: Path) -> None:
    """Without the call that confirms the lock, it dies of its own filter before it is ready."""
    lacking = policy().replace('calls = ["read"]', 'calls = ["readahead"]', 1)
    environ = broken_copy(tmp_path, lacking)
    with Waiting() as waiting:
        ended = mailbelld(written(tmp_path), given=waiting.listening, environ=environ)
        waiting.require_untouched()
    assert ended.code == -31, ended  # SIGSYS


def test_with_a_policy_that_permits_too_much_it_does_not_start(tmp_path: Path) -> None:
    """Landlock does not know of stat(2): only the filter's own denial proves the filter."""
    denied = '"stat", "lstat", "fstat", "newfstatat", "statx",'
    assert denied in policy()
    more = '\n[[allow]]\ncalls = ["stat", "lstat", "fstat", "newfstatat", "statx"]\nreason = "x"\n'
    environ = broken_copy(tmp_path, policy().replace(denied, "", 1) + more)
    require_not_started(
        tmp_path, 70, "yet a file could be looked at", "report this", environ=environ
    )

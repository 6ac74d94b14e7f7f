"""`mailbell check` with real files and real ports. Only what a test cannot have is replaced."""

import contextlib
import errno
import io
import os
import resource
import socket
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.support import words
from harness import answering, child
from harness.answering import refused
from harness.fake_daemon import STATUS, FakeDaemon, answer
from harness.libseccomp import BINDING
from harness.ordinary import let_in
from harness.ports import free_port
from harness.sender import PATIENCE

from mailbell._sys import credentials, landlock, local_socket, seccomp, sockets
from mailbell._sys.port_holder import Holder
from mailbell._sys.trusted_path import Weakness, find_weaknesses
from mailbell.cli import _group, _machine, _units, check, mailbelld
from mailbell.configuration.values import Endpoint
from mailbell.core.errors import ConfigurationError, OperatingSystemError
from mailbell.core.networks import Family
from mailbell.core.notification import Transport
from mailbell.interfaces.listener import GetStatus, GetStatusReply

_SAFE = 0o755
_real_geteuid = os.geteuid
_USER = os.geteuid()


@pytest.fixture(autouse=True)
def _known_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """User and group exist, and the process is root, unless a test says otherwise."""
    monkeypatch.setattr(_machine, "_ANSWER", 0.05)  # no program answers on many of these sockets
    identity = credentials.Identity("mailbell", os.getuid(), os.getgid())
    monkeypatch.setattr(credentials, "resolve_user", lambda _: identity)
    monkeypatch.setattr(credentials, "resolve_group", lambda *_: os.getgid())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(_units, "ask", lambda: None)


@pytest.fixture
def taken() -> Iterator[dict[str, socket.socket]]:
    """A TCP and a UDP port that this process holds."""
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        yield {"tcp": tcp, "udp": udp}


def _lowest_free_port() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


@pytest.fixture(autouse=True)
def own_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tests change the user that the program sees. The test's folders stay trusted."""

    def find(
        path: str, trusted: Collection[int] = (), *, whole: bool = False
    ) -> tuple[Weakness, ...]:
        return find_weaknesses(path, {*trusted, _USER}, whole=whole)

    monkeypatch.setattr(local_socket, "find_weaknesses", find)
    monkeypatch.setattr(check, "find_weaknesses", find)
    monkeypatch.setenv("MAILBELL_DAEMON_USER", str(_USER))


@pytest.fixture
def configure(tmp_path: Path) -> Any:
    """Writes a configuration and returns its path."""
    (tmp_path / "run").mkdir(mode=_SAFE)

    def configure(listen: str = "", more: str = "") -> str:
        path = tmp_path / "mailbelld.toml"
        listen = listen or f'tcp = ["127.0.0.1:{free_port()}"]'
        path.write_text(f'[listen]\n{listen}\n[socket]\npath = "{tmp_path}/run/s"\n{more}')
        path.chmod(0o644)
        return str(path)

    return configure


def _check(path: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = _group.run(["check", "--config", path])
    out, err = capsys.readouterr()
    assert err == ""
    return code, out


def test_a_machine_that_is_ready(configure: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = configure()
    code, out = _check(path, capsys)
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == {"ok"}
    for said in (
        "is valid",
        "is free",
        "Landlock, ABI",
        "seccomp",
        f"calls permitted, by the Python module {BINDING}",
        "open files are needed, and permitted",
        "libgcc",
        "the user mailbell exists",
        "the group mailbell exists",
        "run/s can be made",
    ):
        assert said in out


def test_every_problem_of_the_file_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[limits]\nrate = "often"\nburts = 3\n')
    code, out = _check(str(path), capsys)
    assert code == 78
    assert f"FAIL {path}: limits.rate: " in out
    assert f"FAIL {path}: limits.burts: " in out or "burts" in out


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = _check(str(tmp_path / "none.toml"), capsys)
    assert code == 78
    assert "no such file" in out
    assert "->" in out


def test_without_a_file_the_defaults_are_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "none.toml")
    monkeypatch.setattr("mailbell.cli._file.DEFAULT_PATH", missing)
    monkeypatch.setattr(sockets, "examine", lambda *_: None)
    _group.run(["check"])
    out = capsys.readouterr().out
    assert f"ok   no {missing}: the built-in defaults" in out
    assert "tcp 0.0.0.0:79 is free" in out
    assert "tcp [::]:79 is free" in out


def test_a_file_anyone_may_write_is_a_warning(
    configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configure()
    os.chmod(path, 0o666)
    code, out = _check(path, capsys)
    assert code == 0
    assert f"warn anyone may write {path}" in out
    assert f"-> chmod o-w {path}" in out


def test_a_folder_above_the_file_that_anyone_may_write_is_a_warning(
    configure: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(configure())
    (tmp_path / "open").mkdir()
    (tmp_path / "open/link.toml").symlink_to(path)
    (tmp_path / "open").chmod(0o777)
    code, out = _check(str(tmp_path / "open/link.toml"), capsys)
    assert code == 0
    assert f"warn other users may write to {tmp_path}/open, who could replace" in out
    assert f"-> chmod go-w {tmp_path}/open" in out


def test_the_name_of_a_folder_is_escaped_in_a_finding_and_in_its_remedy(
    configure: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(configure())
    odd = tmp_path / "a\x1b]0;b\x07c"
    odd.mkdir()
    (odd / "link.toml").symlink_to(path)
    odd.chmod(0o777)
    _, out = _check(str(odd / "link.toml"), capsys)
    shown = f"{tmp_path}/a\\x1b]0;b\\x07c"
    assert f"warn other users may write to {shown}, who could replace" in out
    assert f"-> chmod go-w {shown}" in out
    assert out.replace("\n", "").isprintable()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_who_holds_a_port_is_named(
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    taken: dict[str, socket.socket],
    transport: str,
) -> None:
    port = taken[transport].getsockname()[1]
    listen = "" if transport == "tcp" else "tcp = []\n"
    code, out = _check(configure(f'{listen}{transport} = ["127.0.0.1:{port}"]'), capsys)
    assert code == 71
    assert f"FAIL port {port} of 127.0.0.1 is taken by " in out
    assert f", pid {os.getpid()}\n" in out


@pytest.mark.parametrize(
    ("holder", "mark", "said"),
    [
        (Holder(7, "mailbelld"), "ok", "it is running"),
        (Holder(7, "fingerd"), "FAIL", "taken by fingerd, pid 7"),
        (None, "FAIL", "is taken\n"),
    ],
)
def test_a_holder_is_told_by_what_it_is(
    monkeypatch: pytest.MonkeyPatch,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    taken: dict[str, socket.socket],
    holder: Holder | None,
    mark: str,
    said: str,
) -> None:
    monkeypatch.setattr(sockets, "find_holder", lambda *_: holder)
    port = taken["tcp"].getsockname()[1]
    code, out = _check(configure(f'tcp = ["127.0.0.1:{port}"]'), capsys)
    assert code == (0 if mark == "ok" else 71)
    (line,) = (line for line in out.splitlines(keepends=True) if said in line)
    assert line.startswith(mark)
    assert ("run this check as root" in out) is (holder is None)


@pytest.mark.parametrize(
    ("holder", "for_us", "mark", "said"),
    [
        (
            Holder(1, "systemd"),
            True,
            "ok",
            "is held by the service manager for mailbelld (x.socket)",
        ),
        (None, True, "ok", "is held by the service manager for mailbelld (x.socket)"),
        (Holder(1, "systemd"), False, "FAIL", "is taken by systemd, pid 1\n"),
        (Holder(7, "xinetd"), True, "FAIL", "is taken by xinetd, pid 7\n"),
        # systemd's child that is about to execute a service, once more if that does not start.
        (Holder(7, "(ailbelld)"), True, "ok", "is held by the service manager for mailbelld"),
        (Holder(7, "(ailbelld)"), False, "FAIL", "is taken by (ailbelld), pid 7\n"),
        (Holder(7, "mailbelld"), True, "ok", "it is running"),
    ],
)
def test_what_a_service_manager_holds_for_mailbelld_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    taken: dict[str, socket.socket],
    holder: Holder | None,
    for_us: bool,
    mark: str,
    said: str,
) -> None:
    port = taken["tcp"].getsockname()[1]
    held = {(Transport.TCP, port if for_us else port + 1): "x.socket"}
    monkeypatch.setattr(_units, "ask", lambda: _units.Units("active", pid=7, ports=held))
    monkeypatch.setattr(sockets, "find_holder", lambda *_: holder)
    code, out = _check(configure(f'tcp = ["127.0.0.1:{port}"]'), capsys)
    assert code == (0 if mark == "ok" else 71)
    (line,) = (line for line in out.splitlines(keepends=True) if said in line)
    assert line.startswith(mark)
    assert ("systemctl list-sockets" in out) is (not for_us)
    assert "ok   mailbelld.service is active (process 7)\n" in out


def test_what_the_service_does_not_listen_on_is_said(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port in the file changes nothing while the service manager makes the sockets."""
    monkeypatch.setattr(_units, "ask", lambda: _units.Units("active", pid=7, ports=PORTS))
    code, out = _check(configure(), capsys)
    assert code == 0
    (line,) = (line for line in out.splitlines() if "is not listened on" in line)
    assert line.startswith("warn tcp 127.0.0.1:")
    assert line.endswith(" by mailbelld.service, which listens on tcp port 79")
    assert "-> systemctl edit mailbelld.socket: " in out


PORTS = {(Transport.TCP, 79): "mailbelld.socket"}


@pytest.mark.parametrize(
    ("units", "mark", "said"),
    [
        (
            _units.Units("inactive", paths={"/x": "x.socket"}),
            "ok",
            "starts at the first connection",
        ),
        (_units.Units("inactive", enabled=True), "warn", "is enabled, but stopped"),
        (_units.Units("inactive"), "ok", "is installed, but not enabled"),
        (_units.Units("failed", result="exit-code"), "warn", "is failed, result exit-code"),
        (_units.Units("activating", result="success"), "warn", "is activating\n"),
    ],
)
def test_how_the_service_is_is_told(
    monkeypatch: pytest.MonkeyPatch,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    units: _units.Units,
    mark: str,
    said: str,
) -> None:
    monkeypatch.setattr(_units, "ask", lambda: units)
    code, out = _check(configure(), capsys)
    assert code == 0
    (line,) = (line for line in out.splitlines(keepends=True) if said in line)
    assert line.startswith(f"{mark:<4} mailbelld.service ")


def test_who_looks_need_not_be_in_the_group_of_a_service(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service manager has given the socket to the group."""
    units = _units.Units("active", pid=7, paths={"/x": "x.socket"})
    monkeypatch.setattr(_units, "ask", lambda: units)
    monkeypatch.setattr(credentials, "resolve_group", lambda *_: 54321)
    monkeypatch.setattr(os, "geteuid", lambda: _USER or 1000)
    code, out = _check(configure(), capsys)
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == {"ok"}, out
    assert "ok   the group mailbell exists\n" in out


def test_the_user_of_the_unit_counts_and_not_that_of_the_file(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    units = _units.Units("active", pid=7, paths={"/x": "x.socket"}, user="no-such-user")

    def resolve(name: str) -> credentials.Identity:
        if name != "mailbell":
            raise ConfigurationError("no")
        return credentials.Identity(name, os.getuid(), os.getgid())

    monkeypatch.setattr(_units, "ask", lambda: units)
    monkeypatch.setattr(credentials, "resolve_user", resolve)
    code, out = _check(configure(), capsys)
    assert code == 71
    assert "FAIL mailbelld.service runs as the user no-such-user" in out
    assert "the user mailbell exists" not in out


def test_to_look_at_a_socket_that_starts_the_daemon_does_not_start_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, configure: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = configure()
    place = str(tmp_path / "run" / "s")
    units = _units.Units("inactive", enabled=True, paths={place: "local.socket"})
    monkeypatch.setattr(_units, "ask", lambda: units)
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(place)
        live.listen()
        live.setblocking(False)
        os.chmod(place, 0o666)
        refused = _check(path, capsys)
        os.chmod(place, 0o660)
        code, out = _check(path, capsys)
        with pytest.raises(BlockingIOError):
            live.accept()
    assert refused[0] == 78
    assert "SocketMode=0660" in refused[1]
    assert code == 0
    assert f"ok   {place} is held by the service manager for mailbelld (local.socket)\n" in out


@pytest.mark.parametrize(
    ("number", "mark", "code"),
    [
        (errno.EACCES, "FAIL", 77),
        (errno.EADDRNOTAVAIL, "FAIL", 71),
        (errno.EAFNOSUPPORT, "FAIL", 71),
        (errno.ENOBUFS, "FAIL", 71),
    ],
)
def test_a_port_that_cannot_be_bound(
    monkeypatch: pytest.MonkeyPatch,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    number: int,
    mark: str,
    code: int,
) -> None:
    """The message and the exit code of the daemon."""
    endpoint = Endpoint.parse("[::1]:79")
    error = sockets._explain(OSError(number, os.strerror(number)), endpoint, Transport.TCP)

    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(sockets, "examine", refuse)
    found, out = _check(configure('tcp = ["[::1]:79"]'), capsys)
    assert found == error.exit_code == code
    as_whom = "as this user: " if code == 77 else ""
    assert f"\n{mark:<4} {as_whom}{error.what}\n      -> {error.remedy}\n" in out


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_an_address_that_may_come_later_is_a_warning(
    configure: Any, capsys: pytest.CaptureFixture[str], transport: str
) -> None:
    other = "" if transport == "tcp" else "tcp = []\n"
    listen = f'{other}{transport} = ["192.0.2.9:{free_port()}"]'
    code, out = _check(configure(listen), capsys)
    assert code == 71
    assert "FAIL 192.0.2.9 is not an address of this machine\n      -> " in out
    assert "listen.freebind = true" in out
    code, out = _check(configure(f"{listen}\nfreebind = true"), capsys)
    assert code == 0
    assert "warn 192.0.2.9 is not an address of this machine yet" in out


def test_freebind_makes_no_port_free(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address that is missing, and a port that another process has bound on all addresses."""
    monkeypatch.setattr(sockets, "find_holder", lambda *_: Holder(7, "fingerd"))
    with socket.create_server(("0.0.0.0", 0)) as taken:
        listen = f'tcp = ["192.0.2.9:{taken.getsockname()[1]}"]\nfreebind = true'
        code, out = _check(configure(listen), capsys)
    assert code == 71
    assert "is taken by fingerd" in out


@pytest.mark.parametrize("written", [False, True])
def test_a_kernel_without_ipv6(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    written: bool,
) -> None:
    """The default leaves the family out; an endpoint in the file is refused."""
    path = tmp_path / "mailbelld.toml"
    listen = 'tcp = ["0.0.0.0:79", "[::]:79"]' if written else 'user = "nobody"'
    configure(listen)
    examine = sockets.examine

    def without_ipv6(endpoint: Endpoint, *given: Any) -> None:
        if endpoint.family is Family.IPV6:
            raise sockets.FamilyMissingError(endpoint)
        examine(Endpoint.parse(f"127.0.0.1:{free_port()}"), *given)

    monkeypatch.setattr(sockets, "examine", without_ipv6)
    code, out = _check(str(path), capsys)
    assert code == (71 if written else 0)
    if written:
        assert "FAIL this machine has no IPv6, asked for by port 79 of ::\n      -> remove" in out
    else:
        assert "ok   tcp [::]:79 is left out, since this machine has no IPv6\n" in out


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        ("127.0.0.1:{}", "0.0.0.0:{}", 71),
        ("0.0.0.0:{}", "127.0.0.1:{}", 71),
        ("127.0.0.1:{}", "127.0.0.2:{}", 0),
        ("0.0.0.0:{}", "[::]:{}", 0),
        ("0.0.0.0:0", "127.0.0.1:0", 0),
    ],
)
def test_endpoints_that_exclude_each_other(
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    transport: str,
    one: str,
    other: str,
    code: int,
) -> None:
    port = free_port()
    tcp = "" if transport == "tcp" else "tcp = []\n"
    listen = f'{tcp}{transport} = ["{one.format(port)}", "{other.format(port)}"]'
    found, out = _check(configure(listen), capsys)
    if code == 0 and "IPv6" in out:
        pytest.skip("no IPv6 here")
    assert found == code
    assert ("overlaps with" in out) is (code == 71)


def test_a_probe_leaves_the_port_free(configure: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = configure()
    assert _check(path, capsys) == _check(path, capsys)


def test_no_landlock_is_71(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def abi() -> int:
        raise OperatingSystemError("the kernel offers no Landlock", "boot another")

    monkeypatch.setattr(landlock, "abi", abi)
    code, out = _check(configure(), capsys)
    assert code == 71
    assert "FAIL the kernel offers no Landlock\n      -> boot another\n" in out


@pytest.mark.parametrize(
    ("abi", "said"),
    [
        (1, f"ABI 1, and mailbell uses all of it; {landlock.PINNED} would cover more\n"),
        (landlock.PINNED, f"ABI {landlock.PINNED}, and mailbell uses all of it\n"),
        (landlock.PINNED + 1, f"of which mailbell uses {landlock.PINNED}\n"),
    ],
)
def test_the_kernels_landlock_and_what_is_used_of_it_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    abi: int,
    said: str,
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: abi)
    _, out = _check(configure(), capsys)
    assert f"the kernel has Landlock, ABI {abi}, " in out
    assert said in out


def test_no_seccomp_is_71(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise OperatingSystemError("this process cannot filter its system calls", "permit it")

    monkeypatch.setattr(seccomp, "require_kernel_filter", refuse)
    code, out = _check(configure(), capsys)
    assert code == 71
    assert "FAIL this process cannot filter its system calls\n      -> permit it\n" in out


def test_no_file_needs_a_size(tmp_path: Path) -> None:
    """systemd's LimitFSIZE=0 once made libseccomp look too old."""
    path = tmp_path / "mailbelld.toml"
    path.write_text(f'[listen]\ntcp = ["127.0.0.1:{free_port()}"]\n[socket]\ngroup = ""\n')

    def checked() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            _group.run(["check", "--config", str(path)])
        return said.getvalue()

    ended = child.run(checked)
    assert "ok   libseccomp compiles the policy of mailbelld: " in ended.value


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES, errno.ENOSYS])
def test_a_sandbox_around_it_that_forbids_seccomp_is_named(
    configure: Any, environment: dict[str, str], code: int
) -> None:
    """The kernel refuses, because of a filter that the check does not know."""
    listen = f'tcp = ["127.0.0.1:{free_port()}"]\nuser = "nobody"'
    line = words("mailbell", "check", "--config", configure(listen, 'group = ""\n'))
    with answering.Run(line, environment, [refused(code, "seccomp")]) as checked:
        checked.until()
    said = checked.output.decode()
    assert checked.code == 71
    assert said.count("FAIL this process cannot filter its system calls: seccomp(2): ") == 2
    assert said.count(os.strerror(code)) == 2
    assert said.count("another sandbox around this process forbids it: permit seccomp") == 2
    assert "2.5" not in said


def test_no_libseccomp_is_71(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mailbell._sys.seccomp._binding", None)
    code, out = _check(configure(), capsys)
    assert code == 71
    assert "install libseccomp" in out


@pytest.mark.parametrize("kind", ["user", "group"])
@pytest.mark.parametrize(("uid", "mark", "code"), [(0, "FAIL", 78), (1000, "warn", 0)])
def test_an_identity_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    uid: int,
    mark: str,
    code: int,
) -> None:
    def resolve(name: str, *_: str) -> None:
        raise ConfigurationError(f"no {kind} {name}", "create it")

    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(credentials, f"resolve_{kind}", resolve)
    found, out = _check(configure(), capsys)
    assert found == code
    said = f"no {kind} mailbell\n      -> create it\n"
    if (kind, uid) == ("group", 1000):
        said = "the group mailbell cannot be used by this user"
    assert f"{mark:<4} {said}" in out


@pytest.mark.parametrize("kind", ["user", "group"])
def test_a_directory_server_that_is_silent(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """The C library may wait for any time; the check still ends."""
    for_ever = threading.Event()
    monkeypatch.setattr(_machine, "_LOOK_UP", 0.05)
    monkeypatch.setattr(credentials, f"resolve_{kind}", lambda *_: for_ever.wait())
    try:
        found, out = _check(configure(), capsys)
    finally:
        for_ever.set()
    assert found == 75
    assert f"FAIL the look-up of the {kind} mailbell takes longer" in out
    assert "/etc/nsswitch.conf" in out


@pytest.mark.parametrize(("groups", "mark"), [([4321], "ok"), ([], "warn")])
def test_a_group_this_user_is_not_in(
    monkeypatch: pytest.MonkeyPatch,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    groups: list[int],
    mark: str,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: groups)
    monkeypatch.setattr(credentials, "resolve_group", lambda *_: 4321)
    monkeypatch.setattr(local_socket, "_is_mapped", lambda _: True)
    code, out = _check(configure(), capsys)
    assert code == 0
    (line,) = (line for line in out.splitlines() if "the group mailbell" in line)
    assert line.split()[0] == mark


def test_the_daemons_own_group_needs_no_name(
    configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = _check(configure(more='group = ""\n'), capsys)
    assert code == 0
    assert "the group" not in out


def test_too_few_open_files(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    code, out = _check(configure(), capsys)
    assert code == 71
    assert "FAIL RLIMIT_NOFILE: " in out
    assert "-> write LimitNOFILE=" in out


def test_no_libgcc_is_71(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise OperatingSystemError("libgcc_s.so.1 cannot be loaded", "install it")

    monkeypatch.setattr("mailbell._sys.process.preload_libgcc", refuse)
    code, out = _check(configure(), capsys)
    assert code == 71
    assert "FAIL libgcc_s.so.1 cannot be loaded\n      -> install it\n" in out


def test_something_else_at_the_sockets_path_is_78(
    tmp_path: Path, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configure()
    (tmp_path / "run" / "s").write_text("precious")
    code, out = _check(path, capsys)
    assert code == 78
    assert "run/s exists and is no socket\n      -> remove it yourself" in out
    assert (tmp_path / "run" / "s").read_text() == "precious"


@pytest.mark.parametrize(("name", "code"), [("mailbelld", 0), ("another", 71)])
def test_a_socket_somebody_listens_on(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    name: str,
    code: int,
) -> None:
    monkeypatch.setattr(_machine, "read_process_name", lambda _: name)
    path = configure()
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(tmp_path / "run" / "s"))
        live.listen()
        found, out = _check(path, capsys)
    assert found == code
    said = f"is held by mailbelld (process {os.getpid()})" if code == 0 else "another mailbelld is"
    assert said in out


def test_a_socket_that_was_made_for_mailbelld_by_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, configure: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The kernel names the process that called listen(2), such as another service manager."""
    monkeypatch.setattr(_machine, "read_process_name", lambda _: "s6-fdholderd")
    monkeypatch.setattr(_machine, "find_local_holder", lambda _: Holder(7, "mailbelld"))
    path = configure()
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(tmp_path / "run" / "s"))
        live.listen()
        found, out = _check(path, capsys)
    assert found == 0
    assert "run/s is held by mailbelld (process 7)" in out


def _as_nobody(path: str) -> tuple[int, str, int]:
    """Check and start as an ordinary user; return both outputs and both exit codes."""

    def inside() -> tuple[int, str, int]:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        os.geteuid = _real_geteuid
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = _group.run(["check", "--config", path])
            started = mailbelld.run(["--config", path])
        return code, said.getvalue(), started

    ended = child.run(inside)
    assert ended.error is None
    result: tuple[int, str, int] = ended.value
    return result


@pytest.mark.skipif(_real_geteuid() != 0, reason="only root becomes somebody else")
@pytest.mark.parametrize("obstacle", ["directory", "port"])
def test_the_daemon_says_the_same(
    tmp_path: Path, configure: Any, capsys: pytest.CaptureFixture[str], obstacle: str
) -> None:
    """An ordinary user lacks a permission: the check ends as the daemon does."""
    if obstacle == "port" and _lowest_free_port() <= 79:
        pytest.skip("port 79 needs no privilege here")
    let_in(tmp_path)
    path = configure('tcp = ["127.0.0.1:79"]' if obstacle == "port" else "")
    if obstacle == "port":
        os.chown(tmp_path / "run", 65534, 65534)
    code, said, daemon = _as_nobody(path)
    assert code == daemon == 77, said
    (failed,) = (line for line in said.splitlines() if line.startswith("FAIL"))
    what = failed.removeprefix("FAIL as this user: ")
    assert what != failed
    assert f"mailbelld: {what}; " in said


@pytest.mark.parametrize(
    ("mode", "mark", "code"), [(0o755, "ok", 0), (0o1777, "warn", 0), (0o777, "FAIL", 78)]
)
def test_a_directory_others_may_write(
    tmp_path: Path,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    mode: int,
    mark: str,
    code: int,
) -> None:
    path = configure()
    (tmp_path / "run").chmod(mode)
    found, out = _check(path, capsys)
    assert found == code
    lines = [line for line in out.splitlines() if f"{tmp_path}/run" in line and "->" not in line]
    assert lines[-1].split()[0] == mark


def test_no_directory_is_78(
    tmp_path: Path, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configure()
    (tmp_path / "run").rmdir()
    assert _check(path, capsys)[0] == 78
    (tmp_path / "run").write_text("")
    assert _check(path, capsys)[0] == 78


def test_the_configuration_comes_first(
    tmp_path: Path,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    taken: dict[str, socket.socket],
) -> None:
    """A taken port is 71, but with a wrong configuration beside it the answer is 78."""
    path = configure(f'tcp = ["127.0.0.1:{taken["tcp"].getsockname()[1]}"]')
    (tmp_path / "run").rmdir()
    code, out = _check(path, capsys)
    assert out.count("FAIL") == 2
    assert code == 78


@pytest.mark.parametrize("replaced", [False, True])
def test_a_daemon_whose_socket_is_gone_is_told(
    tmp_path: Path,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    replaced: bool,
) -> None:
    path = configure()
    place = tmp_path / "run" / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place))
        sock.listen()
        place.unlink()
        if replaced:
            place.touch()
        code, out = _check(path, capsys)
        said = f"warn the daemon runs, but nothing reaches it: its socket {place} was removed or"
        assert said in out
        if not replaced:
            monkeypatch.setattr(
                _units, "ask", lambda: _units.Units("active", paths={str(place): "local.socket"})
            )
            assert said in _check(path, capsys)[1]
            monkeypatch.setattr(_units, "ask", lambda: None)
        assert "-> end it and start it again" in out
        # A restart makes the socket again, so a check before it must not fail.
        assert code == (78 if replaced else 0)
    _, out = _check(path, capsys)
    assert "nothing reaches it" not in out


def test_a_daemon_that_can_be_reached_is_not_called_cut_off(
    tmp_path: Path,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_machine, "_ANSWER", PATIENCE)
    path = configure()
    answers = answer(GetStatus(), GetStatusReply(STATUS))
    with FakeDaemon(str(tmp_path / "run" / "s"), answers, lambda _: None):
        _, out = _check(path, capsys)
    assert "warn" not in out


def test_a_daemon_that_does_not_answer_is_told(
    tmp_path: Path,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = configure()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "run" / "s"))
        sock.listen()
        _, out = _check(path, capsys)
    assert "warn the daemon did not answer within 0.05 seconds" in out

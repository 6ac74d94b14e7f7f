"""`mailbell check`: real files and real ports; what cannot be had here is replaced."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailbell._errors import ConfigurationError, OperatingSystemError
from mailbell._sys import credentials, landlock
from mailbell._sys.port_holder import Holder
from mailbell.cli import _group, _machine

_SAFE = 0o755


@pytest.fixture(autouse=True)
def _known_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """User and group exist, and the process is root, unless a test says otherwise."""
    monkeypatch.setattr(credentials, "resolve_user", lambda _: None)
    monkeypatch.setattr(credentials, "resolve_group", lambda _: 1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def taken() -> Iterator[dict[str, socket.socket]]:
    """A TCP and a UDP port that this process holds."""
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        yield {"tcp": tcp, "udp": udp}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def configure(tmp_path: Path) -> Any:
    """Writes a configuration and returns its path."""
    (tmp_path / "run").mkdir(mode=_SAFE)

    def configure(listen: str = "", more: str = "") -> str:
        path = tmp_path / "mailbelld.toml"
        listen = listen or f'tcp = ["127.0.0.1:{_free_port()}"]'
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
    for said in ("is valid", "is free", "Landlock, ABI", "seccomp", "calls permitted", "user"):
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
    monkeypatch.setattr(_machine, "_try_bind", lambda *_: None)
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
    assert f"FAIL {transport} 127.0.0.1:{port} is taken by " in out
    assert f"(process {os.getpid()})" in out


@pytest.mark.parametrize(
    ("holder", "mark", "said"),
    [
        (Holder(7, "mailbelld"), "ok", "it is running"),
        (Holder(7, "fingerd"), "FAIL", "taken by fingerd (process 7)"),
        (None, "FAIL", "a process this user cannot see"),
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
    monkeypatch.setattr(_machine, "holder", lambda *_: holder)
    port = taken["tcp"].getsockname()[1]
    code, out = _check(configure(f'tcp = ["127.0.0.1:{port}"]'), capsys)
    assert code == (0 if mark == "ok" else 71)
    (line,) = (line for line in out.splitlines() if said in line)
    assert line.startswith(mark)


@pytest.mark.parametrize(
    ("number", "mark", "code"),
    [
        (errno.EACCES, "warn", 0),
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
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_machine, "_try_bind", refuse)
    found, out = _check(configure('tcp = ["[::1]:79"]'), capsys)
    assert found == code
    assert f"\n{mark:<4} tcp [::1]:79" in out


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


def test_an_old_landlock_is_named(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 1)
    code, out = _check(configure(), capsys)
    assert code == 0
    assert f"ABI 1; {landlock.PINNED} would cover more" in out


@pytest.mark.parametrize("content", ["log allow", None])
def test_no_seccomp_is_71(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    configure: Any,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
) -> None:
    path = tmp_path / "actions_avail"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(_machine, "_ACTIONS", str(path))
    code, out = _check(configure(), capsys)
    assert code == 71
    assert "FAIL the kernel cannot filter system calls" in out


def test_no_libseccomp_is_71(
    monkeypatch: pytest.MonkeyPatch, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mailbell._sys.seccomp._pyseccomp", None)
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
    def resolve(name: str) -> None:
        raise ConfigurationError(f"no {kind} {name}", "create it")

    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(credentials, f"resolve_{kind}", resolve)
    found, out = _check(configure(), capsys)
    assert found == code
    assert f"{mark:<4} no {kind} mailbell\n      -> create it\n" in out


def test_the_daemons_own_group_needs_no_name(
    configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = _check(configure(more='group = ""\n'), capsys)
    assert code == 0
    assert "the group" not in out


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
    (line,) = (line for line in out.splitlines() if f"{tmp_path}/run" in line and "->" not in line)
    assert line.split()[0] == mark


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

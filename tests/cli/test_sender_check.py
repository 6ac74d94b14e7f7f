"""`mailbell sender check`: what of the machine does not fit the configuration, and the remedy."""

import os
import socket
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
from harness.control import controlled
from harness.engine import needs_coredis

from mailbell._sys import credentials, local_socket
from mailbell._sys.port_holder import Holder
from mailbell._sys.trusted_path import Weakness, find_weaknesses
from mailbell.cli import _group, _machine, _sender_machine, _units, check
from mailbell.core.errors import ConfigurationError

_USER = os.geteuid()
ANNA = '[[account]]\nname = "anna"\ntargets = ["192.0.2.7"]\n'

Configure = Callable[..., str]
Check = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def _machine_of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """User and group exist, the process is root, and the folders of the test are trusted."""

    def find(
        path: str, trusted: Collection[int] = (), *, whole: bool = False
    ) -> tuple[Weakness, ...]:
        return find_weaknesses(path, {*trusted, _USER}, whole=whole)

    identity = credentials.Identity("mailbell-sender", os.getuid(), os.getgid())
    monkeypatch.setattr(credentials, "resolve_user", lambda _: identity)
    monkeypatch.setattr(credentials, "resolve_group", lambda *_: os.getgid())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(_units, "ask", lambda **_: None)
    monkeypatch.setattr(_machine, "_ANSWER", 0.05)
    for module in (local_socket, check, _sender_machine):
        monkeypatch.setattr(module, "find_weaknesses", find)
    monkeypatch.setenv("MAILBELL_SENDER_USER", str(_USER))


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Writes a configuration and returns its path."""
    (tmp_path / "run").mkdir(mode=0o755)
    (tmp_path / "state").mkdir(mode=0o700)

    def write(listen: str = "", more: str = ANNA) -> str:
        path = tmp_path / "sender.toml"
        path.write_text(
            f'[listen]\nhook = "{tmp_path}/run/hook"\ncontrol = "{tmp_path}/run/control"\n'
            f'{listen}\n[store]\nurl = "sqlite://{tmp_path}/state/state.db"\n{more}'
        )
        path.chmod(0o644)
        return str(path)

    return write


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs the command; returns its exit code and what it printed."""

    def run(path: str) -> tuple[int, str]:
        code = _group.run(["sender", "check", "--config", path])
        out, err = capsys.readouterr()
        assert err == ""
        return code, out

    return run


def test_a_machine_that_is_ready(configure: Configure, said: Check) -> None:
    code, out = said(configure())
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == {"ok"}
    for word in (
        "is valid",
        "1 of 1 accounts have targets; all others ring nobody",
        "Landlock, ABI",
        "seccomp",
        "calls permitted",
        "open files are needed, and permitted",
        "libgcc",
        "the user mailbell-sender exists",
        "the group mailbell-sender exists",
        "these users may speak for every account: root",
        "the hooks' socket",
        "the control socket",
        "the address book is kept in",
    ):
        assert word in out


def test_every_problem_of_the_file_is_told(said: Check, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[send]\nport = 0\n[[account]]\nname = "a"\ntargets = ["x y"]\n')
    code, out = said(str(path))
    assert code == 78
    assert f"FAIL {path}: send.port: " in out
    assert f"FAIL {path}: account[0].targets[0]: " in out


def test_a_file_that_is_not_there(said: Check, tmp_path: Path) -> None:
    code, out = said(str(tmp_path / "none.toml"))
    assert code == 78
    assert "no such file" in out


@pytest.mark.parametrize("more", ["", '[[account]]\nname = "a"\nenabled = false\n'])
def test_nobody_is_rung(configure: Configure, said: Check, more: str) -> None:
    code, out = said(configure(more=more))
    assert code == 0
    assert "warn no account has a target" in out
    assert '-> add [[account]] with targets, or [default] with targets = ["last-used"]' in out


def test_everybody_may_be_rung(configure: Configure, said: Check) -> None:
    _, out = said(configure(more='[default]\ntargets = ["last-used"]\n'))
    assert "0 of 0 accounts have targets; all others are rung too" in out


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("# none\nnameserver\noptions x\n", "names no name server"),
        (None, "No such file or directory, and targets with names need a name server"),
        ("nameserver 192.0.2.53\n nameserver ::1\n", "looked up at 192.0.2.53, ::1"),
    ],
)
def test_a_name_needs_a_name_server(
    configure: Configure,
    said: Check,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    word: str,
) -> None:
    place = tmp_path / "resolv.conf"
    if text is not None:
        place.write_text(text)
    monkeypatch.setattr(_sender_machine, "_RESOLV_CONF", str(place))
    more = '[[account]]\nname = "a"\ntargets = ["laptop.example.net"]\n'
    code, out = said(configure(more=more))
    assert code == 0
    assert word in out
    assert ("warn" in out) is (text is None or "192" not in text)
    assert "compiles the policy of mailbell-sender: " in out
    assert "compiles the policy of mailbell-resolver: " in out


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("4096\n", "ok   4096 hooks may wait while the sender restarts"),
        (
            "128\n",
            "warn net.core.somaxconn is 128: no more hooks may wait while the sender restarts",
        ),
        ("many\n", "ok   the kernel does not tell how many hooks may wait in a queue"),
    ],
)
def test_how_many_hooks_may_wait(
    configure: Configure,
    said: Check,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    line: str,
) -> None:
    (tmp_path / "somaxconn").write_text(text)
    monkeypatch.setattr(_sender_machine, "_SOMAXCONN", str(tmp_path / "somaxconn"))
    code, out = said(configure())
    assert code == 0
    assert line in out
    assert ("-> sysctl -w net.core.somaxconn=4096" in out) is line.startswith("warn")


def test_a_trusted_user_who_is_not_there(configure: Configure, said: Check) -> None:
    code, out = said(configure('trusted = ["root", "no-such-user"]'))
    assert code == 0
    assert "warn listen.trusted names no-such-user, which is no user of this machine" in out
    assert "speak for every account: root\n" in out
    _, out = said(configure('trusted = ["no-such-user"]'))
    assert "speak for every account" not in out


@pytest.mark.parametrize("kind", ["user", "group"])
def test_a_user_or_group_that_is_not_there(
    configure: Configure, said: Check, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def resolve(*_: str) -> None:
        raise ConfigurationError(f"there is no {kind}", "create it")

    monkeypatch.setattr(credentials, f"resolve_{kind}", resolve)
    code, out = said(configure())
    assert code == 78
    assert f"FAIL there is no {kind}\n      -> create it" in out


def test_a_folder_that_is_not_there_is_named_once(
    configure: Configure, said: Check, tmp_path: Path
) -> None:
    path = configure()
    (tmp_path / "run").rmdir()
    code, out = said(path)
    assert code == 78
    assert out.count(f"FAIL the socket directory {tmp_path}/run does not exist") == 1


def test_the_socket_of_cyrus_is_looked_at(
    configure: Configure, said: Check, tmp_path: Path
) -> None:
    code, out = said(configure(f'cyrus = "{tmp_path}/run/notify"'))
    assert code == 0
    assert f"ok   Cyrus's notify socket {tmp_path}/run/notify can be made" in out
    assert "compiles the policy of mailbell-sender: " in out
    assert "compiles the policy of mailbell-cyrus: " in out
    (tmp_path / "run/notify").write_text("precious")
    code, out = said(configure(f'cyrus = "{tmp_path}/run/notify"'))
    assert code != 0
    assert "FAIL" in out


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        yield udp.getsockname()[1]


def test_who_holds_a_port_is_told(
    configure: Configure, said: Check, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = configure(f'comsat = ["127.0.0.1:{taken}"]')
    monkeypatch.setattr("mailbell._sys.sockets.find_holder", lambda *_: Holder(7, "biffd"))
    code, out = said(path)
    assert code == 71
    assert "biffd" in out
    monkeypatch.setattr(
        "mailbell._sys.sockets.find_holder", lambda *_: Holder(7, "mailbell-sender")
    )
    code, out = said(path)
    assert (code, f"ok   udp 127.0.0.1:{taken} is held by mailbell-sender (process 7)" in out) == (
        0,
        True,
    )


def test_a_free_port_and_one_that_cannot_be_bound(configure: Configure, said: Check) -> None:
    code, out = said(configure('comsat = ["127.0.0.1:0", "192.0.2.1:5512"]'))
    assert "ok   udp 127.0.0.1:0 is free" in out
    assert "FAIL" in out
    assert code != 0


def test_a_running_sender_is_no_problem(
    configure: Configure, said: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = configure()
    monkeypatch.setattr(_machine, "_ANSWER", 20.0)  # on a busy machine it takes some time
    monkeypatch.setattr(_machine, "read_process_name", lambda _: "mailbell-sender")
    with controlled(tmp_path / "run" / "control"):
        code, out = said(path)
    assert code == 0
    assert "run/control is held by mailbell-sender (process" in out
    assert "warn" not in out


def test_another_program_at_the_socket_is_a_problem(
    configure: Configure, said: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = configure()
    monkeypatch.setattr(_machine, "read_process_name", lambda _: "other")
    monkeypatch.setattr(_machine, "find_local_holder", lambda _: None)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "run" / "control"))
        sock.listen()
        code, out = said(path)
    assert code == 71
    assert f"FAIL another process listens on {tmp_path}/run/control\n      -> stop it" in out
    assert "warn the sender did not answer within 0.05 seconds" in out


def test_the_state_of_its_units_is_told(
    configure: Configure, said: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = configure()
    units = _units.Units("failed", result="exit-code", paths={f"{tmp_path}/run/hook": "h.socket"})

    def ask(*, service: str) -> _units.Units:
        assert service == "mailbell-sender.service"
        return units

    monkeypatch.setattr(_units, "ask", ask)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{tmp_path}/run/hook")
        os.chmod(f"{tmp_path}/run/hook", 0o666)
        code, out = said(path)
    assert code == 0
    assert "warn mailbell-sender.service is failed, result exit-code" in out
    assert "-> read its log: journalctl -u mailbell-sender.service" in out
    assert "held by the service manager for mailbell-sender (h.socket)" in out


def test_a_missing_user_of_the_unit_is_all_that_is_said(
    configure: Configure, said: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the address book belongs to a user who was there before."""

    def resolve(name: str) -> credentials.Identity:
        raise ConfigurationError(f"there is no user {name}")

    units = _units.Units("inactive", user="no-such-user")
    monkeypatch.setattr(_units, "ask", lambda **_: units)
    path = configure('group = ""')
    monkeypatch.setattr(credentials, "resolve_user", resolve)
    monkeypatch.setattr(_sender_machine, "find_weaknesses", find_weaknesses)
    os.chown(Path(path).with_name("state"), 12345 if _USER == 0 else -1, -1)
    code, out = said(path)
    assert code == 71
    (line,) = (line for line in out.splitlines() if line.startswith("FAIL"))
    assert "runs as the user no-such-user" in line


def test_who_looks_need_not_be_in_the_group_of_a_service(
    configure: Configure, said: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service manager has made the sockets, and the sender writes as its own user."""
    path = configure('group = "mailbell-sender"')
    units = _units.Units("active", pid=7, paths={f"{tmp_path}/run/hook": "h.socket"})
    monkeypatch.setattr(_units, "ask", lambda **_: units)
    monkeypatch.setattr(credentials, "resolve_group", lambda *_: 54321)
    monkeypatch.setattr(os, "geteuid", lambda: _USER or 1000)
    state = str(tmp_path / "state")
    monkeypatch.setattr(os, "access", lambda name, *_, **__: name != state)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{tmp_path}/run/hook")
        os.chmod(f"{tmp_path}/run/hook", 0o666)
        code, out = said(path)
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == {"ok"}, out


@pytest.mark.parametrize("mode", [0o770, 0o777])
def test_a_folder_of_the_address_book_that_others_may_write(
    configure: Configure, said: Check, tmp_path: Path, mode: int
) -> None:
    """The sender does not start with it."""
    path = configure()
    (tmp_path / "state").chmod(mode)
    code, out = said(path)
    assert code == 78
    assert "FAIL store.url: " in out
    assert f"-> chmod go-w {tmp_path}/state" in out
    assert "the address book is kept" not in out


@pytest.mark.parametrize("case", ["missing", "unwritable", "foreign", "made"])
def test_the_folder_of_the_address_book(
    configure: Configure,
    said: Check,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    path = configure()
    state = tmp_path / "state"
    if case == "missing":
        Path(path).write_text(Path(path).read_text().replace("/state/", "/no/such/"))
    elif case == "unwritable":
        monkeypatch.setattr(os, "geteuid", lambda: _USER or 1000)
        monkeypatch.setattr(os, "access", lambda name, *_, **__: name != str(state))
    elif case == "foreign":
        monkeypatch.setattr(_sender_machine, "owners_of", lambda *_: {12345})
    else:
        state.rmdir()
    code, out = said(path)
    if case == "made":
        assert code == 0
        assert "ok   the address book is kept in" in out
        return
    assert "warn store.url: " in out
    assert "logins are kept in memory only" in out
    assert "-> install -d -o mailbell-sender -g mailbell-sender -m 0700" in out


def test_a_node_of_a_cluster(configure: Configure, said: Check, tmp_path: Path) -> None:
    needs_coredis()
    path = Path(configure())
    text = path.read_text().replace("url =", 'url = "redis://127.0.0.1"\nnode = "mx1"\nfile =')
    path.write_text(text)
    code, out = said(str(path))
    assert code == 0
    assert "ok   this is the node mx1 of a cluster; its engine is not asked" in out
    assert "mailbell-cluster" in out
    path.write_text(text.replace("node =", f'password_file = "{tmp_path}/none"\nnode ='))
    code, out = said(str(path))
    assert code == 78
    assert f"FAIL store.password_file: {tmp_path}/none: No such file or directory" in out
    (tmp_path / "state").chmod(0o770)
    path.write_text(text)
    assert "FAIL store.file: " in said(str(path))[1]


def test_a_cluster_without_coredis(
    configure: Configure, said: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sender_machine, "find_spec", lambda _: None)
    path = Path(configure())
    path.write_text(path.read_text().replace("url =", 'url = "redis://127.0.0.1"\nfile ='))
    code, out = said(str(path))
    assert code == 78
    assert "-> pip install 'mailbell[cluster]'" in out

"""mailbell-sender from a hook's line to a real listener, its signals, its starts and its ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.activation import listening, passing
from harness.daemon import Daemon, configuration, started, until
from harness.ordinary import NOBODY
from harness.ports import free_port
from harness.ringer import Ringer, ringing, settings
from harness.sender import LINE, PATIENCE
from system.support import GENEROUS


def account(name: str, *targets: str, more: str = "") -> str:
    return f'[[account]]\nname = "{name}"\ntargets = {list(targets)}\n{more}\n'


@pytest.fixture
def listener(open_path: Path) -> Iterator[Daemon]:
    """A real mailbelld, without limits that the tests would reach."""
    folder = open_path / "listener"
    folder.mkdir()
    toml = configuration(folder, tcp=["127.0.0.1:0", "[::1]:0"], udp=["127.0.0.1:0"])
    with started(folder, toml + GENEROUS) as daemon:
        yield daemon


class Silent:
    """A port of this host on which connections are made and nothing else happens.

    Nobody else gets it, so a test may close it and open it again.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.sock = socket.create_server(("127.0.0.1", self.port))
        self.sock.settimeout(PATIENCE)

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def line(self) -> bytes:
        """Return what the next connection says until its end."""
        connection, _ = self.sock.accept()
        with connection:
            connection.settimeout(PATIENCE)
            said = b""
            while chunk := connection.recv(64):
                said += chunk
            return said


@pytest.fixture
def target() -> Iterator[Silent]:
    with Silent() as made:
        yield made


# --- ringing -----------------------------------------------------------------------------


def test_a_line_rings_a_listener_by_both_families_and_by_udp(
    open_path: Path, listener: Daemon
) -> None:
    _, tcp4 = listener.endpoint("tcp")
    _, tcp6 = listener.endpoint("tcp", "::1")
    _, udp = listener.endpoint("udp")
    more = account("four", f"127.0.0.1:{tcp4}") + account("six", f"[::1]:{tcp6}")
    more += account("datagram", f"127.0.0.1:{udp}", more='transport = "udp"')
    with ringing(open_path, settings(open_path, more)) as sender:
        sender.say("new four", "new six", "new datagram")
        sender.until_rung(3)
        until(lambda: listener.counted().get("accepted") == 2, "both connections")
        until(lambda: listener.counted("udp").get("accepted") == 1, "the datagram")
        assert sender.inputs() == {"accepted": 3}


def test_a_login_is_rung_and_a_name_of_the_hosts_file_too(
    open_path: Path, listener: Daemon
) -> None:
    _, port = listener.endpoint("tcp")
    allowed = '[last_used]\nallow = ["127.0.0.1/32"]\n'
    named = account("bert", "localhost")
    toml = settings(open_path, allowed + named + '[default]\ntargets = ["last-used"]\n', port=port)
    with ringing(open_path, toml) as sender:
        sender.say("new anna")  # nobody has logged in
        sender.say("seen anna 127.0.0.1", "new anna")
        sender.until_rung(1)
        sender.say("seen anna 192.0.2.1", "new bert")
        until(lambda: sender.rings().get("sent") == 2, "the name")
        assert sender.rings() == {"no_target": 1, "sent": 2}
        assert sender.inputs() == {"accepted": 4, "refused_address": 1}
        assert listener.counted() == {"accepted": 2}
        companions = sender.status()["companions"]
        assert list(companions) == ["mailbell-resolver"]


def test_each_line_has_one_outcome_and_the_sender_goes_on(open_path: Path, target: Silent) -> None:
    more = account("anna", f"127.0.0.1:{target.port}")
    more += account("off", "192.0.2.1", more="enabled = false")
    with ringing(open_path, settings(open_path, more)) as sender:
        for line in (
            "new anna Junk", "new off", "new nobody", "new", "new a b\0", "x" * 600,
            "seen anna 127.0.0.1", "seen anna ::ffff:127.0.0.1", "seen anna 0.0.0.0",
            "seen anna 224.0.0.1", "{}", "[[[",
        ):  # fmt: skip
            sender.say(line)
        sender.say("new anna")
        assert target.line() == LINE
        sender.until_rung()
        counted = sender.inputs()
        assert sum(counted.values()) == 13, counted
        assert counted["accepted"] >= 1
        assert counted["quiet_folder"] == counted["disabled"] == counted["unknown_account"] == 1
        assert counted["refused_address"] == 4
        assert counted["too_long"] == 1


def test_comsat_and_cyrus_are_heard_if_the_operator_wants_it(
    open_path: Path, target: Silent
) -> None:
    listen = f'comsat = ["127.0.0.1:0"]\ncyrus = "{open_path}/cyrus"'
    toml = settings(open_path, account("anna", f"127.0.0.1:{target.port}"), listen=listen)
    with ringing(open_path, toml) as sender:
        (where,) = (name for name in sender.status()["listening"] if name.startswith("comsat"))
        port = int(where.rpartition(":")[2])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as biff:
            biff.sendto(b"anna@498\0", ("127.0.0.1", port))
        assert target.line() == LINE
        event = b'{"event":"MessageNew","user":"anna","uri":"imap://m/user.anna;UIDVALIDITY=1"}'
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as cyrus:
            cyrus.sendto(
                b"mailbell\0EVENT\0\0\0\0" + b"0\0" + event + b"\0", str(open_path / "cyrus")
            )
        assert target.line() == LINE
        assert (open_path / "cyrus").stat().st_mode & 0o777 == 0o660


def test_the_end_of_the_reader_of_cyrus_ends_the_sender(open_path: Path) -> None:
    toml = settings(open_path, listen=f'cyrus = "{open_path}/cyrus"')
    with ringing(open_path, toml) as sender:
        (pid,) = sender.status()["companions"].values()
        os.kill(pid, signal.SIGKILL)
        assert sender.process.wait(PATIENCE) == 71
        assert "Cyrus" in sender.lines()[-1]


def test_the_end_of_the_resolver_costs_the_names_and_nothing_else(
    open_path: Path, listener: Daemon
) -> None:
    _, port = listener.endpoint("tcp")
    more = account("named", "localhost") + account("numbered", f"127.0.0.1:{port}")
    more += '[last_used]\nallow = ["127.0.0.1/32"]\n'
    with ringing(open_path, settings(open_path, more, port=port)) as sender:
        (pid,) = sender.status()["companions"].values()
        os.kill(pid, signal.SIGKILL)
        until(lambda: sender.status()["companions"] == {}, "the end of the resolver")
        sender.say("new named", "new numbered")
        until(lambda: sender.rings().get("sent") == 1, "the address")
        until(lambda: sender.rings().get("name_unknown") == 1, "the name")
        ended = [line for line in sender.lines() if "event=companion_ended" in line]
        assert len(ended) == 1
        assert "program=mailbell-resolver" in ended[0]
        assert sender.stop() == 0


def test_the_number_of_the_resolvers_descriptor_can_be_used_again(
    open_path: Path, listener: Daemon
) -> None:
    """The next socket gets the lowest free number. The filter must not take it for an early one."""
    _, port = listener.endpoint("tcp")
    more = account("named", "localhost") + account("numbered", f"127.0.0.1:{port}")
    with ringing(open_path, settings(open_path, more)) as sender:
        (pid,) = sender.status()["companions"].values()
        os.kill(pid, signal.SIGKILL)
        sender.until_logged("event=companion_ended")
        sender.say("new numbered")
        sender.until_logged("event=sent account=numbered")
        assert sender.stop() == 0


def test_the_control_socket_rings_explains_and_tells(open_path: Path, target: Silent) -> None:
    toml = settings(open_path, account("anna", f"127.0.0.1:{target.port}"))
    with ringing(open_path, toml) as sender:
        assert sender.ask("Ring", account="anna") == {}
        assert target.line() == LINE
        assert sender.ask("Ring", account="bert") == "org.mailbell.Sender.UnknownAccount"
        (step,) = sender.ask("Explain", account="anna")["steps"]
        assert step["target"] == f"127.0.0.1:{target.port}"
        sender.until_rung()
        status = sender.status()
        assert status["listening"] == [f"hook {open_path}/hook", f"control {open_path}/control"]
        assert status["accounts_listed"] == 1
        assert status["accounts"][0]["name"] == "anna"
        assert status["targets"][0]["sent"] == 1
        assert status["latency"]["count"] == 1
        assert status["store"].get("failing") is None
        sandbox = status["sandbox"]
        assert (sandbox["seccomp"], sandbox["threads"]) == (2, 1)
        assert sandbox["permitted_calls"] <= 40
        if os.geteuid() == 0:
            assert sandbox["uid"] == NOBODY


# --- signals and ends ----------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order(open_path: Path, number: signal.Signals) -> None:
    with ringing(open_path) as sender:
        sender.process.send_signal(number)
        assert sender.told() == b"STOPPING=1"
        assert sender.process.wait(PATIENCE) == 0
        assert sender.lines()[-1] == f"event=stopping signal={number.name}"


def test_hup_is_logged_and_nothing_else(open_path: Path, target: Silent) -> None:
    toml = settings(open_path, account("a", f"127.0.0.1:{target.port}"))
    with ringing(open_path, toml) as sender:
        sender.process.send_signal(signal.SIGHUP)
        sender.until_logged("event=reload_ignored signal=SIGHUP")
        sender.say("new a")
        assert target.line() == LINE


def test_what_waited_at_an_orderly_end_is_rung_at_the_next_start(open_path: Path) -> None:
    """The targets refuse connections in the first run, so their rings wait."""
    with Silent() as late:
        port = late.port
    more = account("anna", f"127.0.0.1:{port}") + account("bert", "127.0.0.1:9")
    toml = settings(open_path, more)
    with ringing(open_path, toml) as sender:
        sender.say("new anna")
        until(lambda: sender.rings().get("refused"), "the refusal")
        assert sender.stop() == 0
    with socket.create_server(("127.0.0.1", port)) as now_there:
        now_there.settimeout(PATIENCE)
        with ringing(open_path, toml) as sender:
            connection, _ = now_there.accept()
            with connection:
                assert connection.recv(64) == LINE
            sender.until_logged("event=resumed accounts=1")
            sender.until_rung()
            assert sender.rings() == {"sent": 1}
            assert sender.status()["store"]["pending"] == 1
            assert sender.stop() == 0
        with ringing(open_path, toml) as sender:
            assert sender.rings() == {}


def test_hooks_that_wait_at_an_orderly_end_are_rung_at_the_next_start(open_path: Path) -> None:
    """More wait than are accepted in one go. The signal comes before they are."""
    names = {f"user{number}": f"127.1.{number // 200}.{number % 200 + 1}" for number in range(300)}
    more = "".join(account(name, f"{host}:9") for name, host in names.items())
    toml = settings(open_path, more)
    with (
        ringing(open_path, toml) as sender,
        sender.connected() as open_for_long,
        ExitStack() as hooks,
    ):
        open_for_long.sendall(b"new user0\n")
        sender.until_logged("event=refused account=user0")
        sender.process.send_signal(signal.SIGSTOP)
        *others, last = list(names)[1:]
        for name in others:
            hook = hooks.enter_context(sender.connected())
            hook.sendall(f"new {name}\n".encode())
        open_for_long.sendall(f"new {last}\n".encode())
        sender.process.send_signal(signal.SIGTERM)
        sender.process.send_signal(signal.SIGCONT)
        assert sender.process.wait(PATIENCE) == 0
    with ringing(open_path, toml) as sender:
        sender.until_logged("event=resumed accounts=300 ")


def test_what_cyrus_said_before_an_orderly_end_is_rung_at_the_next_start(open_path: Path) -> None:
    """More waits in the reader than it can pass on to a sender that does not read."""
    more = "".join(account(f"user{n}", f"127.1.{n // 200}.{n % 200 + 1}:9") for n in range(400))
    toml = settings(open_path, more, listen=f'cyrus = "{open_path}/cyrus"')
    event = '{{"event":"MessageNew","user":"{0}","uri":"imap://m/user.{0};UIDVALIDITY=1"}}'
    with (
        ringing(open_path, toml) as sender,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as cyrus,
    ):
        cyrus.connect(str(open_path / "cyrus"))
        sender.process.send_signal(signal.SIGSTOP)
        for number in range(400):
            data = event.format(f"user{number}").encode()
            cyrus.send(b"mailbell\0EVENT\0\0\0\0" + b"0\0" + data + b"\0")
        sender.process.send_signal(signal.SIGTERM)
        sender.process.send_signal(signal.SIGCONT)
        assert sender.process.wait(PATIENCE) == 0
    with ringing(open_path, toml) as sender:
        sender.until_logged('event=resumed accounts=400 why="rings that waited"')


def test_after_an_end_out_of_order_every_account_with_a_target_is_rung(
    open_path: Path, target: Silent
) -> None:
    more = account("anna", f"127.0.0.1:{target.port}") + account("off", "last-used")
    more += '[default]\ntargets = ["last-used"]\n[last_used]\nallow = ["127.0.0.1/32"]\n'
    toml = settings(open_path, more, port=target.port)
    with ringing(open_path, toml) as sender:
        sender.say("seen carla 127.0.0.1")
        until(lambda: sender.inputs().get("accepted") == 1)
        sender.kill()
    with ringing(open_path, toml) as sender:
        sender.until_logged("event=resumed accounts=2")
        # Both accounts have one target, so one ring stands for both.
        assert target.line() == LINE
        rung = {row["name"] for row in sender.status()["accounts"]}
        assert rung <= {"anna", "carla"}


def test_lines_that_wait_while_it_restarts_are_heard_with_passed_sockets(
    open_path: Path, target: Silent
) -> None:
    """The stand-in of a service manager keeps the hook's socket over a restart."""
    toml = settings(open_path, account("anna", f"127.0.0.1:{target.port}"))
    hook, control = (str(open_path / name) for name in ("hook", "control"))
    with (
        listening(socket.AF_UNIX, socket.SOCK_STREAM, hook) as hooks,
        listening(socket.AF_UNIX, socket.SOCK_STREAM, control) as programs,
    ):
        os.chmod(hook, 0o666)
        os.chmod(control, 0o660)
        manager, descriptors = passing({"hook": [hooks], "control": [programs]})
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as early:
                early.connect(hook)
                early.sendall(b"new anna\n")
            with ringing(open_path, toml, command=manager, descriptors=descriptors) as sender:
                assert target.line() == LINE
                assert 'event=activated sockets="control, hook"' in sender.lines()
                assert sender.stop() == 0


def test_a_mail_server_may_have_a_socket_for_hooks_that_others_cannot_fill(
    open_path: Path, target: Silent
) -> None:
    """Each socket has a queue of its own in the kernel, and a mode of its own."""
    toml = settings(open_path, account("anna", f"127.0.0.1:{target.port}"))
    hook, private, control = (str(open_path / name) for name in ("hook", "private", "control"))
    with (
        listening(socket.AF_UNIX, socket.SOCK_STREAM, hook) as hooks,
        listening(socket.AF_UNIX, socket.SOCK_STREAM, private) as of_server,
        listening(socket.AF_UNIX, socket.SOCK_STREAM, control) as programs,
    ):
        for path, mode in ((hook, 0o666), (private, 0o660), (control, 0o660)):
            os.chmod(path, mode)
        manager, descriptors = passing({"hook": [hooks, of_server], "control": [programs]})
        with ringing(open_path, toml, command=manager, descriptors=descriptors) as sender:
            assert {f"hook {hook}", f"hook {private}"} <= set(sender.status()["listening"])
            for path in (private, hook):
                with socket.socket(socket.AF_UNIX) as peer:
                    peer.connect(path)
                    peer.sendall(b"new anna\n")
                assert target.line() == LINE
            assert sender.stop() == 0


# --- starts that fail ------------------------------------------------------------------


def ended(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Start it with a file; return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "mailbell.cli.mailbell_sender", "--config", str(file), *words],
        capture_output=True, text=True, check=False, timeout=PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_wrong_configuration_is_78_with_every_mistake(tmp_path: Path) -> None:
    file = tmp_path / "sender.toml"
    file.write_text(
        '[send]\nport = 65536\n[last_used]\nttl = "8d"\n[[account]]\nname = "a"\n'
        'targets = ["192.0.2.700"]\n[[account]]\nname = "a"\n'
    )
    done = ended(file)
    assert done.returncode == 78
    *problems, last = done.stderr.splitlines()
    assert [line.split(": ")[2] for line in problems] == [
        "send.port", "last_used.ttl", "account[0].targets[0]", "account[1].name",
    ]  # fmt: skip
    assert last == "mailbell-sender: 4 problems in the configuration; correct it and try again"
    assert not (tmp_path / "hook").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user becomes no other user")
def test_no_such_user_is_78_and_says_how_to_make_one(tmp_path: Path) -> None:
    file = tmp_path / "sender.toml"
    file.write_text(settings(tmp_path).replace('user = "nobody"', 'user = "no-such-user"'))
    done = ended(file)
    assert done.returncode == 78
    assert "there is no user 'no-such-user'; create it: useradd --system" in done.stderr


def test_another_sender_is_running(open_path: Path) -> None:
    with ringing(open_path):
        done = ended(open_path / "mailbell-sender.toml")
        assert done.returncode == 71
        assert f"another mailbell-sender is running: it listens on {open_path}/hook" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--help"], 0, "usage: mailbell-sender [--config FILE]"),
        (["--version"], 0, "mailbell-sender "),
        (["--loud"], 64, "no such option; see 'mailbell-sender --help'"),
        (["here"], 64, "takes options only"),
        (["--config"], 64, "its value is missing"),
    ],
)
def test_the_command_line(tmp_path: Path, words: list[str], code: int, text: str) -> None:
    file = tmp_path / "sender.toml"
    file.write_text("")
    done = ended(file, *words)
    assert done.returncode == code
    assert text in done.stdout + done.stderr


def test_a_user_of_the_list_who_does_not_exist_is_a_warning(open_path: Path) -> None:
    toml = settings(open_path, listen='trusted = ["root", "no-such-user"]')
    with ringing(open_path, toml) as sender:
        (line,) = (line for line in sender.lines() if "no_such_user" in line)
        assert line == "event=no_such_user name=no-such-user key=listen.trusted"


def test_a_store_that_cannot_be_used_costs_persistence_only(
    open_path: Path, target: Silent
) -> None:
    toml = settings(open_path, account("anna", f"127.0.0.1:{target.port}"))
    with ringing(open_path, re.sub("/book/", "/no/such/", toml)) as sender:
        sender.say("new anna")
        assert target.line() == LINE
        assert sender.status()["store"]["failing"]


def logged(sender: Ringer, event: str) -> list[str]:
    return [line for line in sender.lines() if line.startswith(f"event={event} ")]


def test_the_log_says_where_it_listens_and_how_it_is_locked(open_path: Path) -> None:
    with ringing(open_path) as sender:
        assert logged(sender, "listening") == [
            f'event=listening on="hook {open_path}/hook"',
            f'event=listening on="control {open_path}/control"',
        ]
        assert len(logged(sender, "locked")) == 1
        assert {"Seccomp": "2", "NoNewPrivs": "1", "Threads": "1"}.items() <= (
            sender.kernel_says().items()
        )

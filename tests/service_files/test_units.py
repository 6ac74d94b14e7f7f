"""The units say what the daemon expects, nothing is misspelt, and little is left open."""

import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from service_files.units import (
    POLICY,
    SYSTEMD,
    Unit,
    analyze,
    copied_units,
    exposure,
    read,
    words_of,
)

from mailbell._sys import sockets, systemd
from mailbell.cli._file import DEFAULT_PATH
from mailbell.client._path import SYSTEM_PATH
from mailbell.core.errors import ConfigurationError
from mailbell.listener._binding import Sockets
from mailbell.listener.configuration import parse
from mailbell.listener.prepare import descriptors_needed

SERVICE = "mailbelld.service"
TCP, UDP, LOCAL = "mailbelld.socket", "mailbelld-udp.socket", "mailbelld-local.socket"
DEFAULTS = parse(b"")
ROOT = Path(__file__).parent.parent.parent

Record = Callable[[str, object], None]


def copied(directory: Path, old: str = "", new: str = "") -> Path:
    """Return a copy of the units that could run on this machine, with one changed line."""
    return copied_units(directory, SERVICE, old, new)


def test_exposure_is_two_tenths_at_most(record_property: Record) -> None:
    figure = exposure(SYSTEMD / SERVICE)
    record_property("sandbox: exposure of the service (0 to 10)", figure)
    assert 0 < figure <= 0.2


@pytest.mark.parametrize(
    "line", ["PrivateUsers=yes", "PrivateNetwork=yes", "ProtectSystem=strict", "User=mailbell"]
)
def test_what_is_measured_would_show(line: str, tmp_path: Path) -> None:
    """The counter-test: without a line the exposure is worse."""
    assert exposure(copied(tmp_path, line)) > 0.2


def test_the_one_family_of_addresses_costs_nothing_in_the_figure(tmp_path: Path) -> None:
    """So "none" would gain nothing, and with it the daemon cannot say that it is ready."""
    none = copied(tmp_path, "RestrictAddressFamilies=AF_UNIX", "RestrictAddressFamilies=none")
    assert exposure(none) == exposure(SYSTEMD / SERVICE)


def test_nothing_is_misspelt(tmp_path: Path) -> None:
    directory = copied(tmp_path).parent
    units = sorted({SERVICE, TCP, UDP, LOCAL})
    done = analyze("verify", "--man=no", *(f"./{name}" for name in units), cwd=directory)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_misspelt_would_show(tmp_path: Path) -> None:
    directory = copied(tmp_path, "ProtectSystem=", "ProtectSytem=").parent
    done = analyze("verify", "--man=no", f"./{SERVICE}", cwd=directory)
    assert "ProtectSytem" in done.stderr


# --- what the units say is what the daemon expects ----------------------------


def endpoints(unit: Unit, setting: str) -> list[str]:
    return unit.values(f"Socket.{setting}")


def test_the_sockets_have_the_names_that_the_daemon_knows() -> None:
    names = {name: read(name).value("Socket.FileDescriptorName") for name in (TCP, UDP, LOCAL)}
    assert names == {TCP: "tcp", UDP: "udp", LOCAL: "local"}
    assert set(names.values()) == set(systemd._CHECKS) <= set(Sockets.__dataclass_fields__)


def test_they_are_the_endpoints_of_the_default_configuration() -> None:
    tcp, udp = read(TCP), read(UDP)
    configured = [f"{endpoint}" for endpoint in DEFAULTS.listen.tcp]
    assert endpoints(tcp, "ListenStream") == configured
    assert not DEFAULTS.listen.udp
    # If UDP is enabled: the same, for the other protocol.
    assert endpoints(udp, "ListenDatagram") == configured
    for unit in (tcp, udp):
        assert unit.value("Socket.BindIPv6Only") == "ipv6-only"
    # systemd.unit(5): M is 1024 times 1024.
    assert udp.value("Socket.ReceiveBuffer") == f"{sockets._RECEIVE_BUFFER >> 20}M"


def test_the_local_socket_is_that_of_the_default_configuration() -> None:
    local = read(LOCAL)
    assert endpoints(local, "ListenStream") == [DEFAULTS.socket.path] == [SYSTEM_PATH]
    assert local.value("Socket.SocketGroup") == DEFAULTS.socket.group
    assert int(local.value("Socket.SocketMode"), 8) == DEFAULTS.socket.mode
    folder = Path(DEFAULTS.socket.path).parent
    (line,) = words_of(POLICY / "tmpfiles.d" / "mailbell.conf")
    assert line.split() == ["d", str(folder), local.value("Socket.DirectoryMode"), "root", "root",
                            "-"]  # fmt: skip


def test_user_and_group_are_those_of_the_default_configuration() -> None:
    (line,) = words_of(POLICY / "sysusers.d" / "mailbell.conf")
    kind, name, number, _ = line.split(maxsplit=3)
    assert (kind, number) == ("u", "-")
    assert read(SERVICE).value("Service.User") == name == DEFAULTS.listen.user
    assert name == DEFAULTS.socket.group


def test_nobody_chooses_the_level_of_a_line() -> None:
    """journald shows lines of the level "emergency" on all terminals, and nobody needs these."""
    service = read(SERVICE)
    assert service.value("Service.SyslogLevelPrefix") == "no"
    assert service.value("Service.SyslogLevel") == "notice"


def test_the_service_has_its_sockets_and_only_udp_is_left_to_choose() -> None:
    service = read(SERVICE)
    assert set(service.words("Unit.Requires")) == {TCP, LOCAL}
    assert set(service.words("Install.Also")) == {TCP, LOCAL}
    for name in (UDP, LOCAL):  # the third has the service's own name
        assert read(name).value("Socket.Service") == SERVICE
    for name in (TCP, UDP, LOCAL):
        assert read(name).value("Install.WantedBy") == "sockets.target"
        assert "Socket.Accept" not in dict(read(name).settings)


def test_it_may_open_as_many_files_as_any_configuration_needs() -> None:
    largest = "[limits]\nconnections = 16384\n[socket]\nsubscribers = 1024\n"
    needed = descriptors_needed(parse(largest.encode()), systemd._MAX_SOCKETS)
    assert needed < 0x8000  # the bits of a descriptor that `except` in the policy compares
    assert needed <= int(read(SERVICE).value("Service.LimitNOFILE"))
    for most in (16384, 1024):  # it is the largest configuration
        with pytest.raises(ConfigurationError):
            parse(largest.replace(str(most), str(most + 1)).encode())


def test_the_program_is_where_the_quick_start_installs_it() -> None:
    program = read(SERVICE).value("Service.ExecStart")
    folder = Path(program).parent.parent
    assert f"-m venv {folder}\n" in (ROOT / "docs" / "quickstart.md").read_text()
    assert str(folder) in read(SERVICE).words("Service.ExecPaths")
    profile = (POLICY / "apparmor" / "mailbelld").read_text()
    for path in (f"{folder}/{{,**}}", f"{Path(DEFAULT_PATH).parent}/{{,**}}",
                 DEFAULTS.socket.path):  # fmt: skip
        assert f"  {path} r" in profile


def test_the_home_of_the_service_is_that_of_its_user() -> None:
    """CPython asks /etc/passwd otherwise, which the AppArmor profile does not permit."""
    (line,) = words_of(POLICY / "sysusers.d" / "mailbell.conf")
    assert line.endswith('"')  # sysusers.d(5): no home is named, so it is /
    assert "HOME=/" in read(SERVICE).values("Service.Environment")


def test_the_service_takes_no_file_from_a_debugger() -> None:
    """tests/system/test_remote_debug.py shows what the variable does."""
    assert "PYTHON_DISABLE_REMOTE_DEBUG=1" in read(SERVICE).values("Service.Environment")


@pytest.mark.parametrize(
    ("installed", "folder"), [("policy", "policy"), ("examples", "examples/configuration")]
)
def test_every_file_stands_in_the_wheel_as_in_the_repository(installed: str, folder: str) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}

    assert len(files(ROOT / folder)) > 5
    assert files(POLICY.parent / installed) == files(ROOT / folder)


def test_what_mail_servers_execute_is_installed_with_its_permission_to_be_executed() -> None:
    def files(folder: Path) -> dict[str, tuple[bytes, bool]]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return {
            str(path.relative_to(folder)): (path.read_bytes(), bool(path.stat().st_mode & 0o111))
            for path in found
        }

    installed = Path(sysconfig.get_path("data"), "share", "mailbell", "servers")
    expected = files(ROOT / "servers")
    assert files(installed) == expected
    for name, (data, executable) in expected.items():
        assert executable is data.startswith(b"#!"), name

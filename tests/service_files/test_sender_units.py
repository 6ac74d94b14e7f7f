"""The units of mailbell-sender say what it expects, and leave open only what it needs."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from service_files.test_apparmor import parsed
from service_files.units import (
    POLICY,
    SYSTEMD,
    analyze,
    calls,
    copied_units,
    exposure,
    exposures,
    read,
    words_of,
)

from mailbell.cli._sender_file import DEFAULT_PATH
from mailbell.sender._binding import BACKLOG
from mailbell.sender.configuration import parse
from mailbell.sender.prepare import descriptors_needed
from mailbell.syscalls import policy_toml

SERVICE: Final = "mailbell-sender.service"
HOOK: Final = "mailbell-sender-hook.socket"
CONTROL: Final = "mailbell-sender-control.socket"
LISTENER: Final = "mailbelld.service"
PROFILE: Final = POLICY / "apparmor" / "mailbell-sender"
DEFAULTS: Final = parse(b"")
POLICIES: Final = {
    name: policy_toml.parse((POLICY / "syscalls" / f"{name}.toml").read_bytes())
    for name in ("mailbell-sender", "mailbell-resolver", "mailbell-cyrus")
}

Record = Callable[[str, object], None]

# What the sender leaves open and the listener does not. Each is explained in the unit.
OPENED: Final = {
    "PrivateNetwork": "PrivateNetwork=",
    "RestrictAddressFamilies_AF_INET_INET6": "AF_INET and AF_INET6",
    "IPAddressDeny": "IPAddressAllow=",
    "PrivateUsers": "PrivateUsers=",
    "RestrictAddressFamilies_AF_NETLINK": "AF_NETLINK",
}


def test_exposure_is_that_of_the_network(record_property: Record) -> None:
    figure = exposure(SYSTEMD / SERVICE)
    record_property("sandbox: exposure of the sender's service (0 to 10)", figure)
    assert 0 < figure <= 1.2


def test_each_setting_above_the_listeners_has_its_reason_in_the_file() -> None:
    assert exposures(SYSTEMD / SERVICE) - exposures(SYSTEMD / LISTENER) == set(OPENED)
    header = (SYSTEMD / SERVICE).read_text().partition("[Unit]")[0]
    assert [word for word in OPENED.values() if word not in header] == []
    said = (SYSTEMD / SERVICE, SYSTEMD / LISTENER)
    assert f"gives this file {exposure(said[0])} of 10" in header
    assert f"and {LISTENER} {exposure(said[1])}." in header


def test_without_a_network_the_figure_is_far_lower(tmp_path: Path) -> None:
    """So no service that calls others can be near the listener's figure."""
    changed = copied_units(tmp_path, SERVICE, "AF_UNIX AF_INET AF_INET6 AF_NETLINK", "AF_UNIX")
    text = changed.read_text().replace("SocketBindDeny=any", "PrivateNetwork=yes")
    changed.write_text(text)
    assert exposure(changed) <= exposure(SYSTEMD / SERVICE) - 0.7
    # The other way round: the listener's own file, if it had the network.
    listener = copied_units(tmp_path, LISTENER, "PrivateNetwork=yes", "")
    opened = listener.read_text().replace("=AF_UNIX", "=AF_UNIX AF_INET AF_INET6")
    listener.write_text(opened)
    assert exposure(listener) >= 0.9


@pytest.mark.parametrize(
    "line", ["ProtectSystem=strict", "User=mailbell-sender", "CapabilityBoundingSet=",
             "RestrictNamespaces=yes", "NoNewPrivileges=yes"],
)  # fmt: skip
def test_what_is_measured_would_show(line: str, tmp_path: Path) -> None:
    assert exposure(copied_units(tmp_path, SERVICE, f"\n{line}\n", "\n")) > 1.2


def test_nothing_is_misspelt(tmp_path: Path) -> None:
    directory = copied_units(tmp_path, SERVICE).parent
    units = [path.name for path in SYSTEMD.glob("mailbell-sender*")]
    assert sorted(units) == sorted([SERVICE, HOOK, CONTROL])
    done = analyze("verify", "--man=no", *(f"./{name}" for name in units), cwd=directory)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_sockets_are_those_of_the_default_configuration() -> None:
    for name, key, path in (
        (HOOK, "hook", DEFAULTS.listen.hook),
        (CONTROL, "control", DEFAULTS.listen.control),
    ):
        unit = read(name)
        assert unit.value("Socket.FileDescriptorName") == key
        assert unit.values("Socket.ListenStream") == [path]
        assert unit.value("Socket.Service") == SERVICE
        assert unit.value("Socket.DirectoryMode") == "0755"
        assert unit.value("Install.WantedBy") == "sockets.target"
        assert "Socket.Accept" not in dict(unit.settings)
    assert read(HOOK).value("Socket.SocketMode") == "0666"
    assert read(HOOK).value("Socket.Backlog") == str(BACKLOG)
    assert read(CONTROL).value("Socket.SocketMode") == "0660"
    assert read(CONTROL).value("Socket.SocketGroup") == DEFAULTS.listen.group


def test_the_service_has_its_sockets() -> None:
    service = read(SERVICE)
    assert set(service.words("Unit.Requires")) == {HOOK, CONTROL}
    assert set(service.words("Install.Also")) == {HOOK, CONTROL}


def test_user_group_and_folders_are_those_of_the_default_configuration() -> None:
    (line,) = words_of(POLICY / "sysusers.d" / "mailbell-sender.conf")
    kind, name, number, _ = line.split(maxsplit=3)
    assert (kind, number) == ("u", "-")
    assert read(SERVICE).value("Service.User") == name == DEFAULTS.listen.user
    assert name == DEFAULTS.listen.group
    state = Path(DEFAULTS.store.url.path).parent
    assert str(state) == f"/var/lib/{read(SERVICE).value('Service.StateDirectory')}"
    mode = read(SERVICE).value("Service.StateDirectoryMode")
    folders = [line.split() for line in words_of(POLICY / "tmpfiles.d" / "mailbell-sender.conf")]
    assert folders == [
        ["d", str(Path(DEFAULTS.listen.hook).parent), "0755", "root", "root", "-"],
        ["d", str(state), mode, name, name, "-"],
    ]


def test_nobody_chooses_the_level_of_a_line() -> None:
    service = read(SERVICE)
    assert service.value("Service.SyslogLevelPrefix") == "no"
    assert service.value("Service.SyslogLevel") == "notice"


def test_it_may_open_as_many_files_as_any_configuration_needs() -> None:
    needed = descriptors_needed(parse(b"[send]\nconnections = 4096\n"))
    assert needed <= int(read(SERVICE).value("Service.LimitNOFILE"))


def test_the_program_is_where_the_listener_is() -> None:
    program = Path(read(SERVICE).value("Service.ExecStart"))
    assert program.parent == Path(read(LISTENER).value("Service.ExecStart")).parent
    assert program.name == "mailbell-sender"


# --- system calls -----------------------------------------------------------------


def permitted() -> frozenset[str]:
    groups = ["@default", *read(SERVICE).words("Service.SystemCallFilter")]
    assert not any(word.startswith("~") for word in groups), "then the order would count"
    return frozenset().union(*map(calls, groups))


@pytest.mark.parametrize("name", POLICIES)
def test_all_that_the_locks_permit_is_permitted_around_them(name: str) -> None:
    assert set(POLICIES[name].permitted) - permitted() == set()


def test_it_permits_hardly_more_than_the_listeners_file() -> None:
    groups = ["@default", *read(LISTENER).words("Service.SystemCallFilter")]
    listener = frozenset().union(*map(calls, groups))
    assert permitted() - listener == {
        # the address book
        "fdatasync", "fsync", "ftruncate", "ftruncate64", "unlink", "rename", "mkdir", "fchmod",
        # children
        "clone", "pipe2", "getrusage", "wait4", "pidfd_open", "kill",
        # the lock
        "landlock_add_rule", "umask",
    }  # fmt: skip
    assert listener - permitted() == set()


# --- AppArmor -----------------------------------------------------------------------

WRITABLE = {
    "/dev/null",
    "/var/lib/mailbell-sender/**",
    "/run/mailbell-sender/{hook,mail,control}",
    "/run/mailbell-cyrus/*",
    "/run/{redis,valkey}/*",
    "/run/systemd/notify",
    "/run/systemd/journal/stdout",
}


def test_the_profile_compiles_without_a_warning() -> None:
    done = parsed(PROFILE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_home_of_the_service_is_that_of_its_user() -> None:
    (line,) = words_of(POLICY / "sysusers.d" / "mailbell-sender.conf")
    assert line.endswith('"')  # sysusers.d(5): no home is named, so it is /
    assert "HOME=/" in read(SERVICE).values("Service.Environment")


def test_the_service_takes_no_file_from_a_debugger() -> None:
    """tests/system/test_remote_debug.py shows what the variable does."""
    assert "PYTHON_DISABLE_REMOTE_DEBUG=1" in read(SERVICE).values("Service.Environment")


def test_the_profile_permits_to_execute_nothing_and_to_write_next_to_nothing() -> None:
    lines = [line.strip().rstrip(",") for line in words_of(PROFILE)]
    rules = [line.split() for line in lines if line.startswith(("/", "@"))]
    letters = {path: set(permitted) for path, permitted in rules}
    assert set().union(*letters.values()) == set("rmwk")
    assert {path for path, permitted in letters.items() if "w" in permitted} == WRITABLE
    kinds = {line.split()[0] for line in words_of(PROFILE) if line.strip()[0] not in "/@}"}
    assert kinds == {"abi", "include", "profile", "network", "unix", "signal"}


def test_the_profile_knows_the_files_of_the_default_configuration() -> None:
    text = PROFILE.read_text()
    for path in (
        f"{Path(DEFAULT_PATH).parent}/{{,**}} r",
        f"{Path(DEFAULTS.store.url.path).parent}/** rwk",
        f"{Path(DEFAULTS.listen.hook).parent}/{{hook,mail,control}} rw",
    ):
        assert f"  {path}," in text

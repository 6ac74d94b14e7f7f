"""What `mailbell sender recipe` finds on a machine: users, paths, files, and what commands say."""

import fcntl
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from mailbell.cli import _recipe_machine
from mailbell.cli._recipe_machine import (
    User,
    facts_of,
    ordinary_users,
    read_file,
    run,
    sender_configuration,
    user,
)
from mailbell.core.errors import UsageError
from mailbell.recipes.facts import Facts
from mailbell.recipes.state import File, Printed
from mailbell.sender.configuration import parse

# ioctl_tty(2), of asm-generic; the module termios has them since Python 3.13.
_TIOCGPTN, _TIOCSPTLCK = 0x80045430, 0x40045431

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def passwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the machine have the users of a file, with home folders below the test's own."""
    monkeypatch.setattr(_recipe_machine, "_PASSWD", str(tmp_path / "passwd"))
    monkeypatch.setattr(_recipe_machine, "_LOGIN_DEFS", str(tmp_path / "login.defs"))
    for name in ("anna", "bob", "a b"):
        (tmp_path / name).mkdir()
    lines = (
        "root:x:0:0::/root:/bin/sh",
        f"bob:x:1001:100::{tmp_path}/bob:/bin/sh",
        f"anna:x:1000:100::{tmp_path}/anna:/bin/bash",
        f"gone:x:1002:100::{tmp_path}/gone:/bin/sh",
        f"robot:x:1003:100::{tmp_path}/bob:/usr/sbin/nologin",
        f"odd:x:1004:100::{tmp_path}/a b:/bin/sh",
        f"$(id):x:1005:100::{tmp_path}/bob:/bin/sh",
        f"nobody:x:65534:100::{tmp_path}/bob:/bin/sh",
        "broken:x:many:100::/:/bin/sh",
        f"old:x:500:100::{tmp_path}/bob:/bin/sh",
        "+",
    )
    path = tmp_path / "passwd"
    path.write_text("\n".join(lines))
    return path


def names() -> list[str]:
    return [each.name for each in ordinary_users()]


def test_the_users_are_people_with_a_home_folder(passwd: Path) -> None:
    assert names() == ["anna", "bob"]
    assert ordinary_users()[0] == User("anna", f"{passwd.parent}/anna")


def test_login_defs_says_which_ids_are_ordinary(passwd: Path) -> None:
    defs = passwd.with_name("login.defs")
    defs.write_text("# UID_MIN 1\nUID_MIN 500\nUID_MAX  1000\nUID_MAX many\nUMASK 022 x\n")
    assert names() == ["old", "anna"]


def test_without_a_list_of_users_nobody_is_proposed(passwd: Path) -> None:
    passwd.unlink()
    assert names() == []
    assert user(None, {}) is None


@pytest.mark.parametrize(
    ("environ", "name"),
    [({}, "anna"), ({"USER": "root"}, "anna"), ({"USER": "root", "SUDO_USER": "bob"}, "bob")],
)
@pytest.mark.usefixtures("passwd")
def test_who_is_at_the_keyboard_is_proposed_first(environ: dict[str, str], name: str) -> None:
    found = user(None, environ)
    assert found is not None
    assert found.name == name


def test_a_named_user_need_not_be_ordinary_but_must_exist() -> None:
    assert user("root", {}) == User("root", pwd.getpwnam("root").pw_dir)
    for name in ("no-such-user", "a\0b", "\udcff", "x\n"):
        with pytest.raises(UsageError, match="is no user of this machine") as caught:
            user(name, {})
        assert str(caught.value).isprintable()


def test_the_facts_are_those_of_the_senders_configuration(tmp_path: Path) -> None:
    configuration = parse(b'[listen]\nhook = "/run/x/hook"\ncyrus = "/run/x/cyrus"\n')
    facts = facts_of(configuration, User("anna", str(tmp_path)))
    assert (facts.socket, facts.cyrus) == ("/run/x/hook", "/run/x/cyrus")
    assert (facts.user, facts.home) == ("anna", str(tmp_path))
    assert facts_of(parse(b""), None).cyrus == Facts().cyrus
    unknown = facts_of(None, None)
    assert (unknown.socket, unknown.user) == (Facts().socket, Facts().user)


def test_the_hook_and_the_files_are_those_of_this_installation() -> None:
    facts = facts_of(None, None)
    assert Path(facts.hook).read_text().startswith("#!")
    assert os.access(facts.hook, os.X_OK)
    assert Path(facts.files, "README.md").is_file()


def test_what_is_not_installed_has_its_usual_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(_recipe_machine, "_PREFIXES", ())
    monkeypatch.setattr(_recipe_machine, "_PATH", str(tmp_path))
    facts = facts_of(None, None)
    assert (facts.hook, facts.files) == (Facts().hook, Facts().files)


def test_a_configuration_that_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "sender.toml"
    path.write_text("listen = 1")
    configuration, lack = sender_configuration(str(path))
    assert configuration is None
    assert "1 problem" in lack
    path.write_text("")
    assert sender_configuration(str(path)) == (parse(b""), "")


# --- files ---------------------------------------------------------------------------


def test_a_file_is_read_with_its_owner_and_permissions(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a\n\xff")
    path.chmod(0o640)
    assert read_file(str(path)) == File(text="a\n\ufffd", owner=ME, mode=0o640)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    gone = read_file(str(tmp_path / "gone"))
    assert (gone.text, gone.missing) == (None, True)
    (tmp_path / "f").write_text("")
    assert read_file(str(tmp_path / "f" / "below")).missing
    assert read_file(str(tmp_path)).lack == "no regular file"
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    assert not read_file(str(tmp_path / "loop")).missing


def test_a_pipe_or_a_device_that_a_user_put_there_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_file(str(tmp_path / "pipe")) == File(lack="no regular file")
    assert read_file("/dev/zero") == File(lack="no regular file")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        assert read_file(str(tmp_path / "s")).text is None


def test_a_device_to_which_a_user_made_a_link_is_not_opened(tmp_path: Path) -> None:
    """To open it is enough to start a watchdog, or to hang up a line, as here."""
    number, unlocked = bytearray(4), bytearray(4)
    with open("/dev/ptmx", "r+b", buffering=0) as pty:
        fcntl.ioctl(pty, _TIOCGPTN, number)
        fcntl.ioctl(pty, _TIOCSPTLCK, unlocked)
        device = f"/dev/pts/{int.from_bytes(number, sys.byteorder)}"
        os.symlink(device, tmp_path / ".forward")
        assert read_file(str(tmp_path / ".forward")) == File(lack="no regular file")
        poll = select.poll()
        poll.register(pty, 0)  # hang-ups are always told
        assert poll.poll(0) == []
        os.close(os.open(device, os.O_RDWR | os.O_NOCTTY))
        assert poll.poll(0) == [(pty.fileno(), select.POLLHUP)]


def test_a_link_that_leads_nowhere_is_no_missing_file(tmp_path: Path) -> None:
    """Whoever makes the missing file as root would make the one that the link names."""
    path = tmp_path / ".forward"
    os.symlink("/no/such/cron.d/x", path)
    seen = read_file(str(path))
    assert (seen.text, seen.missing, seen.link) == (None, False, True)


def test_a_link_to_a_file_of_its_owner_is_followed(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a\n")
    os.symlink("f", tmp_path / "link")
    assert read_file(str(tmp_path / "link")).text == "a\n"


def test_a_users_link_to_a_file_of_another_user_is_not_read(tmp_path: Path) -> None:
    """Who reads /proc/kmsg takes what is there away from the log."""
    os.symlink("/etc/passwd", tmp_path / "link")
    if os.geteuid() == 0:
        os.lchown(tmp_path / "link", 65534, 65534)
    assert read_file(str(tmp_path / "link")).lack == "a link to a file of another user"


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert read_file(str(path)) == File(lack="larger than 1048576 bytes")


def test_a_file_that_cannot_be_read_is_told() -> None:
    """Its owner may be a process that is gone: reading fails, opening does not."""
    assert read_file("/proc/self/mem").text is None


# --- commands ------------------------------------------------------------------------


def python(code: str) -> Printed:
    return run((sys.executable, "-c", code))


def test_what_a_command_prints_is_returned_whatever_its_exit_code() -> None:
    assert run(("printf", "%s", "a b")) == Printed("a b")
    assert python("import sys; print('x'); print('y', file=sys.stderr); sys.exit(3)") == Printed(
        "x\n", "y\n"
    )
    assert python(r"import os; os.write(1, b'\xff')") == Printed("\ufffd")


def test_standard_error_is_told_from_standard_output() -> None:
    """`smtpd -n` says "configuration OK" there; other programs say there what went wrong."""
    assert python("import sys; print('fine', file=sys.stderr)") == Printed("", "fine\n")
    assert python("import sys; print(); print('no', file=sys.stderr)") == Printed("\n", "no\n")


def test_a_command_has_no_input_no_shell_and_little_environment() -> None:
    assert run(("cat",)) == Printed("")
    assert run(("printf", "%s", "$HOME; id")) == Printed("$HOME; id")
    output = python("import os; print(sorted(os.environ), os.getcwd())").text
    assert output is not None
    assert {"HOME", "USER", "LD_PRELOAD"}.isdisjoint(output.split("'"))
    assert output.endswith(" /\n")


def test_programs_are_found_in_the_systems_folders_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "postconf-x"
    program.write_text("#!/bin/sh\necho mine\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(("postconf-x",)) == Printed(lack="there is no postconf-x")
    assert run((str(program),)) == Printed("mine\n")
    program.write_text("#!/no/such/interpreter\n")
    assert run((str(program),)) == Printed(lack="no such file or directory")


def test_a_command_that_prints_without_end_is_ended() -> None:
    assert run(("cat", "/dev/zero")) == Printed(lack="printed more than 65536 bytes")


def test_a_command_that_does_not_end_in_time_is_ended() -> None:
    assert run(("sleep", "600"), patience=0.0) == Printed(lack="did not end within 0 s")


def test_what_a_command_has_started_is_ended_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bytes] = []

    def begun(process: "subprocess.Popen[bytes]", _: float) -> Printed:
        """Take the time for over when the command has started its child."""
        assert process.stdout is not None
        said.append(process.stdout.readline())
        return Printed(lack="did not end")

    monkeypatch.setattr(_recipe_machine, "_output", begun)
    assert run(("sh", "-c", "sleep 600 & echo $!; wait")) == Printed(lack="did not end")
    deadline = time.monotonic() + 10
    while _alive(int(said[0])):
        assert time.monotonic() < deadline


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_a_command_that_closes_its_output_and_goes_on_is_ended() -> None:
    code = "import os, signal; os.close(1); os.close(2); signal.pause()"
    assert python(code) == Printed("")


def test_a_command_that_may_not_be_killed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(_recipe_machine, "_END", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", refuse)
        process = subprocess.Popen(["cat"], stdin=-1, stdout=-1, stderr=-1)
        _recipe_machine._end(process)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)

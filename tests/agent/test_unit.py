"""The agent's unit: systemd reads it as intended, and no file of the person is lost."""

import errno
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import child
from harness.ordinary import NOBODY
from harness.sender import PATIENCE
from hypothesis import given, settings
from hypothesis import strategies as st
from service_files.units import require

from mailbell._sys.trusted_path import make_folders
from mailbell.agent import unit
from mailbell.agent._pace import Timing
from mailbell.core.errors import ConfigurationError, OperatingSystemError

MANAGER = Path("/usr/lib/systemd/systemd")
UNIT = unit.text([sys.executable, "run", "--then=notmuch new", "--", "mbsync"], "/usr/bin:/bin")


def settings_of(text: str) -> list[str]:
    """The lines of the unit, without comments."""
    return [line for line in text.splitlines() if "=" in line and not line.startswith("#")]


# --- how systemd reads it -----------------------------------------------------


def verified(folder: Path, text: str) -> str:
    """The complaints of systemd about a unit."""
    require("systemd-analyze")
    (folder / unit.NAME).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", "--user", "verify", str(folder / unit.NAME)],
        check=False, capture_output=True, text=True, timeout=PATIENCE,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)},
    )  # fmt: skip
    return done.stderr + done.stdout + ("" if done.returncode == 0 else "refused")


def test_systemd_has_nothing_against_it(tmp_path: Path) -> None:
    assert verified(tmp_path, UNIT) == ""


def test_systemd_would_notice_a_setting_it_does_not_know(tmp_path: Path) -> None:
    lines = settings_of(UNIT)
    misspelt = UNIT
    for line in lines:
        misspelt = misspelt.replace(f"\n{line}\n", f"\nX{line}\n")
    assert verified(tmp_path, misspelt).count("Unknown key") == len(lines)


def loaded(text: str) -> tuple[list[bytes], bytes]:
    """The command line and the environment of a unit, as a service manager has read them."""
    if not MANAGER.exists():
        pytest.skip("systemd is not installed")
    # root may not run a user's service manager. --test starts nothing.
    ordinary = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    with tempfile.TemporaryDirectory(prefix="mailbell-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        (Path(folder) / unit.NAME).write_text(text)
        done = subprocess.run(
            [*(ordinary if os.geteuid() == 0 else []),
             str(MANAGER), "--user", "--test", f"--unit={unit.NAME}"],
            check=True, capture_output=True, timeout=PATIENCE,
            env={"PATH": os.environ["PATH"], "HOME": folder, "XDG_RUNTIME_DIR": folder,
                 "SYSTEMD_UNIT_PATH": f"{folder}:/usr/lib/systemd/user",
                 "SYSTEMD_LOG_LEVEL": "err", "SYSTEMD_UTF8": "0"},
        )  # fmt: skip
    dump = done.stdout.partition(f"-> Unit {unit.NAME}:\n".encode())[2].partition(b"-> Unit ")[0]
    (command,) = re.findall(rb"^\s*Command Line: (.*)$", dump, re.MULTILINE)
    (environment,) = re.findall(rb"^\s*Environment: (.*)$", dump, re.MULTILINE)
    return list(words_of(command)), environment


ESCAPES = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
}


def words_of(line: bytes) -> Iterator[bytes]:
    """The words of a command line as systemd shows it: quoted for a shell, octal escapes."""
    for quoted, plain in re.findall(rb'"((?:[^"\\]|\\.)*)"(?: |$)|(\S+)(?: |$)', line):
        yield re.sub(rb"\\([0-7]{3}|.)", lambda found: unescaped(found[1]), quoted) or plain


def unescaped(escape: bytes) -> bytes:
    if len(escape) == 3:
        return bytes([int(escape, 8)])
    return ESCAPES.get(escape, escape)


WORDS = st.binary(max_size=30).map(lambda word: word.replace(b"\0", b""))
ODD = [b"", b" ", b";", b"%h", b"%%", b"$HOME", b"${HOME}", b"$$", b'"', b"'", b"\\", b"\\x41",
       b"a\nb", b"\x7f", b"\xff", "é".encode(), b"-", b"@x", b"#", b"=", b"{}", b"a\\"]  # fmt: skip


def check(words: list[bytes]) -> None:
    text = unit.text(["/usr/bin/mailbell", *map(os.fsdecode, words)], "/bin")
    # systemd.service(5): "$$" becomes a single dollar sign when the command is executed.
    expected = [word.replace(b"$", b"$$") for word in words]
    assert loaded(text)[0] == [b"/usr/bin/mailbell", *expected]


def test_systemd_reads_odd_words_as_they_are() -> None:
    check(ODD)


@settings(max_examples=25, deadline=None)
@given(st.lists(WORDS | st.sampled_from(ODD) | st.text(max_size=10).map(os.fsencode), max_size=20))
def test_systemd_reads_any_word_as_it_is(words: list[bytes]) -> None:
    check([word.replace(b"\0", b"") for word in words])


@pytest.mark.parametrize(
    "program", ["/opt/my programs/mailbell", "/o%p/$t/mailbell", "/é/mailbell"]
)
def test_systemd_finds_the_program_wherever_it_is(program: str) -> None:
    assert loaded(unit.text([program], "/bin"))[0] == [program.encode()]


@pytest.mark.parametrize("search", ["/bin", "/a b:/$HOME/%h", "/é:/'\"\\", "/a\nb"])
def test_the_path_is_passed_on_as_it_was(search: str) -> None:
    environment = loaded(unit.text(["/mailbell"], search))[1]
    assert environment == f"PATH={search}".encode().partition(b"\n")[0]


def test_the_daemons_user_is_passed_on_if_it_is_set() -> None:
    text = unit.text(["/mailbell"], "/bin", "a b%")
    assert 'Environment=PATH=/bin "MAILBELL_DAEMON_USER=a b%%"' in settings_of(text)
    assert "MAILBELL_DAEMON_USER" not in UNIT


def test_words_that_need_no_quotes_have_none() -> None:
    assert f'ExecStart={sys.executable} run "--then=notmuch new" -- mbsync' in settings_of(UNIT)


# --- what it promises ---------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["Type=notify", "Restart=always", "StartLimitIntervalSec=0", "WatchdogSec=1min",
     "NoNewPrivileges=yes", "UMask=0077", "LimitCORE=0", "WantedBy=default.target",
     "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"],
)  # fmt: skip
def test_it_has_what_the_document_says(line: str) -> None:
    assert line in settings_of(UNIT)


def test_commands_have_the_time_to_end_that_the_agent_gives_them() -> None:
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)s$", UNIT, re.MULTILINE)
    assert int(patience) > Timing().kill_after


# --- writing it -----------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "systemd" / "user" / unit.NAME


def test_a_first_unit_is_written_with_the_folders_it_needs(place: Path) -> None:
    assert unit.present(str(place)) is None
    unit.write(str(place), UNIT, instead=None)
    assert unit.present(str(place)) == UNIT.encode()
    assert place.stat().st_mode & 0o777 == 0o644
    assert os.listdir(place.parent) == [unit.NAME]


def test_its_folders_are_good_for_the_next_installation(place: Path) -> None:
    """With the umask 002 of a private group others could write to them, by the group."""
    before = os.umask(0o002)
    try:
        unit.write(str(place), "new", instead=None)
    finally:
        os.umask(before)
    unit.require_safe_way(str(place))
    unit.require_safe_way(str(place), whole=True)


def test_a_folder_that_another_user_makes_first_gets_no_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o1777)

    def make(path: str) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x").chmod(0o777)
        make_folders(path)

    monkeypatch.setattr(unit, "make_folders", make)
    with pytest.raises(ConfigurationError, match=f"other users may write to {tmp_path}/x, who"):
        unit.write(str(tmp_path / "x/systemd/user/u.service"), "new", instead=None)
    assert list((tmp_path / "x").rglob("*.service")) == []


def test_one_that_was_seen_is_replaced(place: Path) -> None:
    unit.write(str(place), "before", instead=None)
    unit.write(str(place), UNIT, instead=b"before")
    assert place.read_text() == UNIT


@pytest.mark.parametrize("instead", [None, b"what was there when the person agreed"])
def test_one_that_nobody_has_seen_stays(place: Path, instead: bytes | None) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(b"written meanwhile \xff")
    with pytest.raises(OperatingSystemError, match="has changed meanwhile"):
        unit.write(str(place), UNIT, instead=instead)
    assert place.read_bytes() == b"written meanwhile \xff"
    assert os.listdir(place.parent) == [unit.NAME]


def test_the_same_unit_may_be_written_again(place: Path) -> None:
    for _ in range(2):
        unit.write(str(place), UNIT, instead=None)
    assert place.read_text() == UNIT


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_what_is_no_file_in_its_place_is_not_waited_for(
    place: Path, make: Callable[[Path], None]
) -> None:
    place.parent.mkdir(parents=True)
    make(place)
    with pytest.raises(ConfigurationError, match="is no file; move it away"):
        unit.present(str(place))
    with pytest.raises(ConfigurationError, match="is no file; move it away"):
        unit.write(str(place), "new", instead=None)


def test_one_that_is_too_long_is_not_read(place: Path) -> None:
    place.parent.mkdir(parents=True)
    with place.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ConfigurationError, match="is too long for a unit; move it away"):
        unit.present(str(place))


def test_what_a_link_leads_to_is_not_touched(place: Path, tmp_path: Path) -> None:
    place.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("mine")
    place.symlink_to(tmp_path / "elsewhere")
    unit.write(str(place), UNIT, instead=b"mine")
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert not place.is_symlink()


def test_a_file_that_takes_no_more_is_named(place: Path) -> None:
    def written() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        unit.write(str(place), "text", instead=None)

    error = child.run(written).error
    assert isinstance(error, OSError)
    assert (error.errno, error.filename) == (errno.EFBIG, str(place))
    assert list(place.parent.iterdir()) == []


def test_a_failure_leaves_what_was_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit.write(str(place), "before", instead=None)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        unit.write(str(place), UNIT, instead=b"before")
    assert place.read_text() == "before"
    assert os.listdir(place.parent) == [unit.NAME]


# --- starting it ----------------------------------------------------------------------


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that records how it was called, and fails at the word in `fails`."""
    program = tmp_path / "systemctl"
    program.write_text(
        '#!/bin/sh\ncd "${0%/*}"\n(printf "<%s>" "$@"; echo) >> called\n'
        'if [ "$3" = "$(cat fails 2>/dev/null)" ]; then echo "no bus here" >&2; exit 3; fi\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return program


def called(systemctl: Path) -> list[str]:
    lines = (systemctl.parent / "called").read_text().splitlines()
    assert all(line.startswith("<--user><--no-ask-password><") for line in lines)
    return [line.replace("<--user><--no-ask-password>", "") for line in lines]


def test_a_new_one_is_enabled_and_started(systemctl: Path) -> None:
    unit.enable(restart=False)
    assert called(systemctl) == ["<daemon-reload>", f"<enable><--now><{unit.NAME}>"]


def test_one_that_may_run_already_is_started_anew(systemctl: Path) -> None:
    unit.enable(restart=True)
    assert called(systemctl)[2:] == [f"<restart><{unit.NAME}>"]


def test_what_could_not_be_done_is_said_as_a_command(systemctl: Path) -> None:
    (systemctl.parent / "fails").write_text("enable")
    with pytest.raises(OperatingSystemError) as caught:
        unit.enable(restart=True)
    assert str(caught.value) == (
        "the unit is written, but systemctl --user enable failed: no bus here; in a "
        f"session with your service manager, run: systemctl --user enable --now {unit.NAME} && "
        f"systemctl --user restart {unit.NAME}"
    )
    assert len(called(systemctl)) == 2


def test_without_systemd_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperatingSystemError, match=r"it is not installed; .* daemon-reload && "):
        unit.enable(restart=False)


def test_a_manager_that_does_not_answer_is_not_waited_for(
    systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(unit, "_PATIENCE", 0.1)
    with pytest.raises(OperatingSystemError, match="no answer"):
        unit.enable(restart=False)


def test_a_silent_failure_has_its_code(systemctl: Path) -> None:
    systemctl.write_text("#!/bin/sh\nexit 5\n")
    with pytest.raises(OperatingSystemError, match="exit code 5"):
        unit.enable(restart=False)

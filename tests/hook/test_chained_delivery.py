"""With a command the hook ends with 0 only through the command: it delivers the mail."""

import os
import subprocess
from pathlib import Path

import pytest
from harness.sender import PATIENCE
from hook.support import HOOK, listening, run, start

ON = ("/bin/sh", "-c", "echo on; exit 3")


def ended(*words: str | bytes, env: dict[str, str] | None = None) -> tuple[int, bytes]:
    with start(*words, env=env) as process:
        output = process.communicate(timeout=PATIENCE)[0]
    return process.returncode, output


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("end = _separator(words)", (75, b"")),
        ("rest = iter(arguments)", (75, b"")),
        ("connection.connect(path)", (75, b"")),
        ("line = f", (75, b"")),
        ("program, reason = command", (75, b"")),
        ("posix.execv(", (75, b"")),
    ],
    ids=str,
)
@pytest.mark.parametrize("number", [1, 2, 3, 10, 12, 14, 15, 24])
def test_a_signal_before_the_command_asks_for_another_try(
    tmp_path: Path, place: str, code: tuple[int, bytes], number: int
) -> None:
    source = Path(HOOK).read_text()
    assert place in source
    program = tmp_path / "signalled"
    program.write_text(source.replace(place, f"posix.kill(posix.getpid(), {number}); {place}"))
    command = ["/usr/bin/python3", "-ISXutf8", str(program), "--socket=/nowhere", "alice"]
    done = subprocess.run([*command, "--", *ON], capture_output=True, check=False, env={})
    assert (done.returncode, done.stdout) == code
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env={}
    )
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("place", ["end = _separator(words)", "program, reason = command"])
def test_an_exception_where_none_was_expected_asks_for_another_try(
    tmp_path: Path, place: str
) -> None:
    program = tmp_path / "broken"
    program.write_text(Path(HOOK).read_text().replace(place, f"raise MemoryError; {place}"))
    command = ["/usr/bin/python3", "-ISXutf8", str(program), "alice", "--", *ON]
    done = subprocess.run(command, capture_output=True, check=False, env={})
    assert done.returncode == 75


def test_a_locale_that_cannot_be_restored_keeps_no_command_back(tmp_path: Path) -> None:
    old = "    _restore_locale()\n"
    source = Path(HOOK).read_text()
    assert old in source
    program = tmp_path / "broken"
    program.write_text(source.replace(old, "    raise MemoryError\n"))
    command = ["/usr/bin/python3", "-ISXutf8", str(program), "alice", "--", *ON]
    done = subprocess.run(command, capture_output=True, check=False, env={})
    assert (done.returncode, done.stdout) == (3, b"on\n")


@pytest.mark.parametrize("words", [["--login"], ["alice"], ["--nonsense"], ["--folder", "--"]])
def test_a_command_that_cannot_be_executed_asks_for_another_try(words: list[str]) -> None:
    for command in (["/nonexistent/lda"], ["nonexistent-lda"], ["/"], [""], []):
        run("--socket=/nowhere", *words, "--", *command, code=75)


@pytest.mark.parametrize("value", ["--", "--login", "-x", "--folder", "--socket", "", "a b", "a"])
@pytest.mark.parametrize(
    "form",
    [
        ["--folder", "{}", "--account=anna"],
        ["--folder={}", "anna"],
        ["--account={}"],
        ["--account", "{}"],
        ["--folder", "{}", "--account", "{}"],
        ["--folder={}", "--account={}", "--login"],
    ],
    ids=str,
)
def test_no_value_that_a_sender_chooses_changes_the_command(value: str, form: list[str]) -> None:
    words = [word.replace("{}", value) for word in form]
    assert ended("--socket=/nowhere", *words, "--", *ON) == (3, b"on\n")


def test_a_value_is_sent_and_executed_is_what_follows_the_separator(tmp_path: Path) -> None:
    with listening(tmp_path / "hook") as sender:
        at = f"--socket={sender.path}"
        assert ended(at, "--folder", "--", "anna", "--", *ON) == (3, b"on\n")
        assert ended(at, "--account", "--", "--", *ON) == (3, b"on\n")
        assert sender.all() == [b"new anna --\n", b"new --\n"]


def test_without_an_account_among_the_arguments_the_environment_changes_no_command(
    tmp_path: Path,
) -> None:
    with listening(tmp_path / "hook") as sender:
        for value in ("--", "--login", "-x"):
            found = ended(f"--socket={sender.path}", "--", *ON, env={"RECIPIENT": value})
            assert found == (3, b"on\n")
        assert sender.all() == [b"new --\n", b"new --login\n", b"new -x\n"]


def test_a_separator_that_became_a_value_does_not_lose_the_mail(tmp_path: Path) -> None:
    """As a shell does it with `--folder $NAME -- COMMAND`, if NAME is empty."""
    with listening(tmp_path / "hook") as sender:
        run(f"--socket={sender.path}", "--folder", "--", "/bin/true", code=75)
        # An account that is `--` names no program: the next word is the real separator.
        run(f"--socket={sender.path}", "--", "--", "/bin/true", code=75)


# A byte that no codec of this name gives back, and an encoding that CPython does not know.
CHARSETS = ("EUC-JP", "NONSENSE-8")


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for LOCPATH, with a locale for each of the encodings."""
    folder = tmp_path_factory.mktemp("locales")
    rows = "".join(f"<U{number:04X}> /x{number:02x} X\n" for number in range(128))
    (folder / "source").write_text("escape_char /\nLC_CTYPE\nalpha <U0627>\nEND LC_CTYPE\n")
    for name in CHARSETS:
        head = f"<code_set_name> {name}\n<escape_char> /\n<mb_cur_max> 1\n"
        charmap = folder / f"{name}.charmap"
        charmap.write_text(f"{head}CHARMAP\n{rows}<U0627> /xff X\nEND CHARMAP\n")
        files = ["-i", f"{folder}/source", "-f", str(charmap), f"{folder}/xx_YY.{name}"]
        # It warns of the categories that are not there, with code 1.
        subprocess.run(["localedef", "-c", *files], capture_output=True, check=False)
        assert (folder / f"xx_YY.{name}" / "LC_CTYPE").exists()
    return folder


@pytest.mark.parametrize("charset", CHARSETS)
def test_in_every_locale_arguments_keep_their_bytes(
    tmp_path: Path, locales: Path, charset: str
) -> None:
    env = {"LOCPATH": str(locales), "LC_CTYPE": f"xx_YY.{charset}"}
    word = b"a\xff\x8e\xa2\xa1\\~\xe4"
    shown = [b"/bin/sh", b"-c", b'printf %s "$0"', word]
    with listening(tmp_path / "hook") as sender:
        at = b"--socket=" + os.fsencode(sender.path)
        with start(at, word, b"--", *shown, env=env) as process:
            assert process.communicate(timeout=PATIENCE)[0] == word
        assert process.returncode == 0
        assert sender.all() == []
        run(at, "jürgen".encode(), env=env)
        assert sender.all() == ["new jürgen\n".encode()]

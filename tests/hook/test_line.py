"""What mailbell-hook sends: one line or nothing, whatever arguments and environment are."""

import re
from pathlib import Path

import pytest
from harness.sender import PATIENCE
from hook.support import HOOK, INTERPRETERS, PATH, listening, run, start

MAIL = {"RECIPIENT": "recipient@example.org", "LOGNAME": "logname", "USER": "user"}
DOVECOT = {"USER": "anna", "IP": "192.0.2.10", "LOCAL_IP": "192.0.2.1", "AUTH_TOKEN": "secret"}
COURIER = {"AUTHENTICATED": "anna", "TCPREMOTEIP": "::ffff:192.0.2.10", "PROTOCOL": "IMAP"}

SENT = [
    (["alice"], MAIL, b"new alice\n"),
    ([], MAIL, b"new recipient@example.org\n"),
    ([], {**MAIL, "RECIPIENT": ""}, b"new logname\n"),
    ([], {"USER": "user", "LOGNAME": "logname"}, b"new logname\n"),
    ([], {"USER": "user"}, b"new user\n"),
    (["--folder", "Lists/a b", "alice"], {}, b"new alice Lists/a b\n"),
    (["alice", "--folder", "INBOX"], {}, b"new alice INBOX\n"),
    (["--folder", "Entwürfe"], {"USER": "jürgen"}, "new jürgen Entwürfe\n".encode()),
    (["--folder", "--login", "alice"], {}, b"new alice --login\n"),
    ([], {"USER": "-x"}, b"new -x\n"),
    (["--folder=INBOX"], MAIL, b"new recipient@example.org INBOX\n"),
    (["--folder=a=b", "c=d"], {}, b"new c=d a=b\n"),
    # Whatever the sender of the mail chooses, the attached value is a value.
    (["--account=--"], {}, b"new --\n"),
    (["--account=--login"], DOVECOT, b"new --login\n"),
    (["--account=-secret", "--folder=--"], {}, b"new -secret --\n"),
    (["--account=--socket=/nowhere"], {}, b"new --socket=/nowhere\n"),
    (["--account", "--folder=x"], {}, b"new --folder=x\n"),
    (["--unless-spam", "alice"], {}, b"new alice\n"),  # there is no mail that says spam
    (["a" * 507], {}, b"new " + b"a" * 507 + b"\n"),
    (["--login"], DOVECOT, b"seen anna 192.0.2.10\n"),
    (["--login"], COURIER, b"seen anna ::ffff:192.0.2.10\n"),
    (["--login"], {**COURIER, **DOVECOT, "USER": "other"}, b"seen other 192.0.2.10\n"),
    (["--login"], {**COURIER, "USER": "daemon"}, b"seen anna ::ffff:192.0.2.10\n"),
    (["--login"], {**COURIER, "USER": "daemon", "IP": ""}, b"seen anna ::ffff:192.0.2.10\n"),
    (["--login", "bob"], {"IP": "2001:db8::7"}, b"seen bob 2001:db8::7\n"),
    (["--login", "bob"], COURIER, b"seen bob ::ffff:192.0.2.10\n"),
]


@pytest.mark.parametrize(("words", "env", "line"), SENT)
def test_it_tells_of_the_account(
    tmp_path: Path, words: list[str], env: dict[str, str], line: bytes
) -> None:
    with listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, *words, env=env)
        assert sender.all() == [line]


NOTHING = [
    ([], {}),
    ([], {"RECIPIENT": "", "LOGNAME": "", "USER": ""}),
    ([""], MAIL),
    (["alice", "bob"], {}),
    (["--help"], MAIL),
    (["-"], MAIL),
    (["--folder"], MAIL),
    (["--folder", ""], MAIL),
    (["--folder", "a\nnew bob"], MAIL),
    (["--folder", "a" * 600], MAIL),
    (["--folder", "a", "--folder", "b"], MAIL),
    (["--folder="], MAIL),
    (["--account="], MAIL),
    (["--login=x"], MAIL),
    (["--account=alice", "bob"], {}),
    (["--account=a\nnew b"], MAIL),
    (["--login"], MAIL),
    (["--login"], {"IP": "192.0.2.10"}),
    (["--login"], {"USER": "", "IP": "192.0.2.10"}),
    (["--login"], {"USER": "anna", "AUTHENTICATED": "anna"}),
    (["--login", "--folder", "INBOX"], DOVECOT),
    (["--login", "--unless-spam"], DOVECOT),
    (["--login"], {"USER": "anna", "IP": "192.0.2.10\nnew bob"}),
    (["--login"], {"USER": "anna", "IP": "192.0.2.10 x"}),
    (["--unless-spam", "alice", "--", "true"], {}),
    (["a" * 508], {}),
    (["x" * 100_000], {}),
]


@pytest.mark.parametrize(("words", "env"), NOTHING)
def test_or_of_nothing(tmp_path: Path, words: list[str], env: dict[str, str]) -> None:
    with listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, *words, env=env)
        assert sender.all() == []


def test_arguments_that_are_wrong_even_as_to_the_socket_harm_nobody() -> None:
    run("--socket")
    run("--socket", "")
    run("--socket", "/" + "x" * 200, "alice")
    run("--socket", "relative", "alice")


# What the sender of a mail can make of the name of its recipient.
HOSTILE = [
    b"a\nnew b",
    b"a\n",
    b"\na",
    b"a\rnew b",
    b"a\x0bb",
    b"a\x1b[2Jb",
    b"a b",
    b" ",
    b"a\tb",
    b"\x7f",
    b"\xff\xfe",
    b"\xc0\x8a",  # a line feed, longer than it may be
    b"\xed\xa0\x80",  # half of a pair
    "a\u2028b".encode(),
    "a\u0085b".encode(),
    "a\u202eb".encode(),
    b'{"event":"auth_request_finished"}\n',
    b"x" * 508,
    b"x" * 130_000,
]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value[:30]))
def test_a_hostile_name_never_becomes_a_second_line(tmp_path: Path, value: bytes) -> None:
    with listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, value)
        # The next variable is not tried: it may be the name of another user.
        run("--socket", sender.path, env={b"RECIPIENT": value, b"USER": b"root"})
        assert sender.all() == []


LOCALES = [
    {},
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"},
    {"LC_ALL": "xx_YY.nonsense"},
    {"LANG": "C.UTF-8"},
    {"LC_CTYPE": "de_DE.ISO-8859-1"},
    {"LC_ALL": "\n" * 100},
    {"LC_ALL": "../../../etc/passwd"},
    # What Python reads, if it is let.
    {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "PYTHONVERBOSE": "1"},
    {"PYTHONINSPECT": "1", "PYTHONUTF8": "0", "PYTHONIOENCODING": "nonsense"},
    {"PYTHONMALLOC": "nonsense", "PYTHONHASHSEED": "nonsense", "PYTHONDEVMODE": "1"},
    {"TZ": "\x01" * 1000, "PATH": "/nowhere", "HOME": "/nowhere"},
]


@pytest.mark.parametrize("env", LOCALES)
def test_neither_the_locale_nor_a_variable_of_python_changes_it(
    tmp_path: Path, env: dict[str, str]
) -> None:
    with listening(tmp_path / "hook") as sender:
        run("--socket", sender.path, "jürgen@müller.example", env=env)
        assert sender.all() == ["new jürgen@müller.example\n".encode()]


def test_files_of_the_working_folder_are_not_loaded(tmp_path: Path) -> None:
    for name in ("posix", "_socket", "_signal", "time", "sys", "encodings", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("print('loaded')")
    with listening(tmp_path / "hook") as sender:
        run("--socket", "hook", "alice", cwd=tmp_path)
        assert sender.all() == [b"new alice\n"]


@pytest.mark.parametrize("python", INTERPRETERS.values(), ids=INTERPRETERS)
def test_every_interpreter_that_is_here_runs_it(tmp_path: Path, python: Path) -> None:
    mail = b"Subject: x\r\nX-Spam-Status: Yes, score=9\r\n\r\nbody"
    through = [str(python), "-IS"]
    with listening(tmp_path / "hook") as sender:
        at = ("--socket", sender.path)
        run(*at, "jürgen", "--folder", "INBOX", through=through)
        run(*at, "--login", env=COURIER, through=through)
        for words in ([], ["--unless-spam"]):
            with start(*at, *words, "bob", through=through, stdin=-1) as process:
                assert process.communicate(mail, timeout=PATIENCE) == (b"", b"")
            assert process.returncode == 0
        run(*at, "\udcff", through=through)
        run("--socket", tmp_path / "absent", "alice", through=through)
        with start(*at, "--", "env", through=through, env={"PATH": PATH, "USER": "x"}) as process:
            output = process.communicate(timeout=PATIENCE)
        assert (process.returncode, *output) == (0, f"PATH={PATH}\nUSER=x\n".encode(), b"")
        seen = b"seen anna ::ffff:192.0.2.10\n"
        assert sender.all() == ["new jürgen INBOX\n".encode(), seen, b"new bob\n", b"new x\n"]


def test_the_first_line_names_one_of_them() -> None:
    first = Path(HOOK).read_text().partition("\n")[0]
    assert re.fullmatch(r"#!/usr/bin/python3 -ISXutf8", first)
    assert Path("/usr/bin/python3") in INTERPRETERS.values()

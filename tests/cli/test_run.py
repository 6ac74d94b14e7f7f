"""`mailbell run`: the values of the command line and of agent.toml, and the refusals."""

import io
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cli.support import FakeDaemon, Run, Start, a_notification
from harness import child
from harness.sender import PATIENCE

import mailbell.agent.serve
from mailbell._sys.trusted_path import Way, examine_way
from mailbell.agent import unit
from mailbell.agent._pace import Timing
from mailbell.agent.configuration import Job
from mailbell.agent.preset import Preset
from mailbell.cli import _agent_file, _group, run
from mailbell.core.errors import TemporaryError

SAYS = "[[job]]\ncommand = ['true']\n"


class Agent:
    """Stands in for the agent, and keeps the jobs that it was given."""

    def __init__(self) -> None:
        self.jobs: Sequence[Job] = ()
        self.socket: str | None = None
        self.fails: BaseException | None = None

    async def serve(self, jobs: Sequence[Job], socket: str | None, _: object) -> None:
        self.jobs, self.socket = jobs, socket
        if self.fails is not None:
            raise self.fails


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """The command sets the signals of its process, which is that of the tests here."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, action in before.items():
        if action is not None and signal.getsignal(number) is not action:
            signal.signal(number, action)


@pytest.fixture(autouse=True)
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Agent:
    stand_in = Agent()
    monkeypatch.setattr(mailbell.agent.serve, "serve", stand_in.serve)
    monkeypatch.setattr(
        run, "prepare_signals", lambda **_: None
    )  # the signals of this process do not change
    monkeypatch.setattr(run, "adopt_orphans", lambda: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("MAILBELL_SOCKET", raising=False)
    return stand_in


Programs = Callable[..., None]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Makes programs that can be found. They do nothing unless a test gives them code."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def make(*names: str, does: str = "") -> None:
        for name in names:
            (folder / name).write_text(f"#!/bin/sh\n{does}\n")
            (folder / name).chmod(0o755)

    return make


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The place of agent.toml, with a valid file."""
    path = tmp_path / ".config" / "mailbell" / "agent.toml"
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_text(SAYS)
    path.chmod(0o644)
    return path


Told = tuple[int, list[str]]
Say = Callable[..., Told]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs `mailbell run` in this process; returns the exit code and the lines on stderr."""

    def say(*line: str) -> Told:
        code = _group.run(["run", *line])
        return code, capsys.readouterr().err.splitlines()

    return say


class TestCommandLine:
    def test_a_command_is_one_job(self, agent: Agent, say: Say) -> None:
        assert say("--", "true", "-a", "--json") == (0, [])
        assert agent.jobs == (Job(name="true", command=("true", "-a", "--json")),)
        assert agent.socket is None

    def test_options_end_where_the_command_begins(self, agent: Agent, say: Say) -> None:
        assert say("--settle", "2s", "true", "--settle", "x") == (0, [])
        assert agent.jobs[0].command == ("true", "--settle", "x")
        assert agent.jobs[0].timing.settle == 2

    def test_every_option_arrives(self, agent: Agent, say: Say) -> None:
        line = [
            "--account=work", "--account=home", "--settle=500ms", "--settle-max=5s",
            "--min-gap=10s", "--timeout=1m", "--backoff=1s..2s", "--poll=0", "--no-on-start",
            "--no-network-up", "--ok-codes=1,75", "--busy-codes=9", "--login-delay=5m",
            "--lock=index", "--socket=/run/s",
        ]  # fmt: skip
        assert say(*line, "--then=echo 'a b'", "--", "true") == (0, [])
        assert agent.socket == "/run/s"
        assert agent.jobs == (
            Job(
                name="true",
                command=("true",),
                accounts=("work", "home"),
                then=("echo", "a b"),
                timing=Timing(0.5, 5, 10, 60, backoff=1, backoff_max=2, poll=0, login_delay=300),
                ok_codes=frozenset({0, 1, 75}),
                busy_codes=frozenset({9}),
                on_start=False,
                network_up=False,
                lock="index",
            ),
        )

    def test_a_path_holds_in_every_folder(
        self, agent: Agent, say: Say, programs: Programs, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        programs("fetch")
        monkeypatch.chdir(tmp_path)
        assert say("bin/fetch", "bin/x") == (0, [])
        assert agent.jobs[0].command == (f"{tmp_path}/bin/fetch", "bin/x")

    def test_words_that_are_not_text_arrive(self, agent: Agent, say: Say) -> None:
        assert say("true", "\udcff") == (0, [])
        assert agent.jobs[0].command == ("true", "\udcff")

    def test_all_that_is_wrong_is_said_with_its_option(self, agent: Agent, say: Say) -> None:
        code, lines = say("--settle=1", "--min-gap=0s", "--then='", "--account=a b", "--", "")
        assert code == 64
        assert [line.split(": ")[1] for line in lines[:-1]] == [
            "--settle", "--min-gap", "--then", "--account[0]", "COMMAND[0]",
        ]  # fmt: skip
        assert lines[-1] == "mailbell: 5 problems on the command line; see 'mailbell run --help'"
        assert not agent.jobs

    def test_one_problem_is_one(self, say: Say) -> None:
        assert say("--poll=never", "true")[1][-1].startswith("mailbell: 1 problem on")

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (["--config", "x", "true"], "--config names a file"),
            (["--config", "x", "--client", "mbsync"], "--config names a file"),
            (["--settle", "1s", "--no-on-start"], "--settle, --on-start: for which command?"),
            (["--config", "x", "--account", "a"], "--account: for which command?"),
            (["--yes", "true"], "--yes is for --install-unit"),
            ([], "no COMMAND, no --client, and no "),
        ],
    )
    def test_what_does_not_go_together_is_refused(
        self, agent: Agent, say: Say, line: list[str], said: str
    ) -> None:
        code, (told,) = say(*line)
        assert code == 64
        assert said in told
        assert not agent.jobs


class TestClient:
    def test_a_preset_says_what_to_run(self, agent: Agent, say: Say, programs: Programs) -> None:
        programs("mbsync")
        assert say("--client", "mbsync") == (0, [])
        assert agent.jobs == (Job(name="mbsync", command=("mbsync", "-q", "-a")),)

    def test_ones_own_words_replace_its_arguments(
        self, agent: Agent, say: Say, programs: Programs
    ) -> None:
        programs("mbsync")
        assert say("--client=mbsync", "--account=a", "--account=b", "--", "in-{account}") == (0, [])
        assert [job.command for job in agent.jobs] == [
            ("mbsync", "-q", "in-a"),
            ("mbsync", "-q", "in-b"),
        ]

    def test_an_unknown_one_is_64(self, say: Say) -> None:
        code, lines = say("--client", "mbsink")
        assert code == 64
        assert lines[0].startswith('mailbell: --client: "mbsink" is not known: perhaps "mbsync"; ')

    def test_what_is_nothing_to_run_is_explained(
        self, say: Say, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mutt = Preset(
            name="mutt", title="Mutt", kind="none", what="Notices new mail by itself",
            setup="Put this into ~/.muttrc:\n\n    set mail_check = 5\n", verified="not tried here",
        )  # fmt: skip
        monkeypatch.setattr(run, "presets", lambda: {"mutt": mutt})
        assert say("--client", "mutt") == (
            64,
            ["Mutt: Notices new mail by itself.", "", "Put this into ~/.muttrc:", "",
             "    set mail_check = 5", "",
             "mailbell: mutt has no command to run; follow the text above instead"],
        )  # fmt: skip

    def test_what_hears_by_a_helper_needs_no_agent(self, say: Say) -> None:
        code, lines = say("--client", "thunderbird")
        what = "mailbell: Thunderbird needs no 'mailbell run'; install what the text above names"
        assert (code, lines[-1]) == (64, what)
        assert "    mailbell install --thunderbird" in lines

    def test_presets_complete(self, run: Run, environment: dict[str, str]) -> None:
        environment |= {
            "_MAILBELL_COMPLETE": "bash_complete",
            "COMP_WORDS": "mailbell run --client mbs",
            "COMP_CWORD": "3",
        }
        assert run("mailbell").stdout == "plain,mbsync\n"


class TestPrograms:
    def test_all_that_are_missing_are_named_at_once(
        self, agent: Agent, say: Say, file: Path
    ) -> None:
        file.write_text(
            "[[job]]\nname='a'\ncommand=['no-such-1']\nthen=['no-such-2']\n"
            "[[job]]\nname='b'\ncommand=['/no/such-3']\n"
            "[[job]]\nname='c'\ncommand=['true']\nthen=['no-such-2']\n"
        )
        code, lines = say()
        assert code == 78
        assert [line.partition(" (")[0] for line in lines] == [
            "mailbell: job a: no-such-1 is in no folder of PATH",
            "mailbell: job a, c: no-such-2 is in no folder of PATH",
            "mailbell: job b: /no/such-3 does not exist, or may not be executed",
            "mailbell: 3 programs are missing; install it, or write its full path",
        ]
        assert not agent.jobs

    def test_one_that_may_not_be_executed_is_missing(self, say: Say, tmp_path: Path) -> None:
        (tmp_path / "fetch").write_text("#!/bin/sh\n")
        code, lines = say("--", f"{tmp_path}/fetch")
        assert code == 78
        assert lines[-1].startswith("mailbell: 1 program is missing")


class TestFile:
    @pytest.mark.usefixtures("file")
    def test_the_default_file_is_read(self, agent: Agent, say: Say) -> None:
        assert say() == (0, [])
        assert agent.jobs == (Job(name="true", command=("true",)),)

    def test_xdg_decides_where_it_is(
        self, say: Say, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(file.parent.parent))
        monkeypatch.setenv("HOME", "/nowhere")
        assert say() == (0, [])
        monkeypatch.chdir(file.parents[2])
        monkeypatch.setenv("XDG_CONFIG_HOME", ".config")  # a relative path is ignored
        assert say()[0] == 64

    def test_without_a_home_folder_there_is_no_default_file(
        self, say: Say, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("HOME")
        assert say() == (78, ["mailbell: HOME is not set; set it to your home folder"])

    def test_problems_have_the_name_of_the_file(self, say: Say, file: Path) -> None:
        file.write_text(SAYS + "settle = 1\npoll = 2\n")
        code, lines = say("--config", str(file))
        assert code == 78
        assert [line.startswith(f"mailbell: {file}: job[0].") for line in lines] == [
            True,
            True,
            False,
        ]

    def test_one_that_is_named_must_be_there(self, say: Say) -> None:
        code, (line,) = say("--config", "/nowhere/agent.toml")
        assert (code, line) == (78, "mailbell: /nowhere/agent.toml: no such file; create it")

    def test_a_folder_is_no_file(self, say: Say, tmp_path: Path) -> None:
        code, (line,) = say("--config", str(tmp_path))
        assert (code, line) == (78, f"mailbell: {tmp_path}: Is a directory; name a regular file")

    def test_one_that_may_not_be_read_is_77(
        self, say: Say, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(_agent_file, "open", refuse, raising=False)
        assert say("--config", "/x") == (
            77,
            ["mailbell: /x: may not be read; let this user read it"],
        )

    @pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620])
    def test_others_may_not_write_it(self, agent: Agent, say: Say, file: Path, mode: int) -> None:
        file.chmod(mode)
        code, lines = say()
        assert code == 78
        assert lines[0] == f"mailbell: {file}: others may write it"
        (last,) = lines[1:]
        assert last.endswith(f"so no other user may change it; chmod go-w {file}")
        assert not agent.jobs
        subprocess.run(["chmod", "go-w", str(file)], check=True)  # the remedy works
        assert say() == (0, [])

    @pytest.mark.parametrize("mode", [0o775, 0o757])
    def test_nor_put_another_in_its_place(self, say: Say, file: Path, mode: int) -> None:
        file.parent.chmod(mode)
        code, lines = say()
        assert code == 78
        assert lines[0] == f"mailbell: {file.parent}: others may write it"
        assert lines[1].endswith(f"; chmod go-w {file.parent}")
        file.parent.chmod(mode | stat.S_ISVTX)  # as in /tmp, only the owner may replace a file
        assert say() == (0, [])

    def test_what_a_umask_of_002_has_made_is_said_at_once_with_one_remedy(
        self, say: Say, file: Path
    ) -> None:
        file.chmod(0o664)
        file.parent.chmod(0o775)
        code, lines = say()
        assert code == 78
        assert lines[:2] == [
            f"mailbell: {file}: others may write it",
            f"mailbell: {file.parent}: others may write it",
        ]
        remedy = lines[2].rpartition("; ")[2]
        assert shlex.split(remedy) == ["chmod", "go-w", str(file), str(file.parent)]
        subprocess.run(shlex.split(remedy), check=True)
        assert say() == (0, [])

    def test_everything_that_others_may_do_is_said_at_once(
        self, say: Say, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = file.stat().st_uid or 4242
        os.chown(file, owner, -1)
        os.chown(file.parent, owner, -1)
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        file.chmod(0o666)
        code, lines = say()
        assert code == 78
        assert lines[:2] == [
            f"mailbell: {file}: it belongs to another user (uid {owner})",
            f"mailbell: {file.parent}: it belongs to another user (uid {owner})",
        ]
        assert lines[-2] == f"mailbell: {file}: others may write it"
        assert lines[-1].endswith(
            f"; chmod go-w {file}, and make a copy of your own, in a folder of your own"
        )

    def test_a_link_is_judged_by_where_it_leads(self, say: Say, file: Path, tmp_path: Path) -> None:
        link = tmp_path / "link.toml"
        link.symlink_to(file)
        assert say("--config", str(link)) == (0, [])
        file.parent.chmod(0o777)
        assert say("--config", str(link))[0] == 78

    def test_a_link_in_a_folder_that_others_may_write_is_refused(
        self, say: Say, file: Path, tmp_path: Path
    ) -> None:
        """Another user makes the link lead to another file."""
        (tmp_path / "open").mkdir()
        (tmp_path / "open/link.toml").symlink_to(file)
        (tmp_path / "first.toml").symlink_to("open/link.toml")
        for path in ("open/link.toml", "first.toml"):
            assert say("--config", str(tmp_path / path)) == (0, [])
        (tmp_path / "open").chmod(0o777)
        for path in ("open/link.toml", "first.toml"):
            code, lines = say("--config", str(tmp_path / path))
            assert (code, lines[0]) == (78, f"mailbell: {tmp_path}/open: others may write it")
            assert lines[1].endswith(f"; chmod go-w {tmp_path}/open")

    def test_a_folder_far_above_it_counts(self, say: Say, file: Path) -> None:
        above = file.parent.parent
        above.chmod(0o777)
        code, lines = say()
        assert (code, lines[0]) == (78, f"mailbell: {above}: others may write it")
        above.chmod(0o755)
        assert say() == (0, [])

    def test_it_belongs_to_nobody_else(
        self, say: Say, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = file.stat().st_uid
        # Another user id reads the file. This is like another owner, and needs no root.
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        if owner == 0:
            assert say() == (0, [])  # root may always
            os.chown(file, 4242, 4242)
            owner = 4242
        code, lines = say()
        assert code == 78
        assert lines[0] == f"mailbell: {file}: it belongs to another user (uid {owner})"

    def test_a_folder_that_comes_and_goes_is_refused(
        self, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a sticky folder another user may make it between the look and the opening."""
        tmp_path.chmod(0o1777)
        (tmp_path / "x").mkdir()
        (tmp_path / "x").chmod(0o777)
        (tmp_path / "x/agent.toml").write_text(SAYS)

        def examine(path: str) -> Way:
            (tmp_path / "x").rename(tmp_path / "away")
            try:
                return examine_way(path)
            finally:
                (tmp_path / "away").rename(tmp_path / "x")

        monkeypatch.setattr(_agent_file, "examine_way", examine)
        code, lines = say("--config", str(tmp_path / "x/agent.toml"))
        assert code == 78
        assert "agent.toml was made or moved while it was looked at" in lines[0]

    def test_a_file_without_a_name_is_a_file(self, agent: Agent, say: Say) -> None:
        """A shell may put a here-document into a file that it has removed."""
        with tempfile.TemporaryFile() as file:
            file.write(SAYS.encode())
            file.flush()
            assert say("--config", f"/dev/fd/{file.fileno()}") == (0, [])
        assert agent.jobs[0].command == ("true",)

    def test_a_pipe_is_a_file(self, agent: Agent, say: Say) -> None:
        reader, writer = os.pipe()
        os.write(writer, SAYS.encode())
        os.close(writer)
        assert say("--config", f"/dev/fd/{reader}") == (0, [])
        os.close(reader)
        assert agent.jobs[0].command == ("true",)


@pytest.fixture
def systemctl(programs: Programs, tmp_path: Path) -> Path:
    """A stand-in that records how it was called; the path of the record."""
    programs("mailbell")  # mailbell may not be installed, when the sources are tested
    programs("systemctl", does='echo "$*" >> "$HOME/called"')
    return tmp_path / "called"


@pytest.mark.usefixtures("systemctl")
class TestUnit:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / ".config" / "systemd" / "user" / unit.NAME

    def command_of(self, place: Path) -> list[str]:
        (line,) = re.findall(r"^ExecStart=(.*)$", place.read_text(), re.MULTILINE)
        assert "\\" not in line
        return shlex.split(line)

    def test_it_is_shown_written_and_started(
        self, place: Path, systemctl: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert _group.run(["run", "--install-unit", "--yes", "--", "true", "-a"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(place.read_text())
        assert "journalctl --user -u mailbell-agent.service" in out
        program, *rest = self.command_of(place)
        assert os.path.isabs(program)
        assert os.access(program, os.X_OK)
        assert rest == ["run", "--", "true", "-a"]
        assert systemctl.read_text().splitlines() == [
            "--user --no-ask-password daemon-reload",
            f"--user --no-ask-password enable --now {unit.NAME}",
        ]

    def test_the_unit_trusts_the_daemons_user_that_the_person_named(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MAILBELL_DAEMON_USER", "bell")
        assert _group.run(["run", "--install-unit", "--yes", "--", "true"]) == 0
        lines = place.read_text().splitlines()
        assert any(
            re.fullmatch(r"Environment=.* MAILBELL_DAEMON_USER=bell", line) for line in lines
        )

    def test_a_folder_that_others_may_write_gets_no_unit(
        self, place: Path, systemctl: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / ".config").mkdir(exist_ok=True)
        (tmp_path / ".config").chmod(0o777)
        assert _group.run(["run", "--install-unit", "--yes", "--", "true"]) == 78
        assert capfd.readouterr().err == (
            f"mailbell: other users may write to {tmp_path}/.config, who could replace {place};"
            f" chmod go-w {tmp_path}/.config\n"
        )
        assert not place.exists()
        assert not systemctl.exists()

    def test_the_question_does_not_obey_the_name_of_a_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", f"{tmp_path}/a\x1b]0;b\x07\nc")
        monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
        assert _group.run(["run", "--install-unit", "--", "true"]) == 64
        out = capsys.readouterr().out
        shown = f"{tmp_path}/a\\x1b]0;b\\x07\\nc/systemd/user/{unit.NAME}"
        assert f"Write {shown}, and start it?" in out
        assert out.replace("\n", "").isprintable()
        place = Path(os.environ["XDG_CONFIG_HOME"], "systemd/user", unit.NAME)
        place.parent.mkdir(parents=True)
        place.write_text("[Unit]\x1b\n")
        assert _group.run(["run", "--install-unit", "--", "true"]) == 64
        out = capsys.readouterr().out
        assert out.startswith(f"--- {shown}\\tnow\n+++ {shown}\\tthen\n")
        assert "-[Unit]\\x1b\n" in out
        assert out.replace("\n", "").isprintable()

    @pytest.mark.parametrize("home", [None, "", "relative", "~"])
    def test_without_a_home_folder_nothing_is_written_anywhere(
        self, open_path: Path, home: str | None, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Also for a user without an entry in /etc/passwd, as in a container."""
        os.chmod(open_path, 0o777)

        def inside() -> tuple[int, list[str]]:
            os.environ.pop("HOME")
            if home is not None:
                os.environ["HOME"] = home
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(54321, 54321, 54321)
                os.setresuid(54321, 54321, 54321)
            os.chdir(open_path)
            code = _group.run(["run", "--install-unit", "--yes", "--", "true"])
            return code, os.listdir(".")

        ended = child.run(inside)
        assert ended.error is None
        assert ended.value == (78, [])
        said = capfd.readouterr().err
        assert said.startswith("mailbell: HOME")
        assert said.endswith("set it to your home folder\n")

    def test_nothing_happens_unless_somebody_agrees(
        self, say: Say, place: Path, systemctl: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for answer in ("", "n\n", "\n"):
            monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
            code, lines = say("--install-unit", "--", "true")
            assert (code, lines[-1]) == (
                64,
                "mailbell: nothing was written; answer yes, or give --yes",
            )
        assert not place.exists()
        assert not systemctl.exists()
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        assert say("--install-unit", "--", "true")[0] == 0
        assert place.exists()

    def test_one_that_differs_is_shown_as_a_difference(
        self, place: Path, systemctl: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        place.parent.mkdir(parents=True)
        place.write_text("[Service]\nExecStart=/mine \x1b[2J\n")
        monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
        assert _group.run(["run", "--install-unit", "--", "true"]) == 64
        out = capsys.readouterr().out
        assert "-ExecStart=/mine \\x1b[2J\n" in out
        assert "+Type=notify\n" in out
        assert f"Replace {place}, and start it?" in out
        assert place.read_text().startswith("[Service]\nExecStart=/mine")
        assert _group.run(["run", "--install-unit", "--yes", "--", "true"]) == 0
        assert "Type=notify" in place.read_text()
        assert systemctl.read_text().splitlines()[-1].endswith(f" restart {unit.NAME}")

    def test_the_same_once_more_is_no_difference(self, capsys: pytest.CaptureFixture[str]) -> None:
        outs = []
        for _ in range(2):
            assert _group.run(["run", "--install-unit", "--yes", "--", "true"]) == 0
            outs.append(capsys.readouterr().out)
        assert outs[0] == outs[1]

    def test_it_says_the_same_again_from_everywhere(
        self, agent: Agent, say: Say, place: Path, tmp_path: Path, programs: Programs,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        programs("fetch")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MAILBELL_SOCKET", "s")
        line = [
            "--account", "a", "--account", "b", "--no-on-start", "--network-up", "--poll", "0",
            "--then", "echo '1 2'", "--ok-codes", "0,3", "--", "bin/fetch", "--yes", "{account}",
            "",
        ]  # fmt: skip
        assert say(*line) == (0, [])
        meant = agent.jobs
        assert say("--install-unit", "--yes", *line) == (0, [])
        monkeypatch.chdir("/")
        assert say(*self.command_of(place)[2:]) == (0, [])
        assert agent.jobs == meant
        assert agent.socket == f"{tmp_path}/s"

    def test_of_a_preset_it_has_the_name(self, say: Say, place: Path, programs: Programs) -> None:
        programs("mbsync")
        assert say("--install-unit", "--yes", "--client", "mbsync", "--", "inbox") == (0, [])
        assert self.command_of(place)[1:] == ["run", "--client=mbsync", "--", "inbox"]

    def test_of_a_file_it_has_the_path(self, say: Say, place: Path, file: Path) -> None:
        assert say("--install-unit", "--yes") == (0, [])
        assert self.command_of(place)[1:] == ["run", f"--config={file}"]

    def test_it_has_the_path_but_nothing_that_depends_on_where_one_is(
        self, say: Say, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = os.environ["PATH"]
        monkeypatch.setenv("PATH", f"{before}:.::bin:/a b")
        assert say("--install-unit", "--yes", "true") == (0, [])
        assert f'\nEnvironment="PATH={before}:/a b"\n' in place.read_text()

    def test_what_is_wrong_is_said_before_anything_is_written(self, say: Say, place: Path) -> None:
        assert say("--install-unit", "--yes", "--", "no-such-program")[0] == 78
        assert say("--install-unit", "--yes", "--poll=x", "--", "true")[0] == 64
        assert not place.exists()

    def test_a_manager_that_does_not_answer_is_71_and_what_to_do(
        self, say: Say, place: Path, programs: Programs
    ) -> None:
        programs("systemctl", does="echo no bus >&2; exit 1")
        code, (line,) = say("--install-unit", "--yes", "true")
        assert code == 71
        assert line.startswith("mailbell: the unit is written, but systemctl --user daemon-reload ")
        assert place.exists()

    def test_without_the_program_there_is_no_unit(
        self, say: Say, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "executable", f"{tmp_path}/python")
        code, (line,) = say("--install-unit", "--yes", "--", "/bin/true")
        assert (code, line) == (
            78, "mailbell: cannot tell where mailbell is installed; put it into PATH"
        )  # fmt: skip
        assert not place.exists()


class TestEnd:
    def test_an_error_of_the_agents_is_one_line_and_its_code(self, agent: Agent, say: Say) -> None:
        told = TemporaryError("process 7 fetches for the account", "end it")
        agent.fails = ExceptionGroup("nursery", [ExceptionGroup("nursery", [told])])
        assert say("true") == (75, ["mailbell: process 7 fetches for the account; end it"])

    def test_a_bug_is_shown_as_one(self, agent: Agent, say: Say) -> None:
        agent.fails = ExceptionGroup("nursery", [ZeroDivisionError("oh"), ValueError("no")])
        code, lines = say("true")
        assert code == 70
        assert "this is a bug in mailbell: ExceptionGroup: nursery" in lines[-1]

    def test_only_running_loads_trio(self) -> None:
        code = (
            "import sys; from mailbell.cli._group import run; run(['run', '--help']); "
            "run(['clients']); sys.exit('trio' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")

    def test_the_real_agent_runs_it_when_the_daemon_rings(
        self, start: Start, daemon: FakeDaemon, environment: dict[str, str], tmp_path: Path
    ) -> None:
        daemon.scripts = [[a_notification()]]
        environment |= {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        process = start(
            "mailbell", "run", "--no-on-start", "--settle=0s", "--then=echo that is all", "--",
            "sh", "-c", 'echo "$MAILBELL_ACCOUNT $MAILBELL_CAUSE $MAILBELL_COUNT"',
        )  # fmt: skip
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said += re.findall(r"event=output job=sh line=(.*)", line)
            if "that is all" in line:
                break
        assert said == ['"work network 1"', '"that is all"']
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0

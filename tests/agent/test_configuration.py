"""The agent's jobs: every key, every mistake, the source of each value, and the document."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from mailbell.agent import configuration
from mailbell.agent._pace import Timing
from mailbell.agent.configuration import DEFAULTS, Backoff, Job, Poll, from_options, parse
from mailbell.agent.preset import Preset
from mailbell.configuration.reader import quote
from mailbell.configuration.values import Duration
from mailbell.core.errors import ConfigurationError, Problem

# The speed depends on the other processes of the machine.
patiently = settings(deadline=None)

ROOT = Path(__file__).parents[2]

MBSYNC = Preset(
    name="mbsync", title="mbsync", kind="run", what="Fetches", verified="here",
    command=("mbsync", "-q"), args=("-a",), words="channels", needs=("mbsync",),
)  # fmt: skip
PRESETS = {
    preset.name: preset
    for preset in (
        MBSYNC,
        replace(MBSYNC, name="mu", command=("mu",), args=(), words="", then=("x",), lock="mu",
                ok_codes=frozenset({0, 19})),
        replace(MBSYNC, name="kmail", args=(), words="a resource", words_needed=True),
        replace(MBSYNC, name="desktop", command=("notify-send", "New mail: {account}"), args=(),
                words="", only_rung=True),
        replace(MBSYNC, name="mutt", kind="none", command=(), args=(), words=""),
    )
}  # fmt: skip

VALID = """
[defaults]
settle = "2s"
settle_max = "20s"
min_gap = "1m"
login_delay = "5m"
timeout = "10m"
backoff = "1m..1h"
poll = "2h"
on_start = false
network_up = false
[[job]]
name = "work"
accounts = ["work", "office@example.org"]
client = "mbsync"
args = ["inbox"]
then = ["notmuch", "new"]
ok_codes = [3]
busy_codes = [9]
lock = "mbsync"
settle = "500ms"
settle_max = "5s"
min_gap = "10s"
login_delay = "0s"
timeout = "1m"
backoff = "1s..2s"
poll = "0"
on_start = true
network_up = true
[[job]]
command = ["/usr/bin/getmail", "-q"]
"""


def tried(data: bytes) -> tuple[tuple[Job, ...], tuple[Problem, ...]]:
    """The jobs, or the problems in the order of the report."""
    try:
        return parse(data, PRESETS), ()
    except ConfigurationError as error:
        return (), error.problems


def problem_paths(text: str) -> list[str]:
    return [problem.path for problem in tried(text.encode())[1]]


def option_problems(**given: object) -> list[str]:
    try:
        from_options(given, PRESETS)
    except ConfigurationError as error:
        return [problem.path for problem in error.problems]
    return []


def only_job(text: str) -> Job:
    (job,) = parse(text.encode(), PRESETS)
    return job


def test_every_key_arrives() -> None:
    work, getmail = parse(VALID.encode(), PRESETS)
    assert work == Job(
        name="work",
        accounts=("work", "office@example.org"),
        command=("mbsync", "-q", "inbox"),
        then=("notmuch", "new"),
        ok_codes=frozenset({0, 3}),
        busy_codes=frozenset({9}),
        lock="mbsync",
        timing=Timing(0.5, 5, 10, 60, backoff=1, backoff_max=2, poll=0),
    )
    assert getmail == Job(
        name="getmail",
        command=("/usr/bin/getmail", "-q"),
        timing=Timing(2, 20, 60, 600, backoff=60, backoff_max=3600, poll=7200, login_delay=300),
        on_start=False,
        network_up=False,
    )


def test_what_nobody_says_is_as_the_pace_has_it() -> None:
    assert only_job('[[job]]\ncommand = ["x"]') == Job(name="x", command=("x",))
    assert Job(name="x", command=("x",)).timing == Timing()


def test_a_preset_stands_between_the_job_and_the_defaults() -> None:
    silent = '[[job]]\nclient = "desktop"\naccounts = ["a"]\n'
    job = only_job('[defaults]\npoll = "1m"\non_start = true\nnetwork_up = true\n' + silent)
    assert (job.timing.poll, job.on_start, job.network_up, job.only_rung) == (0, False, False, True)
    assert only_job(silent + 'poll = "0"\non_start = false\nnetwork_up = false') == job
    job = only_job('[[job]]\nclient = "mu"')
    assert (job.then, job.ok_codes, job.lock) == (("x",), frozenset({0, 19}), "mu")
    job = only_job('[[job]]\nclient = "mu"\nthen = []\nok_codes = []\nlock = "l"')
    assert (job.then, job.ok_codes, job.lock) == ((), frozenset({0}), "l")


def test_words_of_ones_own_replace_those_of_the_preset() -> None:
    plain = Job(name="mbsync", command=("mbsync", "-q", "-a"))
    assert only_job('[[job]]\nclient = "mbsync"') == plain
    assert only_job('[[job]]\nclient = "mbsync"\nargs = []').command == ("mbsync", "-q")
    assert only_job('[[job]]\nclient = "kmail"\nargs = ["7"]').command == ("mbsync", "-q", "7")


class TestAccounts:
    def test_a_word_that_speaks_of_the_account_makes_a_job_for_each(self) -> None:
        text = '[[job]]\ncommand = ["a", "x{account}y{account}"]\naccounts = ["b", "c"]'
        first, second = parse(text.encode(), PRESETS)
        assert first == Job(name="a/b", accounts=("b",), command=("a", "xbyb"))
        assert second == Job(name="a/c", accounts=("c",), command=("a", "xcyc"))

    def test_so_does_one_of_what_follows(self) -> None:
        text = '[[job]]\ncommand = ["a"]\nthen = ["t", "{account}"]\naccounts = ["b", "c"]'
        assert [job.then for job in parse(text.encode(), PRESETS)] == [("t", "b"), ("t", "c")]

    def test_one_account_needs_no_longer_name(self) -> None:
        job = only_job('[[job]]\nclient = "desktop"\naccounts = ["b"]')
        assert (job.name, job.command) == ("desktop", ("notify-send", "New mail: b"))

    @pytest.mark.parametrize(
        "job",
        ['client = "desktop"', 'client = "mbsync"\nargs = ["{account}"]',
         'command = ["x", "{account}"]', 'command = ["x"]\nthen = ["{account}"]'],
    )  # fmt: skip
    def test_without_accounts_it_stands_for_nothing(self, job: str) -> None:
        assert problem_paths(f"[[job]]\n{job}") == ["job[0].accounts"]

    def test_nothing_else_is_replaced(self) -> None:
        job = only_job('[[job]]\ncommand = ["x", "{name}", "$HOME", "{}", "%h"]\naccounts = ["a"]')
        assert job.command == ("x", "{name}", "$HOME", "{}", "%h")


class Mistake(NamedTuple):
    table: str
    key: str
    value: str
    path: str


MISTAKES = [
    Mistake("defaults", "settle", '"61s"', "defaults.settle"),
    Mistake("defaults", "settle_max", '"1s"', "defaults.settle_max"),
    Mistake("defaults", "min_gap", "60", "defaults.min_gap"),
    Mistake("defaults", "timeout", '"99ms"', "defaults.timeout"),
    Mistake("defaults", "backoff", '"1h..1m"', "defaults.backoff"),
    Mistake("defaults", "poll", '"999ms"', "defaults.poll"),
    Mistake("defaults", "on_start", '"yes"', "defaults.on_start"),
    Mistake("defaults", "network_up", "0", "defaults.network_up"),
    Mistake("defaults", "command", "[]", "defaults.command"),
    Mistake("job[0]", "name", '"a/b"', "job[0].name"),
    Mistake("job[0]", "accounts", '["work", "", "work"]', "job[0].accounts[1]"),
    Mistake("job[0]", "client", '"mbsink"', "job[0].client"),
    Mistake("job[0]", "args", '["a\\u0000b"]', "job[0].args[0]"),
    Mistake("job[0]", "then", '["notmuch", 5]', "job[0].then[1]"),
    Mistake("job[0]", "ok_codes", "[-1]", "job[0].ok_codes[0]"),
    Mistake("job[0]", "lock", '"a b"', "job[0].lock"),
    Mistake("job[0]", "settle_max", '"400ms"', "job[0].settle_max"),
    Mistake("job[0]", "poll", '"off"', "job[0].poll"),
    Mistake("job[0]", "min-gap", '"1m"', "job[0].min-gap"),
    Mistake("job[1]", "command", '["./getmail"]', "job[1].command[0]"),
    Mistake("job[1]", "name", '"work"', "job[1].name"),
    Mistake("job[1]", "args", '["x"]', "job[1].args"),
    Mistake("job[1]", "then", '["~/bin/x"]', "job[1].then[0]"),
    Mistake("job[1]", "backoff", '"30s"', "job[1].backoff"),
]


def plant(mistakes: list[Mistake]) -> str:
    """The valid file with these mistakes."""
    tables: dict[str, dict[str, str]] = {}
    for line in VALID.strip().splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            here = tables[name if name != "job" else f"job[{len(tables) - 1}]"] = {}
        else:
            key, _, value = line.partition(" = ")
            here[key] = value
    for mistake in mistakes:
        tables[mistake.table][mistake.key] = mistake.value
    return "".join(
        ("[[job]]\n" if table.startswith("job") else f"[{table}]\n")
        + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for table, entries in tables.items()
    )


def test_planting_nothing_changes_nothing() -> None:
    assert parse(plant([]).encode(), PRESETS) == parse(VALID.encode(), PRESETS)


def expected(mistakes: list[Mistake]) -> list[str]:
    """The problems that must be reported. Some mistakes hide another."""
    paths = {mistake.path for mistake in mistakes}
    if "defaults.settle" in paths:  # its value is unknown, so nothing is less than it
        paths.discard("defaults.settle_max")
    if "job[0].accounts[1]" in paths:
        paths.add("job[0].accounts[2]")
    if "job[0].name" in paths:  # its value is unknown, so no other job has it
        paths.discard("job[1].name")
    return sorted(paths)


@patiently
@given(st.lists(st.sampled_from(MISTAKES), unique=True))
def test_exactly_the_planted_mistakes_are_reported(mistakes: list[Mistake]) -> None:
    assert sorted(problem_paths(plant(mistakes))) == expected(mistakes)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", ["job"]),
        ("job = []", ["job"]),
        ("job = [5]", ["job[0]"]),
        ("job = 5", ["job"]),
        ("defaults = 5\n[[job]]\ncommand = ['x']", ["defaults"]),
        ("[[job]]", ["job[0].command"]),
        ("[[job]]\nargs = ['x']", ["job[0].command", "job[0].args"]),
        ("[[job]]\nclient = 'mbsync'\ncommand = ['x']", ["job[0].client"]),
        ("[[job]]\nclient = 5", ["job[0].client"]),
        ("[[job]]\nclient = 'mutt'", ["job[0].client"]),
        ("[[job]]\nclient = 'mu'\nargs = ['x']", ["job[0].args"]),
        ("[[job]]\nclient = 'mu'\nargs = []", []),
        (("[[job]]\nclient = 'desktop'\naccounts = ['a']\n"
          "poll = '1m'\non_start = true\nnetwork_up = true"),
         ["job[0].on_start", "job[0].network_up", "job[0].poll"]),
        ("[[job]]\nclient = 'desktop'\naccounts = ['a']\npoll = 5", ["job[0].poll"]),
        ("[[job]]\nclient = 'kmail'", ["job[0].args"]),
        ("[[job]]\nclient = 'kmail'\nargs = []", ["job[0].args"]),
        ("[[job]]\nclient = 'kmail'\nargs = 5", ["job[0].args"]),
        ("[[job]]\ncommand = []", ["job[0].command"]),
        ("[[job]]\ncommand = ['']", ["job[0].command[0]"]),
        ("[[job]]\ncommand = [5]", ["job[0].command[0]"]),
        ("[[job]]\ncommand = [5]\n[[job]]\ncommand = 5", ["job[0].command[0]", "job[1].command"]),
        # names that come from the client or the command
        ("[[job]]\ncommand = ['/bin/x']\n[[job]]\ncommand = ['x']", ["job[1].name"]),
        ("[[job]]\nclient = 'mbsync'\n[[job]]\nclient = 'mbsync'", ["job[1].name"]),
        ("[[job]]\nclient = 'mbsync'\n[[job]]\nname = 'mbsync'\ncommand = ['x']", ["job[1].name"]),
        # a value of the job, compared once with one of the defaults
        ("[defaults]\nsettle = '1m'\n[[job]]\ncommand = ['x']", ["defaults.settle_max"]),
        ("[[job]]\ncommand = ['x']\nsettle = '1m'", ["job[0].settle_max"]),
        ("[[job]]\ncommand = ['x']\nsettle_max = '500ms'", ["job[0].settle_max"]),
        ("[[job]]\ncommand = ['x']\nsettle = '10s'", []),
        ("[defaults]\nsettle_max = 5\n[[job]]\ncommand = ['x']\nsettle = '1m'",
         ["defaults.settle_max"]),
    ],
)  # fmt: skip
def test_what_lies_between_the_values_is_checked(text: str, paths: list[str]) -> None:
    assert problem_paths(text) == paths


@pytest.mark.parametrize(
    ("job", "remedy"),
    [
        (
            'client = "mbsink"',
            "is not known: perhaps \"mbsync\"; 'mailbell clients' lists the known ones",
        ),
        (
            'client = "MBSYNC"',
            "is not known: perhaps \"mbsync\"; 'mailbell clients' lists the known ones",
        ),
        ('client = "zzz"', "is not known: 'mailbell clients' lists the known ones"),
        (
            'client = "mutt"',
            "has no command to run: 'mailbell clients mutt' says what to set in the program",
        ),
        ('client = "mu"\nargs = ["x"]', "takes no further words: leave them out"),
        ('client = "kmail"', '"kmail" needs a resource'),
        ('command = ["~/fetch"]', "only a shell replaces ~: write a path that begins with /"),
        ('command = ["~ann"]', "only a shell replaces ~: write a path that begins with /"),
        ('command = ["bin/fetch"]', "is a relative path: write a path that begins with /"),
        ('command = [""]', 'is not a program: write one, such as "mbsync"'),
        ('command = ["x"]\nsettle = "1m"', '"10s" is less than settle: write at least "1m"'),
    ],
)
def test_the_remedy_fits(job: str, remedy: str) -> None:
    (problem,) = tried(f"[[job]]\n{job}".encode())[1]
    assert problem.message.endswith(remedy)


KNOWN = "'mailbell clients' lists the known ones"
HOW = "'mailbell clients mutt' says what to set in the program"


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("", ["command: missing: write a command or a client"]),
        ('client = "x"\ncommand = ["x"]',
         ["client: there is a command too: leave one of the two out",
          f'client: "x" is not known: {KNOWN}']),
        ('client = "mut"',
         [f'client: "mut" is not known: perhaps "mutt" or "mu"; {KNOWN}']),
        ('client = ""', [f'client: "" is not known: {KNOWN}']),
        ('command = ["x"]\nargs = ["x"]',
         ["args: need a client: without one, add them to command"]),
        ('client = "mu"\nargs = ["x"]',
         ['args: "mu" takes no further words: leave them out']),
        ('client = "kmail"', ['args: missing: "kmail" needs a resource']),
        ('client = "mutt"',
         [f'client: "mutt" has no command to run: {HOW}']),
        ('client = "desktop"\naccounts = ["a"]\npoll = "1m"',
         ['poll: "desktop" runs for notifications only: leave it out']),
        ('client = "desktop"',
         ["accounts: missing: {account} in the command stands for one of them"]),
        ('command = ["x"]\naccounts = ["a", "b", "a"]',
         ['accounts[2]: "a" is there twice: remove one']),
        ('command = ["~/x"]',
         ['command[0]: "~/x": only a shell replaces ~: write a path that begins with /']),
        ('command = ["a/b"]',
         ['command[0]: "a/b" is a relative path: write a path that begins with /']),
        ('command = [""]', ['command[0]: "" is not a program: write one, such as "mbsync"']),
        ('command = ["x"]\nsettle = "1m"',
         ['settle_max: "10s" is less than settle: write at least "1m"']),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_key_and_its_remedy(job: str, said: list[str]) -> None:
    assert [str(each) for each in tried(f"[[job]]\n{job}".encode())[1]] == [
        f"job[0].{each}" for each in said
    ]


def test_of_two_jobs_with_one_name_the_second_is_told_of_the_first() -> None:
    jobs = '[[job]]\ncommand = ["y"]\n' + '[[job]]\ncommand = ["x"]\n' * 2
    assert [str(each) for each in tried(jobs.encode())[1]] == [
        'job[2].name: "x" is also job[1].name: write another name'
    ]


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("client = 5", 'the name of a preset, such as "mbsync"'),
        ('args = ["\\u0000"]', 'a word of at most 4096 characters, such as "-a"'),
        ("args = 5", 'an array of at most 256 values, such as ["work"]'),
        ("then = 5", 'an array of at most 256 values, such as ["notmuch", "new"]'),
        ("command = 5", 'an array of 1 to 256 values, such as ["mbsync", "-a"]'),
        ("accounts = 5", 'an array of at most 64 values, such as ["work"]'),
        ("settle = 5", 'a duration from "0s" to "1m", such as "1s"'),
        ("settle_max = 5", 'a duration from "0s" to "10m", such as "10s"'),
        ("min_gap = 5", 'a duration from "100ms" to "24h", such as "30s"'),
        ("login_delay = 5", 'a duration from "0s" to "24h", such as "5m"'),
        ("timeout = 5", 'a duration from "100ms" to "24h", such as "5m"'),
        ('poll = "1"', 'a duration from "1s" to "168h" such as "1h", or "0" for never'),
        ('backoff = "1"', ('two durations from "100ms" to "24h", the shorter one first, such as '
                           '"30s..10m"')),
    ],
)  # fmt: skip
def test_a_value_that_is_not_accepted_is_told_with_the_form(line: str, form: str) -> None:
    problems = tried(f"[[job]]\n{line}".encode())[1]
    assert f" is not accepted: write {form}" in f"{problems[0]}"
    assert str(problems[0]).endswith(form)


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/usr/bin/mbsync", "mbsync"),
        ("fetch mail!", "fetch-mail"),
        ("/x/.hidden", "hidden"),
        ("/bin/Xvfb-X-", "Xvfb-X"),
        ("/bin/-é-", "job"),
        ("x" * 70, "x" * 64),
        ("/ends/", "job"),
    ],
)
def test_a_job_without_a_name_is_called_like_its_program(program: str, name: str) -> None:
    assert only_job(f'[[job]]\ncommand = ["{program}"]').name == name


@patiently
@given(st.text(st.characters(exclude_characters="\0/~"), min_size=1, max_size=100))
def test_a_name_that_nobody_wrote_can_be_written(program: str) -> None:
    (job,) = from_options({"command": [program]}, PRESETS)
    assert job.command == (program,)
    assert option_problems(name=job.name, command=["x"]) == []


class TestOptions:
    def test_they_say_what_the_file_says(self) -> None:
        (job,) = from_options(
            {
                "accounts": ("work", "office@example.org"), "client": "mbsync", "args": ["inbox"],
                "then": "notmuch new", "ok_codes": "3", "lock": "mbsync", "settle": "500ms",
                "settle_max": "5s", "min_gap": "10s", "timeout": "1m", "backoff": "1s..2s",
                "poll": "0", "login_delay": "0s", "busy_codes": "9",
                "on_start": True, "network_up": True, "name": "work",
            },
            PRESETS,
        )  # fmt: skip
        assert job == parse(VALID.encode(), PRESETS)[0]

    def test_a_command_alone_has_the_defaults(self) -> None:
        assert from_options({"command": ["x", "-a"]}, {}) == (Job("x", ("x", "-a")),)

    def test_words_need_not_be_text(self) -> None:
        words = ["x", "\udcff", "new\nline", ""]
        assert from_options({"command": words}, {})[0].command == tuple(words)

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ("notmuch new", ("notmuch", "new")),
            ("notify-send 'New mail' \"it's there\"", ("notify-send", "New mail", "it's there")),
            ("a b\\ c ''", ("a", "b c", "")),
            ("a $HOME * | b", ("a", "$HOME", "*", "|", "b")),
            ("", ()),
        ],
    )
    def test_then_is_split_as_by_a_shell_that_does_nothing_else(
        self, said: str, words: tuple[str, ...]
    ) -> None:
        assert from_options({"client": "mu", "then": said}, PRESETS)[0].then == words

    @pytest.mark.parametrize("said", ["a 'b", "a \\"])
    def test_what_a_shell_could_not_split_is_told_with_the_remedy(self, said: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            from_options({"command": ["x"], "then": said}, {})
        remedy = "close every quotation mark, and do not end with a backslash"
        assert [(problem.path, problem.message) for problem in caught.value.problems] == [
            ("--then", f"{quote(said)} is not accepted: {remedy}")
        ]

    def test_several_exit_codes_are_one_word(self) -> None:
        assert from_options({"command": ["x"], "ok_codes": "1,75"}, {})[0].ok_codes == {0, 1, 75}

    @pytest.mark.parametrize(
        ("given", "paths"),
        [
            ({"command": ["x"], "then": "a 'b"}, ["--then"]),
            ({"command": ["x"], "then": "a \\"}, ["--then"]),
            ({"command": ["x"], "then": "'' b"}, ["--then[0]"]),
            ({"command": ["x"], "ok_codes": "0,x,256,"}, [f"--ok-codes[{n}]" for n in (1, 2, 3)]),
            ({"command": ["x"], "ok_codes": "1" * 5000}, ["--ok-codes[0]"]),
            ({"command": ["x"], "busy_codes": "9,"}, ["--busy-codes[1]"]),
            # A byte of the command line that is not UTF-8 (PEP 383).
            ({"command": ["x"], "busy_codes": "9,\udcff"}, ["--busy-codes[1]"]),
            ({"command": ["x", "\udcff"], "on_start": "\udcff"}, ["--on-start"]),
            ({"command": ["x"], "accounts": ("a", "b c")}, ["--account[1]"]),
            ({"command": [""]}, ["COMMAND[0]"]),
            ({"command": ["x", "{account}"]}, ["--account"]),
            ({"client": "mu", "args": ["x"]}, ["ARG"]),
            ({"client": "nobody"}, ["--client"]),
            ({"command": ["x"], "settle": "1m"}, ["--settle-max"]),
            (
                {"command": ["x"], "settle": "1", "min_gap": "0s", "lock": "", "backoff": ".."},
                ["--settle", "--min-gap", "--lock", "--backoff"],
            ),
        ],
    )  # fmt: skip
    def test_every_mistake_has_the_name_of_its_option(
        self, given: dict[str, object], paths: list[str]
    ) -> None:
        assert option_problems(**given) == paths


DURATIONS = st.integers(100, 86_400_000).map(lambda milliseconds: Duration(milliseconds / 1000))


class TestValues:
    @patiently
    @given(st.lists(DURATIONS, min_size=2, max_size=2).map(sorted))
    def test_backoff_is_read_as_it_is_written(self, both: list[Duration]) -> None:
        backoff = Backoff(*both)
        assert Backoff.parse(str(backoff)) == backoff

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "30s",
            "30s..",
            "..10m",
            "10m..30s",
            "99ms..1s",
            "1s..25h",
            "1s..86401s",
            "1s...2s",
            "1s-2s",
        ],
    )
    def test_anything_else_is_no_backoff(self, text: str) -> None:
        with pytest.raises(ValueError, match=re.escape('such as "30s..10m"')):
            Backoff.parse(text)

    @pytest.mark.parametrize("text", ["0", "1s", "1h", "168h", "90s"])
    def test_poll_is_read_as_it_is_written(self, text: str) -> None:
        assert str(Poll.parse(text)) == text

    def test_polling_never_has_two_spellings(self) -> None:
        assert not Poll.parse("0s")
        assert not Poll.parse("0")

    @pytest.mark.parametrize("text", ["", "999ms", "604801s", "169h", "never", "00", "-1s"])
    def test_anything_else_is_no_poll(self, text: str) -> None:
        with pytest.raises(ValueError, match='or "0" for never'):
            Poll.parse(text)


@patiently
@given(st.binary() | st.text(alphabet='[job]\ncomand="x=,{}', max_size=80).map(str.encode))
def test_any_file_gives_jobs_or_a_list_of_problems(data: bytes) -> None:
    jobs, problems = tried(data)
    assert bool(jobs) is not bool(problems)
    assert all(str(problem).isprintable() for problem in problems)
    assert all(job.command[0] for job in jobs)
    assert len({job.name for job in jobs}) == len(jobs)


# --- the example and the document -------------------------------------------

EXAMPLE = ROOT / "examples" / "configuration" / "agent.toml"
JOB_KEYS = {field.name: field.type for field in fields(configuration._Job)}
PACED = [field.name for field in fields(configuration._Pacing)]


def test_the_shipped_example_is_right_and_has_every_key() -> None:
    jobs = parse(EXAMPLE.read_bytes(), PRESETS)
    assert [job.name for job in jobs] == ["work", "club", "private/home", "private/family"]
    assert EXAMPLE.read_text().startswith("# agent.toml: ")
    table = tomllib.loads(EXAMPLE.read_text())
    assert list(table["defaults"]) == PACED
    assert {key for job in table["job"] for key in job} | set(PACED) == set(JOB_KEYS)


def test_the_defaults_in_the_example_are_the_defaults() -> None:
    said = EXAMPLE.read_text().partition("[[job]]")[0] + '[[job]]\ncommand = ["x"]'
    assert only_job(said) == Job("x", ("x",))


def documented() -> dict[str, tuple[str, str, str]]:
    """The rows of the key tables of the document: option, default and bounds of each key."""
    text = (ROOT / "docs" / "agent.md").read_text()
    row = r"^\| `([a-z_]+)` \|([^|]*)\| [^|]+ \| ([^|]+) \|([^|]*)\|$"
    found = re.findall(row, text, re.MULTILINE)
    return {
        key: (option, default.strip("`"), bounds.strip()) for key, option, default, bounds in found
    }


def test_the_document_has_every_key_and_no_other() -> None:
    assert sorted(documented()) == sorted(JOB_KEYS)


@pytest.mark.parametrize("key", PACED)
def test_the_document_has_the_default(key: str) -> None:
    said = tomllib.loads(f"x = {documented()[key][1]}")["x"]
    assert said == (str(DEFAULTS[key]) if isinstance(said, str) else DEFAULTS[key])


@pytest.mark.parametrize("key", sorted(set(JOB_KEYS) & set(DEFAULTS) - set(PACED)))
def test_the_document_has_the_default_of_what_a_preset_may_say(key: str) -> None:
    said = tomllib.loads("x = " + documented()[key][1].replace("`", "").rpartition("or ")[2])["x"]
    assert said == (list(DEFAULTS[key]) if isinstance(said, list) else DEFAULTS[key])


def bounds_of(annotation: Any) -> str:
    """The bounds as the document writes them; empty if the annotation has none."""
    if get_origin(annotation) is not Annotated:
        return ""
    _, meta = get_args(annotation)
    if meta.max_length is not None:
        least = f"{meta.min_length} to " if meta.min_length else "at most "
        return f"{least}{meta.max_length}"
    if meta.ge is None:
        return ""
    return f"{Duration(meta.ge)} to {Duration(meta.le)}"


@pytest.mark.parametrize("key", [key for key in JOB_KEYS if bounds_of(JOB_KEYS[key])])
def test_the_document_has_the_bounds(key: str) -> None:
    assert documented()[key][2] == bounds_of(JOB_KEYS[key])


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("backoff", '"100ms..24h"', '"99ms..24h"'),
        ("backoff", '"24h..24h"', '"24h..1441m"'),
        ("poll", '"1s"', '"999ms"'),
        ("poll", '"168h"', '"169h"'),
        ("settle", '"0s"', '"11s"'),
        ("min_gap", '"100ms"', '"99ms"'),
        ("login_delay", '"24h"', '"1441m"'),
        ("name", f'"{"n" * 64}"', f'"{"n" * 65}"'),
        ("lock", f'"{"n" * 32}"', f'"{"n" * 33}"'),
        ("accounts", str([f"a{n}" for n in range(64)]), str([f"a{n}" for n in range(65)])),
        ("then", str(["x"] * 200), str(["x"] * 257).replace(",", ",\n")),
        ("ok_codes", "[0, 255]", "[256]"),
        ("busy_codes", "[9, 75]", "[-1]"),
    ],
)
def test_a_bound_is_where_it_is_said_to_be(key: str, inside: str, outside: str) -> None:
    job = '[[job]]\ncommand = ["x"]\n'
    assert problem_paths(f"{job}{key} = {inside}") == []
    assert [
        path.partition("[0].")[2][: len(key)] for path in problem_paths(f"{job}{key} = {outside}")
    ] == [key]

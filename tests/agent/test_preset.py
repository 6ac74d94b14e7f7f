"""The presets: valid files, every mistake, and that the shipped presets have none."""

import json
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mailbell
from mailbell.agent.preset import Preset, parse, similar
from mailbell.core.errors import ConfigurationError, Problem

# The speed depends on the other processes of the machine.
patiently = settings(deadline=None)

SHIPPED = sorted((Path(mailbell.__file__).parent / "agent" / "presets").iterdir())

RUN = {
    "name": '"getmail"',
    "title": '"getmail"',
    "kind": '"run"',
    "what": '"Fetches the mail of an account"',
    "command": '["getmail", "--rcfile"]',
    "args": '["{account}"]',
    "words": '"files of options"',
    "words_needed": "false",
    "then": '["mu", "index"]',
    "ok_codes": "[0, 19]",
    "busy_codes": "[9]",
    "lock": '"fetch"',
    "only_rung": "false",
    "needs": '["getmail", "mu"]',
    "programs": '["getmail"]',
    "helper": '["~/.getmail/*/mailbell.so", "/usr/lib/{3550f703}/x y.so"]',
    "traps": '["It has no lock of its own."]',
    "setup": '"""\nTwo lines\nof text.\n"""',
    "verified": '"not tried here"',
}
NONE = {
    "name": '"mutt"',
    "title": '"Mutt"',
    "kind": '"none"',
    "what": '"Notices new mail by itself"',
    "setup": '"Set mail_check."',
    "needs": '["mutt"]',
    "verified": '"not tried here"',
}


def text_of(keys: dict[str, str]) -> str:
    return "".join(f"{key} = {value}\n" for key, value in keys.items())


def tried(data: bytes) -> tuple[Preset | None, tuple[Problem, ...]]:
    """The preset, or the problems in the order of the report."""
    try:
        return parse(data), ()
    except ConfigurationError as error:
        return None, error.problems


def problem_paths(text: str) -> list[str]:
    return [problem.path for problem in tried(text.encode())[1]]


def test_every_key_arrives() -> None:
    assert parse(text_of(RUN).encode()) == Preset(
        name="getmail",
        title="getmail",
        kind="run",
        what="Fetches the mail of an account",
        command=("getmail", "--rcfile"),
        args=("{account}",),
        words="files of options",
        then=("mu", "index"),
        ok_codes=frozenset({0, 19}),
        busy_codes=frozenset({9}),
        needs=("getmail", "mu"),
        programs=("getmail",),
        helper=("~/.getmail/*/mailbell.so", "/usr/lib/{3550f703}/x y.so"),
        traps=("It has no lock of its own.",),
        setup="Two lines\nof text.\n",
        verified="not tried here",
    )


def test_what_is_left_out_is_nothing() -> None:
    preset = parse(text_of({k: v for k, v in NONE.items() if k != "needs"}).encode())
    assert (preset.needs, preset.busy_codes) == ((), frozenset())
    assert preset.command == preset.args == preset.then == preset.traps == ()
    assert preset.programs == preset.helper == ()
    assert (preset.words, preset.words_needed, preset.only_rung) == ("", False, False)
    assert (preset.ok_codes, preset.lock) == (frozenset({0}), "fetch")


def test_nothing_of_a_preset_can_be_changed() -> None:
    preset = parse(text_of(RUN).encode())
    with pytest.raises(AttributeError):
        setattr(preset, "name", "other")  # noqa: B010  the type checker knows that it cannot be


class Mistake(NamedTuple):
    key: str
    value: str
    path: str


MISTAKES = [
    Mistake("name", '"Getmail"', "name"),
    Mistake("title", '"get\\u0007mail"', "title"),
    Mistake("what", '"Fetches\\nmail for you"', "what"),
    Mistake("what", '"' + "w" * 73 + '"', "what"),
    Mistake("command", '["getmail", "{acount}"]', "command[1]"),
    Mistake("command", '["getmail", "\\u00e9"]', "command[1]"),
    Mistake("command", '["/usr/bin/getmail"]', "command[0]"),
    Mistake("command", "[]", "command"),
    Mistake("command", '"getmail"', "command"),
    Mistake("args", '["{user}"]', "args[0]"),
    Mistake("words", '""', "args"),
    Mistake("words_needed", "true", "args"),
    Mistake("words_needed", '"no"', "words_needed"),
    Mistake("then", '["notmuch", "new"]', "then[0]"),
    Mistake("ok_codes", "[0, 256]", "ok_codes[1]"),
    Mistake("ok_codes", "[true]", "ok_codes[0]"),
    Mistake("busy_codes", '["9"]', "busy_codes[0]"),
    Mistake("lock", '"Fetch"', "lock"),
    Mistake("only_rung", "0", "only_rung"),
    Mistake("programs", '["getmail", "/usr/bin/getmail"]', "programs[1]"),
    Mistake("programs", '"getmail"', "programs"),
    Mistake("helper", '["/a", "lib/x.so"]', "helper[1]"),
    Mistake("helper", '["~anna/x.so"]', "helper[0]"),
    Mistake("helper", '["/lib/x?.so"]', "helper[0]"),
    Mistake("helper", '["/lib/[xy].so"]', "helper[0]"),
    Mistake("helper", '["/lib//x.so"]', "helper[0]"),
    Mistake("helper", '["/lib/"]', "helper[0]"),
    Mistake("helper", '["/' + "x" * 400 + '"]', "helper[0]"),
    Mistake("traps", '["Short."]', "traps[0]"),
    Mistake("setup", '"""\n' + "x" * 79 + '"""', "setup"),
    Mistake("setup", '"M\\u00fcll"', "setup"),
    Mistake("verified", '""', "verified"),
    Mistake("comand", "[]", "comand"),
]
# Two mistakes that are checked together would be reported as one.
TOGETHER = {"words", "words_needed", "args", "command", "then"}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_reported_where_it_is(mistake: Mistake) -> None:
    assert problem_paths(text_of(RUN | {mistake.key: mistake.value})) == [mistake.path]


@patiently
@given(st.sets(st.sampled_from([m for m in MISTAKES if m.key not in TOGETHER])))
def test_exactly_the_planted_mistakes_are_reported(mistakes: set[Mistake]) -> None:
    planted = {mistake.key: mistake for mistake in mistakes}  # one for each key
    text = text_of(RUN | {key: mistake.value for key, mistake in planted.items()})
    assert sorted(problem_paths(text)) == sorted(mistake.path for mistake in planted.values())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"command": "[]"}, 'missing: the kind "run" needs one'),
        ({"words": '""'}, "no words may replace them: make them part of command, or write words"),
        (
            {"words_needed": "true"},
            "the command then needs no words: leave out args or words_needed",
        ),
        (
            {"args": "[]", "words": '""', "words_needed": "true"},
            "missing: say which words are needed",
        ),
        ({"needs": '["mu"]'}, '"getmail" is not in needs: add it there, without a folder'),
        ({"setup": '"x\\n' + "y " * 39 + 'y"'}, "its line 2 is longer than 78: break it"),
        ({"kind": '"none"', "command": "[]", "args": "[]", "words": '""', "then": "[]",
          "setup": '""'}, 'missing: the kind "none" needs it'),
        ({"kind": '"none"', "args": "[]", "words": '""', "then": "[]"},
         'the kind "none" runs nothing: leave it out'),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_remedy(changed: dict[str, str], message: str) -> None:
    _, (problem,) = tried(text_of(RUN | changed).encode())
    assert problem.message == message


_ASCII = "printable ASCII characters"
_ARRAY = 'an array of at most {} values, such as ["{}"]'
_LETTERS = '{} 1 to 32 small letters, digits and "-", such as "{}"'


@pytest.mark.parametrize(
    ("key", "value", "form"),
    [
        ("name", '"Getmail"', _LETTERS.format("the file's name:", "mbsync")),
        ("kind", '"watch"', '"run", "poke" or "none"'),
        ("what", '"Short"', f"10 to 72 {_ASCII} on one line"),
        ("then", '["mu", "\\u00e9"]', f'a word of at most 1000 {_ASCII}, such as "-a"'),
        ("lock", '"Fetch"', _LETTERS.format("a name of", "fetch")),
        ("only_rung", "0", "true or false"),
        ("programs", '["a b"]', 'the name of a program in PATH, such as "mbsync"'),
        ("helper", '["x"]', f'at most 400 {_ASCII} that begin with "/" or "~/", no "?" or "["'),
        ("setup", '"\\u00e9"', f"at most 4000 {_ASCII} in lines"),
        ("then", "5", 'an array of at most 100 values, such as ["notmuch", "new"]'),
        ("ok_codes", "5", "an array of at most 32 values, such as [0, 1]"),
        ("ok_codes", "[-1]", "a whole number from 0 to 255, such as 1"),
        ("needs", "5", _ARRAY.format(8, "mbsync")),
        ("programs", "5", _ARRAY.format(8, "mbsync")),
        ("helper", "5", _ARRAY.format(8, "~/.local/lib/evolution/modules/x.so")),
        ("traps", "5", _ARRAY.format(12, "It has no lock of its own.")),
    ],
)  # fmt: skip
def test_a_value_that_is_not_accepted_is_told_with_the_form(
    key: str, value: str, form: str
) -> None:
    _, (problem,) = tried(text_of(RUN | {key: value}).encode())
    assert problem.message.endswith(f": write {form}")


def test_what_to_set_has_4000_characters_at_most() -> None:
    for text, paths in (("x\n" * 2000, []), ("x\n" * 2000 + "x", ["setup"])):
        assert problem_paths(text_of(RUN | {"setup": f'"""\n{text}"""'})) == paths


@pytest.mark.parametrize("missing", ["name", "title", "kind", "what", "verified"])
def test_what_must_be_there_is_asked_for(missing: str) -> None:
    assert problem_paths(text_of({k: v for k, v in RUN.items() if k != missing})) == [missing]


@pytest.mark.parametrize(
    ("changed", "paths"),
    [
        ({}, []),
        ({"setup": '""'}, ["setup"]),
        ({"setup": "5"}, ["setup"]),
        ({"needs": "5"}, ["needs"]),
        ({"kind": '"watch"', "setup": '""'}, ["kind"]),
        (
            {"needs": '["x"]', "command": '["x"]', "args": '["x"]', "words": '"words"',
             "words_needed": "true", "then": '["x"]'},
            ["command", "args", "words", "words_needed", "then", "args"],
        ),
    ],
)  # fmt: skip
def test_nothing_is_run_where_there_is_nothing_to_run(
    changed: dict[str, str], paths: list[str]
) -> None:
    assert problem_paths(text_of(NONE | changed)) == paths


@pytest.mark.parametrize(
    ("changed", "paths"),
    [
        ({"args": "[]", "words_needed": "true"}, []),
        ({"args": "[]", "words": '""'}, []),
        ({"args": "[]", "words": '""', "words_needed": "true"}, ["words"]),
        ({"needs": "5"}, ["needs"]),  # so the check cannot tell whether the programs are in it
        ({"command": "5"}, ["command"]),
        ({"command": "[5]"}, ["command[0]"]),
    ],
)
def test_words_and_programs_fit_together(changed: dict[str, str], paths: list[str]) -> None:
    assert problem_paths(text_of(RUN | changed)) == paths


BRACES_THAT_STAY = [
    "{account}", "x{account}", "a{account}", "{}", "[] {}", "{ }", "{1}", "{3550f703}",
    "{3550f703-e582-4d05-9a08-453d09bdfdc6}", "{e2fda1a4-762b-4020-b5ad-a41df1933103}",
    "{E2FDA1A4-762B-4020-B5AD-A41DF1933103}", "a{sv}", "sava{sv}", "a{ss}", "aa{sas}", "a{oaay}",
    "a{sa{sv}}", "a{s(iiay)}", "{'subject': <'{account}'>}", '{"to": "{account}"}',
    "function() {(1)}", "${account}", "{{account}}", "account", "susssasa{sv}i", "(a{sv}as)",
]  # fmt: skip
MISTYPED = {
    "{acount}": "{acount}", "{Account}": "{Account}", "{ACCOUNT}": "{ACCOUNT}",
    "{account }": "{account }", "{ account}": "{ account}", "{accounts}": "{accounts}",
    "{account-name}": "{account-name}", "{account_1}": "{account_1}", "{_}": "{_}",
    "--{user}": "{user}", "{s}": "{s}", "{sv}": "{sv}", "sav{sv}": "{sv}", "a{vs}": "{vs}",
    "a{as}": "{as}", "a{s}": "{s}", "a{sss}": "{sss}", "a{sa}": "{sa}", "a{acount}": "{acount}",
    "a{user}": "{user}", "a{ sv}": "{ sv}", "{{acount}}": "{acount}", "{1{name}}": "{name}",
    "{e2fda1a4-762b-4020-b5ad-a41df193310}": "{e2fda1a4-762b-4020-b5ad-a41df193310}",
    "{acc ount}": "{acc ount}", "{account!r}": "{account!r}", "{account:s}": "{account:s}",
    "{acount.}": "{acount.}", "{account,}": "{account,}", "{account]": "{account] ",
    "{return 1}": "{return 1}", "data{go}": "{go}", "mama{sv}": "{sv}", "x-a{sv}": "{sv}",
    "account}": "account}", "{}account}": "account}", "{ account": "{ account ",
}  # fmt: skip


@pytest.mark.parametrize("word", BRACES_THAT_STAY)
def test_braces_without_a_name_stay_as_they_are(word: str) -> None:
    preset, problems = tried(text_of(RUN | {"args": json.dumps([word])}).encode())
    assert (preset and preset.args, problems) == ((word,), ())


@pytest.mark.parametrize("word", MISTYPED)
def test_a_name_in_braces_is_account_or_a_mistake(word: str) -> None:
    after = "" if word.endswith("}") else " "
    word_and_more = f"{word}{after}{{account}}"
    _, problems = tried(text_of(RUN | {"args": json.dumps([word_and_more])}).encode())
    said = f'"{MISTYPED[word]}" is not accepted: only {{account}} is replaced'
    assert [(problem.path, problem.message) for problem in problems] == [("args[0]", said)]


WORDS_THAT_ARE_NONE = [
    "data{go}", "a{sv}.", "a{sv} a{sv}", "a{sv}a", "(a{sv}", "()a{sv}", "sav{sv}", "a{vs}", "a{as}",
    "a{s}", "a{sss}", "a{sa}", "s{sv}", "Ca{sv}", "a{sC}", "Xa{sv}",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS_THAT_ARE_NONE)
def test_an_entry_stays_only_in_a_word_that_is_a_signature(word: str) -> None:
    paths = problem_paths(text_of(RUN | {"args": json.dumps([word])}))
    assert paths
    assert set(paths) == {"args[0]"}


def test_a_name_without_an_end_is_refused_and_not_shown_in_full() -> None:
    (problem,) = tried(text_of(RUN | {"args": json.dumps(["{account" + "x" * 900])}).encode())[1]
    assert len(str(problem)) < 150


# What follows from the grammar of the D-Bus Specification, written down once more and otherwise.
BASIC = st.sampled_from("ybnqiuxtdsogh")
TYPES = st.recursive(
    BASIC | st.just("v"),
    lambda inner: st.one_of(
        inner.map("a{}".format),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: f"({''.join(each)})"),
        st.tuples(st.sampled_from("so"), inner.filter(lambda each: each[0] in "vsa(")).map(
            lambda entry: f"a{{{entry[0]}{entry[1]}}}"
        ),
    ),
)


@patiently
@given(st.lists(TYPES, max_size=4).map("".join))
def test_every_signature_stays_as_it_is(signature: str) -> None:
    assert parse(text_of(RUN | {"args": json.dumps([signature])}).encode()).args == (signature,)


@patiently
@given(st.binary() | st.text(alphabet='kind="none\n[]{}, what', max_size=80).map(str.encode))
def test_any_file_is_a_preset_or_a_list_of_problems(data: bytes) -> None:
    preset, problems = tried(data)
    assert (preset is None) is bool(problems)
    assert all(str(problem).isprintable() for problem in problems)


def test_there_are_presets() -> None:
    assert "mbsync.toml" in {path.name for path in SHIPPED}
    assert {path.suffix for path in SHIPPED} == {".toml"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_preset_is_right_and_has_the_name_of_its_file(path: Path) -> None:
    preset = parse(path.read_bytes())
    assert f"{preset.name}.toml" == path.name
    # `what` is a sentence without its full stop, which the details add.
    assert preset.what[0].isupper()
    assert preset.what[-1] not in ".!"
    # Outlook does not run here, so no command says whether it is installed.
    assert bool(preset.programs) is (preset.name != "outlook")


def test_the_example_of_the_format_is_a_preset() -> None:
    """In the order of the explanation, and with the defaults that it gives."""
    module = sys.modules[Preset.__module__]
    lines = (module.__doc__ or "").partition("\n\n    ")[2].partition("\n\n`")[0].splitlines()
    keys = [line.split(" = ")[0].strip() for line in lines if " = " in line]
    assert keys == list(Preset.__struct_fields__)
    bare = Preset(name="", title="", kind="none", what="", verified="")
    for line in lines:
        key, _, rest = line.strip().partition(" = ")
        said = rest.partition("# ")[2].partition(":")[0]
        if said in {"[]", '""', "[0]", '"fetch"'}:
            value = tomllib.loads(f"x = {said}")["x"]
            assert type(getattr(bare, key))(value) == getattr(bare, key), key


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Thunderbird", ["thunderbird"]),
        ("emacs", ["gnus", "mu4e"]),  # a program
        ("isync", ["mbsync"]),  # in a title
        ("mbsink", ["mbsync"]),
        ("e", []),  # it is in nearly every title
        ("../x", []),
    ],
)
def test_a_name_that_no_preset_has_suggests_others(name: str, meant: list[str]) -> None:
    folder = Path(mailbell.__file__).parent / "agent" / "presets"
    known = {path.stem: parse(path.read_bytes()) for path in sorted(folder.glob("*.toml"))}
    assert similar(name, known) == meant


def made(name: str, title: str, *programs: str) -> Preset:
    return Preset(name=name, title=title, kind="none", what="", verified="", programs=programs)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ABC", ["one", "two", "three"]),
        ("abd", ["five"]),
        ("ru", []),
        ("mailer", ["mailer2", "mailer3", "mailer4"]),
        ("Two", ["two"]),
    ],
)
def test_at_most_three_presets_are_suggested(name: str, meant: list[str]) -> None:
    presets = [
        *(made(each, f"Abc of {each}") for each in ("one", "two", "three", "four")),
        made("five", "Five", "abd", "ru"),
        *(made(f"mailer{number}", "Post") for number in range(1, 5)),
    ]
    assert sorted(similar(name, {preset.name: preset for preset in presets})) == sorted(meant)

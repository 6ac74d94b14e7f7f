'''How to make a mail program fetch: one TOML file for each program, `presets/NAME.toml`.

A preset is data, so that a person can check or add one without reading code. These are
all keys, with their meanings and their defaults:

    name = "mbsync"             # the file's name; letters, digits, "-"
    title = "mbsync (isync)"    # the program's own name
    kind = "run"                # "run": a fetcher that ends when the mail is there
                                # "poke": tells a running program, and ends at once
                                # "none": no command; `setup` says what to set instead
    what = "..."                # one sentence for the table, without a full stop, at most
                                # 72 characters: what happens to the mail
    command = ["mbsync", "-q"]  # words, never for a shell; none for the kind "none"
    args = ["-a"]               # []: further words; a person's own words (after `--`, or
                                # `args` in agent.toml) replace them
    words = "channels or ..."   # "": what these words are; without it, no words are accepted
    words_needed = false        # true: the command needs words (then leave out `args`)
    then = ["notmuch", "new"]   # []: a command to run after a success
    ok_codes = [0, 1]           # [0]: exit codes that are no failure; 0 is never a failure
    busy_codes = [9]            # []: exit codes that say that the mail server lets nobody in
                                # for the moment; no failure, and the command runs again
    lock = "fetch"              # "fetch": two jobs with one lock and a common account never
                                # overlap. A command that does not fetch (a poke, an index,
                                # a message on the screen) needs a lock of its own
    only_rung = false           # true: it runs for notifications only; not at the start,
                                # after sleep or with a new address, and without polls
    needs = ["mbsync"]          # programs that must be in PATH, with the first words of
                                # `command` and of `then`
    programs = ["mbsync"]       # []: the mail program's own commands: it is installed if one of
                                # them is in PATH. Without them `mailbell clients` cannot tell
    helper = ["~/.x/*/y.so"]    # []: where a helper of ours may be that the mail program loads:
                                # it is in place if one path exists. "*" stands for any part of
                                # one name, and "~/" for the home folder
    traps = ["..."]             # []: usual mistakes; one or two sentences, 400 characters each
    setup = """..."""           # "": what to set in the program, in lines of at most 78
                                # characters; the kind "none" needs it. `mailbell clients`
                                # shows the folder of our sources for it in place of FOLDER
    verified = "Debian 12, isync 1.4.4"   # what it was tried with, or "not tried here"; "; "
                                # between several versions

`{account}` in a word of `command`, `args` or `then` is replaced by the account's name. Such a
job becomes one job for each account, so the person must name the accounts. There is no other
substitution.

A "{" before a letter or a `_`, also after blanks, may begin a mistyped `{account}`, and is refused,
whatever follows: `{acount}`, `{acc ount}`, `{account:s}`, `{account` without an end. `account}`
without its "{" is refused too. Other braces stay as they are. Two forms stay too:

- a word that is a D-Bus signature as a whole (D-Bus Specification, "Type System"), such as
  `sava{sv}`. The keys of its dictionaries are `s` or `o`, and what belongs to a key is `v`, `s`, an
  array or a struct. This is less than D-Bus permits, and so `data{go}` is refused;
- a UUID (RFC 9562), such as `{e2fda1a4-762b-4020-b5ad-a41df1933103}`.

Unknown keys are refused, all text is printable ASCII, and every mistake is reported at once
with its path.
'''

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from mailbell.configuration.reader import INVALID, Problems, each, quote, read
from mailbell.configuration.values import array, whole

__all__ = ["ACCOUNT", "FLAG", "LOCK", "ExitCodes", "Preset", "parse", "similar"]

ACCOUNT: Final = "{account}"

# execve(2) accepts no NUL and at most 128 KiB in a word. These words are short enough to show.
_MAX_WORD: Final = 1000
_WORD: Final = Meta(
    pattern=rf"\A[ -~]{{0,{_MAX_WORD}}}\Z",
    description=f'a word of at most {_MAX_WORD} printable ASCII characters, such as "-a"',
)
_COMMAND: Final = array(100, '["notmuch", "new"]')
ExitCodes = Annotated[frozenset[Annotated[int, whole(0, 255, 1)]], array(32, "[0, 1]")]
LOCK: Final = Meta(
    pattern=r"\A[a-z][a-z0-9-]{0,31}\Z",
    description='a name of 1 to 32 small letters, digits and "-", such as "fetch"',
)
_NAME: Final = Meta(
    pattern=r"\A[a-z][a-z0-9-]{0,31}\Z",
    description='the file\'s name: 1 to 32 small letters, digits and "-", such as "mbsync"',
)
_PROGRAM: Final = Meta(
    pattern=r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z",
    description='the name of a program in PATH, such as "mbsync"',
)
FLAG: Final = Meta(description="true or false")
_MAX_LINE: Final = 78
_LEAST: Final = 3  # characters of what is looked for in a title
_PATH: Final = Meta(
    pattern=r"\A~?(/[ -.0->@-Z\\-~]+)+\Z",
    max_length=400,
    description='at most 400 printable ASCII characters that begin with "/" or "~/", no "?" or "["',
)

# What may be meant as `{account}`, with both braces or with one of them.
_BRACES: Final = re.compile(r"\{ *[A-Za-z_][^{}]*\}?|(?<!\{)\baccount *\}", re.ASCII)
_UUID: Final = re.compile(r"\{[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}")
# D-Bus Specification, "Type System": an innermost container (an array, a struct, or an array of
# the entries of a dictionary), and a word without containers. C stands for a container.
_BASIC: Final = "ybnqiuxtdsogh"
_CONTAINER: Final = re.compile(rf"a[{_BASIC}vC]|\([{_BASIC}vC]+\)|a\{{[so][vsC]\}}")
_NO_CONTAINER: Final = re.compile(rf"[{_BASIC}vC]+")


def _sentence(least: int, most: int) -> Meta:
    return Meta(
        pattern=rf"\A[ -~]{{{least},{most}}}\Z",
        description=f"{least} to {most} printable ASCII characters on one line",
    )


_TEXT: Final = Meta(
    pattern=r"\A[ -~\n]{0,4000}\Z",
    description="at most 4000 printable ASCII characters in lines",
)

_Words = tuple[Annotated[str, _WORD], ...]


class Preset(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to make one mail program fetch.

    Attributes:
        name: the name for `--client`.
        title: the program's own name.
        kind: "run": run the command to its end; "poke": the command tells a running
            program; "none": there is no command.
        what: what happens to the mail, for the table.
        command: the words that are always in the command line.
        args: further words, which a person's own words replace.
        words: what these words are; empty: no words are accepted.
        words_needed: whether the command needs words from the person.
        then: a command to run after a success; empty: none.
        ok_codes: exit codes that are no failure.
        busy_codes: exit codes that say that the mail server was busy.
        lock: the name of the lock. Jobs with the same lock and a common account never overlap.
        only_rung: whether the command runs for notifications only.
        needs: programs that must be in PATH.
        programs: the mail program's own commands; empty: whether it is installed cannot be told.
        helper: patterns of paths, one of which exists if our helper is in place.
        traps: usual mistakes.
        setup: what to set in the program.
        verified: what it was tried with.
    """

    name: Annotated[str, _NAME]
    title: Annotated[str, _sentence(1, 60)]
    kind: Annotated[Literal["run", "poke", "none"], Meta(description='"run", "poke" or "none"')]
    what: Annotated[str, _sentence(10, 72)]
    command: Annotated[_Words, _COMMAND] = ()
    args: Annotated[_Words, _COMMAND] = ()
    words: Annotated[str, _sentence(0, 72)] = ""
    words_needed: Annotated[bool, FLAG] = False
    then: Annotated[_Words, _COMMAND] = ()
    ok_codes: ExitCodes = frozenset({0})
    busy_codes: ExitCodes = frozenset()
    lock: Annotated[str, LOCK] = "fetch"
    only_rung: Annotated[bool, FLAG] = False
    needs: Annotated[tuple[Annotated[str, _PROGRAM], ...], array(8, '["mbsync"]')] = ()
    programs: Annotated[tuple[Annotated[str, _PROGRAM], ...], array(8, '["mbsync"]')] = ()
    helper: Annotated[
        tuple[Annotated[str, _PATH], ...], array(8, '["~/.local/lib/evolution/modules/x.so"]')
    ] = ()
    traps: Annotated[
        tuple[Annotated[str, _sentence(10, 400)], ...], array(12, '["It has no lock of its own."]')
    ] = ()
    setup: Annotated[str, _TEXT] = ""
    verified: Annotated[str, _sentence(4, 200)]


def parse(data: bytes) -> Preset:
    """Read a preset.

    Args:
        data: the file: TOML in UTF-8.

    Returns:
        A preset without contradictions. This does not look for its programs.

    Raises:
        ConfigurationError: with every problem in the file.
    """
    problems = Problems()
    preset = read(data, Preset, problems)
    _check_kind(preset, problems)
    _check_words(preset, problems)
    _check_programs(preset, problems)
    _check_text(preset, problems)
    problems.raise_if_any()
    return preset


def similar(name: str, known: Mapping[str, Preset]) -> list[str]:
    """Find the presets that a person may mean by a name that no preset has.

    Args:
        name: the name as typed, in large or small letters.
        known: the presets.

    Returns:
        The names of at most three presets: those that have the name in another case, or else that
        have it in their title or among their programs, or else whose names are similar.
    """
    name = name.lower()
    if name in known:
        return [name]
    titled = [
        preset.name
        for preset in known.values()
        if len(name) >= _LEAST and (name in preset.title.lower() or name in preset.programs)
    ]
    return titled[:3] or get_close_matches(name, known, n=3)


def _check_kind(preset: Preset, problems: Problems) -> None:
    if preset.kind is INVALID:
        return
    if preset.kind != "none":
        if preset.command == ():
            problems.add("command", f"missing: the kind {quote(preset.kind)} needs one")
        return
    for name in ("command", "args", "words", "words_needed", "then"):
        if getattr(preset, name):
            problems.add(name, 'the kind "none" runs nothing: leave it out')
    if preset.setup == "":
        problems.add("setup", 'missing: the kind "none" needs it')


def _check_words(preset: Preset, problems: Problems) -> None:
    for path, word in _all_words(preset):
        for name in _mistyped(word):
            problems.add(path, f"{quote(name)} is not accepted: only {ACCOUNT} is replaced")
    if preset.args != () and preset.words == "":
        what = "no words may replace them: make them part of command, or write words"
        problems.add("args", what)
    if preset.words_needed is True:
        if preset.args != ():
            what = "the command then needs no words: leave out args or words_needed"
            problems.add("args", what)
        if preset.words == "":
            problems.add("words", "missing: say which words are needed")


def _mistyped(word: str) -> Iterator[str]:
    """Yield what may be meant as `{account}`, and stands for nothing."""
    if _is_signature(word):
        return
    for found in _BRACES.finditer(word):
        if found[0] != ACCOUNT and not _UUID.fullmatch(found[0]):
            yield found[0]


def _is_signature(word: str) -> bool:
    """Tell whether a word is a D-Bus signature, with the dictionaries that are accepted."""
    if "C" in word:
        return False
    before = ""
    while word != before:
        before, word = word, _CONTAINER.sub("C", word)
    return bool(_NO_CONTAINER.fullmatch(word))


def _all_words(preset: Preset) -> Iterator[tuple[str, str]]:
    for name in ("command", "args", "then"):
        for place, word in each(getattr(preset, name)):
            yield f"{name}[{place}]", word


def _check_programs(preset: Preset, problems: Problems) -> None:
    if preset.needs is INVALID:
        return
    for path, word in _all_words(preset):
        if path in ("command[0]", "then[0]") and word not in preset.needs:
            problems.add(path, f"{quote(word)} is not in needs: add it there, without a folder")


def _check_text(preset: Preset, problems: Problems) -> None:
    setup = "" if preset.setup is INVALID else preset.setup
    for number, line in enumerate(setup.split("\n"), 1):
        if len(line) > _MAX_LINE:
            problems.add("setup", f"its line {number} is longer than {_MAX_LINE}: break it")

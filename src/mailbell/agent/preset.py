'''How a mail program is told to fetch: one file of TOML each, `presets/NAME.toml`.

What is known about a program is data, so that nobody has to read code to check or to
add one. Every key, with what it means and its default:

    name = "mbsync"             # the file's name; letters, digits, "-"
    title = "mbsync (isync)"    # as the program calls itself
    kind = "run"                # "run": a fetcher that ends when the mail is there
                                # "poke": tells a resident program, and ends at once
                                # "none": nothing to run; `setup` says what to set instead
    what = "..."                # one sentence for the table, without a full stop, at most
                                # 72 characters: what happens to the mail
    command = ["mbsync", "-q"]  # words, never for a shell; none for the kind "none"
    args = ["-a"]               # []: further words; those that a person gives (after `--`, or
                                # `args` in agent.toml) take their place
    words = "channels or ..."   # "": what these words are; without it none are taken
    words_needed = false        # whether it cannot be run without them (then no `args`)
    then = ["notmuch", "new"]   # []: run after success
    ok_codes = [0, 1]           # [0]: exit codes that are no failure; 0 always is none
    lock = "fetch"              # "fetch": jobs of one lock and account never run at once, so
                                # whatever is no fetch (a poke, an index, a message on the
                                # screen) has a name of its own
    only_rung = false           # whether it runs for notifications alone: not at the start,
                                # not after sleep, not when an address appears, no poll
    needs = ["mbsync"]          # programs to be found in PATH, the first word of `command` and
                                # of `then` among them
    traps = ["..."]             # []: each a sentence or two, at most 400 characters
    setup = """..."""           # "": what to set in the program, in lines of at most 78
                                # characters; needed for the kind "none"
    verified = "Debian 12, isync 1.4.4"   # where it has been seen to work, or "not tried here"

`{account}` in a word of `command`, `args` or `then` stands for the account's name. Such a job
becomes one job for each account, so a person has to name the accounts. It is the only
substitution. Unknown keys are refused, all text is printable ASCII, and every mistake is
reported at once with its path.
'''

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from mailbell.configuration.reader import INVALID, Problems, each, quote, read
from mailbell.configuration.values import array, whole

__all__ = ["ACCOUNT", "FLAG", "LOCK", "ExitCodes", "Preset", "parse"]

ACCOUNT: Final = "{account}"

# execve(2) takes no NUL, and one word of 128 KiB at most; ours are short, and can be shown.
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
_BRACES: Final = re.compile(r"\{\w*\}", re.ASCII)


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
    """What is known about one mail program.

    Attributes:
        name: what it is called by `--client`.
        title: as the program calls itself.
        kind: whether it is run to its end, poked, or not to be run at all.
        what: what happens to the mail, for the table.
        command: the words of its command line that are always there.
        args: those that a person's own words replace.
        words: what these are; empty: none are taken.
        words_needed: whether it cannot be run without them.
        then: run after success; empty: nothing.
        ok_codes: exit codes that are no failure.
        lock: what it shares with others that may not run at the same time.
        only_rung: whether it is run for notifications alone.
        needs: programs that have to be found.
        traps: what goes wrong easily.
        setup: what to set in the program.
        verified: where it has been seen to work.
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
    lock: Annotated[str, LOCK] = "fetch"
    only_rung: Annotated[bool, FLAG] = False
    needs: Annotated[tuple[Annotated[str, _PROGRAM], ...], array(8, '["mbsync"]')] = ()
    traps: Annotated[
        tuple[Annotated[str, _sentence(10, 400)], ...], array(12, '["It has no lock of its own."]')
    ] = ()
    setup: Annotated[str, _TEXT] = ""
    verified: Annotated[str, _sentence(4, 72)]


def parse(data: bytes) -> Preset:
    """Read a preset.

    Args:
        data: the file: TOML in UTF-8.

    Returns:
        A preset without contradictions; whether its programs are there is another question.

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


def _check_kind(preset: Preset, problems: Problems) -> None:
    if preset.kind is INVALID:
        return
    if preset.kind != "none":
        if preset.command == ():
            problems.add("command", f"missing: {quote(preset.kind)} says that something is run")
        return
    for name in ("command", "args", "words", "words_needed", "then"):
        if getattr(preset, name):
            problems.add(name, 'with the kind "none" nothing is run: leave it out')
    if preset.setup == "":
        problems.add("setup", 'missing: with the kind "none" it is all there is to say')


def _check_words(preset: Preset, problems: Problems) -> None:
    for path, word in _all_words(preset):
        for found in _BRACES.findall(word):
            if found != ACCOUNT:
                problems.add(path, f"{quote(found)} is not accepted: only {ACCOUNT} is replaced")
    if preset.args != () and preset.words == "":
        problems.add("args", "nobody may replace them: make them part of command, or write words")
    if preset.words_needed is True:
        if preset.args != ():
            problems.add("args", "there is a choice without them: leave out args or words_needed")
        if preset.words == "":
            problems.add("words", "missing: say which words are needed")


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

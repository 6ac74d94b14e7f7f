'''How to make a mail server ring: one TOML file for each server, `recipes/NAME.toml`.

A recipe is data. `mailbell sender recipe` prints it, the pages in docs/servers/ are written
from it, and the tests apply it to the real server. These are all keys, with their meanings and
their defaults:

    name = "postfix"            # the file's name; small letters, digits, "-" and "."
    title = "Postfix"           # the server's own name
    summary = "..."             # one sentence: what this server can do
    verified = "Debian 12, Postfix 3.7.11"   # what it was tried with, or "not tried here"
    reason = ""                 # why it was not tried, or why it is impossible; needed then
    packages = ["postfix"]      # []: Debian's packages

    [[way]]                     # a mechanism; the best one first
    name = "forward"            # for --way; small letters, digits and "-"
    title = "..."               # what it is, at most 72 characters
    tells = "mail"              # "mail", "logins" or "both"
    suits = "..."               # for whom
    order = "after"             # "": the ring comes "after" the mail is in the mailbox,
                                # "before", or in a "race" with it; needed for steps that
                                # tell of mail
    packages = ["lua-socket"]   # []: further packages of Debian
    trusted = ["root"]          # []: users that listen.trusted must name; without any, the
                                # mail's owner speaks. Other keys of the sender are steps
                                # with the file /etc/mailbell/sender.toml
    fails = "..."               # what happens to the mail if the hook fails, if it is missing,
                                # or if the sender is absent; needed with steps
    hangs = "..."               # the same if the hook hangs; needed with steps
    traps = ["..."]             # []: usual mistakes, in sentences
    text = """..."""            # "": what no step can say; needed without steps. Paragraphs
                                # that are indented by four blanks are shown as they are

    [[way.step]]                # a file that gets lines
    why = "..."                 # one sentence: what it does
    file = "@home@/.forward"    # an absolute path; it is made if there is none
    text = """..."""            # lines that are put at its end, in this order
    below = "[listen]"          # "": put them right below the first line that is this one,
                                # without white space around it. Lines that are indented
                                # deeper count only in its block
    without = """..."""         # "": lines that the file must not have
    owner = "@user@"            # "": who must own the file
    mode = "0644"               # "": its permissions

    [[way.step]]                # a command
    why = "..."
    command = ["postconf", "-e", "home_mailbox = Maildir/"]   # words, never for a shell
    replaces = ["postconf", "-n", "home_mailbox"]             # []: a command that changes
                                # nothing and shows what the step replaces, to be put back
    undo = ["postconf", "-#", "home_mailbox"]                 # []: takes it back. A step with
                                # a file may have it too, and is taken back by hand before
    shows = ["postconf", "-h", "home_mailbox"]                # []: a command that changes
    expect = "Maildir/"         # nothing, and whole words on a line of its standard output
                                # when the step is in force

    [[way.check]]               # what `--check` looks for besides the steps
    command = ["postconf", "-h", "mailbox_command"]           # a command that changes nothing
    expect = ""                 # a regular expression that its output must match somewhere
                                # (standard error, if nothing came on standard output),
    forbid = "procmail"         # or one that standard output must not match; one of the two
    say = "..."                 # what is wrong otherwise, and the remedy

These placeholders are replaced in `file`, `text`, `below`, `without`, `owner` and the words of
each command, in `fails`, `hangs`, `traps` and `say`, and in `expect` and `forbid`:

    @hook@     the path of mailbell-hook          /usr/bin/mailbell-hook
    @socket@   the hooks' socket                  /run/mailbell-sender/hook
    @cyrus@    the socket for Cyrus               /run/mailbell-cyrus/cyrus
    @files@    the folder with mailbell's files   /usr/share/mailbell/servers
    @user@     a user who gets mail               alice
    @home@     the home folder of the user        /home/alice

The third column is for the pages; `mailbell sender recipe` finds the values of the machine.
A step for each user has @user@ or @home@ in it, and is done once for each. Unknown keys and
unknown placeholders are refused, all text is printable ASCII, and every mistake is reported at
once with its path. `python scripts/server_pages.py --write` writes the pages anew.
'''

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from msgspec import Struct

from mailbell.configuration.reader import INVALID, Problems, each, quote, read
from mailbell.configuration.values import array
from mailbell.core.errors import UsageError
from mailbell.core.escape import printable
from mailbell.recipes._values import (
    LINE,
    MODE,
    NAME,
    ORDER,
    OWNER,
    PACKAGES,
    PATH,
    SERVER,
    TELLS,
    TEXT,
    USER,
    WORDS,
    Packages,
    Words,
    maybe,
    sentence,
)
from mailbell.recipes.facts import PLACEHOLDER, PLACEHOLDERS, Facts, filled, words
from mailbell.recipes.steps import CommandStep, FileStep

__all__ = ["NOT_TRIED", "Check", "Recipe", "Step", "Way", "parse"]

NOT_TRIED: Final = "not tried here"


class Step(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One change of the machine: lines in a file, or a command.

    Attributes:
        why: what it does.
        file: the file that gets lines; empty: the step is a command.
        text: the lines.
        below: the line below which they are put; empty: at the end.
        without: lines that the file must not have.
        owner: who must own the file; empty: anyone.
        mode: the permissions of the file; empty: any.
        command: the command; empty: the step is a file.
        replaces: a command that shows what `command` replaces; empty: nothing.
        undo: the command that takes the step back; empty: none.
        shows: a command that shows whether the step is in force; empty: none.
        expect: what `shows` then prints.
    """

    why: Annotated[str, sentence(4, 300)]
    file: Annotated[str, PATH] = ""
    text: Annotated[str, TEXT] = ""
    below: Annotated[str, LINE] = ""
    without: Annotated[str, TEXT] = ""
    owner: Annotated[str, OWNER] = ""
    mode: Annotated[str, MODE] = ""
    command: Annotated[Words, WORDS] = ()
    replaces: Annotated[Words, WORDS] = ()
    undo: Annotated[Words, WORDS] = ()
    shows: Annotated[Words, WORDS] = ()
    expect: Annotated[str, maybe(1000)] = ""

    def on(self, facts: Facts) -> FileStep | CommandStep:
        """Return the step for a machine.

        Args:
            facts: the facts of the machine.
        """
        if self.command:
            return CommandStep(
                why=self.why,
                command=words(self.command, facts),
                replaces=words(self.replaces, facts),
                undo=words(self.undo, facts),
                shows=words(self.shows, facts),
                expect=filled(self.expect, facts),
            )
        return FileStep(
            why=self.why,
            path=filled(self.file, facts),
            lines=_lines(self.text, facts),
            below=filled(self.below, facts),
            without=_lines(self.without, facts),
            owner=filled(self.owner, facts),
            mode=int(self.mode, 8) if self.mode else None,
            undo=words(self.undo, facts),
            by=facts.user if self.file.startswith("@home@/") else "",
        )


def _lines(text: str, facts: Facts) -> tuple[str, ...]:
    return tuple(filled(text, facts).strip("\n").split("\n")) if text.strip("\n") else ()


class Check(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mistake that can be seen on the machine.

    Attributes:
        command: a command that changes nothing.
        expect: a regular expression that its output must match; empty: see `forbid`.
        forbid: a regular expression that its output must not match; empty: see `expect`.
        say: what is wrong otherwise, and the remedy.
    """

    command: Annotated[Words, WORDS]
    expect: Annotated[str, maybe(1000)] = ""
    forbid: Annotated[str, maybe(1000)] = ""
    say: Annotated[str, sentence(10, 400)]

    def on(self, facts: Facts) -> "Check":
        """Return the check for a machine.

        Args:
            facts: the facts of the machine.
        """
        return Check(
            command=words(self.command, facts),
            expect=_pattern(self.expect, facts),
            forbid=_pattern(self.forbid, facts),
            say=filled(self.say, facts),
        )

    def holds(self, output: str) -> bool:
        """Tell whether all is well.

        Args:
            output: what the command printed.
        """
        if self.expect:
            return re.search(self.expect, output) is not None
        return re.search(self.forbid, output) is None


def _pattern(pattern: str, facts: Facts) -> str:
    return PLACEHOLDER.sub(lambda found: re.escape(filled(found[0], facts)), pattern)


class Way(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One mechanism by which a mail server rings.

    Attributes:
        name: the name for `--way`.
        title: what it is.
        tells: "mail", "logins" or "both".
        suits: for whom it is.
        order: whether the ring comes "after" the mail is in the mailbox, "before", or in a
            "race" with it; empty: it tells of logins only, or was not tried.
        packages: further packages of Debian.
        trusted: users that `listen.trusted` must name.
        fails: what happens to the mail if the hook fails.
        hangs: what happens to the mail if the hook hangs.
        traps: usual mistakes.
        text: what no step can say.
        step: the changes of the machine, in their order.
        check: mistakes that can be seen on the machine.
    """

    name: Annotated[str, NAME]
    title: Annotated[str, sentence(4, 72)]
    tells: Annotated[Literal["mail", "logins", "both"], TELLS]
    suits: Annotated[str, sentence(4, 200)]
    order: Annotated[Literal["", "after", "before", "race"], ORDER] = ""
    packages: Annotated[Packages, PACKAGES] = ()
    trusted: Annotated[tuple[Annotated[str, USER], ...], array(16, '["root"]')] = ()
    fails: Annotated[str, maybe(1000)] = ""
    hangs: Annotated[str, maybe(1000)] = ""
    traps: Annotated[
        tuple[Annotated[str, sentence(10, 600)], ...], array(24, '["Debian sets it."]')
    ] = ()
    text: Annotated[str, TEXT] = ""
    step: Annotated[tuple[Step, ...], array(32, "[[way.step]] tables")] = ()
    check: Annotated[tuple[Check, ...], array(32, "[[way.check]] tables")] = ()

    def steps(self, facts: Facts) -> tuple[FileStep | CommandStep, ...]:
        """Return the steps for a machine.

        Args:
            facts: the facts of the machine.

        Returns:
            The steps in their order, with every placeholder replaced.
        """
        return tuple(step.on(facts) for step in self.step)

    def checks(self, facts: Facts) -> tuple[Check, ...]:
        """Return what to look for besides the steps on a machine.

        Args:
            facts: the facts of the machine.
        """
        return tuple(check.on(facts) for check in self.check)

    @property
    def uses(self) -> frozenset[str]:
        """The placeholders in the steps and checks, without their @."""
        texts = [text for name, text in _texts(self) if name.startswith(("step", "check"))]
        return frozenset(name for text in texts for name in PLACEHOLDER.findall(text))

    @property
    def for_each_user(self) -> bool:
        """Whether the steps are done once for each user."""
        return bool(self.uses & {"user", "home"})


class _File(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, SERVER]
    title: Annotated[str, sentence(2, 60)]
    summary: Annotated[str, sentence(10, 300)]
    verified: Annotated[str, sentence(4, 100)]
    reason: Annotated[str, maybe(1000)] = ""
    packages: Annotated[Packages, PACKAGES] = ()
    way: Annotated[tuple[Way, ...], array(16, "[[way]] tables", least=1)]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make one mail server ring.

    Attributes:
        name: the name on the command line.
        title: the server's own name.
        summary: what it can do.
        verified: what it was tried with.
        reason: why it was not tried, or why it is impossible; empty: it was tried.
        packages: its packages in Debian.
        ways: the mechanisms, the best one first.
    """

    name: str
    title: str
    summary: str
    verified: str
    reason: str
    packages: tuple[str, ...]
    ways: tuple[Way, ...]

    @property
    def tried(self) -> bool:
        """Whether the tests have run it with the real server."""
        return self.verified != NOT_TRIED

    def way(self, name: str) -> Way:
        """Return one mechanism.

        Args:
            name: its name.

        Raises:
            UsageError: the recipe has no mechanism of this name.
        """
        for way in self.ways:
            if way.name == name:
                return way
        known = ", ".join(way.name for way in self.ways)
        what = f"'{printable(name[:80])}' is no way of {self.title}"
        raise UsageError(what, f"the ways are: {known}")


def parse(data: bytes) -> Recipe:
    """Read a recipe.

    Args:
        data: the file: TOML in UTF-8.

    Returns:
        A recipe without contradictions. This does not look at the machine.

    Raises:
        ConfigurationError: with every problem in the file.
    """
    problems = Problems()
    file = read(data, _File, problems)
    if file.verified == NOT_TRIED and file.reason == "":
        problems.add("reason", "missing: say why it was not tried")
    named: set[str] = set()
    for place, way in each(file.way):
        path = f"way[{place}]"
        if way.name in named:
            problems.add(f"{path}.name", f"{quote(way.name)} is used twice: choose another name")
        named |= {way.name} - {INVALID}
        _check_way(way, path, problems)
    problems.raise_if_any()
    return Recipe(
        name=file.name,
        title=file.title,
        summary=file.summary,
        verified=file.verified,
        reason=file.reason,
        packages=file.packages,
        ways=file.way,
    )


def _check_way(way: Way, path: str, problems: Problems) -> None:
    if way.step == () and way.text == "":
        problems.add(path, "says nothing: add [[way.step]], or text")
    for name, message in _contradictions(way):
        problems.add(f"{path}.{name}", message)
    for place, step in each(way.step):
        _check_step(step, f"{path}.step[{place}]", problems)
    for place, check in each(way.check):
        _check_check(check, f"{path}.check[{place}]", problems)
    for name, text in _texts(way):
        _check_placeholders(text, f"{path}.{name}", problems)


def _contradictions(way: Way) -> Iterator[tuple[str, str]]:
    """Yield each key of a way that does not go with the others, and what is wrong."""
    logins = way.tells == "logins"
    if logins and way.order not in ("", INVALID):
        yield "order", "logins have no order: leave it out"
    if way.step in ((), INVALID):
        return
    for name in ("fails", "hangs"):
        if getattr(way, name) == "":
            yield name, "missing: say what happens to the mail"
    if not logins and way.order == "":
        yield "order", f"missing: write {ORDER.description}"


_OF_FILE: Final = ("text", "below", "without", "owner", "mode")
_OF_COMMAND: Final = ("replaces", "shows", "expect")


def _check_step(step: Step, path: str, problems: Problems) -> None:
    if (step.file == "") == (step.command == ()):
        problems.add(path, "needs either a file or a command")
        return
    kind, foreign = ("file", _OF_COMMAND) if step.file != "" else ("command", _OF_FILE)
    for name in foreign:
        if getattr(step, name) not in ("", ()):
            problems.add(f"{path}.{name}", f"a step with a {kind} has none: leave it out")
    if kind == "file" and step.text == "" and step.without == "":
        problems.add(f"{path}.text", "missing: write the lines of the file")
    if kind == "file" and step.below != "" and step.text == "":
        problems.add(f"{path}.below", "nothing is put below it: write text, or leave it out")
    if (step.shows == ()) != (step.expect == ""):
        problems.add(f"{path}.shows", "goes with expect: write both or none")


def _check_check(check: Check, path: str, problems: Problems) -> None:
    if check.command == ():
        problems.add(f"{path}.command", "missing: write a command that changes nothing")
    if (check.expect == "") == (check.forbid == ""):
        problems.add(path, "needs either expect or forbid")
    for name in ("expect", "forbid"):
        pattern = getattr(check, name)
        if pattern is INVALID:
            continue
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            what = f"no regular expression: {quote(str(error), 80)}"
            problems.add(f"{path}.{name}", what)


def _texts(way: Way) -> Iterator[tuple[str, str]]:
    """Yield every text of a way in which placeholders are replaced, with its path."""
    for name in ("fails", "hangs", "text"):
        yield name, getattr(way, name)
    for place, trap in each(way.traps):
        yield f"traps[{place}]", trap
    for place, step in each(way.step):
        yield from _texts_of(step, f"step[{place}]", ("file", *_OF_FILE, "expect"))
    for place, check in each(way.check):
        yield from _texts_of(check, f"check[{place}]", ("expect", "forbid", "say"))


def _texts_of(part: Step | Check, path: str, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        yield f"{path}.{name}", getattr(part, name)
    for name in ("command", "replaces", "undo", "shows"):
        for place, word in each(getattr(part, name, ())):
            yield f"{path}.{name}[{place}]", word


def _check_placeholders(text: str, path: str, problems: Problems) -> None:
    if text is INVALID:
        return
    for name in PLACEHOLDER.findall(text):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"@{each}@" for each in PLACEHOLDERS)
            problems.add(path, f"{quote(f'@{name}@')} is no placeholder: they are {known}")
